"""Inversion of a CDF and the search for a count: ends, starts, derivatives, counting of values."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import numerics
from igeojax.families import Beta, Gamma

DTYPES = ("float64", "float32")


def tails(rate, x):
    return -jnp.expm1(-rate * x), jnp.exp(-rate * x)


def log_density(rate, x):
    return jnp.log(rate) - rate * x


exponential = functools.partial(numerics.inverse_cdf, tails, log_density, float("inf"))


@pytest.mark.parametrize("dtype", DTYPES)
def test_any_start_reaches_the_closed_form(dtype):
    lower = np.array([1e-30, 1e-12, 0.3, 0.5, 0.9, 1 - 1e-6], dtype)
    upper = np.asarray(1 - lower)
    start = np.array([0, 1e-30, 1e-4, 1.0, 1e4, 1e30, np.inf], dtype)[:, None]
    arrays = np.broadcast_arrays(np.asarray(2.5, dtype), lower, upper, start)
    found = np.asarray(exponential(*arrays))
    assert found.dtype == dtype
    expected = np.where(lower < 0.5, -np.log1p(-lower.astype(float)), -np.log(upper.astype(float)))
    rtol = 4 * np.finfo(dtype).eps
    np.testing.assert_allclose(found, np.tile(expected / 2.5, (7, 1)), rtol=rtol)


def test_a_tiny_upper_level_keeps_its_digits():
    # 1 - 1e-300 is no float: the two levels are given apart.
    rate, lower, upper, start = map(jnp.asarray, (2.0, 1.0, 1e-300, 1.0))
    found = float(exponential(rate, lower, upper, start))
    assert found == pytest.approx(150 * np.log(10), rel=1e-15, abs=0)


def test_ends_and_missing_starts():
    lower = jnp.array([0.0, 1.0, 0.5, 0.5])
    start = jnp.array([1.0, 1.0, jnp.nan, -1.0])
    found = exponential(jnp.full(4, 2.0), lower, 1 - lower, start)
    np.testing.assert_array_equal(found, [0, np.inf, np.nan, np.nan])


def test_derivatives_of_two_orders():
    quantile = lambda rate, level: exponential(rate, level, 1 - level, jnp.ones(()))
    closed = lambda rate, level: -jnp.log1p(-level) / rate
    for level in (1e-9, 0.3, 0.9):
        for derivative in (jax.grad, jax.jacfwd, jax.hessian):
            ours, true = (derivative(f, (0, 1))(2.0, level) for f in (quantile, closed))
            np.testing.assert_allclose(ours, true, rtol=1e-11)
    assert jax.grad(quantile, (0, 1))(2.0, 0.0) == (0, 0)
    # A batch is a loop.
    levels = jnp.array([1e-9, 0.3, 0.9])
    batch = jax.jit(jax.vmap(jax.grad(quantile), (None, 0)))(2.0, levels)
    np.testing.assert_allclose(batch, jnp.log1p(-levels) / 4, rtol=1e-12)


@pytest.mark.slow  # the derivative of the incomplete gamma function takes long to compile
def test_derivative_in_parameters_is_that_of_the_cdf():
    family, level = Gamma(), 0.3
    theta = family.natural_from_params(2.5, 0.7)
    slope = jax.grad(family.quantile)(theta, level)
    x = family.quantile(theta, level)
    moved = jax.grad(family.cdf)(theta, x)
    density = jnp.exp(family.log_density(theta, x))
    for ours, other in zip(slope, moved, strict=True):
        assert float(ours) == pytest.approx(float(-other / density), rel=1e-10, abs=0)


def test_no_derivative_in_the_concentrations_of_a_beta_law():
    """And no zero in its place."""
    beta, level = Beta(), 0.3
    point = beta.natural_from_params(2.5, 0.7)
    for function in (beta.cdf, beta.quantile):
        with pytest.raises(ValueError, match=r"gradient with respect to a and b"):
            jax.grad(function)(point, level)


def steps(reached, count):
    return reached[jnp.clip(count, -1, reached.size - 2).astype(int) + 1]


@pytest.mark.parametrize("dtype", DTYPES)
def test_least_count_of_any_start(dtype):
    weights = np.array([0.1, 0.0, 0.3, 0.2, 0.0, 0.0, 0.25, 0.15])
    reached = np.concatenate([[0.0], np.cumsum(weights)]).astype(dtype)
    reached[-1] = 1
    level = np.array([0, 1e-12, 0.1, 0.100001, 0.4, 0.6, 0.6001, 0.9, 1], dtype)
    expected = np.array([0, 0, 0, 2, 2, 3, 6, 7, 7])
    size = np.full_like(level, 1)
    for mean in (-5.0, 0.0, 3.0, 6.9, 1e6, np.inf):
        shape = numerics.CountShape(np.full_like(level, mean), 0 * size, 0 * size, size)
        found = numerics.least_count(steps, jnp.asarray(reached), level, 7 * size, shape)
        assert found.dtype == dtype
        np.testing.assert_array_equal(found, expected, err_msg=str(mean))
    unknown = shape._replace(mean=np.full_like(level, np.nan))
    found = numerics.least_count(steps, jnp.asarray(reached), level, 7 * size, unknown)
    assert np.isnan(found).all()
