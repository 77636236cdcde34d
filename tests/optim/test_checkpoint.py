"""A state saved by orbax in the middle of a run, and restored, continues it bit for bit."""

import jax
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest

from igeojax import optim
from tests.optim.problems import FAMILY, INPUTS, PARAMS, loss, predict


def compiled(tx):
    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, inputs=INPUTS)
        return optax.apply_updates(params, updates), state

    return step


def after(count, step, params, state):
    for _ in range(count):
        params, state = step(params, state)
    return params, state


@pytest.mark.parametrize("make", [optim.kfac, optim.ekfac])
def test_a_restored_run_continues_bit_for_bit(make, tmp_path):
    tx = make(predict, FAMILY, example_inputs=INPUTS[:1], update_every=2)
    step = compiled(tx)
    halfway = after(3, step, PARAMS, tx.init(PARAMS))  # between two refreshes of the factors
    path = tmp_path / "step_3"
    with ocp.StandardCheckpointer() as checkpointer:
        checkpointer.save(path, halfway)
    # As a new process would: only shapes are known, from a state that has not trained.
    fresh = make(predict, FAMILY, example_inputs=INPUTS[:1], update_every=2)
    shapes = jax.eval_shape(lambda params: (params, fresh.init(params)), PARAMS)
    with ocp.StandardCheckpointer() as checkpointer:
        restored = checkpointer.restore(path, shapes)
    assert isinstance(restored[1], optim.KfacState)
    expected, found = after(4, step, *halfway), after(4, compiled(fresh), *restored)
    assert jax.tree.structure(found) == jax.tree.structure(expected)
    for a, b in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(a, b)
    assert int(found[1].step) == 7
