"""Bregman projections against their optimality conditions, and projected mirror steps."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import scipy.optimize

from igeojax import optim

project = jax.jit(optim.entropy_projection)
EPS = np.finfo(float).eps


def reference(weights, low, high):
    """`clip(c w, low, high)` with c by Brent's method."""
    gap = lambda log_c: np.clip(np.exp(log_c) * weights, low, high).sum() - 1
    root = scipy.optimize.brentq(gap, -60, 60, xtol=1e-15, rtol=1e-15)
    return np.clip(np.exp(root) * weights, low, high)


@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_projection_is_the_clipped_multiple(n):
    rng = np.random.default_rng(n)
    for sharpness in (0.1, 1.0, 10.0):
        weights = rng.gamma(sharpness, size=(4, n)) + 1e-12
        low = rng.uniform(0, 0.8 / n, size=n)
        high = low + rng.uniform(0.5, 4, size=n) / n
        high[0] += 0.5
        found = project(weights, lower=low[None], upper=high[None])
        expected = [reference(w, low, high) for w in weights]
        np.testing.assert_allclose(found, expected, rtol=1e-11)


def test_projection_is_the_minimum_of_scipy():
    weights, high = np.array([0.6, 0.25, 0.1, 0.05]), np.array([0.3, 0.35, 0.5, 0.5])
    divergence = lambda y: np.sum(y * np.log(y / weights) - y + weights)
    best = scipy.optimize.minimize(
        divergence, np.array([0.2, 0.3, 0.25, 0.25]), method="SLSQP",
        bounds=[(1e-9, u) for u in high], options={"ftol": 1e-14},
        constraints={"type": "eq", "fun": lambda y: y.sum() - 1},
    )  # fmt: skip
    np.testing.assert_allclose(project(weights, upper=high), best.x, atol=1e-6)


def test_optimality_conditions_and_pythagoras():
    rng = np.random.default_rng(7)
    weights, low, high = rng.dirichlet(np.full(40, 0.3), size=3) + 1e-9, 0.001, 0.06
    y = np.asarray(project(weights, lower=low, upper=high))
    np.testing.assert_allclose(y.sum(-1), 1, rtol=8 * EPS)
    assert (y >= low).all()
    assert (y <= high).all()
    slope = np.log(y / weights)
    for row, s in zip(y, slope, strict=True):
        free = (row > low) & (row < high)
        nu = s[free].mean()
        np.testing.assert_allclose(s[free], nu, atol=1e-12)
        assert (s[row == low] >= nu - 1e-12).all()
        assert (s[row == high] <= nu + 1e-12).all()
    # D(z, w) >= D(z, y) + D(y, w) for every z of the set.
    divergence = lambda a, b: np.sum(a * np.log(a / b) - a + b, -1)
    z = np.asarray(project(rng.dirichlet(np.ones(40), size=3), lower=low, upper=high))
    assert (divergence(z, weights) >= divergence(z, y) + divergence(y, weights) - 1e-12).all()


def test_without_active_bounds_it_divides_by_the_sum():
    weights = jnp.asarray([[2.0, 1.0, 1.0], [0.5, 0.0, 1.5]])
    np.testing.assert_allclose(project(weights), [[0.5, 0.25, 0.25], [0.25, 0, 0.75]], rtol=1e-15)


@pytest.mark.parametrize(
    ("weights", "low", "high", "expected"),
    [
        ([3.0, 1.0, 1.0], 0.0, 1 / 3, [1 / 3] * 3),  # only one point is left
        ([3.0, 1.0, 1.0], 1 / 3, 1.0, [1 / 3] * 3),
        ([3.0, 1.0, 1.0], 0.0, 0.2, [np.nan] * 3),
        ([3.0, 1.0, 1.0], 0.4, 1.0, [np.nan] * 3),
        ([1.0, 0.0, 0.0], 0.0, 0.5, [np.nan] * 3),  # what has no weight gets none
        ([1.0, 0.0, 1e-300], 0.0, 0.5, [0.5, 0.0, 0.5]),
        ([1.0, 0.0, 0.0], 0.1, 1.0, [0.8, 0.1, 0.1]),
        ([np.nan, 1.0, 1.0], 0.0, 1.0, [np.nan] * 3),
    ],
)
def test_edges(weights, low, high, expected):
    found = project(jnp.asarray(weights), lower=low, upper=high)
    np.testing.assert_allclose(found, expected, rtol=1e-14)


def test_float32_of_many():
    rng = np.random.default_rng(0)
    weights = rng.lognormal(sigma=5, size=(2, 2000)).astype(np.float32)
    found = project(weights, upper=0.002)
    assert found.dtype == jnp.float32
    expected = [reference(w.astype(float), 0.0, 0.002) for w in weights]
    np.testing.assert_allclose(found, expected, rtol=2e-4)
    np.testing.assert_allclose(np.asarray(found, float).sum(-1), 1, rtol=1e-4)


def test_derivatives_and_batches():
    weights = jnp.asarray([[0.6, 0.25, 0.1, 0.05], [0.15, 0.2, 0.3, 0.5]])
    cost = jnp.asarray([1.0, -2.0, 0.5, 3.0])
    value = lambda w: jnp.sum(project(w, lower=0.06, upper=0.4) @ cost)
    found = jax.grad(value)(weights)
    width = 1e-6
    for index in np.ndindex(weights.shape):
        ahead, back = (value(weights.at[index].add(h)) for h in (width, -width))
        np.testing.assert_allclose(found[index], (ahead - back) / (2 * width), atol=1e-7)
    mapped = jax.vmap(lambda w: project(w, lower=0.06, upper=0.4))(weights)
    np.testing.assert_array_equal(mapped, project(weights, lower=0.06, upper=0.4))


def test_bad_arguments():
    with pytest.raises(ValueError, match="needs vectors on the last axis; got a scalar"):
        optim.entropy_projection(1.0)
    with pytest.raises(ValueError, match="weights of entropy_projection must be non-negative"):
        optim.entropy_projection(jnp.asarray([1.0, -1.0]))
    with pytest.raises(ValueError, match="upper of entropy_projection must be at least lower"):
        optim.entropy_projection(jnp.ones(2), lower=0.5, upper=0.2)
    with pytest.raises(TypeError, match=r"projection must map a point to a point; got 'simplex'"):
        optim.mirror_descent(0.1, optim.NegativeEntropy(), "simplex")
    tx = optim.mirror_descent(0.1, projection=lambda point: point[:1])
    with pytest.raises(ValueError, match="projected points must have the shapes of params"):
        tx.update(jnp.ones(2), tx.init(jnp.ones(2)), jnp.ones(2))


# Projected steps.


def descended(tx, gradient, start, count):
    def advance(carry, _):
        params, state = carry
        updates, state = tx.update(gradient(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.jit(lambda p: jax.lax.scan(advance, (p, tx.init(p)), length=count)[0][0])(start)


def test_capped_simplex_finds_the_best_few():
    cost, cap = jnp.asarray([3.0, 1.0, 2.0, 0.0, 5.0]), 0.4
    capped = functools.partial(optim.entropy_projection, upper=cap)
    tx = optim.mirror_descent(0.5, optim.NegativeEntropy(), capped)
    found = descended(tx, lambda p: cost, jnp.full(5, 0.2), 300)
    np.testing.assert_allclose(found, [0, 0.4, 0.2, 0.4, 0], atol=1e-12)


QUADRATIC = np.array([[2.0, 0.3, 0.1], [0.3, 1.0, 0.2], [0.1, 0.2, 1.5]])
CENTER = np.array([1.4, -0.3, 0.4])
SETS = {
    "simplex": (
        optim.Euclidean(), optax.projections.projection_simplex, np.full(3, 1 / 3),
        [(0, 1)] * 3, {"type": "eq", "fun": lambda y: y.sum() - 1},
    ),
    "capped": (
        optim.NegativeEntropy(), functools.partial(optim.entropy_projection, upper=0.5),
        np.full(3, 1 / 3), [(0, 0.5)] * 3, {"type": "eq", "fun": lambda y: y.sum() - 1},
    ),
    "box of entropy": (
        optim.NegativeEntropy(normalized=False),
        functools.partial(optax.projections.projection_box, lower=0.1, upper=0.8),
        np.full(3, 0.5), [(0.1, 0.8)] * 3, (),
    ),
    "box of barrier": (
        optim.LogBarrier(),
        functools.partial(optax.projections.projection_box, lower=0.1, upper=0.8),
        np.full(3, 0.5), [(0.1, 0.8)] * 3, (),
    ),
    "ball": (
        optim.Euclidean(), functools.partial(optax.projections.projection_l2_ball, scale=0.7),
        np.zeros(3), None, {"type": "ineq", "fun": lambda y: 0.49 - y @ y},
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SETS)
def test_projected_descent_finds_the_constrained_minimum(name):
    mirror, projection, start, bounds, constraints = SETS[name]
    loss = lambda y: 0.5 * (y - CENTER) @ QUADRATIC @ (y - CENTER)
    best = scipy.optimize.minimize(
        loss, start, method="SLSQP", bounds=bounds, constraints=constraints, options={"ftol": 1e-15}
    )
    tx = optim.mirror_descent(0.2, mirror, projection)
    found = descended(tx, lambda y: QUADRATIC @ (y - CENTER), jnp.asarray(start), 800)
    np.testing.assert_allclose(found, best.x, atol=2e-6)


def test_projection_takes_the_whole_tree_and_keeps_digits_where_it_does_nothing():
    box = lambda point: jax.tree.map(lambda leaf: jnp.clip(leaf, 0.0, 1e9), point)
    params = {"a": jnp.asarray([1.0, 2.0]), "b": jnp.asarray(3.0)}
    grads = jax.tree.map(lambda p: 1e-20 * p, params)
    bare, boxed = (optim.mirror_descent(0.1, projection=p) for p in (None, box))
    updates, _ = boxed.update(grads, boxed.init(params), params)
    expected, _ = bare.update(grads, bare.init(params), params)
    jax.tree.map(np.testing.assert_array_equal, updates, expected)
    tx = optax.inject_hyperparams(optim.mirror_descent, static_args=("projection",))(
        learning_rate=0.1, projection=box
    )
    updates, _ = jax.jit(tx.update)(grads, tx.init(params), params)
    jax.tree.map(functools.partial(np.testing.assert_allclose, rtol=1e-6), updates, expected)
