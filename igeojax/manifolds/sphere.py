"""Spheres of any radius, by half-chords: no arccos, which loses half the digits near 0 and pi."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, relative_tolerance
from igeojax.numerics.safe import norm_at_zero
from igeojax.numerics.square_ratios import arcsin_ratio, cos_deficit, sin_ratio


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Sphere(Manifold):
    """Sphere `|x| = radius` in `R^dim`, of dimension `dim - 1` and curvature `1 / radius^2`.

    Distance `2 radius atan2(|x - y|, |x + y|)`, right to a few eps at near and at antipodal points.
    Between antipodes all directions are shortest: `log` and `transport` take one of them, on which
    `exp(log)` and the isometry hold, and derivatives there are finite but have no meaning; that of
    the distance is 0. `project_point` and `retract` divide by the length: the zero vector has no
    point, and gives nan where it is traced. Uniform random points.

    Args:
      dim: number of ambient coordinates, at least 2.
      radius: length of the points.

    Raises:
      TypeError: `dim` is not an integer, or `radius` not a number.
      ValueError: `dim` is below 2, or `radius` not positive.

    References:
      [AbsilMahonySepulchre2008] sections 3.6.1, 5.4 and 8.1 (gradient, geodesics, transport).

    Examples:
      >>> sphere = Sphere(3)
      >>> x, y = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
      >>> round(sphere.distance(x, y).item(), 6)
      1.570796
      >>> sphere.log(x, y).round(4).tolist()
      [0.0, 1.5708, 0.0]
    """

    dim: int
    radius: float = 1.0

    def __post_init__(self):
        checks.require_count("dim", self.dim, 2)
        checks.require_number("radius", self.radius, "scale the points for a traced one")
        checks.require_positive("radius", self.radius, "Give the length of the points.")

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def dimension(self) -> int:
        return self.dim - 1

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return jnp.sum(u * v, axis=-1)

    def _norm(self, x: Array, u: Array) -> Array:
        return norm_at_zero(u)

    def _distance(self, x: Array, y: Array) -> Array:
        return 2 * self.radius * jnp.arctan2(norm_at_zero(y - x), norm_at_zero(y + x))

    def _exp(self, x: Array, u: Array) -> Array:
        square = jnp.sum((u / self.radius) ** 2, axis=-1, keepdims=True)
        return x + (sin_ratio(square) * u - cos_deficit(square) * x)

    def _log(self, x: Array, y: Array) -> Array:
        apart = (y - x) / self.radius
        return unit_log(x / self.radius, y / self.radius, apart) * self.radius

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        return unit_transport(x / self.radius, y / self.radius, u)

    def _project_point(self, ambient: Array) -> Array:
        length = norm_at_zero(ambient)[..., None]
        checks.require_values(
            "the length of each ambient vector",
            length[..., 0],
            lambda v: v > 0,
            "positive",
            "The zero vector has no nearest point on a sphere.",
        )
        return ambient / length * self.radius

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        return ambient - _along(ambient, x / self.radius)

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._project_point(jax.random.normal(key, (*shape, self.dim), dtype))

    def _random_tangent(self, key: Array, x: Array) -> Array:
        return self._project_tangent(x, jax.random.normal(key, x.shape, x.dtype))

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        error = jnp.abs(norm_at_zero(x) / self.radius - 1)
        return error <= relative_tolerance(tolerance, x.dtype)


def _along(u: Array, direction: Array) -> Array:
    """The part of vectors along a unit direction."""
    return jnp.sum(u * direction, axis=-1, keepdims=True) * direction


def unit_log(x: Array, y: Array, apart: Array | None = None) -> Array:
    """Logarithm on the unit sphere, from differences and sums: `y - <x, y> x` cancels.

    Args:
      x: unit vectors.
      y: unit vectors.
      apart: `y - x`, where it is known to more digits than a subtraction gives.

    Returns:
      Tangents at `x`.

    Examples:
      >>> unit_log(jnp.array([1.0, 0.0]), jnp.array([1.0, 1e-12])).tolist()
      [0.0, 1e-12]
    """
    apart, together = y - x if apart is None else apart, y + x
    square = 0.25 * jnp.sum(apart**2, axis=-1, keepdims=True)
    near = square < 0.5
    # The tangent part of y is that of y - x and of y + x: of the shorter one it has all digits.
    part = jnp.where(near, apart, together)
    part = part - _along(part, x)
    # angle / sin(angle): by the half angle, whose sine is half the chord; far by both lengths.
    below = jnp.where(near, square, 0.0)
    scale = arcsin_ratio(below) / jnp.sqrt(1 - below)
    angle = 2 * jnp.arctan2(norm_at_zero(apart), norm_at_zero(together))[..., None]
    length = jnp.where(near, 1.0, norm_at_zero(part)[..., None])
    antipodal = length == 0
    direction = part / jnp.where(antipodal, 1.0, length)
    far = angle * jnp.where(antipodal, _some_direction(x), direction)
    return jnp.where(near, scale * part, far)


def unit_transport(x: Array, y: Array, u: Array) -> Array:
    """Parallel transport on the unit sphere: the reflection that takes `x` to `-y`.

    It keeps what is orthogonal to the plane of both, and turns what is in it.

    Args:
      x: unit vectors.
      y: unit vectors.
      u: tangents at `x`.

    Returns:
      Tangents at `y`.

    Examples:
      >>> x, y = jnp.array([1.0, 0.0]), jnp.array([0.0, 1.0])
      >>> [round(v, 6) for v in unit_transport(x, y, y).tolist()]
      [-1.0, 0.0]
    """
    together = y + x
    length = norm_at_zero(together)[..., None]
    antipodal = length == 0
    unit = jnp.where(antipodal, _some_direction(x), together / jnp.where(antipodal, 1.0, length))
    return u - 2 * _along(u, unit)


def _some_direction(x: Array) -> Array:
    """A unit tangent at each point, constant under derivatives: the axis that is least along x."""
    x = jax.lax.stop_gradient(x)
    axis = jax.nn.one_hot(jnp.argmin(jnp.abs(x), axis=-1), x.shape[-1], dtype=x.dtype)
    axis = axis - _along(axis, x)
    return axis / jnp.linalg.norm(axis, axis=-1, keepdims=True)
