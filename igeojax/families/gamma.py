"""The gamma family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.support import POSITIVES
from igeojax.numerics.gamma import (
    gamma_log_density,
    log_gamma,
    log_minus_digamma_inverse,
    shape_bregman,
)
from igeojax.numerics.incomplete import gammainc
from igeojax.numerics.incomplete_inverse import gammainc_inverse
from igeojax.numerics.remainders import log1p_remainder, ratio_remainder
from igeojax.numerics.safe import quotient
from igeojax.numerics.stirling import (
    HALF_LOG_TWO_PI,
    digamma,
    stirling_remainder,
    stirling_remainder_slope,
)
from igeojax.numerics.weighting import weighted_mean


class GammaPoint(NamedTuple):
    """Leaves: the statistics `log x` and `x`."""

    log_x: Float[Array, "*batch"]
    x: Float[Array, "*batch"]


class GammaParams(NamedTuple):
    """Shape and rate; the mean is `shape / rate` (scipy's `scale` is the inverse rate)."""

    shape: Float[Array, "*batch"]
    rate: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Gamma(ExponentialFamily[GammaPoint, GammaParams]):
    """Positive reals: `T = (log x, x)`, `theta = (shape, -rate)`, `h = 1/x`.

    `psi = lgamma(theta_1) - theta_1 log(-theta_2)`. The base measure `1/x` keeps the shape exact
    (no `shape - 1` in float32). The chi-square law with k degrees is `shape = k/2, rate = 1/2`.

    References:
      [Minka2002] (the likelihood and its equations).

    Examples:
      >>> gamma = Gamma()
      >>> theta = gamma.natural_from_params(shape=3.0, rate=2.0)
      >>> float(gamma.mean_from_natural(theta).x)
      1.5
    """

    Point = GammaPoint
    Params = GammaParams
    _support = POSITIVES

    @property
    def point_shape(self):
        return ((), ())

    def statistics(self, x: ArrayLike) -> GammaPoint:
        x = self._data(x)
        return GammaPoint(jnp.log(x), x)

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -jnp.log(self._data(x))

    def mean_log_base_measure(self, theta: GammaPoint) -> Array:
        return -self.mean_from_natural(theta).log_x

    def log_partition(self, theta: GammaPoint) -> Array:
        return log_gamma(theta.log_x) - theta.log_x * jnp.log(-theta.x)

    def mean_from_natural(self, theta: GammaPoint) -> GammaPoint:
        self.batch_shape(theta)
        mean = quotient(theta.log_x, -theta.x)
        return GammaPoint(digamma(theta.log_x) - jnp.log(-theta.x), mean)

    def natural_from_mean(self, eta: GammaPoint) -> GammaPoint:
        """Inverse mean map: the shape solves `log a - digamma(a) = log E[x] - E[log x]`."""
        return self._natural_from_gap(eta.x, jnp.log(eta.x) - eta.log_x)

    def natural_from_params(self, shape: ArrayLike, rate: ArrayLike) -> GammaPoint:
        """Natural parameter of `shape > 0` and `rate > 0`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete value is not positive and finite.
        """
        shape, rate = jnp.broadcast_arrays(*checks.floating_together(shape=shape, rate=rate))
        checks.require_positive("shape", shape)
        checks.require_positive("rate", rate, "A scale is the inverse of a rate.")
        return GammaPoint(shape, -rate)

    def params_from_natural(self, theta: GammaPoint) -> GammaParams:
        return GammaParams(theta.log_x, -theta.x)

    def in_natural_domain(self, theta: GammaPoint) -> Array:
        finite = jnp.isfinite(theta.log_x) & jnp.isfinite(theta.x)
        return finite & (theta.log_x > 0) & (theta.x < 0)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x > 0) & (x < jnp.inf)

    def _entropy(self, theta: GammaPoint) -> Array:
        # With Stirling's remainder the terms of size a log a cancel on paper.
        a = theta.log_x
        scale = jnp.log(quotient(jnp.sqrt(a), -theta.x)) + (HALF_LOG_TWO_PI + 0.5)
        rest = stirling_remainder(a) + (1 - a) * stirling_remainder_slope(a) - 0.5 / a
        return scale + rest

    def _log_density(self, theta: GammaPoint, x: Array) -> Array:
        return gamma_log_density(theta.log_x, self.mean(theta), x)

    def _bregman(self, theta: GammaPoint, other: GammaPoint, step: GammaPoint) -> Array:
        # KL(other || theta) = a (c/a - 1 - log(c/a)) + (remainder of the shapes), with c the shape
        # that theta would need for the mean of other: it splits into a part of the means and one of
        # the shapes, neither negative. c/a - 1 is made of the differences of the parameters.
        a, shape = theta.log_x, other.log_x
        scale, share = quotient(step.x, other.x), quotient(shape, a)
        relative = share * scale - quotient(step.log_x, a)
        near = jnp.abs(relative) < 0.5
        close = log1p_remainder(jnp.where(near, relative, 0.0))
        far = ratio_remainder(share * quotient(theta.x, other.x), jnp.ones_like(a))
        return a * jnp.where(near, close, far) + shape_bregman(a, shape, step.log_x)

    def mean(self, theta: GammaPoint) -> Array:
        return quotient(theta.log_x, -theta.x)

    def variance(self, theta: GammaPoint) -> Array:
        return theta.log_x / theta.x**2

    def mode(self, theta: GammaPoint) -> Array:
        return jnp.maximum(theta.log_x - 1, 0.0) / -theta.x

    def _cdf(self, theta: GammaPoint, x: Array) -> Array:
        shape, scaled = jnp.broadcast_arrays(theta.log_x, -theta.x * jnp.maximum(x, 0.0))
        return gammainc(shape, scaled)

    def _quantile(self, theta: GammaPoint, probability: Array) -> Array:
        shape, rate, level = jnp.broadcast_arrays(theta.log_x, -theta.x, probability)
        value = gammainc_inverse(jnp.where(rate > 0, shape, jnp.nan), level, 1 - level)
        # A quantile below the smallest float stays in the support.
        lowest = jnp.finfo(value.dtype).tiny
        return jnp.where(value == lowest, lowest, jnp.maximum(value / rate, lowest))

    def _fit(self, x: Array, weights: Array | None) -> GammaPoint:
        # With r = x / mean, log E[x] - E[log x] = E[r - 1 - log r]: no cancellation.
        mean = weighted_mean(x, weights)
        gap = weighted_mean(log1p_remainder((x - mean[None]) / mean[None]), weights)
        # Constant data leave only the rounding of the mean: no gap at all.
        noise = 8 * jnp.finfo(gap.dtype).eps ** 2
        return self._natural_from_gap(mean, jnp.where(gap > noise, gap, 0.0))

    def _natural_from_gap(self, mean: Array, gap: Array) -> GammaPoint:
        shape = log_minus_digamma_inverse(gap)
        return GammaPoint(shape, quotient(-shape, mean))

    def _draw(self, key, theta, shape):
        # loggamma cannot underflow where a small shape draws below the smallest float.
        log_draw = jax.random.loggamma(key, theta.log_x, shape, theta.x.dtype)
        return jnp.maximum(jnp.exp(log_draw - jnp.log(-theta.x)), jnp.finfo(theta.x.dtype).tiny)
