"""The kernels of `_token_log_probs`: log-probabilities of labels from one read of the scores.

The forward pass reads a row once at every length; the backward pass reads and writes every element
once, and may write where it reads. `_rows` says what the stages, places and edges are.
"""

from __future__ import annotations

from kernels_triton._launch import jit, load_tile, tl
from kernels_triton._rows import (
    absorb,
    centered,
    edge_places,
    joined,
    load_of_rows,
    load_parts,
    multiple_of,
    row_start,
    share,
    whole_granules,
)


@jit
def _distance(x, inside, x_label, inverse_temperature):
    """The sum of `(x - x_label) / t` over a tile: what smoothing adds to the row, times columns."""
    gap = tl.where(inside, centered(x, x_label, inverse_temperature), 0.0)
    return tl.sum(gap, axis=1, keep_dims=True)


@jit
def token_log_probs_kernel(
    out_ptr,
    peak_ptr,
    total_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    n_rows,
    n_columns,
    labels_ptr,
    distance_ptr,
    part_peak_ptr,
    part_total_ptr,
    ignore_index,
    inverse_temperature: tl.float64,
    smoothing: tl.float64,  # of one column
    SMOOTHED: tl.constexpr,
    STAGE: tl.constexpr,
    DIVISOR: tl.constexpr,
    EDGES: tl.constexpr,
    SPLITS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    split = program % SPLITS
    first_row = program // SPLITS * ROWS
    if STAGE == "finish":  # one program for all parts of a row
        first_row = program
    rows = first_row + tl.arange(0, ROWS)[:, None]
    lanes = split * BLOCKS_PER_ROW * BLOCK + tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inverse_temperature = tl.full((1, 1), inverse_temperature, ACCUMULATOR)
    n_columns = multiple_of(n_columns, DIVISOR)
    x_row_stride = multiple_of(x_row_stride, DIVISOR)

    # One number a row on one axis: on two each lane would load it.
    row = first_row + tl.arange(0, ROWS)
    label = tl.load(labels_ptr + row, mask=row < n_rows, other=0).to(tl.int64)
    known = (row < n_rows) & (label >= 0) & (label < n_columns) & (label != ignore_index)
    at_label = row * x_row_stride + label * x_column_stride
    x_label = tl.load(x_ptr + at_label, mask=known, other=0.0).to(ACCUMULATOR)[:, None]
    ignored = (label == ignore_index)[:, None]
    known = known[:, None]

    peak = tl.full((ROWS, 1), -float("inf"), ACCUMULATOR)
    total = tl.zeros((ROWS, 1), ACCUMULATOR)
    distance = tl.zeros((ROWS, 1), ACCUMULATOR)
    if STAGE == "finish":
        peaks = load_parts(part_peak_ptr, first_row, -float("inf"), SPLITS, PARTS)
        totals = load_parts(part_total_ptr, first_row, 0.0, SPLITS, PARTS)
        joined_peak, joined_total = joined(peaks, totals, inverse_temperature)
        peak = tl.full((ROWS, 1), joined_peak, ACCUMULATOR)
        total = tl.full((ROWS, 1), joined_total, ACCUMULATOR)
        if SMOOTHED:
            distance += tl.sum(load_parts(distance_ptr, first_row, 0.0, SPLITS, PARTS), axis=0)
    else:
        # A row whose label does not count is not read.
        shift = rows * x_row_stride % 16 if EDGES else rows * 0
        x_row = x_ptr + row_start(rows, x_row_stride, shift, EDGES > 0)
        if EDGES:
            edge, at_edge = edge_places(rows, n_rows, shift, n_columns)
            at_edge = at_edge & known & (split == 0)
            x_edge = load_tile(x_row, edge, at_edge, -float("inf"), ACCUMULATOR)
            peak, total = absorb(peak, total, x_edge, inverse_temperature)
            if SMOOTHED:
                distance += _distance(x_edge, at_edge, x_label, inverse_temperature)
        for block in range(BLOCKS_PER_ROW):
            places = block * BLOCK + lanes
            inside = whole_granules(places, rows, n_rows, shift, n_columns, EDGES > 0) & known
            x = load_tile(x_row, places * x_column_stride, inside, -float("inf"), ACCUMULATOR)
            peak, total = absorb(peak, total, x, inverse_temperature)
            if SMOOTHED:
                distance += _distance(x, inside, x_label, inverse_temperature)

    if STAGE == "collect":
        tl.store(peak_ptr + rows * SPLITS + split, peak, mask=rows < n_rows)
        tl.store(total_ptr + rows * SPLITS + split, total, mask=rows < n_rows)
        if SMOOTHED:
            tl.store(distance_ptr + rows * SPLITS + split, distance, mask=rows < n_rows)
    else:
        divisor = tl.where(total == 0.0, 1.0, total)
        out = centered(x_label, peak, inverse_temperature) - tl.log(divisor)
        if SMOOTHED:
            # Of a label of probability 0 the distance may be inf - inf.
            weight = tl.full((1, 1), smoothing, ACCUMULATOR)
            out = tl.where(out == -float("inf"), out, out + weight * distance)
        out = tl.where(known, out, float("nan"))
        out = tl.where(ignored, 0.0, out)
        tl.store(out_ptr + rows, out, mask=rows < n_rows)
        tl.store(peak_ptr + rows, peak, mask=rows < n_rows)
        tl.store(total_ptr + rows, total, mask=rows < n_rows)


@jit
def _gradient(
    x, columns, label, known, ignored, peak, total, cotangent, inverse_temperature, kept, smoothing
):
    inverse_total = 1.0 / tl.where(total == 0.0, 1.0, total)
    p = tl.exp(centered(x, peak, inverse_temperature)) * inverse_total
    slope = tl.where(columns == label, kept, 0.0) + smoothing - p
    slope = tl.where(known, tl.where(total == 0.0, 0.0, slope), float("nan"))
    slope = tl.where(ignored, 0.0, slope)
    return share(slope, cotangent) * inverse_temperature


@jit
def token_log_probs_backward_kernel(
    x_ptr,
    x_row_stride,
    x_column_stride,
    gradient_ptr,
    gradient_row_stride,
    gradient_column_stride,
    n_rows,
    n_columns,
    cotangent_ptr,
    cotangent_stride,
    labels_ptr,
    peak_ptr,
    total_ptr,
    ignore_index,
    inverse_temperature: tl.float64,
    smoothing: tl.float64,
    kept: tl.float64,
    DIVISOR: tl.constexpr,
    EDGES: tl.constexpr,
    SPLITS: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    first_row = program // SPLITS * ROWS
    split = program % SPLITS
    rows = first_row + tl.arange(0, ROWS)[:, None]
    lanes = split * BLOCKS_PER_ROW * BLOCK + tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inverse_temperature = tl.full((1, 1), inverse_temperature, ACCUMULATOR)
    smoothing = tl.full((1, 1), smoothing, ACCUMULATOR)
    kept = tl.full((1, 1), kept, ACCUMULATOR)
    n_columns = multiple_of(n_columns, DIVISOR)
    x_row_stride = multiple_of(x_row_stride, DIVISOR)
    gradient_row_stride = multiple_of(gradient_row_stride, DIVISOR)
    shift = rows * x_row_stride % 16 if EDGES else rows * 0
    x_row = x_ptr + row_start(rows, x_row_stride, shift, EDGES > 0)
    gradient_row = gradient_ptr + row_start(rows, gradient_row_stride, shift, EDGES == 2)

    label = load_of_rows(labels_ptr, 1, first_row, n_rows, 0, ROWS).to(tl.int64)
    cotangent = load_of_rows(cotangent_ptr, cotangent_stride, first_row, n_rows, 0.0, ROWS)
    peak = load_of_rows(peak_ptr, 1, first_row, n_rows, 0.0, ROWS)
    total = load_of_rows(total_ptr, 1, first_row, n_rows, 1.0, ROWS)
    ignored = label == ignore_index
    known = (label >= 0) & (label < n_columns)
    reads = known & ~ignored

    if EDGES:
        edge, at_edge = edge_places(rows, n_rows, shift, n_columns)
        at_edge = at_edge & (split == 0)
        x_edge = load_tile(x_row, edge, at_edge & reads, -float("inf"), ACCUMULATOR)
        gradient_edge = _gradient(
            x_edge,
            edge - shift,
            label,
            known,
            ignored,
            peak,
            total,
            cotangent,
            inverse_temperature,
            kept,
            smoothing,
        )
        gradient_edge = gradient_edge.to(gradient_ptr.dtype.element_ty)
        tl.store(gradient_row + edge, gradient_edge, mask=at_edge)
    for block in range(BLOCKS_PER_ROW):
        places = block * BLOCK + lanes
        inside = whole_granules(places, rows, n_rows, shift, n_columns, EDGES > 0)
        x = load_tile(x_row, places * x_column_stride, inside & reads, -float("inf"), ACCUMULATOR)
        gradient = _gradient(
            x,
            places - shift,
            label,
            known,
            ignored,
            peak,
            total,
            cotangent,
            inverse_temperature,
            kept,
            smoothing,
        )
        gradient = gradient.to(gradient_ptr.dtype.element_ty)
        tl.store(gradient_row + places * gradient_column_stride, gradient, mask=inside)
