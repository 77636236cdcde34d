"""Special functions and safe primitives that neither JAX nor a dependency has."""

from igeojax.numerics.angles import quadrant_angle, unit_angle
from igeojax.numerics.bessel import RadialLaw, log_sphere, radial_law
from igeojax.numerics.bessel_bregman import (
    vmf_bregman,
    vmf_dual_excess,
    vmf_natural_from_mean,
    vmf_potential,
    vmf_radial_bregman,
    vmf_ratio_of_square,
)
from igeojax.numerics.bessel_ratio import (
    vmf_concentration,
    vmf_entropy,
    vmf_log_partition,
    vmf_log_partition_offset,
    vmf_mean_gap,
    vmf_mean_length,
    vmf_mean_ratio,
    vmf_mean_slope,
)
from igeojax.numerics.conjugate_gradient import ConjugateGradientInfo, conjugate_gradient
from igeojax.numerics.dirichlet import (
    betaln,
    dirichlet_bregman,
    dirichlet_log_density,
    dirichlet_mean_logs,
    log_beta,
)
from igeojax.numerics.dirichlet_metric import (
    dirichlet_log_det_metric,
    dirichlet_mean_logs_inverse,
    dirichlet_metric_solve,
)
from igeojax.numerics.extrapolation import richardson_limit
from igeojax.numerics.gamma import (
    digamma_inverse,
    gamma_log_density,
    log_gamma,
    log_minus_digamma,
    log_minus_digamma_inverse,
    shape_bregman,
)
from igeojax.numerics.incomplete import betainc, gammainc, gammaincc, scaled_erfc
from igeojax.numerics.incomplete_inverse import betainc_inverse, gammainc_inverse
from igeojax.numerics.quantile import CountShape, inverse_cdf, least_count
from igeojax.numerics.remainders import (
    expm1_remainder,
    exprel2,
    log1p_remainder,
    log_complement_ratio,
    log_det_remainder,
    log_ratio,
    ratio_remainder,
)
from igeojax.numerics.rows import norm_at_zero, row_norm, row_sum, unit_at_zero
from igeojax.numerics.safe import (
    abs_at_zero,
    log_at_zero,
    quotient,
    sqrt_at_zero,
)
from igeojax.numerics.seeding import plus_plus_seeds
from igeojax.numerics.small_solve import block_tridiagonal_solve, small_solve
from igeojax.numerics.stirling import (
    digamma,
    digamma_step,
    scaled_trigamma_excess,
    stirling_remainder,
    trigamma,
    trigamma_drop,
)
from igeojax.numerics.student_t import student_t_log_density
from igeojax.numerics.triangular import cho_solve, cholesky, solve_triangular

__all__ = [
    "ConjugateGradientInfo",
    "CountShape",
    "RadialLaw",
    "abs_at_zero",
    "betainc",
    "betainc_inverse",
    "betaln",
    "block_tridiagonal_solve",
    "cho_solve",
    "cholesky",
    "conjugate_gradient",
    "digamma",
    "digamma_inverse",
    "digamma_step",
    "dirichlet_bregman",
    "dirichlet_log_density",
    "dirichlet_log_det_metric",
    "dirichlet_mean_logs",
    "dirichlet_mean_logs_inverse",
    "dirichlet_metric_solve",
    "expm1_remainder",
    "exprel2",
    "gamma_log_density",
    "gammainc",
    "gammainc_inverse",
    "gammaincc",
    "inverse_cdf",
    "least_count",
    "log1p_remainder",
    "log_at_zero",
    "log_beta",
    "log_complement_ratio",
    "log_det_remainder",
    "log_gamma",
    "log_minus_digamma",
    "log_minus_digamma_inverse",
    "log_ratio",
    "log_sphere",
    "norm_at_zero",
    "plus_plus_seeds",
    "quadrant_angle",
    "quotient",
    "radial_law",
    "ratio_remainder",
    "richardson_limit",
    "row_norm",
    "row_sum",
    "scaled_erfc",
    "scaled_trigamma_excess",
    "shape_bregman",
    "small_solve",
    "solve_triangular",
    "sqrt_at_zero",
    "stirling_remainder",
    "student_t_log_density",
    "trigamma",
    "trigamma_drop",
    "unit_angle",
    "unit_at_zero",
    "vmf_bregman",
    "vmf_concentration",
    "vmf_dual_excess",
    "vmf_entropy",
    "vmf_log_partition",
    "vmf_log_partition_offset",
    "vmf_mean_gap",
    "vmf_mean_length",
    "vmf_mean_ratio",
    "vmf_mean_slope",
    "vmf_natural_from_mean",
    "vmf_potential",
    "vmf_radial_bregman",
    "vmf_ratio_of_square",
]
