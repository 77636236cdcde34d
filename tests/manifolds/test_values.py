"""Values and gradients against mpmath at the points that are stored, float32 and float64."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.manifolds import (
    Lorentz,
    PoincareBall,
    Simplex,
    Sphere,
    SymmetricPositiveDefinite,
    lorentz_from_poincare,
    poincare_from_lorentz,
)
from igeojax.numerics import square_ratios
from tests.manifolds.cases import Operations

mpmath.mp.dps = 60
DTYPES = [np.float32, np.float64]
both = pytest.mark.parametrize("dtype", DTYPES)


def exact(vector):
    return mpmath.matrix([mpmath.mpf(float(entry)) for entry in np.ravel(vector)])


def relative(value, true):
    """Relative error in units of eps of the dtype."""
    error = abs((mpmath.mpf(float(value)) - true) / true)
    return float(error) / float(np.finfo(value.dtype).eps)


def sphere_distance(x, y):
    x, y = exact(x), exact(y)
    return 2 * mpmath.atan2(mpmath.norm(x - y), mpmath.norm(x + y))


def ball_distance(x, y):
    x, y = exact(x), exact(y)
    gap = lambda v: 1 - mpmath.fdot(v, v)
    return mpmath.acosh(1 + 2 * mpmath.norm(x - y) ** 2 / (gap(x) * gap(y)))


def lorentz_distance(x, y):
    x, y = exact(x[1:]), exact(y[1:])
    time = lambda v: mpmath.sqrt(1 + mpmath.fdot(v, v))
    return mpmath.acosh(time(x) * time(y) - mpmath.fdot(x, y))


@both
def test_sphere_distance_from_coincident_to_antipodal(dtype):
    sphere = Operations(Sphere(3))
    slopes = [jax.jit(mode(sphere.manifold.distance)) for mode in (jax.jacfwd, jax.jacrev)]
    x = np.array([0.6, 0.8, 0.0], dtype)
    bound = 4 * float(np.finfo(dtype).eps)
    for angle in (1e-30, 1e-12, 1e-6, 1e-3, 0.5):
        near = np.array([0.6 * np.cos(angle), 0.8 * np.cos(angle), np.sin(angle)], dtype)
        for y, sign in ((near, -1), (-near, 1)):
            assert relative(sphere.distance(x, y), sphere_distance(x, y)) < 4
            assert relative(-sign * sphere.log(x, y)[2], sphere_distance(x, y)) < 8
            # The slope along the third axis, to which the way is tangent at x.
            for slope in slopes:
                assert slope(x, y)[2] == pytest.approx(sign, rel=0, abs=bound)


def test_spherical_log_at_antipodes():
    sphere = Operations(Sphere(3, radius=3.0))
    x = np.array([1.0, -2.0, 2.0])
    velocity = sphere.log(x, -x)
    assert sphere.norm(x, velocity) == pytest.approx(3 * np.pi, rel=1e-15, abs=0)
    assert np.allclose(sphere.exp(x, velocity), -x, rtol=0, atol=4e-15)
    assert np.allclose(sphere.transport(x, -x, velocity), -velocity, rtol=0, atol=1e-14)
    manifold = sphere.manifold
    assert (jax.jit(jax.grad(manifold.distance))(x, -x) == 0).all()
    for f in (manifold.log, lambda *pair: manifold.transport(*pair, velocity)):
        for slope in jax.jit(jax.jacrev(f, (0, 1)))(x, -x):
            assert np.isfinite(slope).all()


@both
def test_ball_distance_at_the_rim(dtype):
    generator = np.random.default_rng(0)
    ball = Operations(PoincareBall(4))
    eps = float(np.finfo(dtype).eps)
    for gap in (1e-1, 1e-3, 1e-5, 8 * eps):
        points = generator.standard_normal((40, 4))
        points = points * (1 - gap) / np.linalg.norm(points, axis=-1, keepdims=True)
        points[30:] = 0
        x, y = points[:20].astype(dtype), points[20:].astype(dtype)
        for at, other, value in zip(x, y, ball.distance(x, y), strict=True):
            # 1 - |x|^2 is exact to half of the digits more than the dtype has.
            assert relative(value, ball_distance(at, other)) < 4 + eps**0.5 / gap


@both
def test_ball_distance_is_not_clamped(dtype):
    ball = Operations(PoincareBall(1))
    x = np.array([1 - 2.0**-20], dtype)
    assert relative(ball.distance(x, -x), ball_distance(x, -x)) < 2
    slope = jax.jit(jax.grad(ball.manifold.distance))(x, -x)[0]
    assert slope == pytest.approx(2.0**20, rel=1e-5, abs=0)
    for step in (1e-6, 1e-3):
        y = (x * dtype(1 - step)).astype(dtype)
        assert relative(ball.distance(x, y), ball_distance(x, y)) < 4


def test_ball_geodesics_over_the_origin():
    ball = Operations(PoincareBall(3))
    direction = np.array([1.0, -2.0, 2.0]) / 3
    x = np.tanh(0.5 * 15) * direction
    for r in (-0.1, -2.0, -12.0):
        y = np.tanh(0.5 * r) * direction
        velocity = ball.log(x, y)
        # As far off as x, and its velocity, are stored across the ray: `eps cosh(15)`.
        bound = 4 * float(np.finfo(float).eps) * (np.cosh(15.0) + np.cosh(r))
        assert abs(ball.norm(x, velocity) - (15 - r)) < bound
        assert ball.distance(ball.exp(x, velocity), y) < bound * np.cosh(r)


@both
@pytest.mark.parametrize(
    ("r", "s"),
    [(30, 29.5), (30, 10), (30, 0), (30, 1e-3), (5, -30), (0.5, 0.4), (20, -1), (1e-20, 2e-20)],
)
def test_lorentz_is_exact_along_rays(dtype, r, s):
    lorentz = Operations(Lorentz(2))
    x, y = (np.array([np.cosh(v), 0.0, np.sinh(v)], dtype) for v in (r, s))
    true = lorentz_distance(x, y)
    assert relative(lorentz.distance(x, y), true) < 4
    velocity = lorentz.log(x, y)
    assert relative(lorentz.norm(x, velocity), true) < 16
    # The end of the way, as a distance; its numbers have the error of the way, times their size.
    end = lorentz.exp(x, velocity)
    error = abs(np.arcsinh(float(end[2])) - np.arcsinh(float(y[2])))
    assert error <= 16 * np.finfo(dtype).eps * max(float(true), abs(r))


@both
def test_lorentz_distance_in_any_direction(dtype):
    generator = np.random.default_rng(1)
    lorentz = Operations(Lorentz(3))
    eps = float(np.finfo(dtype).eps)
    for radius in (1e-3, 1.0, 3.0, 6.0):
        for angle in (1e-6, 1e-2, 1.0, 3.0):
            for rise in (0.0, 1e-4, 1.0):
                one, two = np.linalg.qr(generator.standard_normal((3, 2)))[0].T
                turned = np.cos(angle) * one + np.sin(angle) * two
                x, y = (
                    np.concatenate([[np.cosh(r)], np.sinh(r) * v]).astype(dtype)
                    for r, v in ((radius, one), (radius + rise, turned))
                )
                true = lorentz_distance(x, y)
                error = abs(mpmath.mpf(float(lorentz.distance(x, y))) - true)
                step, total = exact(x[1:]) - exact(y[1:]), exact(x[1:]) + exact(y[1:])
                near = 4 * mpmath.norm(step) < mpmath.norm(total)
                # Near points from their step, far ones as they are stored.
                size = mpmath.norm(step) if near else np.cosh(radius + rise)
                bound = 4 * eps * (true + size)
                assert error <= bound, (radius, angle, rise)
                length = lorentz.norm(x, lorentz.log(x, y))
                # The numbers of a tangent are as large as the point makes them.
                bound = 4 * eps * (size + true * (1 + np.cosh(radius)))
                assert abs(mpmath.mpf(float(length)) - true) <= bound, (radius, angle, rise)


def test_lorentz_slopes_at_the_origin():
    distance = Lorentz(2).distance
    r = np.array([0.2, 1.2, 3.0, 20.0])
    x = np.stack([np.cosh(r), 0 * r, np.sinh(r)], axis=-1)
    origin = np.tile([1.0, 0.0, 0.0], (4, 1))
    total = lambda x, y: jnp.sum(distance(x, y))
    back = jax.jit(jax.grad(total, (0, 1)))
    forward = jax.jit(jax.vmap(jax.jacfwd(distance, (0, 1))))
    for slopes in (back, forward):
        assert np.allclose(slopes(origin, x)[0], [[0.0, 0.0, -1.0]], rtol=0, atol=1e-14)
        assert np.allclose(slopes(x, origin)[1], [[0.0, 0.0, -1.0]], rtol=0, atol=1e-14)


def test_lorentz_and_ball_are_one_space():
    model, other = PoincareBall(3, curvature=-0.7), Lorentz(3, curvature=-0.7)
    ball, lorentz = Operations(model), Operations(other)
    keys = jax.random.split(jax.random.key(0), 3)
    x, y = (ball.random_point(key) for key in keys[:2])
    u = ball.random_tangent(keys[2], x)
    there = jax.jit(lambda points: lorentz_from_poincare(model, points))
    push = lambda at, tangent: jax.jvp(there, (at,), (tangent,))[1]
    assert np.allclose(poincare_from_lorentz(other, there(x)), x, rtol=0, atol=1e-15)
    assert np.allclose(lorentz.distance(there(x), there(y)), ball.distance(x, y), rtol=1e-13)
    assert np.allclose(lorentz.norm(there(x), push(x, u)), ball.norm(x, u), rtol=1e-13)
    assert np.allclose(lorentz.exp(there(x), push(x, u)), there(ball.exp(x, u)), rtol=1e-12)
    assert np.allclose(lorentz.log(there(x), there(y)), push(x, ball.log(x, y)), atol=1e-12)
    moved = lorentz.transport(there(x), there(y), push(x, u))
    assert np.allclose(moved, push(y, ball.transport(x, y, u)), atol=1e-12)


def test_mobius_operations():
    ball = PoincareBall(2, curvature=-0.5)
    keys = jax.random.split(jax.random.key(1), 3)
    x, y, z = (ball.random_point(key, (5,)) for key in keys)
    c, dot = 0.5, lambda a, b: (a * b).sum(-1, keepdims=True)
    numerator = (1 + 2 * c * dot(x, y) + c * dot(y, y)) * x + (1 - c * dot(x, x)) * y
    total = numerator / (1 + 2 * c * dot(x, y) + c**2 * dot(x, x) * dot(y, y))
    assert np.allclose(ball.mobius_add(x, y), total, rtol=0, atol=1e-14)
    assert np.allclose(ball.mobius_add(-x, x), 0, rtol=0, atol=1e-15)
    moved = ball.distance(ball.mobius_add(z, x), ball.mobius_add(z, y))
    assert np.allclose(moved, ball.distance(x, y), rtol=1e-12)
    twice = ball.mobius_scale(2.0, x)
    assert np.allclose(twice, ball.mobius_add(x, x), rtol=0, atol=1e-14)
    matrix = np.array([[0.3, -1.0], [0.5, 0.2], [1.0, 0.0]])
    origin = jnp.zeros((5, 2))
    wanted = PoincareBall(3, -0.5).exp(jnp.zeros((5, 3)), ball.log(origin, x) @ matrix.T)
    assert np.allclose(ball.mobius_matvec(matrix, x), wanted, rtol=0, atol=1e-14)
    middle = ball.gyro_midpoint(jnp.stack([x, y]))
    assert np.allclose(middle, ball.geodesic(x, y, 0.5), rtol=0, atol=1e-14)
    # Of three weighed points: the center of mass on the hyperboloid, projected back.
    weights, points = np.array([1.0, 2.0, 0.5]), jnp.stack([x, y, z])
    lorentz = Lorentz(2, -0.5)
    center = np.einsum("i,ibd->bd", weights, lorentz_from_poincare(ball, points))
    norm = np.sqrt(0.5 * (center[:, 0] ** 2 - (center[:, 1:] ** 2).sum(-1)))
    center = poincare_from_lorentz(lorentz, center / norm[:, None])
    assert np.allclose(ball.gyro_midpoint(points, weights), center, rtol=0, atol=1e-13)


def test_gyro_midpoint_of_far_points_that_are_near_each_other():
    ball = PoincareBall(2)
    x = np.array([[1 - 1e-12, 0.0], [1 - 1e-12, 1e-12]])
    middle = ball.gyro_midpoint(x)
    distances = [ball.distance(middle, point).item() for point in x]
    assert distances[0] == pytest.approx(distances[1], rel=1e-3, abs=0)
    assert sum(distances) == pytest.approx(ball.distance(*x).item(), rel=1e-3, abs=0)


def test_simplex_is_the_categorical_family():
    simplex, family = Simplex(4), families.Categorical(4)
    p = simplex.random_point(jax.random.key(0), (5,))
    q = simplex.random_point(jax.random.key(1), (5,))
    params = family.Params(p), family.Params(q)
    wanted = geometry.fisher_rao_distance(family, *params)
    assert np.allclose(simplex.distance(p, q), wanted, rtol=1e-14)
    theta = geometry.geodesic(family, *params, 0.3)
    middle = family.params_from_natural(theta).probs
    assert np.allclose(simplex.geodesic(p, q, 0.3), middle, rtol=1e-12)


@both
def test_simplex_distance_of_near_laws_and_at_the_rim(dtype):
    simplex = Simplex(3)
    p = np.array([0.5, 0.25, 0.25], dtype)
    q = p + np.array([2.0**-20, -(2.0**-20), 0.0], dtype)
    # To first order the Fisher length of the step.
    step = np.sqrt(((q - p).astype(float) ** 2 / p).sum())
    assert simplex.distance(p, q).item() == pytest.approx(step, rel=4e-6, abs=0)
    far = p * np.exp(np.array([2.0, -2.0, -2.0]))
    stepped = simplex.retract(p, np.array([1.0, -0.5, -0.5], dtype))
    assert np.allclose(stepped, far / far.sum(), rtol=1e-6)
    one, two = np.eye(3, dtype=dtype)[:2]
    assert simplex.distance(one, two).item() == pytest.approx(np.pi, rel=1e-6, abs=0)
    for pair in ((one, two), (one, p), (one, one)):
        for index in (0, 1):
            assert np.isfinite(jax.grad(simplex.distance, index)(*pair)).all()


def test_positive_definite_distance_is_that_of_normal_laws():
    spd, family = SymmetricPositiveDefinite(3), families.MultivariateNormal(3)
    p = spd.random_point(jax.random.key(0), (4,))
    q = spd.random_point(jax.random.key(1), (4,))
    mean = jnp.zeros((4, 3))
    laws = family.Params(mean, p), family.Params(mean, q)
    wanted = np.sqrt(2) * geometry.fisher_rao_distance(family, *laws, fixed="mean")
    assert np.allclose(spd.distance(p, q), wanted, rtol=1e-13)
    change = np.random.default_rng(0).standard_normal((3, 3))
    moved = [change @ np.asarray(m) @ change.T for m in (p, q)]
    moved = [0.5 * (m + m.swapaxes(-1, -2)) for m in moved]
    assert np.allclose(spd.distance(*moved), spd.distance(p, q), rtol=1e-11)


@both
def test_positive_definite_distance_near_and_far(dtype):
    spd = SymmetricPositiveDefinite(2)
    p, tiny = np.diag([2.0, 0.5]).astype(dtype), dtype(2.0**-20)
    near = p + np.diag([2 * tiny, -0.5 * tiny]).astype(dtype)
    wanted = mpmath.sqrt(mpmath.log1p(2.0**-20) ** 2 + mpmath.log1p(-(2.0**-20)) ** 2)
    assert relative(np.asarray(spd.distance(p, near)), wanted) < 4
    # The logarithm of a small eigenvalue, which I + C would have rounded.
    far = np.diag([1e-12, 1.0]).astype(dtype)
    wanted = abs(mpmath.log(mpmath.mpf(float(far[0, 0]))))
    assert relative(np.asarray(spd.distance(np.eye(2, dtype=dtype), far)), wanted) < 4
    # Repeated eigenvalues: derivatives of eigenvectors would be infinite.
    for f in (spd.distance, spd.log):
        assert all(np.isfinite(v).all() for v in jax.jacrev(f, (0, 1))(p, 2 * p))


RATIOS = {
    "sin_ratio": lambda z: mpmath.sin(mpmath.sqrt(z)) / mpmath.sqrt(z),
    "sinh_ratio": lambda z: mpmath.sinh(mpmath.sqrt(z)) / mpmath.sqrt(z),
    "tanh_ratio": lambda z: mpmath.tanh(mpmath.sqrt(z)) / mpmath.sqrt(z),
    "cos_deficit": lambda z: 1 - mpmath.cos(mpmath.sqrt(z)),
    "cosh_excess": lambda z: mpmath.cosh(mpmath.sqrt(z)) - 1,
    "arcsin_ratio": lambda z: mpmath.asin(mpmath.sqrt(z)) / mpmath.sqrt(z),
    "arcsinh_ratio": lambda z: mpmath.asinh(mpmath.sqrt(z)) / mpmath.sqrt(z),
}


@both
@pytest.mark.parametrize("name", RATIOS)
def test_ratios_of_squares(name, dtype):
    z = np.concatenate([10.0 ** np.linspace(-12, -0.1, 30), [0.099, 0.101]]).astype(dtype)
    function = getattr(square_ratios, name)
    values, slopes = jax.jit(jax.vmap(jax.value_and_grad(function)))(z)
    for at, value, slope in zip(z, np.asarray(values), np.asarray(slopes), strict=True):
        at = mpmath.mpf(float(at))
        assert relative(value, RATIOS[name](at)) < 8
        assert relative(slope, mpmath.diff(RATIOS[name], at)) < 32
