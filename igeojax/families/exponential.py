"""The exponential family of waiting times."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.support import POSITIVES
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.safe import quotient


class ExponentialPoint(NamedTuple):
    """One leaf: the statistic `x`."""

    x: Float[Array, "*batch"]


class ExponentialParams(NamedTuple):
    """Rate: the inverse mean."""

    rate: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Exponential(ExponentialFamily[ExponentialPoint, ExponentialParams]):
    """Waiting times: `x >= 0`, `theta = -rate`, `psi = -log(-theta)`.

    References:
      [WainwrightJordan2008] table 3.1.

    Examples:
      >>> exponential = Exponential()
      >>> theta = exponential.natural_from_params(rate=2.0)
      >>> float(exponential.mean_from_natural(theta).x)
      0.5
    """

    Point = ExponentialPoint
    Params = ExponentialParams
    _support = POSITIVES
    conjugate_prior = "Gamma"

    @property
    def point_shape(self):
        return ((),)

    def statistics(self, x: ArrayLike) -> ExponentialPoint:
        return ExponentialPoint(self._data(x))

    def log_partition(self, theta: ExponentialPoint) -> Array:
        return -jnp.log(-theta.x)

    def natural_from_mean(self, eta: ExponentialPoint) -> ExponentialPoint:
        return ExponentialPoint(quotient(-1.0, eta.x))

    def natural_from_params(self, rate: ArrayLike) -> ExponentialPoint:
        """Natural parameter of a `rate > 0`.

        Raises:
          TypeError: `rate` is not real.
          ValueError: a concrete rate is not positive and finite.
        """
        rate = checks.floating("rate", rate)
        checks.require_positive("rate", rate, "A scale is the inverse of a rate.")
        return ExponentialPoint(-rate)

    def params_from_natural(self, theta: ExponentialPoint) -> ExponentialParams:
        return ExponentialParams(-theta.x)

    def in_natural_domain(self, theta: ExponentialPoint) -> Array:
        return (theta.x < 0) & (theta.x > -jnp.inf)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x < jnp.inf)

    def _entropy(self, theta: ExponentialPoint) -> Array:
        return 1 - jnp.log(-theta.x)

    def mean(self, theta: ExponentialPoint) -> Array:
        return quotient(-1.0, theta.x)

    def variance(self, theta: ExponentialPoint) -> Array:
        return 1 / theta.x**2

    def mode(self, theta: ExponentialPoint) -> Array:
        return jnp.zeros_like(theta.x)

    def _cdf(self, theta: ExponentialPoint, x: Array) -> Array:
        return -jnp.expm1(theta.x * jnp.maximum(x, 0.0))

    def _quantile(self, theta: ExponentialPoint, probability: Array) -> Array:
        return jnp.log1p(-probability) / theta.x

    def _bregman(
        self, theta: ExponentialPoint, other: ExponentialPoint, step: ExponentialPoint
    ) -> Array:
        return ratio_remainder(theta.x, other.x, step.x)

    def _draw(self, key, theta, shape):
        return jax.random.exponential(key, shape, theta.x.dtype) / -theta.x
