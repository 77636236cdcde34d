"""What both forms of the normalized layers share: unit weights, and where they are told apart."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike

from igeojax._core import checks
from igeojax.nn.normalized import l2_normalize

UNIT_AXES = {"unit_columns": -2, "unit_rows": -1}
"""Axis of the unit vectors in a weight of that name."""


def unit_normal(name: str) -> Any:
    """Initializer of a weight of that name: directions uniform on the sphere."""

    def initialized(key: Any, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return l2_normalize(jax.random.normal(key, shape, dtype), axis=UNIT_AXES[name])

    return initialized


def unit_name(unit: str) -> str:
    """Name of the weight, which says what of it has length one.

    Raises:
      ValueError: `unit` is neither "columns" nor "rows".
    """
    checks.require_option("unit", unit, ("columns", "rows"))
    return f"unit_{unit}"


def head_size(features: int, num_heads: int) -> int:
    """Entries of a head.

    Raises:
      ValueError: the heads do not share the features, or an odd number of entries is left to each.
    """
    if features % num_heads or (features // num_heads) % 2:
        raise ValueError(
            f"features must be an even multiple of num_heads; got {features} features for "
            f"{num_heads} heads. Each head turns pairs of its entries by position."
        )
    return features // num_heads
