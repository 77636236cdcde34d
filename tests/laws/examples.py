"""Observations of each family: ordinary, impossible, and without a maximum of the likelihood."""

from typing import Any, NamedTuple

import numpy as np

NAN, INF = float("nan"), float("inf")


class Example(NamedTuple):
    """Observations on the first axis, one row each."""

    valid: Any
    """Ordinary observations, at least three, enough for a fit."""
    outside: Any
    """Not in the support; rows with a nan are unknown."""
    constant: Any = None
    """An observation whose repetition has no maximum of the likelihood; None: it has one."""


_COUNTS = Example(np.array([0, 3, 2, 5]), np.array([-1.0, 0.5, NAN]))
_POSITIVE = Example(np.array([0.5, 1.0, 2.0, 0.2]), np.array([-1.0, INF, NAN]), 2.0)
_REAL = Example(np.array([0.5, 1.0, -2.0, 3.0]), np.array([INF, -INF, NAN]))
_VECTORS = np.random.default_rng(0).normal(size=(6, 3))

_PAIRS = Example(
    np.array([[0.5, 1.0], [1.0, 2.0], [-2.0, 0.7], [0.3, 1.5]]),
    np.array([[0.5, -1.0], [INF, 1.0], [NAN, 1.0]]),
    np.array([1.0, 2.0]),
)
_MATRICES = Example(
    np.array(
        [[[2.0, s], [s, t]] for s, t in [(0.5, 1.0), (-0.3, 3.0), (1.0, 2.0), (0.2, 0.7), (0.0, 1)]]
    ),
    np.array([[[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.5], [0.2, 1.0]], [[NAN, 0.0], [0.0, 1.0]]]),
    np.array([[2.0, 0.5], [0.5, 1.0]]),
)

EXAMPLES: dict[str, Example] = {
    "Bernoulli": Example(np.array([0, 1, 1]), np.array([2.0, -1.0, 0.5, NAN])),
    "Binomial": Example(np.array([0, 3, 5, 2]), np.array([7.0, -1.0, 0.5, NAN])),
    "Categorical": Example(np.array([0, 1, 3]), np.array([4, -1, 9])),
    "Multinomial": Example(
        np.array([[2, 1, 1], [0, 3, 1], [1, 1, 2]]),
        np.array([[2, 1, 2], [-1, 3, 2], [1.5, 1.5, 1], [NAN, 3, 1]]),
    ),
    "Poisson": _COUNTS,
    "Geometric": _COUNTS,
    "NegativeBinomial": _COUNTS,
    "Exponential": _POSITIVE._replace(constant=0.0),
    "Gamma": _POSITIVE,
    "InverseGamma": _POSITIVE,
    "InverseGaussian": _POSITIVE,
    "LogNormal": _POSITIVE,
    "Weibull": _POSITIVE._replace(constant=0.0),
    "Rayleigh": _POSITIVE._replace(constant=0.0),
    "Pareto": Example(np.array([1.5, 2.0, 4.0]), np.array([0.5, INF, NAN]), 0.8),
    "NormalInverseGamma": _PAIRS,
    "NormalInverseWishart": Example(*(np.expand_dims(rows, -2) for rows in _PAIRS)),
    "Wishart": _MATRICES,
    "InverseWishart": _MATRICES,
    "Beta": Example(np.array([0.5, 0.2, 0.3, 0.9]), np.array([-0.5, 1.5, NAN]), 0.3),
    "Dirichlet": Example(
        np.array([[0.5, 0.25, 0.25], [0.2, 0.7, 0.1], [0.3, 0.3, 0.4], [0.1, 0.1, 0.8]]),
        np.array([[1.5, -0.5, 0.0], [0.5, 0.25, 0.5], [NAN, 0.5, 0.5]]),
        np.array([0.5, 0.25, 0.25]),
    ),
    "Laplace": _REAL._replace(constant=0.3),
    "Normal": _REAL._replace(constant=2.0),
    "NormalKnownScale": _REAL,
    "DiagonalNormal": Example(
        np.array([[0, 1.0], [1.0, 2.0], [3.0, 1.0]]),
        np.array([[INF, 0.0], [0.0, -INF], [NAN, 0.0]]),
        np.array([2.0, 2.0]),
    ),
    "IsotropicNormal": Example(
        np.array([[0, 1.0], [1.0, 2.0], [3.0, 1.0]]),
        np.array([[INF, 0.0], [0.0, -INF], [NAN, 0.0]]),
        np.array([2.0, 2.0]),
    ),
    "MultivariateNormal": Example(
        _VECTORS, np.array([[INF, 0.0, 0.0], [0.0, -INF, 0.0], [NAN, 0.0, 0.0]]), np.full(3, 2.0)
    ),
    "VonMises": Example(np.array([0.5, 1.0, -2.0, 7.0]), np.array([INF, -INF, NAN]), 0.3),
    "VonMisesFisher": Example(
        np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.6, 0.0, 0.8]]),
        np.array([[1.0, 1.0, 0.0], [INF, 0.0, 0.0], [NAN, 0.0, 1.0]]),
        np.array([0.0, 0.6, 0.8]),
    ),
    "Product": Example(
        (np.array([0, 1, 2, 1]), np.array([0.5, 1.0, -2.0, 0.3])),
        (np.array([3, -1, 1, 1]), np.array([0.0, 0.0, INF, NAN])),
        (np.array(2), np.array(1.0)),
    ),
}
"""By name of the family."""
