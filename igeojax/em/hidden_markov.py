"""Hidden Markov models with emissions of one exponential family, fitted by Baum-Welch.

States follow a Markov chain, and each emits an observation of its own member of the family. The
E-step is forward-backward (`igeojax.chains`), the M-step that of a mixture for the emissions and a
ratio of counts for the laws of the states.
"""

import dataclasses
from collections.abc import Iterable
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Int, Key

from igeojax._core import checks
from igeojax.em import _hidden_markov_fit, _hidden_markov_online, _transitions
from igeojax.em import _hidden_markov_steps as _steps
from igeojax.em._hidden_markov_inference import HiddenMarkovInference
from igeojax.em.expectations import neutral_frames
from igeojax.em.hidden_markov_parameters import (
    HiddenMarkovExpectations,
    HiddenMarkovFit,
    HiddenMarkovPoint,
    HiddenMarkovPrior,
    OnlineFit,
)
from igeojax.em.mixture import Mixture
from igeojax.families.base import ExponentialFamily


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class HiddenMarkovModel(HiddenMarkovInference):
    """A Markov chain over `num_states` hidden states, each with its own member of a family.

    Data have shape `(*batch, T) + event_shape`, of a product a tuple of such arrays. Sequences of
    several lengths: `length (*batch,)`, or a boolean `mask (*batch, T)` that is False at padding.

    Args:
      family: the family of the emissions.
      num_states: number of states.
      initial_mask: booleans, which states may come first; None allows all.
      transition_mask: booleans `[from, to]`, which moves may happen; None allows all. See
        `left_right`.
      stationary_start: whether the law of the first state is the stationary one of the moves.
      missing: whether nan stands for a missing entry (see `igeojax.families.missing`); a step of
        which nothing is observed still takes time. Otherwise nan is an error.

    Raises:
      TypeError: an argument of a wrong kind.
      ValueError: no state, masks of wrong shapes, or a stationary start of moves that do not lead
        from each state to each other one.

    References:
      [Baum1970]; [Rabiner1989].

    Examples:
      >>> from igeojax import families
      >>> model = HiddenMarkovModel(families.Poisson(), 2)
      >>> counts = jnp.array([1, 0, 2, 1, 9, 11, 8, 10, 1, 2, 0, 1])
      >>> result = model.fit(counts, key=jax.random.key(0))
      >>> model.predict(result.params, counts).states.tolist()
      [1, 1, 1, 1, 0, 0, 0, 0, 1, 1, 1, 1]
    """

    family: ExponentialFamily
    num_states: int
    _: dataclasses.KW_ONLY
    initial_mask: Any = None
    transition_mask: Any = None
    stationary_start: bool = False
    missing: bool = False

    Point: ClassVar[type[HiddenMarkovPoint]] = HiddenMarkovPoint
    Expectations: ClassVar[type[HiddenMarkovExpectations]] = HiddenMarkovExpectations

    def __post_init__(self):
        mixture = Mixture(self.family, self.num_states)
        size = mixture.num_components
        for name, shape in (("initial_mask", (size,)), ("transition_mask", (size, size))):
            mask = _transitions.static_mask(name, getattr(self, name), shape)
            object.__setattr__(self, name, mask)
        if not self.stationary_start:
            return
        if self.initial_mask is not None or not _transitions.is_irreducible(self.allowed()[1]):
            raise ValueError(
                "stationary_start needs a transition_mask that leads from each state to each other "
                "one, and no initial_mask; got masks without. Allow more, or drop the option."
            )

    @property
    def mixture(self) -> Mixture:
        """The mixture of the same components, without the memory of the chain."""
        return Mixture(self.family, self.num_states)

    @property
    def dimension(self) -> int:
        """Number of free parameters."""
        return self._dimension(())

    def _dimension(self, fixed: tuple[str | int, ...]) -> int:
        """Number of free parameters, but for what is fixed."""
        first, moves = self.allowed()
        kept = {entry for entry in fixed if not isinstance(entry, str)}
        states = 0 if "emissions" in fixed else self.num_states - len(kept)
        total = states * self.family.dimension
        if not self.stationary_start and "initial" not in fixed:
            total += int(first.sum()) - 1
        return total if "transition" in fixed else total + int((moves.sum(1) - 1).sum())

    def allowed(self) -> tuple[Bool[np.ndarray, " states"], Bool[np.ndarray, "states states"]]:
        """Which states may come first, and which moves may happen.

        Returns:
          The two masks as arrays.

        Examples:
          >>> from igeojax import families
          >>> mask = jnp.array([[True, True], [False, True]])
          >>> model = HiddenMarkovModel(families.Poisson(), 2, transition_mask=mask)
          >>> model.allowed()[1].tolist()
          [[True, True], [False, True]]
        """
        size, masks = self.num_states, (self.initial_mask, self.transition_mask)
        shapes = (size,), (size, size)
        first, moves = (
            np.ones(shape, bool) if mask is None else np.asarray(mask)
            for mask, shape in zip(masks, shapes, strict=True)
        )
        return first, moves

    def expectations(
        self,
        params: HiddenMarkovPoint,
        x: Any,
        weights: ArrayLike | None = None,
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
        chunk_size: int | None = None,
    ) -> HiddenMarkovExpectations:
        """E-step summed over the sequences: all that the M-step needs, and additive.

        Args:
          params: the parameters.
          x: observations.
          weights: non-negative, one a sequence, shape `batch`; None weighs all alike.
          length: number of steps of each sequence.
          mask: False at padding.
          chunk_size: sequences taken at once, which bounds the memory; None takes all.

        Returns:
          The sums. An impossible sequence has no counts, and log-likelihood `-inf`.

        Raises:
          TypeError: as `log_likelihood`.
          ValueError: as `log_likelihood`, bad weights or a bad chunk size.

        References:
          [Rabiner1989] equations (27) and (37)-(40).

        Examples:
          >>> from igeojax import families
          >>> family = families.Poisson()
          >>> model = HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([1.0, 9.0])
          >>> params = model.point(None, [[0.9, 0.1], [0.1, 0.9]], rates)
          >>> sums = model.expectations(params, jnp.array([1, 0, 9]))
          >>> round(float(sums.transitions.sum()), 6), round(float(sums.emissions.counts.sum()), 6)
          (2.0, 3.0)
        """
        self._require_params(params)
        if chunk_size is not None:
            checks.require_count("chunk_size", chunk_size)
        sequences = self._sequences(x, length, mask)
        dtype = params.log_initial.dtype
        weights = _steps.sequence_weights(weights, sequences, dtype)
        frames = neutral_frames(self.mixture, dtype)
        return _steps.counted(self, params, sequences.flat(), weights, frames, chunk_size)

    def maximized(
        self,
        expectations: HiddenMarkovExpectations,
        *,
        previous: HiddenMarkovPoint | None = None,
        prior: HiddenMarkovPrior | None = None,
        fixed: tuple[str | int, ...] = (),
    ) -> HiddenMarkovPoint:
        """M-step on sums: laws of the states from counts, emissions from mean statistics.

        With a stationary start the transitions have no closed form: they take one step uphill from
        `previous`, so that Baum-Welch stays monotone.

        Args:
          expectations: sums over all sequences.
          previous: the parameters before; kept by states without mass, and where `fixed`.
          prior: None, or the conjugate prior: then the parameters of largest posterior density.
          fixed: what stays as in `previous`: `"initial"`, `"transition"`, `"emissions"`, or numbers
            of states whose emissions stay.

        Returns:
          The new parameters.

        Raises:
          TypeError: `prior` is no `HiddenMarkovPrior`.
          ValueError: `fixed` without `previous`, or with an unknown entry; a prior of other shapes.

        Examples:
          >>> from igeojax import families
          >>> family = families.Poisson()
          >>> model = HiddenMarkovModel(family, 1)
          >>> params = model.point([1.0], [[1.0]], family.natural_from_params([1.0]))
          >>> sums = model.expectations(params, jnp.array([1, 2, 6]))
          >>> round(float(jnp.exp(model.maximized(sums).emissions.x[0])), 6)
          3.0
        """
        _steps.require_fixable(self, fixed, previous)
        prior = _hidden_markov_fit.checked_prior(self, prior)
        frames = neutral_frames(self.mixture, expectations.initial.dtype)
        return _steps.updated(self, expectations, frames, previous, prior, fixed)

    def fit(
        self,
        data: Any,
        *,
        key: Key[Array, ""] | None = None,
        weights: ArrayLike | None = None,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
        initialization: str | HiddenMarkovPoint = "k-means++",
        num_restarts: int = 1,
        tolerance: ArrayLike = 1e-6,
        max_iterations: int = 200,
        prior: HiddenMarkovPrior | None = None,
        fixed: tuple[str | int, ...] = (),
        chunk_size: int | None = None,
        progress: bool = False,
    ) -> HiddenMarkovFit:
        """Maximum likelihood, or posterior density, by Baum-Welch in one compiled loop.

        Stops when a step gains less than `tolerance`. A step that makes the likelihood nan (a
        state collapsing onto too few observations) is not taken, and the fit returns the step
        before with `converged` False; restarts that end so are passed over while there is another.
        Probabilities of states that start at 0 stay 0. A class that a state loses has probability 0
        there; if it is the last one, the reference of the chart, `num_classes` units of rounding.
        Normal laws are fitted to standardized data, so that offsets and units cost no more digits
        than the observations and the parameters themselves lose. Of `Mixture.fit` there are here
        neither SQUAREM nor the divergences of the projections (`em.projections`), which are of
        independent observations.

        Args:
          data: observations.
          key: a PRNG key; needed unless a starting point is given or taken from `"segments"`.
          weights: non-negative, one a sequence.
          length: number of steps of each sequence.
          mask: False at padding.
          initialization: `"k-means++"` (nearest of k-means++ seeds in the first statistic),
            `"random"` (responsibilities uniform on the simplex), `"segments"` (each sequence cut
            into equal parts, for left-right models), or a `HiddenMarkovPoint` to start at.
          num_restarts: independent starts, run one after the other; the best wins.
          tolerance: least gain in mean log-likelihood (nats an observation) to go on.
          max_iterations: most steps.
          prior: None, or a conjugate prior.
          fixed: what stays as in the start, as in `maximized`.
          chunk_size: sequences taken at once; None takes all.
          progress: print the iteration and the mean log-likelihood to stderr as it runs.

        Returns:
          A `HiddenMarkovFit`.

        Raises:
          TypeError: data of a wrong kind, or no `key` where one is needed.
          ValueError: data off the support, nothing observed, bad weights, degenerate data, an
            unknown initialization, restarts from one given point, or sequences that are impossible
            under it.

        References:
          [Baum1970] theorem 2.1 (monotonicity); [Rabiner1989] section III.C.

        Examples:
          >>> from igeojax import families
          >>> model = HiddenMarkovModel(families.Normal(), 2)
          >>> x = jnp.array([0.1, -0.1, 0.2, 5.1, 4.9, 5.2, 5.0, 0.0, -0.2])
          >>> result = model.fit(x, key=jax.random.key(0))
          >>> bool(jnp.all(jnp.diff(result.log_likelihoods[:int(result.num_iterations)]) >= -1e-12))
          True
        """
        sequences = self._sequences(data, length, mask)
        end, total, log_prior = _hidden_markov_fit.fitted(
            self,
            sequences,
            key=key,
            weights=weights,
            start=initialization,
            num_restarts=num_restarts,
            tolerance=tolerance,
            max_iterations=max_iterations,
            prior=prior,
            fixed=fixed,
            chunk_size=chunk_size,
            progress=progress,
        )
        log_likelihood = end.objective * total - log_prior
        free = self._dimension(fixed)
        return HiddenMarkovFit(
            params=end.params,
            converged=end.converged,
            num_iterations=end.num_iterations,
            log_likelihoods=end.history,
            log_likelihood=log_likelihood,
            bic=free * jnp.log(total) - 2 * log_likelihood,
            aic=2 * free - 2 * log_likelihood,
        )

    def fit_online(
        self,
        batches: Iterable[Any],
        start: HiddenMarkovPoint | OnlineFit,
        *,
        decay: float = 0.6,
        prior: HiddenMarkovPrior | None = None,
        fixed: tuple[str | int, ...] = (),
    ) -> OnlineFit:
        """Online EM over a stream of batches of sequences: each is seen once and let go.

        After batch `n` the averages move by `n^-decay` toward the expectations of the batch, and
        the parameters maximize them. A step out of the domain is not taken. Batches of one shape
        share one compiled step.

        Args:
          batches: iterable of `SequenceBatch`, or of data alone.
          start: parameters to start at, or the `OnlineFit` to go on from.
          decay: between 0.5 and 1, above 0.5: the larger, the less new batches count.
          prior: None, or a conjugate prior.
          fixed: what stays as in the start, as in `maximized`.

        Returns:
          An `OnlineFit`.

        Raises:
          TypeError: an argument of a wrong kind.
          ValueError: `decay` out of range, or a batch as in `expectations`.

        References:
          [CappeMoulines2009] equations (7)-(8), an observation being a sequence.

        Examples:
          >>> from igeojax import families
          >>> family = families.Poisson()
          >>> model = HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([1.0, 9.0])
          >>> start = model.point(None, [[0.9, 0.1], [0.1, 0.9]], rates)
          >>> stream = (jnp.array([[1, 0, 9], [8, 7, n]]) for n in range(4))
          >>> model.fit_online(stream, start).num_batches
          4
        """
        return _hidden_markov_online.fitted(
            self, batches, start, decay=decay, prior=prior, fixed=fixed
        )
