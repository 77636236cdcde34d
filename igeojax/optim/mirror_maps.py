"""Mirror maps of vectors and positive numbers: what a dual step does to a point."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks


class MirrorMap(abc.ABC):
    """A convex potential, described by what a dual step does to a point."""

    @abc.abstractmethod
    def displacement(self, params: Any, dual_step: Any) -> Any:
        """Additive change of `params` that adds `dual_step` to its dual coordinates."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Euclidean(MirrorMap):
    """`Phi = |x|^2 / 2`: the dual coordinates are the point; plain gradient descent.

    Examples:
      >>> Euclidean().displacement(1.0, -0.5)
      -0.5
    """

    def displacement(self, params: Any, dual_step: Any) -> Any:
        del params
        return dual_step


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NegativeEntropy(MirrorMap):
    """`Phi = sum x log x`: exponentiated gradient, on every leaf.

    Args:
      normalized: leaves hold probability vectors on the last axis and stay such; otherwise leaves
        are positive and free. Zero entries stay zero; no other becomes zero in a step, which leaves
        `eps` of an entry at the least.

    Examples:
      >>> import jax.numpy as jnp
      >>> p = jnp.array([0.5, 0.5])
      >>> (p + NegativeEntropy().displacement(p, jnp.log(jnp.array([1.0, 3.0])))).tolist()
      [0.25, 0.75]
    """

    normalized: bool = True

    def displacement(self, params: Any, dual_step: Any) -> Any:
        return jax.tree.map(self._leaf, params, dual_step)

    def _leaf(self, p: Array, step: Array) -> Array:
        if not self.normalized:
            checks.require_values(
                "params of NegativeEntropy", p, lambda v: v >= 0, "non-negative", "Check signs."
            )
            return _kept_positive(p * jnp.expm1(step), p)
        if jnp.ndim(p) == 0:
            raise ValueError(
                "NegativeEntropy needs probability vectors on the last axis; got a scalar leaf. "
                "Use NegativeEntropy(normalized=False) for positive numbers."
            )
        checks.require_probabilities("params of NegativeEntropy", p)
        step = jnp.where(p > 0, step, -jnp.inf)
        shifted = step - jnp.max(step, axis=-1, keepdims=True)
        weight = p * jnp.exp(shifted)
        change = weight / jnp.sum(weight, axis=-1, keepdims=True) - p
        return _kept_positive(change, p)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LogBarrier(MirrorMap):
    """`Phi = -sum log x`: reciprocals move, `1 / x' = 1 / x - step`, on every leaf.

    Its Bregman divergence is that of Itakura and Saito. Entries change by factors of order one
    where `x step` does, so that small entries move slowly: they never die exponentially, as under
    `NegativeEntropy`. Elementwise; normalized it takes a few Newton steps of `O(n)`.

    Args:
      normalized: leaves hold probability vectors on the last axis and stay such,
        `1 / x' = 1 / x - step + nu` with the one `nu` for which they do: every step has one.
        Otherwise leaves are positive and free, and a step with `x step >= 1` leaves the domain: the
        entry is then nan. Zero entries stay zero; a step leaves `eps` of an entry at the least.

    Examples:
      >>> barrier = LogBarrier()
      >>> x = jnp.array([0.5, 4.0])
      >>> (x + barrier.displacement(x, jnp.array([1.0, -0.25]))).tolist()
      [1.0, 2.0]
      >>> bool(jnp.isnan(barrier.displacement(jnp.array(1.0), jnp.array(1.0))))
      True
    """

    normalized: bool = False

    def displacement(self, params: Any, dual_step: Any) -> Any:
        return jax.tree.map(self._leaf, params, dual_step)

    def _leaf(self, x: Array, step: Array) -> Array:
        if self.normalized:
            if jnp.ndim(x) == 0:
                raise ValueError(
                    "LogBarrier(normalized=True) needs probability vectors on the last axis; got a "
                    "scalar leaf. Use LogBarrier() for positive numbers."
                )
            checks.require_probabilities("params of LogBarrier", x)
            positive = x > 0
            reciprocal = jnp.where(positive, 1 / jnp.where(positive, x, 1.0) - step, jnp.inf)
            return _kept_positive(_probabilities(reciprocal) - x, x)
        checks.require_values(
            "params of LogBarrier", x, lambda v: v >= 0, "non-negative", "Check signs."
        )
        ratio = x * step
        # u / (1 - u): for large |u| by 1 / u, as inf / inf would be nan.
        large = jnp.abs(ratio) > 1
        moderate = jnp.where(large, 0.0, ratio)
        factor = jnp.where(
            large, 1 / (1 / jnp.where(large, ratio, 2.0) - 1), moderate / (1 - moderate)
        )
        return jnp.where(ratio < 1, _kept_positive(x * factor, x), jnp.nan)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class PNorm(MirrorMap):
    """`Phi = |x|_p^2 / 2` of the vectors on the last axis: from gradient to exponentiated steps.

    The dual coordinates are `sign(x) |x|^(p-1) / |x|_p^(p-2)`; the way back is the same with
    `q = p / (p - 1)`. At `p = 2` it is gradient descent. Near `p = 1 + 1 / log n` its regret grows
    with `sqrt(log n)`, as that of exponentiated gradients, and entries may have any sign. `O(n)`.
    In derivatives of a step an entry of 0 is held, where the true one is infinite.

    Args:
      p: exponent, `1 < p <= 2`. A scalar leaf is a vector of one entry.

    Raises:
      TypeError: `p` is not a Python number.
      ValueError: `p` is out of range.

    References:
      [GroveLittlestoneSchuurmans2001]; [Gentile2003].

    Examples:
      >>> mirror = PNorm(1.5)
      >>> x = jnp.zeros(2)
      >>> moved = x + mirror.displacement(x, jnp.array([1.0, 2.0]))
      >>> [round(value, 6) for value in moved.tolist()]
      [0.48075, 1.922999]
    """

    p: float

    def __post_init__(self):
        checks.require_number("p of PNorm", self.p, "use one PNorm an exponent")
        if not 1 < self.p <= 2:
            raise ValueError(
                f"p of PNorm must satisfy 1 < p <= 2; got {self.p}. Use PNorm(2.0) for gradient "
                "descent, or 1 + 1 / log(n) for sparse vectors of n entries."
            )

    def displacement(self, params: Any, dual_step: Any) -> Any:
        return jax.tree.map(self._leaf, params, dual_step)

    def _leaf(self, x: Array, step: Array) -> Array:
        if self.p == 2:
            return step
        q = self.p / (self.p - 1)
        dual = _link(jnp.atleast_1d(x), self.p)
        # The rounding of the way there and back is in both, and drops out.
        change = _link(dual + jnp.atleast_1d(step), q) - _link(dual, q)
        return change.reshape(jnp.shape(x))


def _link(x: Array, p: float) -> Array:
    """Gradient of `|x|_p^2 / 2` on the last axis, by powers of numbers in [0, 1]."""
    size = jnp.abs(x)
    largest = jax.lax.stop_gradient(jnp.max(size, axis=-1, keepdims=True))
    unit = jnp.where(largest > 0, largest, 1.0)
    ratio = size / unit
    nonzero = ratio > 0  # Powers of 0 have no derivative for exponents below one.
    ratio = jnp.where(nonzero, ratio, 1.0)
    total = jnp.sum(jnp.where(nonzero, ratio**p, 0.0), axis=-1, keepdims=True)
    total = jnp.where(total > 0, total, 1.0)
    # r (size / r)^(p-1) with r = unit total^(1/p).
    value = unit * ratio ** (p - 1) * total ** ((2 - p) / p)
    return jnp.where(nonzero, jnp.sign(x) * value, x * 0)


def _kept_positive(change: Array, x: Array) -> Array:
    """A change that leaves `eps` of positive entries: one that rounds to 0 could never return."""
    return jnp.maximum(change, (jnp.finfo(x.dtype).eps - 1) * x)


def _probabilities(reciprocal: Array) -> Array:
    """`1 / (a + nu)` on the last axis, with the `nu` for which it sums to one; 0 where `a = inf`.

    From `t = nu + min a`, which lies in `[1, n]`: `1 / sum 1 / (b + t)` is concave and increasing,
    so that Newton's steps from 1 climb to the root and never pass it.
    """
    excess = reciprocal - jnp.min(reciprocal, axis=-1, keepdims=True)
    excess = jnp.where(jnp.isinf(reciprocal), jnp.inf, excess)
    eps = jnp.finfo(reciprocal.dtype).eps

    def gap(t):
        return 1 / jnp.sum(1 / (excess + t), axis=-1, keepdims=True) - 1

    def solve(_, start):
        def advance(carry):
            t, _, count = carry
            weight = 1 / (excess + t)
            total = jnp.sum(weight, axis=-1, keepdims=True)
            slope = jnp.sum((weight / total) ** 2, axis=-1, keepdims=True)
            move = (1 - 1 / total) / slope
            return t + move, move, count + 1

        def unfinished(carry):
            t, move, count = carry
            return jnp.any(move > 4 * eps * t) & (count < 100)

        return jax.lax.while_loop(unfinished, advance, advance((start, start, 0)))[0]

    start = jnp.ones_like(excess[..., :1])
    slope = lambda linear, y: y / linear(jnp.ones_like(y))
    root = jax.lax.custom_root(gap, start, solve, slope)
    return 1 / (excess + root)
