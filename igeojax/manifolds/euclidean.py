"""Euclidean space, the factor of products that is flat."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold
from igeojax.numerics.rows import norm_at_zero


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Euclidean(Manifold):
    """Euclidean space `R^dim`: straight lines, and transport leaves vectors as they are.

    Args:
      dim: number of coordinates.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: it is below 1.

    Examples:
      >>> Euclidean(2).distance([0.0, 0.0], [3.0, 4.0]).item()
      5.0
    """

    dim: int

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def dimension(self) -> int:
        return self.dim

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return jnp.sum(u * v, axis=-1)

    def _norm(self, x: Array, u: Array) -> Array:
        return norm_at_zero(u)

    def _distance(self, x: Array, y: Array) -> Array:
        return norm_at_zero(y - x)

    def _exp(self, x: Array, u: Array) -> Array:
        return x + u

    def _log(self, x: Array, y: Array) -> Array:
        return y - x

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        return u

    def _project_point(self, ambient: Array) -> Array:
        return ambient

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        return ambient

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return jax.random.normal(key, (*shape, self.dim), dtype)

    def _random_tangent(self, key: Array, x: Array) -> Array:
        return jax.random.normal(key, x.shape, x.dtype)

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        return jnp.isfinite(x).all(axis=-1)
