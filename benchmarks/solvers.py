"""Exact natural gradients by each solver, over numbers of examples: milliseconds in float32.

    export OPENBLAS_NUM_THREADS=1
    python -m benchmarks.solvers                     # prints the table
    python -m benchmarks.solvers --output PATH.md    # and writes it
    python -m benchmarks.solvers --draw benchmarks/results/solvers_cpu.md PATH.svg

A network 64-48-32-10 with tanh and one output, the sum of the ten: 5018 parameters, one row of the
sample space an example. Medians over alternated rounds, after compilation and a first call. A
solver that took more than `--patience` seconds is left out of larger numbers of examples. LAPACK's
threads spin where others work too: a factorization of 512 rows took 50 times as long then.
"""

import argparse
import importlib.metadata
import itertools
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp

from igeojax import families, fisher, optim

FAMILY = families.NormalKnownScale()
WIDTHS = (64, 48, 32, 10)
SOLVERS = ("dense", "sample space, Jacobian", "sample space", "CG 1e-3", "Auto")


def predict(params: Any, inputs: jax.Array) -> Any:
    """The network."""
    for layer in params:
        inputs = jnp.tanh(inputs @ layer["kernel"] + layer["bias"])
    return FAMILY.natural_from_params(loc=jnp.sum(inputs, axis=-1))


def initial_params() -> list[dict[str, jax.Array]]:
    """Weights of unit gain."""
    key, found = jax.random.key(0), []
    for index, (rows, columns) in enumerate(itertools.pairwise(WIDTHS)):
        kernel = jax.random.normal(jax.random.fold_in(key, index), (rows, columns))
        found.append({"kernel": kernel / math.sqrt(rows), "bias": jnp.zeros(columns)})
    return found


def transforms(damping: float) -> dict[str, Any]:
    """A transform for each solver."""
    natural = lambda solver: optim.scale_by_natural_gradient(
        predict, FAMILY, solver=solver, damping=damping
    )
    by_jacobian = optim.Metric(
        lambda params, v, inputs: fisher.fisher_matvec(predict, FAMILY, params, v, inputs),
        lambda params, inputs: fisher.output_jacobian(predict, FAMILY, params, inputs),
    )
    found = (
        natural(optim.Dense()),
        optim.scale_by_metric(by_jacobian, solver=optim.SampleSpace(), damping=damping),
        natural(optim.SampleSpace()),
        natural(optim.ConjugateGradient(1e-3, 200)),
        natural(optim.Auto()),
    )
    return dict(zip(SOLVERS, found, strict=True))


def seconds(function: Callable[..., Any], *arguments: Any) -> float:
    """Of one call."""
    begin = time.perf_counter()
    jax.block_until_ready(function(*arguments))
    return time.perf_counter() - begin


def measured(damping: float, sizes: list[int], rounds: int, patience: float) -> list[str]:
    """Lines of the table of one damping."""
    params = initial_params()
    left = set(SOLVERS)
    lines = []
    for size in sizes:
        inputs = jax.random.normal(jax.random.key(size), (size, WIDTHS[0]))
        loss = lambda p, x: jnp.mean(predict(p, x).x ** 2)
        gradient = jax.jit(jax.grad(loss))
        grads = gradient(params, inputs)
        calls: dict[str, Any] = {"gradient": (gradient, (params, inputs))}
        steps = 0
        for name, tx in transforms(damping).items():
            if name in left:
                run = jax.jit(lambda g, p, x, tx=tx: tx.update(g, tx.init(p), p, inputs=x))
                calls[name] = run, (grads, params, inputs)
                _, state = run(grads, params, inputs)
                steps = int(state.num_steps) if name == "CG 1e-3" else steps
        times: dict[str, list[float]] = {name: [] for name in calls}
        for _ in range(rounds):
            for name, (run, arguments) in calls.items():
                # A slow one needs few rounds.
                if len(times[name]) < 3 or min(times[name]) < patience / 4:
                    times[name].append(seconds(run, *arguments))
        medians = {name: statistics.median(found) for name, found in times.items()}
        left -= {name for name in left & set(medians) if medians[name] > patience}
        best = min(value for name, value in medians.items() if name not in ("gradient", "Auto"))
        cells = [f"{1e3 * medians[n]:.3g}" if n in medians else "" for n in ("gradient", *SOLVERS)]
        choice = type(optim.Auto().choice(size, 1, parameter_count(params))).__name__
        lines.append(
            f"| {damping:g} | {size} | {' | '.join(cells)} | {choice}, "
            f"{medians['Auto'] / best:.2f} | {steps} |"
        )
        print(lines[-1], flush=True)
    return lines


def draw(table: Path, picture: Path) -> None:
    """Times over numbers of examples from a written table, one panel a damping; needs `viz`."""
    import matplotlib
    from matplotlib.figure import Figure

    rows = [
        [cell.strip() for cell in line.strip("|\n ").split("|")]
        for line in table.read_text().splitlines()
        if line.startswith("|")
    ]
    head, _, *rows = rows
    matplotlib.rcParams["svg.hashsalt"] = "solvers"
    figure = Figure(figsize=(9, 4), layout="constrained")
    dampings = list(dict.fromkeys(row[0] for row in rows))
    for ax, damping in zip(figure.subplots(1, len(dampings), sharey=True), dampings, strict=True):
        own = [row for row in rows if row[0] == damping]
        for name in ("gradient", *SOLVERS[:-1]):
            column = head.index(name)
            points = [(int(row[1]), float(row[column])) for row in own if row[column]]
            style = {"color": "0.6", "linestyle": ":"} if name == "gradient" else {"marker": "."}
            ax.loglog(*zip(*points, strict=True), label=name, **style)
        column = head.index("Auto")
        points = [(int(row[1]), float(row[column])) for row in own]
        style = {"mfc": "none", "mec": "k", "ms": 9, "linestyle": ""}
        ax.loglog(*zip(*points, strict=True), marker="o", label="Auto", **style)
        ax.set(title=f"damping {damping}", xlabel="examples")
        ax.set_xticks([int(row[1]) for row in own], [row[1] for row in own])
        ax.minorticks_off()
        ax.grid(alpha=0.3)
    figure.axes[0].set_ylabel("ms")
    lines, names = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, names, loc="outside right center", frameon=False)
    figure.savefig(picture, metadata={"Date": None} if picture.suffix == ".svg" else None, dpi=110)


def parameter_count(params: Any) -> int:
    """Entries of the parameters."""
    return sum(leaf.size for leaf in jax.tree.leaves(params))


def main() -> None:
    """Print the table; write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--sizes", type=int, nargs="+", default=[2**k for k in range(6, 13)])
    parser.add_argument("--dampings", type=float, nargs="+", default=[1e-2, 1e-4])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--patience", type=float, default=2.0)
    parser.add_argument("--output", type=Path)
    parser.add_argument("--draw", type=Path, nargs=2, metavar=("TABLE", "PICTURE"))
    options = parser.parse_args()
    if options.draw:
        draw(*options.draw)
        return
    lines = [
        f"| damping | examples | gradient | {' | '.join(SOLVERS)} | Auto takes, over the best | "
        "CG steps |",
        "| --- | --- |" + " --- |" * (len(SOLVERS) + 3),
    ]
    print("\n".join(lines))
    for damping in options.dampings:
        lines += measured(damping, options.sizes, options.rounds, options.patience)
    if options.output is not None:
        version = importlib.metadata.version
        machine = f"{os.cpu_count()} cores, {platform.machine()}"
        text = (
            "# Exact natural gradients by each solver\n\n`python -m benchmarks.solvers --output "
            f"{options.output}`. Milliseconds, medians over {options.rounds} alternated rounds; "
            f"float32, JAX {version('jax')} on the CPU, {machine}, OPENBLAS_NUM_THREADS "
            f"{os.environ.get('OPENBLAS_NUM_THREADS')}, Python {platform.python_version()}; "
            f"{time.strftime('%Y-%m-%d')}.\n\n"
        )
        options.output.write_text(text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
