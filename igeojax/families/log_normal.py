"""The log-normal family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.families.covariance import loc_scale_parts
from igeojax.families.normal import Normal, NormalParams
from igeojax.families.pushforward import Pushforward

_NORMAL = Normal()


class LogNormalPoint(NamedTuple):
    """Leaves: the statistics `log x` and `(log x)^2`."""

    log_x: Float[Array, "*batch"]
    log_x_squared: Float[Array, "*batch"]


class LogNormalParams(NamedTuple):
    """Mean and standard deviation of `log x` (scipy: `s=scale`, `scale=exp(loc)`)."""

    loc: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LogNormal(Pushforward[LogNormalPoint, LogNormalParams]):
    """Positive reals whose logarithm is normal: `T = (log x, log^2 x)`, `h = 1/x`.

    `theta` and `psi` are those of `Normal`, and so are all divergences.

    References:
      [JohnsonKotzBalakrishnan1994] chapter 14.

    Examples:
      >>> family = LogNormal()
      >>> theta = family.natural_from_params(loc=0.0, scale=1.0)
      >>> round(float(family.log_density(theta, 1.0)), 6)
      -0.918939
    """

    Point = LogNormalPoint
    Params = LogNormalParams
    conjugate_prior = "NormalInverseGamma"
    _base = _NORMAL

    def _pull(self, x: Array) -> Array:
        return jnp.log(x)

    def _push(self, y: Array) -> Array:
        # A draw below the smallest float stays in the support.
        return jnp.maximum(jnp.exp(y), jnp.finfo(y.dtype).tiny)

    def _log_jacobian(self, x: Array) -> Array:
        return -jnp.log(x)

    def _mean_log_jacobian(self, theta: LogNormalPoint) -> Array:
        return -_NORMAL.mean(self._to_base(theta))

    def natural_from_params(self, loc: ArrayLike, scale: ArrayLike) -> LogNormalPoint:
        """Natural parameter of the mean `loc` and deviation `scale > 0` of `log x`.

        Raises:
          TypeError: an argument is not real.
          ValueError: as for `Normal`.
        """
        return self._from_base(_NORMAL.natural_from_params(loc, scale))

    def params_from_natural(self, theta: LogNormalPoint) -> LogNormalParams:
        return LogNormalParams(*_NORMAL.params_from_natural(self._to_base(theta)))

    def mean(self, theta: LogNormalPoint) -> Array:
        loc, scale = self.params_from_natural(theta)
        return jnp.exp(loc + 0.5 * scale**2)

    def variance(self, theta: LogNormalPoint) -> Array:
        loc, scale = self.params_from_natural(theta)
        return jnp.expm1(scale**2) * jnp.exp(2 * loc + scale**2)

    def mode(self, theta: LogNormalPoint) -> Array:
        loc, scale = self.params_from_natural(theta)
        return jnp.exp(loc - scale**2)

    def _source_parts(self, p: LogNormalParams, q: LogNormalParams, order: Array):
        return loc_scale_parts(p, q, order)

    def _source_entropy(self, params: LogNormalParams) -> Array:
        return _NORMAL._source_entropy(NormalParams(*params)) + params.loc
