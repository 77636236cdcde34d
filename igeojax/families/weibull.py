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

# Zeta at 2, 3, ...: log-gamma of 1 + u is -euler u + sum zeta(k) (-u)^k / k.
_ZETA = (
    *(1.6449340668482264, 1.2020569031595943, 1.0823232337111382, 1.0369277551433699),
    *(1.0173430619844491, 1.0083492773819228),
)


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
        return _exp(math.lgamma(1 + order / self.shape))

    def mean(self, theta: WeibullPoint) -> Array:
        return self.params_from_natural(theta).scale * self._moment(1)

    def variance(self, theta: WeibullPoint) -> Array:
        # E[x^2] - E[x]^2 = E[x]^2 (e^d - 1) with d a difference of log-gammas, by its series where
        # the shape is so large that the subtraction would leave rounding.
        u = 1 / self.shape
        if self.shape > 200:
            terms = (z / k * (2**k - 2) * (-u) ** k for k, z in enumerate(_ZETA, 2))
            gap = math.fsum(terms)
        else:
            gap = math.lgamma(1 + 2 * u) - 2 * math.lgamma(1 + u)
        spread = self._moment(1) ** 2 * _expm1(gap)
        return self.params_from_natural(theta).scale ** 2 * spread

    def mode(self, theta: WeibullPoint) -> Array:
        share = max(1 - 1 / self.shape, 0.0) ** (1 / self.shape)
        return self.params_from_natural(theta).scale * share


def _exp(x: float) -> float:
    return math.exp(x) if x < 709 else math.inf


def _expm1(x: float) -> float:
    return math.expm1(x) if x < 709 else math.inf
