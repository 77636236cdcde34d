"""The Poisson family."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float, Int, Key

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.support import COUNTS
from igeojax.numerics.counting import count_entropy, poisson_log_density
from igeojax.numerics.incomplete import gammaincc
from igeojax.numerics.quantile import CountShape, least_count
from igeojax.numerics.remainders import expm1_remainder, log_ratio, ratio_remainder
from igeojax.numerics.safe import log_at_zero, quotient

_LARGE = 2.0**18  # a rate whose draws in float32 begin to lose digits


class PoissonPoint(NamedTuple):
    """One leaf: the statistic `x`."""

    x: Float[Array, "*batch"]


class PoissonParams(NamedTuple):
    """Rate: the mean count."""

    rate: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Poisson(ExponentialFamily[PoissonPoint, PoissonParams]):
    """Counts: `x in {0, 1, ...}`, `theta = log rate`, `psi = exp theta`, `h = 1/x!`.

    `theta = -inf` stands for rate 0.

    References:
      [WainwrightJordan2008] table 3.1.

    Examples:
      >>> poisson = Poisson()
      >>> theta = poisson.natural_from_params(rate=2.0)
      >>> round(float(poisson.log_density(theta, 0)), 6)
      -2.0
    """

    Point = PoissonPoint
    Params = PoissonParams
    _support = COUNTS
    conjugate_prior = "Gamma"

    @property
    def point_shape(self):
        return ((),)

    def statistics(self, x: ArrayLike) -> PoissonPoint:
        return PoissonPoint(self._data(x))

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -gammaln(self._data(x) + 1)

    def mean_log_base_measure(self, theta: PoissonPoint) -> Array:
        rate = jnp.exp(theta.x)
        return rate - rate * jnp.where(rate == 0, 0.0, theta.x) - self.entropy(theta)

    def log_partition(self, theta: PoissonPoint) -> Array:
        return jnp.exp(theta.x)

    def natural_from_mean(self, eta: PoissonPoint) -> PoissonPoint:
        return PoissonPoint(log_at_zero(eta.x))

    def natural_from_params(self, rate: ArrayLike) -> PoissonPoint:
        """Natural parameter of a `rate >= 0`.

        Raises:
          TypeError: `rate` is not real.
          ValueError: a concrete rate is negative or not finite.
        """
        rate = checks.floating("rate", rate)
        _require_rate("rate", rate)
        return PoissonPoint(log_at_zero(rate))

    def params_from_natural(self, theta: PoissonPoint) -> PoissonParams:
        return PoissonParams(jnp.exp(theta.x))

    def in_natural_domain(self, theta: PoissonPoint) -> Array:
        return theta.x < jnp.inf

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x == jnp.floor(x)) & jnp.isfinite(x)

    def _entropy(self, theta: PoissonPoint) -> Array:
        rate = jnp.exp(theta.x)
        log_density = lambda x, excess: poisson_log_density(x, rate[..., None], excess)
        return count_entropy(log_density, rate, jnp.sqrt(rate), -rate)

    def _bregman(self, theta: PoissonPoint, other: PoissonPoint, step: PoissonPoint) -> Array:
        # exp(other) (e^d - 1 - d); at rate 0 of either the limits are exp(theta) and inf.
        rate = jnp.exp(other.x)
        known = rate > 0
        remainder = expm1_remainder(jnp.where(known, step.x, 0.0))
        return jnp.where(known, rate * remainder, jnp.exp(theta.x))

    def _source_parts(self, p: PoissonParams, q: PoissonParams, order: Array):
        rates = checks.floating_together(p=p.rate, q=q.rate)
        for name, rate in zip(("rate of p", "rate of q"), rates, strict=True):
            _require_rate(name, rate)
        p_rate, q_rate = jnp.broadcast_arrays(*rates)
        some = (p_rate > 0) & (q_rate > 0)
        first, second = jnp.where(some, p_rate, 1.0), jnp.where(some, q_rate, 1.0)
        step = log_ratio(first, second)
        # The rate of the mixture by a power from the nearer end: exp of a log would round it.
        ratio = quotient(first, second)
        mixed = jnp.where(order > 0.5, first * ratio ** (order - 1), second * ratio**order)
        to_p = mixed * ratio_remainder(first, mixed, mixed * jnp.expm1((1 - order) * step))
        to_q = mixed * ratio_remainder(second, mixed, mixed * jnp.expm1(-order * step))
        # Beyond the ends the two parts cancel. There, with d the distance from the end,
        # a p + (1-a) q - p^a q^(1-a) = -p (e^x - 1 - x) - d KL(p || q) at x = d log(p/q).
        above, below = order > 1, order < 0
        total_p = _beyond(first, second, step, jnp.where(above, order - 1, 0.0), mixed)
        total_q = _beyond(second, first, -step, jnp.where(below, -order, 0.0), mixed)
        to_p = jnp.where(above, total_p / jnp.where(above, order, 1.0), to_p)
        to_q = jnp.where(below, total_q / jnp.where(below, 1 - order, 1.0), to_q)
        to_p, to_q = jnp.where(below, 0.0, to_p), jnp.where(above, 0.0, to_q)
        # With a rate 0 the mixture is that law, unless the other end is meant.
        to_p = jnp.where(some, to_p, jnp.where((order == 0) & (p_rate < q_rate), jnp.inf, p_rate))
        to_q = jnp.where(some, to_q, jnp.where((order == 1) & (q_rate < p_rate), jnp.inf, q_rate))
        beyond = (order > 1) & (q_rate < p_rate) | (order < 0) & (p_rate < q_rate)
        return to_p, to_q, some | ~beyond

    def _natural_step(self, params: PoissonParams, other: PoissonParams) -> PoissonPoint:
        return PoissonPoint(log_ratio(params.rate, other.rate))

    def mean(self, theta: PoissonPoint) -> Array:
        return jnp.exp(theta.x)

    def variance(self, theta: PoissonPoint) -> Array:
        return jnp.exp(theta.x)

    def mode(self, theta: PoissonPoint) -> Array:
        return jnp.floor(jnp.exp(theta.x))

    def _cdf(self, theta: PoissonPoint, x: Array) -> Array:
        count, rate = jnp.broadcast_arrays(jnp.floor(x), jnp.exp(theta.x))
        inside = (count >= 0) & (count < jnp.inf)
        value = gammaincc(jnp.where(inside, count, 0.0) + 1, rate)
        return jnp.where(inside, value, jnp.where(count > 0, 1.0, 0.0))

    def _quantile(self, theta: PoissonPoint, probability: Array) -> Array:
        rate, level = jnp.broadcast_arrays(jnp.exp(theta.x), probability)
        shape = CountShape(rate, jnp.sqrt(rate), jnp.ones_like(rate), 4 + rate)
        highest = jnp.where(rate > 0, jnp.inf, jnp.zeros_like(rate))
        return least_count(self._cdf, theta, level, highest, shape)

    def _log_density(self, theta: PoissonPoint, x: Array) -> Array:
        return poisson_log_density(x, jnp.exp(theta.x))

    def _draw(self, key, theta, shape):
        return draw_poisson(key, jnp.exp(theta.x), shape)


def _beyond(near: Array, other: Array, step: Array, distance: Array, mixed: Array) -> Array:
    """The exponent at `distance` beyond the end of the rate `near`.

    Two terms of one sign, or far from the end the plain sum, which does not multiply the rounding
    of the step.
    """
    size = distance * step
    far = jnp.abs(size) > 1
    divergence = near * ratio_remainder(other, near, other - near)
    close = -near * expm1_remainder(jnp.where(far, 0.0, size)) - distance * divergence
    return jnp.where(far, near + distance * (near - other) - mixed, close)


def draw_poisson(
    key: Key[Array, ""], rate: Float[Array, "*batch"], shape: tuple[int, ...]
) -> Int[Array, "*shape"]:
    """Poisson counts of large rates too; `jax.random.poisson` has 1.2 times the deviation at 2e7.

    It draws in float32. So of a large rate the first m arrivals are certain: they take a time
    Gamma(m), and the arrivals in what is left of it are few. With m eight deviations below the rate
    some time is left but for a probability of 1e-15.

    Args:
      key: a PRNG key.
      rate: non-negative means, which broadcast to `shape`.
      shape: shape of the draws.

    Returns:
      Counts; the largest integer of the default dtype where that is too small.

    References:
      [AhrensDieter1974] (Poisson draws by gamma draws).

    Examples:
      >>> counts = draw_poisson(jax.random.key(0), jnp.asarray(1e8), (1000,))
      >>> bool(abs(jnp.std(counts) / 1e4 - 1) < 0.1)
      True
    """
    large = rate > _LARGE
    held = jnp.where(large, rate, _LARGE)
    certain = jnp.floor(held - 8 * jnp.sqrt(held))

    def split(key: Array) -> Array:
        first, second = jax.random.split(key)
        time = jax.random.gamma(first, certain, shape, rate.dtype)
        left = jnp.where(large, jnp.maximum(held - time, 0.0), rate)
        known = jnp.where(large, certain, 0.0).astype(int)
        few = jax.random.poisson(second, left, shape, int)
        return known + jnp.minimum(few, jnp.iinfo(few.dtype).max - known)

    plain = lambda key: jax.random.poisson(key, rate, shape, int)
    return jax.lax.cond(jnp.any(large), split, plain, key)


def _require_rate(name: str, rate: Array) -> None:
    checks.require_values(
        name, rate, lambda v: (v >= 0) & (v < math.inf), "non-negative", "Check its sign."
    )
