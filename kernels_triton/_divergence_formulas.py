"""The formulas of the divergence kernels on whole rows, each row one part, in torch or in JAX.

`xp` is the module of array functions, `torch` or `jax.numpy`. Rows keep their last axis, of length
one where it is reduced.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

Array = Any  # torch.Tensor or jax.Array
_INF, _LOG_2 = math.inf, math.log(2)
AFFINE = ("renyi", "alpha")


class Part(NamedTuple):
    """What is known of a row, in the order in which it is kept; see `_divergence_parts`."""

    peak_x: Array
    partner: Array
    total_x: Array
    mean: Array
    remainder: Array
    peak_y: Array
    total_y: Array
    only_x: Array
    only_y: Array
    peak_z: Array
    total_z: Array
    tilted: Array


class Summary(NamedTuple):
    """What the divergences of a row are made of; see `_divergence_parts.summary_of`."""

    kl: Array
    shift: Array
    gap: Array
    lost_x: Array
    lost_y: Array
    law: Array


def factors(kind: str, tilt: float, swapped: bool) -> tuple[float, float]:
    """What multiplies the slopes on the common classes, and those of what is lost outside.

    The pair is ordered so that the statistical order `a = 1 - tilt` is at least 1/2.
    """
    inverse = 1.0 / tilt if tilt > 0 else 0.0
    if kind == "alpha":
        return 1.0, inverse
    return (tilt, 1.0) if swapped else (1.0 - tilt, (1.0 - tilt) * inverse)


def slots(kind: str, tilt: float) -> int:
    """Numbers that are kept of a row for its gradient."""
    if kind in AFFINE:
        return 12 if tilt else 9
    return 11


def _exprel2(x: Array) -> Array:
    """`(exp(x) - 1 - x) / x^2` for `|x| <= 1`."""
    total = 1.0 / math.factorial(19)
    for k in range(16, -1, -1):
        total = total * x + 1.0 / math.factorial(k + 2)
    return total


def _difference(first: Array, second: Array) -> tuple[Array, Array]:
    step = first - second
    virtual = step - first
    return step, (first - (step - virtual)) - (second + virtual)


def _or_zero(xp: Any, x: Array) -> Array:
    return xp.where(x == -_INF, 0.0, x)


def _or_one(xp: Any, x: Array) -> Array:
    return xp.where(x == 0, 1.0, x)


def _share(xp: Any, p: Array, x: Array) -> Array:
    return xp.where(p == 0, 0.0, p * x)


def _sum(xp: Any, x: Array) -> Array:
    return xp.sum(x, axis=-1, keepdims=True)


def _peak(xp: Any, x: Array) -> Array:
    if x.shape[-1]:
        return xp.amax(x, axis=-1, keepdims=True)
    return _sum(xp, x) - _INF


def _steps(xp: Any, x: Array, y: Array, both: Array, peak: Array, partner: Array) -> Array:
    step, rounding = _difference(xp.where(both, x, 0.0), xp.where(both, y, 0.0))
    base, base_rounding = _difference(_or_zero(xp, peak), _or_zero(xp, partner))
    return xp.where(both, (step - base) + (rounding - base_rounding), 0.0)


def _log_sum_exp(xp: Any, x: Array) -> Array:
    peak = _peak(xp, x)
    return peak + xp.log(_or_one(xp, _sum(xp, xp.exp(x - _or_zero(xp, peak)))))


def _remainders(xp: Any, log_factor: Array, weight: Array, mean: Array, others: Array) -> Array:
    near = xp.abs(mean) < 1
    small = xp.where(near, mean, 0.0)
    close = weight * (small * small * _exprel2(-small))
    heavy = xp.where(weight == 0, 0.0, mean)
    far = others * xp.exp(xp.clip(log_factor, max=60.0)) - weight * (1 - heavy)
    return _sum(xp, xp.where(near, close, far))


def _both(x: Array, y: Array) -> Array:
    return (x != -_INF) & (y != -_INF)  # nan goes on


def part_of(xp: Any, x: Array, y: Array, tilt: float) -> Part:
    """The part that a whole row is."""
    both = _both(x, y)
    first, second = (xp.where(both, z, -_INF) for z in (x, y))
    only_x, only_y = (_log_sum_exp(xp, xp.where(both, -_INF, z)) for z in (x, y))
    peak_x, peak_y = _peak(xp, first), _peak(xp, second)
    partner = _peak(xp, xp.where(both & (first == peak_x), second, -_INF))
    weight = xp.where(both, xp.exp(first - _or_zero(xp, peak_x)), 0.0)
    others = xp.where(both, xp.exp(second - _or_zero(xp, peak_y)), 0.0)
    total_x, total_y = _sum(xp, weight), _sum(xp, others)
    step = _steps(xp, x, y, both, peak_x, partner)
    mean = _sum(xp, _share(xp, weight, step)) / _or_one(xp, total_x)
    apart = xp.where(both, step - mean, 0.0)
    log_factor = _or_zero(xp, peak_y) - _or_zero(xp, partner) + mean
    remainder = _remainders(xp, log_factor, weight, apart, others)
    peak_z, total_z, tilted = peak_x, total_x, remainder
    if tilt:
        exponent = xp.where(both, _exponent(xp, x, y, peak_x, peak_y, tilt), -_INF)
        peak_z = _or_zero(xp, _peak(xp, exponent))
        shares = xp.exp(exponent - peak_z)
        total_z = _sum(xp, shares)
        tilted = _remainders(xp, peak_z + tilt * log_factor, weight, tilt * apart, shares)
    return Part(
        peak_x,
        partner,
        total_x,
        mean,
        remainder,
        peak_y,
        total_y,
        only_x,
        only_y,
        peak_z,
        total_z,
        tilted,
    )


def _exponent(xp: Any, x: Array, y: Array, peak_x: Array, peak_y: Array, tilt: float) -> Array:
    return (1.0 - tilt) * (x - _or_zero(xp, peak_x)) + tilt * (y - _or_zero(xp, peak_y))


def _log_mean(xp: Any, direct: Array, remainder: Array, total: Array) -> Array:
    far = (direct > 0.5) | xp.isnan(direct)
    ratio = xp.where(far | (total == 0), 0.0, remainder / _or_one(xp, total))
    return xp.where(far, direct, xp.log1p(ratio))


def _lost(xp: Any, kept: Array, only: Array) -> Array:
    inside = (kept != -_INF) & (only != -_INF)
    gap = xp.where(inside, only - kept, 0.0)
    size = xp.where(gap < 0, 0.0, gap) + xp.log1p(xp.exp(-xp.abs(gap)))
    return xp.where(only == -_INF, 0.0, xp.where(inside, size, _INF))


def summary_of(xp: Any, part: Part, tilt: float) -> Summary:
    """What all divergences of a row are made of."""
    log_x, log_y = (xp.log(_or_one(xp, total)) for total in (part.total_x, part.total_y))
    move = part.mean + (_or_zero(xp, part.peak_y) - _or_zero(xp, part.partner))
    kl = _log_mean(xp, log_y + move - log_x, part.remainder, part.total_x)
    shift, gap = xp.zeros_like(kl), kl
    if tilt:
        log_z = xp.log(_or_one(xp, part.total_z)) + part.peak_z
        direct = log_z + tilt * move - log_x
        shift = _log_mean(xp, direct, part.tilted, part.total_x) / tilt
        apart = (1.0 - tilt) * log_x + tilt * log_y - log_z
        large = abs(tilt) * xp.maximum(kl, xp.abs(shift)) > 1
        gap = xp.where(large, apart / tilt, kl - shift)
    kept_x, kept_y = part.peak_x + log_x, part.peak_y + log_y
    empty_x = (kept_x == -_INF) & (part.only_x == -_INF)
    empty_y = (kept_y == -_INF) & (part.only_y == -_INF)
    lost_x, lost_y = _lost(xp, kept_x, part.only_x), _lost(xp, kept_y, part.only_y)
    odd = (empty_x != empty_y) | xp.isnan(kl) | xp.isnan(lost_x) | xp.isnan(lost_y)
    law = xp.where(odd, math.nan, xp.zeros_like(kl))
    return Summary(kl, shift, gap, lost_x, lost_y, law)


def _rate(xp: Any, of: Summary, tilt: float) -> Array:
    share = of.lost_x / tilt if tilt > 0 else _INF * of.lost_x
    return (of.gap + of.lost_y) / (1.0 - tilt) + xp.where(of.lost_x == 0, 0.0, share)


def _affinity_value(xp: Any, of: Summary, kind: str, tilt: float, scale: float) -> Array:
    rate = _rate(xp, of, tilt)
    if kind == "renyi":
        return (scale * rate if scale else of.lost_x) + of.law
    product = tilt * (1.0 - tilt)
    finite = rate != _INF
    exponent = xp.where(finite, product * rate, 0.0)
    shrink = xp.where(exponent == 0, 1.0, -xp.expm1(-exponent) / _or_one(xp, exponent))
    limit = 1.0 / product if tilt > 0 else _INF
    return xp.where(finite, rate * shrink, limit) + of.law


def _law(xp: Any, x: Array, peak: Array, total: Array, only: Array) -> tuple[Array, Array, Array]:
    top = _or_zero(xp, xp.maximum(peak, only))
    whole = xp.where(total == 0, 0.0, total * xp.exp(peak - top)) + xp.exp(only - top)
    whole = _or_one(xp, whole)
    return xp.exp(x - top) / whole, top, whole


def _gaps(
    xp: Any, x: Array, y: Array, part: Part, of: Summary, kind: str
) -> tuple[Array, Array, Array, Array, Array]:
    """Of each class: both laws, what it adds to the divergence, its slopes along x and along y."""
    both = _both(x, y)
    p, top_x, whole_x = _law(xp, x, part.peak_x, part.total_x, part.only_x)
    q, top_y, whole_y = _law(xp, y, part.peak_y, part.total_y, part.only_y)
    step = _steps(xp, x, y, both, part.peak_x, part.partner)
    close = (step - part.mean) + (of.kl - of.lost_x + of.lost_y)
    far = ((x - top_x) - (y - top_y)) - xp.log(whole_x / whole_y)
    near = (xp.abs(step) < 8) & (xp.abs(part.mean) < 8) & (of.kl + of.lost_x + of.lost_y < 8)
    ratio = xp.where(both, xp.where(near, close, far), 0.0)
    size = xp.abs(ratio)
    near = both & (size < 1)
    small = xp.where(near, size, 0.0)
    if kind == "total_variation":
        gap = xp.where(near, xp.where(ratio > 0, p, q) * -xp.expm1(-small), xp.abs(p - q))
        lean = xp.where(both, ratio > 0, x != -_INF)
        slope = xp.where(gap == 0, 0.0 * gap, xp.where(lean, 0.5, -0.5))
        return p, q, 0.5 * gap, slope, -slope
    half = xp.tanh(0.5 * small)
    bend = -0.5 * xp.log1p(-half * half)
    other = xp.exp(-size)
    tail = _LOG_2 - xp.log1p(other)
    coin = xp.where(near, 0.5 * half * small - bend, tail - size * (other / (1.0 + other)))
    slopes = (
        xp.where(
            both,
            xp.where(
                near, 0.25 * signed - 0.5 * bend, 0.5 * (tail + xp.where(signed < 0, signed, 0.0))
            ),
            0.5 * _LOG_2,
        )
        for signed in (ratio, -ratio)
    )
    return p, q, 0.5 * (p + q) * xp.where(both, coin, _LOG_2), *slopes


def _affinity_slopes(
    xp: Any, x: Array, y: Array, part: Part, kind: str, tilt: float, scale: float, loss: float
) -> tuple[Array, Array]:
    """The gradients of Renyi or alpha to x and y, per unit of the cotangent."""
    both, order = _both(x, y), 1.0 - tilt
    of = summary_of(xp, part, tilt)
    rate = _rate(xp, of, tilt)
    infinite = rate == _INF
    scales, losses = scale + 0.0 * of.kl, loss + 0.0 * of.kl
    if kind == "alpha":
        affinity = xp.exp(-(tilt * order) * xp.where(infinite, 0.0, rate))
        infinite = infinite | (affinity == _INF)
        scales, losses = scale * affinity, loss * affinity
    elif not scale:
        infinite = of.lost_x == _INF
    scales, losses = (xp.where(infinite, 0.0, value) + of.law for value in (scales, losses))

    step = _steps(xp, x, y, both, part.peak_x, part.partner)
    centered = step - part.mean

    def common(exponent: Array, total: Array) -> Array:
        return xp.where(both, xp.exp(exponent) / _or_one(xp, total), 0.0)

    p = common(x - _or_zero(xp, part.peak_x), part.total_x)
    q = common(y - _or_zero(xp, part.peak_y), part.total_y)
    tilted, from_x = p, _share(xp, p, centered)
    if tilt:
        exponent = _exponent(xp, x, y, part.peak_x, part.peak_y, tilt)
        tilted = common(exponent - part.peak_z, part.total_z)
        move = tilt * (centered + of.shift)
        near = (xp.abs(move) < 1) & (xp.abs(tilt * centered) < 8)
        small = xp.where(near, move, 0.0)
        close = xp.where(near, centered + of.shift, 0.0) * (1.0 - small * _exprel2(-small))
        from_x = xp.where(near, p * close, (p - tilted) / tilt)
    move = order * centered + (of.kl - tilt * of.shift)
    near = (xp.abs(move) < 1) & (xp.abs(step) < 8) & (xp.abs(part.mean) < 8) & (of.kl < 8)
    from_y = xp.where(near, -q * xp.expm1(xp.where(near, move, 0.0)), q - tilted)

    p_whole, _, _ = _law(xp, x, part.peak_x, part.total_x, part.only_x)
    q_whole, _, _ = _law(xp, y, part.peak_y, part.total_y, part.only_y)
    miss_x, miss_y = -xp.expm1(-of.lost_x), -xp.expm1(-of.lost_y)
    to_x = xp.where(both, scales * from_x - losses * (p * miss_x), losses * p_whole)
    to_y = xp.where(both, from_y - q * miss_y, q_whole) * (scales / order)
    return to_x, to_y


def forward(
    xp: Any, x: Array, y: Array, kind: str, tilt: float, scale: float
) -> tuple[Array, Sequence[Array]]:
    """The values, and what is kept of each row for the gradient, of logits in the accumulator."""
    part = part_of(xp, x, y, tilt)
    of = summary_of(xp, part, tilt)
    if kind in AFFINE:
        return _affinity_value(xp, of, kind, tilt, scale), part if tilt else part[:9]
    p, _, terms, slope, _ = _gaps(xp, x, y, part, of, kind)
    value = _sum(xp, terms) + of.law
    return value, (*part[:9], _sum(xp, _share(xp, p, slope)), value)


def backward(
    xp: Any,
    cotangent: Array,
    x: Array,
    y: Array,
    kept: Array | Sequence[Array],
    kind: str,
    tilt: float,
    scale: float,
    loss: float,
) -> tuple[Array, Array]:
    """The gradients to both logits, in the accumulator."""
    numbers = tuple(kept)
    part = Part(*(numbers if tilt else (*numbers[:9], numbers[0], numbers[2], numbers[4])))
    if kind in AFFINE:
        slopes = _affinity_slopes(xp, x, y, part, kind, tilt, scale, loss)
    else:
        of = summary_of(xp, part, tilt)
        p, q, _, slope_x, slope_y = _gaps(xp, x, y, part, of, kind)
        pooled, value = numbers[9:11]
        slopes = (
            _share(xp, p, slope_x - pooled) + of.law,
            _share(xp, q, slope_y - (value - pooled)) + of.law,
        )
    to_x, to_y = (_share(xp, slope, cotangent) for slope in slopes)
    return to_x, to_y
