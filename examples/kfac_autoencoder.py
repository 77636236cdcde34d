"""K-FAC on an autoencoder of digits, beside Adam: python examples/kfac_autoencoder.py [folder].

1. What K-FAC makes of the network, and the memory that each method takes: `optim.describe`.
2. Steps and seconds to two losses, K-FAC with its defaults and Adam at its best learning rate.
3. Pictures: the losses over steps and over seconds, and what the networks make of digits.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any, NamedTuple

# LAPACK's threads wait by spinning, which costs more than they gain where a matrix has few rows.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import jax
import jax.numpy as jnp
import numpy as np
import optax
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from sklearn.datasets import load_digits

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


class Run(NamedTuple):
    """A training run: losses every few steps, and parameters after `SHOWN` steps and at the end."""

    steps: np.ndarray
    seconds: np.ndarray
    losses: np.ndarray
    early: Any
    params: Any


def train(name: str, tx: optax.GradientTransformation, x: jax.Array, advance: Any) -> Run:
    """Train on random batches; compilation and evaluation are not in the seconds."""
    tx = optax.with_extra_args_support(tx)

    def step(carry: Any, chosen: Any) -> Any:
        params, state = carry
        batch = x[chosen]
        updates, state = tx.update(jax.grad(loss)(params, batch), state, params, inputs=batch)
        return (optax.apply_updates(params, updates), state), None

    chunk = jax.jit(lambda carry, batches: jax.lax.scan(step, carry, batches)[0])
    evaluate = jax.jit(loss)
    rng = np.random.default_rng(0)
    batches = jnp.asarray([rng.permutation(len(x))[:BATCH] for _ in range(STEPS[name])])
    params = early = start(jax.random.key(0))
    carry = (params, tx.init(params))
    jax.block_until_ready(chunk(carry, batches[: EVERY[name]]))  # compile
    losses, seconds = [float(evaluate(params, x))], [0.0]
    for first in range(0, STEPS[name], EVERY[name]):
        began = time.perf_counter()
        carry = jax.block_until_ready(chunk(carry, batches[first : first + EVERY[name]]))
        seconds.append(seconds[-1] + time.perf_counter() - began)
        losses.append(float(evaluate(carry[0], x)))
        early = carry[0] if first + EVERY[name] <= SHOWN else early
        advance(EVERY[name])
    steps = np.arange(0, STEPS[name] + 1, EVERY[name])
    return Run(steps, np.array(seconds), np.array(losses), early, carry[0])


def results(runs: dict[str, Run]) -> Table:
    """What it took to reach the losses."""
    table = Table(title=f"Autoencoder {'-'.join(map(str, WIDTHS))}, batches of {BATCH} digits")
    table.add_column("")
    for target in TARGETS:
        table.add_column(f"steps to {target:g}", justify="right")
        table.add_column("seconds", justify="right")
    for heading in ("ms a step", "final loss"):
        table.add_column(heading, justify="right")
    for name, run in runs.items():
        cells = []
        for target in TARGETS:
            reached = np.flatnonzero(run.losses <= target)
            at = reached[0] if reached.size else None
            cells += ["not reached", "-"] if at is None else [run.steps[at], run.seconds[at]]
        cells += [1e3 * run.seconds[-1] / run.steps[-1], run.losses[-1]]
        table.add_row(name, *(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells))
    return table


def pictures(runs: dict[str, Run], x: jax.Array, folder: Path) -> None:
    """Losses over steps and over seconds; ten digits and what becomes of them."""
    figure = Figure(figsize=(10, 4), dpi=130, layout="constrained")
    left, right = figure.subplots(1, 2)
    over_steps = {name: (run.steps, run.losses) for name, run in runs.items()}
    over_seconds = {name: (run.seconds, run.losses) for name, run in runs.items()}
    for ax, curves, x_label in ((left, over_steps, "step"), (right, over_seconds, "seconds")):
        viz.loss_curves(ax, curves, x_label=x_label, y_label="loss of all digits (nats an image)")
        for target in TARGETS:
            ax.axhline(target, color="0.5", linestyle="--", linewidth=1)
        ax.set_yticks([15, 16, 18, 20, 25, 30, 40], ["15", "16", "18", "20", "25", "30", "40"])
        ax.minorticks_off()
        ax.set_ylim(14.8, 45)
    left.set_xlim(0, 1000)
    figure.savefig(folder / "training.png")

    digits = x[:10]
    rows = {"digits": digits}
    rows |= {f"{n}, {SHOWN} steps": PIXELS.mean(predict(r.early, digits)) for n, r in runs.items()}
    rows |= {
        f"{n}, {r.steps[-1]} steps": PIXELS.mean(predict(r.params, digits)) for n, r in runs.items()
    }
    figure = Figure(figsize=(9, 0.85 * len(rows)), dpi=130, layout="constrained")
    for axes, (label, images) in zip(figure.subplots(len(rows), 10), rows.items(), strict=True):
        for ax, image in zip(axes, images, strict=True):
            ax.imshow(image.reshape(8, 8), cmap="gray_r", vmin=0, vmax=1)
            ax.set(xticks=[], yticks=[])
        axes[0].set_ylabel(label, rotation=0, ha="right", va="center")
    figure.savefig(folder / "reconstructions.png")


def main() -> None:
    """Describe, train, and say where the pictures are."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", nargs="?", default="kfac_pictures", type=Path)
    folder = parser.parse_args().folder
    folder.mkdir(parents=True, exist_ok=True)
    console = Console(width=100)
    began = time.perf_counter()
    pixels, _ = load_digits(return_X_y=True)
    x = jnp.asarray(pixels / 16, jnp.float32)
    shapes = jax.eval_shape(start, jax.random.key(0))
    console.print(optim.describe(predict, PIXELS, shapes, x[:BATCH]), highlight=False, markup=False)
    optimizers = {
        "K-FAC": optim.kfac(predict, PIXELS, example_inputs=x[:1]),
        "Adam": optax.adam(1e-2),  # the best of 3e-3, 1e-2 and 3e-2
    }
    runs = {}
    with Progress(console=console) as progress:
        for name, tx in optimizers.items():
            task = progress.add_task(name, total=STEPS[name])
            runs[name] = train(name, tx, x, lambda n, task=task: progress.advance(task, n))
    console.print(results(runs))
    pictures(runs, x, folder)
    console.print(
        f"{time.perf_counter() - began:.0f} s. Pictures in {folder.resolve()}: "
        "reconstructions.png, training.png"
    )


if __name__ == "__main__":
    main()
