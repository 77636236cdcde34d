"""Probability vectors with the Fisher metric: a piece of the sphere of radius 2."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, relative_tolerance
from igeojax.manifolds.sphere import unit_transport
from igeojax.numerics.angles import quadrant_angle
from igeojax.numerics.rows import norm_at_zero, row_norm, row_sum
from igeojax.numerics.safe import sqrt_at_zero
from igeojax.numerics.square_ratios import arcsin_ratio, cos_deficit, sin_ratio


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Simplex(Manifold):
    """Probability vectors with the Fisher metric `sum u v / p`: `2 sqrt(p)` lies on a sphere.

    Distance `4 atan2(|sqrt p - sqrt q|, |sqrt p + sqrt q|)`, that of `Categorical`, at most pi,
    from the difference of both, so that near laws keep their digits; classes of probability 0 are
    welcome. Tangents sum to 0. Geodesics are great circles: one that meets the rim comes back from
    it. In a class of probability 0 a tangent has to be 0, and does not see a law beyond: from there
    `log` is a part of the way only. Derivatives at a probability 0, infinite in truth, are 0 by
    convention.

    `project_point` drops negative entries and divides by the sum; `retract` is
    `p exp(u / p) / sum`, an exponentiated step, which stays inside. Random points are uniform in
    the volume of the metric: Jeffreys' law, Dirichlet of 1/2.

    Args:
      num_classes: number of classes, at least 2.

    Raises:
      TypeError: `num_classes` is not an integer.
      ValueError: it is below 2.

    References:
      [AmariNagaoka2000] section 2.2; [Rao1945].

    Examples:
      >>> simplex = Simplex(2)
      >>> round(simplex.distance([1.0, 0.0], [0.0, 1.0]).item(), 6)  # pi
      3.141593
      >>> simplex.geodesic(jnp.array([1.0, 0.0]), jnp.array([0.5, 0.5]), 0.0).tolist()
      [1.0, 0.0]
    """

    num_classes: int

    def __post_init__(self):
        checks.require_count("num_classes", self.num_classes, 2)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.num_classes,)

    @property
    def dimension(self) -> int:
        return self.num_classes - 1

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        return jnp.sum(_quotient(u * v, x), axis=-1)

    def _norm(self, x: Array, u: Array) -> Array:
        return norm_at_zero(_quotient(u, sqrt_at_zero(x)))

    def _distance(self, x: Array, y: Array) -> Array:
        root, other = sqrt_at_zero(x), sqrt_at_zero(y)
        apart = norm_at_zero(_root_step(x, y, root, other))
        return 4 * quadrant_angle(apart, row_norm(jnp.add, root, other))

    def _exp(self, x: Array, u: Array) -> Array:
        root = sqrt_at_zero(x)
        half = 0.5 * _quotient(u, root)
        square = jnp.sum(half**2, axis=-1, keepdims=True)
        return (root + (sin_ratio(square) * half - cos_deficit(square) * root)) ** 2

    def _log(self, x: Array, y: Array) -> Array:
        root, other = sqrt_at_zero(x), sqrt_at_zero(y)
        step = _root_step(x, y, root, other)
        # The roots are at most pi / 2 apart on the sphere: its logarithm by the half-chord.
        square = 0.25 * row_sum(jnp.square, step)
        scale = (arcsin_ratio(square) / jnp.sqrt(1 - square))[..., None]
        return 2 * root * scale * (step - row_sum(jnp.multiply, step, root)[..., None] * root)

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        root, other = sqrt_at_zero(x), sqrt_at_zero(y)
        return other * unit_transport(root, other, _quotient(u, root))

    def _retract(self, x: Array, u: Array) -> Array:
        rate = _quotient(u, x)
        weight = x * jnp.exp(rate - jnp.max(rate, axis=-1, keepdims=True))
        return weight / jnp.sum(weight, axis=-1, keepdims=True)

    def _project_point(self, ambient: Array) -> Array:
        mass = jnp.maximum(ambient, 0.0)
        total = jnp.sum(mass, axis=-1, keepdims=True)
        checks.require_positive(
            "the sum of the positive entries of each vector",
            total[..., 0],
            "A law has a class that is not impossible.",
        )
        return mass / total

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        return ambient - x * jnp.sum(ambient, axis=-1, keepdims=True)

    def _riemannian_gradient(self, x: Array, gradient: Array) -> Array:
        return x * (gradient - jnp.sum(x * gradient, axis=-1, keepdims=True))

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return self._project_point(jax.random.normal(key, (*shape, self.num_classes), dtype) ** 2)

    def _random_tangent(self, key: Array, x: Array) -> Array:
        root = sqrt_at_zero(x)
        normal = jax.random.normal(key, x.shape, x.dtype)
        return root * (normal - root * jnp.sum(root * normal, axis=-1, keepdims=True))

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        error = jnp.abs(jnp.sum(x, axis=-1) - 1)
        return (x >= 0).all(axis=-1) & (error <= relative_tolerance(tolerance, x.dtype))


def _quotient(u: Array, size: Array) -> Array:
    """`u / size`, 0 where both are 0; the inf of a tangent that leaves a face stays."""
    rest = (size == 0) & (u == 0)
    return jnp.where(rest, 0.0, u / jnp.where(rest, 1.0, size))


def _root_step(x: Array, y: Array, root: Array, other: Array) -> Array:
    """`sqrt(y) - sqrt(x)` from the difference, where neither is 0."""
    inside = (x > 0) & (y > 0)
    total = jnp.where(inside, root + other, 1.0)
    return jnp.where(inside, (y - x) / total, other - root)
