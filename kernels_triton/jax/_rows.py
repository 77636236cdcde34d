"""The safe formulas on rows of scores, in JAX."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array


def centered(x: Array, peak: Array, inverse: float) -> Array:
    """`(x - peak) / t`, where equal infinities differ by 0 and a peak of -inf counts as 0."""
    center = jnp.where(peak == -jnp.inf, 0.0, peak)
    return jnp.where(x == center, 0.0, (x - center) * inverse)


def share(p: Array, cotangent: Array) -> Array:
    """`p * cotangent`, and 0 where p = 0: there the cotangent may be infinite."""
    return jnp.where(p == 0, 0.0, p * cotangent)


def inverse_temperature(temperature: float, dtype: jnp.dtype) -> float:
    """`1 / temperature`, kept where it and its inverse are normal numbers of `dtype`."""
    tiny = float(jnp.finfo(dtype).tiny)
    return 1.0 / min(max(temperature, tiny), 1.0 / tiny)
