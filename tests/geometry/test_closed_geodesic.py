"""Closed Levi-Civita geodesics against the integrated ones, and as shortest paths."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES

TIMES = np.array([0.0, 0.25, 0.5, 1.0, 1.2])
NAMES = ["Normal", "Categorical", "DiagonalNormal", "LogNormal"]


def pair(name, dtype="float64"):
    point = lambda seed: jax.tree.map(
        lambda leaf: leaf.astype(dtype), FAMILIES[name].point(jax.random.key(seed), (3,))
    )
    return point(0), point(1)


@pytest.mark.parametrize("name", NAMES)
def test_times_are_shares_of_the_distance(name):
    family, (p, q) = FAMILIES[name].family, pair(name)
    path = jax.jit(lambda p, q: geometry.geodesic(family, p, q, TIMES))(p, q)
    whole = np.asarray(geometry.fisher_rao_distance(family, p, q))
    lift = lambda point: jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (5, *leaf.shape)), point)
    first = geometry.fisher_rao_distance(family, lift(p), path)
    last = geometry.fisher_rao_distance(family, path, lift(q))
    known = np.asarray(family.in_natural_domain(path))
    assert known[:4].all()
    share = np.broadcast_to(TIMES[:, None], known.shape)
    np.testing.assert_allclose(first[known], (share * whole)[known], rtol=1e-7, atol=1e-7)
    np.testing.assert_allclose(
        last[known], (np.abs(1 - share) * whole)[known], rtol=1e-7, atol=1e-7
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
def test_integration_agrees(name):
    family, (p, q) = FAMILIES[name].family, pair(name)
    path = geometry.geodesic(family, p, q, TIMES)
    # Traced, alpha is not known to be 0.
    traced = jax.jit(lambda alpha: geometry.geodesic(family, p, q, TIMES, alpha=alpha))(0.0)
    for one, other in zip(*map(jax.tree.leaves, (path, traced)), strict=True):
        np.testing.assert_allclose(other, one, rtol=1e-5, atol=1e-6)


def test_far_near_and_equal_laws():
    normal, die = families.Normal(), families.Categorical(3)
    p = normal.Params(jnp.array([0.0, 0.0, 2.0]), jnp.array([1e-100, 1.0, 3.0]))
    q = normal.Params(jnp.array([0.0, 1e-9, 2.0]), jnp.array([1e100, 1.0, 3.0]))
    middle = normal.params_from_natural(geometry.geodesic(normal, p, q, 0.5))
    np.testing.assert_allclose(middle.loc, [0, 5e-10, 2], rtol=1e-12)
    np.testing.assert_allclose(middle.scale, [1, 1, 3], rtol=1e-12)
    # Float32 keeps its dtype, and equal laws have derivatives.
    narrow = [jax.tree.map(jnp.float32, normal.Params(*law)) for law in ((0, 1), (1, 2))]
    assert geometry.geodesic(normal, *narrow, 0.3).x.dtype == jnp.float32
    moved = lambda scale: (
        geometry.geodesic(normal, normal.Params(0.0, 1.0), normal.Params(0.0, scale), 0.5).xx
    )
    # -1 / (2 scale) half way, in the logarithm of the scale.
    assert float(jax.grad(moved)(1.0)) == pytest.approx(0.5, rel=1e-12, abs=0)
    theta = die.natural_from_params(probs=[0.2, 0.3, 0.5])
    np.testing.assert_allclose(
        geometry.geodesic(die, theta, theta, TIMES).one_hot,
        np.broadcast_to(theta.one_hot, (5, 2)),
        rtol=1e-14,
    )


def test_the_circle_leaves_the_simplex():
    die = families.Categorical(3)
    p, q = (die.natural_from_params(probs=v) for v in ([0.8, 0.1, 0.1], [0.1, 0.1, 0.8]))
    beyond = geometry.geodesic(die, p, q, jnp.array([-1.0, 0.5, 2.0]))
    assert np.isnan(beyond.one_hot).all(axis=-1).tolist() == [True, False, True]
    outside = families.Normal().Point(jnp.array(0.0), jnp.array(1.0))
    inside = families.Normal().natural_from_params(0.0, 1.0)
    found = geometry.geodesic(families.Normal(), inside, outside, 0.5)
    assert np.isnan(found.x)
    assert np.isnan(found.xx)


def test_velocities_at_both_ends():
    # From scale 1 to e^2 the logarithm of the scale is 2 t, and 1 / scale falls by that.
    normal = families.Normal()
    p, q = normal.Params(0.0, 1.0), normal.Params(0.0, np.exp(2))
    inverse = lambda t: jnp.sqrt(-2 * geometry.geodesic(normal, p, q, t).xx)
    times = jnp.array([-0.5, 0.0, 0.3, 1.0, 1.5])
    found = jax.vmap(jax.grad(inverse))(times)
    np.testing.assert_allclose(found, -2 * np.exp(-2 * times), rtol=1e-12)
    # Also where the laws are all but equal.
    middle = lambda s: geometry.geodesic(normal, p, normal.Params(0.0, s), 0.5).xx  # -1 / (2 s)
    for s in (1.0, 1 + 1e-9, 1 + 1e-3):
        assert float(jax.grad(middle)(s)) == pytest.approx(0.5 / s**2, rel=1e-10, abs=0)


def test_far_beyond_the_ends_it_is_right_or_nan():
    normal = families.Normal()
    for dtype, digits in (("float64", 1e-7), ("float32", 1e-2)):
        p, q = (normal.Params(*np.array(law, dtype)) for law in ((0, 1), (0, 10)))
        times = np.array([-3.0, 2.0, 3.0, 8.0, 30.0], dtype)
        path = geometry.geodesic(normal, p, q, times)
        scale = np.asarray(jnp.sqrt(-0.5 / path.xx))
        known = ~np.isnan(scale)
        assert known[:2].all()
        np.testing.assert_allclose(scale[known], 10.0 ** times[known], rtol=digits)


def test_probabilities_that_underflow():
    die = families.Categorical(3)
    theta = die.Point(jnp.array([-110.0, 0.0], jnp.float32))
    other = die.Point(jnp.array([0.0, 110.0], jnp.float32))
    path = geometry.geodesic(die, theta, other, jnp.array([0.0, 1.0]))
    np.testing.assert_allclose(path.one_hot, [theta.one_hot, other.one_hot], rtol=1e-5)
