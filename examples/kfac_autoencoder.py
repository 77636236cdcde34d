"""K-FAC on an autoencoder of digits, beside Adam: python examples/kfac_autoencoder.py.

1. What K-FAC makes of the network, and the memory that each method takes: `optim.describe`.
2. Steps and seconds to two losses, K-FAC with its defaults and Adam at its best learning rate.
3. Pictures: the losses over steps and over seconds, and what the networks make of digits.
"""

import os
import time
from typing import Any, NamedTuple

# LAPACK's threads wait by spinning, which costs more than they gain where a matrix has few rows.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from sklearn.datasets import load_digits

import script
from igeojax import families, optim, viz

WIDTHS = (64, 32, 16, 32, 64)
BATCH = 512
STEPS = {"K-FAC": 250, "Adam": 2000}
EVERY = {"K-FAC": 1, "Adam": 10}
"""Steps between two looks at the loss of all digits, which are not timed."""
TARGETS = (16.0, 15.5)
SHOWN = 50
PIXELS = families.Bernoulli()


def start(key: Any) -> list[dict[str, jax.Array]]:
    """Layers whose outputs have the variance of their inputs."""
    keys = jax.random.split(key, len(WIDTHS) - 1)
    return [
        {"w": jax.random.normal(k, (m, n)) / m**0.5, "b": jnp.zeros(n)}
        for k, m, n in zip(keys, WIDTHS[:-1], WIDTHS[1:], strict=True)
    ]


def predict(params: Any, x: jax.Array) -> Any:
    """Sixty-four Bernoulli laws an image, one a pixel: all that K-FAC needs to know."""
    *hidden, last = params
    for layer in hidden:
        x = jnp.tanh(x @ layer["w"] + layer["b"][None])
    return PIXELS.natural_from_params(logits=x @ last["w"] + last["b"][None])


def loss(params: Any, x: jax.Array) -> jax.Array:
    """Cross-entropy in nats an image; pixels are means, so the least is their entropy, not 0."""
    theta = predict(params, x)
    return jnp.sum(PIXELS.log_partition(theta) - theta.x * x) / x.shape[0]


class Training(NamedTuple):
    """A training run: losses every few steps, and parameters after `SHOWN` steps and at the end."""

    steps: np.ndarray
    seconds: np.ndarray
    losses: np.ndarray
    early: Any
    params: Any


def train(
    run: script.Script,
    tx: optax.GradientTransformation,
    x: jax.Array,
    count: int,
    every: int,
    advance: Any,
) -> Training:
    """Train on random batches; compilation and evaluation are not in the seconds."""
    tx = optax.with_extra_args_support(tx)

    def step(carry: Any, chosen: Any) -> Any:
        params, state = carry
        batch = x[chosen]
        updates, state = tx.update(jax.grad(loss)(params, batch), state, params, inputs=batch)
        return (optax.apply_updates(params, updates), state), None

    chunk = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches)[0])
    evaluate = jax.jit(loss)
    rng = run.rng()
    batches = jnp.asarray([rng.permutation(len(x))[:BATCH] for _ in range(count)])
    params = early = start(run.key())
    carry = (params, tx.init(params))
    jax.block_until_ready(chunk(carry, batches[:every]))  # compile
    losses, seconds = [float(evaluate(params, x))], [0.0]
    for first in range(0, count, every):
        began = time.perf_counter()
        carry = jax.block_until_ready(chunk(carry, batches[first : first + every]))
        seconds.append(seconds[-1] + time.perf_counter() - began)
        losses.append(float(evaluate(carry[0], x)))
        early = carry[0] if first + every <= SHOWN else early
        advance(every)
    steps = np.arange(0, count + 1, every)
    return Training(steps, np.array(seconds), np.array(losses), early, carry[0])


def results(runs: dict[str, Training]) -> list[tuple[str, ...]]:
    """What it took to reach the losses."""
    rows = []
    for name, trained in runs.items():
        cells = []
        for target in TARGETS:
            reached = np.flatnonzero(trained.losses <= target)
            at = reached[0] if reached.size else None
            cells += (
                ["not reached", "-"] if at is None else [trained.steps[at], trained.seconds[at]]
            )
        cells += [1e3 * trained.seconds[-1] / trained.steps[-1], trained.losses[-1]]
        rows.append((name, *(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells)))
    return rows


def pictures(runs: dict[str, Training], x: jax.Array, run: script.Script) -> None:
    """Losses over steps and over seconds; ten digits and what becomes of them."""
    figure = Figure(figsize=(10, 4), layout="constrained")
    left, right = figure.subplots(1, 2)
    over_steps = {name: (r.steps, r.losses) for name, r in runs.items()}
    over_seconds = {name: (r.seconds, r.losses) for name, r in runs.items()}
    for ax, curves, x_label in ((left, over_steps, "step"), (right, over_seconds, "seconds")):
        viz.loss_curves(ax, curves, x_label=x_label, y_label="loss of all digits (nats an image)")
        for target in TARGETS:
            ax.axhline(target, color="0.5", linestyle="--", linewidth=1)
        ax.set_yticks([15, 16, 18, 20, 25, 30, 40], ["15", "16", "18", "20", "25", "30", "40"])
        ax.minorticks_off()
        ax.set_ylim(14.8, 45)
    left.set_xlim(0, 1000)
    run.save(figure, "training")

    digits = x[:10]
    rows = {"digits": digits}
    rows |= {f"{n}, {SHOWN} steps": PIXELS.mean(predict(r.early, digits)) for n, r in runs.items()}
    rows |= {
        f"{n}, {r.steps[-1]} steps": PIXELS.mean(predict(r.params, digits)) for n, r in runs.items()
    }
    figure = Figure(figsize=(9, 0.85 * len(rows)), layout="constrained")
    for axes, (label, images) in zip(figure.subplots(len(rows), 10), rows.items(), strict=True):
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(label, rotation=0, ha="right", va="center")
    run.save(figure, "reconstructions")


def main() -> None:
    """Describe, train, and say where the pictures are."""
    run = script.start(__file__, __doc__, quick="two fifths of the steps")
    pixels, _ = load_digits(return_X_y=True)
    x = jnp.asarray(pixels / 16, jnp.float32)
    shapes = jax.eval_shape(start, run.key())
    described = optim.describe(predict, PIXELS, shapes, x[:BATCH])
    run.console.print(described, highlight=False, markup=False)
    optimizers = {
        "K-FAC": optim.kfac(predict, PIXELS, example_inputs=x[:1]),
        "Adam": optax.adam(1e-2),  # the best of 3e-3, 1e-2 and 3e-2
    }
    runs = {}
    with run.progress() as progress:
        for name, tx in optimizers.items():
            count = 2 * STEPS[name] // 5 if run.quick else STEPS[name]
            task = progress.add_task(name, total=count)
            advance = lambda n, task=task: progress.advance(task, n)
            runs[name] = train(run, tx, x, count, EVERY[name], advance)
    headings = [part for target in TARGETS for part in (f"steps to {target:g}", "seconds")]
    run.table(
        f"Autoencoder {'-'.join(map(str, WIDTHS))}, batches of {BATCH} digits",
        ("", *headings, "ms a step", "final loss"),
        results(runs),
    )
    pictures(runs, x, run)
    run.end()


if __name__ == "__main__":
    main()
