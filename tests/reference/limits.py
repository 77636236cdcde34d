"""How near the library comes to the true values today: bounds, and what is known to be worse.

`GOALS` are what each quantity should reach. `BOUNDS` holds where it does: the worst error that was
measured, times 1.5 (at least 4 eps). `KNOWN_LIMITS` holds where it does not yet: how many cases are
beyond the goal, so that a better algorithm can show itself. Errors of
`MultivariateNormal` are in units of `eps (1 + condition)`, all others relative.
"""

from typing import NamedTuple


class Limit(NamedTuple):
    """Cases beyond the goal, out of how many, the worst error (inf: nan, or negative), the median.

    The median is a bound, as in `BOUNDS`; the worst is noise of cancellation and is not checked.
    """

    beyond: int
    cases: int
    worst: float
    typical: float


def goal(quantity: str, dtype: str) -> float:
    """The error that a quantity should stay below."""
    if quantity.startswith("mvn_") or quantity == "entropy_mvn":
        return 64.0
    if quantity == "grad_gamma_kl":
        pair = (1e-7, 5e-1)
    elif quantity.startswith(("gamma_", "entropy_")):
        pair = (1e-8, 5e-2)
    elif quantity.endswith("_alpha") or quantity.startswith("grad_"):
        # exp of a large exponent multiplies its rounding.
        pair = (1e-12, 5e-5)
    else:
        pair = (1e-13, 5e-6)
    return pair[dtype == "float32"]


# Quantity: worst error in float64, in float32; None stands where KNOWN_LIMITS has it.
BOUNDS: dict[str, tuple[float | None, float | None]] = {
    "exponential_kl": (8.9e-16, 4.8e-07),
    "exponential_alpha": (1.5e-14, None),
    "exponential_renyi": (3.2e-15, None),
    "exponential_hellinger": (8.9e-16, None),
    "exponential_bhattacharyya": (8.9e-16, None),
    "gamma_kl": (7.3e-15, 4.8e-07),
    "gamma_alpha": (2.4e-14, 5.0e-02),
    "gamma_renyi": (8.6e-15, None),
    "gamma_hellinger": (2.9e-15, 7.3e-02),
    "gamma_bhattacharyya": (8.6e-15, None),
    "entropy_normal": (8.9e-16, 4.8e-07),
    "entropy_exponential": (1.9e-15, 7.3e-06),
    "entropy_poisson": (3.2e-15, 2.6e-06),
    "grad_gamma_kl": (9.2e-14, 1.9e-05),
    "fisher_normal_natural": (9.5e-16, None),
    "fisher_exponential_rate": (8.9e-16, 4.8e-07),
    "fisher_poisson_rate": (8.9e-16, 4.8e-07),
    "fisher_gamma_shape_rate": (2.0e-15, 1.7e-06),
    "gamma_shape_from_s": (8.9e-16, 5.2e-07),
    "bregman_itakura_saito": (8.9e-16, 4.8e-07),
    "bregman_negentropy": (2.3e-15, 1.7e-06),
    "mvn_kl": (None, 5.1e01),
    "mvn_renyi": (None, 3.7e01),
    "mvn_hellinger": (None, 6.5e-01),
    "mvn_bhattacharyya": (None, 1.7e01),
    "entropy_mvn": (None, 3.2e-01),
    "categorical_logits_kl": (8.9e-16, 5.8e-07),
    "categorical_logits_alpha": (1.3e-13, 4.2e-05),
    "categorical_logits_renyi": (2.1e-15, 1.2e-06),
    "categorical_logits_hellinger": (8.9e-16, 4.8e-07),
    "categorical_logits_bhattacharyya": (8.9e-16, 5.3e-07),
    "entropy_categorical_logits": (8.9e-16, None),
    "grad_entropy_logits": (2.9e-14, None),
    "grad_categorical_kl_logits_q": (1.0e-14, 2.8e-06),
    "categorical_probs_kl": (1.1e-14, 1.2e-06),
    "categorical_probs_alpha": (1.1e-13, 1.1e-05),
    "categorical_probs_renyi": (9.8e-16, 4.8e-07),
    "categorical_probs_hellinger": (8.9e-16, 4.8e-07),
    "categorical_probs_bhattacharyya": (8.9e-16, 4.8e-07),
    "categorical_probs_js": (8.9e-16, 4.8e-07),
    "logsumexp": (8.9e-16, 4.8e-07),
    "softmax": (8.9e-16, 4.8e-07),
    "log_softmax": (8.9e-16, 4.8e-07),
}

INF = float("inf")
KNOWN_LIMITS: dict[tuple[str, str], Limit] = {
    # Far means or scales, and near pairs: source parameters go through natural coordinates, where
    # m/s^2 rounds
    ("normal_kl", "float64"): Limit(8, 32, 4.2e06, 8.9e-16),
    ("normal_kl", "float32"): Limit(12, 32, 3.4e24, 4.8e-07),
    ("normal_alpha", "float64"): Limit(22, 128, INF, 8.9e-16),
    ("normal_alpha", "float32"): Limit(27, 128, INF, 4.8e-07),
    ("normal_renyi", "float64"): Limit(17, 64, 2.6e34, 1.6e-15),
    ("normal_renyi", "float32"): Limit(25, 64, INF, 6.6e-07),
    ("normal_hellinger", "float64"): Limit(7, 32, 1.0e-06, 8.9e-16),
    ("normal_hellinger", "float32"): Limit(6, 32, 5.1e00, 4.8e-07),
    ("normal_bhattacharyya", "float64"): Limit(9, 32, 2.6e34, 4.7e-15),
    ("normal_bhattacharyya", "float32"): Limit(14, 32, INF, 4.6e-06),
    # Near pairs: the mixture of natural parameters rounds
    ("exponential_alpha", "float32"): Limit(4, 64, 3.3e-01, 4.8e-07),
    ("exponential_renyi", "float32"): Limit(4, 32, 3.3e-01, 4.8e-07),
    ("exponential_hellinger", "float32"): Limit(2, 16, 4.1e-01, 4.8e-07),
    ("exponential_bhattacharyya", "float32"): Limit(2, 16, 1.0e00, 4.8e-07),
    # Near pairs: source parameters go through the log of the rate
    ("poisson_kl", "float64"): Limit(3, 16, 8.3e-09, 1.0e-15),
    ("poisson_kl", "float32"): Limit(4, 16, 1.0e00, 4.8e-07),
    ("poisson_alpha", "float64"): Limit(12, 63, 8.3e-09, 1.0e-15),
    ("poisson_alpha", "float32"): Limit(12, 63, INF, 4.8e-07),
    ("poisson_renyi", "float64"): Limit(6, 31, 8.3e-09, 1.2e-15),
    ("poisson_renyi", "float32"): Limit(9, 31, 1.0e00, 7.8e-07),
    ("poisson_hellinger", "float64"): Limit(3, 16, 4.1e-09, 8.9e-16),
    ("poisson_hellinger", "float32"): Limit(4, 16, 1.0e00, 4.8e-07),
    ("poisson_bhattacharyya", "float64"): Limit(3, 16, 8.3e-09, 8.9e-16),
    ("poisson_bhattacharyya", "float32"): Limit(4, 16, 1.0e00, 4.8e-07),
    # Near pairs: the mixture of natural parameters rounds
    ("gamma_renyi", "float32"): Limit(1, 52, 3.5e00, 4.8e-07),
    ("gamma_bhattacharyya", "float32"): Limit(1, 26, 1.0e-01, 4.8e-07),
    # Large shapes: the entropy is a difference of log-gamma and digamma
    ("entropy_gamma", "float64"): Limit(1, 23, 2.0e-08, 1.0e-15),
    ("entropy_gamma", "float32"): Limit(4, 23, 9.9e-01, 7.6e-07),
    # As normal
    ("grad_normal_kl", "float64"): Limit(5, 16, 1.0e00, 7.1e-14),
    ("grad_normal_kl", "float32"): Limit(6, 16, INF, 1.8e-05),
    # Far scales: the chart squares and divides
    ("fisher_normal_mu_sigma", "float64"): Limit(3, 11, 3.4e-05, 8.9e-16),
    ("fisher_normal_mu_sigma", "float32"): Limit(5, 11, INF, 5.2e-07),
    ("fisher_normal_natural", "float32"): Limit(1, 11, INF, 4.8e-07),
    ("fisher_normal_expectation", "float64"): Limit(3, 11, 5.1e-06, 8.9e-16),
    ("fisher_normal_expectation", "float32"): Limit(5, 11, INF, 4.8e-07),
    # Condition above 1e9, mixtures of far pairs; at 1e13 the Cholesky factor fails and the result
    # is nan
    ("mvn_kl", "float64"): Limit(3, 24, INF, 6.5e-02),
    ("mvn_alpha", "float64"): Limit(5, 33, INF, 2.0e-02),
    ("mvn_alpha", "float32"): Limit(1, 24, 1.4e03, 3.1e-02),
    ("mvn_renyi", "float64"): Limit(4, 22, INF, 1.4e-01),
    ("mvn_hellinger", "float64"): Limit(2, 11, INF, 2.0e-02),
    ("mvn_bhattacharyya", "float64"): Limit(2, 11, INF, 1.2e-01),
    # Condition 1e13: as above
    ("entropy_mvn", "float64"): Limit(1, 18, INF, 2.0e-02),
    # A probability below the smallest normal number flushes to zero
    ("entropy_categorical_logits", "float32"): Limit(1, 23, 1.0e00, 4.8e-07),
    # As the entropy
    ("grad_entropy_logits", "float32"): Limit(1, 23, 1.0e00, 4.8e-07),
    # A class of probability near 1: 1 - p cancels in the derivative of softmax
    ("grad_categorical_kl_logits_p", "float64"): Limit(3, 23, 1.0e00, 8.9e-16),
    ("grad_categorical_kl_logits_p", "float32"): Limit(2, 23, 1.0e00, 4.8e-07),
    # As above: p (1 - p) cancels
    ("fisher_categorical_logits", "float64"): Limit(3, 17, 1.0e00, 8.9e-16),
    ("fisher_categorical_logits", "float32"): Limit(1, 17, 1.6e-02, 4.8e-07),
}
