"""The kernels of logits of directions; `_von_mises_fisher` says what they compute."""

from __future__ import annotations

from kernels_triton._launch import jit, load_tile, tl


@jit
def _inverse_length(square):
    return tl.where(square > 0.0, 1.0 / tl.sqrt(square), square)  # of nan nan


@jit
def logits_kernel(
    out_ptr,
    x_inverse_ptr,
    mu_inverse_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    mu_ptr,
    mu_row_stride,
    mu_column_stride,
    n_rows,
    n_columns,
    kappa_ptr,
    n_directions,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
):
    # The tiles of one block of rows follow each other: they find it in the cache.
    tiles = tl.cdiv(n_directions, BLOCK)
    program = tl.program_id(0).to(tl.int64)
    rows = program // tiles * ROWS + tl.arange(0, ROWS)[:, None]
    directions = program % tiles * BLOCK + tl.arange(0, BLOCK)[None, :]
    total = tl.zeros((ROWS, BLOCK), ACCUMULATOR)
    x_square = tl.zeros((ROWS, 1), ACCUMULATOR)
    mu_square = tl.zeros((1, BLOCK), ACCUMULATOR)
    for block in range(BLOCKS_PER_ROW):
        place = block * DEPTH + tl.arange(0, DEPTH).to(tl.int64)
        across, down = place[None, :], place[:, None]
        inside = (rows < n_rows) & (across < n_columns)
        x = tl.load(x_ptr + rows * x_row_stride + across * x_column_stride, mask=inside, other=0.0)
        inside = (directions < n_directions) & (down < n_columns)
        offsets = directions * mu_row_stride + down * mu_column_stride
        mu = tl.load(mu_ptr + offsets, mask=inside, other=0.0)
        total += tl.dot(x, mu, input_precision="ieee", out_dtype=ACCUMULATOR)
        x, mu = x.to(ACCUMULATOR), mu.to(ACCUMULATOR)
        x_square += tl.sum(x * x, axis=1, keep_dims=True)
        mu_square += tl.sum(mu * mu, axis=0, keep_dims=True)
    x_inverse, mu_inverse = _inverse_length(x_square), _inverse_length(mu_square)
    kappa = load_tile(kappa_ptr, directions, directions < n_directions, 0.0, ACCUMULATOR)
    # Unit vectors first: the product of two lengths may be no number where each is one.
    out = (total * x_inverse * mu_inverse * kappa).to(out_ptr.dtype.element_ty)
    inside = (rows < n_rows) & (directions < n_directions)
    tl.store(out_ptr + rows * n_directions + directions, out, mask=inside)
    tl.store(x_inverse_ptr + rows, x_inverse, mask=(rows < n_rows) & (program % tiles == 0))
    first = (directions < n_directions) & (program // tiles == 0)
    tl.store(mu_inverse_ptr + directions, mu_inverse, mask=first)


@jit
def product_kernel(
    out_ptr,
    left_ptr,
    left_row_stride,
    left_column_stride,
    right_ptr,
    right_row_stride,
    right_column_stride,
    n_rows,
    n_terms,
    scale_ptr,
    n_columns,
    STEPS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
    DEPTH: tl.constexpr,
):
    """`out[part, i, j]`, the part's terms of `sum_t left[i, t] scale[t] right[t, j]`."""
    program = tl.program_id(0).to(tl.int64)
    across, down = tl.cdiv(n_columns, BLOCK), tl.cdiv(n_rows, ROWS)
    columns = program % across * BLOCK + tl.arange(0, BLOCK)[None, :]
    rows = program // across % down * ROWS + tl.arange(0, ROWS)[:, None]
    part = program // (across * down)
    total = tl.zeros((ROWS, BLOCK), ACCUMULATOR)
    for step in range(STEPS):
        place = (part * STEPS + step) * DEPTH + tl.arange(0, DEPTH)
        terms = place[None, :]
        inside = (rows < n_rows) & (terms < n_terms)
        offsets = rows * left_row_stride + terms * left_column_stride
        left = load_tile(left_ptr, offsets, inside, 0.0, ACCUMULATOR)
        scale = load_tile(scale_ptr, terms, terms < n_terms, 0.0, ACCUMULATOR)
        terms = place[:, None]
        inside = (terms < n_terms) & (columns < n_columns)
        offsets = terms * right_row_stride + columns * right_column_stride
        right = load_tile(right_ptr, offsets, inside, 0.0, ACCUMULATOR)
        total += tl.dot(left * scale, right, input_precision="ieee", out_dtype=ACCUMULATOR)
    inside = (rows < n_rows) & (columns < n_columns)
    tl.store(out_ptr + (part * n_rows + rows) * n_columns + columns, total, mask=inside)


@jit
def projection_kernel(
    gradient_ptr,
    along_ptr,
    push_ptr,
    push_row_stride,
    push_column_stride,
    x_ptr,
    x_row_stride,
    x_column_stride,
    n_rows,
    n_columns,
    inverse_ptr,
    factor_ptr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """`factor (push - <push, u> u) / |x|` and `<push, u>` of each row, `u = x / |x|`."""
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lanes = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inverse = load_tile(inverse_ptr, rows, rows < n_rows, 0.0, ACCUMULATOR)
    factor = load_tile(factor_ptr, rows, rows < n_rows, 0.0, ACCUMULATOR)
    along = tl.zeros((ROWS, 1), ACCUMULATOR)
    for block in range(BLOCKS_PER_ROW):
        columns = block * BLOCK + lanes
        inside = (rows < n_rows) & (columns < n_columns)
        offsets = rows * push_row_stride + columns * push_column_stride
        push = load_tile(push_ptr, offsets, inside, 0.0, ACCUMULATOR)
        offsets = rows * x_row_stride + columns * x_column_stride
        unit = load_tile(x_ptr, offsets, inside, 0.0, ACCUMULATOR) * inverse
        along += tl.sum(push * unit, axis=1, keep_dims=True)
    for block in range(BLOCKS_PER_ROW):
        columns = block * BLOCK + lanes
        inside = (rows < n_rows) & (columns < n_columns)
        offsets = rows * push_row_stride + columns * push_column_stride
        push = load_tile(push_ptr, offsets, inside, 0.0, ACCUMULATOR)
        offsets = rows * x_row_stride + columns * x_column_stride
        unit = load_tile(x_ptr, offsets, inside, 0.0, ACCUMULATOR) * inverse
        gradient = (factor * ((push - along * unit) * inverse)).to(gradient_ptr.dtype.element_ty)
        tl.store(gradient_ptr + rows * n_columns + columns, gradient, mask=inside)
    tl.store(along_ptr + rows, along, mask=rows < n_rows)
