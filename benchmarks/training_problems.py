"""Training problems of `benchmarks.optimizers`, without igeojax: kfac-jax has a Python of its own.

The loss of all is the mean over examples of the negative log-likelihood, summed over the
coordinates of the output.
"""

import dataclasses
import functools
import math
import pydoc_data.topics
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from sklearn.datasets import load_digits

SEQUENCES = 1024
"""Of the text, so that the loss on all data can be evaluated often."""
CONTEXT = 64


@dataclasses.dataclass(frozen=True)
class Problem:
    """A model, its data and what is asked of an optimizer.

    Attributes:
      about: one line for the table.
      inputs: all inputs, examples on axis 0.
      targets: all targets, examples on axis 0.
      classes: of each categorical output; 0 for independent Bernoulli outputs.
      init: parameters from a key.
      apply: logits from parameters and inputs.
      levels: losses to be reached, the last one ends a run.
      learning_rates: the grid of methods that have one.
      steps: the longest run.
      decay: the length of the cosine schedule.
      batch: examples of a step.
      growth: the loss is evaluated whenever the number of steps has grown by this factor.
      outputs: coordinates of an output, by which the printed loss is divided.
      block: steps of a round of timing.
    """

    about: str
    inputs: np.ndarray
    targets: np.ndarray
    classes: int
    init: Callable[[Any], Any]
    apply: Callable[[Any, Any], Any]
    levels: tuple[float, ...]
    learning_rates: tuple[float, ...] = (3e-3, 1e-2, 3e-2)
    steps: int = 2000
    decay: int = 1000
    batch: int = 512
    growth: float = 1.02
    outputs: int = 1
    block: int = 20

    def loss_of_outputs(self, logits: Any, targets: Any) -> Any:
        """Mean over examples of the negative log-likelihood, in nats."""
        if self.classes:
            losses = optax.softmax_cross_entropy_with_integer_labels(logits, targets)
        else:
            losses = jax.nn.softplus(logits) - logits * targets
        return losses.sum() / logits.shape[0]

    def loss(self, params: Any, inputs: Any, targets: Any) -> Any:
        """The loss of parameters."""
        return self.loss_of_outputs(self.apply(params, inputs), targets)

    @functools.cached_property
    def compiled_loss(self) -> Callable:
        """`loss`, compiled once for all runs."""
        return jax.jit(self.loss)

    def batches(self, rng: np.random.Generator, count: int) -> list[tuple[Any, Any]]:
        """The next `count` batches, on the device."""
        found = []
        for _ in range(count):
            chosen = rng.choice(len(self.inputs), self.batch, replace=False)
            found.append((jnp.asarray(self.inputs[chosen]), jnp.asarray(self.targets[chosen])))
        return jax.block_until_ready(found)


def full_loss(problem: Problem, params: Any) -> float:
    """The loss on all data, for one categorical output or for all Bernoulli ones."""
    total, size, part = 0.0, len(problem.inputs), max(2048 // problem.outputs, 128)
    if not problem.classes:
        part = size
    for start in range(0, size, part):
        x, y = problem.inputs[start : start + part], problem.targets[start : start + part]
        total += len(x) * float(problem.compiled_loss(params, x, y))
    return total / size / (problem.outputs if problem.classes else 1)


def _digits() -> tuple[np.ndarray, np.ndarray]:
    pixels, labels = load_digits(return_X_y=True)
    return (pixels / 16).astype(np.float32), labels.astype(np.int32)


def _standardized(pixels: np.ndarray) -> np.ndarray:
    return (pixels - pixels.mean()) / pixels.std()


def _dense_init(widths: Sequence[int], is_glorot: bool) -> Callable[[Any], Any]:
    """Normal initial weights of Glorot's or LeCun's variance, no biases."""

    def init(key: Any) -> Any:
        layers = zip(jax.random.split(key, len(widths) - 1), widths[:-1], widths[1:], strict=True)
        scale = lambda m, n: math.sqrt(2 / (m + n) if is_glorot else 1 / m)
        return [
            {"w": scale(m, n) * jax.random.normal(k, (m, n)), "b": jnp.zeros(n)}
            for k, m, n in layers
        ]

    return init


def _dense_apply(params: Any, x: Any) -> Any:
    *hidden, last = params
    for layer in hidden:
        x = jnp.tanh(jnp.dot(x, layer["w"]) + layer["b"][None])
    return jnp.dot(x, last["w"]) + last["b"][None]


def _autoencoder(*widths: int) -> Problem:
    pixels, _ = _digits()
    return Problem(
        f"autoencoder {'-'.join(map(str, widths))}, tanh, LeCun's start, of the 1797 digits, "
        "pixels in [0, 1] as float targets; nats an image",
        pixels,
        pixels,
        0,
        _dense_init(widths, is_glorot=False),
        _dense_apply,
        (18.0, 17.0, 16.0, 15.5, 15.3),
    )


def autoencoder() -> Problem:
    """Of the digits, with a narrow middle."""
    return _autoencoder(64, 32, 16, 32, 64)


def deep_autoencoder() -> Problem:
    """Of the digits, eight layers."""
    return _autoencoder(64, 128, 64, 32, 16, 32, 64, 128, 64)


def classifier() -> Problem:
    """Of the digits, dense."""
    pixels, labels = _digits()
    return Problem(
        "classifier 64-256-256-10, tanh, Glorot's start, of the 1797 digits, standardized as a "
        "whole; nats",
        _standardized(pixels),
        labels,
        10,
        _dense_init((64, 256, 256, 10), is_glorot=True),
        _dense_apply,
        (1e-1, 1e-2, 1e-3, 1e-4),
        block=10,
    )


def convolutional() -> Problem:
    """Of the digits as images."""
    from flax import linen

    class Network(linen.Module):
        @linen.compact
        def __call__(self, x):
            x = jnp.tanh(linen.Conv(16, (3, 3))(x))
            x = linen.avg_pool(x, (2, 2), strides=(2, 2))
            x = jnp.tanh(linen.Conv(32, (3, 3))(x))
            x = linen.avg_pool(x, (2, 2), strides=(2, 2))
            x = jnp.tanh(linen.Dense(64)(x.reshape(x.shape[0], -1)))
            return linen.Dense(10)(x)

    pixels, labels = _digits()
    images = _standardized(pixels).reshape(-1, 8, 8, 1)
    network = Network()
    return Problem(
        "convolutions 3x3 of 16 and 32 channels, each with tanh and mean pooling, dense 64 and 10, "
        "on the 1797 digits 8x8; nats",
        images,
        labels,
        10,
        lambda key: network.init(key, images[:1]),
        network.apply,
        (1e-1, 1e-2, 1e-3, 1e-4),
        steps=1000,
        growth=1.05,
        block=4,
    )


def transformer() -> Problem:
    """The next character of text."""
    from flax import linen

    topics = pydoc_data.topics.topics
    text = "\n".join(topics[name] for name in sorted(topics))[: SEQUENCES * CONTEXT + 1]
    alphabet = sorted(set(text))
    codes = np.array([alphabet.index(c) for c in text], np.int32)
    inputs = codes[:-1].reshape(SEQUENCES, CONTEXT)
    targets = codes[1:].reshape(SEQUENCES, CONTEXT)

    class Network(linen.Module):
        @linen.compact
        def __call__(self, tokens):
            x = linen.Embed(len(alphabet), 64, name="embed")(tokens)
            x = x + linen.Embed(CONTEXT, 64, name="embed_place")(jnp.arange(CONTEXT))[None]
            mask = linen.make_causal_mask(tokens)
            for _ in range(2):
                y = linen.LayerNorm()(x)
                x = x + linen.MultiHeadDotProductAttention(num_heads=4)(y, y, mask=mask)
                y = linen.Dense(256)(linen.LayerNorm()(x))
                x = x + linen.Dense(64)(linen.gelu(y))
            return linen.Dense(len(alphabet), name="head")(linen.LayerNorm()(x))

    network = Network()
    return Problem(
        f"transformer of 2 blocks, width 64, 4 heads, on {SEQUENCES} x {CONTEXT} characters of "
        f"pydoc_data.topics, {len(alphabet)} different ones; nats a character",
        inputs,
        targets,
        len(alphabet),
        lambda key: network.init(key, inputs[:1]),
        network.apply,
        (2.5, 2.0, 1.5, 1.0),
        learning_rates=(1e-3, 3e-3, 1e-2),
        steps=600,
        decay=600,
        batch=64,
        growth=1.15,
        outputs=CONTEXT,
        block=2,
    )


PROBLEMS: dict[str, Callable[[], Problem]] = {
    "autoencoder": autoencoder,
    "deep_autoencoder": deep_autoencoder,
    "classifier": classifier,
    "convolutional": convolutional,
    "transformer": transformer,
}
