"""Mixtures of normal laws with full covariance, beside scikit-learn, gmmx and on 10^7 rows.

Each pair is run in turn, the order changed every round, in one process on one core; compilation is
apart. Times are those of the processor. Run as

    OPENBLAS_NUM_THREADS=1 OMP_NUM_THREADS=1 taskset -c 1 python -m benchmarks.mixtures

`--memory` runs one fit in a process of its own and prints what it took beside the data, `--linear`
streams up to 10^7 rows and draws `benchmarks/results/mixtures_linear.png`.
"""

import argparse
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
import warnings

import numpy as np

SHAPES = ((100_000, 8, 8), (200_000, 16, 32), (1_000_000, 4, 16))
FEW, MANY = 2, 7


def clouds(count, dim, components):
    """Overlapping clouds of different shapes, and a start near their centers."""
    generator = np.random.default_rng(0)
    centers = 3 * generator.normal(size=(components, dim))
    shapes = np.eye(dim) + 0.1 * generator.normal(size=(components, dim, dim))
    label = generator.integers(0, components, count)
    x = centers[label]
    x += np.einsum("nij,nj->ni", shapes[label], generator.normal(size=(count, dim)))
    return x, centers + 0.5


def ours(x, centers, dtype, chunk_size=None):
    """`steps -> mean log-likelihood` of this package."""
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
        return float(jax.block_until_ready(result.log_likelihood)) / len(x)

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
    return lambda steps: made(steps).fit(data).score(data), lambda: fitted.score_samples(data)


def seconds(call):
    """Processor time of a call, and its value."""
    began = time.process_time()
    value = call()
    return time.process_time() - began, value


def compare(rounds):
    """Rows of the table: an iteration, and the log-density of all rows."""
    for shape in SHAPES:
        x, centers = clouds(*shape)
        runs = {
            "scikit-learn float64": peer(x, centers, np.float64),
            "igeojax float64": ours(x, centers, np.float64),
            "igeojax float32": ours(x, centers, np.float32),
        }
        for fit, score in list(runs.values())[1:]:
            fit(FEW), fit(MANY), score()
        taken = {name: [] for name in runs}
        scored = {name: [] for name in runs}
        values = {}
        for turn in range(rounds):
            for name in list(runs)[:: 1 if turn % 2 else -1]:
                fit, score = runs[name]
                short, _ = seconds(lambda fit=fit: fit(FEW))
                long, values[name] = seconds(lambda fit=fit: fit(MANY))
                taken[name].append((long - short) / (MANY - FEW))
                scored[name].append(seconds(score)[0])
        base = next(iter(runs))
        for name in runs:
            step, score = (statistics.median(t[name]) for t in (taken, scored))
            ratio = [a / b for a, b in zip(taken[base], taken[name], strict=True)]
            score_ratio = statistics.median(scored[base]) / score
            print(
                f"| {shape} | {name} | {1e3 * step:.1f} | {statistics.median(ratio):.1f} "
                f"[{min(ratio):.1f}-{max(ratio):.1f}] | {score_ratio:.1f} | "
                f"{abs(values[name] - values[base]):.1e} |",
                flush=True,
            )


def memory(name):
    """Peak memory of a fit of the largest shape beside the data, in MB."""
    x, centers = clouds(*SHAPES[-1])
    if name == "scikit-learn":
        fit, _ = peer(x, centers, np.float64)
    else:
        fit, _ = ours(x, centers, np.float64)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    fit(FEW)
    print(f"{name}: {(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024:.0f} MB")


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
    mixture.fit(em.Chunks([piece]), max_iterations=2, **options)
    for size in sizes:
        # Rows are made anew in each pass: nothing but one piece is in memory.
        source = lambda size=size: (piece + 1e-3 * i for i in range(size // len(piece)))
        fit = lambda n, source=source: jax.block_until_ready(
            mixture.fit(em.Chunks(source), max_iterations=n, **options)
        )
        short, long = (seconds(lambda n=n, fit=fit: fit(n))[0] for n in (1, 3))
        times.append((long - short) / 2)
        memories.append(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)
        print(f"| {size} | {times[-1]:.3f} | {memories[-1]:.0f} |", flush=True)
    figure, axes = plt.subplots(1, 2, figsize=(7, 2.8), layout="constrained")
    axes[0].loglog(sizes, times, "o-")
    axes[0].loglog(sizes, [times[0] * n / sizes[0] for n in sizes], "k:", label="linear")
    axes[0].set(xlabel="rows", ylabel="seconds an iteration")
    axes[0].legend(frameon=False)
    axes[1].semilogx(sizes, memories, "o-")
    axes[1].set(xlabel="rows", ylabel="peak memory of the process, MB", ylim=(0, None))
    folder = os.path.join(os.path.dirname(__file__), "results")
    figure.savefig(os.path.join(folder, "mixtures_linear.png"), dpi=90)


def main():
    """Print what was asked for."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", choices=("scikit-learn", "igeojax"))
    parser.add_argument("--linear", action="store_true")
    arguments = parser.parse_args()
    warnings.simplefilter("ignore")
    import jax

    jax.config.update("jax_enable_x64", True)
    if arguments.memory:
        return memory(arguments.memory)
    if arguments.linear:
        return linear()
    import sklearn

    print(f"{platform.machine()}, jax {jax.__version__}, scikit-learn {sklearn.__version__}")
    compare(arguments.rounds)
    for name in ("scikit-learn", "igeojax"):
        command = [sys.executable, "-m", "benchmarks.mixtures", "--memory", name]
        subprocess.run(command, check=True)
    return None


if __name__ == "__main__":
    main()
