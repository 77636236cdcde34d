"""Fisher-Rao distances beside geomstats: seconds in alternated rounds, and errors.

    python -m benchmarks.geometry --peer <python with geomstats>
    python -m benchmarks.geometry --peer <python with geomstats> --write

geomstats needs numpy below 2, JAX one above: each has its own process, and only one works at a
time. Medians of seconds for a whole batch, compilation and a first call apart. Errors are against
the closed form, or our own distance with 128 segments, whose error estimate is printed too. Ours is
timed with as few segments as leave an error like the peer's.
"""

import argparse
import importlib.metadata
import os
import platform
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np

from igeojax import families, geometry

RESULTS = Path(__file__).parent / "results" / "geometry_cpu.md"
SEGMENTS = 8
"""As few as leave an error like the peer's or a smaller one."""
WORKER = Path(__file__).parent / "geomstats_worker.py"


class Case(NamedTuple):
    """A batch of pairs as arrays of source parameters, and our functions of them."""

    size: int
    rounds: int
    p: np.ndarray
    q: np.ndarray
    ours: Callable
    exact: Callable


def cases() -> dict[str, Case]:
    """Closed forms in large batches, numerical distances in small ones."""
    rng = np.random.default_rng(0)
    found = {}

    def add(name, family, size, rounds, draw, params, numerical):
        p, q = draw(size), draw(size)
        laws = lambda v: family.Params(*params(v))
        if numerical:
            distance = lambda p, q, n: geometry.numerical_distance(
                family, laws(p), laws(q), segments=n
            )
            ours = lambda p, q: distance(p, q, SEGMENTS).value
            exact = lambda p, q: distance(p, q, 128)
        else:
            ours = lambda p, q: geometry.fisher_rao_distance(family, laws(p), laws(q))
            exact = None
        found[name] = Case(size, rounds, p, q, jax.jit(ours), exact)

    columns = lambda v: v.T
    many, some = 10_000, 10
    normal = lambda n: np.stack([rng.normal(size=n), rng.uniform(0.5, 2.0, n)], axis=1)
    add("normal", families.Normal(), many, 21, normal, columns, False)
    simplex = lambda n: rng.dirichlet(np.ones(10), n)
    add("categorical", families.Categorical(10), many, 21, simplex, lambda v: (v,), False)
    # geomstats writes gamma laws as shape and mean.
    positive = lambda size: lambda n: rng.uniform(0.5, 5.0, (n, size))
    by_mean = lambda v: (v[:, 0], v[:, 0] / v[:, 1])
    add("gamma", families.Gamma(), some, 3, positive(2), by_mean, True)
    add("beta", families.Beta(), some, 3, positive(2), columns, True)
    add("dirichlet", families.Dirichlet(3), some, 3, positive(3), lambda v: (v,), True)
    return found


def row(name: str, case: Case, worker: subprocess.Popen, path: str) -> str:
    """One line of the table."""
    jax.block_until_ready(case.ours(case.p, case.q))
    ours, theirs = [], []
    for turn in range(case.rounds + 1):
        begin = time.perf_counter()
        value = jax.block_until_ready(case.ours(case.p, case.q))
        ours.append(time.perf_counter() - begin)
        worker.stdin.write(name + "\n")
        worker.stdin.flush()
        theirs.append(float(worker.stdout.readline()))
        if turn == 0:
            ours.clear()
            theirs.clear()
    peer = np.load(f"{path}.{name}.npy")
    exact, doubt = np.asarray(value), 0.0
    if case.exact is not None:
        best = jax.jit(case.exact)(case.p, case.q)
        exact, doubt = np.asarray(best.value), float(np.max(best.error / best.value))
    worst = lambda v: f"{float(np.max(np.abs(np.asarray(v) - exact) / exact)):.1e}"
    mine, other = statistics.median(ours), statistics.median(theirs)
    error = worst(value) if case.exact is not None else "closed form"
    return (
        f"| {name} | {case.size} | {1e3 * mine:.3g} | {1e3 * other:.4g} | {other / mine:.0f} | "
        f"{error} | {worst(peer)} | {doubt:.0e} |"
    )


def main() -> None:
    """Print the table; write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="a Python with geomstats")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    table = cases()
    with tempfile.TemporaryDirectory() as folder:
        path = f"{folder}/pairs.npz"
        pairs = {f"{n}/{k}": getattr(c, k) for n, c in table.items() for k in ("p", "q")}
        np.savez(path, **pairs)
        worker = subprocess.Popen(
            [options.peer, str(WORKER), path],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "GEOMSTATS_BACKEND": "numpy"},
        )
        lines = [
            "| laws | pairs | igeojax, ms | geomstats, ms | ratio | our error | its | doubt |",
            "| --- | --- | --- | --- | --- | --- | --- | --- |",
        ]
        print("\n".join(lines))
        for name, case in table.items():
            lines.append(row(name, case, worker, path))
            print(lines[-1], flush=True)
        worker.stdin.close()
        worker.wait()
    version = importlib.metadata.version
    machine = f"{os.cpu_count()} cores, {platform.machine()}, Python {platform.python_version()}"
    note = f"JAX {version('jax')} on the CPU, float64; {machine}; {time.strftime('%Y-%m-%d')}."
    if options.write:
        head = "# Fisher-Rao distances beside geomstats 2.8.0\n\n"
        text = (
            "`python -m benchmarks.geometry --peer <python> --write`. Medians over alternated "
            f"rounds of one whole batch, after a first call. {note}\n\nErrors are the largest "
            "relative ones; `doubt` is our own estimate for the reference of numerical rows, which "
            f"we solve with {SEGMENTS} segments.\n\n"
        )
        RESULTS.write_text(head + text + "\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
