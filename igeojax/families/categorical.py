"""The categorical family."""

import dataclasses
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.relative_entropy import entropy_from_logits, log_sum_exp_bregman
from igeojax.discrete.softmax import log_softmax, logsumexp, softmax
from igeojax.families.base import ExponentialFamily
from igeojax.families.support import Support
from igeojax.numerics.remainders import log_ratio
from igeojax.numerics.safe import log_at_zero
from igeojax.numerics.weighting import weighted_mean


class CategoricalPoint(NamedTuple):
    """One leaf: the one-hot statistic without its last class."""

    one_hot: Float[Array, "*batch classes-1"]


class CategoricalParams(NamedTuple):
    """Class probabilities."""

    probs: Float[Array, "*batch classes"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Categorical(ExponentialFamily[CategoricalPoint, CategoricalParams]):
    """One of `num_classes` labels: `theta_i = log(p_i / p_K)`, `psi = log(1 + sum exp theta_i)`.

    The last class is the reference of the minimal chart and must have positive probability; any
    other may have probability 0 (`theta = -inf`). A fit to data in which it never occurs gives it
    `K` units of rounding. Observations are integer labels `0..K-1`.

    Args:
      num_classes: number of classes `K >= 2`.

    Raises:
      TypeError: `num_classes` is not an integer.
      ValueError: `num_classes < 2`.

    References:
      [Amari2016] section 2.2.2 (discrete distributions).

    Examples:
      >>> die = Categorical(3)
      >>> theta = die.natural_from_params(probs=[0.5, 0.25, 0.25])
      >>> [round(v, 6) for v in die.mean_from_natural(theta).one_hot.tolist()]
      [0.5, 0.25]
    """

    num_classes: int

    Point = CategoricalPoint
    Params = CategoricalParams
    conjugate_prior = "Dirichlet"
    _observation = 0

    def __post_init__(self):
        checks.require_count("num_classes", self.num_classes, 2)

    @property
    def point_shape(self):
        return ((self.num_classes - 1,),)

    @property
    def support(self):
        return Support(0, self.num_classes - 1, integers=True)

    def statistics(self, x: ArrayLike) -> CategoricalPoint:
        return CategoricalPoint(jax.nn.one_hot(self._data(x), self.num_classes)[..., :-1])

    def log_partition(self, theta: CategoricalPoint) -> Array:
        return logsumexp(self.logits(theta))

    def logits(self, theta: CategoricalPoint) -> Float[Array, "*batch classes"]:
        """All `num_classes` logits, the last one 0.

        Args:
          theta: natural parameter.

        Returns:
          The logits, one more than `theta` has entries.

        Examples:
          >>> Categorical(2).logits(CategoricalPoint(jnp.array([1.5]))).tolist()
          [1.5, 0.0]
        """
        last = jnp.zeros((*theta.one_hot.shape[:-1], 1), theta.one_hot.dtype)
        # inf would mean a last class of probability 0, which this chart cannot hold.
        inside = jnp.where(theta.one_hot < jnp.inf, theta.one_hot, jnp.nan)
        return jnp.concatenate([inside, last], axis=-1)

    def mean_from_natural(self, theta: CategoricalPoint) -> CategoricalPoint:
        self.batch_shape(theta)
        return CategoricalPoint(softmax(self.logits(theta))[..., :-1])

    def natural_from_mean(self, eta: CategoricalPoint) -> CategoricalPoint:
        last = 1 - jnp.sum(eta.one_hot, axis=-1, keepdims=True)
        return CategoricalPoint(log_at_zero(eta.one_hot) - jnp.log(last))

    def in_chart(self, eta: CategoricalPoint) -> CategoricalPoint:
        """Mean statistics whose last class, the reference, has a probability above their rounding.

        Below `num_classes` units of it, it is one minus a sum, and no more than rounding itself.
        """
        return CategoricalPoint(with_last(eta.one_hot, 1, self.num_classes))

    def natural_from_params(
        self, probs: ArrayLike | None = None, *, logits: ArrayLike | None = None
    ) -> CategoricalPoint:
        """Natural parameter of `probs`, or of `logits`, shape `batch + (num_classes,)`.

        Logits are redundant by a constant, which drops out: a network's scores are passed as they
        are. The last class is the reference: a mask (-inf, or a very negative number, which costs
        the digits of the others) belongs on any class but that.

        Raises:
          TypeError: not exactly one of the two is given, or it is not real.
          ValueError: a wrong number of classes; concrete `probs` that are negative, do not sum to
            one, or are 0 for the last class; a concrete logit of nan or inf, or a last one of -inf.
        """
        if (probs is None) == (logits is None):
            raise TypeError("Categorical needs exactly one of probs and logits; pass one of them.")
        if probs is None:
            scores = checks.floating("logits", cast(ArrayLike, logits))
            checks.require_trailing_shape("logits", scores, (self.num_classes,))
            checks.require_values(
                "logits",
                scores,
                lambda score: score < np.inf,
                "finite, or -inf for a class that never occurs",
                "Look for an overflow or a nan upstream.",
            )
            checks.require_values(
                "the logit of the last class",
                scores[..., -1],
                lambda last: last > -np.inf,
                "above -inf, for that class is the reference of the chart",
                "Reorder the classes so that one that is never masked comes last.",
            )
            return CategoricalPoint(scores[..., :-1] - scores[..., -1:])
        probs = checks.floating("probs", probs)
        checks.require_trailing_shape("probs", probs, (self.num_classes,))
        checks.require_probabilities("probs", probs)
        checks.require_positive(
            "the probability of the last class", probs[..., -1], "Reorder the classes."
        )
        return CategoricalPoint(log_at_zero(probs[..., :-1]) - jnp.log(probs[..., -1:]))

    def params_from_natural(self, theta: CategoricalPoint) -> CategoricalParams:
        return CategoricalParams(softmax(self.logits(theta)))

    def in_natural_domain(self, theta: CategoricalPoint) -> Array:
        return (theta.one_hot < jnp.inf).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x < self.num_classes)

    def _entropy(self, theta: CategoricalPoint) -> Array:
        return entropy_from_logits(self.logits(theta))

    def _bregman(
        self, theta: CategoricalPoint, other: CategoricalPoint, step: CategoricalPoint
    ) -> Array:
        last = jnp.zeros_like(step.one_hot[..., :1])
        steps = jnp.concatenate([step.one_hot, last], axis=-1)
        return log_sum_exp_bregman(self.logits(theta), self.logits(other), steps)

    def _natural_step(
        self, params: CategoricalParams, other: CategoricalParams
    ) -> CategoricalPoint:
        steps = log_ratio(params.probs, other.probs)
        return CategoricalPoint(steps[..., :-1] - steps[..., -1:])

    def mean(self, theta: CategoricalPoint) -> Array:
        p = softmax(self.logits(theta))
        return p @ jnp.arange(self.num_classes, dtype=p.dtype)

    def variance(self, theta: CategoricalPoint) -> Array:
        p = softmax(self.logits(theta))
        label = jnp.arange(self.num_classes, dtype=p.dtype)
        label = label.reshape((1,) * (p.ndim - 1) + (-1,))
        return jnp.sum(p * (label - self.mean(theta)[..., None]) ** 2, axis=-1)

    def mode(self, theta: CategoricalPoint) -> Array:
        return jnp.argmax(self.logits(theta), axis=-1)

    def _cdf(self, theta: CategoricalPoint, x: Array) -> Array:
        # The sums of `_quantile`, so that each is the inverse of the other to the last digit.
        reached = self._cumulative(theta)
        index = jnp.clip(jnp.floor(x), 0, self.num_classes - 1)[..., None].astype(int)
        batch = jnp.broadcast_shapes(reached.shape[:-1], index.shape[:-1])
        reached = jnp.broadcast_to(reached, (*batch, self.num_classes))
        value = jnp.take_along_axis(reached, jnp.broadcast_to(index, (*batch, 1)), axis=-1)
        return jnp.where(x < 0, 0.0, value[..., 0])

    def _cumulative(self, theta: CategoricalPoint) -> Array:
        return jnp.cumsum(softmax(self.logits(theta)), axis=-1).at[..., -1].set(1.0)

    def _quantile(self, theta: CategoricalPoint, probability: Array) -> Array:
        label = jnp.argmax(self._cumulative(theta) >= probability[..., None], axis=-1)
        return label.astype(theta.one_hot.dtype)

    def dual_potential(self, eta: CategoricalPoint) -> Array:
        # sum p log p: no natural parameter is needed, which has none where the last class has no p.
        last = 1 - jnp.sum(eta.one_hot, axis=-1, keepdims=True)
        probs = jnp.concatenate([eta.one_hot, last], axis=-1)
        return jnp.sum(probs * jnp.where(probs == 0, 0.0, log_at_zero(probs)), axis=-1)

    def _filled(self, x: ArrayLike) -> Array:
        # Labels with missing ones among them are floating: integers have no nan.
        x = checks.as_array(f"data of {self}", x)
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return self._data(x)
        labels = jnp.where(jnp.isnan(x), 0, x)
        return jnp.where(labels == jnp.floor(labels), labels, -1).astype(int)

    def _data(self, x: ArrayLike, dtype: Any = None) -> Array:
        labels = checks.as_array(f"data of {self}", x)
        if not jnp.issubdtype(labels.dtype, jnp.integer):
            raise TypeError(
                f"data of {self} must be integer labels 0..{self.num_classes - 1}; got dtype "
                f"{labels.dtype}. Cast labels to int; for one-hot rows take argmax first."
            )
        return labels

    def _log_density(self, theta: CategoricalPoint, x: Array) -> Array:
        scores = log_softmax(self.logits(theta))
        batch = jnp.broadcast_shapes(scores.shape[:-1], x.shape)
        scores = jnp.broadcast_to(scores, (*batch, self.num_classes))
        return jnp.take_along_axis(scores, jnp.broadcast_to(x, batch)[..., None], axis=-1)[..., 0]

    def _fit(self, x: Array, weights: Array | None) -> CategoricalPoint:
        share = weighted_mean(jax.nn.one_hot(x, self.num_classes), weights)
        return CategoricalPoint(log_odds(share))

    def _draw(self, key, theta, shape):
        return jax.random.categorical(key, self.logits(theta), shape=shape)


def log_odds(share: Array) -> Array:
    """Logarithms of the shares of all classes but the last over that of the last.

    Of the counts of all classes: one minus the others' sum would cancel for a rare last class.

    Args:
      share: shape `batch + (num_classes,)`, not negative.

    Returns:
      The logarithms; a last class without any has `num_classes` units of rounding of the total.

    Examples:
      >>> log_odds(jnp.array([0.5, 0.5])).tolist()
      [0.0]
    """
    least = share.shape[-1] * jnp.finfo(share.dtype).eps * jnp.sum(share, axis=-1, keepdims=True)
    last = jnp.where(share[..., -1:] == 0, least, share[..., -1:])
    return log_at_zero(share[..., :-1]) - jnp.log(last)


def with_last(counts: Array, total: int, num_classes: int) -> Array:
    """Mean counts of all classes but the last that leave it more of a total than rounding.

    Args:
      counts: shape `batch + (num_classes - 1,)`, below 0 by no more than rounding.
      total: what the counts of all classes sum to.
      num_classes: number of classes.

    Returns:
      The counts, none negative, scaled where the last class has less than `num_classes` units of
      rounding.

    Examples:
      >>> bool(1 - with_last(jnp.array([0.25, 0.75]), 1, 3).sum() > 0)
      True
    """
    least = num_classes * jnp.finfo(counts.dtype).eps * total
    counts = jnp.maximum(counts, 0)
    known = jnp.sum(counts, axis=-1, keepdims=True)
    scale = (total - least) / jnp.where(known > 0, known, 1.0)
    return jnp.where(total - known < least, scale * counts, counts)
