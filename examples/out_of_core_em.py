"""A mixture of data that do not fit into the memory: python examples/out_of_core_em.py.

Writes a memmap of measurements to a temporary folder, then fits a mixture of normal laws to it in a
process that may not hold it: the limit on its heap is below the size of the file.

1. The parameters come back within their standard errors.
2. What the process took beside the program itself is far below the size of the file.
3. The same fit once more, stopped after a few steps and gone on with from its checkpoint.
"""

import contextlib
import itertools
import math
import resource
import tempfile
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Ellipse

import script
from igeojax import em, families

DIM, COMPONENTS, PIECE = 8, 4, 100_000
CENTERS = 4 * np.random.default_rng(1).normal(size=(COMPONENTS, DIM))
MIXTURE = em.Mixture(families.MultivariateNormal(DIM), COMPONENTS)


def write(path: Path, count: int) -> None:
    """The measurements, a piece at a time."""
    table = np.lib.format.open_memmap(path, "w+", np.float32, (count, DIM))
    for start in range(0, count, PIECE):
        generator = np.random.default_rng(start)
        label = generator.integers(0, COMPONENTS, len(table[start : start + PIECE]))
        noise = generator.normal(size=(len(label), DIM))
        table[start : start + PIECE] = CENTERS[label] + noise * (1 + label[:, None] / 4)
    table.flush()


def pieces(path: Path, most_passes: float = math.inf) -> em.Chunks:
    """The file in pieces, read anew on each pass; the power goes off after so many."""
    passes = itertools.count()

    def source():
        if next(passes) >= most_passes:
            raise InterruptedError
        for start in range(0, len(np.load(path, mmap_mode="r")), PIECE):
            yield np.load(path, mmap_mode="r")[start : start + PIECE]

    return em.Chunks(source)


def status(name: str) -> float:
    """An entry of the process's memory, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(name)) / 1024


def picture(rows: np.ndarray, params: em.MixturePoint) -> Figure:
    """Two columns of some rows, with a circle of two deviations around each mean that was found."""
    figure = Figure(figsize=(5.5, 4.5), layout="constrained")
    ax = figure.subplots()
    ax.plot(*rows[:, :2].T, ".", color="0.7", markersize=2)
    mean, covariance = map(np.asarray, MIXTURE.family.params_from_natural(params.components))
    for place, spread in zip(mean[:, :2], covariance[:, :2, :2], strict=True):
        squares, axes = np.linalg.eigh(spread)
        angle = np.degrees(np.arctan2(axes[1, 0], axes[0, 0]))
        ax.add_patch(
            Ellipse(place, *(4 * np.sqrt(squares)), angle=angle, fill=False, color="C3", zorder=3)
        )
    ax.set(xlabel="first measurement", ylabel="second measurement", title="2000 rows, and the fit")
    return figure


def main() -> None:
    """Write, fit, compare."""
    run = script.start(__file__, __doc__, quick="a file of 30 MB, not 1200")
    count = 10**6 if run.quick else 4 * 10**7
    say = run.console.print
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "measurements.npy"
        write(path, count)
        size = path.stat().st_size / 2**20
        say(f"{count} rows of {DIM}: {size:.0f} MB on disk")
        options = {"key": run.key(), "num_restarts": 4, "tolerance": 1e-5}
        # The programs are compiled on the first piece; after that only data take memory.
        MIXTURE.fit(em.Chunks([next(iter(pieces(path)))[0]]), **options)
        before = status("RssAnon")
        if not run.quick:
            allowed = int((status("VmData") + size / 2) * 2**20)
            resource.setrlimit(resource.RLIMIT_DATA, (allowed, allowed))
            say(f"allowed from here on: {size / 2:.0f} MB more")
        result = MIXTURE.fit(pieces(path), **options)
        taken = status("RssAnon") - before
        say(f"fitted in {int(result.num_iterations)} steps, {taken:.0f} MB beside the program")
        mean = np.asarray(MIXTURE.family.params_from_natural(result.params.components).mean)
        distance = np.linalg.norm(mean[:, None] - CENTERS[None], axis=-1)
        found = sorted(distance.argmin(axis=1)) == list(range(COMPONENTS))
        say(f"all components found: {found}; largest error of a mean {distance.min(0).max():.4f}")
        run.save(picture(np.load(path, mmap_mode="r")[:2000], result.params), "components")
        saved = Path(folder) / "fit"
        with contextlib.suppress(InterruptedError):
            MIXTURE.fit(pieces(path, most_passes=4), checkpoint=saved, **options)
        again = MIXTURE.fit(pieces(path), checkpoint=saved, **options)
        same = bool(again.log_likelihood == result.log_likelihood)
        say(f"gone on with from its checkpoint, the same to the last bit: {same}")
    run.end()


if __name__ == "__main__":
    main()
