"""The Rayleigh family."""

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
from igeojax.numerics.safe import quotient


class RayleighPoint(NamedTuple):
    """One leaf: the statistic `x^2`."""

    xx: Float[Array, "*batch"]


class RayleighParams(NamedTuple):
    """Scale: the standard deviation of either coordinate."""

    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Rayleigh(Pushforward[RayleighPoint, RayleighParams]):
    """Length of two independent `N(0, s^2)`: `T = x^2`, `theta = -1 / (2 s^2)`, `h = x`.

    `psi = -log(-2 theta)`; `x^2` is exponential of rate `1 / (2 s^2)`.

    References:
      [JohnsonKotzBalakrishnan1994] chapter 18, section 10.

    Examples:
      >>> family = Rayleigh()
      >>> float(family.natural_from_params(scale=2.0).xx)
      -0.125
    """

    Point = RayleighPoint
    Params = RayleighParams
    conjugate_prior = "Gamma"
    _base = Exponential()
    _constant = -math.log(2.0)

    def _pull(self, x: Array) -> Array:
        return x * x

    def _push(self, y: Array) -> Array:
        return jnp.sqrt(y)

    def _log_jacobian(self, x: Array) -> Array:
        return jnp.log(2 * x)

    def _mean_log_jacobian(self, theta: RayleighPoint) -> Array:
        return math.log(2.0) - 0.5 * (np.euler_gamma + jnp.log(-theta.xx))

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x < jnp.inf)

    def natural_from_params(self, scale: ArrayLike) -> RayleighPoint:
        """Natural parameter of a `scale > 0`.

        Raises:
          TypeError: `scale` is not real.
          ValueError: a concrete scale is not positive and finite, or its square leaves the range of
            the dtype.
        """
        scale = checks.floating("scale", scale)
        checks.require_positive("scale", scale)
        checks.require_positive("scale^2", scale**2, "Change the unit of the data.")
        return RayleighPoint(quotient(quotient(-0.5, scale), scale))

    def params_from_natural(self, theta: RayleighPoint) -> RayleighParams:
        return RayleighParams(jax.lax.rsqrt(-2 * theta.xx))

    def _natural_step(self, params: RayleighParams, other: RayleighParams) -> RayleighPoint:
        base = self.natural_from_params(*other).xx
        return RayleighPoint(base * jnp.expm1(-2 * log_ratio(params.scale, other.scale)))

    def mean(self, theta: RayleighPoint) -> Array:
        return self.params_from_natural(theta).scale * math.sqrt(math.pi / 2)

    def variance(self, theta: RayleighPoint) -> Array:
        return (2 - math.pi / 2) * self.params_from_natural(theta).scale ** 2

    def mode(self, theta: RayleighPoint) -> Array:
        return self.params_from_natural(theta).scale
