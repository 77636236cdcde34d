"""The negative binomial family of a known number of successes."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.poisson import draw_poisson
from igeojax.families.support import COUNTS
from igeojax.numerics.counting import count_entropy, mean_log_multiplicity, poisson_log_density
from igeojax.numerics.incomplete import betainc
from igeojax.numerics.quantile import CountShape, least_count
from igeojax.numerics.remainders import (
    expm1_remainder,
    log_complement_ratio,
    ratio_remainder,
)

_MANY = 40  # of so many successes the law is a bell, and the terms of its entropy would cancel


class NegativeBinomialPoint(NamedTuple):
    """One leaf: the statistic `x`, the number of failures."""

    x: Float[Array, "*batch"]


class NegativeBinomialParams(NamedTuple):
    """Probability of success of one trial."""

    probs: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NegativeBinomial(ExponentialFamily[NegativeBinomialPoint, NegativeBinomialParams]):
    """Failures before r successes: `theta = log(1 - p)`, `psi = -r log(1 - exp theta)`.

    `h = Gamma(x + r) / (x! Gamma(r))`; r need not be an integer. `theta = -inf` stands for `p = 1`.
    As scipy's `nbinom(r, p)`; torch's `probs` is `1 - p`.

    Args:
      successes: the known number `r > 0`, a Python number; part of the static description.

    Raises:
      TypeError: `successes` is not a Python number.
      ValueError: `successes` is not positive and finite.

    References:
      [JohnsonKempKotz2005] chapter 5.

    Examples:
      >>> family = NegativeBinomial(successes=2.0)
      >>> round(float(family.mean(family.natural_from_params(probs=0.25))), 6)
      6.0
    """

    successes: float

    Point = NegativeBinomialPoint
    Params = NegativeBinomialParams
    _support = COUNTS
    conjugate_prior = "Beta"

    def __post_init__(self):
        checks.require_number("successes", self.successes, "the number of successes is known here")
        checks.require_positive("successes", self.successes)

    @property
    def point_shape(self):
        return ((),)

    def statistics(self, x: ArrayLike) -> NegativeBinomialPoint:
        return NegativeBinomialPoint(self._data(x))

    def log_base_measure(self, x: ArrayLike) -> Array:
        x = self._data(x)
        return gammaln(x + self.successes) - gammaln(x + 1) - math.lgamma(self.successes)

    def mean_log_base_measure(self, theta: NegativeBinomialPoint) -> Array:
        mean = self.mean(theta)
        some = mean > 0
        if self.successes > _MANY:
            failures = jnp.where(some, mean * jnp.where(some, theta.x, 0.0), 0.0)
            return self.log_partition(theta) - failures - self._entropy(theta)
        value = mean_log_multiplicity(jnp.where(some, mean, 1.0), self.successes)
        return jnp.where(some, value, 0.0)

    def log_partition(self, theta: NegativeBinomialPoint) -> Array:
        return -self.successes * _log_success(theta.x)

    def mean_from_natural(self, theta: NegativeBinomialPoint) -> NegativeBinomialPoint:
        self.batch_shape(theta)
        return NegativeBinomialPoint(self.mean(theta))

    def natural_from_mean(self, eta: NegativeBinomialPoint) -> NegativeBinomialPoint:
        positive = eta.x > 0
        safe = jnp.where(positive, eta.x, 1.0)
        edge = jnp.where(eta.x == 0, -jnp.inf, jnp.nan)
        return NegativeBinomialPoint(jnp.where(positive, -jnp.log1p(self.successes / safe), edge))

    def natural_from_params(self, probs: ArrayLike) -> NegativeBinomialPoint:
        """Natural parameter of `probs` in (0, 1].

        Raises:
          TypeError: `probs` is not real.
          ValueError: a concrete probability lies outside (0, 1].
        """
        probs = checks.floating("probs", probs)
        checks.require_values(
            "probs", probs, lambda p: (p > 0) & (p <= 1), "in (0, 1]", "It is that of a success."
        )
        certain = probs == 1
        theta = jnp.log1p(-jnp.where(certain, 0.0, probs))
        return NegativeBinomialPoint(jnp.where(certain, -jnp.inf, theta))

    def params_from_natural(self, theta: NegativeBinomialPoint) -> NegativeBinomialParams:
        return NegativeBinomialParams(-jnp.expm1(theta.x))

    def in_natural_domain(self, theta: NegativeBinomialPoint) -> Array:
        return theta.x < 0

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x == jnp.floor(x)) & jnp.isfinite(x)

    def mean(self, theta: NegativeBinomialPoint) -> Array:
        # At p = 1 nothing fails, and nothing moves with theta.
        some = theta.x > -jnp.inf
        return jnp.where(some, self.successes / jnp.expm1(-jnp.where(some, theta.x, -1.0)), 0.0)

    def variance(self, theta: NegativeBinomialPoint) -> Array:
        return self.mean(theta) / _success(theta.x)

    def mode(self, theta: NegativeBinomialPoint) -> Array:
        return jnp.floor(self.mean(theta) * (max(self.successes - 1, 0) / self.successes))

    def _bregman(
        self,
        theta: NegativeBinomialPoint,
        other: NegativeBinomialPoint,
        step: NegativeBinomialPoint,
    ) -> Array:
        # r (q/p (e^d - 1 - d) + remainder of the ratio of p): neither is negative. At p = 1 of
        # `other` the first has the limit q of `theta`, at p = 1 of `theta` it is infinite.
        known = other.x > -jnp.inf
        d = jnp.where(known, step.x, 0.0)
        odds = jnp.where(known, 1 / jnp.expm1(-jnp.where(known, other.x, -1.0)), 0.0)
        change = jnp.where(known, -jnp.exp(jnp.where(known, other.x, 0.0)) * jnp.expm1(d), 0.0)
        success = _success(theta.x), _success(other.x)
        change = jnp.where(known, change, success[0] - success[1])
        lost = jnp.where(known, odds * expm1_remainder(d), jnp.exp(theta.x))
        return self.successes * (lost + ratio_remainder(*success, change))

    def _natural_step(
        self, params: NegativeBinomialParams, other: NegativeBinomialParams
    ) -> NegativeBinomialPoint:
        return NegativeBinomialPoint(log_complement_ratio(params.probs, other.probs))

    def _entropy(self, theta: NegativeBinomialPoint) -> Array:
        mean = self.mean(theta)
        if self.successes > _MANY:
            log_density = lambda x, excess: self._count_log_density(theta.x[..., None], x, excess)
            log_zero = -self.log_partition(theta)
            return count_entropy(log_density, mean, jnp.sqrt(self.variance(theta)), log_zero)
        failures = jnp.where(mean > 0, mean * jnp.where(mean > 0, theta.x, 0.0), 0.0)
        return self.log_partition(theta) - failures - self.mean_log_base_measure(theta)

    def _log_density(self, theta: NegativeBinomialPoint, x: Array) -> Array:
        return self._count_log_density(theta.x, x, x - self.mean(theta))

    def _count_log_density(self, theta: Array, x: Array, excess: Array) -> Array:
        """A Poisson count of r successes and one of x failures given their sum, times r/(r+x)."""
        r = jnp.full_like(x, self.successes)
        total = r + x
        over = excess * _success(theta)
        failure = poisson_log_density(x, total * jnp.exp(theta), over)
        together = poisson_log_density(total, total)
        success = poisson_log_density(r, total * _success(theta), -over, together)
        return failure + success + jnp.log(r / total)

    def _cdf(self, theta: NegativeBinomialPoint, x: Array) -> Array:
        count, success = jnp.broadcast_arrays(jnp.floor(x), -jnp.expm1(theta.x))
        inside = (count >= 0) & (count < jnp.inf)
        value = betainc(
            jnp.full_like(success, self.successes), jnp.where(inside, count, 0.0) + 1, success
        )
        return jnp.where(inside, value, jnp.where(count > 0, 1.0, 0.0))

    def _quantile(self, theta: NegativeBinomialPoint, probability: Array) -> Array:
        log_failure, level = jnp.broadcast_arrays(theta.x, probability)
        point, success = NegativeBinomialPoint(log_failure), _success(log_failure)
        mean, deviation = self.mean(point), jnp.sqrt(self.variance(point))
        size = 4 + self.successes + mean + 4 * deviation
        shape = CountShape(mean, deviation, (2 - success) / success, size)
        highest = jnp.where(log_failure > -jnp.inf, jnp.inf, jnp.zeros_like(level))
        return least_count(self._cdf, point, level, highest, shape)

    def _draw(self, key, theta, shape):
        first, second = jax.random.split(key)
        rate = jax.random.gamma(first, self.successes, shape, theta.x.dtype)
        return draw_poisson(second, rate / jnp.expm1(-theta.x), shape)


def _success(theta: Array) -> Array:
    """`1 - exp(theta)`; 1 with derivative 0 at -inf."""
    some = theta > -jnp.inf
    return jnp.where(some, -jnp.expm1(jnp.where(some, theta, -1.0)), 1.0)


def _log_success(theta: Array) -> Array:
    """`log(1 - exp(theta))` for negative theta; 0 with derivative 0 at -inf."""
    near = theta > -0.5
    theta = jnp.maximum(theta, jnp.finfo(theta.dtype).min)
    return jnp.where(
        near,
        jnp.log(-jnp.expm1(jnp.where(near, theta, -1.0))),
        jnp.log1p(-jnp.exp(jnp.where(near, -1.0, theta))),
    )
