"""The head for directions against closed forms, and its fit by the natural gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx as flax_nnx

from igeojax import families, nn, optim

DRAWS = np.random.default_rng(0)
FEATURES = DRAWS.normal(size=(60, 4))
KERNEL, BIAS = 2 * DRAWS.normal(size=(4, 3)), DRAWS.normal(size=3)
LAYER = nn.linen.VonMisesFisherHead(3, param_dtype=float)
FAMILY = families.VonMisesFisher(3)
TARGETS = FAMILY.sample(jax.random.key(0), FAMILY.Point(jnp.asarray(FEATURES @ KERNEL + BIAS)))


def loss(params, x=FEATURES, y=TARGETS, layer=LAYER):
    return -jnp.mean(FAMILY.log_density(layer.apply(params, x), y))


def test_both_forms_hold_one_function():
    params = {"params": {"kernel": KERNEL, "bias": BIAS}}
    theta = LAYER.apply(params, FEATURES)
    assert isinstance(theta, families.VonMisesFisher.Point)
    np.testing.assert_allclose(theta.x, FEATURES @ KERNEL + BIAS, rtol=1e-13)
    layer = nn.nnx.VonMisesFisherHead(4, 3, param_dtype=float)
    assert layer.family == LAYER.family == FAMILY
    layer.kernel.set_value(jnp.asarray(KERNEL))
    layer.bias.set_value(jnp.asarray(BIAS))
    np.testing.assert_array_equal(layer(FEATURES).x, theta.x)
    shapes = {"kernel": (4, 3), "bias": (3,)}
    made = LAYER.init(jax.random.key(0), FEATURES)["params"]
    assert {name: leaf.shape for name, leaf in made.items()} == shapes
    found = flax_nnx.state(layer, flax_nnx.Param)
    assert {name: found[name][...].shape for name in shapes} == shapes


def test_it_starts_at_the_uniform_law():
    params = LAYER.init(jax.random.key(0), FEATURES)
    value, slope = jax.value_and_grad(loss)(params)
    np.testing.assert_allclose(value, np.log(4 * np.pi), rtol=1e-14)
    np.testing.assert_allclose(slope["params"]["bias"], -np.mean(TARGETS, axis=0), rtol=1e-12)
    expected = -FEATURES.T @ np.asarray(TARGETS) / 60
    np.testing.assert_allclose(slope["params"]["kernel"], expected, rtol=1e-12)


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1e-3, 1.0, 1e4, 1e8, 1e18])
def test_single_precision_is_right_at_any_concentration(scale):
    y = np.array([0.6, 0.8, 0.0], np.float32)
    for direction in ([0.6, 0.8, 0.0], [-0.6, -0.8, 0.0], [0.0, 0.6, 0.8]):
        theta = (scale * np.array(direction)).astype(np.float32)
        one = lambda theta, y: -FAMILY.log_density(FAMILY.Point(theta), y)
        value, slope = jax.jit(jax.value_and_grad(one))(theta, y)
        assert value.dtype == slope.dtype == np.float32
        kappa = np.linalg.norm(theta.astype(float))
        length = 1 / np.tanh(kappa) - 1 / kappa if kappa > 1e-3 else kappa / 3
        mean = length * np.array(direction)
        np.testing.assert_allclose(slope, mean - y, atol=4e-7)
        if kappa <= 1:
            continue
        gap = kappa * np.sum((y - np.array(direction)) ** 2) / 2
        offset = np.log(2 * np.pi) - np.log(kappa) + np.log1p(-np.exp(-2 * kappa))
        np.testing.assert_allclose(value, gap + offset, rtol=4e-6, atol=4e-13 * kappa)


def test_natural_gradient_finds_the_maximum():
    # theta is linear in the parameters: the Fisher matrix is the Hessian, each step one of Newton.
    params = LAYER.init(jax.random.key(0), FEATURES)
    tx = optim.natural_gradient(1.0, LAYER.apply, FAMILY, damping=1e-9)

    @jax.jit
    def step(params, state):
        updates, state = tx.update(jax.grad(loss)(params), state, params, inputs=FEATURES)
        return optax.apply_updates(params, updates), state

    state, sizes = tx.init(params), []
    for _ in range(9):
        params, state = step(params, state)
        slope = jax.grad(loss)(params)
        sizes.append(float(optax.tree.norm(slope)))
    assert sizes[-1] < 1e-7 < 1e-2 < sizes[0]
    assert loss(params) < loss({"params": {"kernel": KERNEL, "bias": BIAS}})
