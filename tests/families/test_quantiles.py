"""Quantiles found by inversion against scipy, from level 1e-12 to 1 - 1e-9, in both dtypes."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax import families as F

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

LEVELS = np.array([1e-12, 1e-9, 1e-6, 1e-3, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 1 - 1e-6, 1 - 1e-9])


def grid(*axes):
    return np.stack(np.meshgrid(*axes, indexing="ij"), -1).reshape(-1, len(axes))


# Error of x in units of `tail / density`, at most: that is of the smaller tail, relatively.
CONTINUOUS = {
    "Gamma": (
        F.Gamma(),
        grid([0.01, 0.3, 1, 2.5, 30, 1e3], [1e-3, 0.7, 50]),
        lambda a, rate: scipy.stats.gamma(a, scale=1 / rate),
        {"float64": 3e-12, "float32": 5e-4},
    ),
    "InverseGamma": (
        F.InverseGamma(),
        grid([0.3, 1, 2.5, 30, 1e3], [1e-3, 0.7, 50]),
        lambda a, scale: scipy.stats.invgamma(a, scale=scale),
        {"float64": 3e-12, "float32": 1e-4},
    ),
    "Beta": (
        F.Beta(),
        grid([0.05, 0.3, 1, 2.5, 30, 300], [0.05, 0.7, 1, 5, 50, 300]),
        scipy.stats.beta,
        {"float64": 3e-12, "float32": 1e-3},
    ),
    "InverseGaussian": (
        F.InverseGaussian(),
        grid([0.1, 1.3, 10], [0.1, 1, 2, 20]),
        lambda mean, shape: scipy.stats.invgauss(mean / shape, scale=shape),
        {"float64": 1e-11, "float32": 1e-3},
    ),
}
slow = pytest.mark.slow
EACH = [pytest.param(name, marks=[] if name in ("Gamma", "Beta") else slow) for name in CONTINUOUS]


@pytest.mark.parametrize("dtype", [pytest.param("float32", marks=slow), "float64"])
@pytest.mark.parametrize("name", EACH)
def test_continuous(name, dtype):
    family, params, peer, bounds = CONTINUOUS[name]
    params, level = params.astype(dtype), LEVELS.astype(dtype)
    theta = family.natural_from_params(*params.T[:, :, None])
    found = np.asarray(jax.jit(family.quantile)(theta, level))
    assert found.dtype == dtype
    # In float32 the last level is 1.
    found, exact = found[:, level < 1].astype(float), level[level < 1].astype(float)
    limits = np.finfo(dtype)
    for row, x in zip(params.astype(float), found, strict=True):
        law = peer(*row)
        expected = law.ppf(exact)
        with np.errstate(divide="ignore"):
            density = law.pdf(expected)
        seen = (expected > 8 * limits.tiny) & (expected < limits.max) & np.isfinite(x)
        seen &= np.isfinite(density)  # not at 1, where a beta density may be infinite
        tail, true = np.minimum(exact, 1 - exact)[seen], expected[seen]
        slope = density[seen] / tail
        # The rounding of x itself besides.
        bound = bounds[dtype] + 2 * limits.eps * true * slope
        np.testing.assert_array_less(np.abs(x[seen] - true) * slope, bound, str(row))
        # Beyond the range of floats the end of it, or what scipy says.
        low = expected <= limits.tiny / 2
        assert (x[low] == limits.tiny).all()
        assert (x[expected > limits.max] > 0.1 * limits.max).all()


COUNTS = {
    "Poisson": (F.Poisson(), [1e-3, 0.3, 3.4, 30.0, 1e3], scipy.stats.poisson),
    "Binomial": (F.Binomial(1000), [1e-4, 0.3, 0.5, 0.97], lambda p: scipy.stats.binom(1000, p)),
    "NegativeBinomial": (
        F.NegativeBinomial(2.5),
        [1e-3, 0.3, 0.9],
        lambda p: scipy.stats.nbinom(2.5, p),
    ),
}


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=[] if name == "Poisson" else slow) for name in COUNTS]
)
def test_counts(name):
    family, params, peer = COUNTS[name]
    theta = family.natural_from_params(np.array(params)[:, None])
    found = np.asarray(jax.jit(family.quantile)(theta, LEVELS))
    expected = np.stack([peer(value).ppf(LEVELS) for value in params])
    np.testing.assert_array_equal(found, expected)
    # In float32 the CDF decides: neighbors of the true count reach the level within its error.
    narrow = family.natural_from_params(np.array(params, "float32")[:, None])
    level = LEVELS[:-1].astype("float32")
    count = np.asarray(family.quantile(narrow, level))
    assert count.dtype == "float32"
    for value, row in zip(np.array(params, "float32"), count.astype(float), strict=True):
        law, exact = peer(float(value)), level.astype(float)
        slack = 1e-2 * np.minimum(exact, 1 - exact) + 1.2e-7
        assert (law.cdf(row) >= exact - slack).all()
        assert (law.cdf(row - 1) <= exact + slack).all()


@slow
def test_certain_counts():
    levels = jnp.array([0.0, 0.5, 1.0])
    for family, point, expected in (
        (F.Poisson(), -jnp.inf, [0, 0, 0]),
        (F.Binomial(5), -jnp.inf, [0, 0, 0]),
        (F.Binomial(5), jnp.inf, [0, 5, 5]),
        (F.NegativeBinomial(2.0), -jnp.inf, [0, 0, 0]),
        (F.Poisson(), 0.0, [0, 1, np.inf]),
        (F.Poisson(), jnp.nan, [np.nan] * 3),
    ):
        found = family.quantile(family.Point(jnp.asarray(point)), levels)
        np.testing.assert_array_equal(found, expected, err_msg=f"{family} {point}")


def test_outside_of_the_domain():
    for family, leaves in (
        (F.Gamma(), (-1.0, -1.0)),
        (F.Gamma(), (1.0, 1.0)),
        (F.InverseGamma(), (-1.0, 1.0)),
        (F.Beta(), (-2.0, 1.0)),
        (F.InverseGaussian(), (1.0, -1.0)),
        (F.LogNormal(), (np.nan, -1.0)),
        (F.Weibull(1.5), (1.0,)),
        (F.Normal(), (0.0, 1.0)),
    ):
        point = family.Point(*map(jnp.asarray, leaves))
        levels = np.array([0.0, 0.3, 1.0])
        assert np.isnan(jax.vmap(family.quantile, (None, 0))(point, levels)).all(), family


@pytest.mark.parametrize(
    ("family", "params"),
    [
        (F.Normal(), (0.3, 2.0)),
        (F.LogNormal(), (0.3, 2.0)),
        (F.Exponential(), (2.0,)),
        (F.Weibull(1.5), (2.0,)),
        (F.Rayleigh(), (2.0,)),
        (F.Pareto(0.8), (2.0,)),
        (F.Laplace(0.3), (2.0,)),
        (F.Gamma(), (2.0, 3.0)),
        (F.InverseGamma(), (2.0, 3.0)),
        (F.InverseGaussian(), (2.0, 3.0)),
    ],
    ids=str,
)
def test_the_ends_of_the_support_do_not_move(family, params):
    theta = family.natural_from_params(*params)
    ends = family.support.low, family.support.high
    for level, end in zip((0.0, 1.0), ends, strict=True):
        found, slope = jax.value_and_grad(family.quantile)(theta, level)
        assert float(found) == end
        assert all(float(leaf) == 0 for leaf in jax.tree.leaves(slope))
        assert float(jax.grad(family.quantile, 1)(theta, level)) == 0


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_gamma_quantile_below_the_smallest_float_stays_in_the_support(dtype):
    tiny = np.finfo(dtype).tiny
    shape = np.asarray(0.3, dtype)
    theta = F.Gamma().natural_from_params(shape, np.asarray(1e6, dtype))
    levels = (tiny**0.3 * 10.0 ** np.arange(-2, 6)).astype(dtype)
    found = np.asarray(F.Gamma().quantile(theta, levels))
    assert (np.diff(found) >= 0).all()
    assert (found > 0).all()
    assert found[0] == tiny
    assert found[-1] > 1e3 * tiny
