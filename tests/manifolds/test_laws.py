"""Laws that every manifold obeys, at random points near and far, within stated multiples of eps."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.manifolds.cases import (
    COUNT,
    MANIFOLDS,
    Operations,
    condition,
    minus,
    pairing,
    plus,
    reach,
    scaled,
    zeros,
)

EPS = float(np.finfo(np.float64).eps)
every = pytest.mark.parametrize("name", MANIFOLDS)
# Steps below the rounding of a point, at it, and far.
sizes = st.sampled_from([1e-300, 1e-17, 1e-12, 1e-8, 1e-4, 0.1, 1.0, 3.0])
seeds = st.integers(0, 2**32 - 1)
few = settings(max_examples=20)


class Pairs(NamedTuple):
    """Points x, tangents u and v at x, points y at the end of u, and what they round to."""

    x: Any
    y: Any
    u: Any
    v: Any
    unit: np.ndarray


def pairs(name: str, seed: int, size: float) -> tuple[Operations, Pairs]:
    """Pairs a distance of `size` apart, or less where there is no such pair, of random points.

    Every third seed moves the points on to a distance of 5: far out, or near a face.
    """
    do = Operations(MANIFOLDS[name])
    keys = jax.random.split(jax.random.key(seed), 3)
    x = do.random_point(keys[0])
    if seed % 3 == 0:
        out = do.random_tangent(jax.random.key(seed + 1), x)
        x = do.exp(x, scaled(np.minimum(5, 0.9 * reach(do.manifold, x)) / do.norm(x, out), out))
    u, v = do.random_tangent(keys[1], x), do.random_tangent(keys[2], x)
    length = np.minimum(size, 0.9 * reach(do.manifold, x))
    # Once more: of a tangent that is short for its ambient vector, rounding leaves more across.
    u, v = do.project_tangent(x, scaled(length / do.norm(x, u), u)), do.project_tangent(x, v)
    y = do.exp(x, u)
    return do, Pairs(x, y, u, v, EPS * (condition(do.manifold, x) + condition(do.manifold, y)))


def within(error: Any, unit: Any, factor: float) -> None:
    """Assert that errors are at most `factor` units."""
    error, unit = np.broadcast_arrays(np.abs(error), unit)
    bad = ~(error <= factor * unit)
    assert not bad.any(), f"errors of {(error / unit)[bad]} units"


def across(do: Operations, x: Any, v: Any) -> np.ndarray:
    """What the projection takes from tangents, where a number of the size of the point rounds."""
    return do.norm(x, minus(do.project_tangent(x, v), v)) / condition(do.manifold, x)


@every
@few
@given(seeds, sizes)
def test_log_inverts_exp(name, seed, size):
    do, (x, y, u, _, unit) = pairs(name, seed, size)
    to = do.log(x, y)
    within(do.norm(x, minus(to, u)), unit * (1 + do.norm(x, u)), 32)
    within(do.distance(do.exp(x, to), y), unit, 32)


@every
@few
@given(seeds, sizes)
def test_distance_is_the_length_of_log(name, seed, size):
    do, (x, y, u, _, unit) = pairs(name, seed, size)
    distance = do.distance(x, y)
    within(do.norm(x, do.log(x, y)) - distance, unit * (1 + distance), 16)
    within(distance - do.norm(x, u), unit * (1 + distance), 16)
    within(do.distance(y, x) - distance, unit * distance, 8)


@every
@few
@given(seeds, sizes)
def test_transport_is_an_isometry(name, seed, size):
    do, (x, y, u, v, unit) = pairs(name, seed, size)
    moved, other = do.transport(x, y, u), do.transport(x, y, v)
    lengths = do.norm(x, u) * do.norm(x, v)
    within(do.inner(y, moved, other) - do.inner(x, u, v), unit * lengths, 32)
    within(across(do, y, other), unit * do.norm(x, v), 32)
    # Back again, and along the geodesic, whose velocity it carries.
    within(do.norm(x, minus(do.transport(y, x, other), v)), unit * do.norm(x, v), 32)
    turned = plus(do.transport(x, y, do.log(x, y)), do.log(y, x))
    within(do.norm(y, turned), unit * (1 + do.norm(x, u)), 32)


@every
@few
@given(seeds, sizes)
def test_triangles(name, seed, size):
    do, (x, y, _, v, unit) = pairs(name, seed, size)
    z = do.exp(x, v)
    unit = unit + EPS * condition(do.manifold, z)
    excess = do.distance(x, z) - do.distance(x, y) - do.distance(y, z)
    assert (excess <= 16 * unit).all()
    middle = jax.tree.map(lambda leaf: leaf[0], do.geodesic(x, y, np.array([0.5])))
    within(do.distance(middle, y) - 0.5 * do.distance(x, y), unit, 16)


@every
@few
@given(seeds, sizes)
def test_the_distance_grows_along_the_geodesic(name, seed, size):
    do, (x, y, u, _, unit) = pairs(name, seed, size)
    gradient = do.riemannian_gradient(x, do.distance_gradient(x, y))
    # It is minus the unit velocity: of a way at rounding level there is no direction.
    away = plus(scaled(do.norm(x, u), gradient), u)
    within(do.norm(x, away), unit * (1 + do.norm(x, u)), 32)
    within(across(do, x, gradient), unit, 16)


@every
@few
@given(seeds)
def test_the_gradient_represents_the_derivative(name, seed):
    do, (x, _, _, v, unit) = pairs(name, seed, 1.0)
    generator = np.random.default_rng(seed)
    ambient = jax.tree.map(lambda leaf: generator.standard_normal(leaf.shape), x)
    gradient = do.riemannian_gradient(x, ambient)
    sizes = np.sqrt(pairing(ambient, ambient) * pairing(v, v)) + do.norm(x, gradient) * do.norm(
        x, v
    )
    within(do.inner(x, gradient, v) - pairing(ambient, v), unit * sizes, 16)


@every
@few
@given(seeds)
def test_derivatives_at_coincident_points(name, seed):
    do, (x, _, _, v, unit) = pairs(name, seed, 1.0)
    for derivative in ("exp_derivative", "log_derivative", "retract_derivative"):
        within(do.norm(x, minus(getattr(do, derivative)(x, v), v)), unit * do.norm(x, v), 16)
    assert (do.distance(x, x) == 0).all()
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(do.distance_gradient(x, x)))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(do.log(x, x)))
    assert (do.norm(x, zeros(x)) == 0).all()


@every
@few
@given(seeds, sizes)
def test_the_square_of_the_distance_is_smooth(name, seed, size):
    do, (x, y, u, v, unit) = pairs(name, seed, size)
    distance = do.distance(x, y)
    within(do.squared_distance(x, y) - distance**2, unit * (1 + distance) * distance, 32)
    # Of points that coincide and leave with u and v: twice the metric, off the manifold as on it.
    apart = do.norm(x, minus(u, v)) ** 2
    sizes = (do.norm(x, u) + do.norm(x, v)) ** 2
    within(do.squared_distance_hessian(x, u, v) - 2 * apart, unit * sizes, 32)


@every
@few
@given(seeds)
def test_a_retraction_is_right_to_first_order(name, seed):
    do, (x, _, _, v, _) = pairs(name, seed, 1.0)
    step = scaled(1e-3 * np.minimum(1.0, reach(do.manifold, x)) / do.norm(x, v), v)
    error = do.distance(do.retract(x, step), do.exp(x, step))
    assert (error <= 2 * condition(do.manifold, x) * do.norm(x, step) ** 2).all()


@every
@few
@given(seeds, sizes)
def test_projections_keep_what_they_project_on(name, seed, size):
    do, (x, y, _, v, unit) = pairs(name, seed, size)
    assert do.contains(y).all()
    within(do.distance(do.project_point(y), y), unit, 4)
    within(across(do, x, v), unit * do.norm(x, v), 16)
    moved = plus(y, jax.tree.map(lambda leaf: 0.1 * np.abs(leaf), v))
    assert do.contains(do.project_point(moved)).all()
    assert do.contains(do.retract(x, scaled(5.0, v))).all()


@every
def test_tangents_are_standard_normal(name):
    do = Operations(MANIFOLDS[name])
    lengths = []
    for seed in range(256):
        one, two = jax.random.split(jax.random.key(seed))
        x = do.random_point(one)
        lengths.append(do.norm(x, do.random_tangent(two, x)) ** 2)
    # A chi-square of as many degrees of freedom, 2048 times; five standard errors.
    freedom = do.manifold.dimension
    assert abs(np.mean(lengths) - freedom) < 5 * np.sqrt(2 * freedom / (256 * COUNT))


@every
@pytest.mark.parametrize("size", [1e-3, 1.0])
def test_float32_is_near_float64(name, size):
    do, (x, y, u, _, unit) = pairs(name, 1, size)
    single = lambda tree: jax.tree.map(lambda leaf: leaf.astype(np.float32), tree)
    double = lambda tree: jax.tree.map(lambda leaf: leaf.astype(np.float64), tree)
    x, y, u = (single(tree) for tree in (x, y, u))
    unit = unit / EPS * float(np.finfo(np.float32).eps)
    results = [
        (f(x, other), f(*map(double, (x, other)))) for f, other in ((do.exp, u), (do.log, y))
    ]
    distance = do.distance(x, y)
    for narrow, _ in [*results, (distance, None)]:
        assert all(leaf.dtype == np.float32 for leaf in jax.tree.leaves(narrow))
    within(distance - do.distance(double(x), double(y)), unit * (1 + distance), 8)
    (point, exact), (velocity, true) = results
    within(do.distance(double(point), exact), unit * (1 + distance), 8)
    within(do.norm(double(x), minus(double(velocity), true)), unit * (1 + distance), 8)


@every
def test_all_operations_keep_float32(name):
    manifold = MANIFOLDS[name]
    x = jax.eval_shape(lambda: manifold.random_point(jax.random.key(0), (2,), jnp.float32))
    key = jax.eval_shape(lambda: jax.random.key(0))
    calls = {
        "random_tangent": (key, x),
        **dict.fromkeys(("inner", "transport"), (x, x, x)),
        **dict.fromkeys(("norm", "retract", "riemannian_gradient", "project_tangent"), (x, x)),
        "project_point": (x,),
    }
    for method, arguments in calls.items():
        result = jax.eval_shape(getattr(manifold, method), *arguments)
        assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(result)), method


@every
def test_a_description_is_static(name):
    manifold = MANIFOLDS[name]
    assert jax.tree.leaves(manifold) == []
    assert hash(manifold) == hash(type(manifold)(**vars(manifold)))
    traces = []

    @jax.jit
    def count(description):
        traces.append(description)
        return jnp.zeros(())

    count(manifold)
    count(type(manifold)(**vars(manifold)))
    assert len(traces) == 1
