"""What the library promises about its errors, and the few places where it falls short.

Errors of quantities of matrices are in units of `eps (1 + condition)`, others relative.
"""

import json
import math
from pathlib import Path
from typing import NamedTuple

TABLE = Path(__file__).parents[2] / "benchmarks" / "results" / "accuracy.json"
DTYPES = ("float64", "float32")


class Errors(NamedTuple):
    """Worst, 90th percentile and median error; inf stands for nan, a wrong infinity or sign."""

    worst: float
    percentile: float
    median: float


def is_of_matrices(quantity: str) -> bool:
    """Whether the errors of a quantity are in units of `eps (1 + condition)`."""
    return quantity.startswith(("mvn_", "fr_mvn_")) or quantity in {
        "entropy_mvn",
        "logdet_spd",
        "bregman_logdet",
    }


def goal(quantity: str, dtype: str) -> Errors:
    """The errors that a quantity should stay below; there is no goal for the median."""
    if is_of_matrices(quantity):
        worst = percentile = (64.0, 64.0)
    elif quantity in {"vmf_log_C", "vmf_A", "vmf_A_over_kappa"}:
        worst = percentile = (1e-13, 1e-5)
    elif quantity in {"vmf_dA", "vmf_A_inverse"}:
        worst = percentile = (1e-11 if quantity == "vmf_dA" else 1e-12, 1e-5)
    elif quantity == "grad_gamma_kl":
        # A gradient: ten times what its value may have.
        worst, percentile = (1e-7, 5e-1), (1e-12, 1e-4)
    elif quantity.startswith(_MIXED_SCALES):
        worst, percentile = (1e-8, 5e-2), (1e-13, 1e-5)
    elif quantity.endswith("_alpha") or quantity.startswith(("grad_", "fisher_")):
        # exp of a large exponent multiplies its rounding.
        worst = percentile = (1e-12, 5e-5)
    else:
        worst = percentile = (1e-13, 5e-6)
    narrow = dtype == "float32"
    return Errors(worst[narrow], percentile[narrow], math.inf)


_MIXED_SCALES = (
    *("gamma_", "beta_", "dirichlet_", "entropy_", "logdet_", "digamma_inverse"),
    *("vmf_entropy", "vmf_kl", "vmf_logpdf", "fisher_beta", "fisher_gamma"),
)

_MEAN_CHART = "E[x^2] rounds away the variance: at m/s = 2e5 the point itself has lost it"
EXCEPTIONS: dict[tuple[str, str], str] = {
    ("fisher_normal_expectation", "float64"): _MEAN_CHART,
    ("fisher_normal_expectation", "float32"): _MEAN_CHART,
    (
        "fr_mvn_fixed_mean",
        "float64",
    ): "a covariance is singular to rounding (condition 2e17): nan",
}
"""Quantities beyond their goal, with the cause."""


def committed() -> dict[str, dict[str, Errors]]:
    """The committed table: errors by quantity and dtype."""
    table = json.loads(TABLE.read_text(encoding="utf-8"))
    return {
        quantity: {dtype: Errors(*map(float, errors)) for dtype, errors in row.items()}
        for quantity, row in table.items()
    }
