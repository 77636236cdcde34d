"""Curves: training losses, and the two directions of the KL divergence."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import ArrayLike, Float

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def loss_curves(
    ax: "Axes",
    curves: Mapping[str, tuple[ArrayLike, ArrayLike]],
    *,
    x_label: str = "step",
    y_label: str = "loss (nats)",
    target: float | None = None,
) -> None:
    """Draw named curves on a logarithmic axis, each labeled at the legend.

    One line a curve, of all its points.

    Args:
      ax: the Axes to draw on.
      curves: name to `(x, y)`.
      x_label: label of the horizontal axis.
      y_label: label of the vertical axis.
      target: a level to mark with a dashed line.

    Raises:
      ValueError: no curves, or one whose `x` and `y` differ in length.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().add_subplot()
      >>> loss_curves(ax, {"Adam": ([0, 1], [1.0, 0.5])})
      >>> ax.get_yscale()
      'log'
    """
    if not curves:
        raise ValueError("curves must name at least one curve; got none. Pass {name: (x, y)}.")
    for name, (x, y) in curves.items():
        if np.shape(x) != np.shape(y):
            raise ValueError(
                f"curve {name!r} must have as many x as y; got {np.shape(x)} and {np.shape(y)}. "
                "Pass (x, y) of one length."
            )
        ax.plot(np.asarray(x), np.asarray(y), label=name)
    if target is not None:
        ax.axhline(target, color="0.5", linestyle="--", linewidth=1, label=f"target {target:g}")
    ax.set(xlabel=x_label, ylabel=y_label, yscale="log")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)


def kl_asymmetry(
    ax: "Axes",
    grid: Float[ArrayLike, "points"],
    target: Float[ArrayLike, "points"],
    forward: Float[ArrayLike, "points"],
    reverse: Float[ArrayLike, "points"],
) -> None:
    """Draw a density and its two closest members of a family, one for each direction of KL.

    The m-projection `argmin KL(target || q)` covers all the mass; `argmin KL(q || target)` seeks
    one mode. Three lines and a filled area, of all the points.

    Args:
      ax: the Axes to draw on.
      grid: where the densities are given.
      target: the density to be approximated.
      forward: minimizer of `KL(target || q)`.
      reverse: minimizer of `KL(q || target)`.

    Raises:
      ValueError: the densities are not vectors of the length of `grid`.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> ax = Figure().add_subplot()
      >>> kl_asymmetry(ax, [0.0, 1.0], [1.0, 1.0], [1.0, 1.0], [1.0, 1.0])
      >>> len(ax.lines)
      3
    """
    for name, density in (("target", target), ("forward", forward), ("reverse", reverse)):
        if np.ndim(grid) != 1 or np.shape(density) != np.shape(grid):
            raise ValueError(
                f"grid and {name} must be vectors of one length; got shapes {np.shape(grid)} and "
                f"{np.shape(density)}. Evaluate the density on the grid."
            )
    ax.fill_between(np.asarray(grid), np.asarray(target), color="0.85")
    ax.plot(grid, target, color="0.4", label="target p")
    ax.plot(grid, forward, linewidth=2, label="argmin KL(p || q): covers the mass")
    ax.plot(grid, reverse, linewidth=2, linestyle="--", label="argmin KL(q || p): seeks a mode")
    ax.set(xlabel="x", ylabel="density", ylim=(0, None))
    ax.legend(frameon=False)
