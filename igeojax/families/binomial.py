"""The binomial family of a known number of trials."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli, BernoulliParams, BernoulliPoint
from igeojax.families.categorical import with_last
from igeojax.families.support import Support
from igeojax.numerics.counting import count_entropy, poisson_log_density
from igeojax.numerics.incomplete import betainc
from igeojax.numerics.quantile import CountShape, least_count
from igeojax.numerics.safe import log_at_zero
from igeojax.numerics.weighting import weighted_mean

_COIN = Bernoulli()


class BinomialPoint(NamedTuple):
    """One leaf: the statistic `x`, the number of successes."""

    x: Float[Array, "*batch"]


class BinomialParams(NamedTuple):
    """Probability of success of one trial."""

    probs: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Binomial(ExponentialFamily[BinomialPoint, BinomialParams]):
    """Successes among n trials: `theta = logit p`, `psi = n log(1 + exp theta)`.

    `h = n! / (x! (n-x)!)`; `theta = -inf` and `inf` stand for `p = 0` and `1`. Draws of more
    than 2^24 trials need a float64 point: float32 counts in steps.

    Args:
      trials: the known number of trials, a Python integer; part of the static description.

    Raises:
      TypeError: `trials` is not an integer.
      ValueError: `trials < 1`.

    References:
      [WainwrightJordan2008] table 3.1; [Loader2000] (the density).

    Examples:
      >>> family = Binomial(trials=4)
      >>> round(float(family.log_density(family.natural_from_params(probs=0.5), 2)), 6)
      -0.980829
    """

    trials: int

    Point = BinomialPoint
    Params = BinomialParams
    conjugate_prior = "Beta"

    def __post_init__(self):
        checks.require_count("trials", self.trials)

    @property
    def point_shape(self):
        return ((),)

    @property
    def support(self):
        return Support(0, self.trials, integers=True)

    def statistics(self, x: ArrayLike) -> BinomialPoint:
        return BinomialPoint(self._data(x))

    def log_base_measure(self, x: ArrayLike) -> Array:
        x = self._data(x)
        total = jnp.full_like(x, self.trials + 1.0)
        return gammaln(total) - gammaln(x + 1) - gammaln(total - x)

    def mean_log_base_measure(self, theta: BinomialPoint) -> Array:
        return self.trials * _COIN._entropy(_coin(theta)) - self._entropy(theta)

    def log_partition(self, theta: BinomialPoint) -> Array:
        return self.trials * _COIN.log_partition(_coin(theta))

    def mean_from_natural(self, theta: BinomialPoint) -> BinomialPoint:
        self.batch_shape(theta)
        return BinomialPoint(self.trials * jax.nn.sigmoid(theta.x))

    def natural_from_mean(self, eta: BinomialPoint) -> BinomialPoint:
        return BinomialPoint(log_at_zero(eta.x) - log_at_zero(self.trials - eta.x))

    def in_chart(self, eta: BinomialPoint) -> BinomialPoint:
        """As `Categorical.in_chart`, failure the last class."""
        return BinomialPoint(with_last(eta.x[..., None], self.trials, 2)[..., 0])

    def natural_from_params(
        self, probs: ArrayLike | None = None, *, logits: ArrayLike | None = None
    ) -> BinomialPoint:
        """Natural parameter of `probs` in [0, 1], or of `logits`.

        Raises:
          TypeError: not exactly one of the two is given, or it is not real.
          ValueError: a concrete probability lies outside [0, 1].
        """
        return BinomialPoint(_COIN.natural_from_params(probs, logits=logits).x)

    def params_from_natural(self, theta: BinomialPoint) -> BinomialParams:
        return BinomialParams(jax.nn.sigmoid(theta.x))

    def in_natural_domain(self, theta: BinomialPoint) -> Array:
        return _COIN.in_natural_domain(_coin(theta))

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x <= self.trials) & (x == jnp.floor(x))

    def mean(self, theta: BinomialPoint) -> Array:
        return self.trials * _COIN.mean(_coin(theta))

    def variance(self, theta: BinomialPoint) -> Array:
        return self.trials * _COIN.variance(_coin(theta))

    def mode(self, theta: BinomialPoint) -> Array:
        top = jnp.floor((self.trials + 1) * jax.nn.sigmoid(theta.x))
        return jnp.minimum(top, self.trials)

    def _bregman(self, theta: BinomialPoint, other: BinomialPoint, step: BinomialPoint) -> Array:
        return self.trials * _COIN._bregman(_coin(theta), _coin(other), _coin(step))

    def _natural_step(self, params: BinomialParams, other: BinomialParams) -> BinomialPoint:
        return BinomialPoint(
            _COIN._natural_step(BernoulliParams(*params), BernoulliParams(*other)).x
        )

    def _log_density(self, theta: BinomialPoint, x: Array) -> Array:
        return self._count_log_density(theta.x, x, x - self.mean(theta))

    def _count_log_density(self, logit: Array, x: Array, excess: Array) -> Array:
        """Two Poisson counts given their sum: their large terms cancel on paper."""
        total, most = jnp.full_like(x, self.trials), 2 * x > self.trials
        # The greater count may cancel exactly and leave what little the other adds.
        together = poisson_log_density(total, total)
        less = jnp.where(most, together, 0.0)
        success = poisson_log_density(x, total * jax.nn.sigmoid(logit), excess, less)
        failure = total * jax.nn.sigmoid(-logit)
        return success + poisson_log_density(total - x, failure, -excess, together - less)

    def _entropy(self, theta: BinomialPoint) -> Array:
        # Of successes or failures, whichever are fewer.
        rare = BinomialPoint(jnp.where(theta.x > 0, -theta.x, theta.x))
        log_density = lambda x, excess: self._count_log_density(rare.x[..., None], x, excess)
        deviation, log_zero = jnp.sqrt(self.variance(rare)), -self.log_partition(rare)
        return count_entropy(log_density, self.mean(rare), deviation, log_zero, self.trials)

    def dual_potential(self, eta: BinomialPoint) -> Array:
        return self.trials * _COIN.dual_potential(BernoulliPoint(eta.x / self.trials))

    def _cdf(self, theta: BinomialPoint, x: Array) -> Array:
        count, failure = jnp.broadcast_arrays(jnp.floor(x), jax.nn.sigmoid(-theta.x))
        inside = (count >= 0) & (count < self.trials)
        safe = jnp.where(inside, count, 0.0)
        value = betainc(self.trials - safe, safe + 1, failure)
        return jnp.where(inside, value, jnp.where(count < 0, 0.0, 1.0))

    def _quantile(self, theta: BinomialPoint, probability: Array) -> Array:
        logit, level = jnp.broadcast_arrays(theta.x, probability)
        point = BinomialPoint(logit)
        size = jnp.full_like(level, self.trials)
        moments = self.mean(point), jnp.sqrt(self.variance(point)), -jnp.tanh(0.5 * logit)
        highest = jnp.where(logit > -jnp.inf, size, 0.0)
        return least_count(self._cdf, point, level, highest, CountShape(*moments, 4 + size))

    def _fit(self, x: Array, weights: Array | None) -> BinomialPoint:
        # Weights sum to one up to rounding.
        mean = jnp.minimum(weighted_mean(self._data(x), weights), self.trials)
        return self.natural_from_mean(BinomialPoint(mean))

    def _draw(self, key, theta, shape):
        probs = jnp.broadcast_to(jax.nn.sigmoid(theta.x), shape)
        # jax.random.binomial keeps p below one half to itself; complements are exact.
        rare = jnp.minimum(probs, 1 - probs)
        trials = jnp.full(shape, self.trials, probs.dtype)
        count = jax.random.binomial(key, trials, rare, shape, probs.dtype).astype(int)
        return jnp.where(probs > 0.5, self.trials - count, count)


def _coin(point: BinomialPoint) -> BernoulliPoint:
    return BernoulliPoint(*point)
