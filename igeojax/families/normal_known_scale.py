"""The normal family of known standard deviation: the model of squared-error regression."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import ndtr, ndtri
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.support import REALS


class NormalKnownScalePoint(NamedTuple):
    """One leaf: the statistic `x`."""

    x: Float[Array, "*batch"]


class NormalKnownScaleParams(NamedTuple):
    """The mean."""

    loc: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NormalKnownScale(ExponentialFamily[NormalKnownScalePoint, NormalKnownScaleParams]):
    """Normal law of known deviation s: `T = x`, `theta = m / s^2`, `psi = s^2 theta^2 / 2`.

    The base measure is the density of `N(0, s^2)`. Minus the log-density is squared error over
    `2 s^2` plus a constant.

    Args:
      scale: the known standard deviation, a Python number; part of the static description.

    Raises:
      TypeError: `scale` is not a Python number.
      ValueError: `scale` is not positive and finite.

    Examples:
      >>> family = NormalKnownScale(scale=2.0)
      >>> float(family.natural_from_params(loc=1.0).x)
      0.25
    """

    scale: float = 1.0

    Point = NormalKnownScalePoint
    Params = NormalKnownScaleParams
    _support = REALS
    conjugate_prior = "Normal"

    def __post_init__(self):
        checks.require_number("scale", self.scale, "use Normal() where the scale is learned")
        checks.require_positive("scale", self.scale, "It is the standard deviation.")

    @property
    def point_shape(self):
        return ((),)

    def statistics(self, x: ArrayLike) -> NormalKnownScalePoint:
        return NormalKnownScalePoint(self._data(x))

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -0.5 * (self._data(x) / self.scale) ** 2 - self._log_norm

    def mean_log_base_measure(self, theta: NormalKnownScalePoint) -> Array:
        return -0.5 * ((self.scale * theta.x) ** 2 + 1) - self._log_norm

    def log_partition(self, theta: NormalKnownScalePoint) -> Array:
        return 0.5 * (self.scale * theta.x) ** 2

    def natural_from_mean(self, eta: NormalKnownScalePoint) -> NormalKnownScalePoint:
        return NormalKnownScalePoint(eta.x / self.scale**2)

    def natural_from_params(self, loc: ArrayLike) -> NormalKnownScalePoint:
        """Natural parameter of a mean `loc`.

        Raises:
          TypeError: `loc` is not real.
          ValueError: a concrete `loc` is not finite, or `loc / scale^2` out of range.
        """
        loc = checks.floating("loc", loc)
        checks.require_finite("loc", loc)
        return self._within_range(NormalKnownScalePoint(loc / self.scale**2))

    def params_from_natural(self, theta: NormalKnownScalePoint) -> NormalKnownScaleParams:
        return NormalKnownScaleParams(theta.x * self.scale**2)

    def in_natural_domain(self, theta: NormalKnownScalePoint) -> Array:
        return jnp.isfinite(theta.x)

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x))

    def _entropy(self, theta: NormalKnownScalePoint) -> Array:
        self.batch_shape(theta)
        return jnp.full_like(theta.x, self._log_norm + 0.5)

    def _bregman(
        self,
        theta: NormalKnownScalePoint,
        other: NormalKnownScalePoint,
        step: NormalKnownScalePoint,
    ) -> Array:
        return 0.5 * (self.scale * step.x) ** 2

    def mean(self, theta: NormalKnownScalePoint) -> Array:
        return theta.x * self.scale**2

    def variance(self, theta: NormalKnownScalePoint) -> Array:
        return jnp.full_like(theta.x, self.scale**2)

    def mode(self, theta: NormalKnownScalePoint) -> Array:
        return self.mean(theta)

    def _cdf(self, theta: NormalKnownScalePoint, x: Array) -> Array:
        return ndtr(x / self.scale - self.scale * theta.x)

    def _quantile(self, theta: NormalKnownScalePoint, probability: Array) -> Array:
        return self.scale * (self.scale * theta.x + ndtri(probability))

    def _natural_step(
        self, params: NormalKnownScaleParams, other: NormalKnownScaleParams
    ) -> NormalKnownScalePoint:
        return NormalKnownScalePoint(
            (jnp.asarray(params.loc) - jnp.asarray(other.loc)) / self.scale**2
        )

    def _log_density(self, theta: NormalKnownScalePoint, x: Array) -> Array:
        return -0.5 * (x / self.scale - self.scale * theta.x) ** 2 - self._log_norm

    def _draw(self, key, theta, shape):
        noise = jax.random.normal(key, shape, theta.x.dtype)
        return self.scale * (self.scale * theta.x + noise)

    @property
    def _log_norm(self) -> float:
        return math.log(self.scale) + 0.5 * math.log(2 * math.pi)
