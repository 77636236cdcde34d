"""One classifier, written in three ways: python examples/natural_gradient_in_three_lines.py.

flax.linen, flax.nnx and a pytree of one's own in the style of equinox, each trained by K-FAC and by
the natural gradient with the same three lines: the family of the outputs, a pure function from
parameters and inputs to a point of it, and the optax transform. All three start from the same
weights, so they must take the same steps.
"""

import os
from collections.abc import Callable
from typing import Any, NamedTuple

# LAPACK's threads wait by spinning, which costs more than they gain where a matrix has few rows.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import flax.linen as linen
import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax import nnx
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import script
from igeojax import families, optim

HIDDEN, CLASSES, BATCH = 32, 10, 256


class LinenNetwork(linen.Module):
    """flax.linen: parameters are made by `init` and given to `apply`."""

    @linen.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        x = jnp.tanh(linen.Dense(HIDDEN)(x))
        return linen.Dense(CLASSES)(x)


class NnxNetwork(nnx.Module):
    """flax.nnx: parameters live in the object; `split` takes them out."""

    def __init__(self, rngs: nnx.Rngs):
        self.inner = nnx.Linear(64, HIDDEN, rngs=rngs)
        self.outer = nnx.Linear(HIDDEN, CLASSES, rngs=rngs)

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.outer(jnp.tanh(self.inner(x)))


class Layer(NamedTuple):
    """equinox style: a module is a pytree of its parameters, and is called with one example."""

    weight: jax.Array
    bias: jax.Array

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.weight @ x + self.bias


class PytreeNetwork(NamedTuple):
    """Two of them."""

    inner: Layer
    outer: Layer

    def __call__(self, x: jax.Array) -> jax.Array:
        return self.outer(jnp.tanh(self.inner(x)))


def models(weights: list[tuple[jax.Array, jax.Array]]) -> dict[str, tuple[Any, Callable]]:
    """Parameters and `logits(params, x)` of each; the weights are `(kernel, bias)` of a layer."""
    (w1, b1), (w2, b2) = weights

    network = LinenNetwork()
    variables = {
        "params": {"Dense_0": {"kernel": w1, "bias": b1}, "Dense_1": {"kernel": w2, "bias": b2}}
    }

    model = NnxNetwork(nnx.Rngs(0))
    for layer, (kernel, bias) in zip((model.inner, model.outer), weights, strict=True):
        layer.kernel[...], layer.bias[...] = kernel, bias
    graph, params = nnx.split(model)

    pytree = PytreeNetwork(Layer(w1.T, b1), Layer(w2.T, b2))
    return {
        "flax.linen": (variables, network.apply),
        "flax.nnx": (params, lambda params, x: nnx.merge(graph, params)(x)),
        "pytree, as equinox": (pytree, lambda model, x: jax.vmap(model)(x)),
    }


def by_kfac(logits: Callable, x: jax.Array) -> tuple:
    """The three lines, with K-FAC: no learning rate, no damping."""
    family = families.Categorical(CLASSES)
    predict = lambda params, x: family.natural_from_params(logits=logits(params, x))
    tx = optim.kfac(predict, family, example_inputs=x[:1])
    return family, predict, tx


def by_natural_gradient(logits: Callable, _: jax.Array) -> tuple:
    """The three lines, with the exact natural gradient."""
    family = families.Categorical(CLASSES)
    predict = lambda params, x: family.natural_from_params(logits=logits(params, x))
    tx = optim.natural_gradient(0.5, predict, family, damping=1e-2)
    return family, predict, tx


def training(
    make: Callable, params: Any, logits: Callable, x: jax.Array, y: jax.Array, batches: jax.Array
) -> tuple:
    """The loop of any optax transform, but for `inputs=`; losses and accuracy on all data."""
    family, predict, tx = make(logits, x)

    def loss(params: Any, x: jax.Array, y: jax.Array) -> jax.Array:
        return -jnp.mean(family.log_density(predict(params, x), y))

    def step(carry: Any, batch: jax.Array) -> Any:
        params, state = carry
        grads = jax.grad(loss)(params, x[batch], y[batch])
        updates, state = tx.update(grads, state, params, inputs=x[batch])
        return (optax.apply_updates(params, updates), state), loss(params, x, y)

    walk = jax.jit(lambda carry: jax.lax.scan(step, carry, batches))
    (trained, _), losses = walk((params, tx.init(params)))
    accuracy = jnp.mean(jnp.argmax(logits(trained, x), axis=-1) == y)
    return np.append(losses, loss(trained, x, y)), float(accuracy)


def picture(curves: dict[tuple[str, str], np.ndarray]) -> Figure:
    """Losses of all models: those of one optimizer lie on one another."""
    figure = Figure(figsize=(5.5, 4), layout="constrained")
    ax = figure.subplots()
    for place, ((model, optimizer), losses) in enumerate(curves.items()):
        color, width = ("C0", "C1")[place % 2], (7, 4, 1.5)[place // 2]
        label = f"{optimizer}, {model}"
        ax.plot(losses, color=color, alpha=0.4 + 0.3 * (place // 2), linewidth=width, label=label)
    ax.set(xlabel="step", ylabel="loss of all digits (nats)", yscale="log")
    ax.legend(frameon=False)
    return figure


def main() -> None:
    """Train each model by each optimizer and print what came of it."""
    run = script.start(__file__, __doc__, quick="20 steps instead of 30")
    pixels, labels = load_digits(return_X_y=True)
    x, y = jnp.asarray(pixels / 16, jnp.float32), jnp.asarray(labels)
    keys = jax.random.split(run.key())
    weights = [
        (jax.random.normal(key, (m, n)) / m**0.5, jnp.zeros(n))
        for key, m, n in zip(keys, (64, HIDDEN), (HIDDEN, CLASSES), strict=True)
    ]
    steps = 20 if run.quick else 30
    batches = jax.random.choice(run.key(1), len(x), (steps, BATCH))
    rows, curves = [], {}
    for name, (params, logits) in models(weights).items():
        for optimizer, make in (("kfac", by_kfac), ("natural_gradient", by_natural_gradient)):
            losses, accuracy = training(make, params, logits, x, y, batches)
            curves[name, optimizer] = losses
            rows.append(
                (name, optimizer, f"{losses[0]:.4f}", f"{losses[-1]:.4f}", f"{accuracy:.1%}")
            )
    run.table(
        f"{steps} steps of {BATCH} digits, network 64-{HIDDEN}-{CLASSES}",
        ("model", "optimizer", "loss at the start", "loss", "accuracy"),
        rows,
    )
    run.save(picture(curves), "losses")
    run.end()


if __name__ == "__main__":
    main()
