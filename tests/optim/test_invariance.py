"""K-FAC and the natural gradient do not see what a layer's inputs and outputs are measured in."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import families, geometry, optim

FAMILY = families.Categorical(3)
SIZES = jnp.asarray([1e-3])


def draw(*shape, seed):
    return jnp.asarray(np.random.default_rng(seed).normal(size=shape))


X, LABELS = draw(90, 4, seed=0), jnp.arange(90) % 3
MIX = jnp.eye(4) + 0.5 * draw(4, 4, seed=1)
W1, B1, W2 = draw(4, 3, seed=2), draw(3, seed=3), draw(3, 3, seed=4)
SCALES = jnp.asarray([0.1, 1.0, 5.0])


def predict(params, x):
    hidden = jnp.tanh(x @ params["w1"] + params["b1"][None])
    return FAMILY.natural_from_params(logits=hidden @ params["w2"])


def mixed(params, x):
    """Inputs of the first layer mixed, its outputs scaled."""
    hidden = jnp.tanh(((x @ MIX) @ params["w1"] + params["b1"][None]) * SCALES[None])
    return FAMILY.natural_from_params(logits=hidden @ params["w2"])


class Chart:
    def __init__(self, model):
        self.model = model

    def __call__(self, params):
        return self.model(params, X)


FIRST = Chart(predict), {"w1": W1, "b1": B1, "w2": W2}
SECOND = (
    Chart(mixed),
    {"w1": jnp.linalg.solve(MIX, W1) / SCALES[None], "b1": B1 / SCALES, "w2": W2},
)
KFAC = functools.partial(optim.kfac, example_inputs=X, momentum=0.0)


def gap(make):
    """Distance of the laws after a step in two charts, in steps."""

    def step(chart, params, size):
        tx = make(size, chart.model)
        loss = lambda params: -jnp.mean(FAMILY.log_density(chart(params), LABELS))
        grads = jax.grad(loss)(params)
        updates, _ = tx.update(grads, tx.init(params), params, inputs=X)
        return optax.apply_updates(params, updates)

    found = jax.jit(
        lambda sizes: geometry.reparameterisation_gap(FAMILY, step, FIRST, SECOND, sizes)
    )
    distances = found(SIZES)
    return float(jnp.sqrt(jnp.mean(distances**2)) / SIZES[0])


def natural(damping, size, model):
    return optim.natural_gradient(size, model, FAMILY, solver=optim.Dense(), damping=damping)


def kronecker(damping, size, model):  # each factor gets about a root of the damping
    return KFAC(model, FAMILY, learning_rate=size, damping=damping)


@pytest.mark.parametrize(("make", "bound"), [(natural, 1e-6), (kronecker, 5e-3)])
def test_steps_do_not_depend_on_the_chart_but_for_damping(make, bound):
    assert gap(functools.partial(make, 1e-12)) < bound


@pytest.mark.parametrize(
    "make",
    [
        lambda size, _: optax.with_extra_args_support(optax.sgd(size)),
        functools.partial(kronecker, 0.1),
    ],
    ids=["sgd", "damped"],
)
def test_euclidean_lengths_do(make):
    assert gap(make) > 0.05
