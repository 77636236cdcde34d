"""K-FAC inside optax, and what it does with gradients and inputs of nan.

Linear models with one output, where one Kronecker product is the Fisher matrix.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import fisher, optim
from tests.optim.problems import update

SQUARED = fisher.OutputMetric(lambda outputs, tangent: tangent)
STATIC = (
    "predict", "family", "example_inputs", "example_params", "update_every", "decay", "sharing",
    "inverse", "eigenvalue_correction", "chunk_size", "dense_limit", "factor_limit", "seed",
)  # fmt: skip
X = jnp.asarray([[1.0, 0.5], [0.0, 2.0], [-1.0, 1.0]])
GRAD, START = jnp.asarray([[1.0], [-2.0]]), jnp.zeros((2, 1))
PAIR, PAIR_GRADS = {"a": START, "b": START + 1}, {"a": GRAD, "b": 2 * GRAD}
EXACT = {"inverse": "eigen", "update_every": 1, "decay": 0.0}


def linear(params, x):
    return x @ params


def pair(params, x):
    return x @ params["a"] + jnp.tanh(x) @ params["b"]


def solution(damping, x=X, grad=GRAD):
    """`(X^T X / N + damping I)^{-1} g`."""
    return np.linalg.solve(x.T @ x / len(x) + damping * np.eye(2), grad)


def scaled(predict=linear, damping=0.1, **options):
    options = {"example_inputs": X} | EXACT | options
    return optim.scale_by_kfac(predict, SQUARED, damping=damping, **options)


def plain(predict=linear, **options):
    """K-FAC with step size, momentum and damping given."""
    options = {"learning_rate": 0.5, "momentum": 0.0, "damping": 0.1} | EXACT | options
    return optim.kfac(predict, SQUARED, **{"example_inputs": X} | options)


def close(found, expected):
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_chain_with_clip_momentum_and_decay():
    tx = optax.chain(
        optax.clip_by_global_norm(0.5),
        scaled(),
        optax.trace(0.9),
        optax.add_decayed_weights(0.01),
        optax.scale_by_learning_rate(0.2),
    )
    params = START + 1
    state, step, momentum = tx.init(params), jax.jit(tx.update), 0
    for _ in range(3):
        updates, state = step(GRAD, state, params, inputs=X)
        momentum = 0.9 * momentum + solution(0.1, grad=GRAD * 0.5 / jnp.linalg.norm(GRAD))
        close(updates, -0.2 * (momentum + 0.01 * params))
        params = optax.apply_updates(params, updates)


def test_chain_takes_extra_arguments_of_others():
    tx = optax.chain(plain(), optax.scale_by_polyak())
    updates, _ = update(tx)(GRAD, START, inputs=X, value=0.2)
    step = -0.5 * solution(0.1)
    close(updates, 0.2 / np.sum(step**2) * step)


@pytest.mark.parametrize("make", [scaled, plain])
def test_masked_is_kfac_of_the_block(make):
    tx = optax.masked(make(pair, example_params=PAIR), {"a": True, "b": False})
    updates, state = update(tx)(PAIR_GRADS, PAIR, inputs=X, full_params=PAIR)
    close(updates["a"], (1 if make is scaled else -0.5) * solution(0.1))
    np.testing.assert_array_equal(updates["b"], PAIR_GRADS["b"])
    assert int(state.inner_state.step) == 1


def test_masked_says_what_to_pass():
    mask = {"a": True, "b": False}
    with pytest.raises(ValueError, match=r"needs all its parameters.*example_params=params"):
        optax.masked(scaled(pair), mask).init(PAIR)
    tx = optax.masked(scaled(pair, example_params=PAIR), mask)
    with pytest.raises(ValueError, match=r"needs all its parameters.*full_params=params"):
        tx.update(PAIR_GRADS, tx.init(PAIR), PAIR, inputs=X)


def test_multi_transform_with_adam_for_the_rest():
    make = functools.partial(plain, pair, example_params=PAIR, learning_rate=None, max_kl=10.0)
    tx = optax.multi_transform(
        {"kfac": make(), "adam": optax.adam(0.1), "unused": make()}, {"a": "kfac", "b": "adam"}
    )
    updates, state = update(tx)(PAIR_GRADS, PAIR, inputs=X, full_params=PAIR)
    close(updates["a"], -solution(0.1))  # the model is exact: the best step is the whole direction
    np.testing.assert_allclose(updates["b"], -0.1 * np.sign(PAIR_GRADS["b"]), rtol=1e-6)
    inner = {name: each.inner_state for name, each in state.inner_states.items()}
    assert (int(inner["kfac"].num_skipped), int(inner["unused"].step)) == (0, 1)


def test_multi_steps_takes_the_factors_of_the_last_micro_batch():
    tx = optax.MultiSteps(plain(), every_k_schedule=2)
    state, step = tx.init(START), jax.jit(tx.update)
    updates, state = step(GRAD, state, START, inputs=7 * X)
    np.testing.assert_array_equal(updates, 0)
    updates, state = step(3 * GRAD, state, START, inputs=X)
    # optax takes the mean with a float32 weight.
    np.testing.assert_allclose(updates, -solution(0.1), rtol=1e-6)
    assert int(state.inner_opt_state.step) == 1


def test_inject_hyperparams_changes_them_in_flight():
    tx = optax.inject_hyperparams(optim.kfac, static_args=STATIC)(
        linear, SQUARED, example_inputs=X, learning_rate=0.5, momentum=0.0, damping=0.1, **EXACT
    )
    state, step = tx.init(START), jax.jit(tx.update)
    first, state = step(GRAD, state, START, inputs=X)
    close(first, -0.5 * solution(0.1))
    for name, value in {"learning_rate": 0.25, "momentum": 0.9, "damping": 3.0}.items():
        state.hyperparams[name] = jnp.full_like(state.hyperparams[name], value)
    updates, state = step(GRAD, state, START, inputs=X)
    close(updates, 0.9 * first - 0.25 * solution(3.0))
    assert step._cache_size() == 1


def test_inject_hyperparams_schedules_the_damping():
    tx = optax.inject_hyperparams(optim.scale_by_kfac, static_args=STATIC)(
        linear, SQUARED, example_inputs=X, damping=lambda count: 1.0 / (1 + count), **EXACT
    )
    state, step = tx.init(START), jax.jit(tx.update)
    for count in range(3):
        updates, state = step(GRAD, state, START, inputs=X)
        close(updates, solution(1.0 / (1 + count)))


def test_inject_hyperparams_says_what_must_be_static():
    make = optax.inject_hyperparams(optim.kfac, static_args=("predict", "family"))
    with pytest.raises(TypeError, match=r"update_every must be a Python integer.*cannot be traced"):
        make(linear, SQUARED, example_inputs=X).init(START)


def test_apply_if_finite_leaves_the_state_alone():
    tx = optax.apply_if_finite(plain(), max_consecutive_errors=2)
    state, step = tx.init(START), jax.jit(tx.update)
    updates, state = step(GRAD * jnp.nan, state, START, inputs=X)
    np.testing.assert_array_equal(updates, 0)
    updates, state = step(GRAD, state, START, inputs=X)
    close(updates, -0.5 * solution(0.1))


def finite(tree):
    return all(bool(jnp.all(jnp.isfinite(leaf))) for leaf in jax.tree.leaves(tree))


@pytest.mark.parametrize("make", [optim.kfac, optim.ekfac])
@pytest.mark.parametrize("at", [0, 2])
def test_nan_is_skipped_and_does_not_poison(make, at):
    tx = make(linear, SQUARED, example_inputs=X, update_every=2)
    step = jax.jit(tx.update)
    state = tx.init(START)
    for _ in range(at):
        _, state = step(GRAD, state, START, inputs=X)
    bad = GRAD.at[0].set(jnp.nan), X.at[0, 0].set(jnp.nan)
    for count, (grad, inputs) in enumerate(
        [(bad[0], X), (GRAD, bad[1]), bad, (-bad[0], X * jnp.inf)]
    ):
        updates, state = step(grad, state, START, inputs=inputs)
        np.testing.assert_array_equal(updates, 0)
        np.testing.assert_array_equal(state.momentum, 0)
        assert finite(state)
        assert (int(state.num_skipped), int(state.step)) == (count + 1, at + count + 1)
    assert float(state.damping) > 0.1
    updates, state = step(GRAD, state, START, inputs=X)
    # Along the direction the quadratic model is exact, and without momentum there is no more.
    assert finite(state)
    assert int(state.num_skipped) == 4
    if make is optim.ekfac:
        level, curvature = float(state.damping), X.T @ X / len(X)
        ratio, root = np.sqrt(np.trace(curvature) / 2), np.sqrt(level)
        split = (curvature + ratio * root * np.eye(2)) * (1 + root / ratio)
        direction = np.linalg.solve(split, GRAD)
        exact = direction.T @ (curvature + level * np.eye(2)) @ direction
        close(updates, -direction * (direction.T @ GRAD) / exact)
    assert float(jnp.sum(GRAD * updates)) < 0


def test_scale_by_kfac_counts_a_gradient_of_nan():
    tx = scaled()
    state, step = tx.init(START), jax.jit(tx.update)
    updates, state = step(GRAD * jnp.nan, state, START, inputs=X)
    np.testing.assert_array_equal(updates, 0)
    assert int(state.num_skipped) == 1
    updates, state = step(GRAD, state, START, inputs=X)
    close(updates, solution(0.1))


@pytest.mark.parametrize("make", [optim.scale_by_kfac, optim.kfac, optim.ekfac])
def test_bad_arguments(make):
    build = functools.partial(make, linear, SQUARED, example_inputs=X)
    with pytest.raises(ValueError, match=r"example_inputs must be inputs of the model.*x\[:1\]"):
        build(example_inputs=None)
    with pytest.raises(ValueError, match=r"damping must be a scalar; got shape \(2,\)"):
        build(damping=jnp.ones(2))
    with pytest.raises(ValueError, match=r"damping must be positive; got 0\.0"):
        build(damping=0.0)
    with pytest.raises(TypeError, match=r"family must be an instance of a family.*class Output"):
        make(linear, fisher.OutputMetric, example_inputs=X)
    with pytest.raises(TypeError, match="predict must be a function"):
        make(None, SQUARED, example_inputs=X)
    with pytest.raises(ValueError, match="sharing must be one of expand, reduce"):
        build(sharing="all")
    tx = build()
    state = tx.init(START)
    with pytest.raises(ValueError, match=r"needs the inputs of the batch; got none\. Call"):
        tx.update(GRAD, state, START)
    with pytest.raises(ValueError, match=r"needs the current parameters; got params=None"):
        tx.update(GRAD, state, inputs=X)
    wide = jnp.zeros((2, 3))
    with pytest.raises(ValueError, match=r"parameters changed since init.*call tx\.init again"):
        tx.update(wide, state, wide, inputs=X)
    with pytest.raises(ValueError, match=r"parameters changed since init.*call tx\.init again"):
        tx.update(wide.T, state, wide.T, inputs=jnp.ones((4, 3)))
