"""The geometric family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.families.negative_binomial import NegativeBinomial, NegativeBinomialParams
from igeojax.families.pushforward import Pushforward
from igeojax.families.support import COUNTS

_FIRST = NegativeBinomial(1.0)


class GeometricPoint(NamedTuple):
    """One leaf: the statistic `x`, the number of failures."""

    x: Float[Array, "*batch"]


class GeometricParams(NamedTuple):
    """Probability of success of one trial."""

    probs: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Geometric(Pushforward[GeometricPoint, GeometricParams]):
    """Failures before a first success: `theta = log(1 - p)`, `psi = -log(1 - exp theta)`, `h = 1`.

    `NegativeBinomial` of one success. scipy's `geom` counts the trials, `x + 1`.

    References:
      [JohnsonKempKotz2005] chapter 5.

    Examples:
      >>> family = Geometric()
      >>> round(float(family.mean(family.natural_from_params(probs=0.25))), 6)
      3.0
    """

    Point = GeometricPoint
    Params = GeometricParams
    _support = COUNTS
    conjugate_prior = "Beta"
    _base = _FIRST

    def _pull(self, x: Array) -> Array:
        return x

    def _push(self, y: Array) -> Array:
        return y

    def _log_jacobian(self, x: Array) -> Array:
        return jnp.zeros_like(x)

    def _mean_log_jacobian(self, theta: GeometricPoint) -> Array:
        return jnp.zeros_like(theta.x)

    def natural_from_params(self, probs: ArrayLike) -> GeometricPoint:
        """Natural parameter of `probs` in (0, 1].

        Raises:
          TypeError: `probs` is not real.
          ValueError: a concrete probability lies outside (0, 1].
        """
        return GeometricPoint(_FIRST.natural_from_params(probs).x)

    def params_from_natural(self, theta: GeometricPoint) -> GeometricParams:
        return GeometricParams(-jnp.expm1(theta.x))

    def in_support(self, x: ArrayLike) -> Array:
        return _FIRST.in_support(x)

    def _natural_step(self, params: GeometricParams, other: GeometricParams) -> GeometricPoint:
        pair = NegativeBinomialParams(*params), NegativeBinomialParams(*other)
        return GeometricPoint(_FIRST._natural_step(*pair).x)

    def mean(self, theta: GeometricPoint) -> Array:
        return _FIRST.mean(self._to_base(theta))

    def variance(self, theta: GeometricPoint) -> Array:
        return _FIRST.variance(self._to_base(theta))

    def mode(self, theta: GeometricPoint) -> Array:
        return jnp.zeros_like(theta.x)

    def _log_density(self, theta: GeometricPoint, x: Array) -> Array:
        failures = x * jnp.where(x > 0, theta.x, 0.0)
        return failures - _FIRST.log_partition(self._to_base(theta))

    def _cdf(self, theta: GeometricPoint, x: Array) -> Array:
        return jnp.where(x < 0, 0.0, -jnp.expm1(theta.x * (jnp.floor(jnp.maximum(x, 0.0)) + 1)))

    def _quantile(self, theta: GeometricPoint, probability: Array) -> Array:
        some = theta.x > -jnp.inf
        rate = jnp.where(some, theta.x, -1.0)
        point = theta._replace(x=rate)
        count = jnp.maximum(jnp.ceil(jnp.log1p(-probability) / rate) - 1, 0.0)
        # The quotient rounds: one step towards the least count whose CDF, as computed, suffices.
        count = jnp.where(self._cdf(point, count - 1) >= probability, count - 1, count)
        count = jnp.where(self._cdf(point, count) < probability, count + 1, count)
        return jnp.where(some, jnp.maximum(count, 0.0), 0.0)
