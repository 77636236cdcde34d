"""Observations and weights as the steps of EM take them."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.product import Product

CACHE_BYTES = 2**20
"""What the arrays of one chunk may take: they stay in the second cache of a core."""


def as_data(family: ExponentialFamily, x: Any) -> Any:
    """Observations as an array, those of a product as a tuple of arrays.

    Raises:
      TypeError: observations of a product that are not one array a factor.
    """
    if isinstance(family, Product):
        family._require_data(x)
        return tuple(as_data(part, y) for part, y in zip(family.families, x, strict=True))
    return checks.as_array("data", x)


def floating_dtype(x: Any) -> Any:
    """The floating dtype of the steps: that of the data, at least float32; labels have none."""
    kinds = [leaf.dtype for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    return jnp.promote_types(jnp.result_type(*kinds), jnp.float32) if kinds else jnp.dtype(float)


def checked_weights(weights: ArrayLike | None, count: int, dtype: Any) -> Float[Array, "data"]:
    """Weights of the observations in the dtype of the steps; ones where None are given.

    Raises:
      TypeError: weights that are not real.
      ValueError: weights of a wrong shape, negative or not finite.
    """
    if weights is None:
        return jnp.ones(count, dtype)
    weights = checks.floating("weights", weights)
    if weights.shape != (count,):
        raise ValueError(
            f"weights must have shape ({count},); got {weights.shape}. Give each row of the data "
            "one; None weighs all alike."
        )
    checks.require_values(
        "weights",
        weights,
        lambda w: np.isfinite(w) & (w >= 0),
        "finite and non-negative",
        "Drop observations instead of giving them negative weight.",
    )
    return weights.astype(dtype)


def default_chunk_size(family: ExponentialFamily, num_components: int, dtype: Any) -> int:
    """Rows whose statistics and responsibilities fit into the cache, 512 to 8192."""
    row = family.dimension + num_components
    rows = CACHE_BYTES // (2 * row * jnp.dtype(dtype).itemsize)
    return int(np.clip(rows // 256 * 256, 512, 8192))
