"""Divergences of softmax laws from their logits, on the last axis.

With `s = log p - log q`, what all of them need is how a law tilts along s. For `m ~ p^a q^(1-a)`

    -log sum p^a q^(1-a) = a (1-a) S(a),    S(a) = B(p, m)/(1-a) + B(q, m)/a    for 0 < a < 1,

where `B` is the Bregman divergence of log-sum-exp, quadratic in the step, so that both quotients
are smooth up to the ends: `S(1) = KL(p || q)`, `S(0) = KL(q || p)`. Beyond, for `a > 1`,
`S(a) = (KL(p || q) + B(m, p)/(a-1)) / a`. All are sums of non-negative terms in the step.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax.discrete.relative_entropy import (
    aligned_logits,
    centered_step,
    log_sum_exp_bregman,
)
from igeojax.discrete.softmax import logsumexp, softmax
from igeojax.numerics.remainders import exprel2, log1p_remainder


class Overlap(NamedTuple):
    """Logits on the common support, and what is lost outside, `-log` of the mass that stays."""

    p: Array
    q: Array
    step: Array
    lost_p: Array
    lost_q: Array


def kl_from_logits(p: Array, q: Array) -> Array:
    """`KL(softmax(p) || softmax(q))`."""
    return log_sum_exp_bregman(*aligned_logits(q, p))


def log_ratio_from_logits(p: Array, q: Array) -> Array:
    """`log softmax(p) - log softmax(q)`, from the difference; `-inf`, `inf` where only one is 0."""
    p, q, step = aligned_logits(p, q)
    centered, mean, known = centered_step(p, q, step)
    gain = log_sum_exp_bregman(p, q, step)
    far = jnp.isinf(gain)[..., None]
    # With q > 0 = p somewhere the centered form is infinite.
    direct = step - (logsumexp(p) - logsumexp(q))[..., None]
    near = jnp.where(known, centered, step - mean) - jnp.where(far, 0.0, gain[..., None])
    ratio = jnp.where(far, direct, near)
    neither = (p == -jnp.inf) & (q == -jnp.inf)
    edge = jnp.where(p == -jnp.inf, jnp.where(neither, 0.0, -jnp.inf), ratio)
    return jnp.where((q == -jnp.inf) & ~neither, jnp.inf, edge)


def laws_from_logits(p: Array, q: Array) -> tuple[Array, Array, Array]:
    """`softmax(p)`, `softmax(q)` and the second minus the first, to all digits."""
    ratio = log_ratio_from_logits(p, q)
    near = jnp.abs(ratio) < 1
    first, second = softmax(p), softmax(q)
    close = -second * jnp.expm1(jnp.where(near, ratio, 0.0))
    return first, second, jnp.where(near, close, second - first)


def overlap(p: Array, q: Array, step: Array | None = None) -> Overlap:
    """Both laws on their common support; harmless equal laws and infinite losses where none is."""
    common = (p != -jnp.inf) & (q != -jnp.inf)  # nan goes on
    none = ~common.any(axis=-1, keepdims=True)
    if step is None:
        p, q, step = aligned_logits(p, q)
    step = jnp.where(common, step, 0.0)
    lost_p, lost_q = _lost(p, common), _lost(q, common)
    p = jnp.where(none, 0.0, jnp.where(common, p, -jnp.inf))
    q = jnp.where(none, 0.0, jnp.where(common, q, -jnp.inf))
    return Overlap(p, q, step, lost_p, lost_q)


def _lost(logits: Array, common: Array) -> Array:
    p = softmax(logits)
    outside = jnp.sum(jnp.where(common, 0.0, p), axis=-1)
    inside = jnp.sum(jnp.where(common, p, 0.0), axis=-1)
    small = outside < 0.5
    return jnp.where(
        small,
        -jnp.log1p(-jnp.where(small, outside, 0.0)),
        -jnp.log(jnp.where(small, 1.0, inside)),
    )


def _log1p_ratio(y: Array) -> Array:
    """`log(1 + y) / y` for `y >= 0`, 1 at 0, with derivatives."""
    nonzero = jnp.where(y == 0, 1.0, y)
    near = 1 - jnp.where(y == 0, 0.5 * y, log1p_remainder(nonzero) / nonzero)
    return jnp.where(y < 1, near, jnp.log1p(nonzero) / nonzero)


def _bregman_rate(first: Array, other: Array, direction: Array, length: Array) -> Array:
    """`B(first, other) / t` at `first = other + t d`, `t = length >= 0`, smooth down to 0."""
    q = softmax(other)
    centered, mean, known = centered_step(first, other, direction)
    massless = (q == 0) & (first > -jnp.inf)
    exponent = first - logsumexp(other)[..., None] - length * mean
    # As in `log_sum_exp_bregman`, over the length.
    gains = (known & (length * centered > 20)) | massless
    moderate = jnp.max(jnp.where(gains, exponent, -jnp.inf), axis=-1, keepdims=True) < 40
    c = jnp.where(gains, 0.0, centered)
    inverse = 1 / jnp.where(length == 0, 1.0, length)
    gained = jnp.exp(jnp.where(gains & moderate, exponent, -jnp.inf))
    gained = gained - jnp.where(gains & known & moderate, q * (1 + length * centered), 0.0)
    rate = jnp.sum(length * q * c**2 * exprel2(length * c) + gained * inverse, axis=-1)
    near = rate * _log1p_ratio(length * rate)
    far = logsumexp(jnp.where(moderate, 0.0, exponent)) * inverse
    return jnp.where(moderate[..., 0], near, far)


def affinity_rate(laws: Overlap, order: Array) -> Array:
    """`S(order)` of two laws of one support, of any order."""
    swap = order < 0.5
    p, q = jnp.where(swap, laws.q, laws.p), jnp.where(swap, laws.p, laws.q)
    step = jnp.where(swap, -laws.step, laws.step)
    a = jnp.where(swap, 1 - order, order)
    c = jnp.where(swap, order, 1 - order)
    beyond = a > 1
    mixed = p - c * step
    base = jnp.where(beyond, p, mixed)
    one = jnp.ones_like(a)
    tilted = jnp.where(beyond, mixed, p)
    first = _bregman_rate(tilted, base, step, jnp.where(beyond, -c, c))
    second = _bregman_rate(q, base, -step, jnp.where(beyond, one, a))
    return (first + second) / jnp.where(beyond, a, one)


def share(mass: Array, weight: Array) -> Array:
    """`mass / weight` for a weight that may reach 0 from above: inf there unless mass is 0."""
    open_ = weight > 0
    bounded = mass / jnp.where(open_, weight, 1.0)
    return jnp.where(mass == 0, 0.0, jnp.where(open_, bounded, jnp.inf))


def alpha_from_logits(p: Array, q: Array, order: ArrayLike) -> Array:
    """Alpha-divergence `(sum p^a q^(1-a) - 1) / (a (a-1))` of softmax laws."""
    a = jnp.asarray(order, p.dtype)
    laws = overlap(p, q)
    rate = affinity_rate(laws, a) + share(laws.lost_p, 1 - a) + share(laws.lost_q, a)
    infinite = jnp.isinf(rate)
    rate = jnp.where(infinite, 1.0, rate)
    exponent = a * (1 - a) * rate
    # (1 - exp(-J)) / J, smooth at 0.
    near = jnp.abs(exponent) < 1
    small, large = jnp.where(near, exponent, 0.0), jnp.where(near, 1.0, exponent)
    shrink = jnp.where(near, 1 - small * exprel2(-small), -jnp.expm1(-large) / large)
    proper = (a > 0) & (a < 1)
    extreme = jnp.where(proper, 1 / jnp.where(proper, a * (1 - a), 1.0), jnp.inf)
    return jnp.where(infinite, extreme, rate * shrink)


def renyi_from_logits(p: Array, q: Array, order: ArrayLike) -> Array:
    """Renyi divergence `log(sum p^a q^(1-a)) / (a-1)` of softmax laws."""
    a = jnp.asarray(order, p.dtype)
    laws = overlap(p, q)
    lost_p = jnp.where(laws.lost_p == 0, 0.0, a * share(laws.lost_p, 1 - a))
    lost_p = jnp.where((a == 0) & jnp.isinf(laws.lost_p), 0.0, lost_p)
    value = a * affinity_rate(laws, a) + lost_p + laws.lost_q
    return jnp.where((a < 0) & (laws.lost_q > 0), -jnp.inf, value)
