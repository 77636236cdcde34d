"""The inverse gamma family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.gamma import Gamma, GammaPoint
from igeojax.families.support import POSITIVES
from igeojax.numerics.incomplete import gammaincc
from igeojax.numerics.incomplete_inverse import gammainc_inverse
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.stirling import (
    HALF_LOG_TWO_PI,
    stirling_remainder,
    stirling_remainder_slope,
)
from igeojax.numerics.weighting import weighted_mean

_GAMMA = Gamma()


class InverseGammaPoint(NamedTuple):
    """Leaves: the statistics `log x` and `1/x`."""

    log_x: Float[Array, "*batch"]
    inverse_x: Float[Array, "*batch"]


class InverseGammaParams(NamedTuple):
    """Shape and scale; `1/x` is gamma distributed with this shape and this rate."""

    shape: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class InverseGamma(ExponentialFamily[InverseGammaPoint, InverseGammaParams]):
    """Reciprocal of a gamma variable: `T = (log x, 1/x)`, `theta = (-shape, -scale)`, `h = 1/x`.

    `psi = lgamma(-theta_1) + theta_1 log(-theta_2)`, that of `Gamma` with the sign of one leaf
    changed, and so are its divergences. The conjugate law of a normal variance.

    References:
      [Minka2002] (the gamma likelihood and its equations).

    Examples:
      >>> family = InverseGamma()
      >>> theta = family.natural_from_params(shape=3.0, scale=2.0)
      >>> float(family.mean_from_natural(theta).inverse_x)
      1.5
    """

    Point = InverseGammaPoint
    Params = InverseGammaParams
    _support = POSITIVES

    @property
    def point_shape(self):
        return ((), ())

    def statistics(self, x: ArrayLike) -> InverseGammaPoint:
        x = self._data(x)
        return InverseGammaPoint(jnp.log(x), 1 / x)

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -jnp.log(self._data(x))

    def mean_log_base_measure(self, theta: InverseGammaPoint) -> Array:
        return -self.mean_from_natural(theta).log_x

    def log_partition(self, theta: InverseGammaPoint) -> Array:
        return _GAMMA.log_partition(_reciprocal(theta))

    def mean_from_natural(self, theta: InverseGammaPoint) -> InverseGammaPoint:
        mean_log, mean = _GAMMA.mean_from_natural(_reciprocal(theta))
        return InverseGammaPoint(-mean_log, mean)

    def natural_from_mean(self, eta: InverseGammaPoint) -> InverseGammaPoint:
        return _point(_GAMMA.natural_from_mean(_reciprocal(eta)))

    def natural_from_params(self, shape: ArrayLike, scale: ArrayLike) -> InverseGammaPoint:
        """Natural parameter of `shape > 0` and `scale > 0`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete value is not positive and finite.
        """
        shape, scale = jnp.broadcast_arrays(*checks.floating_together(shape=shape, scale=scale))
        checks.require_positive("shape", shape)
        checks.require_positive("scale", scale)
        return InverseGammaPoint(-shape, -scale)

    def params_from_natural(self, theta: InverseGammaPoint) -> InverseGammaParams:
        return InverseGammaParams(-theta.log_x, -theta.inverse_x)

    def in_natural_domain(self, theta: InverseGammaPoint) -> Array:
        return _GAMMA.in_natural_domain(_reciprocal(theta))

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x > 0) & (x < jnp.inf)

    def _entropy(self, theta: InverseGammaPoint) -> Array:
        # As in Gamma, and twice the mean of log x: log scale - digamma(shape).
        a, scale = self.params_from_natural(theta)
        size = jnp.log(scale / a / jnp.sqrt(a)) + (HALF_LOG_TWO_PI + 0.5)
        rest = stirling_remainder(a) - (1 + a) * stirling_remainder_slope(a) + 0.5 / a
        return size + rest

    def _log_density(self, theta: InverseGammaPoint, x: Array) -> Array:
        a, scale = self.params_from_natural(theta)
        deviance = a * ratio_remainder(scale / a, x)
        return jnp.log(jnp.sqrt(a) / x) - deviance - HALF_LOG_TWO_PI - stirling_remainder(a)

    def _bregman(
        self, theta: InverseGammaPoint, other: InverseGammaPoint, step: InverseGammaPoint
    ) -> Array:
        return _GAMMA._bregman(_reciprocal(theta), _reciprocal(other), _reciprocal(step))

    def mean(self, theta: InverseGammaPoint) -> Array:
        """Mean `scale / (shape - 1)`; inf where the shape is at most 1."""
        shape, scale = self.params_from_natural(theta)
        finite = shape > 1
        return jnp.where(finite, scale / jnp.where(finite, shape - 1, 1.0), jnp.inf)

    def variance(self, theta: InverseGammaPoint) -> Array:
        """Variance `mean^2 / (shape - 2)`; inf where the shape is at most 2."""
        shape, scale = self.params_from_natural(theta)
        finite = shape > 2
        safe = jnp.where(finite, shape, 3.0)
        return jnp.where(finite, (scale / (safe - 1)) ** 2 / (safe - 2), jnp.inf)

    def mode(self, theta: InverseGammaPoint) -> Array:
        shape, scale = self.params_from_natural(theta)
        return scale / (shape + 1)

    def _cdf(self, theta: InverseGammaPoint, x: Array) -> Array:
        shape, scale = self.params_from_natural(theta)
        inside = x > 0
        ratio = scale / jnp.where(inside, x, 1.0)
        shape, ratio = jnp.broadcast_arrays(shape, ratio)
        return jnp.where(inside, gammaincc(shape, ratio), 0.0)

    def _quantile(self, theta: InverseGammaPoint, probability: Array) -> Array:
        shape, scale = self.params_from_natural(theta)
        shape, scale, level = jnp.broadcast_arrays(shape, scale, probability)
        return scale / gammainc_inverse(jnp.where(scale > 0, shape, jnp.nan), 1 - level, level)

    def _fit(self, x: Array, weights: Array | None) -> InverseGammaPoint:
        # With the harmonic mean m and r = m / x: E[log x] - log m = E[r - 1 - log r].
        mean = 1 / weighted_mean(1 / x, weights)
        center = jnp.broadcast_to(mean[None], x.shape)
        gap = weighted_mean(ratio_remainder(center, x), weights)
        # Constant data leave only the rounding of the mean: no gap at all.
        noise = 8 * jnp.finfo(gap.dtype).eps ** 2
        return _point(_GAMMA._natural_from_gap(1 / mean, jnp.where(gap > noise, gap, 0.0)))

    def _draw(self, key, theta, shape):
        # loggamma cannot underflow where a small shape draws below the smallest float.
        log_draw = jax.random.loggamma(key, -theta.log_x, shape, theta.log_x.dtype)
        limits = jnp.finfo(theta.log_x.dtype)
        return jnp.clip(jnp.exp(jnp.log(-theta.inverse_x) - log_draw), limits.tiny, limits.max)


def _reciprocal(point: InverseGammaPoint) -> GammaPoint:
    """The same point or step for `1/x`."""
    return GammaPoint(-point.log_x, point.inverse_x)


def _point(theta: GammaPoint) -> InverseGammaPoint:
    return InverseGammaPoint(-theta.log_x, theta.x)
