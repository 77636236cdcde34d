"""K-FAC of models that are more than layers one after the other, and of other outputs."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, fisher, optim
from tests.optim.problems import flat, update

SQUARED = fisher.OutputMetric(lambda outputs, tangent: tangent)
EXACT = {"inverse": "eigen", "update_every": 1, "decay": 0.0}
KEY = jax.random.key(3)


def draw(*shape, seed=0):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


def close(found, expected, rtol=1e-9):
    np.testing.assert_allclose(flat(found), flat(expected), rtol=rtol, atol=1e-12)


@pytest.mark.parametrize("chunk_size", [None, 3])
def test_dropout_with_keys_in_the_inputs_is_the_model_of_the_masks(chunk_size):
    family, params = families.Categorical(3), {"inner": draw(2, 4), "outer": draw(4, 3)}
    x, keys = draw(8, 2, seed=1), jax.random.split(KEY, 8)

    def kept(key):
        return jax.random.bernoulli(key, 0.7, (4,)) / 0.7

    def of_masks(params, inputs):
        hidden = jnp.tanh(inputs["x"] @ params["inner"]) * inputs["kept"]
        return family.natural_from_params(logits=hidden @ params["outer"])

    def dropout(params, inputs):
        kept_ones = jax.vmap(kept)(inputs["key"])
        return of_masks(params, {"x": inputs["x"], "kept": kept_ones})

    found = []
    for predict, inputs in (
        (dropout, {"x": x, "key": keys}),
        (of_masks, {"x": x, "kept": jax.vmap(kept)(keys)}),
    ):
        tx = optim.scale_by_kfac(predict, family, example_inputs=inputs, chunk_size=chunk_size)
        found.append(update(tx)(params, params, inputs=inputs, key=KEY)[0])
    close(*found)


def test_scan_over_rematerialized_layers_is_the_loop_without():
    family, params = families.Categorical(3), {"layers": draw(2, 4, 4), "head": draw(4, 3)}
    x = draw(6, 4, seed=1)

    def layer(hidden, weight):
        return jnp.tanh(hidden @ weight), None

    def scanned(params, x):
        hidden, _ = jax.lax.scan(jax.checkpoint(layer), x, params["layers"])
        return family.natural_from_params(logits=hidden @ params["head"])

    def looped(params, x):
        for weight in params["layers"]:
            x, _ = layer(x, weight)
        return family.natural_from_params(logits=x @ params["head"])

    options = {"example_inputs": x, "eigenvalue_correction": True}
    txs = [optim.scale_by_kfac(predict, family, **options) for predict in (scanned, looped)]
    found = [update(tx)(params, params, inputs=x, key=KEY) for tx in txs]
    close(found[0][0], found[1][0])
    assert int(found[0][1].num_skipped) == 0


def test_product_of_two_heads_predicts_its_quadratic_model():
    labels, value = families.Categorical(3), families.NormalKnownScale()
    family = families.Product((labels, value))
    x, params = draw(7, 2), {"labels": jnp.zeros((2, 3)), "value": jnp.zeros((2, 1))}
    grads = {"labels": draw(2, 3, seed=1), "value": draw(2, 1, seed=2)}

    def predict(params, x):
        return family.Point(
            labels.natural_from_params(logits=x @ params["labels"]),
            value.natural_from_params(loc=(x @ params["value"])[:, 0]),
        )

    tx = optim.kfac(predict, family, example_inputs=x, damping=0.1)
    updates, state = update(tx)(grads, params, inputs=x)
    # All probabilities are 1/3; rows of a matrix are the slow axis.
    second, chances = x.T @ x / len(x), np.eye(3) / 3 - np.ones((3, 3)) / 9
    matrix = jax.scipy.linalg.block_diag(np.kron(second, chances), second) + 0.1 * np.eye(8)
    step, slope = flat(updates), flat(grads) @ flat(updates)
    np.testing.assert_allclose(state.slope, slope, rtol=1e-9)
    np.testing.assert_allclose(state.predicted_change, slope + step @ matrix @ step / 2, rtol=1e-9)
    np.testing.assert_allclose(slope, -step @ matrix @ step, rtol=1e-9)  # the best along it
    assert slope < 0


def test_output_metric_of_a_loss_trains_in_few_steps():
    x, target = draw(12, 2), jnp.asarray([[1.0], [-2.0]])
    loss = lambda output: jnp.sum(jnp.cosh(output) - 1)
    metric = fisher.OutputMetric.from_loss(loss)
    predict = lambda params, x: x @ (params - target)
    tx = optim.kfac(predict, metric, example_inputs=x, update_every=1)
    mean = lambda params: jnp.mean(jax.vmap(loss)(predict(params, x)))

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(mean)(params), state, params, inputs=x)
        return optax.apply_updates(params, updates), state

    params = jnp.zeros((2, 1))
    state = tx.init(params)
    for _ in range(15):
        params, state = step(params, state)
    np.testing.assert_allclose(params, target, atol=1e-3)


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_masked_positions_of_sequences_do_not_count(sharing):
    x, params, grad = draw(3, 4, 2), jnp.zeros((2, 1)), draw(2, 1, seed=1)
    real = jnp.arange(4)[None, :] < jnp.asarray([4, 2, 1])[:, None]
    predict = lambda params, x: x @ params
    tx = optim.scale_by_kfac(
        predict, SQUARED, example_inputs=x, damping=0.1, sharing=sharing, **EXACT
    )
    run = update(tx)
    found = [
        run(
            grad,
            params,
            inputs=jnp.where(real[..., None], x, junk),
            weights=real / jnp.sum(real),
            key=KEY,
        )[0]
        for junk in (0.0, 1e3)
    ]
    close(*found)
    if sharing == "expand":
        rows = np.asarray(x[real])
        close(found[0], np.linalg.solve(rows.T @ rows / 7 + 0.1 * np.eye(2), grad))


@pytest.mark.parametrize("sharing", ["expand", "reduce"])
def test_masked_examples_are_left_out(sharing):
    family, params = families.Categorical(3), {"inner": draw(2, 4), "outer": draw(4, 3)}
    x = draw(3, 4, 2)

    def predict(params, x):
        hidden = jnp.tanh(x @ params["inner"])
        return family.natural_from_params(logits=hidden @ params["outer"])

    run = update(optim.kfac(predict, family, example_inputs=x, sharing=sharing))
    weights = jnp.asarray([[0.125] * 4, [0.125] * 4, [0.0] * 4])
    found = [
        run(params, params, inputs=x.at[2].set(junk), weights=weights, key=KEY)[0]
        for junk in (0.0, 5.0)
    ]
    close(*found)
