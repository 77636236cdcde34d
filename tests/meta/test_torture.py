"""Every case of the torture list that concerns a finished room is a test, and here is which.

T01-T18: divergences, log-sum-exp, sampling and directions at zeros, masks and extremes; T25 the
distance at equal laws; T32-T37 special functions, masks and half precision; T46 extremes of
families; T19, T43 and T44 matrices that are singular or nearly so. T20 to T23 (EM) and T38 to T42
(kernels) are tests of their rooms; the other cases belong to rooms that are still to come.
"""

import re

import pytest

from tests.meta.sources import ROOT

FAMILIES, STEPS = "families/test_torture.py", "numerics/test_conjugate_gradient.py"
GRADIENTS, SOFTMAX = "divergences/test_simplex_gradients.py", "discrete/test_softmax.py"
CASES = {
    "T01 KL at a target of 0": (GRADIENTS, "test_gradients_are_finite_where_the_value_is"),
    "T02 its gradient": (
        GRADIENTS,
        "test_zero_entries_have_derivative_zero_where_it_would_be_infinite",
    ),
    "T03 a class impossible under both": (GRADIENTS, "test_zero_entries_keep_a_finite_derivative"),
    "T04 log-sum-exp of -inf": (SOFTMAX, "test_gradients_at_infinities_and_ties"),
    "T05 a large masked logit": (SOFTMAX, "test_masked_rows_of_attention"),
    "T06 a row that is masked": (SOFTMAX, "test_masked_rows_of_attention"),
    "T07 entropy of a certain class": (
        "discrete/test_relative_entropy.py",
        "test_entropy_of_a_certain_class",
    ),
    "T08 x log x at 0": (GRADIENTS, "test_gradients_are_finite_where_the_value_is"),
    "T09 relative entropy of 0 and 1": (
        GRADIENTS,
        "test_zero_entries_have_derivative_zero_where_it_would_be_infinite",
    ),
    "T10 Gumbel tails in float32": ("discrete/test_gumbel.py", "test_tails_in_float32"),
    "T11 temperature 0": ("discrete/test_gumbel.py", "test_bad_input"),
    "T12 density of an own relaxed draw": ("discrete/test_gumbel.py", "test_small_temperatures"),
    "T13 directions near a pole": (
        "families/test_directions.py",
        "test_samples_have_the_moments_of_the_law",
    ),
    "T14 vMF of large dimensions": (
        "families/test_von_mises_fisher.py",
        "test_where_peers_overflow",
    ),
    "T15 its derivatives across branches": ("numerics/test_bessel.py", "test_the_branches_meet"),
    "T16 angles of extreme concentration": (
        "families/test_directions.py",
        "test_samples_of_angles",
    ),
    "T17 tiny concentrations": (
        "families/test_gamma_families.py",
        "test_tiny_concentrations_draw_from_the_ends",
    ),
    "T18 beta density at 0": ("families/test_gamma_families.py", "test_beta_at_the_ends"),
    "T25 the distance at equal laws": (
        "geometry/test_distance.py",
        "test_gradient_at_equal_points_is_zero",
    ),
    "T32 Student's t of many degrees": (
        "numerics/test_student_t.py",
        "test_against_scipy_and_the_normal_limit",
    ),
    "T33 log-gamma near its zeros": ("numerics/test_log_gamma.py", "test_one_argument"),
    "T34 cross-entropy, -inf and label 0": (
        "discrete/test_cross_entropy.py",
        "test_an_impossible_class_without_label",
    ),
    "T35 all targets ignored": ("discrete/test_sequence.py", "test_sums_counts_and_perplexity"),
    "T36 smoothing and -inf": (
        "discrete/test_cross_entropy.py",
        "test_smoothing_of_an_impossible_class_is_infinite_and_a_mask_mends_it",
    ),
    "T37 half precision": (SOFTMAX, "test_dtype_is_kept_and_half_precision_accumulates_in_float32"),
    "T19 a smooth covariance": (
        FAMILIES,
        "test_a_smooth_covariance_in_float32_is_never_a_silent_nan",
    ),
    "T43 no right-hand side": (STEPS, "test_zero_right_hand_side"),
    "T43 a singular system": (STEPS, "test_singular_inconsistent_system_stays_finite"),
    "T43 an indefinite system": (STEPS, "test_no_curvature_is_no_nan"),
    "T44 a singular Fisher matrix": (
        "optim/test_solvers.py",
        "test_singular_and_undamped_is_the_minimum_norm_solution",
    ),
    "T46 scales forty orders apart": (FAMILIES, "test_scales_forty_orders_apart"),
    "T46 a rate of 0": (FAMILIES, "test_poisson_of_rate_zero"),
    "T46 a certain coin": (FAMILIES, "test_a_certain_coin"),
    "T46 entropy of a large shape": (FAMILIES, "test_gamma_of_extreme_shape"),
    "T46 a fit to constant data": (FAMILIES, "test_gamma_of_nearly_constant_data"),
    "T46 digamma near 0": (
        "numerics/test_special_functions.py",
        "test_digamma_near_zero_in_float32",
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_case_has_its_test(case):
    file, name = CASES[case]
    text = (ROOT / "tests" / file).read_text(encoding="utf-8")
    assert re.search(rf"^def {name}\(", text, re.MULTILINE), f"{case}: no {name} in tests/{file}"
