"""Bounds of log-sum-exp, and its Hessian: the covariance of the one-hot statistic."""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.softmax import covariance_matvec, softmax


class LogSumExpBounds(NamedTuple):
    """Two sides of an interval that holds the log-sum-exp."""

    lower: Float[Array, "*rest"]
    upper: Float[Array, "*rest"]


def logsumexp_bounds(logits: Float[ArrayLike, "*shape"], *, axis: int = -1) -> LogSumExpBounds:
    """Bounds `max z <= log sum_j exp(z_j) <= max z + log K`, with K the entries above `-inf`.

    The lower one is attained when one entry dominates, the upper one when all K tie. With a
    temperature `t`, divide the logits by it: the gap stays `log K`.

    Args:
      logits: scores `z`.
      axis: the axis that is summed over.

    Returns:
      Both sides without `axis`; `-inf` for a slice of all `-inf`.

    Raises:
      ValueError: a scalar for `logits`.
      TypeError: `logits` is not made of real numbers.

    Examples:
      >>> [round(float(v), 4) for v in logsumexp_bounds([1.0, 1.0])]
      [1.0, 1.6931]
    """
    logits = _scores.checked(logits)
    top = jnp.max(logits, axis=axis)
    count = jnp.sum(logits > -jnp.inf, axis=axis).astype(logits.dtype)
    return LogSumExpBounds(top, top + jnp.log(jnp.maximum(count, 1)))


def logsumexp_hessian_matrix(
    logits: Float[ArrayLike, "*batch classes"],
) -> Float[Array, "*batch classes classes"]:
    """Hessian of log-sum-exp, `diag(p) - p p^T` with `p = softmax(logits)`, on the last axis.

    Positive semidefinite with the kernel `(1, ..., 1)` and no eigenvalue above 1/2. The diagonal is
    a sum over the other classes where `1 - p` would cancel. Costs `K^2` numbers; see
    `logsumexp_hessian_matvec` for large K.

    Args:
      logits: scores, `-inf` allowed.

    Returns:
      Symmetric matrices; 0 for a row of all `-inf`.

    Raises:
      ValueError: a scalar for `logits`.
      TypeError: `logits` is not made of real numbers.

    Examples:
      >>> logsumexp_hessian_matrix([0.0, 0.0]).tolist()
      [[0.25, -0.25], [-0.25, 0.25]]
    """
    p = softmax(_scores.checked(logits))
    products = p[..., None] * p[..., None, :]
    unit = jnp.broadcast_to(jnp.eye(p.shape[-1], dtype=bool), products.shape)
    diagonal = jnp.sum(jnp.where(unit, 0.0, products), axis=-1, keepdims=True)
    return jnp.where(unit, diagonal, -products)


def logsumexp_hessian_matvec(
    logits: Float[ArrayLike, "*batch classes"], tangent: Float[ArrayLike, "*batch classes"]
) -> Float[Array, "*batch classes"]:
    """Hessian of log-sum-exp times a vector, `p * (v - <p, v>)`, on the last axis, in `O(K)`.

    Args:
      logits: scores, `-inf` allowed.
      tangent: vectors `v` of the same shape; not read where `p = 0`.

    Returns:
      The products, which sum to zero.

    Raises:
      ValueError: a scalar for `logits`, or different shapes.
      TypeError: an argument is not made of real numbers.

    Examples:
      >>> logsumexp_hessian_matvec([0.0, 0.0], [1.0, 0.0]).tolist()
      [0.25, -0.25]
    """
    logits, tangent = checks.floating_together(logits=logits, tangent=tangent)
    logits = _scores.checked(logits)
    if logits.shape != tangent.shape:
        raise ValueError(
            f"tangent must have the shape of logits; got {tangent.shape} and {logits.shape}. "
            "Broadcast it with jnp.broadcast_to."
        )
    return covariance_matvec(softmax(logits), tangent, -1)
