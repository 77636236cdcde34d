"""The Pareto family of known scale."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.exponential import Exponential
from igeojax.families.pushforward import Pushforward
from igeojax.families.support import Support


class ParetoPoint(NamedTuple):
    """One leaf: the statistic `log(x / scale)`."""

    log_ratio: Float[Array, "*batch"]


class ParetoParams(NamedTuple):
    """Shape: the tail index (scipy's `b`)."""

    shape: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Pareto(Pushforward[ParetoPoint, ParetoParams]):
    """Power laws above a known `scale`: `T = log(x / scale)`, `theta = -shape`, `h = 1/x`.

    `psi = -log(-theta)`; `T` is exponential of rate `shape`. Moments of order `shape` and above are
    infinite.

    Args:
      scale: the known lower end of the support, a Python number; part of the static description.

    Raises:
      TypeError: `scale` is not a Python number.
      ValueError: `scale` is not positive and finite.

    References:
      [JohnsonKotzBalakrishnan1994] chapter 20.

    Examples:
      >>> family = Pareto(scale=1.0)
      >>> float(family.mean(family.natural_from_params(shape=3.0)))
      1.5
    """

    scale: float = 1.0

    Point = ParetoPoint
    Params = ParetoParams
    conjugate_prior = "Gamma"
    _base = Exponential()

    def __post_init__(self):
        checks.require_number("scale", self.scale, "the lower end is known here")
        checks.require_positive("scale", self.scale)

    @property
    def _inside(self):
        return 2 * self.scale

    @property
    def support(self):
        return Support(self.scale, math.inf)

    def _pull(self, x: Array) -> Array:
        # Near the lower end the quotient would round the logarithm away.
        return jnp.log1p((x - self.scale) / self.scale)

    def _push(self, y: Array) -> Array:
        return self.scale + self.scale * jnp.expm1(y)

    def _log_jacobian(self, x: Array) -> Array:
        return -jnp.log(x)

    def _mean_log_jacobian(self, theta: ParetoPoint) -> Array:
        return 1 / theta.log_ratio - math.log(self.scale)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= self.scale) & (x < jnp.inf)

    def natural_from_params(self, shape: ArrayLike) -> ParetoPoint:
        """Natural parameter of a `shape > 0`.

        Raises:
          TypeError: `shape` is not real.
          ValueError: a concrete shape is not positive and finite.
        """
        shape = checks.floating("shape", shape)
        checks.require_positive("shape", shape)
        return ParetoPoint(-shape)

    def params_from_natural(self, theta: ParetoPoint) -> ParetoParams:
        return ParetoParams(-theta.log_ratio)

    def mean(self, theta: ParetoPoint) -> Array:
        shape = -theta.log_ratio
        finite = shape > 1
        return jnp.where(finite, self.scale * shape / jnp.where(finite, shape - 1, 1.0), jnp.inf)

    def variance(self, theta: ParetoPoint) -> Array:
        shape = -theta.log_ratio
        finite = shape > 2
        safe = jnp.where(finite, shape, 3.0)
        value = self.scale**2 * safe / ((safe - 1) ** 2 * (safe - 2))
        return jnp.where(finite, value, jnp.inf)

    def mode(self, theta: ParetoPoint) -> Array:
        return jnp.full_like(theta.log_ratio, self.scale)
