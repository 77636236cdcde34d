"""The univariate normal family."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, ArrayLike, Float

from igeojax.families.base import ExponentialFamily
from igeojax.families.covariance import checked_loc_scale, loc_scale_parts, scale_entropy
from igeojax.families.frames import ScaleFrames
from igeojax.families.support import REALS
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.safe import quotient
from igeojax.numerics.weighting import weighted_mean


class NormalPoint(NamedTuple):
    """Leaves: the statistics `x` and `x^2`."""

    x: Float[Array, "*batch"]
    xx: Float[Array, "*batch"]


class NormalParams(NamedTuple):
    """Mean and standard deviation."""

    loc: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Normal(ScaleFrames, ExponentialFamily[NormalPoint, NormalParams]):
    """The normal law: `T = (x, x^2)`, `theta = (m/s^2, -1/(2 s^2))`, `h = 1`.

    `psi = -theta_1^2 / (4 theta_2) + log(pi / -theta_2) / 2`. Densities, divergences and fits use
    centred forms: at `m/s = 1e4` in float32 `<theta, T> - psi` keeps no digit.

    References:
      [Amari2016] section 2.2.1 (Gaussian distribution).

    Examples:
      >>> normal = Normal()
      >>> theta = normal.natural_from_params(loc=1.0, scale=2.0)
      >>> theta.x.item(), theta.xx.item()
      (0.25, -0.125)
    """

    Point = NormalPoint
    Params = NormalParams
    _support = REALS
    conjugate_prior = "NormalInverseGamma"
    is_linear = True

    @property
    def point_shape(self):
        return ((), ())

    def statistics(self, x: ArrayLike) -> NormalPoint:
        x = self._data(x)
        return NormalPoint(x, x * x)

    def log_partition(self, theta: NormalPoint) -> Array:
        return -(theta.x**2) / (4 * theta.xx) + 0.5 * jnp.log(math.pi / -theta.xx)

    def mean_from_natural(self, theta: NormalPoint) -> NormalPoint:
        # Derivatives of psi itself divide by theta_2^3, which underflows for a scale of 1e6.
        self.batch_shape(theta)
        mean = self.mean(theta)
        return NormalPoint(mean, mean**2 + self.variance(theta))

    def natural_from_mean(self, eta: NormalPoint) -> NormalPoint:
        return _natural(eta.x, eta.xx - eta.x**2)

    def natural_from_params(self, loc: ArrayLike, scale: ArrayLike) -> NormalPoint:
        """Natural parameter of a mean `loc` and a standard deviation `scale > 0`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete `loc` is not finite or a `scale` not positive and finite, or the
            natural parameters leave the range of the dtype.
        """
        loc, scale = checked_loc_scale(loc, scale)
        return self._within_range(_natural(loc, jnp.where(scale > 0, scale, jnp.nan) ** 2))

    def params_from_natural(self, theta: NormalPoint) -> NormalParams:
        return NormalParams(self.mean(theta), jax.lax.rsqrt(-2 * theta.xx))

    def in_natural_domain(self, theta: NormalPoint) -> Array:
        return jnp.isfinite(theta.x) & (theta.xx < 0) & (theta.xx > -jnp.inf)

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x))

    def _entropy(self, theta: NormalPoint) -> Array:
        return 0.5 * jnp.log(math.pi * math.e / -theta.xx)

    def _bregman(self, theta: NormalPoint, other: NormalPoint, step: NormalPoint) -> Array:
        # KL(other || theta) = 1/2 [rho - 1 - log rho] + (difference of means)^2 / (2 variance)
        # with rho the ratio of variances; both differences are taken between naturals.
        mean = -other.x / (2 * other.xx)
        push = step.x + 2 * mean * step.xx
        # Scaled before it is squared: the square alone overflows for scales of 1e-10 in float32.
        return 0.5 * (
            ratio_remainder(theta.xx, other.xx, step.xx)
            + (push * jax.lax.rsqrt(-2 * theta.xx)) ** 2
        )

    def _natural_step(self, params: NormalParams, other: NormalParams) -> NormalPoint:
        pairs = (*checked_loc_scale(*params), *checked_loc_scale(*other))
        loc, scale, base, unit = jnp.broadcast_arrays(*pairs)
        squares = 0.5 * (scale - unit) / scale / unit * (1 / scale + 1 / unit)
        return NormalPoint((loc - base) / scale / scale - 2 * base * squares, squares)

    def _source_parts(self, p: NormalParams, q: NormalParams, order: Array):
        return loc_scale_parts(p, q, order)

    def _source_entropy(self, params: NormalParams) -> Array:
        return scale_entropy(checked_loc_scale(*params)[1])

    def mean(self, theta: NormalPoint) -> Array:
        return quotient(-0.5 * theta.x, theta.xx)

    def variance(self, theta: NormalPoint) -> Array:
        return quotient(-0.5, theta.xx)

    def mode(self, theta: NormalPoint) -> Array:
        return self.mean(theta)

    def _cdf(self, theta: NormalPoint, x: Array) -> Array:
        loc, scale = self.params_from_natural(theta)
        return ndtr((x - loc) / scale)

    def _quantile(self, theta: NormalPoint, probability: Array) -> Array:
        loc, scale = self.params_from_natural(theta)
        return loc + scale * ndtri(probability)

    def _log_density(self, theta: NormalPoint, x: Array) -> Array:
        return theta.xx * (x - self.mean(theta)) ** 2 + 0.5 * jnp.log(-theta.xx / math.pi)

    def _fit(self, x: Array, weights: Array | None) -> NormalPoint:
        mean = weighted_mean(x, weights)
        variance = weighted_mean((x - mean[None]) ** 2, weights)
        # Constant data leave only the rounding of the mean: no variance at all.
        noise = (4 * jnp.finfo(variance.dtype).eps * mean) ** 2
        return _natural(mean, jnp.where(variance > noise, variance, 0.0))

    def _draw(self, key, theta, shape):
        loc, scale = self.params_from_natural(theta)
        return loc + scale * jax.random.normal(key, shape, theta.x.dtype)


def _natural(mean: Array, variance: Array) -> NormalPoint:
    return NormalPoint(quotient(mean, variance), quotient(-0.5, variance))
