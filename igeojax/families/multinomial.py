"""The multinomial family of a known number of trials."""

import dataclasses
import functools
import itertools
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import gammaln
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.softmax import softmax
from igeojax.families.base import MOST_OUTCOMES, ExponentialFamily
from igeojax.families.categorical import (
    Categorical,
    CategoricalParams,
    CategoricalPoint,
    log_odds,
    with_last,
)
from igeojax.numerics.counting import poisson_log_density
from igeojax.numerics.safe import log_at_zero
from igeojax.numerics.weighting import weighted_mean


class MultinomialPoint(NamedTuple):
    """One leaf: the counts of all classes but the last."""

    counts: Float[Array, "*batch classes-1"]


class MultinomialParams(NamedTuple):
    """Class probabilities of one trial."""

    probs: Float[Array, "*batch classes"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Multinomial(ExponentialFamily[MultinomialPoint, MultinomialParams]):
    """Counts of K classes among n trials: `theta_i = log(p_i / p_K)`, `psi = n log sum exp theta`.

    An observation is the vector of all K counts, summing to n; `h = n! / prod x_i!`. The last class
    is the reference and must have positive probability. The entropy sums the counts of each class:
    cost and memory are `K (n + 1)` terms a point. Draws of more than 2^24 trials need a float64
    point.

    Args:
      trials: the known number of trials n, a Python integer.
      num_classes: number of classes `K >= 2`.

    Raises:
      TypeError: an argument is not an integer.
      ValueError: `trials < 1` or `num_classes < 2`.

    References:
      [Amari2016] section 2.2.2 (discrete distributions).

    Examples:
      >>> family = Multinomial(trials=2, num_classes=2)
      >>> theta = family.natural_from_params(probs=[0.5, 0.5])
      >>> round(float(family.log_density(theta, jnp.array([1, 1]))), 6)
      -0.693147
    """

    trials: int
    num_classes: int

    Point = MultinomialPoint
    Params = MultinomialParams
    conjugate_prior = "Dirichlet"

    def __post_init__(self):
        checks.require_count("trials", self.trials)
        checks.require_count("num_classes", self.num_classes, 2)

    @property
    def _one(self) -> Categorical:
        """The law of a single trial."""
        return Categorical(self.num_classes)

    @property
    def _inside(self):
        counts = [0] * (self.num_classes - 1)
        return jnp.asarray([*counts, self.trials])

    @property
    def point_shape(self):
        return ((self.num_classes - 1,),)

    @property
    def event_shape(self):
        return (self.num_classes,)

    @property
    def _discrete(self):
        return True

    @property
    def outcomes(self):
        return _compositions(self.trials, self.num_classes)

    def statistics(self, x: ArrayLike) -> MultinomialPoint:
        return MultinomialPoint(self._data(x)[..., :-1])

    def log_base_measure(self, x: ArrayLike) -> Array:
        x = self._data(x)
        return gammaln(jnp.asarray(self.trials + 1, x.dtype)) - gammaln(x + 1).sum(axis=-1)

    def mean_log_base_measure(self, theta: MultinomialPoint) -> Array:
        return self.trials * self._one._entropy(_single(theta)) - self._entropy(theta)

    def log_partition(self, theta: MultinomialPoint) -> Array:
        return self.trials * self._one.log_partition(_single(theta))

    def mean_from_natural(self, theta: MultinomialPoint) -> MultinomialPoint:
        self.batch_shape(theta)
        return MultinomialPoint(self.mean(theta)[..., :-1])

    def natural_from_mean(self, eta: MultinomialPoint) -> MultinomialPoint:
        last = self.trials - jnp.sum(eta.counts, axis=-1, keepdims=True)
        return MultinomialPoint(log_at_zero(eta.counts) - jnp.log(last))

    def in_chart(self, eta: MultinomialPoint) -> MultinomialPoint:
        """As `Categorical.in_chart`."""
        return MultinomialPoint(with_last(eta.counts, self.trials, self.num_classes))

    def natural_from_params(
        self, probs: ArrayLike | None = None, *, logits: ArrayLike | None = None
    ) -> MultinomialPoint:
        """Natural parameter of `probs`, or of `logits`, shape `batch + (num_classes,)`.

        Raises:
          TypeError: not exactly one of the two is given, or it is not real.
          ValueError: as for `Categorical`.
        """
        return MultinomialPoint(self._one.natural_from_params(probs, logits=logits).one_hot)

    def params_from_natural(self, theta: MultinomialPoint) -> MultinomialParams:
        return MultinomialParams(self._probs(theta))

    def in_natural_domain(self, theta: MultinomialPoint) -> Array:
        return self._one.in_natural_domain(_single(theta))

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        whole = ((x >= 0) & (x == jnp.floor(x))).all(axis=-1)
        return whole & (jnp.sum(x, axis=-1) == self.trials)

    def _probs(self, theta: MultinomialPoint) -> Array:
        return softmax(self._one.logits(_single(theta)))

    def mean(self, theta: MultinomialPoint) -> Array:
        return self.trials * self._probs(theta)

    def variance(self, theta: MultinomialPoint) -> Array:
        probs = self._probs(theta)
        return self.trials * probs * (1 - probs)

    def mode(self, theta: MultinomialPoint) -> Array:
        # Jefferson's apportionment maximizes prod p^x / x!: the n largest of p_i / k, k = 1, 2, ...
        probs = self._probs(theta)
        share = jnp.arange(1, self.trials + 1, dtype=probs.dtype)
        ranks = probs[..., None] / share.reshape((1,) * probs.ndim + (-1,))
        flat = ranks.reshape(*probs.shape[:-1], -1)
        chosen = jnp.argsort(flat, axis=-1, stable=True, descending=True)[..., : self.trials]
        owner = jax.nn.one_hot(chosen // self.trials, self.num_classes, dtype=int)
        return owner.sum(axis=-2)

    def _bregman(
        self, theta: MultinomialPoint, other: MultinomialPoint, step: MultinomialPoint
    ) -> Array:
        return self.trials * self._one._bregman(*map(_single, (theta, other, step)))

    def _natural_step(
        self, params: MultinomialParams, other: MultinomialParams
    ) -> MultinomialPoint:
        step = self._one._natural_step(CategoricalParams(*params), CategoricalParams(*other))
        return MultinomialPoint(step.one_hot)

    def _log_density(self, theta: MultinomialPoint, x: Array) -> Array:
        # Poisson counts given their sum: their large terms cancel on paper.
        mean = self.mean(theta)
        x, total = x.astype(mean.dtype), jnp.full_like(mean, self.trials)
        # The greatest count may cancel exactly and leave what little the others add.
        greatest = jax.nn.one_hot(jnp.argmax(x, axis=-1), self.num_classes, dtype=bool)
        less = jnp.where(greatest, poisson_log_density(total, total), 0.0)
        return poisson_log_density(x, mean, less=less).sum(axis=-1)

    def _entropy(self, theta: MultinomialPoint) -> Array:
        # E [log Poisson(n; n) - log Poisson(x_i; n p_i)] of the likeliest class i, whose terms
        # cancel at x_i = n, less the E log Poisson(x_j; n p_j) of the others; each binomial.
        probs = self._probs(theta)
        likeliest = jax.nn.one_hot(jnp.argmax(probs, axis=-1), self.num_classes, dtype=bool)
        others = jnp.sum(jnp.where(likeliest, 0.0, probs), axis=-1, keepdims=True)
        missing = jnp.where(likeliest, others, 1 - probs)[..., None]
        probs, likeliest = probs[..., None], likeliest[..., None]
        count = jnp.arange(self.trials + 1, dtype=probs.dtype)
        count = count.reshape((1,) * (probs.ndim - 1) + (-1,))
        rest = self.trials - count
        excess = jnp.where(likeliest, self.trials * missing - rest, count - self.trials * probs)
        total = jnp.full_like(excess, self.trials)
        together = poisson_log_density(total, total)
        less = jnp.where(likeliest, together, 0.0)
        own = poisson_log_density(count, self.trials * probs, excess, less)
        other = poisson_log_density(rest, self.trials * missing, -excess, together - less)
        possible = (own > -jnp.inf) & (other > -jnp.inf)
        own, other = (jnp.where(possible, part, 0.0) for part in (own, other))
        return -jnp.sum(jnp.where(possible, jnp.exp(own + other) * own, 0.0), axis=(-2, -1))

    def dual_potential(self, eta: MultinomialPoint) -> Array:
        share = CategoricalPoint(eta.counts / self.trials)
        return self.trials * self._one.dual_potential(share)

    def _fit(self, x: Array, weights: Array | None) -> MultinomialPoint:
        return MultinomialPoint(log_odds(weighted_mean(self._data(x), weights)))

    def _draw(self, key, theta, shape):
        probs = jnp.broadcast_to(self._probs(theta), (*shape, self.num_classes))
        trials = jnp.full(shape, self.trials, probs.dtype)
        return jax.random.multinomial(key, trials, probs, dtype=probs.dtype).astype(int)


def _single(point: MultinomialPoint) -> CategoricalPoint:
    return CategoricalPoint(*point)


@functools.lru_cache(maxsize=4)
def _compositions(total: int, parts: int) -> np.ndarray | None:
    """All counts that sum to the total, one a row."""
    slots = total + parts - 1
    if math.comb(slots, total) > MOST_OUTCOMES:
        return None
    # Stars and bars: all slots but `total` are bars, the counts are the gaps between them.
    bars = itertools.combinations(range(slots), parts - 1)
    ends = np.array([(-1, *chosen, slots) for chosen in bars])
    return np.diff(ends, axis=-1) - 1
