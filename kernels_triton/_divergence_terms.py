"""Divergences of two rows of logits from their joined part: values, terms and slopes of classes."""

from __future__ import annotations

from kernels_triton._divergence_parts import exprel2, log1p, or_zero, steps, summary_of
from kernels_triton._launch import jit, tl


@jit
def _rate(gap, lost_x, lost_y, tilt):
    """`-log(sum x^a y^b) / (a b)`, with `a = 1 - b`."""
    proper = tilt > 0.0
    share = tl.where(proper, lost_x / tl.where(proper, tilt, 1.0), float("inf") * lost_x)
    return (gap + lost_y) / (1.0 - tilt) + tl.where(lost_x == 0.0, 0.0, share)


@jit
def affinity_value(part, tilt, scale, KIND: tl.constexpr, TILTED: tl.constexpr, ACC: tl.constexpr):
    """Renyi or alpha-divergence of a row."""
    _, _, gap, lost_x, lost_y, law = summary_of(part, tilt, TILTED, ACC)
    rate = _rate(gap, lost_x, lost_y, tilt)
    if KIND == "renyi":
        value = tl.where(scale == 0.0, lost_x, scale * rate)
    else:
        product = tilt * (1.0 - tilt)
        finite = rate != float("inf")
        exponent = tl.where(finite, product * rate, 0.0)
        near = tl.abs(exponent) < 1.0
        small = tl.where(near, exponent, 0.0)
        large = tl.where(near, 1.0, exponent)
        shrink = tl.where(near, 1.0 - small * exprel2(-small, ACC), (1.0 - tl.exp(-large)) / large)
        limit = tl.where(tilt > 0.0, 1.0 / tl.where(tilt > 0.0, product, 1.0), float("inf"))
        value = tl.where(finite, rate * shrink, limit)
    return value + law


@jit
def _law(x, peak, total, only):
    """`softmax(x)`; 0 of an empty row."""
    top = or_zero(tl.maximum(peak, only))
    whole = tl.where(total == 0.0, 0.0, total * tl.exp(peak - top)) + tl.exp(only - top)
    whole = tl.where(whole == 0.0, 1.0, whole)
    return tl.exp(x - top) / whole, top, whole


@jit
def _log_ratio(x, y, both, part, kl, lost_x, lost_y, top_x, whole_x, top_y, whole_y):
    """`log softmax(x) - log softmax(y)` of the classes of both, 0 elsewhere."""
    step = steps(x, y, both, part[0], part[1])
    near = (tl.abs(step) < 8.0) & (tl.abs(part[3]) < 8.0) & (kl + lost_x + lost_y < 8.0)
    close = (step - part[3]) + (kl - lost_x + lost_y)
    far = ((x - top_x) - (y - top_y)) - tl.log(whole_x / whole_y)
    return tl.where(both, tl.where(near, close, far), 0.0)


@jit
def gaps(x, y, part, kl, lost_x, lost_y, KIND: tl.constexpr, ACC: tl.constexpr):
    """Of each class: both laws, what it adds to the divergence, its slopes along x and along y."""
    both = (x != -float("inf")) & (y != -float("inf"))
    p, top_x, whole_x = _law(x, part[0], part[2], part[7])
    q, top_y, whole_y = _law(y, part[5], part[6], part[8])
    ratio = _log_ratio(x, y, both, part, kl, lost_x, lost_y, top_x, whole_x, top_y, whole_y)
    size = tl.abs(ratio)
    near = both & (size < 1.0)
    small = tl.where(near, size, 0.0)
    shrink = small * (1.0 - small * exprel2(-small, ACC))  # 1 - exp(-size)
    if KIND == "total_variation":
        gap = tl.where(near, tl.where(ratio > 0.0, p, q) * shrink, tl.abs(p - q))
        lean = tl.where(both, ratio > 0.0, x != -float("inf"))
        slope_x = tl.where(gap == 0.0, 0.0, tl.where(lean, 0.5, -0.5))
        slope_y = -slope_x
        value = 0.5 * gap
    else:
        LOG_2: tl.constexpr = 0.6931471805599453
        TERMS: tl.constexpr = 22 if tl.float64 == ACC else 9
        tanh = shrink / (2.0 - shrink)  # of half the ratio
        square = tanh * tanh
        series = square * 0.0 + 1.0 / (TERMS + 1)
        for k in tl.static_range(TERMS):
            series = series * square + 1.0 / (TERMS - k)
        bend = 0.5 * square * series  # log cosh of half the ratio
        other = tl.exp(-size)
        tail = LOG_2 - log1p(other, ACC)
        coin = tl.where(near, 0.5 * tanh * small - bend, tail - size * (other / (1.0 + other)))
        slope_x = tl.where(near, 0.25 * ratio - 0.5 * bend, 0.5 * (tail + tl.minimum(ratio, 0.0)))
        slope_y = tl.where(near, -0.25 * ratio - 0.5 * bend, 0.5 * (tail - tl.maximum(ratio, 0.0)))
        coin = tl.where(both, coin, LOG_2)
        slope_x = tl.where(both, slope_x, 0.5 * LOG_2)
        slope_y = tl.where(both, slope_y, 0.5 * LOG_2)
        value = 0.5 * (p + q) * coin
    return p, q, value, slope_x, slope_y


@jit
def gap_sums(x, y, part, tilt, KIND: tl.constexpr, ACC: tl.constexpr):
    """Over a tile: the divergence, and the mean of the slope along x."""
    kl, _, _, lost_x, lost_y, law = summary_of(part, tilt, False, ACC)
    p, _, value, slope_x, _ = gaps(x, y, part, kl, lost_x, lost_y, KIND, ACC)
    pooled = tl.sum(tl.where(p == 0.0, 0.0, p * slope_x), axis=1, keep_dims=True)
    return tl.sum(value, axis=1, keep_dims=True) + law, pooled


@jit
def affinity_slopes(x, y, part, tilt, scale, loss, KIND: tl.constexpr, TILTED, ACC: tl.constexpr):
    """The gradients to x and y, per unit of the cotangent."""
    both = (x != -float("inf")) & (y != -float("inf"))
    kl, shift, gap, lost_x, lost_y, law = summary_of(part, tilt, TILTED, ACC)
    rate = _rate(gap, lost_x, lost_y, tilt)
    order = 1.0 - tilt
    if KIND == "alpha":
        affinity = tl.exp(-(tilt * order) * tl.where(rate == float("inf"), 0.0, rate))
        infinite = (rate == float("inf")) | (affinity == float("inf"))
        scale, loss = scale * affinity, loss * affinity
    else:
        infinite = (rate == float("inf")) & ((scale != 0.0) | (lost_x == float("inf")))
    scale = tl.where(infinite, 0.0, scale) + law
    loss = tl.where(infinite, 0.0, loss) + law

    step = steps(x, y, both, part[0], part[1])
    mean = part[3]
    centered = step - mean
    p = tl.where(both, tl.exp(x - or_zero(part[0])) / tl.where(part[2] == 0.0, 1.0, part[2]), 0.0)
    q = tl.where(both, tl.exp(y - or_zero(part[5])) / tl.where(part[6] == 0.0, 1.0, part[6]), 0.0)
    tilted = p
    from_x = tl.where(p == 0.0, 0.0, p * centered)
    if TILTED:
        # The tilted law t, and (p - t) / b.
        exponent = order * (x - or_zero(part[0])) + tilt * (y - or_zero(part[5])) - part[9]
        tilted = tl.where(both, tl.exp(exponent) / tl.where(part[10] == 0.0, 1.0, part[10]), 0.0)
        move = tilt * (centered + shift)
        near = (tl.abs(move) < 1.0) & (tl.abs(tilt * centered) < 8.0)
        small = tl.where(near, move, 0.0)
        close = tl.where(near, centered + shift, 0.0) * (1.0 - small * exprel2(-small, ACC))
        from_x = tl.where(near, p * close, (p - tilted) / tilt)
    move = order * centered + (kl - tilt * shift)  # log(t / q)
    near = (tl.abs(move) < 1.0) & (tl.abs(step) < 8.0) & (tl.abs(mean) < 8.0) & (kl < 8.0)
    small = tl.where(near, move, 0.0)
    from_y = tl.where(near, -q * (small * (1.0 + small * exprel2(small, ACC))), q - tilted)

    # Of the whole laws: p keeps exp(-lost) on the common classes.
    p_whole, _, _ = _law(x, part[0], part[2], part[7])
    q_whole, _, _ = _law(y, part[5], part[6], part[8])
    miss_x, miss_y = 1.0 - tl.exp(-lost_x), 1.0 - tl.exp(-lost_y)
    to_x = tl.where(both, scale * from_x - loss * (p * miss_x), loss * p_whole)
    to_y = tl.where(both, from_y - q * miss_y, q_whole) * (scale / order)
    return to_x, to_y
