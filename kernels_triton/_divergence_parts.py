"""Two rows of logits, joined from parts: what all divergences between them are made of.

A row is joined from *parts*: a class is one, a block of classes is one, and parts of parts are.
Over the classes that both laws have, a part knows of `x` the peak and the total of its weights, of
`y` the same and the value beside the peak of `x` (the *partner*), the mean under `x` of the steps
`x - y`, relative to that pair, and the remainder `sum w (exp(-c) - 1 + c)` of the centered steps
`c`; further the log-sum-exp of what only `x`, and what only `y`, can reach. With a tilt `b` the
same of the weights `exp((1 - b) x + b y)`. All terms are non-negative, here and where parts are
joined, so that near rows lose nothing:

    KL(x || y) = log(1 + remainder),   Renyi of order 1 - b = KL - log(1 + tilted remainder) / b.

So one read gives both, and each block of a long row is a program of its own. What needs the
log-ratio of each class, Jensen-Shannon and total variation, reads a row of several blocks again.
"""

from __future__ import annotations

from kernels_triton._launch import jit, tl


@jit
def exprel2(x, ACCUMULATOR: tl.constexpr):
    """`(exp(x) - 1 - x) / x^2` for `|x| <= 1`."""
    TERMS: tl.constexpr = 17 if tl.float64 == ACCUMULATOR else 9
    total = x * 0.0 + 1.0
    for k in tl.static_range(TERMS):
        total = total * x * (1.0 / (TERMS + 2 - k)) + 1.0
    return 0.5 * total


@jit
def log1p(x, ACCUMULATOR: tl.constexpr):
    """`log(1 + x)` for x between 0 and 1, as `2 atanh(x / (2 + x))`."""
    TERMS: tl.constexpr = 17 if tl.float64 == ACCUMULATOR else 7
    ratio = x / (2.0 + x)
    square = ratio * ratio
    total = x * 0.0 + 1.0 / (2 * TERMS + 1)
    for k in tl.static_range(TERMS):
        total = total * square + 1.0 / (2 * (TERMS - k) - 1)
    return 2.0 * ratio * total


@jit
def _difference(first, second):
    """`first - second` and what it rounds away, by the two-sum of Knuth."""
    step = first - second
    virtual = step - first
    return step, (first - (step - virtual)) - (second + virtual)


@jit
def or_zero(x):
    """The value of a part that has one; 0 for the -inf of an empty part."""
    return tl.where(x == -float("inf"), 0.0, x)


@jit
def steps(x, y, both, peak, partner):
    """`(x - y) - (peak - partner)` to all digits, 0 where not both are there."""
    step, rounding = _difference(tl.where(both, x, 0.0), tl.where(both, y, 0.0))
    base, base_rounding = _difference(or_zero(peak), or_zero(partner))
    return tl.where(both, (step - base) + (rounding - base_rounding), 0.0)


@jit
def _log_total(peak, total):
    return tl.where(total == 0.0, -float("inf"), peak + tl.log(tl.where(total == 0.0, 1.0, total)))


@jit
def _log_sum_exp(x):
    peak = or_zero(tl.max(x, axis=1, keep_dims=True))
    return _log_total(peak, tl.sum(tl.exp(x - peak), axis=1, keep_dims=True))


@jit
def _remainders(
    log_factor, weight, mean, others, total, remainder, LEAVES: tl.constexpr, ACC: tl.constexpr
):
    """`sum w (exp(-c) - 1 + c)` of parts whose means lie at `mean` of a common one.

    `others exp(log_factor)` is `sum w exp(-c)` of the same parts, which does not cancel far away.
    """
    # Beyond 60 the divergence is taken from the totals alone.
    factor = tl.exp(tl.minimum(log_factor, 60.0))
    near = tl.abs(mean) < 1.0
    if not LEAVES:
        near = near & (remainder <= total)
    small = tl.where(near, mean, 0.0)
    close = weight * (small * small * exprel2(-small, ACC))
    if not LEAVES:
        close += tl.exp(-small) * tl.where(total == 0.0, 0.0, weight / total * remainder)
    far = others * factor - weight * (1.0 - tl.where(weight == 0.0, 0.0, mean))
    return tl.sum(tl.where(near, close, far), axis=1, keep_dims=True)


@jit
def joined_part(
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
    tilt,
    LEAVES: tl.constexpr,
    TILTED: tl.constexpr,
    ACC: tl.constexpr,
):
    """The part that is joined of the parts along the last axis; of classes where `LEAVES`.

    A class has total 1 and mean 0: what is passed for these is not read.
    """
    there = peak_x != -float("inf")  # nan goes on
    peak = tl.max(peak_x, axis=1, keep_dims=True)
    base = or_zero(peak)
    beside = tl.max(tl.where(there & (peak_x == peak), partner, -float("inf")), 1, keep_dims=True)
    base_y = or_zero(tl.max(peak_y, axis=1, keep_dims=True))
    if LEAVES:
        # One exponential serves the classes of both laws and those of one.
        out_x = tl.max(only_x, axis=1, keep_dims=True)
        out_y = tl.max(only_y, axis=1, keep_dims=True)
        of_x = tl.exp(tl.where(there, peak_x - base, only_x - or_zero(out_x)))
        of_y = tl.exp(tl.where(there, peak_y - base_y, only_y - or_zero(out_y)))
        weight, others = tl.where(there, of_x, 0.0), tl.where(there, of_y, 0.0)
        lost_x = tl.sum(tl.where(there, 0.0, of_x), axis=1, keep_dims=True)
        lost_y = tl.sum(tl.where(there, 0.0, of_y), axis=1, keep_dims=True)
        lost_x, lost_y = _log_total(out_x, lost_x), _log_total(out_y, lost_y)
    else:
        weight = tl.where(there, total_x * tl.exp(peak_x - base), 0.0)
        others = tl.where(there, total_y * tl.exp(peak_y - base_y), 0.0)
        lost_x, lost_y = _log_sum_exp(only_x), _log_sum_exp(only_y)
    total = tl.sum(weight, axis=1, keep_dims=True)
    total_others = tl.sum(others, axis=1, keep_dims=True)

    step = steps(peak_x, partner, there, peak, beside)
    means = step if LEAVES else tl.where(there, mean, 0.0) + step
    common = tl.sum(tl.where(weight == 0.0, 0.0, weight * means), axis=1, keep_dims=True)
    common = common / tl.where(total == 0.0, 1.0, total)
    apart = tl.where(there, means - common, 0.0)
    log_factor = base_y - or_zero(beside) + common
    rest = _remainders(log_factor, weight, apart, others, total_x, remainder, LEAVES, ACC)

    top, total_tilted, rest_tilted = peak, total, rest
    if TILTED:
        # From both peaks, where nothing large cancels.
        exponent = (1.0 - tilt) * (peak_x - base) + tilt * (peak_y - base_y)
        if not LEAVES:
            exponent += peak_z
        exponent = tl.where(there, exponent, -float("inf"))
        top = or_zero(tl.max(exponent, axis=1, keep_dims=True))
        shares = tl.exp(exponent - top)
        if not LEAVES:
            shares = tl.where(there, total_z * shares, 0.0)
        total_tilted = tl.sum(shares, axis=1, keep_dims=True)
        log_factor = top + tilt * log_factor
        rest_tilted = _remainders(
            log_factor, weight, tilt * apart, shares, total_x, tilted, LEAVES, ACC
        )
    return (
        peak,
        beside,
        total,
        common,
        rest,
        tl.max(peak_y, axis=1, keep_dims=True),
        total_others,
        lost_x,
        lost_y,
        top,
        total_tilted,
        rest_tilted,
    )


@jit
def part_of(x, y, tilt, TILTED: tl.constexpr, ACC: tl.constexpr):
    """The part that a tile of classes is."""
    both = (x != -float("inf")) & (y != -float("inf"))
    first, second = tl.where(both, x, -float("inf")), tl.where(both, y, -float("inf"))
    only_x, only_y = tl.where(both, -float("inf"), x), tl.where(both, -float("inf"), y)
    return joined_part(
        first, second, x, x, x, second, x, only_x, only_y, x, x, x, tilt, True, TILTED, ACC
    )


@jit
def store_part(ptr, offsets, stride, inside, part, TILTED: tl.constexpr):
    COUNT: tl.constexpr = 12 if TILTED else 9
    for slot in tl.static_range(COUNT):
        tl.store(ptr + slot * stride + offsets, part[slot], mask=inside)


@jit
def _number(ptr, offsets, inside, fill, SINGLE: tl.constexpr):
    if SINGLE:
        # One load a thread, where a tile of one number would be loaded for each element.
        number = tl.full((1, 1), tl.load(ptr + offsets), ptr.dtype.element_ty)
    else:
        number = tl.load(ptr + offsets, mask=inside, other=fill)
    return number


@jit
def load_part(ptr, offsets, stride, inside, TILTED: tl.constexpr, SINGLE: tl.constexpr):
    """Parts where inside, else parts that are empty; `SINGLE`, the one at a scalar offset."""
    low: tl.constexpr = -float("inf")
    peak_x = _number(ptr, offsets, inside, low, SINGLE)
    partner = _number(ptr + stride, offsets, inside, low, SINGLE)
    total_x = _number(ptr + 2 * stride, offsets, inside, 0.0, SINGLE)
    mean = _number(ptr + 3 * stride, offsets, inside, 0.0, SINGLE)
    remainder = _number(ptr + 4 * stride, offsets, inside, 0.0, SINGLE)
    peak_y = _number(ptr + 5 * stride, offsets, inside, low, SINGLE)
    total_y = _number(ptr + 6 * stride, offsets, inside, 0.0, SINGLE)
    only_x = _number(ptr + 7 * stride, offsets, inside, low, SINGLE)
    only_y = _number(ptr + 8 * stride, offsets, inside, low, SINGLE)
    peak_z, total_z, tilted = peak_x, total_x, remainder
    if TILTED:
        peak_z = _number(ptr + 9 * stride, offsets, inside, 0.0, SINGLE)
        total_z = _number(ptr + 10 * stride, offsets, inside, 0.0, SINGLE)
        tilted = _number(ptr + 11 * stride, offsets, inside, 0.0, SINGLE)
    return (
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


@jit
def _log_mean(direct, remainder, total, ACC: tl.constexpr):
    """`log(1 + remainder / total)`; `direct` is the same from logarithms, which cancel near 0."""
    far = (direct > 0.5) | (direct != direct)
    ratio = tl.where(far | (total == 0.0), 0.0, remainder / tl.where(total == 0.0, 1.0, total))
    return tl.where(far, direct, log1p(ratio, ACC))


@jit
def _lost(kept, only, ACC: tl.constexpr):
    """`-log` of the share `exp(kept) / (exp(kept) + exp(only))`."""
    inside = (kept != -float("inf")) & (only != -float("inf"))
    gap = tl.where(inside, only - kept, 0.0)
    size = tl.maximum(gap, 0.0) + log1p(tl.exp(-tl.abs(gap)), ACC)
    size = tl.where(gap == gap, size, gap)
    return tl.where(only == -float("inf"), 0.0, tl.where(inside, size, float("inf")))


@jit
def summary_of(part, tilt, TILTED: tl.constexpr, ACC: tl.constexpr):
    """What the divergences of a row are made of, on the common classes and outside.

    `KL(x || y)`, `log(1 + tilted) / b`, their difference, `-log` of what x and y keep; last nan
    where there is a nan or only one row has no class at all, else 0.
    """
    peak_x, partner, total_x, mean, remainder, peak_y, total_y, only_x, only_y = part[:9]
    kept_x, kept_y = _log_total(peak_x, total_x), _log_total(peak_y, total_y)
    log_x = tl.log(tl.where(total_x == 0.0, 1.0, total_x))
    log_y = tl.log(tl.where(total_y == 0.0, 1.0, total_y))
    direct = mean + (log_y + (or_zero(peak_y) - or_zero(partner))) - log_x
    kl = _log_mean(direct, remainder, total_x, ACC)
    shift, gap = kl * 0.0, kl
    if TILTED:
        peak_z, total_z, tilted = part[9:]
        log_z = tl.log(tl.where(total_z == 0.0, 1.0, total_z)) + peak_z
        move = mean + (or_zero(peak_y) - or_zero(partner))
        shift = _log_mean(log_z + tilt * move - log_x, tilted, total_x, ACC) / tilt
        # Large terms of one sign cancel in the difference; the totals alone do not.
        apart = (1.0 - tilt) * log_x + tilt * log_y - log_z
        large = tl.abs(tilt) * tl.maximum(kl, tl.abs(shift)) > 1.0
        gap = tl.where(large, apart / tilt, kl - shift)
    empty_x = (kept_x == -float("inf")) & (only_x == -float("inf"))
    empty_y = (kept_y == -float("inf")) & (only_y == -float("inf"))
    law = tl.where(empty_x == empty_y, 0.0, float("nan"))
    lost_x, lost_y = _lost(kept_x, only_x, ACC), _lost(kept_y, only_y, ACC)
    law = tl.where((kl == kl) & (lost_x == lost_x) & (lost_y == lost_y), law, float("nan"))
    return kl, shift, gap, lost_x, lost_y, law
