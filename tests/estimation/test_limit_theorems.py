"""Distances of means to the normal law against scipy, exact sums and the bound."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import gamma, kstest, norm

from igeojax.estimation import berry_esseen_bound, kolmogorov_distance, normal_approximation


def test_the_distance_is_that_of_scipy():
    samples = np.random.default_rng(0).normal(0.2, 1.1, size=300)
    found = kolmogorov_distance(samples, jax.scipy.stats.norm.cdf)
    np.testing.assert_allclose(found, kstest(samples, norm.cdf).statistic, rtol=1e-12)
    # Just after the last sample, and just before the first.
    for sample in (-1.0, 1.0):
        found = kolmogorov_distance(np.full(3, sample), jax.scipy.stats.norm.cdf)
        np.testing.assert_allclose(found, norm.cdf(1), rtol=1e-12)


def test_the_bound():
    np.testing.assert_allclose(
        berry_esseen_bound(jnp.asarray([1.0, 2.0]), 2.0, 9.0), 0.4748 / 24 * np.array([1, 2])
    )


def test_means_of_exponential_laws():
    """A sum of n is a Gamma law: the true distance is known."""
    sizes = (1, 8, 32)
    third = 12 / np.e - 2  # of |X - 1|^3
    found = normal_approximation(
        jax.random.key(0), jax.random.exponential, 1.0, 1.0, third, sizes=sizes
    )
    grid = np.linspace(-8, 8, 100_001)
    exact = [np.abs(gamma.cdf(n + np.sqrt(n) * grid, n) - norm.cdf(grid)).max() for n in sizes]
    np.testing.assert_allclose(2 * np.exp(-2 * 10_000 * found.band**2), 1e-6, rtol=1e-10)
    # The band is exceeded with probability below 1e-6 for each.
    assert (np.abs(found.distance - np.asarray(exact)) < float(found.band)).all()
    assert (np.asarray(exact) < np.asarray(found.bound)).all()
    np.testing.assert_allclose(found.deviation_limit, 1 / np.sqrt(sizes), rtol=1e-12)
    # The mean square of 10^4 errors: kurtosis at most 9, so deviation below 0.03 of it.
    np.testing.assert_allclose(found.deviation, found.deviation_limit, rtol=0.08)


def test_bad_input_is_told():
    with pytest.raises(ValueError, match="positive"):
        berry_esseen_bound(1.0, 0.0, 10)
    with pytest.raises(ValueError, match="vmap"):
        kolmogorov_distance(np.ones((2, 2)), jax.scipy.stats.norm.cdf)
    with pytest.raises(ValueError, match="at least one number"):
        normal_approximation(jax.random.key(0), jax.random.normal, 0, 1, 1.6, sizes=())
    flat = lambda key, shape: jax.random.normal(key, shape[::-1])
    with pytest.raises(ValueError, match=r"draws of shape \(10000, 4\).*got \(4, 10000\)"):
        normal_approximation(jax.random.key(0), flat, 0, 1, 1.6, sizes=np.array([4]))
    with pytest.raises(TypeError, match="key"):
        normal_approximation(0, jax.random.normal, 0, 1, 1.6)
