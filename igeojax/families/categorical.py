"""The categorical family."""

import dataclasses
from typing import Any, ClassVar, NamedTuple, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.softmax import log_softmax, logsumexp, softmax
from igeojax.families.base import ExponentialFamily
from igeojax.families.weighting import weighted_mean
from igeojax.numerics.remainders import expm1_remainder


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
    other may have probability 0 (`theta = -inf`). Observations are integer labels `0..K-1`.

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
    _inside: ClassVar[Any] = 0
    _degenerate: ClassVar[str] = (
        "The last class never occurs, and it is the reference of the chart. Reorder the labels so "
        "that one that occurs comes last."
    )

    def __post_init__(self):
        checks.require_count("num_classes", self.num_classes, 2)

    @property
    def point_shape(self):
        return ((self.num_classes - 1,),)

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
        return CategoricalPoint(jnp.log(eta.one_hot) - jnp.log(last))

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
            one, or are 0 for the last class; a concrete last logit of -inf.
        """
        if (probs is None) == (logits is None):
            raise TypeError("Categorical needs exactly one of probs and logits; pass one of them.")
        if probs is None:
            scores = checks.floating("logits", cast(ArrayLike, logits))
            checks.require_trailing_shape("logits", scores, (self.num_classes,))
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
        return CategoricalPoint(jnp.log(probs[..., :-1]) - jnp.log(probs[..., -1:]))

    def params_from_natural(self, theta: CategoricalPoint) -> CategoricalParams:
        return CategoricalParams(softmax(self.logits(theta)))

    def in_natural_domain(self, theta: CategoricalPoint) -> Array:
        return (theta.one_hot < jnp.inf).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x < self.num_classes)

    def entropy(self, theta: CategoricalPoint) -> Array:
        logits = self.logits(theta)
        p = softmax(logits)
        return -jnp.sum(p * jnp.where(p == 0, 0.0, log_softmax(logits)), axis=-1)

    def bregman(self, theta: CategoricalPoint, other: CategoricalPoint) -> Array:
        return log_sum_exp_bregman(self.logits(theta), self.logits(other))

    def _data(self, x: ArrayLike, dtype: Any = None) -> Array:
        labels = jnp.asarray(x)
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
        # Counts of all classes: one minus the others' sum would cancel for a rare last class.
        share = weighted_mean(jax.nn.one_hot(x, self.num_classes), weights)
        return CategoricalPoint(jnp.log(share[..., :-1]) - jnp.log(share[..., -1:]))

    def _draw(self, key, theta, shape):
        return jax.random.categorical(key, self.logits(theta), shape=shape)


def log_sum_exp_bregman(
    logits: Float[Array, "*batch classes"], other: Float[Array, "*batch classes"]
) -> Float[Array, "*batch"]:
    """Bregman divergence of log-sum-exp, `KL(softmax(other) || softmax(logits))`, last axis.

    With `q = softmax(other)` and steps `d` centred to `sum q d = 0` it is
    `log(1 + sum q (exp(d) - 1 - d))`, a sum of non-negative terms that cannot cancel.

    Args:
      logits: scores of the first point, `-inf` allowed.
      other: scores of the point of tangency.

    Returns:
      Non-negative values in nats; inf where `other` has mass and `logits` has none.

    Examples:
      >>> import jax.numpy as jnp
      >>> z = jnp.array([0.0, 1e-6])
      >>> round(float(log_sum_exp_bregman(z, jnp.zeros(2))) * 1e12, 3)
      0.125
    """
    q = softmax(other)
    massless = q == 0
    lost = (~massless & (logits == -jnp.inf)).any(axis=-1)
    known = ~massless & (logits > -jnp.inf)
    step = jnp.where(known, logits - jnp.where(known, other, 0.0), 0.0)
    mean = jnp.sum(q * step, axis=-1, keepdims=True)
    centred = jnp.where(known, step - mean, 0.0)
    # Classes where q underflows to 0 still bring the mass of `logits`: exp(exponent) below.
    exponent = logits - logsumexp(other)[..., None] - mean
    largest = jnp.max(jnp.where(known, jnp.abs(centred), exponent), axis=-1, keepdims=True)
    moderate = largest < 40
    terms = q * expm1_remainder(jnp.where(moderate, centred, 0.0))
    gained = jnp.exp(jnp.where(massless & moderate, exponent, -jnp.inf))
    near = jnp.log1p(jnp.sum(terms + gained, axis=-1))
    far = logsumexp(jnp.where(moderate, 0.0, exponent))
    return jnp.where(lost, jnp.inf, jnp.where(moderate[..., 0], near, far))
