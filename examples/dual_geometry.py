"""Laws as points: python examples/dual_geometry.py.

On flowers, digits and wines of scikit-learn.

1. Fisher-Rao distances between species of flowers, by one measurement and by two, and bounds.
2. Three means of three laws: in natural coordinates, in mean coordinates, and in neither.
3. Digits as laws of their ink: nearest neighbors on the simplex, and k-means in KL beside k-means.
4. Curvature of both spaces, and Pythagoras at two projections.
5. Pictures.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from sklearn.cluster import KMeans
from sklearn.datasets import load_digits, load_iris, load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import adjusted_rand_score
from sklearn.preprocessing import scale

import script
from igeojax import families, geometry, viz
from igeojax.divergences import exponential

NORMAL, CLASSES = families.Normal(), families.Categorical(3)
PIXELS = families.Categorical(64)
FLOWERS, PETALS = families.MultivariateNormal(4), families.MultivariateNormal(2)
SPECIES = ("setosa", "versicolor", "virginica")
PAIRS = [(0, 1), (1, 2), (0, 2)]
CULTIVARS = ("cultivar 1", "cultivar 2", "cultivar 3")
LABELS = ("mean of petal length (cm)", "standard deviation (cm)")


def stacked(points: list[Any]) -> Any:
    """Laws along a new first axis."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)


def at(points: Any, index: Any) -> Any:
    """Some of the laws along the first axis."""
    return jax.tree.map(lambda leaf: leaf[index], points)


def pairs(points: Any) -> tuple[Any, Any]:
    """First and second laws of all pairs of species."""
    first, second = np.transpose(PAIRS)
    return at(points, first), at(points, second)


def species_laws(family: Any, columns: Any) -> Any:
    """One law a species, by maximum likelihood."""
    data = load_iris()
    return stacked(
        [family.fit(jnp.asarray(data.data[data.target == k][:, columns])) for k in range(3)]
    )


def ink() -> tuple[np.ndarray, np.ndarray]:
    """Share of the ink of each image of a digit on each pixel, and the digits."""
    images, labels = load_digits(return_X_y=True)
    images = images + 0.5  # no law without mass on a pixel
    return images / images.sum(axis=1, keepdims=True), labels


def cultivars_by_flavanoids() -> Any:
    """Laws of a wine's cultivar where its flavanoids are low, middle and high, a third each."""
    data = load_wine()
    values = data.data[:, data.feature_names.index("flavanoids")]
    counts = np.ones((3, 3))  # no cultivar without mass
    np.add.at(counts, (np.digitize(values, np.quantile(values, [1 / 3, 2 / 3])), data.target), 1)
    return CLASSES.natural_from_params(jnp.asarray(counts / counts.sum(axis=1, keepdims=True)))


def logits_of_wines(chosen: list[int]) -> np.ndarray:
    """What a classifier by alcohol and flavanoids thinks of some wines."""
    data = load_wine()
    x = scale(data.data[:, [data.feature_names.index(k) for k in ("alcohol", "flavanoids")]])
    return LogisticRegression().fit(x, data.target).decision_function(x)[chosen]


def distances(normal: Any, run: script.Script) -> None:
    """Part 1: how far apart the species are, by one measurement of the petals and by two."""
    closed = geometry.fisher_rao_distance(NORMAL, *pairs(normal))
    # Of any family; here its error can be seen.
    numerical = geometry.numerical_distance(NORMAL, *pairs(normal))
    off = jnp.abs(numerical.value - closed)
    bounds = geometry.distance_bounds(NORMAL, *pairs(normal))
    petals = species_laws(PETALS, [2, 3])
    both = geometry.numerical_distance(PETALS, *pairs(petals), segments=16)
    limits = geometry.distance_bounds(PETALS, *pairs(petals))
    one_rows, two_rows = [], []
    for index, (one, two) in enumerate(PAIRS):
        name = f"{SPECIES[one]} - {SPECIES[two]}"
        values = (f"{closed[index]:.6f}", f"{numerical.value[index]:.6f}")
        errors = (f"{numerical.error[index]:.0e}", f"{off[index]:.0e}")
        within = [f"{b.lower[index]:.2f} - {b.upper[index]:.2f}" for b in (bounds, limits)]
        one_rows.append((name, *values, *errors, within[0]))
        value, error = both.value[index], both.error[index]
        two_rows.append(
            (name, f"{value:.3f}", f"{error:.0e}", str(both.converged[index]), within[1])
        )
    title = "Fisher-Rao distances of petal lengths"
    headings = ("species", "distance", "numerical", "error", "truly", "bounds")
    run.table(title, headings, one_rows)
    title = "Of length and width together, which has no closed form"
    headings = ("species", "numerical", "error", "converged", "bounds")
    run.table(title, headings, two_rows)


def means(normal: Any, run: script.Script) -> None:
    """Part 2: averages of three laws, and the middle of two."""

    @jax.jit
    def amounts(q):
        kl = lambda *pair: jnp.mean(exponential.kl(NORMAL, *pair))
        squares = geometry.fisher_rao_distance(NORMAL, at(q, None), normal) ** 2
        return kl(at(q, None), normal), jnp.mean(squares), kl(normal, at(q, None))

    center = geometry.frechet_mean(NORMAL, normal)
    found = {
        "e-mean": geometry.e_mean(NORMAL, normal),
        "Fréchet mean": center.point,
        "m-mean": geometry.m_mean(NORMAL, normal),
    }
    rows = []
    for name, point in found.items():
        loc, scale = NORMAL.params_from_natural(point)
        rows.append(
            (name, f"{loc:.3f}", f"{scale:.3f}", *(f"{value:.3f}" for value in amounts(point)))
        )
    headings = ("", "mean (cm)", "sd (cm)", "KL(mean || law)", "distance^2", "KL(law || mean)")
    run.table("Means of the three species: each has the least of its own", headings, rows)
    run.console.print(
        f"Fréchet mean: residual {float(center.residual):.1e}, converged: {bool(center.converged)}"
    )
    # Of two laws with equal weights it is the middle of their geodesic.
    middle = geometry.frechet_mean(NORMAL, normal, [0.5, 0.0, 0.5]).point
    halves = [geometry.fisher_rao_distance(NORMAL, middle, at(normal, k)) for k in (0, 2)]
    whole = geometry.fisher_rao_distance(NORMAL, at(normal, 0), at(normal, 2))
    run.console.print(
        f"Middle of setosa and virginica: {halves[0]:.6f} and {halves[1]:.6f} away, of {whole:.6f}"
    )


def simplex_of_ink(shares: np.ndarray, labels: np.ndarray, run: script.Script) -> None:
    """Part 3: digits as points of the simplex of 64 pixels."""
    digits = PIXELS.natural_from_params(
        jnp.asarray(np.stack([shares[labels == digit].mean(axis=0) for digit in range(10)]))
    )
    distance = jax.jit(lambda p, q: geometry.fisher_rao_distance(PIXELS, p, q))
    between = distance(jax.tree.map(lambda leaf: leaf[:, None], digits), at(digits, None))
    between = np.asarray(between) + np.diag(np.full(10, np.inf))
    nearest = between.argmin(axis=1)
    run.table(
        "Ink of the mean digit: the nearest other digit, and the Fisher-Rao distance to it",
        ("digit", *map(str, range(10))),
        [("nearest", *nearest), ("distance", *(f"{d:.2f}" for d in between.min(axis=1)))],
    )
    laws = PIXELS.natural_from_params(jnp.asarray(shares))
    starts = 1 if run.quick else 3
    fits = [
        geometry.bregman_k_means(PIXELS, laws, 10, key=run.key(stream)) for stream in range(starts)
    ]
    best = min(fits, key=lambda fit: float(fit.objective[-1]))
    plain = KMeans(10, n_init=starts, random_state=run.seed).fit(shares)
    rows = []
    for name, steps, found in (
        ("k-means in KL", int(best.num_steps), best.labels),
        ("k-means (scikit-learn)", plain.n_iter_, plain.labels_),
    ):
        rows.append((name, str(steps), f"{adjusted_rand_score(labels, np.asarray(found)):.3f}"))
    title = (
        f"Images in ten clusters, best of {starts}: agreement with the digits, adjusted Rand index"
    )
    run.table(title, ("", "steps", "agreement"), rows)


def curvature_and_pythagoras(normal: Any, classes: Any, run: script.Script) -> None:
    """Part 4: constants of both spaces, and a theorem in nats."""
    rows, plane = [], jnp.eye(2)
    for name, family, points, expected in (
        ("Normal", NORMAL, normal, -0.5),
        ("Categorical(3)", CLASSES, classes, 0.25),
    ):
        manifold = geometry.family_manifold(family)
        sectional = jax.jit(
            jax.vmap(lambda x, m=manifold: geometry.sectional_curvature(m, x, *plane))
        )
        values = sectional(geometry.ravel(family, points))
        rows.append((name, *(f"{value:.6f}" for value in values), f"{expected:g}"))
    run.table("Sectional curvature at three laws", ("", "first", "second", "third", "known"), rows)
    # All measurements onto independent ones, an e-flat submanifold: what their dependence is worth.
    flowers = species_laws(FLOWERS, slice(None))
    directions = FLOWERS.Point(
        x=jnp.eye(8, 4), xx=jnp.concatenate([jnp.zeros((4, 4, 4)), jax.vmap(jnp.diag)(jnp.eye(4))])
    )
    base = FLOWERS.natural_from_params(mean=jnp.zeros(4), covariance=jnp.eye(4))
    rows = []
    for name, index in zip(SPECIES, range(3), strict=True):
        p = at(flowers, index)
        q = geometry.m_projection(FLOWERS, p, base, directions).point
        parts = [float(exponential.kl(FLOWERS, *pair)) for pair in ((p, q), (q, base), (p, base))]
        gap = abs(float(geometry.pythagorean_gap(FLOWERS, p, q, base))) / parts[2]
        rows.append((name, *(f"{part:.4f}" for part in parts), f"{gap:.0e}"))
    headings = ("p", "KL(p || q)", "KL(q || r)", "KL(p || r)", "gap, relative")
    title = "p: four measurements, q: p made independent, r: a standard normal law (nats)"
    run.table(title, headings, rows)


def picture(columns: int, size: tuple[float, float]):
    """A figure without a window, and its Axes in a row."""
    figure = Figure(figsize=size, layout="constrained")
    return figure, np.ravel(figure.subplots(1, columns))


def pictures(normal: Any, classes: Any, run: script.Script, advance) -> None:
    """Part 5: the half-plane of normal laws, and the triangle of three classes."""
    figure, (left, right) = picture(2, (11, 6))
    viz.geodesic_triangle(left, NORMAL, normal, names=SPECIES, labels=LABELS)
    left.set_title("Petal length of three species")
    viz.geodesic_triangle(
        right, CLASSES, classes, names=("low", "middle", "high"), labels=CULTIVARS
    )
    right.set_title("Cultivars of wines by their flavanoids", y=1.06)
    run.save(figure, "geodesics")
    advance()

    chart = lambda xi: NORMAL.natural_from_params(loc=xi[0], scale=xi[1])
    figure, (ax,) = picture(1, (6.4, 4.8))
    viz.fisher_log_determinant(
        ax,
        NORMAL,
        chart,
        jnp.linspace(1.0, 6.5, 40),
        jnp.linspace(0.1, 0.8, 60),
        x_label=LABELS[0],
        y_label=LABELS[1],
    )
    loc, scale = NORMAL.params_from_natural(normal)
    ax.plot(loc, scale, "o", color="white", markeredgecolor="black")
    for place, name in zip(zip(loc, scale, strict=True), SPECIES, strict=True):
        box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "alpha": 0.8, "linewidth": 0}
        ax.annotate(name, place, (9, 0), textcoords="offset points", va="center", bbox=box)
    ax.set_title("Where laws are easily told apart")
    run.save(figure, "determinant")
    advance()

    figure, (left, right) = picture(2, (11, 6))
    same_scale = NORMAL.Point(x=1.0, xx=0.0)
    viz.pythagorean_triangle(left, NORMAL, at(normal, 2), at(normal, 1), same_scale, labels=LABELS)
    left.set_title("virginica (p) on laws as wide as versicolor (r)")
    low, high = at(classes, 0), at(classes, 2)
    wines = geometry.m_mean(CLASSES, classes)
    line = jax.tree.map(jnp.subtract, low, high)
    viz.pythagorean_triangle(right, CLASSES, wines, high, line, labels=CULTIVARS)
    right.set_title("all wines (p) on the line of low and high (r) flavanoids", y=1.06)
    run.save(figure, "pythagoras")
    advance()

    figure, (ax,) = picture(1, (6.4, 5.6))
    viz.kl_balls(ax, NORMAL, at(normal, 1), (0.05, 0.5), labels=LABELS)
    ax.set_title("Around the petal lengths of versicolor")
    run.save(figure, "kl_balls")
    advance()

    chosen = [27, 90, 144]  # of each cultivar one that is not clear
    figure, (ax,) = picture(1, (6.4, 5.8))
    names = [f"wine {index}, {cultivar}" for index, cultivar in zip(chosen, CULTIVARS, strict=True)]
    viz.temperature_paths(ax, logits_of_wines(chosen), labels=CULTIVARS, names=names)
    ax.set_title("A classifier of wines, cooled and heated", y=1.06)
    run.save(figure, "temperature")
    advance()


def main() -> None:
    """Run all parts."""
    run = script.start(__file__, __doc__, quick="one start of each clustering")
    jax.config.update("jax_enable_x64", True)
    with run.progress() as progress:
        task = progress.add_task("dual geometry", total=9)
        advance = lambda: progress.advance(task)
        normal = species_laws(NORMAL, 2)
        distances(normal, run)
        advance()
        means(normal, run)
        advance()
        shares, labels = ink()
        simplex_of_ink(shares, labels, run)
        advance()
        classes = cultivars_by_flavanoids()
        curvature_and_pythagoras(normal, classes, run)
        advance()
        pictures(normal, classes, run, advance)
    run.end()


if __name__ == "__main__":
    main()
