"""The Bernoulli family."""

import dataclasses
from typing import NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.relative_entropy import log_sum_exp_bregman
from igeojax.families.base import ExponentialFamily
from igeojax.families.categorical import with_last
from igeojax.families.support import Support
from igeojax.numerics.remainders import log_complement_ratio, log_ratio
from igeojax.numerics.weighting import weighted_mean


class BernoulliPoint(NamedTuple):
    """One leaf: the statistic `x`."""

    x: Float[Array, "*batch"]


class BernoulliParams(NamedTuple):
    """Probability of success."""

    probs: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Bernoulli(ExponentialFamily[BernoulliPoint, BernoulliParams]):
    """Success or failure: `x in {0, 1}`, `theta = logit p`, `psi = log(1 + exp theta)`.

    `theta = -inf` and `inf` stand for `p = 0` and `1`.

    References:
      [WainwrightJordan2008] table 3.1.

    Examples:
      >>> bernoulli = Bernoulli()
      >>> round(float(bernoulli.mean_from_natural(bernoulli.natural_from_params(probs=0.25)).x), 6)
      0.25
    """

    Point = BernoulliPoint
    Params = BernoulliParams
    _support = Support(0, 1, integers=True)
    conjugate_prior = "Beta"

    @property
    def point_shape(self):
        return ((),)

    def statistics(self, x: ArrayLike) -> BernoulliPoint:
        return BernoulliPoint(self._data(x))

    def log_partition(self, theta: BernoulliPoint) -> Array:
        return jax.nn.softplus(theta.x)

    def mean_from_natural(self, theta: BernoulliPoint) -> BernoulliPoint:
        self.batch_shape(theta)
        return BernoulliPoint(jax.nn.sigmoid(theta.x))

    def natural_from_mean(self, eta: BernoulliPoint) -> BernoulliPoint:
        # Nothing moves with a coordinate at infinity: the derivative at 0 and 1 is 0.
        edge = (eta.x == 0) | (eta.x == 1)
        inside = jnp.where(edge, 0.5, eta.x)
        end = jnp.where(eta.x == 0, -jnp.inf, jnp.inf).astype(inside.dtype)
        return BernoulliPoint(jnp.where(edge, end, jnp.log(inside) - jnp.log1p(-inside)))

    def in_chart(self, eta: BernoulliPoint) -> BernoulliPoint:
        """As `Categorical.in_chart`, failure the last class."""
        return BernoulliPoint(with_last(eta.x[..., None], 1, 2)[..., 0])

    def natural_from_params(
        self, probs: ArrayLike | None = None, *, logits: ArrayLike | None = None
    ) -> BernoulliPoint:
        """Natural parameter of `probs` in [0, 1], or of `logits`.

        Raises:
          TypeError: not exactly one of the two is given, or it is not real.
          ValueError: a concrete probability lies outside [0, 1], or a logit is nan.
        """
        if (probs is None) == (logits is None):
            raise TypeError("Bernoulli needs exactly one of probs and logits; pass one of them.")
        if probs is None:
            scores = checks.floating("logits", cast(ArrayLike, logits))
            checks.require_values(
                "logits", scores, lambda v: ~np.isnan(v), "numbers", "Look for a nan upstream."
            )
            return BernoulliPoint(scores)
        probs = checks.floating("probs", probs)
        checks.require_values(
            "probs", probs, lambda p: (p >= 0) & (p <= 1), "in [0, 1]", "Pass logits= for scores."
        )
        return self.natural_from_mean(BernoulliPoint(probs))

    def params_from_natural(self, theta: BernoulliPoint) -> BernoulliParams:
        return BernoulliParams(self.mean_from_natural(theta).x)

    def in_natural_domain(self, theta: BernoulliPoint) -> Array:
        return ~jnp.isnan(theta.x)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x == 0) | (x == 1)

    def _log_density(self, theta: BernoulliPoint, x: Array) -> Array:
        # x theta - psi would be inf - inf at theta = inf.
        return -jnp.where(x == 1, jax.nn.softplus(-theta.x), jax.nn.softplus(theta.x))

    def _entropy(self, theta: BernoulliPoint) -> Array:
        p, q = jax.nn.sigmoid(theta.x), jax.nn.sigmoid(-theta.x)
        # At a certain outcome 0 with derivative 0, and no inf in what is not taken.
        certain = jnp.isinf(theta.x)
        x = jnp.where(certain, 0.0, theta.x)
        value = p * jax.nn.softplus(-x) + q * jax.nn.softplus(x)
        return jnp.where(certain, 0.0, value)

    def _bregman(self, theta: BernoulliPoint, other: BernoulliPoint, step: BernoulliPoint) -> Array:
        # For a near pair both are written relative to the likelier outcome of `other`, so that the
        # step of one entry is the given one and that of the other 0.
        near = jnp.abs(step.x) < 1
        up = other.x > 0
        zero = jnp.zeros_like(step.x)
        first = jnp.where(up, zero, step.x), jnp.where(up, -step.x, zero)
        logits, others = _two_logits(theta.x), _two_logits(other.x)
        aligned = others + jnp.stack(first, axis=-1)
        logits = jnp.where(near[..., None], aligned, logits)
        steps = jnp.where(near[..., None], jnp.stack(first, axis=-1), logits - others)
        return log_sum_exp_bregman(logits, others, steps)

    def _natural_step(self, params: BernoulliParams, other: BernoulliParams) -> BernoulliPoint:
        p, q = jnp.asarray(params.probs), jnp.asarray(other.probs)
        return BernoulliPoint(log_ratio(p, q) - log_complement_ratio(p, q))

    def mean(self, theta: BernoulliPoint) -> Array:
        return jax.nn.sigmoid(theta.x)

    def variance(self, theta: BernoulliPoint) -> Array:
        return jax.nn.sigmoid(theta.x) * jax.nn.sigmoid(-theta.x)

    def mode(self, theta: BernoulliPoint) -> Array:
        return (theta.x > 0).astype(int)

    def _cdf(self, theta: BernoulliPoint, x: Array) -> Array:
        return jnp.where(x < 0, 0.0, jnp.where(x < 1, jax.nn.sigmoid(-theta.x), 1.0))

    def _quantile(self, theta: BernoulliPoint, probability: Array) -> Array:
        return (probability > jax.nn.sigmoid(-theta.x)).astype(theta.x.dtype)

    def dual_potential(self, eta: BernoulliPoint) -> Array:
        # p log p + (1-p) log(1-p); its slope at an end is infinite, and counts 0 there.
        failure = 1 - eta.x
        inside = (eta.x != 0) & (failure != 0)
        p = jnp.where(inside, eta.x, 0.5)
        return jnp.where(inside, p * jnp.log(p) + (1 - p) * jnp.log1p(-p), 0.0)

    def _fit(self, x: Array, weights: Array | None) -> BernoulliPoint:
        # Weights sum to one up to rounding.
        mean = jnp.minimum(weighted_mean(self._data(x), weights), 1)
        return self.natural_from_mean(BernoulliPoint(mean))

    def _draw(self, key, theta, shape):
        return jax.random.bernoulli(key, jax.nn.sigmoid(theta.x), shape).astype(int)


def _two_logits(theta: Array) -> Array:
    """Logits of success and failure, the larger one 0: finite but for -inf at the boundary."""
    success = jnp.where(theta > 0, 0.0, theta)
    failure = jnp.where(theta > 0, -theta, 0.0)
    return jnp.stack([success, failure], axis=-1)
