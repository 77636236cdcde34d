"""Sums over short rows, at the speed of the memory they are read from.

XLA reduces rows of 8 on a CPU one by one, and stores what is summed. Of a large batch the sum is
therefore written out, entry by entry: sums of a million rows are three times faster, norms six.
"""

import functools
import math
import operator
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.safe import sqrt_at_zero

_SHORT = 16  # entries of a row that is written out
_MANY = 4096  # rows; for fewer the compact program is as fast, and compiles faster


def row_sum(term: Callable[..., Array], *arrays: Float[Array, "*batch n"]) -> Array:
    """Sum of `term(*arrays)` over the last axis.

    Write all that the sum depends on into `term`: what is computed before is stored before.

    Args:
      term: an elementwise function.
      arrays: vectors along the last axis, or numbers, which lack that axis.

    Returns:
      The sums, of shape `(*batch,)`.

    Examples:
      >>> row_sum(lambda x, y, c: x * (y - c * x), jnp.ones(3), jnp.ones(3), jnp.array(3.0)).item()
      -6.0
    """
    rank = max(array.ndim for array in arrays)
    shape = jnp.broadcast_shapes(*(array.shape for array in arrays if array.ndim == rank))
    if not 0 < shape[-1] <= _SHORT or math.prod(shape[:-1]) < _MANY:
        columns = (array if array.ndim == rank else array[..., None] for array in arrays)
        return jnp.sum(term(*columns), axis=-1)
    pick = lambda array, i: array[..., i] if array.ndim == rank else array
    terms = (term(*(pick(array, i) for array in arrays)) for i in range(shape[-1]))
    return functools.reduce(operator.add, terms)


def row_norm(term: Callable[..., Array], *arrays: Float[Array, "*batch n"]) -> Array:
    """Norm of `term(*arrays)` over the last axis, as `norm_at_zero`.

    Scaled by a power of 2, so that squares neither overflow nor vanish. `term` is computed twice:
    it should be short.

    Args:
      term: an elementwise function.
      arrays: vectors along the last axis, or numbers, which lack that axis.

    Returns:
      The norms, of shape `(*batch,)`.

    References:
      [Blue1978] (three ranges of sizes).

    Examples:
      >>> row_norm(lambda x, y: x - y, jnp.array([4e30, 3e30]), jnp.zeros(2)).item() / 1e30
      5.0
    """
    plain = jax.lax.stop_gradient(row_sum(lambda *a: term(*a) ** 2, *arrays))
    info = jnp.finfo(plain.dtype)
    half = 2.0 ** (info.maxexp // 2)
    few = 2.0 ** (info.minexp + info.nmant + 3)
    scale = jnp.where(plain < few, half, jnp.where(plain < jnp.inf, 1.0, 2.0**-6 / half))
    scale = scale.astype(plain.dtype)
    square = row_sum(lambda scale, *a: (scale * term(*a)) ** 2, scale, *arrays)
    return sqrt_at_zero(square) / scale


@jax.custom_jvp
def norm_at_zero(x: Float[Array, "*batch n"]) -> Float[Array, "*batch"]:
    """Euclidean norm of the last axis, whose derivative at 0 is 0 by convention instead of nan.

    Scaled by a power of 2, so that squares neither overflow nor vanish.

    Args:
      x: vectors.

    Returns:
      Their norms.

    Examples:
      >>> round(norm_at_zero(jnp.array([3e30, 4e30], jnp.float32)).item() / 1e30, 5)
      5.0
    """
    return row_norm(lambda x: x, x)


@norm_at_zero.defjvp
def _norm_at_zero_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    norm = norm_at_zero(x)
    direction = x / jnp.where(norm == 0, 1.0, norm)[..., None]
    return norm, jnp.sum(direction * dx, axis=-1)


@jax.custom_jvp
def unit_at_zero(x: Float[Array, "*batch n"]) -> Float[Array, "*batch n"]:
    """Unit vectors `x / |x|` along the last axis; the zero vector stays 0, with derivative 0.

    Args:
      x: vectors of any length that the dtype holds.

    Returns:
      Their directions.

    Examples:
      >>> unit_at_zero(jnp.array([0.0, 5.0])).tolist(), unit_at_zero(jnp.zeros(2)).tolist()
      ([0.0, 1.0], [0.0, 0.0])
    """
    norm = norm_at_zero(x)[..., None]
    return jnp.where(norm == 0, 0.0, x / jnp.where(norm == 0, 1.0, norm))


@unit_at_zero.defjvp
def _unit_at_zero_jvp(primals, tangents):
    # The projection of the tangent over the norm: no difference of large terms, no square of x.
    (x,), (dx,) = primals, tangents
    norm = norm_at_zero(x)[..., None]
    unit = unit_at_zero(x)
    across = dx - unit * jnp.sum(unit * dx, axis=-1, keepdims=True)
    return unit, jnp.where(norm == 0, 0.0, across / jnp.where(norm == 0, 1.0, norm))
