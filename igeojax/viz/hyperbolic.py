"""The hyperbolic plane as Poincaré's disk."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.manifolds.poincare_ball import PoincareBall

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def poincare_disk(
    ax: "Axes",
    points: Float[ArrayLike, "points 2"],
    *,
    edges: Int[ArrayLike, "edges 2"] | None = None,
    labels: Mapping[int, str] | None = None,
    colors: Any = "C0",
    edge_colors: Any = "0.6",
    size: float = 12.0,
) -> None:
    """Draw points of the disk of curvature -1, edges as geodesics, and the rim at infinity.

    Angles are true; lengths shrink toward the rim as `(1 - |x|^2) / 2`. One `geodesic` for all
    edges. Points of another curvature `-c` are drawn times `sqrt(c)`.

    Args:
      ax: the Axes to draw on.
      points: points of `PoincareBall(2)`.
      edges: pairs of rows of `points` to be joined.
      labels: names of some rows.
      colors: colors of the points, as of `Axes.scatter`.
      edge_colors: colors of the edges, as of `matplotlib.collections.LineCollection`.
      size: area of a point, in points squared.

    Raises:
      TypeError: `points` are not real, or `edges` not integers.
      ValueError: `points` are not of shape `(n, 2)` or not in the disk, or `edges` are not pairs of
        rows of them.

    References:
      [NickelKiela2017] figure 2.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().add_subplot()
      >>> poincare_disk(ax, [[0.0, 0.0], [0.5, 0.0]], edges=[[0, 1]], labels={0: "root"})
      >>> ax.texts[0].get_text()
      'root'
    """
    from matplotlib.collections import LineCollection
    from matplotlib.patches import Circle

    x = checks.floating("points", points)
    if x.ndim != 2 or x.shape[1] != 2:
        raise ValueError(
            f"points must have shape (n, 2); got {x.shape}. The disk has two coordinates."
        )
    checks.require_values(
        "points",
        np.sum(np.asarray(x) ** 2, axis=1),
        lambda square: square < 1,
        "inside the unit disk",
        "Multiply points of curvature -c by sqrt(c).",
    )
    places = np.asarray(x)
    ax.add_patch(Circle((0.0, 0.0), 1.0, facecolor="0.97", edgecolor="0.4", zorder=0))
    if edges is not None:
        pairs = _pairs(edges, len(places))
        times = jnp.linspace(0.0, 1.0, 33, dtype=x.dtype)
        ways = PoincareBall(2).geodesic(x[pairs[:, 0]], x[pairs[:, 1]], times)
        segments = list(np.moveaxis(np.asarray(ways), 0, 1))
        ax.add_collection(LineCollection(segments, colors=edge_colors, linewidths=0.5, zorder=1))
    ax.scatter(places[:, 0], places[:, 1], s=size, c=colors, linewidths=0, zorder=2)
    box = {"boxstyle": "round,pad=0.15", "facecolor": "white", "edgecolor": "0.7", "alpha": 0.85}
    for row, text in (labels or {}).items():
        ax.annotate(
            text,
            places[row],
            xytext=(0, 7),
            textcoords="offset points",
            ha="center",
            va="bottom",
            fontsize="small",
            bbox=box,
            zorder=3,
        )
    ax.set(xlim=(-1.02, 1.02), ylim=(-1.02, 1.02), aspect="equal")
    ax.set_axis_off()


def _pairs(edges: ArrayLike, count: int) -> np.ndarray:
    """Edges as pairs of rows.

    Raises:
      TypeError: they are not integers.
      ValueError: they are no pairs, or of rows that are not there.
    """
    pairs = np.asarray(edges)
    if not np.issubdtype(pairs.dtype, np.integer):
        raise TypeError(f"edges must be integers; got {pairs.dtype}. Pass rows of points.")
    if pairs.ndim != 2 or pairs.shape[1] != 2:
        raise ValueError(f"edges must have shape (n, 2); got {pairs.shape}. Pass pairs of rows.")
    checks.require_values(
        "edges",
        pairs,
        lambda row: (row >= 0) & (row < count),
        f"from 0 to {count - 1}",
        "Number the points from 0.",
    )
    return pairs
