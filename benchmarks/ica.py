"""Independent components beside FastICA and Picard: Amari index and seconds of one core.

    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.ica --peer <python with both>
    OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.ica --peer <python> --write

Medians over seeds of processor time, alternated, after a first call: not of the clock, so that they
hold on a machine that does other things. Whitening is counted.
"""

import argparse
import importlib.metadata
import platform
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from sklearn.datasets import load_sample_images

from igeojax.estimation import amari_index, independent_components

RESULTS = Path(__file__).parent / "results" / "ica_cpu.md"
WORKER = Path(__file__).parent / "ica_worker.py"
SEEDS = 5
SIZES = {
    "laplace": [(10_000, 8), (100_000, 16)],
    "audio": [(10_000, 4), (100_000, 8), (1_000_000, 8)],
    "images": [(67_947, 8)],
}


def audio(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Signals as of instruments and voices: resonances driven by noise that swells and fades.

    Every fourth is a steady tone, whose distribution has light tails.
    """
    time_axis = np.arange(count)
    signals = []
    for source in range(dim):
        if source % 4 == 3:
            pitch = rng.uniform(0.01, 0.1)
            signals.append(np.sin(2 * np.pi * pitch * time_axis + rng.uniform(0, 7)))
            continue
        envelope = np.exp(1.5 * np.sin(2 * np.pi * rng.uniform(2, 9) * time_axis / 8000))
        noise = rng.normal(size=count) * envelope
        pole = 0.9 * np.exp(1j * rng.uniform(0.1, 2.0))
        response = (pole ** np.arange(100)).real
        signals.append(np.convolve(noise, response)[:count])
    return np.stack(signals, axis=1)


def images(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Quarters of the gray levels of scikit-learn's two photographs, as differences of neighbors.

    The gray levels themselves depend on one another; mixing commutes with differences. Nothing is
    random.
    """
    del rng
    quarters = []
    for image in load_sample_images().images:
        gray = np.diff(image.astype(float).mean(axis=2)[:426], axis=1)[:, :638]
        for part in (gray[:213], gray[213:]):
            quarters += [part[:, :319].ravel(), part[:, 319:].ravel()]
    return np.stack(quarters[:dim], axis=1)[:count]


def laplace(rng: np.random.Generator, count: int, dim: int) -> np.ndarray:
    """Independent draws of Laplace laws."""
    return rng.laplace(size=(count, dim))


SOURCES = {"laplace": laplace, "audio": audio, "images": images}


def mixture(kind: str, count: int, dim: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Mixed data, a row an observation, and the mixing matrix of sources of unit variance."""
    rng = np.random.default_rng(seed)
    sources = SOURCES[kind](rng, count, dim)
    sources = (sources - sources.mean(axis=0)) / sources.std(axis=0)
    mixing = rng.normal(size=(dim, dim))
    return sources @ mixing.T, mixing


def ours(x: np.ndarray) -> tuple[float, np.ndarray]:
    """Seconds and unmixing matrix; data that are on the device, as others' are in memory."""
    data = jnp.asarray(x)
    begin = time.process_time()
    unmixing = jax.block_until_ready(independent_components(data).unmixing)
    return time.process_time() - begin, np.asarray(unmixing)


def row(kind: str, count: int, dim: int, dtype: str, seeds: int, peer: str) -> str:
    """One line of the table."""
    times: dict[str, list[float]] = {"igeojax": [], "FastICA": [], "Picard": []}
    indices: dict[str, list[float]] = {name: [] for name in times}
    with tempfile.TemporaryDirectory() as folder:
        mixed = [mixture(kind, count, dim, seed) for seed in range(seeds)]
        cases = {str(seed): x.astype(dtype) for seed, (x, _) in enumerate(mixed)}
        np.savez(f"{folder}/cases.npz", **cases)
        worker = subprocess.Popen(
            [peer, str(WORKER), folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        ours(cases["0"])
        for seed, (_, mixing) in enumerate(mixed):
            for name in times:
                if name == "igeojax":
                    seconds, unmixing = ours(cases[str(seed)])
                else:
                    worker.stdin.write(f"{name} {seed}\n")
                    worker.stdin.flush()
                    seconds = float(worker.stdout.readline())
                    unmixing = np.load(f"{folder}/unmixing.npy")
                times[name].append(seconds)
                indices[name].append(float(amari_index(unmixing.astype(float) @ mixing)))
        worker.stdin.close()
        worker.wait()
    middle = {name: statistics.median(values) for name, values in times.items()}
    error = {name: statistics.mean(values) for name, values in indices.items()}
    cells = [kind, f"{count:,} x {dim}", dtype]
    cells += [f"{error[name]:.5f}" for name in times]
    cells += [f"{1e3 * middle[name]:.0f}" for name in times]
    cells += [f"{middle[name] / middle['igeojax']:.1f}" for name in ("FastICA", "Picard")]
    return f"| {' | '.join(cells)} |"


HEADER = (
    "| sources | size | dtype | index igeojax | FastICA | Picard | igeojax, ms | FastICA, ms | "
    "Picard, ms | FastICA / igeojax | Picard / igeojax |\n"
    "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |"
)


def main() -> None:
    """Print the table; write it on request."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--peer", required=True, help="a Python with scikit-learn and picard")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--sources", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--write", action="store_true", help="keep the rows of other sources")
    options = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    lines = [HEADER]
    print(HEADER)
    for kind in options.sources:
        for count, dim in SIZES[kind]:
            for dtype in ("float64", "float32"):
                lines.append(row(kind, count, dim, dtype, options.seeds, options.peer))
                print(lines[-1], flush=True)
    if options.write:
        before = RESULTS.read_text().splitlines() if RESULTS.exists() else []
        others = tuple(f"| {kind} |" for kind in SIZES if kind not in options.sources)
        lines[1:1] = [line for line in before if line.startswith(others)]
        versions = f"JAX {importlib.metadata.version('jax')}, Python {platform.python_version()}"
        RESULTS.write_text(
            "# Independent components beside FastICA and Picard\n\n"
            "`OMP_NUM_THREADS=1 taskset -c 0 python -m benchmarks.ica --peer <python> --write`. "
            "Mean Amari index (0 is perfect) and median processor time over "
            f"{options.seeds} seeds, each method in turn on the same data in the same dtype, "
            "whitening counted, compilation not; the machine had other work to do. "
            "scikit-learn's FastICA with its default tolerance and the faster whitening (`eigh`), "
            "python-picard's Picard-O with its defaults. They stop by rules of their own (largest "
            "entry of the relative gradient 1e-5 here, 1e-7 in Picard; change of 1e-4 in FastICA): "
            "what is held equal is the Amari index. The sources of photographs are the same "
            "for every seed, only "
            f"their mixing differs. One core, {platform.machine()}, {versions}; "
            f"{time.strftime('%Y-%m-%d')}.\n\n" + "\n".join(lines) + "\n"
        )


if __name__ == "__main__":
    main()
