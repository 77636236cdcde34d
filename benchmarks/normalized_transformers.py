"""Normalized transformer beside the usual one: losses of equal steps, steps to equal losses.

Both are the models of `examples/ngpt_characters.py`, of equal width, depth and data; each
is trained by Adam with a cosine schedule to its own length, the usual one with warm-up and decay of
weights, the normalized one with neither and its weights put back on the sphere. Learning rates of
both are searched for each length: all with one seed, the best two with three. Run as

    OPENBLAS_NUM_THREADS=1 taskset -c 1 python -m benchmarks.normalized_transformers

It keeps what is done in `benchmarks/results/normalized_transformers.json`, so that it may be
stopped and goes on, and draws `normalized_transformers.svg`; `--seconds` only times steps. What it
prints is in `normalized_transformers.md`.
"""

import argparse
import functools
import json
import statistics
import time
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from examples.ngpt_characters import BATCH, CONTEXT, Text, help_texts, loss, network, rows_of
from igeojax import nn, optim

LENGTHS, SHORTER = (250, 500, 1000), (125, 250, 500, 1000)
RATES = {
    "usual": (1e-3, 2e-3, 4e-3, 8e-3),
    "normalized": (4e-3, 8e-3, 1.6e-2, 3.2e-2, 6.4e-2),
}
SEEDS = 3
FOLDER = Path(__file__).parent / "results"
RESULTS = FOLDER / "normalized_transformers.json"


@functools.cache
def text() -> Text:
    """Characters for training and for validation."""
    return help_texts()


@functools.cache
def validation() -> np.ndarray:
    """Rows of the text that is not trained on."""
    codes = text().unseen
    return rows_of(codes, np.arange(0, len(codes) - CONTEXT - 1, CONTEXT)[: 16 * 16])


def optimizer(kind: str, params: Any, rate: Any, steps: Any) -> optax.GradientTransformation:
    """Adam with the schedule of the kind; rate and steps may be traced."""
    warm = 1 + (0.05 * steps if kind == "usual" else 0)

    def schedule(count: Any) -> Any:
        wave = 0.55 + 0.45 * jnp.cos(jnp.pi * jnp.minimum(count / steps, 1))
        return rate * wave * jnp.minimum(1, (count + 1) / warm)

    if kind == "usual":
        matrices = jax.tree.map(lambda leaf: leaf.ndim > 1, params)
        return optax.adamw(schedule, b2=0.95, weight_decay=0.1, mask=matrices)
    return optax.chain(optax.adam(schedule, b2=0.95), optim.project_onto(nn.unit_manifolds(params)))


@functools.cache
def compiled(kind: str) -> tuple[Any, Any, Any]:
    """Start, some steps, and the validation loss of a kind, compiled once."""
    model = network(kind, text())
    start = jax.jit(lambda key: model.init(key, jnp.zeros((1, CONTEXT), jnp.int32)))

    @functools.partial(jax.jit, donate_argnums=(0, 1))
    def steps(params: Any, state: Any, rows: Any, rate: Any, count: Any) -> Any:
        tx = optimizer(kind, params, rate, count)

        def step(carry: Any, rows: Any) -> Any:
            params, state = carry
            gradient = jax.grad(lambda params: loss(model, params, rows))(params)
            updates, state = tx.update(gradient, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(step, (params, state), rows)[0]

    @jax.jit
    def validated(params: Any) -> Any:
        rows = jnp.asarray(validation()).reshape(-1, 16, CONTEXT + 1)
        return jnp.mean(jax.lax.map(lambda part: loss(model, params, part), rows))

    return start, steps, validated


def trained(kind: str, rate: float, length: int, seed: int) -> list[tuple[int, float]]:
    """Steps and validation losses of a run."""
    start, steps, validated = compiled(kind)
    rng = np.random.default_rng(seed)
    params = start(jax.random.key(seed))
    state = optimizer(kind, params, rate, length).init(params)
    history, codes = [], text().learned
    for done in range(25, length + 25, 25):
        rows = rows_of(codes, rng.integers(0, len(codes) - CONTEXT - 1, (25, BATCH)))
        params, state = steps(params, state, rows, rate, length)
        if done % (length // 5) == 0 or done == length:
            history.append((done, float(validated(params))))
    return history


def kept(results: dict[str, Any], kind: str, rate: float, length: int, seed: int) -> Any:
    """A run that was made before, or is made and kept."""
    key = f"{kind} {rate} {length} {seed}"
    if key not in results:
        began = time.process_time()
        results[key] = trained(kind, rate, length, seed)
        print(
            f"{key}: {results[key][-1][1]:.4f} in {time.process_time() - began:.0f} s", flush=True
        )
        RESULTS.write_text(json.dumps(results, indent=1))
    return results[key]


def best_rate(results: dict[str, Any], kind: str, length: int) -> float:
    """Of the two rates of lowest loss with the first seed, that of lowest mean over the seeds."""
    loss_of = lambda rate, seed: kept(results, kind, rate, length, seed)[-1][1]
    two = sorted(RATES[kind], key=lambda rate: loss_of(rate, 0))[:2]
    return min(two, key=lambda rate: sum(loss_of(rate, seed) for seed in range(SEEDS)))


def seconds(rounds: int) -> None:
    """Milliseconds of a step of each, in alternation."""
    taken: dict[str, list[float]] = {"usual": [], "normalized": []}
    codes, states = text().learned, {}
    for kind in taken:
        params = compiled(kind)[0](jax.random.key(0))
        states[kind] = params, optimizer(kind, params, 1e-3, 100).init(params)
    rows = rows_of(codes, np.arange(25 * BATCH).reshape(25, BATCH))
    for turn in range(rounds + 1):
        for kind in list(taken)[:: 1 if turn % 2 else -1]:
            began = time.process_time()
            states[kind] = jax.block_until_ready(compiled(kind)[1](*states[kind], rows, 1e-3, 100))
            if turn:
                taken[kind].append((time.process_time() - began) / 25)
    ratios = [a / b for a, b in zip(taken["normalized"], taken["usual"], strict=True)]
    for kind, times in taken.items():
        print(f"{kind}: {1e3 * statistics.median(times):.1f} ms a step")
    print(f"ratio {statistics.median(ratios):.2f} [{min(ratios):.2f}-{max(ratios):.2f}]")


def table(results: dict[str, Any]) -> None:
    """Losses of equal steps, and how many steps the normalized model needs for equal losses."""
    rates: dict[str, dict[int, float]] = {kind: {} for kind in RATES}
    ends: dict[str, dict[int, list[float]]] = {kind: {} for kind in RATES}
    for kind, lengths in (("usual", LENGTHS), ("normalized", SHORTER)):
        for length in lengths:
            rate = rates[kind][length] = best_rate(results, kind, length)
            ends[kind][length] = [
                kept(results, kind, rate, length, seed)[-1][1] for seed in range(SEEDS)
            ]
    print(f"rates: {rates}")
    print("| steps | usual | normalized | steps to equal loss, usual over normalized |")
    print("| --- | --- | --- | --- |")
    for length in LENGTHS:
        usual, normalized = (statistics.mean(ends[kind][length]) for kind in RATES)
        ratios = []
        for seed in range(SEEDS):
            losses = [ends["normalized"][steps][seed] for steps in SHORTER]
            level = ends["usual"][length][seed]
            # Losses fall with the length; beyond both ends np.interp gives the end itself.
            needed = np.exp(np.interp(-level, -np.array(losses), np.log(SHORTER)))
            ratios.append(length / needed)
        print(
            f"| {length} | {usual:.3f} | {normalized:.3f} | {statistics.median(ratios):.2f} "
            f"[{min(ratios):.2f}-{max(ratios):.2f}] |"
        )
    picture(ends)


def picture(ends: dict[str, dict[int, list[float]]]) -> None:
    """Validation loss at the end of runs of each length."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    ax = figure.subplots()
    for kind, color in (("usual", "tab:gray"), ("normalized", "tab:blue")):
        lengths = list(ends[kind])
        losses = np.array([ends[kind][length] for length in lengths])
        ax.plot(lengths, losses.mean(axis=1), "o-", color=color, label=f"{kind} transformer")
        ax.fill_between(lengths, losses.min(axis=1), losses.max(axis=1), color=color, alpha=0.2)
    ax.set(xscale="log", xlabel="steps of the run", ylabel="validation loss, nats a character")
    ax.set_xticks(SHORTER, map(str, SHORTER))
    ax.minorticks_off()
    ax.legend()
    figure.savefig(FOLDER / "normalized_transformers.svg")


def main() -> None:
    """Run what the command line asks for."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n", maxsplit=1)[0])
    parser.add_argument("--seconds", action="store_true", help="only time the steps")
    arguments = parser.parse_args()
    if arguments.seconds:
        seconds(8)
        return
    table(json.loads(RESULTS.read_text()) if RESULTS.exists() else {})


if __name__ == "__main__":
    main()
