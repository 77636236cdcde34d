"""K-FAC beside Adam, Muon and kfac-jax: time of a step, and steps and time to losses.

    export OPENBLAS_NUM_THREADS=1
    taskset -c 1 python -m benchmarks.optimizers steps      # ms of a step
    taskset -c 1 python -m benchmarks.optimizers train      # to losses on all data
    taskset -c 1 python -m benchmarks.optimizers final      # and with a budget of steps or time
    ... --problems autoencoder --peer <python with kfac-jax> --output <file>

An optimizer that is not there, or fails, is left out with a line. Everything takes turns: the
methods of this process, and kfac-jax in its own, where it may have the older JAX that it needs;
only one works at a time. Batches are on the device before the clock starts, compilation and
evaluations of the loss are outside it. Times in `train` are of the first run to reach the loss, by
steps, over the choices of an optimizer's settings: its grid is named in the table. `final` goes on
to the last step.

One core gives ratios that repeat. LAPACK's threads, of which inverses are made, spin where others
want the cores: a step of 2 ms took 100 ms on a busy machine, hence the variable.
"""

import argparse
import dataclasses
import importlib.metadata
import math
import os
import platform
import statistics
import time
from collections.abc import Iterator
from pathlib import Path

import jax

from benchmarks.training_peers import NAMES, Worker, local_methods, remote_methods
from benchmarks.training_problems import PROBLEMS, Problem
from benchmarks.training_runs import Method, Reached, Trained, step_seconds, trained


def machine() -> str:
    """What the table was made on."""
    version = importlib.metadata.version
    available = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return (
        f"JAX {version('jax')}, optax {version('optax')}, flax {version('flax')}, float32, on "
        f"{jax.devices()[0].device_kind}; {available} of {os.cpu_count()} cores, "
        f"{platform.machine()}, OPENBLAS_NUM_THREADS {os.environ.get('OPENBLAS_NUM_THREADS')}, "
        f"Python {platform.python_version()}; {time.strftime('%Y-%m-%d')}"
    )


def groups(
    problem: Problem, names: list[str], worker: Worker | None, only_first: bool
) -> tuple[dict[str, dict[str, Method]], list[str]]:
    """The choices of every optimizer, and why some are missing."""
    found, notes = {}, []
    for name in names:
        methods, note = local_methods(name, problem, only_first)
        found[name] = methods
        notes += [note] if note else []
    if worker is not None:
        found["kfac-jax"], note = remote_methods(worker, only_first)
        notes += [note] if note else [f"kfac-jax {worker.version}, in its own process"]
    return {name: methods for name, methods in found.items() if methods}, notes


def step_lines(problem: Problem, found: dict[str, dict[str, Method]], rounds: int) -> Iterator[str]:
    """The table of times of a step."""
    methods = {name: next(iter(choices.values())) for name, choices in found.items()}
    seconds = step_seconds(methods, problem.block, rounds)
    first = next(iter(seconds))
    head = ["optimizer", "ms a step", "range", f"x {first}"]
    yield f"| {' | '.join(head)} | ms of processor | x {first} | first call, s |"
    yield "| --- |" + " --- |" * 6
    base = [statistics.median(column) for column in zip(*seconds[first], strict=True)]
    for name, rounds_ in seconds.items():
        walls, processors = zip(*rounds_, strict=True)
        wall, processor = statistics.median(walls), statistics.median(processors)
        yield (
            f"| {name} | {1e3 * wall:.3g} | {1e3 * min(walls):.3g} - {1e3 * max(walls):.3g} | "
            f"{wall / base[0]:.2f} | {1e3 * processor:.3g} | {processor / base[1]:.2f} | "
            f"{methods[name].first_call:.1f} |"
        )


def _cell(reached: Reached, spread: tuple[float, float], base: Reached | None) -> str:
    if math.isinf(reached.steps):
        return "-"
    ends = [f"{end:.0f}" if math.isfinite(end) else "never" for end in spread]
    steps = f"{reached.steps:.0f}"
    if ends[0] != ends[1]:
        steps += f" [{ends[0]}-{ends[1]}]"
    text = f"{steps} / {1e3 * reached.wall:.0f} / {1e3 * reached.processor:.0f}"
    if base is not None and math.isfinite(base.steps):
        text += f" ({base.steps / reached.steps:.1f}, {base.wall / reached.wall:.2f})"
    return text


def train_lines(
    problem: Problem, found: dict[str, dict[str, Method]], steps: int, seeds: int, to_the_end: bool
) -> Iterator[str]:
    """The table of steps and times to losses, and of losses of equal budgets."""
    methods = {(name, label): m for name, all_ in found.items() for label, m in all_.items()}
    results = trained(methods, problem, steps, seeds, to_the_end)
    first = next(iter(found))
    budget = max(results[first, label].processor for label in found[first])
    ends = ["lowest"]
    if to_the_end:
        ends = [f"lowest of {steps} steps", f"of {1e3 * budget:.0f} ms"]
    yield f"| optimizer | {' | '.join([f'{level:g}' for level in problem.levels] + ends)} |"
    yield "| --- |" + " --- |" * (len(problem.levels) + len(ends))
    base: dict[float, Reached] = {}
    chosen = []
    for name, choices in found.items():
        own: dict[str, Trained] = {label: results[name, label] for label in choices}
        cells, labels = [], []
        for level in problem.levels:
            label = min(own, key=lambda choice: own[choice].reached[level])
            reached = own[label].reached[level]
            cells.append(_cell(reached, own[label].spread[level], base.get(level)))
            labels.append(label if math.isfinite(reached.steps) else "-")
            if name == first:
                base[level] = reached
        lowest = [min(result.last for result in own.values())]
        if to_the_end:
            lowest = [
                min(result.lowest(limit) for result in own.values()) for limit in (math.inf, budget)
            ]
        yield f"| {name} | {' | '.join(cells + [f'{loss:.4g}' for loss in lowest])} |"
        chosen.append(f"{name} of {{{', '.join(choices)}}}: {'; '.join(labels)}")
    yield ""
    yield "Settings that were the first at each loss. " + ". ".join(chosen) + "."


_TRAIN = (
    "Steps / ms of wall / ms of processor until the loss on all data was reached, for the best "
    "setting at that loss; median over seeds, in square brackets the range of steps; in round "
    "ones the first optimizer's steps and wall time over these; {} The loss is evaluated, outside "
    "the clock, whenever the number of steps has grown by the percentage named."
)
HEADS = {
    "steps": (
        "Milliseconds of a jitted step, gradient included: medians and range over alternated "
        "rounds. The first call, which compiles, is apart."
    ),
    "train": _TRAIN.format("`lowest`: the lowest last loss of the settings."),
    "final": _TRAIN.format(
        "`lowest`: the lowest loss on the way, of the best setting, in the same steps and in the "
        "first optimizer's time of processor for them."
    ),
}


def main() -> None:
    """Print the tables; write them on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("mode", choices=list(HEADS))
    parser.add_argument("--problems", nargs="+", choices=list(PROBLEMS), default=list(PROBLEMS))
    parser.add_argument("--optimizers", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--peer", help="a Python with kfac-jax")
    parser.add_argument("--rounds", type=int, default=21, help="of timing, in `steps`")
    parser.add_argument("--limit", type=int, help="longest run, in `train` and `final`")
    parser.add_argument("--seeds", type=int, default=3, help="in `train` and `final`")
    parser.add_argument("--output", type=Path, help="a file for the tables")
    options = parser.parse_args()
    lines = [f"# Optimizers: {options.mode}", "", f"{HEADS[options.mode]} {machine()}."]
    print(lines[-1], flush=True)

    def add(line: str) -> None:
        lines.append(line)
        print(line, flush=True)

    for name in options.problems:
        problem = PROBLEMS[name]()
        steps = min(options.limit or problem.steps, problem.steps)
        add(f"\n## {name}\n")
        about = f"{problem.about}; batches of {problem.batch}"
        if options.mode == "final":
            problem = dataclasses.replace(problem, decay=steps)
        if options.mode != "steps":
            about += (
                f"; at most {steps} steps, evaluated every {100 * (problem.growth - 1):.0f} %, "
                f"{options.seeds} seeds; cosine schedules of {problem.decay} steps"
            )
        add(about + ".\n")
        worker = Worker(options.peer, name) if options.peer else None
        found, notes = groups(problem, options.optimizers, worker, options.mode == "steps")
        if found:
            rows = (
                step_lines(problem, found, options.rounds)
                if options.mode == "steps"
                else train_lines(problem, found, steps, options.seeds, options.mode == "final")
            )
            for line in rows:
                add(line)
        for note in notes:
            add(f"\n{note}.")
        if worker is not None:
            worker.close()
    if options.output:
        options.output.write_text("\n".join(lines) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
