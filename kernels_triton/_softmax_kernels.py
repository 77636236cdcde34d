"""The kernels of `_softmax`: forward and backward, of rows with an optional additive mask.

Both go over a row twice, block by block. In a row of one block the compiler merges the two passes,
so that everything is read once: stores come after the loads they could disturb. `_rows` says what
the stages, places and edges are.
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
def _mask_start(
    rows, shift, outer_stride, middle_stride, inner_stride, column_stride, middle, inner
):
    # The mask is broadcast over leading axes of x, so its rows lie on up to three strides.
    outer = rows // (middle * inner)
    start = outer * outer_stride + rows // inner % middle * middle_stride
    return start + rows % inner * inner_stride - shift * column_stride


@jit
def _load_scores(x_row, x_stride, mask_row, mask_stride, places, inside, MASKED, ACCUMULATOR):
    x = load_tile(x_row, places * x_stride, inside, -float("inf"), ACCUMULATOR)
    if MASKED:
        # A mask of -inf excludes the entry whatever it holds, +inf and nan too.
        mask = load_tile(mask_row, places * mask_stride, inside, -float("inf"), ACCUMULATOR)
        x = tl.where(mask == -float("inf"), -float("inf"), x + mask)
    return x


@jit
def _load_cotangent(row, stride, mask_row, mask_stride, places, inside, MASKED, ACCUMULATOR):
    cotangent = load_tile(row, places * stride, inside, 0.0, ACCUMULATOR)
    if MASKED:
        mask = load_tile(mask_row, places * mask_stride, inside, -float("inf"), ACCUMULATOR)
        cotangent = tl.where(mask == -float("inf"), 0.0, cotangent)
    return cotangent


@jit
def _store(row, places, inside, value):
    tl.store(row + places, value.to(row.dtype.element_ty), mask=inside)


@jit
def _result(x, peak, inverse_total, log_total, inverse_temperature, KIND: tl.constexpr):
    gap = centered(x, peak, inverse_temperature)
    return tl.exp(gap) * inverse_total if KIND == "softmax" else gap - log_total


@jit
def softmax_kernel(
    out_ptr,
    peak_ptr,
    total_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    mask_ptr,
    mask_outer_stride,
    mask_middle_stride,
    mask_inner_stride,
    mask_column_stride,
    n_rows,
    n_columns,
    part_peak_ptr,
    part_total_ptr,
    mask_middle,
    mask_inner,
    inverse_temperature: tl.float64,  # an untyped float would reach a GPU as float32
    KIND: tl.constexpr,
    STAGE: tl.constexpr,
    MASKED: tl.constexpr,
    DIVISOR: tl.constexpr,
    EDGES: tl.constexpr,
    SPLITS: tl.constexpr,
    PARTS: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # 64-bit offsets: rows * stride can pass 2**31, and columns * stride in a transposed matrix.
    program = tl.program_id(0).to(tl.int64)
    first_row = program // SPLITS * ROWS
    rows = first_row + tl.arange(0, ROWS)[:, None]
    split = program % SPLITS
    lanes = split * BLOCKS_PER_ROW * BLOCK + tl.arange(0, BLOCK)[None, :].to(tl.int64)
    writes_row = (rows < n_rows) & (split == 0)
    inverse_temperature = tl.full((1, 1), inverse_temperature, ACCUMULATOR)
    n_columns = multiple_of(n_columns, DIVISOR)
    x_row_stride = multiple_of(x_row_stride, DIVISOR)
    shift = rows * x_row_stride % 16 if EDGES else rows * 0
    x_row = x_ptr + row_start(rows, x_row_stride, shift, EDGES > 0)
    mask_row = mask_ptr + _mask_start(
        rows,
        shift,
        mask_outer_stride,
        mask_middle_stride,
        mask_inner_stride,
        mask_column_stride,
        mask_middle,
        mask_inner,
    )

    if EDGES and (STAGE != "finish" or KIND != "logsumexp"):
        edge, at_edge = edge_places(rows, n_rows, shift, n_columns)
        at_edge = at_edge & (split == 0)
        x_edge = _load_scores(
            x_row, 1, mask_row, mask_column_stride, edge, at_edge, MASKED, ACCUMULATOR
        )
    if STAGE == "finish":
        peaks = load_parts(part_peak_ptr, first_row, -float("inf"), SPLITS, PARTS)
        totals = load_parts(part_total_ptr, first_row, 0.0, SPLITS, PARTS)
        joined_peak, joined_total = joined(peaks, totals, inverse_temperature)
        peak = tl.full((ROWS, 1), joined_peak, ACCUMULATOR)
        total = tl.full((ROWS, 1), joined_total, ACCUMULATOR)
    else:
        peak = tl.full((ROWS, 1), -float("inf"), ACCUMULATOR)
        total = tl.zeros((ROWS, 1), ACCUMULATOR)
        if EDGES:
            peak, total = absorb(peak, total, x_edge, inverse_temperature)
        for block in range(BLOCKS_PER_ROW):
            places = block * BLOCK + lanes
            inside = whole_granules(places, rows, n_rows, shift, n_columns, EDGES > 0)
            x = _load_scores(
                x_row,
                x_column_stride,
                mask_row,
                mask_column_stride,
                places,
                inside,
                MASKED,
                ACCUMULATOR,
            )
            peak, total = absorb(peak, total, x, inverse_temperature)

    if STAGE == "collect":
        tl.store(peak_ptr + rows * SPLITS + split, peak, mask=rows < n_rows)
        tl.store(total_ptr + rows * SPLITS + split, total, mask=rows < n_rows)
    else:
        if KIND == "logsumexp":
            center = tl.where(peak == -float("inf"), 0.0, peak)
            _store(out_ptr, rows, writes_row, center * inverse_temperature + tl.log(total))
        else:
            divisor = tl.where(total == 0.0, 1.0, total)
            inverse_total = 1.0 / divisor
            log_total = tl.log(divisor)
            out_row = out_ptr + row_start(rows, n_columns, shift, EDGES == 2)
            for block in range(BLOCKS_PER_ROW):
                places = block * BLOCK + lanes
                inside = whole_granules(places, rows, n_rows, shift, n_columns, EDGES > 0)
                x = _load_scores(
                    x_row,
                    x_column_stride,
                    mask_row,
                    mask_column_stride,
                    places,
                    inside,
                    MASKED,
                    ACCUMULATOR,
                )
                out = _result(x, peak, inverse_total, log_total, inverse_temperature, KIND)
                _store(out_row, places, inside, out)
            if EDGES:
                out_edge = _result(
                    x_edge, peak, inverse_total, log_total, inverse_temperature, KIND
                )
                _store(out_row, edge, at_edge, out_edge)
        tl.store(peak_ptr + rows, peak, mask=writes_row)
        tl.store(total_ptr + rows, total, mask=writes_row)


@jit
def _pool(x, cotangent, peak, inverse_total, inverse_temperature, KIND: tl.constexpr):
    if KIND == "softmax":
        p = tl.exp(centered(x, peak, inverse_temperature)) * inverse_total
        cotangent = share(p, cotangent)
    return tl.sum(cotangent, axis=1, keep_dims=True)


@jit
def _gradient(
    x, cotangent, pooled, peak, total, inverse_total, inverse_temperature, KIND: tl.constexpr
):
    p = tl.exp(centered(x, peak, inverse_temperature)) * inverse_total
    if KIND == "softmax":
        gradient = share(p, cotangent) - p * pooled
    elif KIND == "log_softmax":
        gradient = tl.where(total == 0.0, 0.0, cotangent - share(p, pooled))
    else:
        gradient = share(p, cotangent)
    return gradient * inverse_temperature


@jit
def softmax_backward_kernel(
    gradient_ptr,
    pooled_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    cotangent_ptr,
    cotangent_row_stride,
    cotangent_column_stride,
    mask_ptr,
    mask_outer_stride,
    mask_middle_stride,
    mask_inner_stride,
    mask_column_stride,
    n_rows,
    n_columns,
    peak_ptr,
    total_ptr,
    mask_middle,
    mask_inner,
    inverse_temperature: tl.float64,
    KIND: tl.constexpr,
    STAGE: tl.constexpr,
    MASKED: tl.constexpr,
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
    first_row = program // SPLITS * ROWS
    rows = first_row + tl.arange(0, ROWS)[:, None]
    split = program % SPLITS
    lanes = split * BLOCKS_PER_ROW * BLOCK + tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inverse_temperature = tl.full((1, 1), inverse_temperature, ACCUMULATOR)
    n_columns = multiple_of(n_columns, DIVISOR)
    x_row_stride = multiple_of(x_row_stride, DIVISOR)
    shift = rows * x_row_stride % 16 if EDGES else rows * 0
    x_row = x_ptr + row_start(rows, x_row_stride, shift, EDGES > 0)
    if KIND == "logsumexp":  # one number a row
        of_row = load_of_rows(cotangent_ptr, cotangent_row_stride, first_row, n_rows, 0.0, ROWS)
        of_row = of_row.to(ACCUMULATOR)
    else:
        cotangent_row_stride = multiple_of(cotangent_row_stride, DIVISOR)
        cotangent_row = cotangent_ptr + row_start(rows, cotangent_row_stride, shift, EDGES == 2)
    mask_row = mask_ptr + _mask_start(
        rows,
        shift,
        mask_outer_stride,
        mask_middle_stride,
        mask_inner_stride,
        mask_column_stride,
        mask_middle,
        mask_inner,
    )
    peak = load_of_rows(peak_ptr, 1, first_row, n_rows, 0.0, ROWS)
    total = load_of_rows(total_ptr, 1, first_row, n_rows, 1.0, ROWS)
    inverse_total = 1.0 / tl.where(total == 0.0, 1.0, total)

    if EDGES:
        edge, at_edge = edge_places(rows, n_rows, shift, n_columns)
        at_edge = at_edge & (split == 0)
    pooled = tl.zeros((ROWS, 1), ACCUMULATOR)
    if STAGE == "finish":
        parts = load_parts(pooled_ptr, first_row, 0.0, SPLITS, PARTS)
        pooled += tl.sum(parts, axis=0)
    elif KIND != "logsumexp":
        if EDGES:
            x_edge = peak
            if KIND == "softmax":
                x_edge = _load_scores(
                    x_row, 1, mask_row, mask_column_stride, edge, at_edge, MASKED, ACCUMULATOR
                )
            cotangent_edge = _load_cotangent(
                cotangent_row, 1, mask_row, mask_column_stride, edge, at_edge, MASKED, ACCUMULATOR
            )
            pooled += _pool(x_edge, cotangent_edge, peak, inverse_total, inverse_temperature, KIND)
        for block in range(BLOCKS_PER_ROW):
            places = block * BLOCK + lanes
            inside = whole_granules(places, rows, n_rows, shift, n_columns, EDGES > 0)
            x = peak
            if KIND == "softmax":
                x = _load_scores(
                    x_row,
                    x_column_stride,
                    mask_row,
                    mask_column_stride,
                    places,
                    inside,
                    MASKED,
                    ACCUMULATOR,
                )
            cotangent = _load_cotangent(
                cotangent_row,
                cotangent_column_stride,
                mask_row,
                mask_column_stride,
                places,
                inside,
                MASKED,
                ACCUMULATOR,
            )
            pooled += _pool(x, cotangent, peak, inverse_total, inverse_temperature, KIND)

    if STAGE == "collect":
        tl.store(pooled_ptr + rows * SPLITS + split, pooled, mask=rows < n_rows)
    else:
        gradient_row = gradient_ptr + row_start(rows, n_columns, shift, EDGES == 2)
        for block in range(BLOCKS_PER_ROW):
            places = block * BLOCK + lanes
            inside = whole_granules(places, rows, n_rows, shift, n_columns, EDGES > 0)
            x = _load_scores(
                x_row,
                x_column_stride,
                mask_row,
                mask_column_stride,
                places,
                inside,
                MASKED,
                ACCUMULATOR,
            )
            if KIND == "logsumexp":
                cotangent = of_row
            else:
                cotangent = _load_cotangent(
                    cotangent_row,
                    cotangent_column_stride,
                    mask_row,
                    mask_column_stride,
                    places,
                    inside,
                    MASKED,
                    ACCUMULATOR,
                )
            gradient = _gradient(
                x, cotangent, pooled, peak, total, inverse_total, inverse_temperature, KIND
            )
            _store(gradient_row, places, inside, gradient)
        if EDGES:  # loaded again: held, they would take registers from the loops
            x_edge = _load_scores(
                x_row, 1, mask_row, mask_column_stride, edge, at_edge, MASKED, ACCUMULATOR
            )
            if KIND == "logsumexp":
                cotangent_edge = of_row
            else:
                cotangent_edge = _load_cotangent(
                    cotangent_row,
                    1,
                    mask_row,
                    mask_column_stride,
                    edge,
                    at_edge,
                    MASKED,
                    ACCUMULATOR,
                )
            gradient_edge = _gradient(
                x_edge,
                cotangent_edge,
                pooled,
                peak,
                total,
                inverse_total,
                inverse_temperature,
                KIND,
            )
            _store(gradient_row, edge, at_edge, gradient_edge)
