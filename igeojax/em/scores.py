"""What is asked of a fitted mixture: labels, scores, and criteria that choose among fits."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax.em._data import checked_rows, checked_weights, require_weight
from igeojax.em._maximization import require_fixable


class MixtureScores:
    """Methods of `Mixture` that read its parameters, under the names of scikit-learn.

    Examples:
      >>> from igeojax import em
      >>> issubclass(em.Mixture, MixtureScores)
      True
    """

    family: Any
    e_step: Any
    _dimension: Any
    _require_params: Any

    def predict_proba(self, params: Any, x: Any) -> Float[Array, "data components"]:
        """Posterior probabilities of the components: the responsibilities of the E-step.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.

        Returns:
          Rows that sum to one.

        Raises:
          TypeError: `params` or `x` of a wrong kind, `Chunks` for one.
          ValueError: `x` of other axes, or off the support.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> params = em.Mixture(family, 2).point(
          ...     [0.5, 0.5], family.natural_from_params([-1.0, 1.0], 1.0)
          ... )
          >>> em.Mixture(family, 2).predict_proba(params, jnp.zeros(1)).tolist()
          [[0.5, 0.5]]
        """
        self._require_params(params)
        return _posterior(self, params, checked_rows(self, x)[0])[0]

    def predict(self, params: Any, x: Any) -> Int[Array, "data"]:
        """Number of the component of largest posterior probability.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.

        Returns:
          Labels from 0.

        Raises:
          TypeError: `params` or `x` of a wrong kind, `Chunks` for one.
          ValueError: `x` of other axes, or off the support.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> params = em.Mixture(family, 2).point(
          ...     [0.5, 0.5], family.natural_from_params([-1.0, 1.0], 1.0)
          ... )
          >>> em.Mixture(family, 2).predict(params, jnp.array([-3.0, 3.0])).tolist()
          [0, 1]
        """
        return jnp.argmax(self.predict_proba(params, x), axis=-1)

    def score(self, params: Any, x: Any, weights: ArrayLike | None = None) -> Float[Array, ""]:
        """Mean log-likelihood, in nats an observation.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.
          weights: non-negative, shape `(N,)`; None weighs all alike.

        Returns:
          The weighted mean of the log-densities.

        Raises:
          TypeError: `params` or `x` of a wrong kind, `Chunks` for one.
          ValueError: `x` of other axes, off the support or empty; bad weights, or all of them 0.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> params = em.Mixture(family, 1).point([1.0], family.natural_from_params([0.0], 1.0))
          >>> round(float(em.Mixture(family, 1).score(params, jnp.zeros(3))), 6)
          -0.918939
        """
        total, log_likelihood, _ = self._summary(params, x, weights)
        return log_likelihood / total

    def aic(
        self,
        params: Any,
        x: Any,
        weights: ArrayLike | None = None,
        *,
        fixed: tuple[str | int, ...] = (),
    ) -> Float[Array, ""]:
        """Akaike's criterion `2 dimension - 2 log-likelihood`; lower is better.

        The dimension is that of what is left to learn: components of weight 0 have no parameters.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.
          weights: non-negative, shape `(N,)`; None weighs all alike.
          fixed: what was not learned, see `Mixture.fit`.

        Returns:
          The criterion, in twice nats.

        Raises:
          TypeError: `params` or `x` of a wrong kind, `Chunks` for one.
          ValueError: `x` of other axes, off the support or empty; bad weights, or all of them 0.

        References:
          [Akaike1974].

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> params = em.Mixture(family, 1).point([1.0], family.natural_from_params([0.0], 1.0))
          >>> round(float(em.Mixture(family, 1).aic(params, jnp.zeros(3))), 6)
          9.513631
        """
        _, log_likelihood, _ = self._summary(params, x, weights)
        return 2 * self._left(params, fixed) - 2 * log_likelihood

    def bic(
        self,
        params: Any,
        x: Any,
        weights: ArrayLike | None = None,
        *,
        fixed: tuple[str | int, ...] = (),
    ) -> Float[Array, ""]:
        """Schwarz's criterion `dimension log N - 2 log-likelihood`; lower is better.

        The dimension is that of what is left to learn, as in `aic`.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.
          weights: non-negative, shape `(N,)`; their sum counts as N. None weighs all alike.
          fixed: what was not learned, see `Mixture.fit`.

        Returns:
          The criterion, in twice nats.

        Raises:
          TypeError: `params` or `x` of a wrong kind, `Chunks` for one.
          ValueError: `x` of other axes, off the support or empty; bad weights, or all of them 0.

        References:
          [Schwarz1978].

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> params = em.Mixture(family, 1).point([1.0], family.natural_from_params([0.0], 1.0))
          >>> round(float(em.Mixture(family, 1).bic(params, jnp.zeros(3))), 6)
          7.710856
        """
        total, log_likelihood, _ = self._summary(params, x, weights)
        return self._left(params, fixed) * jnp.log(total) - 2 * log_likelihood

    def icl(
        self,
        params: Any,
        x: Any,
        weights: ArrayLike | None = None,
        *,
        fixed: tuple[str | int, ...] = (),
    ) -> Float[Array, ""]:
        """Integrated completed likelihood: `bic` plus twice the entropy of the responsibilities.

        Components that overlap cost: it looks for clusters, where `bic` looks for a density.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.
          weights: non-negative, shape `(N,)`; their sum counts as N. None weighs all alike.
          fixed: what was not learned, see `Mixture.fit`.

        Returns:
          The criterion, in twice nats; lower is better.

        Raises:
          TypeError: `params` or `x` of a wrong kind, `Chunks` for one.
          ValueError: `x` of other axes, off the support or empty; bad weights, or all of them 0.

        References:
          [Biernacki2000] eq. (6).

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> mixture = em.Mixture(family, 2)
          >>> params = mixture.point([0.5, 0.5], family.natural_from_params([0.0, 0.0], 1.0))
          >>> x = jnp.zeros(3)
          >>> excess = mixture.icl(params, x) - mixture.bic(params, x)
          >>> round(float(excess / (2 * 3 * jnp.log(2.0))), 6)
          1.0
        """
        total, log_likelihood, entropy = self._summary(params, x, weights)
        return self._left(params, fixed) * jnp.log(total) - 2 * log_likelihood + 2 * entropy

    def _left(self, params: Any, fixed: tuple[str | int, ...]) -> Int[Array, ""]:
        """Number of free parameters of the components that have weight."""
        require_fixable(self, fixed, params)
        return self._dimension(params.log_weights > -jnp.inf, fixed)

    def _summary(self, params: Any, x: Any, weights: Any) -> tuple[Array, Array, Array]:
        """Total weight, log-likelihood and entropy of the responsibilities, in nats."""
        self._require_params(params)
        x, count = checked_rows(self, x)
        weights = checked_weights(weights, count, params.log_weights.dtype)
        require_weight(count, jnp.sum(weights))
        return _summary_of(self, params, x, weights)


@partial(jax.jit, static_argnames=("mixture",))
def _posterior(mixture: Any, params: Any, x: Any) -> tuple[Array, Array]:
    """The E-step in one program."""
    return mixture.e_step(params, x)


@partial(jax.jit, static_argnames=("mixture",))
def _summary_of(mixture: Any, params: Any, x: Any, weights: Array) -> tuple[Array, Array, Array]:
    responsibilities, log_density = mixture.e_step(params, x)
    # An observation of weight 0 does not count, even where its density is 0.
    seen = jnp.where(weights > 0, log_density, 0.0)
    entropy = jnp.sum(jax.scipy.special.entr(responsibilities), axis=-1)
    return jnp.sum(weights), jnp.sum(weights * seen), jnp.sum(weights * entropy)
