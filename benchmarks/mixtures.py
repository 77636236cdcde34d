"""Mixtures of normal laws with full covariance, beside scikit-learn, gmmx and on 10^7 rows.

Each pair is run in turn, the order changed every round, in one process on one core; compilation is
apart. Times are those of the processor. Run as

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.mixtures

`--gmmx` compares with gmmx in float32, all that it has; `--memory` runs one fit in a process of its
own and prints what it took beside the data; `--linear` streams up to 10^7 rows and draws
`benchmarks/results/mixtures_linear.png`; `--sharded` times growing data on two devices
(`XLA_FLAGS=--xla_force_host_platform_device_count=2`, not pinned).
"""

import argparse
import math
import platform
import statistics
import subprocess
import sys
import time
import warnings
from pathlib import Path

import numpy as np

from benchmarks.memory import resident

SHAPES = ((100_000, 8, 8), (200_000, 16, 32), (1_000_000, 4, 16))
HARD = (((200_000, 16, 32), "I + 0.3 G"), ((100_000, 8, 8), "condition 1e6"))
FEW, MANY = 2, 7


def clouds(count, dim, components, kind="I + 0.1 G"):
    """Overlapping clouds of different shapes, and a start near their centers."""
    generator = np.random.default_rng(0)
    centers = 3 * generator.normal(size=(components, dim))
    noise = generator.normal(size=(components, dim, dim))
    if kind == "condition 1e6":  # of the covariances, each with axes of its own
        left, _, right = np.linalg.svd(noise)
        shapes = left * np.geomspace(1, 1e-3, dim) @ right
    else:
        shapes = np.eye(dim) + float(kind.split()[2]) * noise
    label = generator.integers(0, components, count)
    x = centers[label]
    x += np.einsum("nij,nj->ni", shapes[label], generator.normal(size=(count, dim)))
    return x, centers + 0.5


def ours(x, centers, dtype, chunk_size=None):
    """`steps -> (mean log-likelihood, iterations)` of this package, and its log-densities."""
    import jax
    import jax.numpy as jnp

    from igeojax import em, families

    family = families.MultivariateNormal(x.shape[1])
    mixture = em.Mixture(family, len(centers))
    covariance = np.stack([np.cov(x.T)] * len(centers)).astype(dtype)
    components = family.natural_from_params(centers.astype(dtype), covariance)
    start = mixture.point(np.full(len(centers), 1 / len(centers), dtype), components)
    data = jnp.asarray(x, dtype)

    def fit(steps):
        result = mixture.fit(
            data,
            initialization=start,
            tolerance=0.0,
            max_iterations=steps,
            chunk_size=chunk_size,
        )
        return float(result.log_likelihood) / len(x), int(result.num_iterations)

    score = jax.jit(mixture.log_density)
    return fit, lambda: jax.block_until_ready(score(start, data))


def peer(x, centers, dtype):
    """The same of scikit-learn."""
    from sklearn.mixture import GaussianMixture

    count = len(centers)
    data = x.astype(dtype)

    def made(steps):
        return GaussianMixture(
            count,
            weights_init=np.full(count, 1 / count, dtype),
            means_init=centers.astype(dtype),
            precisions_init=np.stack([np.linalg.inv(np.cov(x.T))] * count).astype(dtype),
            reg_covar=0.0,
            tol=0.0,
            max_iter=steps,
        )

    fitted = made(1).fit(data)

    def fit(steps):
        result = made(steps).fit(data)
        return result.score(data), result.n_iter_

    return fit, lambda: fitted.score_samples(data)


def other_peer(x, centers):
    """The same of gmmx."""
    import jax
    from gmmx import EMFitter, GaussianMixtureModelJax

    count = len(centers)
    data = jax.numpy.asarray(x, "float32")
    start = GaussianMixtureModelJax.from_squeezed(
        means=centers.astype("float32"),
        covariances=np.stack([np.cov(x.T)] * count).astype("float32"),
        weights=np.full(count, 1 / count, "float32"),
    )

    def fit(steps):
        result = EMFitter(max_iter=steps, tol=0.0, reg_covar=0.0).fit(data, start)
        return float(result.gmm.score(data)), int(result.n_iter)

    score = jax.jit(lambda gmm: gmm.score_samples(data))
    return fit, lambda: jax.block_until_ready(score(start))


def seconds(call):
    """Processor time of a call, and its value."""
    began = time.process_time()
    value = call()
    return time.process_time() - began, value


def compare(rounds, shape, kind="I + 0.1 G"):
    """Rows of the table beside scikit-learn."""
    x, centers = clouds(*shape, kind)
    runs = {
        "scikit-learn float64": peer(x, centers, np.float64),
        "igeojax float64": ours(x, centers, np.float64),
        "igeojax float32": ours(x, centers, np.float32),
    }
    timed(rounds, f"{shape}, {kind}", runs)


def compare_gmmx(rounds, shape):
    """Rows of the table beside gmmx."""
    x, centers = clouds(*shape)
    runs = {
        "gmmx float32": other_peer(x, centers),
        "igeojax float32": ours(x, centers, np.float32),
    }
    timed(rounds, f"{shape}", runs)


def timed(rounds, label, runs):
    """Time an iteration and the log-density of all rows in turn; print the rows."""
    for fit, score in runs.values():
        fit(FEW), fit(MANY), score()
    taken = {name: [] for name in runs}
    scored = {name: [] for name in runs}
    values = {}
    for turn in range(rounds):
        for name in list(runs)[:: 1 if turn % 2 else -1]:
            fit, score = runs[name]
            short, (_, few) = seconds(lambda fit=fit: fit(FEW))
            long, values[name] = seconds(lambda fit=fit: fit(MANY))
            many = values[name][1]
            # A fit whose likelihood falls by rounding has ended before.
            taken[name].append((long - short) / (many - few) if many > few else math.nan)
            scored[name].append(seconds(score)[0])
    base = next(iter(runs))
    reference = {many: runs[base][0](many)[0] for _, many in values.values()}
    for name, (value, many) in values.items():
        step, score = (statistics.median(t[name]) for t in (taken, scored))
        ratio = [a / b for a, b in zip(taken[base], taken[name], strict=True)]
        faster = [a / b for a, b in zip(scored[base], scored[name], strict=True)]
        print(
            f"| {label} | {name} | {1e3 * step:.1f} | {statistics.median(ratio):.1f} "
            f"[{min(ratio):.1f}-{max(ratio):.1f}] | {1e3 * score:.1f} | "
            f"{statistics.median(faster):.1f} | {abs(value - reference[many]):.1e} |",
            flush=True,
        )


def memory(name):
    """Peak memory of fits of the largest shape beside the data, in MB."""
    x, centers = clouds(*SHAPES[-1])
    if name == "scikit-learn":
        fit, _ = peer(x, centers, np.float64)
    else:
        fit, _ = ours(x, centers, np.float64)
    for label in ("the first, with its compilation", "a second"):
        Path("/proc/self/clear_refs").write_text("5")
        before = resident("VmRSS")
        fit(FEW)
        print(f"{name}, {label}: {(resident('VmHWM') - before) / 2**20:.0f} MB")


def linear():
    """Time and memory of a pass over streams of growing length; the picture."""
    import jax
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    from igeojax import em, families

    family = families.MultivariateNormal(4)
    mixture = em.Mixture(family, 16)
    piece, centers = clouds(100_000, 4, 16)
    components = family.natural_from_params(centers, np.stack([np.cov(piece.T)] * 16))
    start = mixture.point(np.full(16, 1 / 16), components)
    sizes, times, memories = (10**5, 3 * 10**5, 10**6, 3 * 10**6, 10**7), [], []
    options = {"initialization": start, "tolerance": 0.0}
    for steps in (1, 3):
        mixture.fit(em.Chunks([piece, piece]), max_iterations=steps, **options)
    for size in sizes:
        # Rows are made anew in each pass: nothing but one piece is in memory.
        source = lambda size=size: (piece + 1e-3 * i for i in range(size // len(piece)))
        fit = lambda n, source=source: jax.block_until_ready(
            mixture.fit(em.Chunks(source), max_iterations=n, **options)
        )
        taken = [[seconds(lambda n=n, fit=fit: fit(n))[0] for n in (1, 3)] for _ in range(3)]
        times.append(statistics.median((long - short) / 2 for short, long in taken))
        memories.append(resident("VmHWM") / 2**20)
        print(f"| {size} | {times[-1]:.3f} | {memories[-1]:.0f} |", flush=True)
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    axes[0].loglog(sizes, times, "o-")
    axes[0].loglog(sizes, [times[-1] * n / sizes[-1] for n in sizes], "k:", label="linear")
    axes[0].set(xlabel="rows", ylabel="seconds an iteration")
    axes[0].legend(frameon=False)
    axes[1].semilogx(sizes, memories, "o-")
    axes[1].set(xlabel="rows", ylabel="peak memory, MB", ylim=(0, None))
    figure.savefig(Path(__file__).parent / "results" / "mixtures_linear.png", dpi=90)


def sharded():
    """Time of an iteration over rows on two devices, of growing length."""
    import jax

    from igeojax import em, families

    mesh = jax.make_mesh((2,), ("rows",))
    sharding = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec("rows"))
    mixture = em.Mixture(families.MultivariateNormal(4), 16)
    for size in (10**5, 10**6, 4 * 10**6):
        x, centers = clouds(size, 4, 16)
        components = mixture.family.natural_from_params(centers, np.stack([np.cov(x.T)] * 16))
        start = mixture.point(np.full(16, 1 / 16), components)
        row = f"| {size} |"
        for data in (jax.numpy.asarray(x), jax.device_put(x, sharding)):

            def fit(steps, data=data, start=start):
                options = {"initialization": start, "tolerance": 0.0, "max_iterations": steps}
                return jax.block_until_ready(mixture.fit(data, **options).log_likelihood)

            fit(FEW), fit(MANY)
            times = []
            for _ in range(3):
                began = time.perf_counter()
                fit(FEW)
                middle = time.perf_counter()
                fit(MANY)
                times.append((time.perf_counter() + began - 2 * middle) / (MANY - FEW))
            row += f" {1e3 * statistics.median(times):.1f} |"
        print(row, flush=True)


def main():
    """Print what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--gmmx", action="store_true")
    parser.add_argument("--memory", choices=("scikit-learn", "igeojax"))
    parser.add_argument("--linear", action="store_true")
    parser.add_argument("--sharded", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import jax

    jax.config.update("jax_enable_x64", not arguments.gmmx)
    if arguments.memory:
        return memory(arguments.memory)
    if arguments.linear:
        return linear()
    if arguments.sharded:
        return sharded()
    if arguments.gmmx:
        for shape in SHAPES:
            compare_gmmx(arguments.rounds, shape)
        return None
    import sklearn

    print(f"{platform.machine()}, jax {jax.__version__}, scikit-learn {sklearn.__version__}")
    # First, as a process inherits the peak of that which starts it.
    for name in ("scikit-learn", "igeojax"):
        command = [sys.executable, "-m", "benchmarks.mixtures", "--memory", name]
        subprocess.run(command, check=True)
    for shape in SHAPES:
        compare(arguments.rounds, shape)
    for shape, kind in HARD:
        compare(arguments.rounds, shape, kind)
    return None


if __name__ == "__main__":
    main()
