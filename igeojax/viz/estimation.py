"""Estimators beside their limits: efficiency, coverage of intervals, distance to normal laws."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from igeojax.estimation.efficiency import EfficiencyStudy
from igeojax.estimation.limit_theorems import NormalApproximation
from igeojax.viz._plane import E_STROKE, FISHER_STROKE, M_STROKE, Stroke

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_STROKES = (E_STROKE, M_STROKE, FISHER_STROKE)


def efficiency(
    ax: "Axes",
    sizes: Sequence[int],
    studies: Mapping[str, Sequence[EfficiencyStudy]],
    *,
    parameter: int = 0,
) -> None:
    """Draw the Cramer-Rao bound over the variance of estimators, over numbers of observations.

    One line an estimator, with a band of two standard errors; at 1 the bound is reached.

    Args:
      ax: the Axes to draw on.
      sizes: numbers of observations.
      studies: name of each estimator to its results of `estimation.efficiency_study`, one a size.
      parameter: index of the parameter.

    Raises:
      ValueError: no estimator, or not one study for each size.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> study = EfficiencyStudy(*map(np.ones, (1, 1, 1, 1, 1, 1, 1, 1, (), 1, 1)))
      >>> ax = Figure().add_subplot()
      >>> efficiency(ax, [10, 20], {"mean": [study, study]})
      >>> ax.lines[0].get_ydata().tolist()
      [1.0, 1.0]
    """
    if not studies:
        raise ValueError("studies must name an estimator; got none. Pass {name: one a size}.")
    for index, (name, found) in enumerate(studies.items()):
        _require_one_a_size(sizes, found, f"studies of {name!r}")
        value = np.array([float(study.efficiency[parameter]) for study in found])
        error = np.array([float(study.efficiency_error[parameter]) for study in found])
        _banded(ax, sizes, value, error, name, _STROKES[index % len(_STROKES)])
    ax.axhline(1.0, color="0.4", linewidth=1, label="Cramer-Rao bound")
    ax.set(xlabel="observations", ylabel="bound / variance", xscale="log", ylim=(0, None))
    _finished(ax, sizes)


def coverage(
    ax: "Axes",
    sizes: Sequence[int],
    studies: Sequence[EfficiencyStudy],
    *,
    level: float = 0.95,
    parameter: int = 0,
) -> None:
    """Draw which share of intervals holds the truth, over numbers of observations.

    One line for intervals from the expected information, one for those from the observed, each
    with a band of two standard errors, beside the level that they promise.

    Args:
      ax: the Axes to draw on.
      sizes: numbers of observations.
      studies: results of `estimation.efficiency_study`, one a size.
      level: what the intervals of `studies` promise, in (0, 1).
      parameter: index of the parameter.

    Raises:
      ValueError: not one study for each size.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> study = EfficiencyStudy(*map(np.ones, (1, 1, 1, 1, 1, 1, 1, 1, (), 1, 1)))
      >>> ax = Figure().add_subplot()
      >>> coverage(ax, [10, 20], [study, study])
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['expected information', 'observed information', 'promised: 0.95']
    """
    _require_one_a_size(sizes, studies, "studies")
    error = np.array([float(study.coverage_error) for study in studies])
    for kind, stroke in (("expected", E_STROKE), ("observed", M_STROKE)):
        shares = [getattr(study, f"coverage_{kind}")[parameter] for study in studies]
        _banded(ax, sizes, np.array(shares, float), error, f"{kind} information", stroke)
    ax.axhline(level, color="0.4", linewidth=1, label=f"promised: {level:g}")
    ax.set(xlabel="observations", ylabel="share that holds the truth", xscale="log")
    _finished(ax, sizes)


def normal_approximation(ax: "Axes", found: NormalApproximation) -> None:
    """Draw the distance of means to the normal law, beside the bound of Berry and Esseen.

    On logarithmic axes; the band about what is measured is where the true distance is, but with
    probability below 1e-6, so that below it nothing is known.

    Args:
      ax: the Axes to draw on.
      found: a result of `estimation.normal_approximation`.

    Raises:
      ValueError: it has no sizes.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> each = np.array([0.2, 0.1])
      >>> ax = Figure().add_subplot()
      >>> normal_approximation(ax, NormalApproximation([1, 4], each, each, each, 2 * each, 0.01))
      >>> ax.get_xscale(), ax.get_yscale()
      ('log', 'log')
    """
    sizes, distance = np.asarray(found.num_summands), np.asarray(found.distance)
    if not sizes.size:
        raise ValueError("found must have a number of summands; got none. Pass sizes=(1, 16).")
    bound, band = np.asarray(found.bound), float(found.band)
    ax.fill_between(
        sizes, distance - band, distance + band, color=E_STROKE.color, alpha=0.15, linewidth=0
    )
    ax.plot(sizes, distance, marker="o", label="measured", **E_STROKE._asdict())
    ax.plot(sizes, bound, label="bound of Berry and Esseen", **M_STROKE._asdict())
    ax.set(xlabel="summands", ylabel="distance to the normal law", xscale="log", yscale="log")
    ax.set_ylim(bottom=0.5 * float(distance.min()))
    _finished(ax, sizes)


def _require_one_a_size(sizes: Sequence[int], studies: Sequence, name: str) -> None:
    """Check that there is one study for each size.

    Raises:
      ValueError: there is not, or no size.
    """
    if len(sizes) != len(studies) or not len(sizes):
        raise ValueError(
            f"{name} must be one for each of sizes, and one at least; got {len(studies)} for "
            f"{len(sizes)} sizes. Call estimation.efficiency_study for each size."
        )


def _banded(
    ax: "Axes", x: Sequence[int], y: np.ndarray, error: np.ndarray, label: str, stroke: Stroke
) -> None:
    """A line with a band of two standard errors."""
    ax.fill_between(x, y - 2 * error, y + 2 * error, color=stroke.color, alpha=0.15, linewidth=0)
    ax.plot(x, y, marker="o", label=label, **stroke._asdict())


def _finished(ax: "Axes", sizes: Sequence[int] | np.ndarray) -> None:
    """Sizes as they are, a grid, a legend."""
    ax.set_xticks(list(sizes), [f"{int(size)}" for size in sizes])
    ax.minorticks_off()
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)
