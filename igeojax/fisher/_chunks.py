"""Sums over examples, a chunk at a time, so that memory is bounded."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from igeojax._core import checks


def summed_over_chunks(
    term: Callable[..., Any], weights: Any, *data: Any, chunk_size: int | None
) -> Any:
    """`term(weights, *data)` summed over chunks of the examples on axis 0.

    The last chunk is filled up with copies of the last example, of weight 0, so that one chunk is
    compiled. With `chunk_size=None` the term of all examples, and `weights` may be None.

    Raises:
      TypeError: `chunk_size` is not an integer.
      ValueError: `chunk_size < 1`.
    """
    if chunk_size is None:
        return term(weights, *data)
    checks.require_count("chunk_size", chunk_size)
    size = weights.shape[0]
    count = -(-size // chunk_size)
    if count == 1:
        return term(weights, *data)
    filled = count * chunk_size
    index = jnp.minimum(jnp.arange(filled), size - 1)

    def chunked(leaf: Any) -> Any:
        leaf = jnp.asarray(leaf)
        leaf = leaf if filled == size else leaf[index]
        return leaf.reshape((count, chunk_size, *leaf.shape[1:]))

    pad = [(0, filled - size)] + [(0, 0)] * (weights.ndim - 1)
    pieces = jnp.pad(weights, pad).reshape((count, chunk_size, *weights.shape[1:]))
    chunks = (pieces, *jax.tree.map(chunked, data))
    shapes = jax.eval_shape(term, *jax.tree.map(lambda leaf: leaf[0], chunks))
    zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), shapes)

    def add(total: Any, chunk: Any) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, term(*chunk)), None

    return jax.lax.scan(add, zero, chunks)[0]
