"""Derivatives in reverse mode where a branch that is not taken might leave 0 times infinity."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.manifolds import Lorentz, PoincareBall, poincare_from_lorentz

BALL, ZERO, Y = PoincareBall(3), jnp.zeros(3), jnp.array([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("function", "at"),
    [
        (BALL.project_point, ZERO),
        (lambda u: BALL.exp(ZERO, u), ZERO),
        (lambda u: BALL.retract(ZERO, u), ZERO),
        (lambda y: BALL.mobius_add(ZERO, y), ZERO),
        (lambda x: BALL.mobius_scale(2.0, x), ZERO),
        (lambda a: BALL.mobius_scale(a, Y), 0.0),
        (lambda matrix: BALL.mobius_matvec(matrix, ZERO), jnp.eye(3)),
        (lambda x: BALL.gyro_midpoint(jnp.stack([x, -x])), Y),
        (lambda p: poincare_from_lorentz(Lorentz(2), p), jnp.array([1.0, 0.0, 0.0])),
    ],
    ids=["project", "exp", "retract", "add", "scale", "scaled_by", "matvec", "midpoint", "convert"],
)
def test_at_the_origin_of_the_ball_it_is_forward_mode(function, at):
    backward, forward = jax.jacrev(function)(at), jax.jacfwd(function)(at)
    assert np.isfinite(forward).all()
    np.testing.assert_allclose(backward, forward, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize(("r", "s"), [(30, -1), (30, -10), (25, -25), (8, 3)])
def test_far_out_on_the_hyperboloid_it_is_a_number(r, s):
    lorentz = Lorentz(1)
    point = lambda r: jnp.array([np.cosh(r), np.sinh(r)], jnp.float32)
    x, y = point(r), point(s)
    for place in (0, 1):
        backward = jax.jacrev(lorentz.log, argnums=place)(x, y)
        forward = jax.jacfwd(lorentz.log, argnums=place)(x, y)
        size = np.abs(forward).max()
        np.testing.assert_allclose(backward, forward, rtol=1e-4, atol=1e-5 * size)
        # The slopes of exp have no digit left there in float32.
        assert np.isfinite(jax.jacrev(lorentz.exp, argnums=place)(x, lorentz.log(x, y))).all()


@pytest.mark.parametrize(
    ("r", "s"), [(30, 29.5), (30, 10), (30, -1), (12, 4), (2, 1.999), (0.5, 0.4), (1e-20, 2e-20)]
)
def test_the_slope_of_the_distance_of_the_hyperboloid_has_its_digits(r, s):
    lorentz = Lorentz(1)
    point = lambda r: jnp.array([np.cosh(r), np.sinh(r)], jnp.float32)
    # Of the distance from the origin, in the space part: 1 / cosh(r).
    slopes = [jax.grad(lorentz.distance, place)(point(r), point(s))[1] for place in (0, 1)]
    sign = np.sign(r - s)
    expected = sign / np.cosh(r), -sign / np.cosh(s)
    np.testing.assert_allclose(slopes, expected, rtol=2e-6 if abs(r - s) > 0.01 else 2e-4)
