"""CDF and quantile of every family that has them: sums, inverses, large parameters, the ends."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from igeojax import families, numerics

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

DTYPES = ("float64", "float32")
F = families
SCIPY = {
    "Normal": (F.Normal(), (0.3, 2.0), scipy.stats.norm(0.3, 2.0)),
    "Exponential": (F.Exponential(), (1.7,), scipy.stats.expon(scale=1 / 1.7)),
    "Gamma": (F.Gamma(), (2.5, 0.7), scipy.stats.gamma(2.5, scale=1 / 0.7)),
    "InverseGamma": (F.InverseGamma(), (3.5, 0.7), scipy.stats.invgamma(3.5, scale=0.7)),
    "Beta": (F.Beta(), (2.5, 0.7), scipy.stats.beta(2.5, 0.7)),
    "LogNormal": (F.LogNormal(), (0.3, 0.6), scipy.stats.lognorm(0.6, scale=np.exp(0.3))),
    "InverseGaussian": (F.InverseGaussian(), (1.3, 2.0), scipy.stats.invgauss(1.3 / 2, scale=2)),
    "Weibull": (F.Weibull(1.7), (0.8,), scipy.stats.weibull_min(1.7, scale=0.8)),
    "Rayleigh": (F.Rayleigh(), (0.8,), scipy.stats.rayleigh(scale=0.8)),
    "Pareto": (F.Pareto(0.8), (2.5,), scipy.stats.pareto(2.5, scale=0.8)),
    "Laplace": (F.Laplace(0.3), (0.8,), scipy.stats.laplace(0.3, 0.8)),
    "Poisson": (F.Poisson(), (3.4,), scipy.stats.poisson(3.4)),
    "Binomial": (F.Binomial(6), (0.3,), scipy.stats.binom(6, 0.3)),
    "Geometric": (F.Geometric(), (0.3,), scipy.stats.geom(0.3, loc=-1)),
    "NegativeBinomial": (F.NegativeBinomial(2.5), (0.3,), scipy.stats.nbinom(2.5, 0.3)),
    "Bernoulli": (F.Bernoulli(), (0.3,), scipy.stats.bernoulli(0.3)),
}
X = np.concatenate([[-np.inf, -3.0, -0.2, 0.0, 0.3, 0.81, 1.0], np.arange(2.0, 12), [np.inf]])


@pytest.mark.parametrize("name", SCIPY)
def test_against_scipy(name):
    family, params, peer = SCIPY[name]
    theta = family.natural_from_params(*params)
    value = np.asarray(jax.jit(family.cdf)(theta, X))
    np.testing.assert_allclose(value, peer.cdf(X), rtol=1e-11, atol=1e-14)
    assert (np.diff(value) >= 0).all()
    assert value[0] == 0
    assert value[-1] == 1
    assert np.isnan(family.cdf(theta, np.nan))
    levels = np.array([0.01, 0.3, 0.5, 0.99])
    found = family.quantile(theta, levels)
    np.testing.assert_allclose(found, peer.ppf(levels), rtol=1e-11, atol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_quantile_is_the_inverse_to_the_last_digit(dtype):
    count = np.arange(24)
    for probs in (0.1, 0.25, 0.9):
        theta = F.Geometric().natural_from_params(np.asarray(probs, dtype))
        reached = F.Geometric().cdf(theta, count)
        distinct = np.append(True, np.diff(reached) > 0) & (np.asarray(reached) < 1)
        found = np.asarray(F.Geometric().quantile(theta, reached))
        assert (found == count)[distinct].all()
    labels = F.Categorical(20)
    theta = labels.natural_from_params(probs=np.full(20, 0.05, dtype))
    every = np.arange(20)
    assert (np.asarray(labels.quantile(theta, labels.cdf(theta, every))) == every).all()
    sure = F.Geometric().natural_from_params(np.asarray(1.0, dtype))
    assert np.asarray(F.Geometric().quantile(sure, np.array([0.5, 1.0], dtype))).tolist() == [0, 0]


# The bounds of the docstrings of `numerics.incomplete`.
LARGE = {
    "gamma": (
        lambda n, x: numerics.gammainc(n, x),
        lambda n, x: scipy.special.gammainc(n, x),
        lambda n, z: n + z * np.sqrt(n),
        {"float64": 1e-10, "float32": 2e-5},
    ),
    "beta": (
        lambda n, x: numerics.betainc(n, 2 * n, x),
        lambda n, x: scipy.special.betainc(n, 2 * n, x),
        lambda n, z: 1 / 3 + z * np.sqrt(2 / 27 / n),
        {"float64": 1e-8, "float32": 5e-4},
    ),
}


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", LARGE)
def test_large_parameters(name, dtype):
    ours, peer, at, bounds = LARGE[name]
    for n in (50.0, 500.0, 1e4, 3e5, 1e6, 1e8):
        x = at(n, np.linspace(-4, 4, 33)).astype(dtype)
        found = np.asarray(ours(np.full_like(x, n), x))
        assert found.dtype == dtype
        assert ((found >= 0) & (found <= 1)).all()
        np.testing.assert_allclose(
            found, peer(n, x.astype(float)), rtol=0, atol=bounds[dtype], err_msg=str(n)
        )


@pytest.mark.parametrize("dtype", DTYPES)
def test_inverse_gaussian_of_a_large_shape(dtype):
    family = F.InverseGaussian()
    for shape, true in ((1e6, 0.5001994710903), (1e10, 0.50000199471140)):
        theta = family.natural_from_params(np.asarray(1.0, dtype), np.asarray(shape, dtype))
        value = float(family.cdf(theta, np.asarray(1.0, dtype)))
        assert value == pytest.approx(true, abs=float(4 * np.finfo(dtype).eps) + 1e-10)


@pytest.mark.parametrize("dtype", DTYPES)
def test_scaled_erfc(dtype):
    x = np.concatenate([np.linspace(0, 12, 97), [1e3, 1e8]]).astype(dtype)
    eps = np.finfo(dtype).eps
    found = numerics.scaled_erfc(jnp.asarray(x))
    np.testing.assert_allclose(found, scipy.special.erfcx(x.astype(float)), rtol=32 * eps)
