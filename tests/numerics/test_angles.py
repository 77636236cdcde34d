"""Angles by two lengths against numpy and mpmath."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax.numerics import quadrant_angle, unit_angle


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_quadrant_angles_are_those_of_numpy(dtype):
    slopes = np.concatenate([np.geomspace(1e-30, 1e30, 4001), np.linspace(0, 3, 4001)])
    for opposite, adjacent in ((slopes, np.ones_like(slopes)), (slopes / 7, np.full(8002, 1 / 7))):
        y, x = opposite.astype(dtype), adjacent.astype(dtype)
        expected = np.arctan2(y.astype(np.float64), x.astype(np.float64))
        found = quadrant_angle(jnp.asarray(y), jnp.asarray(x))
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=3 * float(jnp.finfo(dtype).eps))


def test_a_quadrant_angle_of_no_lengths_is_zero():
    zero, one = jnp.float32(0), jnp.float32(1)
    assert quadrant_angle(zero, zero) == 0
    np.testing.assert_allclose(quadrant_angle(one, zero), np.pi / 2, rtol=1e-7)
    assert np.isnan(quadrant_angle(jnp.float32(jnp.nan), one))


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_derivatives_of_quadrant_angles(dtype):
    y, x = jnp.asarray(0.3, dtype), jnp.asarray(1.2, dtype)
    slopes = jax.grad(quadrant_angle, (0, 1))(y, x)
    square = 0.3**2 + 1.2**2
    np.testing.assert_allclose(slopes, (1.2 / square, -0.3 / square), rtol=1e-6)
    second = jax.grad(jax.grad(quadrant_angle))(y, x)
    np.testing.assert_allclose(second, -2 * 0.3 * 1.2 / square**2, rtol=1e-6)


@pytest.mark.parametrize("angle", [1e-30, 1e-10, 1e-3, 1.0, 2.0, 3.1, np.pi])
def test_the_angle_between_units_has_all_its_digits(angle):
    x = jnp.array([1.0, 0.0], jnp.float32)
    with mpmath.workdps(40):
        y = jnp.array([float(mpmath.cos(angle)), float(mpmath.sin(angle))], jnp.float32)
    expected = np.arctan2(np.float64(y[1]), np.float64(y[0]))
    np.testing.assert_allclose(unit_angle(x, y), expected, rtol=4e-7)


def test_the_angle_of_equal_and_of_opposite_units_has_derivative_zero():
    x = jnp.array([0.6, 0.8])
    for y in (x, -x):
        assert (jax.grad(unit_angle)(x, y) == 0).all()
