"""How good estimators are: python examples/estimation_study.py.

1. The center of a Cauchy law: maximum likelihood, median and trimmed mean beside the Cramer-Rao
   bound, over the number of observations.
2. Intervals from the expected and from the observed information, in that law and two others: whose
   variance is nearer to the truth, and how many intervals hold it.
3. Means of exponential draws beside the normal law, and the bound of Berry and Esseen.
4. A law known up to its normalizer: score matching, which does without, beside maximum likelihood,
   which integrates.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

import script
from igeojax import estimation, viz

WELLS = np.array([1.0, -0.5])  # of x^2 and x^4: two wells
GRID = np.linspace(-3.5, 3.5, 1401)


class Model(NamedTuple):
    """What `efficiency_study` needs to know of a law with one parameter, and where it is."""

    draw: Callable[..., Any]
    estimate: Callable[..., Any]
    log_density: Callable[..., Any]
    information: Callable[..., Any]
    truth: Any


def scored(slope: Callable[..., Any], information: float) -> Callable[..., Any]:
    """Maximum likelihood of a location by Fisher scoring, from the median."""

    def estimate(x: Any) -> Any:
        step = lambda t, _: (t + jnp.mean(slope(x - t)) / information, None)
        return jax.lax.scan(step, jnp.median(x), length=40)[0]

    return estimate


def trimmed_mean(x: Any) -> Any:
    """Mean of the middle quarter."""
    cut = 3 * x.shape[0] // 8
    return jnp.mean(jnp.sort(x)[cut : x.shape[0] - cut])


CAUCHY = Model(
    lambda key, t, n: t + jax.random.cauchy(key, (n,)),
    scored(lambda x: 2 * x / (1 + x**2), 0.5),
    lambda t, x: -jnp.log1p((x - t) ** 2),
    lambda _: jnp.full((1, 1), 0.5),
    np.array(0.0),
)
LOGISTIC = Model(
    lambda key, t, n: t + jax.random.logistic(key, (n,)),
    scored(lambda x: jnp.tanh(x / 2), 1 / 3),
    lambda t, x: -2 * jnp.log(jnp.cosh((x - t) / 2)),
    lambda _: jnp.full((1, 1), 1 / 3),
    np.array(0.0),
)
CURVED = Model(
    lambda key, t, n: t + t * jax.random.normal(key, (n,)),
    lambda x: 0.5 * (jnp.sqrt(jnp.mean(x) ** 2 + 4 * jnp.mean(x**2)) - jnp.mean(x)),
    lambda t, x: -0.5 * (x / t - 1) ** 2 - jnp.log(jnp.abs(t)),
    lambda t: jnp.full((1, 1), 3 / t**2),
    np.array(1.0),
)


def study(key: Any, model: Model, count: int, replicates: int, estimate: Any = None) -> Any:
    """The study of a model by its own estimator, or by another."""
    draw, own, log_density, information, truth = model
    return estimation.efficiency_study(
        key,
        draw,
        own if estimate is None else estimate,
        log_density,
        information,
        truth,
        num_observations=count,
        num_replicates=replicates,
    )


def centers(run: script.Script, ax: Any, sizes: tuple[int, ...], replicates: int) -> None:
    """Three estimators of the center of a Cauchy law."""
    estimators = {"maximum likelihood": None, "middle quarter": trimmed_mean, "median": jnp.median}
    studies = {
        name: [study(run.key(n), CAUCHY, n, replicates, estimate) for n in sizes]
        for name, estimate in estimators.items()
    }
    viz.efficiency(ax, sizes, studies)
    ax.set_title("Center of a Cauchy law")
    rows = [
        (name, *(f"{float(one.efficiency[0]):.2f}" for one in found))
        for name, found in studies.items()
    ]
    headings = ("estimator", *(f"n = {n}" for n in sizes))
    run.table("Cramer-Rao bound / variance, center of a Cauchy law", headings, rows)


def intervals(run: script.Script, ax: Any, sizes: tuple[int, ...], replicates: int) -> None:
    """Expected beside observed information."""
    rows = []
    models = {"Cauchy, center": CAUCHY, "logistic, center": LOGISTIC, "N(t, t^2)": CURVED}
    for name, model in models.items():
        found = [study(run.key(n), model, n, replicates) for n in sizes]
        if model is CAUCHY:
            viz.coverage(ax, sizes, found)
            ax.set_title("Intervals of the center of a Cauchy law")
        for n, one in zip(sizes, found, strict=True):
            cells = (
                one.coverage_expected,
                one.coverage_observed,
                one.variance_error_expected,
                one.variance_error_observed,
            )
            rows.append((name, n, *(f"{float(cell[0]):.3f}" for cell in cells)))
    headings = ("law", "n", "holds, expected", "observed", "variance, expected", "observed")
    title = "Share of 95 % intervals that hold the truth, and relative error of their variance"
    run.table(title, headings, rows)


def means(run: script.Script, ax: Any, most: int, replicates: int) -> None:
    """Means of exponential draws."""
    sizes = tuple(4**k for k in range(most))
    found = estimation.normal_approximation(
        run.key(1),
        jax.random.exponential,
        1.0,
        1.0,
        12 / np.e - 2,
        sizes=sizes,
        num_replicates=replicates,
    )
    viz.normal_approximation(ax, found)
    ax.set_title("Means of exponential draws")
    rows = [
        (f"{n} draws", *(f"{float(cell):.4f}" for cell in cells))
        for n, *cells in zip(
            sizes, found.deviation, found.deviation_limit, found.distance, found.bound, strict=True
        )
    ]
    headings = ("mean of", "deviation", "its limit", "distance", "bound")
    run.table(f"Beside the normal law, to {float(found.band):.4f}", headings, rows)


def statistics(x: Any) -> Any:
    """Of the law with two wells."""
    return jnp.stack([x[0] ** 2, x[0] ** 4])


def log_normalizer(theta: Any) -> Any:
    """By a sum over the line."""
    powers = jnp.stack([GRID**2, GRID**4], axis=1)
    return jax.scipy.special.logsumexp(powers @ theta) + np.log(GRID[1] - GRID[0])


def wells(run: script.Script, ax: Any, count: int, replicates: int) -> None:
    """Score matching beside maximum likelihood of a law without a normalizer."""
    exact = np.exp(np.stack([GRID**2, GRID**4], axis=1) @ WELLS)
    cumulated = np.cumsum(exact) / exact.sum()

    def draw(key: Any, _: Any, n: int) -> Any:
        return jnp.interp(jax.random.uniform(key, (n,)), cumulated, GRID)[:, None]

    def most_likely(x: Any) -> Any:
        target = jnp.mean(jax.vmap(statistics)(x), axis=0)

        def step(theta: Any, _: Any) -> Any:
            gap = target - jax.grad(log_normalizer)(theta)
            return theta + jnp.linalg.solve(jax.hessian(log_normalizer)(theta), gap), None

        return jax.lax.scan(step, jnp.asarray(WELLS), length=8)[0]

    matched = lambda x: estimation.score_matching_estimate(statistics, x)
    model = Model(
        draw,
        matched,
        lambda theta, x: theta @ statistics(x) - log_normalizer(theta),
        jax.hessian(log_normalizer),
        WELLS,
    )
    rows = []
    for name, estimate in {"score matching": matched, "maximum likelihood": most_likely}.items():
        found = study(run.key(2), model, count, replicates, estimate)
        bias = found.bias / found.bias_error
        cells = [*(f"{float(v):.2f}" for v in found.efficiency), *(f"{float(v):.1f}" for v in bias)]
        rows.append((name, *cells))
    headings = ("estimator", "x^2", "x^4", "bias of x^2", "of x^4")
    title = f"Bound / variance, and bias in standard errors, of {count} draws from two wells"
    run.table(title, headings, rows)
    x = draw(run.key(3), None, count)
    theta = matched(x)
    ax.hist(np.asarray(x[:, 0]), bins=40, density=True, color="0.85", label=f"{count} draws")
    for label, value, style in (("truth", WELLS, "-"), ("score matching", theta, "--")):
        density = jnp.exp(jnp.stack([GRID**2, GRID**4], 1) @ value - log_normalizer(value))
        ax.plot(GRID, density, style, label=label)
    ax.set(title="A law without its normalizer", xlabel="x", ylabel="density", xlim=(-2.5, 2.5))
    ax.legend(frameon=False)


def main() -> None:
    """All four, in one picture."""
    run = script.start(__file__, __doc__, quick="fewer data sets and sizes")
    jax.config.update("jax_enable_x64", True)
    figure = Figure(figsize=(11, 8), layout="constrained")
    first, second, third, fourth = figure.subplots(2, 2).ravel()
    sizes = (10, 40) if run.quick else (10, 20, 40, 80)
    replicates = 4000 if run.quick else 40_000
    centers(run, first, sizes, replicates)
    intervals(run, second, sizes, replicates)
    means(run, third, *(3, 10_000) if run.quick else (5, 100_000))
    wells(run, fourth, 500, 200 if run.quick else 2000)
    run.save(figure, "estimation")
    run.end()


if __name__ == "__main__":
    main()
