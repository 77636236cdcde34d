"""The natural gradient inside optax: chain, masks, schedules, accumulation, and its errors."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, optim
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LINEAR,
    PARAMS,
    fisher_matrix,
    flat,
    gradient,
    linear_predict,
    predict,
    problem,
    solution,
    update,
)

TIGHT = optim.ConjugateGradient(tolerance=1e-13, max_iterations=60)
STATIC = ("predict", "family", "solver")
SOLVERS = [optim.Dense(), TIGHT, optim.SampleSpace()]
APPROXIMATE = [optim.Diagonal(), optim.BlockDiagonal(), optim.LowRank(2)]
make = functools.partial(optim.scale_by_natural_gradient, predict, FAMILY)
X = jnp.asarray([[1.0, 0.5], [0.0, 2.0], [-1.0, 1.0]])
GRADS, START = jnp.asarray([1.0, -2.0]), jnp.zeros(2)


def linear_solution(damping, x=X, grads=GRADS):
    """`(X^T X / N + damping I)^{-1} g`."""
    return np.linalg.solve(x.T @ x / len(x) + damping * np.eye(2), grads)


def close(found, expected):
    np.testing.assert_allclose(flat(found), flat(expected), rtol=1e-8, atol=1e-11)


def test_alias_has_the_learning_rate():
    grads, _ = problem()
    tx = optim.natural_gradient(0.5, predict, FAMILY, solver=optim.Dense(), damping=0.1)
    close(update(tx)(grads, PARAMS, inputs=INPUTS)[0], -0.5 * solution(0.1))


def test_alias_takes_a_schedule():
    tx = optim.natural_gradient(
        lambda count: 1.0 / (1 + count), linear_predict, LINEAR, solver=optim.Dense(), damping=0.1
    )
    state, step = tx.init(START), jax.jit(tx.update)
    for count in range(3):
        updates, state = step(GRADS, state, START, inputs=X)
        close(updates, -linear_solution(0.1) / (1 + count))


def test_chain_with_clip_momentum_and_decay():
    tx = optax.chain(
        optax.clip_by_global_norm(0.5),
        optim.scale_by_natural_gradient(linear_predict, LINEAR, solver=optim.Dense(), damping=0.1),
        optax.trace(0.9),
        optax.add_decayed_weights(0.01),
        optax.scale_by_learning_rate(0.2),
    )
    params = jnp.asarray([1.0, 2.0])
    state, step, momentum = tx.init(params), jax.jit(tx.update), 0
    for _ in range(3):
        updates, state = step(GRADS, state, params, inputs=X)
        clipped = GRADS * 0.5 / jnp.linalg.norm(GRADS)
        momentum = 0.9 * momentum + linear_solution(0.1, grads=clipped)
        close(updates, -0.2 * (momentum + 0.01 * params))
        params = optax.apply_updates(params, updates)


def test_extra_arguments_of_other_transforms_pass_through():
    tx = optax.chain(
        optim.scale_by_natural_gradient(linear_predict, LINEAR, solver=TIGHT, damping=0.1),
        optax.scale_by_polyak(),
    )
    state = tx.init(START)
    updates, _ = jax.jit(tx.update)(GRADS, state, START, inputs=X, value=2.0)
    direction = linear_solution(0.1)
    close(updates, 2.0 / np.sum(direction**2) * direction)


def test_inject_hyperparams_changes_damping_and_learning_rate_in_flight():
    tx = optax.inject_hyperparams(optim.natural_gradient, static_args=STATIC)(
        learning_rate=0.5,
        predict=linear_predict,
        family=LINEAR,
        solver=optim.SampleSpace(),
        damping=0.1,
    )
    state, step = tx.init(START), jax.jit(tx.update)
    updates, state = step(GRADS, state, START, inputs=X)
    close(updates, -0.5 * linear_solution(0.1))
    state.hyperparams["damping"] = jnp.zeros(()) + 3
    state.hyperparams["learning_rate"] = jnp.zeros(()) + 0.25
    updates, state = step(GRADS, state, START, inputs=X)
    close(updates, -0.25 * linear_solution(3.0))
    assert step._cache_size() == 1


def test_inject_hyperparams_schedules_the_damping():
    tx = optax.inject_hyperparams(optim.scale_by_natural_gradient, static_args=STATIC)(
        linear_predict, LINEAR, solver=optim.Dense(), damping=lambda count: 1.0 / (1 + count)
    )
    state, step = tx.init(START), jax.jit(tx.update)
    for count in range(3):
        updates, state = step(GRADS, state, START, inputs=X)
        close(updates, linear_solution(1.0 / (1 + count)))


def test_inject_hyperparams_of_the_core_transform():
    tx = optax.inject_hyperparams(optim.scale_by_metric, static_args=("metric_matvec", "solver"))(
        lambda params, v: 2.0 * v, solver=optim.Dense(), damping=1.0
    )
    close(update(tx)(GRADS, START)[0], GRADS / 3)


def block(names):
    """Positions of some leaves in the flat order of PARAMS."""
    marked = {k: jnp.full(v.shape, k in names) for k, v in PARAMS.items()}
    return np.flatnonzero(flat(marked))


@pytest.mark.parametrize("solver", [*SOLVERS, optim.LowRank(20)], ids=str)
def test_masked_solves_the_block(solver):
    grads, matrix = problem()
    mask = {"inner": False, "outer": True, "bias": True}
    tx = optax.masked(make(solver=solver, damping=0.1), mask)
    updates, _ = update(tx)(grads, PARAMS, inputs=INPUTS, full_params=PARAMS)
    rows = block({"outer", "bias"})
    expected = flat(grads).copy()  # a mask leaves the others as they are
    expected[rows] = np.linalg.solve(
        matrix[np.ix_(rows, rows)] + 0.1 * np.eye(len(rows)), expected[rows]
    )
    close(updates, expected)


def test_multi_transform_solves_each_block():
    grads, matrix = problem()
    labels = {"inner": "dense", "outer": "sample", "bias": "sgd"}
    tx = optax.multi_transform(
        {
            "dense": make(solver=optim.Dense(), damping=0.1),
            "sample": make(solver=optim.SampleSpace(), damping=0.2),
            "sgd": optax.scale(3.0),
            "unused": make(solver=optim.Dense()),
        },
        labels,
    )
    updates, state = update(tx)(grads, PARAMS, inputs=INPUTS, full_params=PARAMS)
    expected = 3 * flat(grads)
    for name, damping in (("inner", 0.1), ("outer", 0.2)):
        rows = block({name})
        expected[rows] = np.linalg.solve(
            matrix[np.ix_(rows, rows)] + damping * np.eye(len(rows)), flat(grads)[rows]
        )
    close(updates, expected)
    assert int(state.inner_states["dense"].inner_state.step) == 1


def test_masked_without_full_params_says_what_to_pass():
    tx = optax.masked(make(), {"inner": False, "outer": True, "bias": True})
    with pytest.raises(ValueError, match=r"needs all its parameters.*full_params=params"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, inputs=INPUTS)


def test_multi_steps_takes_the_fisher_of_the_last_micro_batch():
    tx = optax.MultiSteps(make(solver=optim.Dense(), damping=0.1), every_k_schedule=2)
    state, step = tx.init(PARAMS), jax.jit(tx.update)
    halves = (INPUTS[:3], jnp.asarray([0, 1, 2])), (INPUTS[3:], jnp.asarray([2, 1, 0]))
    grads = [gradient(PARAMS, *half) for half in halves]
    updates, state = step(grads[0], state, PARAMS, inputs=halves[0][0])
    np.testing.assert_array_equal(flat(updates), 0)
    updates, state = step(grads[1], state, PARAMS, inputs=halves[1][0])
    mean = jax.tree.map(lambda a, b: (a + b) / 2, *grads)
    expected = solution(0.1, mean, np.asarray(fisher_matrix(PARAMS, INPUTS[3:])))
    # optax takes the mean with a float32 weight.
    np.testing.assert_allclose(flat(updates), expected, rtol=1e-6)


@pytest.mark.parametrize("solver", [optim.Dense(), TIGHT, optim.SampleSpace()], ids=str)
def test_apply_if_finite_skips_a_gradient_of_nan(solver):
    inner = optim.scale_by_natural_gradient(linear_predict, LINEAR, solver=solver, damping=0.1)
    tx = optax.apply_if_finite(inner, max_consecutive_errors=3)
    state, step = tx.init(START), jax.jit(tx.update)
    updates, state = step(GRADS.at[0].set(jnp.nan), state, START, inputs=X)
    np.testing.assert_array_equal(updates, 0)
    assert int(state.inner_state.step) == 0
    updates, state = step(GRADS, state, START, inputs=X)
    close(updates, linear_solution(0.1))


def test_flatten_hands_over_vectors():
    # optax.flatten turns the tree into one vector; a metric in that chart works there.
    tx = optax.flatten(optim.scale_by_metric(lambda p, v: 3.0 * v, damping=0.0))
    grads = {"a": jnp.ones(2), "b": jnp.ones((2, 2))}
    close(update(tx)(grads, grads)[0], jax.tree.map(lambda g: g / 3, grads))


def test_inputs_are_needed():
    for solver in (*SOLVERS, *APPROXIMATE):
        tx = make(solver=solver)
        with pytest.raises(ValueError, match=r"needs the inputs of the batch; got none\. Call"):
            tx.update(PARAMS, tx.init(PARAMS), PARAMS)


@pytest.mark.parametrize("factory", ["scale_by_natural_gradient", "natural_gradient"])
def test_bad_arguments(factory):
    function = getattr(optim, factory)
    build = function if factory.startswith("scale") else functools.partial(function, 0.1)
    with pytest.raises(TypeError, match=r"family must be an instance of a family, such as"):
        build(predict, families.Categorical)
    with pytest.raises(TypeError, match=r"instance of a Solver"):
        build(predict, FAMILY, solver="cg")
    with pytest.raises(ValueError, match=r"damping must be non-negative"):
        build(predict, FAMILY, damping=-1.0)


@pytest.mark.parametrize("solver", [*SOLVERS, *APPROXIMATE], ids=str)
def test_a_model_of_another_family_is_refused(solver):
    tx = optim.scale_by_natural_gradient(predict, families.Categorical(4), solver=solver)
    with pytest.raises(ValueError, match=r"trailing axes \(3,\); got shape"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, inputs=INPUTS)
    tx = optim.scale_by_natural_gradient(predict, families.Normal(), solver=solver)
    with pytest.raises(TypeError, match=r"needs a Normal\.Point; got CategoricalPoint"):
        tx.update(PARAMS, tx.init(PARAMS), PARAMS, inputs=INPUTS)
