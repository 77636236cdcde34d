"""The relative gradient against dense algebra, and the law it is named for."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax.optim import relative_gradient, scale_by_relative_gradient

RNG = np.random.default_rng(0)
W, G = RNG.normal(size=(2, 3, 3)), RNG.normal(size=(2, 3, 3))


def test_equals_the_products_of_a_loop():
    tx = scale_by_relative_gradient()
    found, _ = tx.update(jnp.asarray(G), tx.init(W), jnp.asarray(W))
    np.testing.assert_allclose(found, [g @ w.T @ w for g, w in zip(G, W, strict=True)], rtol=1e-12)


def test_is_the_gradient_in_the_relative_metric():
    """Pairing with any direction V is the metric of step and V, `tr (U W^-1)^T (V W^-1)`."""
    tx = scale_by_relative_gradient()
    w, g = jnp.asarray(W[0]), jnp.asarray(G[0])
    step, _ = tx.update(g, tx.init(w), w)
    direction, inverse = RNG.normal(size=(3, 3)), np.linalg.inv(W[0])
    metric = np.sum((np.asarray(step) @ inverse) * (direction @ inverse))
    np.testing.assert_allclose(metric, np.sum(G[0] * direction), rtol=1e-10)


def test_long_steps_are_shortened_each_by_itself():
    tx = scale_by_relative_gradient(0.5)
    gradients = jnp.stack([jnp.asarray(G[0]), 1e-3 * jnp.asarray(G[1])])
    found, _ = tx.update(gradients, tx.init(W), jnp.asarray(W))
    steps = np.asarray(found) @ np.linalg.inv(W)
    np.testing.assert_allclose(np.linalg.norm(steps[0]), 0.5, rtol=1e-10)
    np.testing.assert_allclose(steps[1], 1e-3 * G[1] @ W[1].T, rtol=1e-10)


def test_the_trajectory_does_not_depend_on_the_mixing():
    data = jnp.asarray(RNG.laplace(size=(200, 3)))
    mixing = jnp.asarray([[1.0, 2.0, 0.0], [0.0, 1.0, 50.0], [0.1, 0.0, 1.0]])

    def run(x, start):
        loss = lambda w: (
            -jnp.linalg.slogdet(w)[1] + jnp.mean(jnp.sum(jnp.log(jnp.cosh(x @ w.T)), axis=1))
        )
        tx = relative_gradient(0.3, max_norm=1.0)

        def step(carry, _):
            w, state = carry
            updates, state = tx.update(jax.grad(loss)(w), state, w)
            return (optax.apply_updates(w, updates), state), None

        return jax.lax.scan(step, (start, tx.init(start)), length=30)[0][0]

    start = jnp.asarray(W[0])
    plain = run(data, start)
    mixed = run(data @ mixing.T, start @ jnp.linalg.inv(mixing)) @ mixing
    assert jnp.max(jnp.abs(plain - start)) > 0.1
    # eps times the condition of the mixing, over thirty steps.
    np.testing.assert_allclose(mixed, plain, rtol=1e-9, atol=1e-9)


def test_bad_input_is_told():
    tx = scale_by_relative_gradient()
    with pytest.raises(ValueError, match="params=None"):
        tx.update(jnp.eye(2), tx.init(None))
    with pytest.raises(ValueError, match="square matrices"):
        tx.update(jnp.ones((2, 3)), tx.init(None), jnp.ones((2, 3)))
    tree = {"w": jnp.eye(2), "b": jnp.ones(2)}
    with pytest.raises(ValueError, match=r"square.*'b'"):
        tx.update(tree, tx.init(None), tree)
    with pytest.raises(ValueError, match="positive"):
        scale_by_relative_gradient(0.0)
    with pytest.raises(ValueError, match="scalar"):
        relative_gradient(0.1, max_norm=jnp.ones(2))
