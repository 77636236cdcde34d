"""The Weibull family of known shape."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.exponential import Exponential
from igeojax.families.pushforward import Pushforward
from igeojax.numerics.remainders import log_ratio


class WeibullPoint(NamedTuple):
    """One leaf: the statistic `x^shape`."""

    power: Float[Array, "*batch"]


class WeibullParams(NamedTuple):
    """Scale, in the unit of the data."""

    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Weibull(Pushforward[WeibullPoint, WeibullParams]):
    """Life times of known shape k: `T = x^k`, `theta = -scale^-k`, `psi = -log(-theta)`.

    `x^k` is exponential of rate `scale^-k`; `h = k x^(k-1)`.

    Args:
      shape: the known shape `k > 0`, a Python number; part of the static description.

    Raises:
      TypeError: `shape` is not a Python number.
      ValueError: `shape` is not positive and finite.

    References:
      [JohnsonKotzBalakrishnan1994] chapter 21.

    Examples:
      >>> family = Weibull(shape=2.0)
      >>> float(family.natural_from_params(scale=2.0).power)
      -0.25
    """

    shape: float

    Point = WeibullPoint
    Params = WeibullParams
    conjugate_prior = "Gamma"
    _base = Exponential()

    def __post_init__(self):
        checks.require_number("shape", self.shape, "the shape is known here")
        checks.require_positive("shape", self.shape)

    def _pull(self, x: Array) -> Array:
        return x**self.shape

    def _push(self, y: Array) -> Array:
        return y ** (1 / self.shape)

    def _log_jacobian(self, x: Array) -> Array:
        slope = 0.0 if self.shape == 1 else (self.shape - 1) * jnp.log(x)
        return math.log(self.shape) + slope + jnp.zeros_like(x)

    def _mean_log_jacobian(self, theta: WeibullPoint) -> Array:
        # E log y of an exponential variable is minus Euler's constant minus the log of the rate.
        mean_log = -np.euler_gamma - jnp.log(-theta.power)
        return math.log(self.shape) + (1 - 1 / self.shape) * mean_log

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x < jnp.inf)

    def natural_from_params(self, scale: ArrayLike) -> WeibullPoint:
        """Natural parameter of a `scale > 0`.

        Raises:
          TypeError: `scale` is not real.
          ValueError: a concrete scale is not positive and finite, or `scale^-shape` leaves the
            range of the dtype.
        """
        scale = checks.floating("scale", scale)
        checks.require_positive("scale", scale)
        rate = scale**-self.shape
        checks.require_positive("scale^-shape", rate, "Change the unit of the data.")
        return WeibullPoint(-rate)

    def params_from_natural(self, theta: WeibullPoint) -> WeibullParams:
        return WeibullParams((-theta.power) ** (-1 / self.shape))

    def _natural_step(self, params: WeibullParams, other: WeibullParams) -> WeibullPoint:
        base = self.natural_from_params(*other).power
        return WeibullPoint(base * jnp.expm1(-self.shape * log_ratio(params.scale, other.scale)))

    def _moment(self, order: float) -> float:
        return math.gamma(1 + order / self.shape)

    def mean(self, theta: WeibullPoint) -> Array:
        return self.params_from_natural(theta).scale * self._moment(1)

    def variance(self, theta: WeibullPoint) -> Array:
        spread = self._moment(2) - self._moment(1) ** 2
        return self.params_from_natural(theta).scale ** 2 * spread

    def mode(self, theta: WeibullPoint) -> Array:
        share = max(1 - 1 / self.shape, 0.0) ** (1 / self.shape)
        return self.params_from_natural(theta).scale * share
