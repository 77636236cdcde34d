"""Weights of observations, and means under them."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from igeojax._core import checks


def checked_weights(weights: ArrayLike, size: int) -> Array:
    """Weights of observations, checked, as they are.

    Args:
      weights: non-negative, shape `(size,)`.
      size: number of observations.

    Returns:
      The weights.

    Raises:
      TypeError: they are not real.
      ValueError: wrong shape, or a negative or non-finite entry.

    Examples:
      >>> checked_weights([1.0, 3.0], 2).tolist()
      [1.0, 3.0]
    """
    weights = checks.floating("weights", weights)
    if weights.shape != (size,):
        raise ValueError(
            f"weights must have shape ({size},), one for each observation; got {weights.shape}. "
            "Pass None to weigh all alike."
        )
    checks.require_values(
        "weights",
        weights,
        lambda w: np.isfinite(w) & (w >= 0),
        "finite and non-negative",
        "Drop observations instead of giving them negative weight.",
    )
    return weights


def normalized_weights(weights: ArrayLike | None, size: int) -> Array | None:
    """Weights of observations, checked and scaled to sum to one; None passes through.

    Args:
      weights: non-negative, shape `(size,)`, or None.
      size: number of observations.

    Returns:
      The scaled weights; nan where a traced sum is 0.

    Raises:
      ValueError: wrong shape, a negative or non-finite entry, or a zero sum.

    Examples:
      >>> normalized_weights([1.0, 3.0], 2).tolist()
      [0.25, 0.75]
    """
    if weights is None:
        return None
    weights = checked_weights(weights, size)
    total = jnp.sum(weights)
    checks.require_positive("the sum of weights", total, "Give at least one positive weight.")
    return weights / total


def weighted_mean(values: Array, weights: Array | None) -> Array:
    """Mean over axis 0 with weights that sum to one, or plain.

    Args:
      values: shape `(N, ...)`.
      weights: shape `(N,)`, summing to one, or None.

    Returns:
      The mean, shape `(...)`.

    Examples:
      >>> import jax.numpy as jnp
      >>> float(weighted_mean(jnp.array([1.0, 3.0]), None))
      2.0
    """
    if weights is None:
        return jnp.mean(values, axis=0)
    return jnp.tensordot(weights.astype(values.dtype), values, axes=1)
