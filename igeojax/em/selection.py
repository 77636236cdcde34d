"""How many components: fits of several numbers side by side, and the criteria that choose."""

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Int, Key

from igeojax._core import checks
from igeojax.em._data import checked_rows
from igeojax.em.mixture import Mixture, MixtureFit
from igeojax.em.priors import MixturePrior
from igeojax.families.base import ExponentialFamily

CRITERIA = ("bic", "aic", "icl")
"""Names of the criteria; lower is better."""


class ModelSelection(NamedTuple):
    """Result of `model_selection`: one entry for each number of components.

    `log_likelihood`, `bic`, `aic`, `icl`: of the fit, as totals over the (weighted) data. `gap`:
    mean log-likelihood gained over one component, nats an observation. `mixtures`, `fits`: the
    models and their fits. `criterion`: the one that `best` goes by.
    """

    num_components: Int[np.ndarray, "models"]
    log_likelihood: Float[np.ndarray, "models"]
    bic: Float[np.ndarray, "models"]
    aic: Float[np.ndarray, "models"]
    icl: Float[np.ndarray, "models"]
    gap: Float[np.ndarray, "models"]
    mixtures: tuple[Mixture, ...]
    fits: tuple[MixtureFit, ...]
    criterion: str

    @property
    def best(self) -> int:
        """Index of the model of least criterion, among those that are known."""
        return int(np.nanargmin(getattr(self, self.criterion)))

    @property
    def mixture(self) -> Mixture:
        """The best model."""
        return self.mixtures[self.best]

    @property
    def fit(self) -> MixtureFit:
        """Its fit."""
        return self.fits[self.best]

    def table(self) -> str:
        """The models as lines of text; a star marks the least of each criterion.

        Returns:
          A header and a line a model.

        Examples:
          >>> from igeojax import families
          >>> x = jax.numpy.array([1, 2, 1, 2, 30, 32, 31, 29])
          >>> found = model_selection(families.Poisson(), x, (1, 2), key=jax.random.key(0))
          >>> [line.split()[0] for line in found.table().splitlines()]
          ['K', '1', '2']
        """
        header = f"{'K':>3}  {'log-likelihood':>14}  {'gap':>9}"
        lines = [header + "".join(f"  {name:>13} " for name in CRITERIA) + "  iterations"]
        least = {name: np.nanargmin(getattr(self, name)) for name in CRITERIA}
        for index, count in enumerate(self.num_components):
            line = f"{count:3d}  {self.log_likelihood[index]:14.2f}  {self.gap[index]:9.4f}"
            for name in CRITERIA:
                star = "*" if least[name] == index else " "
                line += f"  {getattr(self, name)[index]:13.2f}{star}"
            end = self.fits[index]
            line += f"  {int(end.num_iterations):10d}"
            lines.append(line + ("" if bool(end.converged) else "  not converged"))
        return "\n".join(lines)


def model_selection(
    family: ExponentialFamily,
    data: Any,
    num_components: Iterable[int] = range(1, 9),
    *,
    key: Key[Array, ""],
    weights: ArrayLike | None = None,
    criterion: str = "bic",
    prior: Callable[[Mixture], MixturePrior] | None = None,
    tied: bool = False,
    missing: bool = False,
    **fit_options: Any,
) -> ModelSelection:
    """Fit mixtures of several numbers of components, and compare them with one.

    Costs the fits, one after another, and a pass over the data for each; data are arrays in memory.

    Args:
      family: the family of the components.
      data: observations of shape `(N,) + event_shape`; of a product a tuple of them.
      num_components: the numbers to try, each at least 1.
      key: a PRNG key.
      weights: non-negative, shape `(N,)`; None weighs all alike.
      criterion: `"bic"` (a density), `"icl"` (clusters) or `"aic"` (prediction).
      prior: function that makes the prior of a mixture, `lambda mixture: em.data_prior(mixture, x)`
        for one, with which no component can collapse; None for maximum likelihood.
      tied: see `Mixture`.
      missing: see `Mixture`.
      **fit_options: those of `Mixture.fit`, `num_restarts` for one. Of a `checkpoint` each number
        of components has a folder of its own, `components-3` for one.

    Returns:
      A `ModelSelection`. A fit that collapsed is left out of the choice where another did not: its
      criteria are nan.

    Raises:
      TypeError: arguments of a wrong kind: one number of components, a prior that is no function,
        `Chunks`.
      ValueError: no number of components, an unknown criterion, or what `Mixture.fit` refuses.

    References:
      [Schwarz1978] (`bic`); [Akaike1974] (`aic`); [Biernacki2000] (`icl`).

    Examples:
      >>> from igeojax import families
      >>> x = jax.numpy.array([1, 2, 1, 2, 30, 32, 31, 29])
      >>> found = model_selection(families.Poisson(), x, (1, 2, 3), key=jax.random.key(0))
      >>> found.mixture.num_components
      2
    """
    checks.require_option("criterion", criterion, CRITERIA)
    if not isinstance(num_components, Iterable):
        raise TypeError(
            f"num_components must be the numbers to try; got {num_components!r}. Pass (3,) for one "
            "of them, or range(1, 9)."
        )
    counts = tuple(num_components)
    if not counts:
        raise ValueError("num_components must name numbers to try; got none. Try range(1, 9).")
    if prior is not None and not callable(prior):
        raise TypeError(
            "prior must be a function that makes the prior of a mixture; got "
            f"{type(prior).__name__}. Each number of components has its own: pass "
            "lambda mixture: em.data_prior(mixture, data)."
        )
    mixtures = tuple(Mixture(family, count, tied=tied, missing=missing) for count in counts)

    data, rows = checked_rows(mixtures[0], data)
    folder = fit_options.pop("checkpoint", None)

    def fitted(mixture: Mixture, key: Array) -> MixtureFit:
        options = {"prior": None if prior is None else prior(mixture), **fit_options}
        if mixture.num_components == 1:
            # All its starts are the same.
            options["num_restarts"] = 1
        if folder is not None:
            options["checkpoint"] = Path(folder) / f"components-{mixture.num_components}"
        return mixture.fit(data, key=key, weights=weights, **options)

    fits = tuple(map(fitted, mixtures, jax.random.split(key, len(counts))))
    one = Mixture(family, 1, tied=tied, missing=missing)
    single = fits[counts.index(1)] if 1 in counts else fitted(one, key)
    most = fit_options.get("max_iterations", 200)
    sound = np.array([bool(fit.converged | (fit.num_iterations == most)) for fit in fits])
    known = sound | ~sound.any()
    values = {
        name: np.where(known, np.array([float(getattr(fit, name)) for fit in fits]), np.nan)
        for name in ("log_likelihood", "bic", "aic")
    }
    pairs = zip(mixtures, fits, strict=True)
    criteria = {"weights": weights, "fixed": fit_options.get("fixed", ())}
    icl = np.array([float(mixture.icl(fit.params, data, **criteria)) for mixture, fit in pairs])
    total = rows if weights is None else float(np.sum(np.asarray(weights)))
    return ModelSelection(
        np.array(counts),
        **values,
        icl=np.where(known, icl, np.nan),
        gap=(values["log_likelihood"] - float(single.log_likelihood)) / total,
        mixtures=mixtures,
        fits=fits,
        criterion=criterion,
    )
