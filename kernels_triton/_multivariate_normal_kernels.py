"""The kernels of rows under a Cholesky factor; `_multivariate_normal` says what they compute."""

from __future__ import annotations

from kernels_triton._launch import jit, load_tile, tl


@jit
def _load_square(ptr, n_columns, BLOCK: tl.constexpr, TRANSPOSED: tl.constexpr):
    """A contiguous square matrix, or its transpose, filled up with zeros."""
    row, column = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
    inside = (row < n_columns) & (column < n_columns)
    offsets = column * n_columns + row if TRANSPOSED else row * n_columns + column
    return tl.load(ptr + offsets, mask=inside, other=0.0)


@jit
def multivariate_normal_kernel(
    out_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    n_rows,
    n_columns,
    loc_ptr,
    whitening_ptr,
    constant_ptr,
    REDUCE: tl.constexpr,
    STEPS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * STEPS * ROWS
    columns = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    loc = load_tile(loc_ptr, columns, columns < n_columns, 0.0, ACCUMULATOR)
    turned = _load_square(whitening_ptr, n_columns, BLOCK, True)
    constant = tl.load(constant_ptr)
    total = tl.zeros((ROWS, 1), ACCUMULATOR)
    for step in range(STEPS):
        rows = first + step * ROWS + tl.arange(0, ROWS)[:, None]
        inside = (rows < n_rows) & (columns < n_columns)
        offsets = rows * x_row_stride + columns * x_column_stride
        x = load_tile(x_ptr, offsets, inside, 0.0, ACCUMULATOR)
        difference = tl.where(inside, x - loc, 0.0)
        # Times the zeros of the triangle an infinity would be nan.
        infinite = tl.abs(x) == float("inf")
        difference = tl.where(infinite, 0.0, difference)
        z = tl.dot(difference, turned, input_precision="ieee", out_dtype=ACCUMULATOR)
        square = tl.sum(z * z, axis=1, keep_dims=True)
        far = tl.max(infinite.to(tl.int32), axis=1, keep_dims=True)
        square += tl.where(far > 0, float("inf"), 0.0)
        out = constant - 0.5 * square
        if REDUCE:
            total += tl.where(rows < n_rows, out, 0.0)
        else:
            tl.store(out_ptr + rows, out.to(out_ptr.dtype.element_ty), mask=rows < n_rows)
    if REDUCE:
        tl.store(out_ptr + tl.program_id(0), tl.sum(tl.sum(total, axis=1), axis=0))


@jit
def multivariate_normal_backward_kernel(
    x_gradient_ptr,
    count_ptr,
    sum_ptr,
    square_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    cotangent_ptr,
    cotangent_row_stride,
    _cotangent_column_stride,
    n_rows,
    n_columns,
    loc_ptr,
    whitening_ptr,
    NEEDS_X: tl.constexpr,
    NEEDS_PARAMETERS: tl.constexpr,
    STEPS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    columns = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    loc = load_tile(loc_ptr, columns, columns < n_columns, 0.0, ACCUMULATOR)
    turned = _load_square(whitening_ptr, n_columns, BLOCK, True)
    whitening = _load_square(whitening_ptr, n_columns, BLOCK, False)
    counts = tl.zeros((ROWS, 1), ACCUMULATOR)
    sums = tl.zeros((1, BLOCK), ACCUMULATOR)
    squares = tl.zeros((BLOCK, BLOCK), ACCUMULATOR)
    for step in range(STEPS):
        rows = (program * STEPS + step) * ROWS + tl.arange(0, ROWS)[:, None]
        inside = (rows < n_rows) & (columns < n_columns)
        offsets = rows * x_row_stride + columns * x_column_stride
        x = load_tile(x_ptr, offsets, inside, 0.0, ACCUMULATOR)
        cotangent = load_tile(
            cotangent_ptr, rows * cotangent_row_stride, rows < n_rows, 0.0, ACCUMULATOR
        )
        difference = tl.where(inside, x - loc, 0.0)
        z = tl.dot(difference, turned, input_precision="ieee", out_dtype=ACCUMULATOR)
        # Beside a cotangent of 0 there may be an infinity, or nan.
        z = tl.where(cotangent == 0.0, 0.0, z)
        weighted = cotangent * z
        if NEEDS_X:
            pull = tl.dot(weighted, whitening, input_precision="ieee", out_dtype=ACCUMULATOR)
            gradient = (-pull).to(x_gradient_ptr.dtype.element_ty)
            tl.store(x_gradient_ptr + rows * n_columns + columns, gradient, mask=inside)
        if NEEDS_PARAMETERS:
            counts += cotangent
            sums += tl.sum(weighted, axis=0, keep_dims=True)
            squares += tl.dot(tl.trans(weighted), z, input_precision="ieee", out_dtype=ACCUMULATOR)
    if NEEDS_PARAMETERS:
        tl.store(count_ptr + program, tl.sum(tl.sum(counts, axis=1), axis=0))
        tl.store(sum_ptr + program * BLOCK + columns, sums)
        row, column = tl.arange(0, BLOCK)[:, None], tl.arange(0, BLOCK)[None, :]
        tl.store(square_ptr + (program * BLOCK + row) * BLOCK + column, squares)
