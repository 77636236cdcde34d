"""Chentsov's theorem over families: a sufficient statistic changes no divergence.

Each pair is one law seen through an invertible map or a sufficient statistic of its data: `copies`
independent draws of the second family carry what one of the first does.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.divergences import exponential

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

F = families
FIRST, SECOND = np.array([0.3, 1.7]), np.array([0.9, 2.3])
PROBS = np.array([[0.2, 0.5, 0.3], [0.4, 0.25, 0.35]])
ANGLES = np.array([0.4, 1.5])
UNIT = np.stack([np.cos(ANGLES), np.sin(ANGLES)], axis=-1)
# First family and its parameters, second family and its own, number of copies.
PAIRS = {
    "exp of a normal": (F.LogNormal(), (FIRST, SECOND), F.Normal(), (FIRST, SECOND), 1),
    "1/x of a gamma": (F.InverseGamma(), (FIRST, SECOND), F.Gamma(), (FIRST, SECOND), 1),
    "power of an exponential": (F.Weibull(1.7), (SECOND,), F.Exponential(), (SECOND**-1.7,), 1),
    "root of an exponential": (F.Rayleigh(), (SECOND,), F.Exponential(), (0.5 / SECOND**2,), 1),
    "exp of an exponential": (F.Pareto(0.8), (SECOND,), F.Exponential(), (SECOND,), 1),
    "size of a Laplace": (F.Laplace(0.3), (SECOND,), F.Exponential(), (1 / SECOND,), 1),
    "successes of coins": (F.Binomial(6), (PROBS[:, 0],), F.Bernoulli(), (PROBS[:, 0],), 6),
    "counts of labels": (F.Multinomial(4, 3), (PROBS,), F.Categorical(3), (PROBS,), 4),
    "sum of failures": (F.NegativeBinomial(3), (PROBS[:, 0],), F.Geometric(), (PROBS[:, 0],), 3),
    "a share of two": (
        *(F.Beta(), (FIRST, SECOND), F.Dirichlet(2), (np.stack([FIRST, SECOND], axis=-1),)),
        1,
    ),
    "angle and direction": (F.VonMises(), (ANGLES, SECOND), F.VonMisesFisher(2), (UNIT, SECOND), 1),
    "sum of squares": (
        *(F.Wishart(1), (2 * SECOND, FIRST[:, None, None]), F.Gamma(), (SECOND, 0.5 / FIRST)),
        1,
    ),
    "coordinates": (
        *(F.IsotropicNormal(1), (FIRST[:, None], SECOND), F.Normal(), (FIRST, SECOND)),
        1,
    ),
}


def both(family, params):
    return [family.Params(*(jnp.asarray(leaf[i]) for leaf in params)) for i in (0, 1)]


@pytest.mark.parametrize("name", PAIRS)
def test_a_sufficient_statistic_loses_nothing(name):
    family, params, other, same, copies = PAIRS[name]
    (p, q), (u, v) = both(family, params), both(other, same)
    pairs = {
        "kl": lambda f, a, b: exponential.kl(f, a, b),
        "renyi": lambda f, a, b: exponential.renyi(f, a, b, order=0.3),
    }
    for key, divergence in pairs.items():
        found, expected = divergence(family, p, q), copies * divergence(other, u, v)
        assert float(found) == pytest.approx(float(expected), rel=1e-10, abs=0), key
