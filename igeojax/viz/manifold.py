"""Manifolds seen in the plane: the simplex of three classes, metric ellipses of any chart."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.geometry.metric import pullback
from igeojax.viz._plane import CORNERS

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def simplex(
    ax: "Axes",
    function: Callable[[Array], Array] | None = None,
    *,
    points: Float[ArrayLike, "points 3"] | None = None,
    labels: Sequence[str] = ("1", "2", "3"),
    levels: int = 12,
    resolution: int = 120,
    grid: int = 0,
) -> None:
    """Draw the triangle of probability vectors of three classes.

    One call of `function`, on about `resolution^2 / 2` vectors.

    Args:
      ax: the Axes to draw on.
      function: drawn as filled contours; maps probability vectors on the last axis to values.
      points: probability vectors to mark.
      labels: names of the corners.
      levels: number of contour levels.
      resolution: grid points along an edge.
      grid: parts into which lines of equal probability divide each edge, with their values; 0 for
        no lines. The probability of a corner's class grows toward it.

    Raises:
      TypeError: `points` are not real, or `grid` no integer.
      ValueError: `points` are not probability vectors of length 3, or not three `labels`.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().add_subplot()
      >>> simplex(ax, lambda p: -jnp.sum(p * jnp.log(p), axis=-1), points=[[0.2, 0.3, 0.5]])
      >>> ax.get_aspect()
      1.0
    """
    if len(labels) != 3:
        raise ValueError(f"labels must name three corners; got {len(labels)}. Pass three strings.")
    if points is not None and (np.ndim(points) != 2 or np.shape(points)[1] != 3):
        raise ValueError(
            f"points must have shape (n, 3); got {np.shape(points)}. Only three classes fit in the "
            "plane."
        )
    if points is not None:
        checks.require_probabilities("points", checks.floating("points", points))
    checks.require_count("grid", grid, 0)
    if function is not None:
        steps = np.arange(1, resolution)
        first, second = (axis.ravel() for axis in np.meshgrid(steps, steps))
        inside = first + second < resolution
        probs = np.stack([first, second, resolution - first - second], axis=-1)[inside] / resolution
        values = np.asarray(function(jnp.asarray(probs)))
        places = probs @ CORNERS
        ax.tricontourf(places[:, 0], places[:, 1], values, levels=levels, cmap="viridis")
    for part in range(1, grid):
        share = part / grid
        for edge in range(3):
            start, end, other = (CORNERS[(edge + turn) % 3] for turn in range(3))
            first, last = start + share * (end - start), other + share * (end - other)
            ax.plot(*zip(first, last, strict=True), color="0.85", linewidth=0.6, zorder=0.5)
            outward = (start + end) / 2 - CORNERS.mean(axis=0)
            x, y = first + 0.1 * outward
            text = f"{share:.2g}"
            ax.text(x, y, text, ha="center", va="center", color="0.4", fontsize="x-small")
    outline = np.vstack([CORNERS, CORNERS[:1]])
    ax.plot(outline[:, 0], outline[:, 1], color="0.2", linewidth=1)
    if points is not None:
        places = np.asarray(points) @ CORNERS
        ax.plot(places[:, 0], places[:, 1], "o", color="white", markeredgecolor="black")
    for corner, label, (shift, align) in zip(
        CORNERS, labels, ((-0.03, "top"), (-0.03, "top"), (0.02, "bottom")), strict=True
    ):
        ax.text(corner[0], corner[1] + shift, label, ha="center", va=align)
    ax.set_aspect("equal")
    ax.set_axis_off()


def fisher_ellipses(
    ax: "Axes",
    family: ExponentialFamily,
    natural_from_chart: Callable[[Array], Any],
    points: Float[ArrayLike, "points 2"],
    *,
    radius: float = 0.2,
) -> None:
    """Draw, at points of a two-dimensional chart, the ellipse of Fisher length `radius`.

    All are circles of one size to the metric: where an ellipse is small, a small change of the
    coordinates makes a large change of the distribution. One `pullback` and one call of the chart
    a point.

    Args:
      ax: the Axes to draw on.
      family: the family.
      natural_from_chart: map from two coordinates to a natural parameter.
      points: where to draw, shape `(n, 2)`.
      radius: Fisher-Rao length of the semi-axes, positive.

    Raises:
      ValueError: `points` are not of shape `(n, 2)`, the chart refuses one, its metric there is
        not finite and positive definite, or `radius` is not positive and finite.

    Examples:
      >>> from igeojax import families
      >>> from matplotlib.figure import Figure
      >>> ax, normal = Figure().add_subplot(), families.Normal()
      >>> chart = lambda xi: normal.natural_from_params(loc=xi[0], scale=xi[1])
      >>> fisher_ellipses(ax, normal, chart, [[0.0, 1.0], [0.0, 2.0]])
      >>> [round(float(patch.width), 2) for patch in ax.patches]
      [0.28, 0.57]
    """
    from matplotlib.patches import Ellipse

    centers = jnp.asarray(points, float)
    if centers.ndim != 2 or centers.shape[1] != 2:
        raise ValueError(
            f"points must have shape (n, 2); got {centers.shape}. The chart has two coordinates."
        )
    checks.require_positive("radius", radius, "It is a length.")
    for xi in centers:
        natural_from_chart(xi)  # concrete, as the chart's own checks of values need it
    metrics = np.asarray(jax.vmap(lambda xi: pullback(family, natural_from_chart, xi))(centers))
    finite = np.isfinite(metrics).all(axis=(-2, -1), keepdims=True)
    values, vectors = np.linalg.eigh(np.where(finite, metrics, 0.0))
    checks.require_values(
        "the metric at each of points",
        values[:, 0] > 0,
        lambda good: good,
        "finite and positive definite",
        "Move the point inside the chart, or drop a redundant coordinate.",
    )
    for center, value, vector in zip(np.asarray(centers), values, vectors, strict=True):
        # The longer axis lies along the eigenvector of the smaller eigenvalue, the second here.
        width, height = 2 * radius / np.sqrt(value[::-1])
        angle = float(np.degrees(np.arctan2(vector[1, 1], vector[0, 1])))
        ax.add_patch(
            Ellipse(
                (float(center[0]), float(center[1])),
                float(width),
                float(height),
                angle=angle,
                facecolor="none",
                edgecolor="C0",
            )
        )
    ax.plot(np.asarray(centers)[:, 0], np.asarray(centers)[:, 1], ".", color="C0", markersize=3)
    ax.autoscale_view()


def fisher_log_determinant(
    ax: "Axes",
    family: ExponentialFamily,
    natural_from_chart: Callable[[Array], Any],
    first: Float[ArrayLike, "columns"],
    second: Float[ArrayLike, "rows"],
    *,
    x_label: str = "first coordinate",
    y_label: str = "second coordinate",
) -> None:
    """Draw a heat map of `log det g` of the Fisher metric g in a two-dimensional chart.

    Half of it is the log-density of Jeffreys' prior: where it is high, laws are easily told apart.
    Its values depend on the units of the coordinates by a constant. One `pullback` a point.

    Args:
      ax: the Axes to draw on; its figure gets a color bar.
      family: the family.
      natural_from_chart: map from two coordinates to a natural parameter.
      first: increasing values of the first coordinate, two or more.
      second: increasing values of the second coordinate, two or more.
      x_label: label of the first coordinate, with its unit.
      y_label: label of the second coordinate, with its unit.

    Raises:
      TypeError: the values are not real.
      ValueError: they are no vectors that increase, or there is no metric in all of the grid.

    Examples:
      >>> from igeojax import families
      >>> from matplotlib.figure import Figure
      >>> ax, normal = Figure().add_subplot(), families.Normal()
      >>> chart = lambda xi: normal.natural_from_params(loc=xi[0], scale=xi[1])
      >>> fisher_log_determinant(ax, normal, chart, [0.0, 1.0], [1.0, 2.0])
      >>> ax.collections[0].get_array().round(3).tolist()  # log(2 / scale^4)
      [[0.693, 0.693], [-2.079, -2.079]]
    """
    from matplotlib.ticker import MaxNLocator

    values = {"first": checks.floating("first", first), "second": checks.floating("second", second)}
    for name, vector in values.items():
        if vector.ndim != 1 or vector.size < 2:
            raise ValueError(
                f"{name} must be a vector of two or more values; got shape {vector.shape}. Pass "
                "jnp.linspace(low, high, 60)."
            )
        checks.require_values(
            name, jnp.diff(vector), lambda step: step > 0, "increasing", "Sort and drop equal ones."
        )
    columns, rows = jnp.meshgrid(*values.values())
    places = jnp.stack([columns, rows], axis=-1)
    metric = jax.jit(jax.vmap(jax.vmap(lambda xi: pullback(family, natural_from_chart, xi))))
    metrics = np.asarray(metric(places))
    with np.errstate(invalid="ignore"):  # what is not finite is refused below
        sign, value = np.linalg.slogdet(metrics)
    checks.require_values(
        "the metric at each point of the grid",
        (sign > 0) & np.isfinite(value),
        lambda good: good,
        "finite and positive definite",
        "Keep the grid inside the chart, or drop a redundant coordinate.",
    )
    mesh = ax.pcolormesh(columns, rows, value, cmap="cividis", shading="gouraud")
    ax.figure.colorbar(mesh, ax=ax, label="log det of the Fisher metric")
    low, high = float(value.min()), float(value.max())
    if high - low > 1e-9:
        levels = MaxNLocator(8).tick_values(low, high)
        colors = ["white" if level < 0.5 * (low + high) else "black" for level in levels]
        lines = ax.contour(
            columns, rows, value, levels, colors=colors, linewidths=0.8, linestyles="solid"
        )
        ax.clabel(lines, fontsize="small")
    ax.set(xlabel=x_label, ylabel=y_label)
