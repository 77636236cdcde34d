"""Missing entries, marked by nan: what `families.missing` asks of a family."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike


class MissingEntries:
    """Observations that are missing as a whole, of families without marginals in closed form."""

    def _filled(self: Any, x: Any) -> Any:
        """Observations with one inside the support in the place of each that is missing.

        An observation is missing as a whole; a family whose marginals have a closed form overrides
        these methods, and then single entries may be.
        """
        x = self._data(x)
        event = (...,) + (None,) * len(self.event_shape)
        return jnp.where(self._is_missing(x)[event], jnp.asarray(self._inside, x.dtype), x)

    def _is_missing(self: Any, x: ArrayLike) -> Array:
        """Whether nothing is observed of an observation."""
        return jnp.isnan(jnp.asarray(x)).all(axis=tuple(range(-len(self.event_shape), 0)))

    def _observed_log_density(self: Any, theta: Any, x: Any) -> Array:
        """Log-density of the observed entries, the missing ones integrated out."""
        value = self.log_density(theta, self._filled(x))
        missing = self._is_missing(x)
        return jnp.where(
            missing.reshape((1,) * (value.ndim - missing.ndim) + missing.shape), 0.0, value
        )

    def _expected_statistics(self: Any, theta: Any, x: Any) -> Any:
        """Expectation of `T(x)` given the observed entries."""
        theta, filled = self._aligned(theta, self._filled(x))
        eta, missing = self.mean_from_natural(theta), self._is_missing(x)
        batch = (1,) * (len(self._data_batch_shape(filled)) - missing.ndim) + missing.shape

        def chosen(mean: Array, seen: Array) -> Array:
            mask = missing.reshape(batch + (1,) * (seen.ndim - len(batch)))
            return jnp.where(mask, mean, seen.astype(mean.dtype))

        return jax.tree.map(chosen, eta, self.statistics(filled))
