"""The Laplace family of known location."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.exponential import Exponential
from igeojax.families.pushforward import Pushforward
from igeojax.families.support import REALS
from igeojax.numerics.remainders import log_ratio
from igeojax.numerics.safe import quotient


class LaplacePoint(NamedTuple):
    """One leaf: the statistic `|x - loc|`."""

    distance: Float[Array, "*batch"]


class LaplaceParams(NamedTuple):
    """Scale: the mean absolute deviation."""

    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Laplace(Pushforward[LaplacePoint, LaplaceParams]):
    """Double exponential law of known `loc`: `T = |x - loc|`, `theta = -1/scale`, `h = 1`.

    `psi = log(2 / -theta)`; `T` is exponential of rate `1/scale`.

    Args:
      loc: the known location, a Python number; part of the static description.

    Raises:
      TypeError: `loc` is not a Python number.
      ValueError: `loc` is not finite.

    References:
      [JohnsonKotzBalakrishnan1995] chapter 24.

    Examples:
      >>> family = Laplace(loc=0.0)
      >>> round(float(family.log_density(family.natural_from_params(scale=1.0), 0.0)), 6)
      -0.693147
    """

    loc: float = 0.0

    Point = LaplacePoint
    Params = LaplaceParams
    _support = REALS
    conjugate_prior = "Gamma"
    _base = Exponential()
    _constant = math.log(2.0)

    def __post_init__(self):
        checks.require_number("loc", self.loc, "the location is known here")
        checks.require_finite("loc", self.loc)

    def _pull(self, x: Array) -> Array:
        return jnp.abs(x - self.loc)

    def _push(self, y: Array) -> Array:
        return self.loc + y

    def _log_jacobian(self, x: Array) -> Array:
        # Two observations share one distance.
        return jnp.full_like(x, -math.log(2.0))

    def _mean_log_jacobian(self, theta: LaplacePoint) -> Array:
        return jnp.full_like(theta.distance, -math.log(2.0))

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x))

    def natural_from_params(self, scale: ArrayLike) -> LaplacePoint:
        """Natural parameter of a `scale > 0`.

        Raises:
          TypeError: `scale` is not real.
          ValueError: a concrete scale is not positive and finite, or `1 / scale` out of range.
        """
        scale = checks.floating("scale", scale)
        checks.require_positive("scale", scale)
        return self._within_range(LaplacePoint(quotient(-1.0, scale)))

    def params_from_natural(self, theta: LaplacePoint) -> LaplaceParams:
        return LaplaceParams(quotient(-1.0, theta.distance))

    def _natural_step(self, params: LaplaceParams, other: LaplaceParams) -> LaplacePoint:
        base = self.natural_from_params(*other).distance
        return LaplacePoint(base * jnp.expm1(-log_ratio(params.scale, other.scale)))

    def mean(self, theta: LaplacePoint) -> Array:
        return jnp.full_like(theta.distance, self.loc)

    def variance(self, theta: LaplacePoint) -> Array:
        return 2 / theta.distance**2

    def mode(self, theta: LaplacePoint) -> Array:
        return self.mean(theta)

    def _cdf(self, theta: LaplacePoint, x: Array) -> Array:
        tail = 0.5 * jnp.exp(theta.distance * jnp.abs(x - self.loc))
        return jnp.where(x < self.loc, tail, 1 - tail)

    def _quantile(self, theta: LaplacePoint, probability: Array) -> Array:
        low = probability < 0.5
        tail = jnp.log(2 * jnp.where(low, probability, 1 - probability)) / theta.distance
        return self.loc + jnp.where(low, -tail, tail)

    def _draw(self, key, theta, shape):
        scale = self.params_from_natural(theta).scale
        return self.loc + scale * jax.random.laplace(key, shape, theta.distance.dtype)
