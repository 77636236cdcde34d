"""Trust-region steps inside optax, and what they refuse."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import fisher, optim
from tests.optim.problems import (
    FAMILY,
    INPUTS,
    LINEAR,
    PARAMS,
    flat,
    linear_predict,
    loss,
    predict,
    problem,
    update,
)
from tests.optim.test_trust_region import AIM, DOWN, START, TIGHT, X, affine, bowl, line

STATIC = ("predict", "family", "max_iterations", "tolerance", "max_backtracks")


def test_chain_takes_what_comes_before():
    tx = optax.chain(optax.add_decayed_weights(0.1), line())
    params = jnp.asarray([2.0])
    step = jax.jit(lambda g: tx.update(g, tx.init(params), params, inputs=X, value_fn=bowl))
    updates, state = step(jnp.asarray([-0.1]))  # the decay turns the gradient round
    np.testing.assert_allclose(updates, -AIM * np.sqrt(0.5), rtol=1e-9)
    assert bool(state[1].accepted)


def test_masked_bounds_the_block_and_the_objective_sees_all():
    grads, matrix = problem()
    mask = {"inner": False, "outer": True, "bias": True}
    tx = optax.masked(optim.trust_region(predict, FAMILY, max_kl=1e-4, damping=0.1, **TIGHT), mask)
    step = jax.jit(
        lambda g: tx.update(
            g, tx.init(PARAMS), PARAMS, inputs=INPUTS, full_params=PARAMS, value_fn=loss
        )
    )
    updates, state = step(grads)
    marked = flat({k: jnp.full(v.shape, mask[k]) for k, v in PARAMS.items()}) == 1
    block = matrix[np.ix_(marked, marked)] + 0.1 * np.eye(marked.sum())
    direction = np.linalg.solve(block, flat(grads)[marked])
    length = AIM * np.sqrt(1e-4 / (direction @ block @ direction))
    np.testing.assert_allclose(flat(updates)[marked], -length * direction, rtol=1e-8)
    np.testing.assert_array_equal(flat(updates)[~marked], flat(grads)[~marked])
    assert bool(state.inner_state.accepted)
    with pytest.raises(ValueError, match=r"needs all its parameters.*full_params=params"):
        tx.update(grads, tx.init(PARAMS), PARAMS, inputs=INPUTS)


def test_multi_transform_with_a_label_that_no_leaf_has():
    make = functools.partial(optim.trust_region, affine, LINEAR, max_kl=0.5, damping=0.0)
    tx = optax.multi_transform(
        {"step": make(), "sgd": optax.sgd(0.1), "unused": make()}, {"used": "step", "idle": "sgd"}
    )
    params = {"used": jnp.zeros(()), "idle": jnp.ones(())}
    updates, state = update(tx)(params | {"used": -params["idle"]}, params, inputs=X,
                                full_params=params)  # fmt: skip
    np.testing.assert_allclose(updates["used"], AIM * np.sqrt(0.5), rtol=1e-9)
    np.testing.assert_allclose(updates["idle"], -0.1, rtol=1e-9)
    inner = {name: each.inner_state for name, each in state.inner_states.items()}
    assert bool(inner["step"].accepted)
    assert (int(inner["unused"].step), bool(inner["unused"].accepted)) == (1, False)


def test_multi_steps_takes_inputs_and_objective_of_the_last_micro_batch():
    tx = optax.MultiSteps(line(), every_k_schedule=2)
    state = tx.init(START)
    step = jax.jit(
        lambda g, state, x, center: tx.update(
            g, state, START, inputs=x, value_fn=lambda p: jnp.sum((p - center) ** 2)
        )
    )
    updates, state = step(DOWN, state, 9 * X, -1.0)
    np.testing.assert_array_equal(updates, 0)
    updates, state = step(DOWN, state, X, 0.3)
    np.testing.assert_allclose(updates, AIM * np.sqrt(0.5) / 2, rtol=1e-6)
    assert int(state.inner_opt_state.num_backtracks) == 1


def test_inject_hyperparams_changes_the_bound_in_flight():
    tx = optax.inject_hyperparams(optim.trust_region, static_args=STATIC)(
        linear_predict, LINEAR, max_kl=lambda count: 0.5 / (1 + count), damping=0.0
    )
    state, step = tx.init(START), jax.jit(tx.update)
    for count in range(3):
        updates, state = step(DOWN, state, START, inputs=X)
        np.testing.assert_allclose(updates, AIM * np.sqrt(0.5 / (1 + count)), rtol=1e-9)
    assert step._cache_size() == 1


def test_apply_if_finite_skips_a_gradient_of_nan():
    tx = optax.apply_if_finite(line(), max_consecutive_errors=2)
    state, step = tx.init(START), jax.jit(tx.update)
    updates, state = step(DOWN * jnp.nan, state, START, inputs=X)
    np.testing.assert_array_equal(updates, 0)
    assert int(state.inner_state.step) == 0
    updates, state = step(DOWN, state, START, inputs=X)
    np.testing.assert_allclose(updates, AIM * np.sqrt(0.5), rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"max_kl": 0.0}, ValueError, r"max_kl must be positive and finite; got 0\.0"),
        ({"max_kl": jnp.ones(2)}, ValueError, r"max_kl must be a scalar; got shape \(2,\)"),
        ({"max_kl": "large"}, TypeError, "max_kl must be a number"),
        ({"backtrack": 1.0}, ValueError, r"backtrack must be in \(0, 1\); got 1\.0"),
        ({"max_backtracks": -1}, ValueError, "max_backtracks must be at least 0; got -1"),
        ({"max_iterations": 0}, ValueError, "max_iterations must be at least 1; got 0"),
        ({"tolerance": 0.0}, ValueError, "tolerance must be positive"),
        ({"damping": -1.0}, ValueError, "damping must be non-negative"),
    ],
)
def test_bad_hyperparameters(options, error, message):
    with pytest.raises(error, match=message):
        line(**options)


def test_bad_arguments():
    metric = fisher.OutputMetric(lambda outputs, tangent: tangent)
    with pytest.raises(TypeError, match=r"family must be an instance of a family.*OutputMetric"):
        optim.trust_region(linear_predict, metric, max_kl=0.1)
    with pytest.raises(TypeError, match=r"predict must be a function"):
        optim.trust_region(None, LINEAR, max_kl=0.1)
    tx = line()
    with pytest.raises(ValueError, match=r"needs the inputs of the batch; got none\. Call"):
        tx.update(DOWN, tx.init(START), START)
    call = functools.partial(tx.update, DOWN, tx.init(START), START, inputs=X)
    with pytest.raises(TypeError, match=r"value_fn must be a function of the parameters; got 1\.0"):
        call(value_fn=1.0)
    with pytest.raises(ValueError, match=r"value_fn\(params\) must be a scalar; got shape \(1,\)"):
        call(value_fn=lambda p: p)
    with pytest.raises(ValueError, match=r"value must be a scalar; got shape \(2,\)"):
        call(value_fn=bowl, value=jnp.ones(2))
