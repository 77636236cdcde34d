"""Matrices whose rows, or columns, are unit vectors."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold
from igeojax.manifolds.sphere import Sphere
from igeojax.numerics.rows import norm_at_zero


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Oblique(Manifold):
    """Matrices whose rows (or columns) lie on unit spheres: the product of those spheres.

    All that `Sphere` says holds for each row.

    Args:
      rows: number of rows.
      columns: number of columns.
      axis: the axis along which vectors have length 1: -1 for unit rows, -2 for unit columns.

    Raises:
      TypeError: a size is not an integer.
      ValueError: a size is below 1, that of the vectors below 2, or `axis` neither -1 nor -2.

    References:
      [AbsilMahonySepulchre2008] section 3.4 (products of spheres).

    Examples:
      >>> weights = Oblique(2, 3).project_point(jnp.array([[3.0, 4.0, 0.0], [0.0, 0.0, 2.0]]))
      >>> weights.round(4).tolist()
      [[0.6, 0.8, 0.0], [0.0, 0.0, 1.0]]
    """

    rows: int
    columns: int
    axis: int = -1

    def __post_init__(self):
        checks.require_count("rows", self.rows)
        checks.require_count("columns", self.columns)
        if self.axis not in (-1, -2):
            raise ValueError(
                f"axis must be -1 (unit rows) or -2 (unit columns); got {self.axis!r}. Batch axes "
                "stand in front of the matrix and need no axis."
            )
        checks.require_count("the length of the unit vectors", self.point_shape[self.axis], 2)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.rows, self.columns)

    @property
    def dimension(self) -> int:
        return self.rows * self.columns - self.point_shape[-3 - self.axis]

    def _each(self, name: str, *arguments: Array) -> Array:
        """A map of the sphere, on every vector."""
        if self.axis == -1:
            return getattr(Sphere(self.columns), name)(*arguments)
        turned = (jnp.swapaxes(value, -1, -2) for value in arguments)
        return jnp.swapaxes(getattr(Sphere(self.rows), name)(*turned), -1, -2)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return jnp.sum(u * v, axis=(-2, -1))

    def _norm(self, x: Array, u: Array) -> Array:
        return norm_at_zero(u.reshape((*u.shape[:-2], -1)))

    def _distance(self, x: Array, y: Array) -> Array:
        if self.axis == -2:
            return Oblique(self.columns, self.rows)._distance(*_transposed(x, y))
        return norm_at_zero(Sphere(self.columns)._distance(x, y))

    def _exp(self, x: Array, u: Array) -> Array:
        return self._each("_exp", x, u)

    def _log(self, x: Array, y: Array) -> Array:
        return self._each("_log", x, y)

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        return self._each("_transport", x, y, u)

    def _project_point(self, ambient: Array) -> Array:
        return self._each("_project_point", ambient)

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        return self._each("_project_tangent", x, ambient)

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._project_point(jax.random.normal(key, (*shape, *self.point_shape), dtype))

    def _random_tangent(self, key: Array, x: Array) -> Array:
        return self._project_tangent(x, jax.random.normal(key, x.shape, x.dtype))

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        if self.axis == -2:
            x = jnp.swapaxes(x, -1, -2)
        return Sphere(x.shape[-1])._contains(x, tolerance).all(axis=-1)


def _transposed(*matrices: Array) -> tuple[Array, ...]:
    return tuple(jnp.swapaxes(matrix, -1, -2) for matrix in matrices)
