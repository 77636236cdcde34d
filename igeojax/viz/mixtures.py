"""Mixtures: what the two projections of EM gain, and how many components the data ask for."""

from typing import TYPE_CHECKING

import numpy as np

from igeojax.em.projections import ProjectionGains
from igeojax.em.selection import CRITERIA, ModelSelection
from igeojax.viz._plane import E_STROKE, FISHER_STROKE, M_STROKE

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def projection_gains(ax: "Axes", gains: ProjectionGains) -> None:
    """Draw what each iteration of EM gains, as the two divergences that it is the sum of.

    On a logarithmic axis, of iterations from 1: the KL of the e-projection (responsibilities), that
    of the m-projection (the model), and their sum beside the gain itself, marked.

    Args:
      ax: the Axes to draw on.
      gains: an account of `em.projection_gains`.

    Raises:
      ValueError: it has no iteration that gains.

    Examples:
      >>> from matplotlib.figure import Figure
      >>> zero, one = np.zeros(2), np.ones(1)
      >>> ax = Figure().add_subplot()
      >>> projection_gains(ax, ProjectionGains(np.array([-9.0, -7.0]), zero, one, one, None))
      >>> ax.get_yscale()
      'log'
    """
    latent, model = np.asarray(gains.latent_kls), np.asarray(gains.model_kls)
    total, steps = np.asarray(gains.gains), np.arange(1, len(latent) + 1)
    if not (latent + model > 0).any():
        raise ValueError(
            "gains must have an iteration that gains; got none. Start further from the maximum."
        )
    shown = lambda values: np.where(values > 0, values, np.nan)
    ax.plot(
        steps,
        shown(latent),
        linewidth=2,
        label="E: KL of responsibilities",
        **E_STROKE._asdict(),
    )
    ax.plot(steps, shown(model), linewidth=2, label="M: KL of the model", **M_STROKE._asdict())
    ax.plot(steps, shown(latent + model), color="0.4", linewidth=1, label="their sum")
    ax.plot(
        *(steps, shown(total), "o"),
        color=FISHER_STROKE.color,
        markeredgecolor="white",
        markersize=6,
        label=f"gain in log-{'posterior' if np.any(gains.log_priors) else 'likelihood'}",
    )
    ax.set(xlabel="iteration", ylabel="nats", yscale="log")
    ax.grid(alpha=0.3)
    ax.legend(frameon=False)


def model_selection(ax: "Axes", selection: ModelSelection) -> None:
    """Draw the criteria over the number of components, each above its least, which is marked.

    Args:
      ax: the Axes to draw on.
      selection: a result of `em.model_selection`.

    Examples:
      >>> import jax
      >>> from matplotlib.figure import Figure
      >>> from igeojax import em, families
      >>> x = jax.numpy.array([1, 2, 1, 2, 30, 32, 31, 29])
      >>> found = em.model_selection(families.Poisson(), x, (1, 2), key=jax.random.key(0))
      >>> ax = Figure().add_subplot()
      >>> model_selection(ax, found)
      >>> [text.get_text() for text in ax.get_legend().get_texts()]
      ['BIC: 2', 'AIC: 2', 'ICL: 2']
    """
    counts = np.asarray(selection.num_components)
    for name, stroke in zip(CRITERIA, (E_STROKE, M_STROKE, FISHER_STROKE), strict=True):
        values = np.asarray(getattr(selection, name))
        least = int(np.nanargmin(values))
        label = f"{name.upper()}: {counts[least]}"
        ax.plot(counts, values - values[least], linewidth=2, label=label, **stroke._asdict())
        ax.plot(
            *(counts[least : least + 1], [0.0], "o"),
            color=stroke.color,
            markeredgecolor="white",
            markersize=9,
            zorder=3,
        )
    ax.set(xlabel="components", ylabel="above the least (2 nats)", xticks=counts)
    ax.grid(alpha=0.3)
    ax.legend(frameon=False, title="least at")
