"""Sizes and indices that both forms of the layers check."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks


def hidden_size(features: int, hidden: int | None) -> int:
    """Hidden entries of a gated layer: 8/3 times the features where None are given.

    Raises:
      TypeError: `hidden` is no integer.
      ValueError: `hidden < 1`.
    """
    if hidden is None:
        return max(1, 8 * features // 3)
    checks.require_count("hidden", hidden)
    return hidden


def table_rows(name: str, table: Array, index: ArrayLike) -> Array:
    """Rows of a table.

    Raises:
      TypeError: the index is not of integers.
      ValueError: a concrete one is outside.
    """
    index, count = jnp.asarray(index), table.shape[0]
    if not jnp.issubdtype(index.dtype, jnp.integer):
        raise TypeError(f"{name} must be of integers; got {index.dtype}. Number the rows from 0.")
    checks.require_values(
        name,
        index,
        lambda row: (row >= 0) & (row < count),
        f"from 0 to {count - 1}",
        "Make the table as large as there are rows to look up.",
    )
    return table[index]


def head_size(features: int, num_heads: int) -> int:
    """Entries of a head.

    Raises:
      TypeError: `num_heads` is no integer.
      ValueError: the heads do not share the features, or an odd number of entries is left to each.
    """
    checks.require_count("num_heads", num_heads)
    if features % num_heads or (features // num_heads) % 2:
        raise ValueError(
            f"features must be an even multiple of num_heads; got {features} features for "
            f"{num_heads} heads. Each head turns pairs of its entries by position."
        )
    return features // num_heads
