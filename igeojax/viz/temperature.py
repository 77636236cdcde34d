"""Softmax of three logits at all temperatures, as paths in the simplex."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import jax.numpy as jnp
import numpy as np
from jaxtyping import ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.softmax import softmax
from igeojax.viz._plane import CORNERS, E_STROKE, FISHER_STROKE, M_STROKE
from igeojax.viz.manifold import simplex

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STROKES = (E_STROKE, M_STROKE, FISHER_STROKE)


def temperature_paths(
    ax: "Axes",
    logits: Float[ArrayLike, "paths 3"],
    *,
    temperatures: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
    labels: Sequence[str] = ("1", "2", "3"),
    names: Sequence[str] | None = None,
    resolution: int = 200,
) -> None:
    """Draw `softmax(logits / T)` for temperatures T from 0 to infinity, an e-geodesic.

    From the corner of the largest logit, or the middle of those that share it, to the uniform law.
    One softmax of `resolution` rows a path.

    Args:
      ax: the Axes to draw on.
      logits: finite, a path a row.
      temperatures: to mark on each path, positive; their values stand beside the first.
      labels: names of the corners.
      names: of the paths, for the legend; None for their logits.
      resolution: points along a path.

    Raises:
      TypeError: `logits` are not real, or `resolution` no integer.
      ValueError: `logits` are not finite or not of shape `(n, 3)`, a temperature is not positive,
        or the numbers of labels or names do not fit.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().add_subplot()
      >>> temperature_paths(ax, [[2.0, 1.0, 0.0]], names=["falling"])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['falling', 'temperatures T = 0.5, 1, 2, 4', 'T = infinity: uniform']
    """
    scores = checks.floating("logits", logits)
    if scores.ndim != 2 or scores.shape[0] == 0 or scores.shape[1] != 3:
        raise ValueError(
            f"logits must have shape (n, 3), a path a row; got {scores.shape}. Only three classes "
            "fit in the plane."
        )
    checks.require_finite("logits", scores, "A class of probability 0 leaves two.")
    checks.require_positive("temperatures", jnp.asarray(temperatures, float), "0 is the corner.")
    checks.require_count("resolution", resolution, 2)
    if names is None:
        names = [", ".join(f"{v:g}" for v in row) for row in np.asarray(scores)]
        names = [f"logits ({name})" for name in names]
    if len(names) != len(scores):
        raise ValueError(
            f"names must be as many as paths, {len(scores)}; got {len(names)}. Leave them out to "
            "name the logits."
        )
    simplex(ax, labels=labels, grid=4)
    scale = jnp.asarray(temperatures, float)[:, None]
    center = np.full(3, 1 / 3) @ CORNERS
    inner = np.linspace(0.0, 1.0, resolution)[1:-1, None]
    for index, (row, name) in enumerate(zip(scores, names, strict=True)):
        stroke = _STROKES[index % len(_STROKES)]
        first = np.asarray(row == jnp.max(row), float)
        # Even steps of the inverse temperature would nearly all lie at the corner.
        size = max(float(jnp.ptp(row)), 1e-6)
        between = np.asarray(softmax(row[None] * ((1 - inner) / inner / size)))
        path = np.vstack([first / first.sum() @ CORNERS, between @ CORNERS, center])
        marks = np.asarray(softmax(row[None] / scale)) @ CORNERS
        ax.plot(*path.T, linewidth=2, label=name, **stroke._asdict())
        ax.plot(*marks.T, "o", color=stroke.color, markeredgecolor="white", markersize=7)
        if index == 0:
            _name_temperatures(ax, path, marks, temperatures)
    known = ", ".join(f"{temperature:g}" for temperature in temperatures)
    ax.plot([], [], "o", color="0.4", label=f"temperatures T = {known}")
    ax.plot(*center, "s", color="black", label="T = infinity: uniform")
    ax.legend(frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.06), handlelength=3)


def _name_temperatures(
    ax: "Axes", path: np.ndarray, marks: np.ndarray, temperatures: Sequence[float]
) -> None:
    """Temperatures beside their marks, on the hollow side of the path."""
    from matplotlib.patheffects import withStroke

    chord = path[-1] - path[0]
    normal = np.array([-chord[1], chord[0]]) / max(float(np.hypot(*chord)), 1e-12)
    bulge = (path - path[0]) @ normal
    shift = -12 * (1 if bulge.sum() > 0 else -1) * normal
    for mark, temperature in zip(marks, temperatures, strict=True):
        ax.annotate(
            f"T={temperature:g}",
            (float(mark[0]), float(mark[1])),
            (float(shift[0]), float(shift[1])),
            textcoords="offset points",
            ha="right" if shift[0] < 0 else "left",
            va="center",
            fontsize="small",
            path_effects=[withStroke(linewidth=2, foreground="white")],
        )
