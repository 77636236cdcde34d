"""Charts of the probability simplex, on the last axis, each with its inverse.

Logits and log-ratios cover the open simplex and reach its boundary at infinity; the minimal and
the square-root chart cover the closed one.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.softmax import softmax
from igeojax.numerics.safe import log_at_zero, sqrt_at_zero

Probabilities = Float[ArrayLike, "*batch classes"]
"""Probability vectors on the last axis."""


def logits_from_probs(probs: Probabilities) -> Float[Array, "*batch classes"]:
    """Log-probabilities `log p`, one choice of logits.

    Args:
      probs: probability vectors.

    Returns:
      Logits that are normalized; `-inf` for a probability 0.

    Raises:
      TypeError: `probs` is not made of real numbers.
      ValueError: concrete entries are negative or do not sum to one.

    Examples:
      >>> logits_from_probs([1.0, 0.0]).tolist()
      [0.0, -inf]
    """
    return log_at_zero(_probabilities(probs))


def probs_from_logits(logits: Float[ArrayLike, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Probabilities `softmax(z)`; all logits that differ by a constant give the same.

    Args:
      logits: scores, `-inf` for an impossible class.

    Returns:
      Probability vectors.

    Raises:
      TypeError: `logits` is not made of real numbers.
      ValueError: a scalar.

    Examples:
      >>> probs_from_logits([0.0, 0.0]).tolist()
      [0.5, 0.5]
    """
    return softmax(logits)


def minimal_from_probs(probs: Probabilities) -> Float[Array, "*batch classes-1"]:
    """All probabilities but the last, the mean coordinates of the categorical family.

    The Fisher metric in them is `delta_ij / p_i + 1 / p_K`.

    Args:
      probs: probability vectors.

    Returns:
      One entry less.

    Raises:
      TypeError: `probs` is not made of real numbers.
      ValueError: concrete entries are negative or do not sum to one.

    References:
      [Amari2016] section 2.2.2.

    Examples:
      >>> minimal_from_probs([0.5, 0.25, 0.25]).tolist()
      [0.5, 0.25]
    """
    return _probabilities(probs)[..., :-1]


def probs_from_minimal(
    minimal: Float[ArrayLike, "*batch classes-1"],
) -> Float[Array, "*batch classes"]:
    """Probabilities from all but the last, which is one minus their sum.

    A small last probability has only the digits that the others leave it.

    Args:
      minimal: non-negative entries with a sum of at most one.

    Returns:
      Probability vectors, one entry more.

    Raises:
      TypeError: `minimal` is not made of real numbers.
      ValueError: a scalar, or concrete entries outside the domain.

    Examples:
      >>> probs_from_minimal([0.5, 0.25]).tolist()
      [0.5, 0.25, 0.25]
    """
    minimal = _scores.checked(minimal, "minimal")
    last = 1 - jnp.sum(minimal, axis=-1, keepdims=True)
    probs = jnp.concatenate([minimal, last], axis=-1)
    slack = 8 * float(jnp.finfo(probs.dtype).eps)
    checks.require_values(
        "minimal coordinates and one minus their sum",
        probs,
        lambda v: v >= -slack,
        "non-negative",
        "They are the probabilities of all classes but the last.",
    )
    return jnp.concatenate([minimal, jnp.maximum(last, 0.0)], axis=-1)


def centered_log_ratio_from_probs(probs: Probabilities) -> Float[Array, "*batch classes"]:
    """Centered log-ratio `log p_i - mean_j log p_j`: the logits that sum to zero.

    Args:
      probs: probability vectors with positive entries.

    Returns:
      Coordinates that sum to zero.

    Raises:
      TypeError: `probs` is not made of real numbers.
      ValueError: concrete entries are not positive or do not sum to one.

    References:
      [Aitchison1982] section 4.

    Examples:
      >>> [round(v, 4) for v in centered_log_ratio_from_probs([0.5, 0.25, 0.25]).tolist()]
      [0.4621, -0.231, -0.231]
    """
    logs = jnp.log(_positive(probs))
    # A common scale drops out; without it the mean would round at its size.
    logs = logs - _scores.shift_of(logs, -1)
    return logs - jnp.mean(logs, axis=-1, keepdims=True)


def probs_from_centered_log_ratio(
    centered: Float[ArrayLike, "*batch classes"],
) -> Float[Array, "*batch classes"]:
    """Probabilities `softmax(c)` of centered log-ratios.

    Args:
      centered: real entries that sum to zero; another sum makes no difference.

    Returns:
      Probability vectors.

    Raises:
      TypeError: `centered` is not made of real numbers.
      ValueError: a scalar.

    Examples:
      >>> probs_from_centered_log_ratio([0.0, 0.0]).tolist()
      [0.5, 0.5]
    """
    return softmax(_scores.checked(centered, "centered"))


def isometric_log_ratio_from_probs(probs: Probabilities) -> Float[Array, "*batch classes-1"]:
    """Isometric log-ratio: centered log-ratios in the orthonormal basis of Helmert, in `O(K)`.

    `y_k = sqrt(k / (k + 1)) (mean(log p_1 .. log p_k) - log p_{k+1})`. Euclidean distances of `y`
    are Aitchison's distances of `p`.

    Args:
      probs: probability vectors with positive entries.

    Returns:
      Coordinates, one entry less.

    Raises:
      TypeError: `probs` is not made of real numbers.
      ValueError: concrete entries are not positive or do not sum to one.

    References:
      [Egozcue2003] section 4.

    Examples:
      >>> [round(v, 4) for v in isometric_log_ratio_from_probs([0.5, 0.25, 0.25]).tolist()]
      [0.4901, 0.283]
    """
    logs = jnp.log(_positive(probs))
    logs = logs - _scores.shift_of(logs, -1)
    k = _ranks(logs)
    means = jnp.cumsum(logs[..., :-1], axis=-1) / k
    return jnp.sqrt(k / (k + 1)) * (means - logs[..., 1:])


def probs_from_isometric_log_ratio(
    isometric: Float[ArrayLike, "*batch classes-1"],
) -> Float[Array, "*batch classes"]:
    """Probabilities from isometric log-ratios, in `O(K)`.

    Args:
      isometric: real coordinates.

    Returns:
      Probability vectors, one entry more.

    Raises:
      TypeError: `isometric` is not made of real numbers.
      ValueError: a scalar.

    References:
      [Egozcue2003] section 4.

    Examples:
      >>> [round(v, 4) for v in probs_from_isometric_log_ratio([0.0, 0.0]).tolist()]
      [0.3333, 0.3333, 0.3333]
    """
    y = _scores.checked(isometric, "isometric")
    zero = jnp.zeros_like(y[..., :1])
    k = _ranks(jnp.concatenate([y, zero], axis=-1))
    # Row k of the basis has sqrt(1 / (k (k + 1))) k times, then -sqrt(k / (k + 1)).
    above = jnp.flip(jnp.cumsum(jnp.flip(y / jnp.sqrt(k * (k + 1)), -1), axis=-1), -1)
    own = jnp.sqrt(k / (k + 1)) * y
    return softmax(jnp.concatenate([above, zero], axis=-1) - jnp.concatenate([zero, own], axis=-1))


def sphere_from_probs(probs: Probabilities) -> Float[Array, "*batch classes"]:
    """Square-root chart `x = 2 sqrt(p)`, onto the positive part of the sphere of radius 2.

    An isometry: the Fisher-Rao distance is the length of the arc between two images.

    Args:
      probs: probability vectors.

    Returns:
      Vectors of length 2; the derivative at an entry 0, where it is infinite, is 0 by convention.

    Raises:
      TypeError: `probs` is not made of real numbers.
      ValueError: concrete entries are negative or do not sum to one.

    References:
      [AmariNagaoka2000] section 2.2.

    Examples:
      >>> [round(v, 4) for v in sphere_from_probs([0.25, 0.0, 0.75]).tolist()]
      [1.0, 0.0, 1.7321]
    """
    return 2 * sqrt_at_zero(_probabilities(probs))


def probs_from_sphere(
    point: Float[ArrayLike, "*batch classes"],
) -> Float[Array, "*batch classes"]:
    """Probabilities `x^2 / |x|^2` of a point of the sphere, of any radius.

    Args:
      point: nonzero vectors; signs make no difference.

    Returns:
      Probability vectors; nan for a traced zero vector.

    Raises:
      TypeError: `point` is not made of real numbers.
      ValueError: a scalar, or a concrete zero vector.

    Examples:
      >>> probs_from_sphere([1.0, 1.0]).tolist()
      [0.5, 0.5]
    """
    x = _scores.checked(point, "point")
    largest = jnp.max(jnp.abs(x), axis=-1, keepdims=True)
    checks.require_values(
        "the largest entry of each point",
        largest[..., 0],
        lambda v: v > 0,
        "nonzero",
        "The origin lies on no sphere.",
    )
    square = (x / jax.lax.stop_gradient(largest)) ** 2
    return square / jnp.sum(square, axis=-1, keepdims=True)


def _probabilities(probs: ArrayLike) -> Array:
    probs = checks.floating("probs", probs)
    checks.require_probabilities("probs", probs)
    return probs


def _positive(probs: ArrayLike) -> Array:
    probs = _probabilities(probs)
    checks.require_positive(
        "probs", probs, "Log-ratios need positive entries: add counts, or drop empty classes."
    )
    return probs


def _ranks(vectors: Array) -> Array:
    """`1 .. K-1`, with the rank of `vectors`."""
    k = jnp.arange(1, vectors.shape[-1], dtype=vectors.dtype)
    return k.reshape((1,) * (vectors.ndim - 1) + k.shape)
