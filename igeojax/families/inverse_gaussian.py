"""The inverse Gaussian family."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.support import POSITIVES
from igeojax.numerics.exponential_integral import scaled_exponential_integral
from igeojax.numerics.incomplete import scaled_erfc
from igeojax.numerics.quantile import inverse_cdf
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.weighting import weighted_mean


class InverseGaussianPoint(NamedTuple):
    """Leaves: the statistics `x` and `1/x`."""

    x: Float[Array, "*batch"]
    inverse: Float[Array, "*batch"]


class InverseGaussianParams(NamedTuple):
    """Mean and shape (lambda); scipy's `invgauss(mu=mean/shape, scale=shape)`."""

    mean: Float[Array, "*batch"]
    shape: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class InverseGaussian(ExponentialFamily[InverseGaussianPoint, InverseGaussianParams]):
    """First passage times: `T = (x, 1/x)`, `theta = (-l / (2 m^2), -l/2)`, `h = (2 pi x^3)^(-1/2)`.

    `psi = -2 sqrt(theta_1 theta_2) - log(-2 theta_2) / 2`, m the mean and l the shape.

    References:
      [JohnsonKotzBalakrishnan1994] chapter 15; [Michael1976] (the sampler).

    Examples:
      >>> family = InverseGaussian()
      >>> theta = family.natural_from_params(mean=2.0, shape=3.0)
      >>> [round(float(v), 6) for v in family.mean_from_natural(theta)]
      [2.0, 0.833333]
    """

    Point = InverseGaussianPoint
    Params = InverseGaussianParams
    _support = POSITIVES

    @property
    def point_shape(self):
        return ((), ())

    def statistics(self, x: ArrayLike) -> InverseGaussianPoint:
        x = self._data(x)
        return InverseGaussianPoint(x, 1 / x)

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -0.5 * math.log(2 * math.pi) - 1.5 * jnp.log(self._data(x))

    def mean_log_base_measure(self, theta: InverseGaussianPoint) -> Array:
        return -0.5 * math.log(2 * math.pi) - 1.5 * self._mean_log(theta)

    def _mean_log(self, theta: InverseGaussianPoint) -> Array:
        mean, shape = self.params_from_natural(theta)
        return jnp.log(mean) - scaled_exponential_integral(2 * shape / mean)

    def log_partition(self, theta: InverseGaussianPoint) -> Array:
        root = jnp.sqrt(-theta.x) * jnp.sqrt(-theta.inverse)
        return -2 * root - 0.5 * jnp.log(-2 * theta.inverse)

    def natural_from_mean(self, eta: InverseGaussianPoint) -> InverseGaussianPoint:
        return _natural(eta.x, eta.inverse - 1 / eta.x)

    def natural_from_params(self, mean: ArrayLike, shape: ArrayLike) -> InverseGaussianPoint:
        """Natural parameter of a `mean > 0` and a `shape > 0`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete value is not positive and finite, or `shape / mean^2` is out of the
            range of the dtype.
        """
        mean, shape = jnp.broadcast_arrays(*checks.floating_together(mean=mean, shape=shape))
        checks.require_positive("mean", mean)
        checks.require_positive("shape", shape)
        theta = InverseGaussianPoint(-0.5 * shape / mean / mean, -0.5 * shape)
        return self._within_range(theta)

    def params_from_natural(self, theta: InverseGaussianPoint) -> InverseGaussianParams:
        return InverseGaussianParams(self.mean(theta), -2 * theta.inverse)

    def in_natural_domain(self, theta: InverseGaussianPoint) -> Array:
        finite = (theta.x > -jnp.inf) & (theta.inverse > -jnp.inf)
        return finite & (theta.x < 0) & (theta.inverse < 0)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x > 0) & (x < jnp.inf)

    def mean(self, theta: InverseGaussianPoint) -> Array:
        return jnp.sqrt(theta.inverse / theta.x)

    def variance(self, theta: InverseGaussianPoint) -> Array:
        mean, shape = self.params_from_natural(theta)
        return mean**3 / shape

    def mode(self, theta: InverseGaussianPoint) -> Array:
        mean, shape = self.params_from_natural(theta)
        k = 1.5 * mean / shape
        return mean / (jnp.sqrt(1 + k * k) + k)

    def _bregman(
        self,
        theta: InverseGaussianPoint,
        other: InverseGaussianPoint,
        step: InverseGaussianPoint,
    ) -> Array:
        # KL(other || theta) = remainder(l / l_o) / 2 + l m_o (1/m - 1/m_o)^2 / 2: the difference of
        # inverse means from that of their squares theta_1 / theta_2.
        root = jnp.sqrt(theta.x / theta.inverse), jnp.sqrt(other.x / other.inverse)
        gap = (step.x - other.x / other.inverse * step.inverse) / theta.inverse
        gap = gap / (root[0] + root[1])
        shapes = ratio_remainder(theta.inverse, other.inverse, step.inverse)
        return 0.5 * shapes - theta.inverse * gap**2 / root[1]

    def _natural_step(
        self, params: InverseGaussianParams, other: InverseGaussianParams
    ) -> InverseGaussianPoint:
        # 1/m^2 - 1/m'^2 from the difference of the means.
        mean, base = jnp.asarray(params.mean), jnp.asarray(other.mean)
        change = (base - mean) / mean / base * (1 / mean + 1 / base)
        shapes = jnp.asarray(params.shape) - other.shape
        step = shapes / mean / mean + other.shape * change
        return InverseGaussianPoint(*jnp.broadcast_arrays(-0.5 * step, -0.5 * shapes))

    def _entropy(self, theta: InverseGaussianPoint) -> Array:
        shape = -2 * theta.inverse
        return 0.5 * jnp.log(2 * math.pi * math.e / shape) + 1.5 * self._mean_log(theta)

    def _log_density(self, theta: InverseGaussianPoint, x: Array) -> Array:
        mean, shape = self.params_from_natural(theta)
        push = shape * ((x - mean) / mean) ** 2 / x
        return 0.5 * (jnp.log(shape / (2 * math.pi)) - 3 * jnp.log(x) - push)

    def _cdf(self, theta: InverseGaussianPoint, x: Array) -> Array:
        inside = (x > 0) & (x < jnp.inf)
        value = self._tails(theta, jnp.where(inside, x, 1.0))[0]
        return jnp.where(inside, value, jnp.where(x > 0, 1.0, 0.0))

    def _tails(self, theta: InverseGaussianPoint, x: Array) -> tuple[Array, Array]:
        """Both tails at a positive x."""
        mean, shape = self.params_from_natural(theta)
        root = jnp.sqrt(shape / x)
        # exp(2 shape/mean) ndtr(-z), whose exponents cancel on paper: a scaled tail function.
        z, mirror = root * ((x - mean) / mean), root * (x / mean + 1)
        height = 0.5 * jnp.exp(-0.5 * z**2)
        mirrored = height * scaled_erfc(mirror / math.sqrt(2))
        return jnp.minimum(ndtr(z) + mirrored, 1.0), jnp.maximum(ndtr(-z) - mirrored, 0.0)

    def _quantile(self, theta: InverseGaussianPoint, probability: Array) -> Array:
        *leaves, level = jnp.broadcast_arrays(*theta, probability)
        theta = InverseGaussianPoint(*leaves)
        fixed = jax.lax.stop_gradient(theta), jax.lax.stop_gradient(level)
        start = self._quantile_start(*fixed)
        tails, density = _FAMILY._tails, _FAMILY._log_density
        return inverse_cdf(tails, density, math.inf, theta, level, 1 - level, start)

    def _quantile_start(self, theta: InverseGaussianPoint, level: Array) -> Array:
        """A log-normal law of the same moments, or Levy's law, which lies above."""
        mean, shape = self.params_from_natural(theta)
        spread = jnp.log1p(mean / shape)
        normal = mean * jnp.exp(jnp.sqrt(spread) * ndtri(level) - 0.5 * spread)
        levy = shape / ndtri(0.5 * level) ** 2
        start = jnp.where((spread < 0.5) | (level > 0.5), normal, levy)
        return jnp.where(self.in_natural_domain(theta), start, jnp.nan)

    def _fit(self, x: Array, weights: Array | None) -> InverseGaussianPoint:
        mean = weighted_mean(x, weights)
        # E[1/x] - 1/m as the mean of (x - m)^2 / (x m^2): no cancellation.
        gap = weighted_mean(((x - mean[None]) / mean[None]) ** 2 / x, weights)
        # Constant data leave only the rounding of the mean: no spread at all.
        noise = (4 * jnp.finfo(gap.dtype).eps) ** 2 / mean
        return _natural(mean, jnp.where(gap > noise, gap, 0.0))

    def _draw(self, key, theta, shape):
        mean, size = self.params_from_natural(theta)
        normal, uniform = jax.random.split(key)
        dtype = theta.x.dtype
        half = 0.5 * mean / size * jax.random.normal(normal, shape, dtype) ** 2
        small = mean / (1 + half + jnp.sqrt(half) * jnp.sqrt(2 + half))
        first = jax.random.uniform(uniform, shape, dtype) * (mean + small) <= mean
        return jnp.where(first, small, mean * (mean / small))


_FAMILY = InverseGaussian()


def _natural(mean: Array, gap: Array) -> InverseGaussianPoint:
    """Of the mean and `E[1/x] - 1/mean`, the inverse shape."""
    return InverseGaussianPoint(-0.5 / gap / mean / mean, -0.5 / gap)
