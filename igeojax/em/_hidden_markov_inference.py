"""Parameters of a hidden Markov model, and what it says of sequences when they are known."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from igeojax._core import checks
from igeojax.chains import hmm
from igeojax.em import _hidden_markov_steps as _steps
from igeojax.em import _transitions
from igeojax.em._sequences import Sequences, sequences_of
from igeojax.em.hidden_markov_parameters import HiddenMarkovPoint
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.safe import log_at_zero


class Forecast(NamedTuple):
    """What is to come, at each step ahead: laws of the states, and moments of the observations.

    `mean`, `variance`: of the predictive mixture, entry by entry, `(*batch, num_steps) +
    event_shape`.
    """

    states: Float[Array, "*batch num_steps states"]
    mean: Any
    variance: Any


class HiddenMarkovInference:
    """Methods of `HiddenMarkovModel` that take parameters as they are."""

    family: ExponentialFamily
    num_states: int
    stationary_start: bool
    missing: bool
    allowed: Any

    def point(
        self, initial: ArrayLike | None, transition: ArrayLike, emissions: Any
    ) -> HiddenMarkovPoint:
        """Parameters from probabilities and natural parameters.

        Args:
          initial: probabilities of the first state; None for the stationary law of `transition`.
          transition: probabilities of moves `[from, to]`.
          emissions: natural parameters of batch shape `(num_states,)`.

        Returns:
          The parameters.

        Raises:
          TypeError: `emissions` are not a point of the family.
          ValueError: wrong sizes, values that are no probabilities or forbidden, or `initial` given
            to a model with a stationary start.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Poisson()
          >>> model = em.HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([1.0, 9.0])
          >>> params = model.point(None, [[0.9, 0.1], [0.3, 0.7]], rates)
          >>> jnp.exp(params.log_initial).round(6).tolist()
          [0.75, 0.25]
        """
        size = self.num_states
        transition = checks.floating("transition", transition)
        if transition.shape != (size, size):
            raise ValueError(
                f"transition must have shape {(size, size)}; got {transition.shape}. Entry [i, j] "
                "is the probability of j after i."
            )
        checks.require_probabilities("transition", transition)
        if initial is not None and self.stationary_start:
            raise ValueError(
                "initial must be None where stationary_start is True; got an array. It is the "
                "stationary law of transition."
            )
        law = _transitions.stationary_law(transition) if initial is None else initial
        initial = checks.floating("initial", law)
        checks.require_trailing_shape("initial", initial, (size,))
        checks.require_probabilities("initial", initial)
        for name, values, mask in zip(
            ("initial", "transition"), (initial, transition), self.allowed(), strict=True
        ):
            checks.require_values(
                f"{name} where its mask is False",
                values,
                lambda v, mask=mask: (v == 0) | mask,
                "0",
                "Set what is forbidden to 0 and divide by the sum.",
            )
        batch = self.family.batch_shape(emissions)
        if batch != (size,):
            raise ValueError(
                f"emissions must have batch shape ({size},); got {batch}. Stack one natural "
                "parameter for each state."
            )
        dtype = jax.tree.leaves(emissions)[0].dtype
        logs = [log_at_zero(values).astype(dtype) for values in (initial, transition)]
        return HiddenMarkovPoint(logs[0], logs[1], emissions)

    def log_likelihood(
        self,
        params: HiddenMarkovPoint,
        x: Any,
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
    ) -> Float[Array, "*batch"]:
        """Log-density of each sequence, in nats. `O(T K^2)` and `T K` densities.

        Args:
          params: the parameters.
          x: observations.
          length: number of steps of each sequence.
          mask: False at padding.

        Returns:
          Values; `-inf` where no path of states can give the observations, 0 for an empty sequence.

        Raises:
          TypeError: an argument of a wrong kind.
          ValueError: shapes do not fit, or observations off the support.

        References:
          [Rabiner1989] equation (21).

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Bernoulli()
          >>> model = em.HiddenMarkovModel(family, 1)
          >>> params = model.point([1.0], [[1.0]], family.natural_from_params([0.5]))
          >>> round(float(jnp.exp(model.log_likelihood(params, jnp.array([0, 1, 1])))), 6)
          0.125
        """
        return self._inferred("log_likelihood", params, x, length, mask)

    def smooth(
        self,
        params: HiddenMarkovPoint,
        x: Any,
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
    ) -> hmm.Smoothed:
        """Forward-backward: laws of the states given all observations, and expected counts.

        Args:
          params: as in `log_likelihood`.
          x: as in `log_likelihood`.
          length: as in `log_likelihood`.
          mask: as in `log_likelihood`.

        Returns:
          `Smoothed` with `states (*batch, T, K)`; all 0 where the observations are impossible.

        Raises:
          TypeError: as `log_likelihood`.
          ValueError: as `log_likelihood`.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Poisson()
          >>> model = em.HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([1.0, 9.0])
          >>> params = model.point(None, [[0.9, 0.1], [0.1, 0.9]], rates)
          >>> found = model.smooth(params, jnp.array([4, 3, 9]))
          >>> [round(p, 3) for p in found.states[:, 1].tolist()]
          [0.803, 0.803, 1.0]
        """
        return self._inferred("smooth", params, x, length, mask)

    def predict(
        self,
        params: HiddenMarkovPoint,
        x: Any,
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
    ) -> hmm.Path:
        """The most likely path of states given all observations (Viterbi).

        Args:
          params: as in `log_likelihood`.
          x: as in `log_likelihood`.
          length: as in `log_likelihood`.
          mask: as in `log_likelihood`.

        Returns:
          States, -1 at padding and where the observations are impossible, and the joint
          log-density in nats.

        Raises:
          TypeError: as `log_likelihood`.
          ValueError: as `log_likelihood`.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Poisson()
          >>> model = em.HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([1.0, 9.0])
          >>> params = model.point(None, [[0.9, 0.1], [0.1, 0.9]], rates)
          >>> model.predict(params, jnp.array([1, 0, 9])).states.tolist()
          [0, 0, 1]
        """
        return self._inferred("viterbi", params, x, length, mask)

    def forecast(
        self,
        params: HiddenMarkovPoint,
        x: Any,
        num_steps: int,
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
    ) -> Forecast:
        """What is to come after the last step, given all observations.

        The predictive law of the observation `h` steps ahead is a mixture of the emissions:
        `model.mixture.point(forecast.states[h - 1], params.emissions)`.

        Args:
          params: as in `log_likelihood`.
          x: as in `log_likelihood`.
          num_steps: how many steps ahead.
          length: as in `log_likelihood`.
          mask: as in `log_likelihood`.

        Returns:
          A `Forecast`.

        Raises:
          TypeError: as `log_likelihood`.
          ValueError: as `log_likelihood`.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Poisson()
          >>> model = em.HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([1.0, 9.0])
          >>> params = model.point(None, [[0.9, 0.1], [0.1, 0.9]], rates)
          >>> found = model.forecast(params, jnp.array([1, 0, 9]), 2)
          >>> [round(mean, 2) for mean in found.mean.tolist()]
          [8.2, 7.56]
        """
        checks.require_count("num_steps", num_steps, minimum=0)
        states = self._inferred("forecast", params, x, length, mask, num_steps=num_steps)
        axis = states.ndim - 1

        def moments(mean: Array, variance: Array) -> tuple[Array, Array]:
            weights = states.reshape(states.shape + (1,) * (mean.ndim - 1))
            each = (
                mean.reshape((1,) * axis + mean.shape),
                variance.reshape((1,) * axis + mean.shape),
            )
            center = jnp.sum(weights * each[0], axis=axis)
            gap = each[0] - jnp.expand_dims(center, axis)
            return center, jnp.sum(weights * (each[1] + gap * gap), axis=axis)

        of_state = self.family.mean(params.emissions), self.family.variance(params.emissions)
        leaves = [jax.tree.leaves(part) for part in of_state]
        pairs = [moments(*leaf) for leaf in zip(*leaves, strict=True)]
        mean, variance = (
            jax.tree.unflatten(jax.tree.structure(of_state[0]), part)
            for part in zip(*pairs, strict=True)
        )
        return Forecast(states, mean, variance)

    def sample(
        self,
        key: Key[Array, ""],
        params: HiddenMarkovPoint,
        num_steps: int,
        shape: tuple[int, ...] = (),
    ) -> tuple[Int[Array, "*shape T"], Any]:
        """Sequences drawn from the model, and their states.

        Args:
          key: a PRNG key.
          params: the parameters.
          num_steps: length of the sequences.
          shape: shape of the batch of sequences.

        Returns:
          States, and observations of shape `shape + (num_steps,) + event_shape`.

        Raises:
          TypeError: `key` is no PRNG key, `params` of a wrong kind, or `shape` not a tuple.
          ValueError: concrete emissions outside the domain.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Poisson()
          >>> model = em.HiddenMarkovModel(family, 2)
          >>> rates = family.natural_from_params([0.01, 1000.0])
          >>> params = model.point([1.0, 0.0], [[0.0, 1.0], [1.0, 0.0]], rates)
          >>> states, x = model.sample(jax.random.key(0), params, 4)
          >>> states.tolist(), (x > 500).tolist()
          ([0, 1, 0, 1], [False, True, False, True])
        """
        checks.require_key(key)
        checks.require_count("num_steps", num_steps, minimum=0)
        checks.require_shape(shape)
        self._require_params(params)
        _steps.require_possible_emissions(self, "params", params)
        return _steps.drawn(self, key, params, num_steps=num_steps, shape=shape)

    def _inferred(
        self,
        name: str,
        params: HiddenMarkovPoint,
        x: Any,
        length: ArrayLike | None,
        mask: ArrayLike | None,
        **options: Any,
    ) -> Any:
        """What a function of `igeojax.chains.hmm` says of the sequences."""
        self._require_params(params)
        sequences = self._sequences(x, length, mask)
        return _steps.inferred(self, params, sequences, name=name, **options)

    def _sequences(self, x: Any, length: ArrayLike | None, mask: ArrayLike | None) -> Sequences:
        return sequences_of(self.family, x, length, mask, missing=self.missing)

    def _require_params(self, params: HiddenMarkovPoint) -> None:
        """Check parameters of this model.

        Raises:
          TypeError: they are anything but a `HiddenMarkovPoint` of the family.
          ValueError: they have another number of states.
        """
        if not isinstance(params, HiddenMarkovPoint):
            raise TypeError(
                f"params must be a HiddenMarkovPoint; got {type(params).__name__}. Make it with "
                "HiddenMarkovModel.point, or take the params of a fit."
            )
        size = (self.num_states,)
        found = (
            jnp.shape(params.log_initial),
            jnp.shape(params.log_transition),
            self.family.batch_shape(params.emissions),
        )
        if found != (size, size * 2, size):
            raise ValueError(
                f"params must be of {self.num_states} states; got shapes {found[0]} of "
                f"log_initial, {found[1]} of log_transition and batch shape {found[2]} of "
                "emissions. Make them with HiddenMarkovModel.point."
            )
