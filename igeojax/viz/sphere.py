"""The unit sphere as a globe seen from one side: fields of directions and marked directions."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def sphere(
    ax: "Axes",
    function: Callable[[Array], ArrayLike] | None = None,
    *,
    points: Float[ArrayLike, "points 3"] | None = None,
    colors: Sequence | str = "black",
    labels: Sequence[str] | None = None,
    size: float = 4.0,
    view: Sequence[float] = (1.0, 0.4, 0.5),
    resolution: int = 240,
    grid: int = 30,
) -> None:
    """Draw the half of the unit sphere that is seen from a direction, the third axis upward.

    One call of `function`, on about `resolution^2` unit vectors. May be called again on the same
    Axes for other points.

    Args:
      ax: the Axes to draw on.
      function: maps unit vectors on the last axis to values, drawn in the colors of the map
        viridis, or to red, green and blue from 0 to 1 on a last axis of 3.
      points: unit vectors to mark; those on the far side are left out.
      colors: of the points, one for all or one for each.
      labels: what to write beside each point, on a white ground.
      size: of the marks, in points.
      view: where the globe is seen from, of any length.
      resolution: pixels along the diameter.
      grid: degrees between lines of longitude and latitude; 0 for none.

    Raises:
      TypeError: `points` are not real, or `resolution` or `grid` no integer.
      ValueError: `points` are not unit vectors of length 3, `labels` or `colors` not one for each,
        or `view` has not three entries or is zero.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().add_subplot()
      >>> sphere(ax, lambda x: x[..., 2], points=[[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
      >>> len(ax.collections[0].get_offsets())
      1
    """
    checks.require_count("resolution", resolution, 2)
    checks.require_count("grid", grid, 0)
    axes = _axes(view)
    if function is not None:
        _field(ax, function, axes, resolution)
    _graticule(ax, axes, grid)
    if points is not None:
        _marks(ax, _checked(points), axes, colors, labels, size)
    ax.set(xlim=(-1.03, 1.03), ylim=(-1.03, 1.03))
    ax.set_aspect("equal")
    ax.set_axis_off()


def _axes(view: Sequence[float]) -> np.ndarray:
    """Directions to the right, upward and toward the eye, one a row.

    Raises:
      ValueError: `view` has not three entries, or is zero.
    """
    toward = np.asarray(view, float)
    if toward.shape != (3,) or not np.linalg.norm(toward) > 0:
        raise ValueError(f"view must be a vector of length 3 other than zero; got {view}.")
    toward = toward / np.linalg.norm(toward)
    # From above or below the second axis is upward.
    pole = np.eye(3)[1 if abs(toward[2]) > 1 - 1e-12 else 2]
    up = pole - (pole @ toward) * toward
    up = up / np.linalg.norm(up)
    return np.stack([np.cross(up, toward), up, toward])


def _field(
    ax: "Axes", function: Callable[[Array], ArrayLike], axes: np.ndarray, resolution: int
) -> None:
    """Values as an image of the disc."""
    from matplotlib.patches import Circle

    centers = (np.arange(resolution) + 0.5) * (2 / resolution) - 1
    across, upward = np.meshgrid(centers, centers)
    # Of pixels that the edge cuts, the nearest direction of the edge.
    radius = np.maximum(np.hypot(across, upward), 1.0)
    across, upward = across / radius, upward / radius
    depth = np.sqrt(np.maximum(1 - across**2 - upward**2, 0.0))
    directions = np.stack([across, upward, depth], axis=-1) @ axes
    values = np.asarray(function(jnp.asarray(directions)))
    disc = Circle((0, 0), 1, transform=ax.transData)
    image = ax.imshow(values, cmap="viridis", extent=(-1, 1, -1, 1), origin="lower")
    image.set_clip_path(disc)


def _graticule(ax: "Axes", axes: np.ndarray, grid: int) -> None:
    """The outline, and lines of longitude and latitude on the near side."""
    turn = np.linspace(0, 2 * np.pi, 361)
    ax.plot(np.cos(turn), np.sin(turn), color="0.25", linewidth=1)
    if not grid:
        return
    latitudes = np.deg2rad(np.arange(-90 + grid, 90, grid))
    longitudes = np.deg2rad(np.arange(0, 180, grid))
    lines = [
        np.stack([np.cos(a) * np.cos(turn), np.cos(a) * np.sin(turn), np.full(361, np.sin(a))])
        for a in latitudes
    ]
    lines += [
        np.stack([np.cos(turn) * np.cos(a), np.cos(turn) * np.sin(a), np.sin(turn)])
        for a in longitudes
    ]
    for line in lines:
        right, up, depth = axes @ line
        near = depth > 0
        ax.plot(
            *(np.where(near, right, np.nan), np.where(near, up, np.nan)),
            color="0.5",
            linewidth=0.5,
            alpha=0.5,
        )


def _marks(
    ax: "Axes",
    points: np.ndarray,
    axes: np.ndarray,
    colors: Sequence | str,
    labels: Sequence[str] | None,
    size: float,
) -> None:
    """The points of the near side.

    Raises:
      ValueError: colors or labels not one for each point.
    """
    for name, given in (("colors", colors), ("labels", labels)):
        if given is not None and not isinstance(given, str) and len(given) != len(points):
            raise ValueError(
                f"{name} must be one for each of {len(points)} points; got {len(given)}."
            )
    places = points @ axes.T
    near = places[:, 2] > 0
    each = colors if isinstance(colors, str) else [colors[int(k)] for k in np.flatnonzero(near)]
    ax.scatter(
        *places[near, :2].T,
        c=each,
        s=size**2,
        edgecolors="white",
        linewidths=0.08 * size,
        zorder=3,
    )
    if labels is None:
        return
    for place, label, shown in zip(places, labels, near, strict=True):
        if shown:
            ax.annotate(
                label,
                (float(place[0]), float(place[1])),
                ha="center",
                va="center",
                fontsize="small",
                zorder=4,
                bbox={"boxstyle": "circle,pad=0.2", "facecolor": "white", "edgecolor": "0.3"},
            )


def _checked(points: ArrayLike) -> np.ndarray:
    """Unit vectors as an array.

    Raises:
      TypeError: they are not real.
      ValueError: they are not of shape (n, 3) and length one.
    """
    found = checks.floating("points", points)
    if found.ndim != 2 or found.shape[1] != 3:
        raise ValueError(f"points must have shape (n, 3); got {found.shape}.")
    length = jnp.sqrt(jnp.sum(found**2, axis=-1))
    checks.require_values(
        "the length of points",
        length,
        lambda values: np.abs(values - 1) <= 1e-3,
        "1 within 0.001",
        "Divide the vectors by their lengths.",
    )
    return np.asarray(found, float)
