"""What densities of sources and the steps of unmixing share."""

import math

import jax.numpy as jnp
from jaxtyping import Array

_HEAVY = 0.6195404611792522  # log of the integral of exp(-y^2 / 2) / cosh y
_LIGHT = 0.5 * math.log(2 * math.pi) + 0.5


def log_normalizer(signs: Array) -> Array:
    """`log Z_s` of each sign."""
    return jnp.where(signs > 0, _HEAVY, _LIGHT).astype(signs.dtype)


def stable_signs(slope: Array, square: Array, product: Array) -> Array:
    """Signs from `E[sech^2 y]`, `E[y^2]` and `E[y tanh y]` of each source."""
    return jnp.where(slope * square >= product, 1, -1).astype(slope.dtype)
