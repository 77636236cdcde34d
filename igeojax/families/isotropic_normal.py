"""The multivariate normal family of one variance for all coordinates."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.covariance import checked_loc_scale, loc_scale_parts, scale_entropy
from igeojax.families.frames import ScaleFrames
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.safe import quotient
from igeojax.numerics.weighting import weighted_mean


class IsotropicNormalPoint(NamedTuple):
    """Leaves: the statistics `x` and `sum x^2`."""

    x: Float[Array, "*batch dim"]
    square: Float[Array, "*batch"]


class IsotropicNormalParams(NamedTuple):
    """Mean vector and the standard deviation of every coordinate."""

    loc: Float[Array, "*batch dim"]
    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class IsotropicNormal(ScaleFrames, ExponentialFamily[IsotropicNormalPoint, IsotropicNormalParams]):
    """Normal vectors of covariance `s^2 I`: `T = (x, sum x^2)`, `theta = (m/s^2, -1/(2 s^2))`.

    `psi = -|theta_1|^2 / (4 theta_2) + d/2 log(pi / -theta_2)`.

    Args:
      dim: number of coordinates.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 1`.

    Examples:
      >>> family = IsotropicNormal(2)
      >>> theta = family.natural_from_params(loc=[0.0, 1.0], scale=2.0)
      >>> float(theta.square)
      -0.125
    """

    dim: int

    Point = IsotropicNormalPoint
    Params = IsotropicNormalParams
    is_linear = True
    _square = "square"

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def _repeats(self) -> int:
        return self.dim

    @property
    def point_shape(self):
        return ((self.dim,), ())

    @property
    def event_shape(self):
        return (self.dim,)

    def statistics(self, x: ArrayLike) -> IsotropicNormalPoint:
        x = self._data(x)
        return IsotropicNormalPoint(x, jnp.sum(x * x, axis=-1))

    def log_partition(self, theta: IsotropicNormalPoint) -> Array:
        squared = jnp.sum(theta.x**2, axis=-1)
        return -squared / (4 * theta.square) + 0.5 * self.dim * jnp.log(math.pi / -theta.square)

    def mean_from_natural(self, theta: IsotropicNormalPoint) -> IsotropicNormalPoint:
        # As Normal: derivatives of psi divide by powers of theta that leave the range.
        self.batch_shape(theta)
        mean, variance = self.mean(theta), quotient(-0.5, theta.square)
        return IsotropicNormalPoint(mean, jnp.sum(mean**2, axis=-1) + self.dim * variance)

    def natural_from_mean(self, eta: IsotropicNormalPoint) -> IsotropicNormalPoint:
        spread = eta.square - jnp.sum(eta.x**2, axis=-1)
        return _natural(eta.x, spread / self.dim)

    def natural_from_params(self, loc: ArrayLike, scale: ArrayLike) -> IsotropicNormalPoint:
        """Natural parameter of a mean `loc` of shape `(..., dim)` and a deviation `scale > 0`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a wrong number of coordinates, a concrete `loc` that is not finite or a
            `scale` that is not positive and finite, or natural parameters out of range.
        """
        loc, scale = self._checked(loc, scale)
        return self._within_range(_natural(loc, scale**2))

    def _checked(self, loc: ArrayLike, scale: ArrayLike) -> tuple[Array, Array]:
        loc, scale = checks.floating_together(loc=loc, scale=scale)
        checks.require_trailing_shape("loc", loc, (self.dim,))
        checks.require_broadcastable(loc=loc.shape[:-1], scale=scale.shape)
        batch = jnp.broadcast_shapes(loc.shape[:-1], scale.shape)
        loc = jnp.broadcast_to(loc, (*batch, self.dim))
        checked_loc_scale(loc, jnp.broadcast_to(scale, batch)[..., None])
        return loc, jnp.broadcast_to(scale, batch)

    def params_from_natural(self, theta: IsotropicNormalPoint) -> IsotropicNormalParams:
        return IsotropicNormalParams(self.mean(theta), jax.lax.rsqrt(-2 * theta.square))

    def in_natural_domain(self, theta: IsotropicNormalPoint) -> Array:
        finite = jnp.isfinite(theta.x).all(axis=-1)
        return finite & (theta.square < 0) & (theta.square > -jnp.inf)

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x)).all(axis=-1)

    def mean(self, theta: IsotropicNormalPoint) -> Array:
        return quotient(-0.5 * theta.x, theta.square[..., None])

    def variance(self, theta: IsotropicNormalPoint) -> Array:
        return jnp.broadcast_to(quotient(-0.5, theta.square)[..., None], theta.x.shape)

    def mode(self, theta: IsotropicNormalPoint) -> Array:
        return self.mean(theta)

    def _entropy(self, theta: IsotropicNormalPoint) -> Array:
        return 0.5 * self.dim * jnp.log(math.pi * math.e / -theta.square)

    def _source_entropy(self, params: IsotropicNormalParams) -> Array:
        _, scale = self._checked(*params)
        return self.dim * scale_entropy(scale)

    def _bregman(
        self,
        theta: IsotropicNormalPoint,
        other: IsotropicNormalPoint,
        step: IsotropicNormalPoint,
    ) -> Array:
        # As for Normal, the part of the variances counted once a coordinate.
        push = step.x + 2 * self.mean(other) * step.square[..., None]
        gap = jnp.sum((push * jax.lax.rsqrt(-2 * theta.square)[..., None]) ** 2, axis=-1)
        return 0.5 * (self.dim * ratio_remainder(theta.square, other.square, step.square) + gap)

    def _source_parts(self, p: IsotropicNormalParams, q: IsotropicNormalParams, order: Array):
        (loc_p, scale_p), (loc_q, scale_q) = self._checked(*p), self._checked(*q)
        wide = (loc_p, scale_p[..., None]), (loc_q, scale_q[..., None])
        first, second, finite = loc_scale_parts(*wide, order)
        return first.sum(axis=-1), second.sum(axis=-1), finite.all(axis=-1)

    def _log_density(self, theta: IsotropicNormalPoint, x: Array) -> Array:
        squared = jnp.sum((x - self.mean(theta)) ** 2, axis=-1)
        return theta.square * squared + 0.5 * self.dim * jnp.log(-theta.square / math.pi)

    def _filled(self, x: ArrayLike) -> Array:
        x = self._data(x)
        return jnp.where(jnp.isnan(x), 0.0, x)

    def _observed_log_density(self, theta: IsotropicNormalPoint, x: ArrayLike) -> Array:
        theta, x = self._aligned(theta, x)
        seen, mean = ~jnp.isnan(x), self.mean(theta)
        possible = ~jnp.isinf(x).any(axis=-1)
        gap = jnp.where(seen & possible[..., None], jnp.where(seen, x, mean) - mean, 0.0)
        each = 0.5 * jnp.log(-theta.square / math.pi)
        value = theta.square * jnp.sum(gap**2, axis=-1) + each * jnp.sum(seen, axis=-1)
        return jnp.where(possible, value, -jnp.inf)

    def _expected_statistics(
        self, theta: IsotropicNormalPoint, x: ArrayLike
    ) -> IsotropicNormalPoint:
        theta, x = self._aligned(theta, x)
        missing = jnp.isnan(x)
        known = jnp.where(missing, self.mean(theta), x)
        hidden = jnp.sum(jnp.where(missing, self.variance(theta), 0.0), axis=-1)
        return IsotropicNormalPoint(known, jnp.sum(known * known, axis=-1) + hidden)

    def _fit(self, x: Array, weights: Array | None) -> IsotropicNormalPoint:
        mean = weighted_mean(x, weights)
        variance = weighted_mean(jnp.mean((x - mean[None]) ** 2, axis=-1), weights)
        # Constant data leave only the rounding of the mean: no variance at all.
        noise = (4 * jnp.finfo(x.dtype).eps * jnp.max(jnp.abs(mean), axis=-1)) ** 2
        return _natural(mean, jnp.where(variance > noise, variance, 0.0))

    def _draw(self, key, theta, shape):
        loc, scale = self.params_from_natural(theta)
        noise = jax.random.normal(key, (*shape, self.dim), theta.x.dtype)
        return loc + scale[..., None] * noise


def _natural(mean: Array, variance: Array) -> IsotropicNormalPoint:
    return IsotropicNormalPoint(quotient(mean, variance[..., None]), quotient(-0.5, variance))
