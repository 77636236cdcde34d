"""Dual geometry in the plane: geodesics of three kinds, Pythagoras, balls of both divergences."""

import functools
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax._core import checks
from igeojax.divergences.exponential.relative_entropy import kl
from igeojax.families.base import ExponentialFamily
from igeojax.geometry._discrete_geodesic import discrete_geodesics, flat_vectors
from igeojax.geometry._points import natural_of_mean, one_point, single_row_points
from igeojax.geometry.closed_geodesic import closed_geodesic
from igeojax.geometry.coordinates import ravel, unravel
from igeojax.geometry.dual_geodesic import e_geodesic, m_geodesic
from igeojax.geometry.metric import fisher_matrix
from igeojax.geometry.projection import m_projection
from igeojax.viz._plane import (
    E_STROKE,
    FISHER_STROKE,
    M_STROKE,
    Stroke,
    is_simplex,
    parameter_names,
    places,
    require_plane,
    stacked,
)
from igeojax.viz.manifold import simplex

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_ANGLES = 180
_HALVINGS = 60
_LEVELS = 6


def geodesic_triangle(
    ax: "Axes",
    family: ExponentialFamily,
    laws: Any,
    *,
    names: Sequence[str] = ("p", "q", "r"),
    labels: Sequence[str] | None = None,
    resolution: int = 80,
) -> None:
    """Draw three laws, and the e-, m- and Levi-Civita geodesics between each two of them.

    In the triangle of three classes m-geodesics are straight; in the half-plane of normal laws none
    of them is. The Levi-Civita geodesics, the shortest paths, run between the other two.

    Args:
      ax: the Axes to draw on.
      family: `Categorical(3)`, or a family of two scalar source parameters.
      laws: natural or source parameters of three laws along axis 0.
      names: of the laws.
      labels: of the three corners, or of the two axes with their unit; None for the names of the
        parameters.
      resolution: points along an e- or m-geodesic.

    Raises:
      TypeError: `family` is not a family, `laws` not points of it, or `resolution` no integer.
      ValueError: the family does not fit in the plane, not three laws or names, or laws so far
        apart that a geodesic was not found.

    Examples:
      >>> from igeojax import families
      >>> from matplotlib.figure import Figure
      >>> ax, normal = Figure().add_subplot(), families.Normal()
      >>> laws = normal.Params(jnp.array([0.0, 2.0, 1.0]), jnp.array([1.0, 1.0, 2.0]))
      >>> geodesic_triangle(ax, normal, laws)
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['e-geodesic', 'm-geodesic', 'Levi-Civita geodesic']
    """
    require_plane(family)
    theta, count = single_row_points(family, "laws", laws)
    if (count, len(names)) != (3, 3):
        raise ValueError(
            f"laws and names must be three; got {count} and {len(names)}. Draw a triangle for each "
            "three of them."
        )
    checks.require_count("resolution", resolution, 2)
    times = _times(resolution)
    ends = jax.tree.map(lambda leaf: jnp.roll(leaf, -1, axis=0), theta)
    curves = (
        ("e-geodesic", E_STROKE, e_geodesic(family, theta, ends, times)),
        ("m-geodesic", M_STROKE, m_geodesic(family, theta, ends, times)),
        ("Levi-Civita geodesic", FISHER_STROKE, _shortest(family, theta, ends, times)),
    )
    drawn = [places(family, points) for *_, points in curves]
    for (name, *_), place in zip(curves, drawn, strict=True):
        checks.require_values(
            f"laws on each {name}",
            np.isfinite(place).all(axis=(0, 2)),
            lambda found: found,
            "found",
            "Such laws are too far apart; the index is that of the first of them.",
        )
    _frame(ax, family, labels)
    for (name, stroke, _), place in zip(curves, drawn, strict=True):
        for side in range(3):
            label = name if side == 0 else None
            ax.plot(*place[:, side].T, linewidth=2, label=label, **stroke._asdict())
    _mark(ax, family, theta, names, np.concatenate([place.reshape(-1, 2) for place in drawn]))
    _finish(ax, family)


def _shortest(family: ExponentialFamily, p: Any, q: Any, times: Array) -> Any:
    """Points of the three shortest paths, nan where one was not found."""
    exact = closed_geodesic(family, p, q, times)
    if exact is not None:
        return exact
    # Points of a path of 64 segments are within the width of a line of the geodesic.
    vectors, _ = flat_vectors(family, p, q)
    paths = discrete_geodesics(family, jnp.zeros(3, vectors[0].dtype), *vectors, _LEVELS)
    found = paths.found[None, :, None]
    return unravel(family, jnp.where(found, jnp.swapaxes(paths.points[:, -1], 0, 1), jnp.nan))


def pythagorean_triangle(
    ax: "Axes",
    family: ExponentialFamily,
    p: Any,
    r: Any,
    direction: Any,
    *,
    labels: Sequence[str] | None = None,
    resolution: int = 80,
) -> None:
    """Draw the m-projection q of a law p on an e-flat line, and the divergences between the three.

    The line runs through r. The m-geodesic from p to q meets it at a right angle of the Fisher
    metric, so `KL(p || r) = KL(p || q) + KL(q || r)`; the legend holds the numbers, in nats.

    Args:
      ax: the Axes to draw on.
      family: `Categorical(3)`, or a family of two scalar source parameters.
      p: natural or source parameters of the law to project.
      r: natural or source parameters of a law of the line.
      direction: tangent of the line in natural coordinates.
      labels: of the three corners, or of the two axes with their unit; None for the names of the
        parameters.
      resolution: points along a geodesic.

    Raises:
      TypeError: `family` is not a family, an argument not a point of it, or `resolution` no
        integer.
      ValueError: the family does not fit in the plane, a law is outside the domain, or p has no
        projection on the line.

    References:
      [AmariNagaoka2000] chapter 3; [Amari2016] chapter 1 (Pythagorean theorem).

    Examples:
      >>> from igeojax import families
      >>> from matplotlib.figure import Figure
      >>> ax, normal = Figure().add_subplot(), families.Normal()
      >>> p, r = normal.Params(1.0, 2.0), normal.Params(-1.0, 1.0)
      >>> pythagorean_triangle(ax, normal, p, r, normal.Point(1.0, 0.0))
      >>> [text.get_text() for text in ax.texts]
      ['p', 'q', 'r']
    """
    require_plane(family)
    p, r = one_point(family, "p", p), one_point(family, "r", r)
    checks.require_count("resolution", resolution, 2)
    found = m_projection(
        family, p, r, jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], direction)
    )
    checks.require_values(
        "the projection of p",
        found.converged,
        lambda good: good,
        "on the line",
        "The line has no law with the moment of p along it; choose another direction.",
    )
    q = found.point
    times = _times(resolution)
    _frame(ax, family, labels)
    longer = places(family, e_geodesic(family, q, r, jnp.linspace(-4.0, 5.0, 9 * resolution)))
    ax.plot(*longer.T, color="0.6", linewidth=1, label="e-flat line")
    numbers = [float(kl(family, *pair)) for pair in ((p, q), (q, r), (p, r))]
    sides = (
        (m_geodesic(family, p, q, times), "m-geodesic, KL(p || q)", M_STROKE),
        (e_geodesic(family, q, r, times), "e-geodesic, KL(q || r)", E_STROKE),
        (e_geodesic(family, p, r, times), "the sum, KL(p || r)", Stroke("0.3", ":")),
    )
    drawn = [places(family, points) for points, *_ in sides]
    for (_, name, stroke), place, value in zip(sides, drawn, numbers, strict=True):
        label = f"{name} = {value:.4f} nats"
        ax.plot(*place.T, linewidth=2.5, label=label, **stroke._asdict())
    _mark(ax, family, stacked(p, q, r), ("p", "q", "r"), np.vstack(drawn))
    _finish(ax, family)
    if not is_simplex(family):
        _zoom(ax, np.vstack(drawn))


def kl_balls(
    ax: "Axes",
    family: ExponentialFamily,
    center: Any,
    radii: Sequence[float],
    *,
    labels: Sequence[str] | None = None,
) -> None:
    """Draw the laws within a divergence of a center, for both directions of KL.

    `KL(center || q)` is convex in natural coordinates and grows without bound where q gives up mass
    that the center has; `KL(q || center)` is convex in mean coordinates. Small balls of both are
    the ellipse of Fisher length `sqrt(2 radius)`. A rim costs some 120 divergences at each angle.

    Args:
      ax: the Axes to draw on.
      family: `Categorical(3)`, or a family of two scalar source parameters.
      center: natural or source parameters of one law.
      radii: in nats, positive.
      labels: of the three corners, or of the two axes with their unit; None for the names of the
        parameters.

    Raises:
      TypeError: `family` is not a family, or `center` not a point of it.
      ValueError: the family does not fit in the plane, `center` is outside the domain, or `radii`
        are not positive or none.

    Examples:
      >>> from igeojax import families
      >>> from matplotlib.figure import Figure
      >>> ax, normal = Figure().add_subplot(), families.Normal()
      >>> kl_balls(ax, normal, normal.Params(0.0, 1.0), [0.1])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['KL(p || q) = 0.1 nats', 'KL(q || p) = 0.1 nats']
    """
    require_plane(family)
    theta = one_point(family, "center", center)
    if len(radii) == 0:
        raise ValueError("radii must hold at least one; got none. Pass [0.1], in nats.")
    checks.require_positive("radii", jnp.asarray(radii), "They are divergences.")
    _frame(ax, family, labels)
    amounts = ", ".join(f"{radius:g}" for radius in radii)
    for name, stroke, right in (
        ("KL(p || q)", E_STROKE, True),
        ("KL(q || p)", M_STROKE, False),
    ):
        for index, radius in enumerate(radii):
            place = places(family, _rim(family, theta, jnp.asarray(radius, float), right))
            label = f"{name} = {amounts} nats" if index == 0 else None
            ax.plot(*place.T, linewidth=2, label=label, **stroke._asdict())
            ax.fill(*place.T, color=stroke.color, alpha=0.08, linewidth=0)
    _mark(ax, family, stacked(theta), ("p",), places(family, stacked(theta)))
    _finish(ax, family)


@functools.partial(jax.jit, static_argnums=(0, 3))
def _rim(family: ExponentialFamily, theta: Any, radius: Array, right: bool) -> Any:
    """Laws all around at that divergence, or the last ones of the domain on the way there."""
    fisher = fisher_matrix(family, theta)
    values, vectors = jnp.linalg.eigh(fisher)
    power = jnp.sqrt(1 / values if right else values)
    angles = jnp.linspace(0.0, 2 * jnp.pi, _ANGLES + 1)
    around = jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1)
    rays = around @ (vectors * power[None]).T
    natural = ravel(family, theta)
    foot = natural if right else ravel(family, family.mean_from_natural(theta))
    centers = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (len(angles), *leaf.shape)), theta)

    def law(length: Array) -> tuple[Any, Array]:
        vector = foot[None] + length[:, None] * rays
        point = unravel(family, vector)
        if right:
            return point, family.in_natural_domain(point)
        point = natural_of_mean(family, point)
        return point, family.in_natural_domain(point)

    def is_within(length: Array) -> Array:
        point, inside = law(length)
        value = kl(family, centers, point) if right else kl(family, point, centers)
        return inside & (value <= radius)

    def double(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        within = is_within(high)
        return jnp.where(within, high, low), jnp.where(within, 2 * high, high)

    def halve(_: Any, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = 0.5 * (low + high)
        within = is_within(middle)
        return jnp.where(within, middle, low), jnp.where(within, high, middle)

    first = jnp.zeros(len(angles)), jnp.full(len(angles), jnp.sqrt(2 * radius))
    ends = jax.lax.fori_loop(0, _HALVINGS, double, first)
    return law(jax.lax.fori_loop(0, _HALVINGS, halve, ends)[0])[0]


def _times(resolution: int) -> Array:
    """From 0 to 1, close at both ends, where a geodesic in another chart may be fast."""
    return 0.5 - 0.5 * jnp.cos(jnp.linspace(0.0, jnp.pi, resolution))


def _frame(ax: "Axes", family: ExponentialFamily, labels: Sequence[str] | None) -> None:
    """The triangle, or the labels of the axes.

    Raises:
      ValueError: not as many labels as there are corners or axes.
    """
    names = parameter_names(family)
    labels = names if labels is None else labels
    if len(labels) != len(names):
        raise ValueError(
            f"labels must be {len(names)}, one for each of {', '.join(names)}; got {len(labels)}. "
            "Leave them out for these names."
        )
    if is_simplex(family):
        simplex(ax, labels=labels, grid=4)
    else:
        ax.set(xlabel=labels[0], ylabel=labels[1])
        ax.grid(alpha=0.3)


def _mark(
    ax: "Axes", family: ExponentialFamily, laws: Any, names: Sequence[str], drawn: np.ndarray
) -> None:
    """Laws as points with their names, away from the middle of what is drawn."""
    from matplotlib.patheffects import withStroke

    place = places(family, laws)
    away = place - drawn.mean(axis=0)
    spread = np.ptp(drawn, axis=0)
    away = away / np.where(spread > 0, spread, 1.0)
    length = np.linalg.norm(away, axis=1, keepdims=True)
    away = np.where(length > 0, away / np.where(length > 0, length, 1.0), [0.7, 0.7])
    ax.plot(*place.T, "o", color="black", markersize=6, markeredgecolor="white", zorder=4)
    for name, spot, shift in zip(names, place, 8 * away, strict=True):
        ax.annotate(
            name,
            (float(spot[0]), float(spot[1])),
            (float(shift[0]), float(shift[1])),
            textcoords="offset points",
            ha="left" if shift[0] > 3 else "right" if shift[0] < -3 else "center",
            va="bottom" if shift[1] > 3 else "top" if shift[1] < -3 else "center",
            fontsize="large",
            path_effects=[withStroke(linewidth=3, foreground="white")],
            zorder=5,
        )


def _finish(ax: "Axes", family: ExponentialFamily) -> None:
    """Room around what is drawn, and the legend below."""
    ax.margins(x=0.26, y=0.12)
    below = -0.06 if is_simplex(family) else -0.14
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, below), handlelength=3)


def _zoom(ax: "Axes", place: np.ndarray) -> None:
    """Limits around these places, so that a long line does not set them."""
    low, high = place.min(axis=0), place.max(axis=0)
    margin = 0.2 * np.where(high > low, high - low, 1.0)
    ax.set(xlim=(low[0] - margin[0], high[0] + margin[0]))
    ax.set(ylim=(low[1] - margin[1], high[1] + margin[1]))
