"""Geodesics of manifolds in any chart: closed forms, flat connections, models of no family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families import FAMILIES
from tests.geometry import manifolds

P = np.array([[0.0, 1.0], [0.0, 1.0], [1.0, 0.5], [0.0, 1.0], [-1.0, 2.0]])
Q = np.array([[1.5, 2.5], [3.0, 0.3], [1.0, 0.7], [20.0, 1.0], [-1.0, 2.0]])


def closed(p, q):
    normal = families.Normal()
    return geometry.fisher_rao_distance(normal, normal.Params(*p), normal.Params(*q))


@functools.cache
def program(dtype):
    """Everything about pairs of normal laws in mean and deviation, in one program."""
    manifold = manifolds.by_hand()

    def everything(p, q):
        found = geometry.manifold_distance(manifold, p, q)
        velocity = geometry.manifold_logarithm_map(manifold, p, q)
        distance = lambda p, q: geometry.manifold_distance(manifold, p, q).value
        return {
            "distance": found,
            "velocity": velocity,
            "end": geometry.manifold_exponential_map(manifold, p, velocity.velocity),
            "slopes": jax.grad(distance, (0, 1))(p, q),
            "closed": (closed(p, q), jax.grad(closed, (0, 1))(p, q)),
        }

    return jax.jit(jax.vmap(everything))(P.astype(dtype), Q.astype(dtype))


@pytest.mark.slow
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_normal_laws_in_closed_form(dtype):
    found, wide = program(dtype), program("float64")
    near = np.arange(5) if dtype == "float64" else np.array([0, 1, 2, 4])
    assert found["distance"].value.dtype == dtype
    bound = {"float64": 1e-8, "float32": 2e-4}[dtype]
    values, slopes = wide["closed"]
    assert found["distance"].converged[near].all()
    np.testing.assert_allclose(found["distance"].value[near], values[near], rtol=bound)
    assert found["distance"].value[4] == 0
    for got, expected in zip(found["slopes"], slopes, strict=True):
        np.testing.assert_allclose(got[near], expected[near], rtol=bound, atol=bound)
        assert (got[4] == 0).all()
    assert found["velocity"].converged[near].all()
    np.testing.assert_allclose(found["end"][near], Q[near], rtol=bound, atol=bound)


@pytest.mark.slow
def test_a_curved_family_of_one_coordinate():
    # Normal laws of mean s and deviation s: the metric is 3 / s^2.
    normal = families.Normal()
    curve = geometry.family_manifold(normal, lambda s: normal.natural_from_params(s[0], s[0]))
    s, velocity = jnp.array([2.0]), jnp.array([2.0 * np.log(3)])
    end = jax.jit(lambda v: geometry.manifold_exponential_map(curve, s, v))(velocity)
    np.testing.assert_allclose(end, [6.0], rtol=1e-9)
    distance = jax.jit(lambda p, q: geometry.manifold_distance(curve, p, q))
    there = distance(s, jnp.array([6.0]))
    assert float(there.value) == pytest.approx(np.sqrt(3) * np.log(3), rel=1e-9, abs=0)
    # Off the line of the curve is shorter.
    assert there.value > closed(jnp.array([2.0, 2.0]), jnp.array([6.0, 6.0]))


@functools.cache
def die():
    """A law on three outcomes by two of its probabilities: no family is told."""
    log_density = lambda xi, x: jnp.log(jnp.array([xi[0], xi[1], 1 - xi[0] - xi[1]])[x])
    manifold = geometry.model_manifold(log_density, jnp.arange(3))
    return manifold, jax.jit(
        jax.vmap(
            lambda p, v, alpha: geometry.manifold_exponential_map(manifold, p, v, alpha=alpha),
            in_axes=(None, None, 0),
        )
    )


def test_flat_connections_of_a_model():
    _, ends = die()
    p, v = jnp.array([0.2, 0.5]), jnp.array([0.15, -0.2])
    mixture, exponential = ends(p, v, jnp.array([-1.0, 1.0]))
    # Straight in the probabilities, and in the logarithms of their ratios.
    np.testing.assert_allclose(mixture, p + v, rtol=1e-9)
    logits = lambda xi: jnp.log(xi / (1 - xi.sum()))
    place, speed = jax.jvp(logits, (p,), (v,))
    moved = jnp.exp(place + speed)
    np.testing.assert_allclose(exponential, moved / (1 + moved.sum()), rtol=1e-9)
    outside = ends(p, 10 * v, jnp.array([-1.0]))
    assert np.isnan(outside).all()


@pytest.mark.slow
def test_distance_and_inverse_of_a_model():
    manifold, ends = die()
    p, q = jnp.array([0.2, 0.5]), jnp.array([0.6, 0.1])
    found = jax.jit(lambda p, q: geometry.manifold_distance(manifold, p, q))(p, q)
    whole = lambda xi: np.append(xi, 1 - xi.sum())
    expected = 2 * np.arccos(np.sqrt(whole(np.array(p)) * whole(np.array(q))).sum())
    assert float(found.value) == pytest.approx(expected, rel=1e-8, abs=0)
    alphas = jnp.array([-1.0, -0.4, 0.7, 1.0])
    inverse = jax.jit(jax.vmap(lambda a: geometry.manifold_logarithm_map(manifold, p, q, alpha=a)))(
        alphas
    )
    assert inverse.converged.all()
    for alpha, velocity in zip(alphas, inverse.velocity, strict=True):
        np.testing.assert_allclose(ends(p, velocity, alpha[None])[0], q, rtol=1e-8)
    # Derivatives of the implicit function, of both modes, against differences.
    velocity = jax.jit(
        lambda p, q, a: geometry.manifold_logarithm_map(manifold, p, q, alpha=a).velocity
    )
    forward = jax.jit(jax.jacfwd(velocity, (0, 1, 2)))(p, q, 0.3)
    reverse = jax.jit(jax.jacrev(velocity, (0, 1, 2)))(p, q, 0.3)
    for one, other in zip(forward, reverse, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-8, atol=1e-10)
    push, step = jnp.array([0.3, -0.2]), 1e-4
    for argument in (0, 1, 2):
        shift = push if argument < 2 else 1.0
        move = lambda t, k=argument, shift=shift: [
            v + t * shift if i == k else v for i, v in enumerate((p, q, 0.3))
        ]
        change = (velocity(*move(step)) - velocity(*move(-step))) / (2 * step)
        slope = forward[argument] @ push if argument < 2 else forward[2]
        np.testing.assert_allclose(slope, change, rtol=1e-5)


@pytest.mark.slow
def test_a_mixture_of_two_normal_laws():
    """Of unknown weight and shift: its nodes are a quadrature."""
    x = jnp.linspace(-12.0, 14.0, 801)

    def log_density(xi, x):
        near, far = (-0.5 * (x - m) ** 2 - 0.5 * jnp.log(2 * jnp.pi) for m in (0.0, xi[1]))
        weights = jax.nn.log_sigmoid(xi[0]), jax.nn.log_sigmoid(-xi[0])
        return jnp.logaddexp(weights[0] + near, weights[1] + far)

    manifold = geometry.model_manifold(log_density, x, jnp.full(801, x[1] - x[0]))
    distance = jax.jit(jax.vmap(lambda p, q: geometry.manifold_distance(manifold, p, q)))
    p, q, r = jnp.array([[0.0, 2.0], [1.0, 3.0], [-0.5, 2.5]])
    found = distance(jnp.stack([p, q, p, q, p]), jnp.stack([q, p, r, r, p]))
    assert found.converged.all()
    there, back, side, other, same = found.value
    assert float(there) == pytest.approx(float(back), rel=1e-8, abs=0)
    assert abs(side - other) < there < side + other
    assert same == 0
    # It is at least twice the angle between the roots of the densities, and near ones attain it.
    roots = lambda xi: jnp.exp(0.5 * jax.vmap(log_density, (None, 0))(xi, x))
    angle = lambda p, q: float(2 * jnp.arccos(jnp.sum(roots(p) * roots(q)) * (x[1] - x[0])))
    assert angle(p, q) < there
    near = p + 0.01 * (q - p)
    short = distance(p[None], near[None]).value[0]
    assert float(short) == pytest.approx(angle(p, near), rel=1e-4, abs=0)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Gamma", "Categorical"])
def test_families_agree_with_their_own_maps(name):
    family = FAMILIES[name].family
    p, q = (FAMILIES[name].point(jax.random.key(seed)) for seed in (0, 1))
    x, y = (geometry.ravel(family, point) for point in (p, q))
    manifold = geometry.family_manifold(family)
    found = jax.jit(lambda x, y: geometry.manifold_distance(manifold, x, y))(x, y)
    expected = geometry.numerical_distance(family, p, q, segments=128)
    assert found.converged
    assert float(found.value) == pytest.approx(float(expected.value), rel=1e-6, abs=0)
    inverse = jax.jit(
        lambda x, y: geometry.manifold_logarithm_map(manifold, x, y, alpha=0.5).velocity
    )(x, y)
    own = geometry.exponential_map(family, p, geometry.unravel(family, inverse), alpha=0.5)
    np.testing.assert_allclose(geometry.ravel(family, own), y, rtol=1e-6)


@pytest.mark.slow
def test_where_x64_is_off():
    manifold = manifolds.by_hand()
    with jax.enable_x64(False):
        p, q = jnp.array([0.0, 1.0]), jnp.array([1.5, 2.5])
        found = jax.jit(lambda p, q: geometry.manifold_distance(manifold, p, q))(p, q)
    assert found.value.dtype == jnp.float32
    assert found.converged
    assert float(found.value) == pytest.approx(float(closed(P[0], Q[0])), rel=1e-4, abs=0)


def test_bad_input():
    manifold, x = manifolds.by_hand(), jnp.array([0.0, 1.0])
    with pytest.raises(TypeError, match="must be a StatisticalManifold; got Normal"):
        geometry.manifold_distance(families.Normal(), x, x)
    with pytest.raises(ValueError, match=r"velocity must have the shape of its foot point"):
        geometry.manifold_exponential_map(manifold, x, jnp.ones(3))
    with pytest.raises(ValueError, match=r"q must have the shape of p, \(2,\); got \(3,\)"):
        geometry.manifold_logarithm_map(manifold, x, jnp.ones(3))
    with pytest.raises(ValueError, match="alpha must be a scalar"):
        geometry.manifold_exponential_map(manifold, x, x, alpha=[0.0, 1.0])
    with pytest.raises(ValueError, match="max_steps must be at least 1"):
        geometry.manifold_distance(manifold, x, x, max_steps=0)


def test_no_silent_derivative_in_what_a_manifold_closes_over():
    def value(size):
        metric = lambda x: size * jnp.exp(x)[:, None]
        line = geometry.StatisticalManifold(metric, lambda x: metric(x)[..., None])
        return geometry.manifold_distance(line, jnp.zeros(1), jnp.ones(1)).value

    assert float(jax.jit(value)(4.0)) == pytest.approx(4 * (np.exp(0.5) - 1), rel=1e-9, abs=0)
    with pytest.raises(jax.errors.UnexpectedTracerError):
        jax.grad(value)(4.0)
