"""The normal inverse gamma family."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families._pairs import broadcast_laws
from igeojax.families.base import ExponentialFamily
from igeojax.families.gamma import Gamma, GammaPoint
from igeojax.families.inverse_gamma import InverseGamma, InverseGammaPoint
from igeojax.families.normal_conjugates import (
    NormalConjugate,
    gamma_precision_parts,
    known_conjugate,
    normal_conjugate_parts,
)
from igeojax.numerics.gamma import log_minus_digamma_inverse
from igeojax.numerics.multivariate_gamma import wishart_entropy
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.weighting import weighted_mean

_GAMMA = Gamma()
_INVERSE_GAMMA = InverseGamma()


class NormalInverseGammaPoint(NamedTuple):
    """Leaves: the statistics `log v`, `1/v`, `x/v` and `x^2/v` of a mean x and a variance v."""

    log_v: Float[Array, "*batch"]
    inverse_v: Float[Array, "*batch"]
    x_over_v: Float[Array, "*batch"]
    xx_over_v: Float[Array, "*batch"]


class NormalInverseGammaParams(NamedTuple):
    """`x ~ Normal(loc, v / concentration)` (variance), `v ~ InverseGamma(shape, scale)`."""

    loc: Float[Array, "*batch"]
    concentration: Float[Array, "*batch"]
    shape: Float[Array, "*batch"]
    scale: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NormalInverseGamma(ExponentialFamily[NormalInverseGammaPoint, NormalInverseGammaParams]):
    """Means and variances of normal laws, and their conjugate prior; an observation is `(x, v)`.

    `T = (log v, 1/v, x/v, x^2/v)`, `theta = (-a - 3/2, -b - k m^2/2, k m, -k/2)` for
    `(m, k, a, b) = (loc, concentration, shape, scale)`, `h = 1`,
    `psi = lgamma(a) - a log b - log(k)/2 + log(2 pi)/2`. The last axis of data holds x and v.

    References:
      [Murphy2007] section 6 (normal inverse gamma prior).

    Examples:
      >>> family = NormalInverseGamma()
      >>> theta = family.natural_from_params(loc=1.0, concentration=2.0, shape=3.0, scale=4.0)
      >>> family.mean(theta).round(6).tolist()
      [1.0, 2.0]
    """

    Point = NormalInverseGammaPoint
    Params = NormalInverseGammaParams

    @property
    def point_shape(self):
        return ((), (), (), ())

    @property
    def event_shape(self):
        return (2,)

    def statistics(self, x: ArrayLike) -> NormalInverseGammaPoint:
        x, v = _split(self._data(x))
        return NormalInverseGammaPoint(jnp.log(v), 1 / v, x / v, x * (x / v))

    def log_partition(self, theta: NormalInverseGammaPoint) -> Array:
        variance = _INVERSE_GAMMA.log_partition(variance_law(theta))
        return variance - 0.5 * jnp.log(-theta.xx_over_v / math.pi)

    def mean_from_natural(self, theta: NormalInverseGammaPoint) -> NormalInverseGammaPoint:
        self.batch_shape(theta)
        mean_log, inverse = _INVERSE_GAMMA.mean_from_natural(variance_law(theta))
        loc = _loc(theta)
        square = loc**2 * inverse - 0.5 / theta.xx_over_v
        return NormalInverseGammaPoint(mean_log, inverse, loc * inverse, square)

    def natural_from_mean(self, eta: NormalInverseGammaPoint) -> NormalInverseGammaPoint:
        loc = eta.x_over_v / eta.inverse_v
        concentration = 1 / (eta.xx_over_v - loc * eta.x_over_v)
        shape = log_minus_digamma_inverse(jnp.log(eta.inverse_v) + eta.log_v)
        return _natural(loc, concentration, shape, shape / eta.inverse_v)

    def natural_from_params(
        self, loc: ArrayLike, concentration: ArrayLike, shape: ArrayLike, scale: ArrayLike
    ) -> NormalInverseGammaPoint:
        """Natural parameter of a real `loc` and positive `concentration`, `shape` and `scale`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete `loc` is not finite, or another value not positive and finite.
        """
        return _natural(*_checked(loc, concentration, shape, scale))

    def params_from_natural(self, theta: NormalInverseGammaPoint) -> NormalInverseGammaParams:
        shape, scale = _INVERSE_GAMMA.params_from_natural(variance_law(theta))
        return NormalInverseGammaParams(_loc(theta), -2 * theta.xx_over_v, shape, scale)

    def in_natural_domain(self, theta: NormalInverseGammaPoint) -> Array:
        known = jnp.isfinite(theta.xx_over_v) & (theta.xx_over_v < 0) & jnp.isfinite(theta.x_over_v)
        safe = theta._replace(xx_over_v=jnp.where(known, theta.xx_over_v, -0.5))
        return known & _INVERSE_GAMMA.in_natural_domain(variance_law(safe))

    def in_support(self, x: ArrayLike) -> Array:
        x, v = _split(jnp.asarray(x))
        return jnp.isfinite(x) & (v > 0) & (v < jnp.inf)

    def _entropy(self, theta: NormalInverseGammaPoint) -> Array:
        _, concentration, shape, scale = self.params_from_natural(theta)
        return _entropy(concentration, GammaPoint(shape, -scale))

    def _source_parts(self, p: NormalInverseGammaParams, q: NormalInverseGammaParams, order: Array):
        laws = broadcast_laws(_checked(*p), _checked(*q), (0, 0, 0, 0))
        first, second = (_law_of(*law) for law in laws)
        return normal_conjugate_parts(gamma_precision_parts, first, second, order)

    def _source_entropy(self, params: NormalInverseGammaParams) -> Array:
        _, concentration, theta = _law_of(*_checked(*params))
        return _entropy(concentration, theta)

    def _log_density(self, theta: NormalInverseGammaPoint, x: Array) -> Array:
        x, v = _split(x)
        square = theta.xx_over_v * ((x - _loc(theta)) ** 2 / v)
        normal = square + 0.5 * jnp.log(-theta.xx_over_v / v / math.pi)
        return normal + _INVERSE_GAMMA._log_density(variance_law(theta), v)

    def _bregman(
        self,
        theta: NormalInverseGammaPoint,
        other: NormalInverseGammaPoint,
        step: NormalInverseGammaPoint,
    ) -> Array:
        # KL of the variances, and the mean over them of the KL of the normal laws of x.
        before, after = variance_law(other), variance_law(theta)
        loc = _loc(other)
        push = step.x_over_v + 2 * loc * step.xx_over_v
        apart = -0.5 * push / theta.xx_over_v
        # From b + k m^2/2: the change of k m^2 is that of (k m) m.
        spread = step.inverse_v + 0.5 * (step.x_over_v * (loc + apart) + other.x_over_v * apart)
        variance = _INVERSE_GAMMA._bregman(after, before, InverseGammaPoint(step.log_v, spread))
        inverse = before.log_x / before.inverse_x
        normal = ratio_remainder(theta.xx_over_v, other.xx_over_v, step.xx_over_v)
        return variance + 0.5 * normal - theta.xx_over_v * apart**2 * inverse

    def mean(self, theta: NormalInverseGammaPoint) -> Array:
        """Mean of x, and of v, which is inf where the shape is at most 1."""
        return jnp.stack([_loc(theta), _INVERSE_GAMMA.mean(variance_law(theta))], axis=-1)

    def variance(self, theta: NormalInverseGammaPoint) -> Array:
        """Variance of x and of v; inf where the shape is at most 1, or 2."""
        law = variance_law(theta)
        spread = -0.5 * _INVERSE_GAMMA.mean(law) / theta.xx_over_v
        return jnp.stack([spread, _INVERSE_GAMMA.variance(law)], axis=-1)

    def mode(self, theta: NormalInverseGammaPoint) -> Array:
        loc, _, shape, scale = self.params_from_natural(theta)
        return jnp.stack([loc, scale / (shape + 1.5)], axis=-1)

    def _fit(self, x: Array, weights: Array | None) -> NormalInverseGammaPoint:
        x, v = _split(x)
        inverse = weighted_mean(1 / v, weights)
        loc = weighted_mean(x / v, weights) / inverse
        spread = weighted_mean((x - loc[None]) ** 2 / v, weights)
        # Constant data leave only the rounding of the mean: no spread at all.
        noise = (4 * jnp.finfo(spread.dtype).eps * loc) ** 2 * inverse
        shape, scale = _INVERSE_GAMMA.params_from_natural(_INVERSE_GAMMA._fit(v, weights))
        return _natural(loc, 1 / jnp.where(spread > noise, spread, 0.0), shape, scale)

    def _draw(self, key, theta, shape):
        first, second = jax.random.split(key)
        v = _INVERSE_GAMMA._draw(first, variance_law(theta), shape)
        noise = jax.random.normal(second, shape, v.dtype)
        x = _loc(theta) + noise * jnp.sqrt(-0.5 * v / theta.xx_over_v)
        return jnp.stack([x, v], axis=-1)


def _checked(
    loc: ArrayLike, concentration: ArrayLike, shape: ArrayLike, scale: ArrayLike
) -> tuple[Array, Array, Array, Array]:
    loc, concentration, shape, scale = jnp.broadcast_arrays(
        *checks.floating_together(loc=loc, concentration=concentration, shape=shape, scale=scale)
    )
    checks.require_finite("loc", loc)
    checks.require_positive("concentration", concentration)
    checks.require_positive("shape", shape)
    checks.require_positive("scale", scale)
    return loc, concentration, shape, scale


def _law_of(loc: Array, concentration: Array, shape: Array, scale: Array) -> NormalConjugate:
    return known_conjugate(_GAMMA, loc, concentration, GammaPoint(shape, -scale))


def _entropy(concentration: Array, precision: GammaPoint) -> Array:
    normal = 0.5 * jnp.log(2 * math.pi * math.e / concentration)
    return wishart_entropy(precision.log_x, jnp.log(-precision.x), 1, 1.5) + normal


def _split(x: Array) -> tuple[Array, Array]:
    return x[..., 0], x[..., 1]


def _loc(theta: NormalInverseGammaPoint) -> Array:
    return -0.5 * theta.x_over_v / theta.xx_over_v


def variance_law(theta: NormalInverseGammaPoint) -> InverseGammaPoint:
    """Law of the variance v, inverse gamma with `b = -theta_2 - k m^2/2`; of complex points too.

    Args:
      theta: natural parameter of a normal inverse gamma law.

    Returns:
      That of the law of v.

    Examples:
      >>> theta = NormalInverseGamma().natural_from_params(0.0, 1.0, 3.0, 2.0)
      >>> law = variance_law(theta)
      >>> float(law.log_x), float(law.inverse_x)
      (-3.0, -2.0)
    """
    scale = -theta.inverse_v + 0.25 * theta.x_over_v * (theta.x_over_v / theta.xx_over_v)
    return InverseGammaPoint(theta.log_v + 1.5, -scale)


def _natural(
    loc: Array, concentration: Array, shape: Array, scale: Array
) -> NormalInverseGammaPoint:
    push = concentration * loc
    return NormalInverseGammaPoint(
        -shape - 1.5, -scale - 0.5 * push * loc, push, -0.5 * concentration
    )
