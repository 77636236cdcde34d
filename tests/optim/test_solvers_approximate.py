"""Solvers that take a part of the metric, against numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import optim
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LINEAR,
    PARAMS,
    flat,
    linear_predict,
    predict,
    problem,
    single,
    solution,
    update,
)

BLOCK, LOW = optim.BlockDiagonal(), optim.LowRank(3)
each_solver = pytest.mark.parametrize("solver", [BLOCK, LOW], ids=str)
WIDE = jnp.asarray(np.random.default_rng(8).normal(size=(2, 6)))


@functools.cache
def model_update(solver, damping=0.1):
    return update(optim.scale_by_natural_gradient(predict, FAMILY, solver=solver, damping=damping))


@functools.cache
def linear_update(solver, damping):
    return update(
        optim.scale_by_natural_gradient(linear_predict, LINEAR, solver=solver, damping=damping)
    )


def expected_direction(solver, matrix, rhs, damping):
    """The same in numpy: blocks of the leaves, or the exact eigenpairs."""
    rhs = np.asarray(rhs)
    if solver == BLOCK:
        parts, start = [], 0
        for leaf in jax.tree.leaves(PARAMS):
            part = slice(start, start + leaf.size)
            start = part.stop
            block = matrix[part, part] + damping * np.eye(leaf.size)
            parts.append(np.linalg.solve(block, rhs[part]))
        return np.concatenate(parts)
    values, vectors = np.linalg.eigh(matrix)
    values[: -solver.rank] = 0.0
    return vectors @ ((vectors.T @ rhs) / (values + damping))


@each_solver
def test_directions_are_those_of_the_part(solver):
    grads, matrix = problem()
    direction, state = model_update(solver)(grads, PARAMS, inputs=INPUTS)
    expected = expected_direction(solver, matrix, flat(grads), 0.1)
    np.testing.assert_allclose(flat(direction), expected, rtol=1e-6, atol=1e-9)
    assert jax.tree.structure(direction) == jax.tree.structure(PARAMS)
    assert int(state.num_steps) == 1
    if solver == LOW:
        error = (matrix + 0.1 * np.eye(len(matrix))) @ flat(direction) - flat(grads)
        residual = np.linalg.norm(error) / np.linalg.norm(flat(grads))
        np.testing.assert_allclose(state.residual, residual, rtol=1e-6)
        assert residual > 0.01
    else:
        assert float(state.residual) < 1e-12


def test_full_rank_is_the_dense_solve():
    grads, _ = problem()
    for rank in (13, 50):
        direction, state = model_update(optim.LowRank(rank))(grads, PARAMS, inputs=INPUTS)
        np.testing.assert_allclose(flat(direction), solution(0.1), rtol=1e-8, atol=1e-10)
        assert float(state.residual) < 1e-11


def test_one_leaf_is_the_dense_solve():
    rhs = jnp.arange(1.0, 7.0)
    direction, _ = linear_update(BLOCK, 0.1)(rhs, jnp.zeros(6), inputs=WIDE)
    exact, _ = linear_update(optim.Dense(), 0.1)(rhs, jnp.zeros(6), inputs=WIDE)
    np.testing.assert_allclose(direction, exact, rtol=1e-10)


def test_a_metric_of_low_rank_is_solved_exactly():
    rhs = jnp.arange(1.0, 7.0)
    direction, state = linear_update(optim.LowRank(2), 1e-4)(rhs, jnp.zeros(6), inputs=WIDE)
    matrix = np.asarray(WIDE.T @ WIDE) / 2 + 1e-4 * np.eye(6)
    np.testing.assert_allclose(direction, np.linalg.solve(matrix, np.asarray(rhs)), rtol=1e-7)
    assert float(state.residual) < 1e-10


def test_low_rank_needs_products_alone_and_blocks_a_jacobian():
    scale, params = jnp.asarray([4.0, 2.0, 0.0]), jnp.ones(3)
    metric = lambda _, v: scale * v
    direction, _ = update(optim.scale_by_metric(metric, solver=optim.LowRank(2), damping=1.0))(
        params, params
    )
    np.testing.assert_allclose(direction, 1 / (np.asarray(scale) + 1), rtol=1e-12)
    tx = optim.scale_by_metric(metric, solver=BLOCK, damping=1.0)
    with pytest.raises(TypeError, match="BlockDiagonal needs the Jacobian of a model"):
        tx.update(params, tx.init(params), params)


def test_singular_blocks_without_damping_give_the_minimum_norm():
    rhs = WIDE.T @ jnp.asarray([1.0, -2.0])
    direction, _ = linear_update(BLOCK, 0.0)(rhs, jnp.zeros(6), inputs=WIDE)
    expected = np.linalg.pinv(np.asarray(WIDE.T @ WIDE) / 2, rcond=1e-12) @ np.asarray(rhs)
    np.testing.assert_allclose(direction, expected, rtol=1e-6)
    none, _ = linear_update(BLOCK, 0.0)(jnp.ones(6), jnp.zeros(6), inputs=0 * WIDE)
    np.testing.assert_array_equal(none, 0)


@each_solver
def test_no_curvature_leaves_the_damping(solver):
    direction, _ = linear_update(solver, 0.1)(jnp.ones(6), jnp.zeros(6), inputs=0 * WIDE)
    np.testing.assert_allclose(direction, 10.0, rtol=1e-12)


@each_solver
def test_weights_replace_the_mean(solver):
    grads, _ = problem()
    weights = jnp.asarray([1.0, 0.0, 0.5, 0.0, 2.0, 0.0])
    direction, _ = model_update(solver)(grads, PARAMS, inputs=INPUTS, weights=weights)
    kept, _ = model_update(solver)(grads, PARAMS, inputs=INPUTS[::2], weights=weights[::2])
    np.testing.assert_allclose(flat(direction), flat(kept), rtol=1e-6, atol=1e-9)


@each_solver
@pytest.mark.parametrize("x64", [True, False])
def test_single_precision(solver, x64):
    grads, matrix = problem()
    arguments = jax.tree.map(np.asarray, (single(grads), single(PARAMS), single(INPUTS)))
    with jax.enable_x64(x64):
        tx = optim.scale_by_natural_gradient(predict, FAMILY, solver=solver, damping=0.1)
        direction, state = update(tx)(*arguments[:2], inputs=arguments[2])
    assert {leaf.dtype for leaf in jax.tree.leaves(direction)} == {np.dtype("float32")}
    assert state.residual.dtype == np.dtype("float32")
    expected = expected_direction(solver, matrix, flat(grads), 0.1)
    np.testing.assert_allclose(flat(direction), expected, rtol=0, atol=1e-4)


@each_solver
def test_leaves_may_have_several_dtypes_and_half_precision(solver):
    grads, matrix = problem()
    mixed = lambda tree: tree | {"inner": tree["inner"].astype(jnp.float32)}
    direction, _ = model_update(solver)(mixed(grads), mixed(PARAMS), inputs=INPUTS)
    assert direction["inner"].dtype == jnp.float32
    expected = expected_direction(solver, matrix, flat(grads), 0.1)
    np.testing.assert_allclose(flat(direction), expected, rtol=0, atol=1e-4)
    half = functools.partial(jax.tree.map, lambda leaf: leaf.astype(jnp.bfloat16))
    x = jnp.asarray([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]])
    rhs = jnp.asarray([1.0, 2.0])
    low, state = linear_update(solver, 1.0)(half(rhs), half(jnp.zeros(2)), inputs=half(x))
    exact = np.linalg.solve(np.asarray(x.T @ x) / 3 + np.eye(2), np.asarray(rhs))
    assert low.dtype == jnp.bfloat16
    assert state.residual.dtype == jnp.float32
    np.testing.assert_allclose(np.asarray(low, float), exact, rtol=0.03)


@each_solver
@pytest.mark.parametrize("where", ["gradient", "params"])
def test_nan_is_not_hidden(solver, where):
    grads, _ = problem()
    spoil = lambda tree: tree | {"inner": tree["inner"].at[0, 0].set(jnp.nan)}
    grads, params = (spoil(grads), PARAMS) if where == "gradient" else (grads, spoil(PARAMS))
    direction, _ = model_update(solver)(grads, params, inputs=INPUTS)
    assert np.isnan(flat(direction)).any()


def test_vmap_over_gradients():
    grads, _ = problem()
    stacked = jax.tree.map(lambda leaf: jnp.stack([leaf, -2 * leaf]), grads)
    for solver in (BLOCK, LOW):
        run = model_update(solver)
        directions, _ = jax.vmap(lambda g, run=run: run(g, PARAMS, inputs=INPUTS))(stacked)
        one, _ = run(grads, PARAMS, inputs=INPUTS)
        for found, expected in zip(jax.tree.leaves(directions), jax.tree.leaves(one), strict=True):
            np.testing.assert_allclose(found[1], -2 * expected, rtol=1e-8, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: optim.LowRank(0), ValueError, "rank must be at least 1; got 0"),
        (lambda: optim.LowRank(2.0), TypeError, "rank must be a Python integer; got float"),
        (lambda: optim.LowRank(2, num_blocks=0), ValueError, "num_blocks must be at least 1"),
        (lambda: optim.LowRank(2, seed=-1), ValueError, "seed must be at least 0"),
        (
            lambda: optim.scale_by_metric(lambda p, v: v, solver=LOW, damping=0.0),
            ValueError,
            "divides by it",
        ),
    ],
)
def test_bad_options(make, error, message):
    with pytest.raises(error, match=message):
        make()
    assert optim.LowRank(3) == LOW
    assert hash(optim.BlockDiagonal()) == hash(BLOCK)
