"""One language model in torch and in JAX, by the same fused cross entropy: one loss curve.

    python examples/fused_cross_entropy_training.py

The model predicts the next word of Python's own help texts from the four before it. Its logits, a
row of thousands for each word, are the largest thing in a step: `kernels_triton.cross_entropy`
reads them once, keeps two numbers a row, and in torch writes their gradient over them. Both
frameworks start at the same weights, see the same batches and use Adam.

1. Train both; the losses side by side, and how far apart they are.
2. A picture of the two curves and of their difference.

On a GPU both run the Triton kernels (JAX by jax-triton, inside `jit`), elsewhere their formulas.
"""

import pydoc_data.topics
import re
from collections import Counter
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import optax
import torch
from matplotlib.figure import Figure

import kernels_triton
import script
from kernels_triton import jax as kernels

CONTEXT, FEATURES, HIDDEN, BATCH, RATE = 4, 32, 64, 256, 3e-3
UNKNOWN = 0  # words seen once; as what comes next they are not counted


def help_words() -> tuple[np.ndarray, int]:
    """The help texts as numbers of words, and how many different ones there are."""
    topics = pydoc_data.topics.topics
    words = re.findall(r"\w+|[^\w\s]", "\n".join(topics[name] for name in sorted(topics)).lower())
    kept = [word for word, count in Counter(words).most_common() if count > 1]
    number = {word: index for index, word in enumerate(kept, start=1)}
    return np.array([number.get(word, UNKNOWN) for word in words], np.int32), len(kept) + 1


def batches(
    words: np.ndarray, steps: int, generator: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """For each step the words before, and the word that comes next."""
    places = generator.integers(CONTEXT, len(words), (steps, BATCH))
    before = np.stack([words[places - back] for back in range(CONTEXT, 0, -1)], -1)
    return before, words[places]


def weights(vocabulary: int, generator: np.random.Generator) -> dict[str, np.ndarray]:
    """The start of both."""
    shapes = {
        "embedding": (vocabulary, FEATURES),
        "hidden": (CONTEXT * FEATURES, HIDDEN),
        "output": (HIDDEN, vocabulary),
    }
    return {
        name: (generator.normal(size=shape) / np.sqrt(shape[0])).astype(np.float32)
        for name, shape in shapes.items()
    } | {"bias": np.zeros(vocabulary, np.float32)}


def train_in_torch(start: dict[str, np.ndarray], before: np.ndarray, after: np.ndarray) -> list:
    """The losses of torch."""
    device = "cuda" if torch.cuda.is_available() else "cpu"
    params = {
        name: torch.tensor(value, device=device, requires_grad=True)
        for name, value in start.items()
    }
    optimizer = torch.optim.Adam(params.values(), RATE)
    inputs, labels = (torch.tensor(x, dtype=torch.int64, device=device) for x in (before, after))
    losses = []
    for x, y in zip(inputs, labels, strict=True):
        hidden = torch.tanh(params["embedding"][x].flatten(1) @ params["hidden"])
        logits = hidden @ params["output"] + params["bias"]
        # Nobody reads the logits after this: their gradient may take their place.
        loss = kernels_triton.cross_entropy(
            logits, y, ignore_index=UNKNOWN, label_smoothing=0.1, inplace_gradient=True
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.detach())
    return torch.stack(losses).tolist()


def train_in_jax(start: dict[str, np.ndarray], before: np.ndarray, after: np.ndarray) -> list:
    """The losses of JAX: all steps in one compiled program."""
    optimizer = optax.adam(RATE)

    def loss_of(params: dict[str, jax.Array], x: jax.Array, y: jax.Array) -> jax.Array:
        hidden = jnp.tanh(params["embedding"][x].reshape(len(x), -1) @ params["hidden"])
        logits = hidden @ params["output"] + params["bias"][None]
        return kernels.cross_entropy(logits, y, ignore_index=UNKNOWN, label_smoothing=0.1)

    def step(carry: tuple, batch: tuple[jax.Array, jax.Array]) -> tuple[tuple, jax.Array]:
        params, state = carry
        loss, gradient = jax.value_and_grad(loss_of)(params, *batch)
        updates, state = optimizer.update(gradient, state)
        return (optax.apply_updates(params, updates), state), loss

    params = jax.tree.map(jnp.asarray, start)
    with jax.default_matmul_precision("highest"):  # a GPU would round factors to 10 bits
        run = jax.jit(partial(jax.lax.scan, step))
        _, losses = run((params, optimizer.init(params)), (jnp.asarray(before), jnp.asarray(after)))
    return losses.tolist()


def picture(torch_losses: list, jax_losses: list) -> Figure:
    """Both curves, and their difference."""
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    curves, difference = figure.subplots(1, 2)
    curves.plot(torch_losses, label="torch", lw=3, alpha=0.4)
    curves.plot(jax_losses, label="JAX", lw=1)
    curves.set(xlabel="step", ylabel="cross entropy [nats]")
    curves.legend()
    apart = np.abs(np.subtract(torch_losses, jax_losses))
    difference.semilogy(np.maximum(apart, 1e-9))
    difference.set(xlabel="step", ylabel="difference [nats]")
    return figure


def main() -> None:
    """Train both and tell."""
    run = script.start(__file__, __doc__, quick="30 steps instead of 300")
    steps = 30 if run.quick else 300
    words, vocabulary = help_words()
    before, after = batches(words, steps, run.rng())
    first = weights(vocabulary, run.rng(1))
    run.console.print(f"{len(words)} words, {vocabulary} different ones; {steps} steps of {BATCH}")
    torch_losses = train_in_torch(first, before, after)
    jax_losses = train_in_jax(first, before, after)
    shown = sorted({0, *range(steps // 5 - 1, steps, steps // 5)})
    rows = [(n + 1, f"{torch_losses[n]:.5f}", f"{jax_losses[n]:.5f}") for n in shown]
    run.table("Cross entropy of the next word, nats", ("step", "torch", "JAX"), rows)
    apart = max(abs(a - b) for a, b in zip(torch_losses, jax_losses, strict=True))
    run.console.print(f"The two curves are at most {apart:.1e} apart.")
    run.save(picture(torch_losses, jax_losses), "fused_cross_entropy_training")
    run.end()


if __name__ == "__main__":
    main()
