"""Mixed coordinates: round trips, the orthogonal foliation, closed forms."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.geometry import manifolds


def mask_of(name):
    """Every second entry a mean parameter."""
    return np.arange(FAMILIES[name].family.dimension) % 2 == 0


@functools.cache
def program(name):
    """`mixed -> (vector of theta, its Jacobian)` from the start of another law."""
    family, mask = FAMILIES[name].family, mask_of(name)
    start = FAMILIES[name].point(jax.random.key(1))

    def vector(mixed):
        theta = geometry.natural_from_mixed(family, mixed, mask, start)
        return geometry.ravel(family, theta)

    return jax.jit(lambda mixed: (vector(mixed), jax.jacfwd(vector)(mixed)))


@manifolds.each_manifold
def test_round_trip_and_orthogonal_foliation(name):
    family, mask, (theta, _) = FAMILIES[name].family, mask_of(name), manifolds.point(name)
    mixed = geometry.mixed_from_natural(family, geometry.unravel(family, jnp.array(theta)), mask)
    found, jacobian = program(name)(mixed)
    np.testing.assert_allclose(found, theta, rtol=1e-7, atol=1e-9)
    # The metric has no entry between the two kinds; the blocks are those of Schur complements.
    metric = manifolds.evaluated(name)["hessian"]
    pulled = np.asarray(jacobian).T @ metric @ np.asarray(jacobian)
    expected = np.zeros_like(pulled)
    inverse = np.linalg.inv(metric)
    for kind, block in ((mask, metric), (~mask, inverse)):
        if kind.any():
            expected[np.ix_(kind, kind)] = np.linalg.inv(block[np.ix_(kind, kind)])
    frame = np.sqrt(np.outer(np.diagonal(expected), np.diagonal(expected)))
    np.testing.assert_allclose(pulled / frame, expected / frame, rtol=0, atol=1e-7)


@jax.jit
def solve(mixed, mask, start):
    """Normal laws in one program: the mask may be traced."""
    normal = families.Normal()
    begin = normal.natural_from_params(*start)
    return geometry.ravel(normal, geometry.natural_from_mixed(normal, mixed, mask, begin))


@pytest.mark.parametrize("start", [(0.0, 5.0), (1e3, 0.01), (-20.0, 100.0)])
def test_a_normal_law_of_given_second_moment_and_natural_location(start):
    # E[x^2] = v + (v t)^2 with t = m / s^2 and v = s^2: v from a quadratic.
    for second, t in ((1.7, 0.6), (40.0, -3.0)):
        v = (np.sqrt(1 + 4 * t**2 * second) - 1) / (2 * t**2)
        found = solve(jnp.array([t, second]), np.array([False, True]), start)
        np.testing.assert_allclose(found, [t, -0.5 / v], rtol=1e-9)


def test_all_of_one_kind_is_the_chart_itself():
    normal, eta, start = families.Normal(), jnp.array([0.4, 2.0]), (0.0, 5.0)
    theta = jnp.stack(list(normal.natural_from_mean(normal.Point(*eta))))
    np.testing.assert_allclose(solve(eta, np.array([True, True]), start), theta, rtol=1e-9)
    np.testing.assert_allclose(solve(theta, np.array([False, False]), start), theta, rtol=1e-12)


def vector(mixed):
    start = tuple(jnp.asarray(v, mixed.dtype) for v in (0.0, 5.0))
    return solve(mixed, np.array([False, True]), start)


def closed(mixed):
    t, second = mixed
    return jnp.stack([t, -(t**2) / (jnp.sqrt(1 + 4 * t**2 * second) - 1)])


def test_maps_and_single_precision():
    several = jnp.array([[0.6, 1.7], [-3.0, 40.0], [0.6, -1.0]])
    mapped = jax.jit(jax.vmap(vector))(several)
    np.testing.assert_allclose(mapped[:2], [closed(m) for m in several[:2]], rtol=1e-9)
    assert np.isnan(mapped[2]).all()  # no law has a negative second moment
    single = jax.jit(vector)(jnp.asarray(several[0], jnp.float32))
    assert single.dtype == jnp.float32
    np.testing.assert_allclose(single, closed(several[0]), rtol=1e-5)


@pytest.mark.slow
def test_derivatives_of_both_modes_and_second_order():
    mixed = jnp.array([0.6, 1.7])

    @jax.jit
    def derivatives(m):
        second = jax.jacfwd(jax.jacrev(vector))(m)
        return jax.jacfwd(vector)(m), jax.jacrev(vector)(m), second

    forward, reverse, second = derivatives(mixed)
    np.testing.assert_allclose(forward, jax.jacfwd(closed)(mixed), rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(reverse, forward, rtol=1e-9, atol=1e-12)
    np.testing.assert_allclose(second, jax.hessian(closed)(mixed), rtol=1e-8, atol=1e-9)


def test_batches_of_mixed_coordinates():
    normal = families.Normal()
    theta = normal.natural_from_params(jnp.array([1.0, 2.0]), 2.0)
    found = geometry.mixed_from_natural(normal, theta, jnp.array([True, False]))
    np.testing.assert_allclose(found, [[1.0, -0.125], [2.0, -0.125]], rtol=1e-15)


def test_arguments_are_checked():
    normal = families.Normal()
    theta, mask, mixed = normal.natural_from_params(0.0, 1.0), [True, False], jnp.zeros(2)
    calls = (
        (TypeError, "instance of a family", ("Normal", mixed, mask, theta)),
        (TypeError, "is_mean must be boolean; got dtype int", (normal, mixed, [1, 0], theta)),
        (ValueError, r"is_mean must have shape \(2,\)", (normal, mixed, [True], theta)),
        (ValueError, r"trailing axes \(2,\)", (normal, jnp.zeros(3), mask, theta)),
        (ValueError, "mixed must be one vector", (normal, jnp.zeros((3, 2)), mask, theta)),
        (TypeError, r"needs a Normal\.Point", (normal, mixed, mask, mixed)),
    )
    for error, message, arguments in calls:
        with pytest.raises(error, match=message):
            geometry.natural_from_mixed(*arguments)
    with pytest.raises(TypeError, match="is_mean must be boolean"):
        geometry.mixed_from_natural(normal, theta, [1, 0])
