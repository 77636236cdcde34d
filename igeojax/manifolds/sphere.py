"""Spheres of any radius, by half-chords: no arccos, which loses half the digits near 0 and pi."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, relative_tolerance
from igeojax.numerics.angles import quadrant_angle, unit_angle
from igeojax.numerics.rows import norm_at_zero, row_norm, row_sum
from igeojax.numerics.safe import sqrt_at_zero
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
        return self.radius * unit_angle(x / self.radius, y / self.radius)

    def _exp(self, x: Array, u: Array) -> Array:
        square = row_sum(lambda u: (u / self.radius) ** 2, u)[..., None]
        return x + (sin_ratio(square) * u - cos_deficit(square) * x)

    def _log(self, x: Array, y: Array) -> Array:
        return unit_log(x / self.radius, y / self.radius) * self.radius

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
    return row_sum(jnp.multiply, u, direction)[..., None] * direction


def unit_log(x: Array, y: Array) -> Array:
    """Logarithm on the unit sphere, from differences and sums: `y - <x, y> x` cancels.

    Args:
      x: unit vectors.
      y: unit vectors.

    Returns:
      Tangents at `x`.

    Examples:
      >>> unit_log(jnp.array([1.0, 0.0]), jnp.array([1.0, 1e-12])).tolist()
      [0.0, 1e-12]
    """
    square = row_sum(lambda x, y: 0.25 * (y - x) ** 2, x, y)
    other = row_sum(lambda x, y: 0.25 * (y + x) ** 2, x, y)
    near = square < 0.5
    # The tangent part of y is that of y - x and of y + x: of the shorter one it has all digits.
    sign = jnp.where(near, -1.0, 1.0).astype(x.dtype)
    along = row_sum(lambda x, y, sign: (y + sign * x) * x, x, y, sign)
    part = lambda x, y, sign, along: (y + sign * x) - along * x
    # Near the antipode the part is as short as y + x: enlarged, its square does not vanish.
    much = 2.0 ** (jnp.finfo(x.dtype).maxexp // 2)
    stretch = jnp.where(near | (other > 1e-6), 1.0, much).astype(x.dtype)
    length = row_sum(lambda k, *inputs: (k * part(*inputs)) ** 2, stretch, x, y, sign, along)
    length = sqrt_at_zero(length) / stretch
    # angle / sin(angle): near, by the half angle, whose sine is half the chord.
    small = square < 0.1
    below = jnp.where(small, square, 0.0)
    angle = 2 * quadrant_angle(sqrt_at_zero(square), sqrt_at_zero(other))
    angle = jnp.where(small, arcsin_ratio(below), angle)
    sine = jnp.where(small, jnp.sqrt(1 - below), jnp.where(length == 0, 1.0, length))
    scale = angle / sine
    antipodal = (length == 0) & (scale > 2)
    scale, sign, along, antipodal = (v[..., None] for v in (scale, sign, along, antipodal))
    log = scale * part(x, y, sign, along)
    return jnp.where(antipodal, jnp.pi * _some_direction(x), log)


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
    length = row_norm(jnp.add, x, y)[..., None]
    antipodal = length == 0
    unit = jnp.where(antipodal, _some_direction(x), together / jnp.where(antipodal, 1.0, length))
    return u - 2 * _along(u, unit)


def _some_direction(x: Array) -> Array:
    """A unit tangent at each point, constant under derivatives: along the first or second axis."""
    x = jax.lax.stop_gradient(x)
    first, second = x[..., :1], x[..., 1:2]
    entry = jnp.where(jnp.abs(first) < jnp.abs(second), first, second)
    index = jnp.where(jnp.abs(first) < jnp.abs(second), 0, 1)
    axis = jax.lax.broadcasted_iota(index.dtype, x.shape, x.ndim - 1) == index
    return (axis - entry * x) / jnp.sqrt(1 - entry**2)
