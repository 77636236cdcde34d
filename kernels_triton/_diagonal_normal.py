"""The log-density of rows under one normal law of independent coordinates, forward and backward.

    log N(x; loc, diag(scale)**2) = sum_i (-z_i**2 / 2 - log scale_i) - d log(2 pi) / 2,
    z = (x - loc) / scale,

with derivatives `-z / scale` in a row `x`, and summed over the rows `z / scale` in `loc` and
`(z**2 - 1) / scale` in `scale`. All rows share `loc` and `scale`: for parameters of each element
there is `normal_log_density`.

One read of `x` either way, and a write of its gradient; the parameters are read by each program
once. Sums over rows are taken without atomics: each program takes the same rows in the same order,
and what the programs found is added in the order of the programs.

Conventions: an infinite entry gives `-inf`; a nan stays in its row; a row whose cotangent is 0 adds
nothing to any gradient, whatever is in it. Where `scale` is not positive the result is nan.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import (
    require_alike,
    require_floating,
    require_number_or_tensor,
    require_rows,
    require_shape,
)
from kernels_triton._launch import jit, load_tile, tl

_MOST_PROGRAMS = 2048  # some for each of the 132 multiprocessors of an H200


@jit
def _diagonal_normal_kernel(
    out_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    n_rows,
    n_columns,
    loc_ptr,
    scale_ptr,
    REDUCE: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    first = tl.program_id(0).to(tl.int64) * STEPS * ROWS
    lanes = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    total = tl.zeros((ROWS, 1), ACCUMULATOR)
    for step in range(STEPS):
        rows = first + step * ROWS + tl.arange(0, ROWS)[:, None]
        out = tl.zeros((ROWS, 1), ACCUMULATOR)
        for block in range(BLOCKS_PER_ROW):
            columns = block * BLOCK + lanes
            known = columns < n_columns
            loc = load_tile(loc_ptr, columns, known, 0.0, ACCUMULATOR)
            scale = load_tile(scale_ptr, columns, known, 1.0, ACCUMULATOR)
            inside = (rows < n_rows) & known
            offsets = rows * x_row_stride + columns * x_column_stride
            x = load_tile(x_ptr, offsets, inside, 0.0, ACCUMULATOR)
            z = tl.where(inside, x - loc, 0.0) / scale
            constants = tl.where(known, -tl.log(scale) - 0.9189385332046727418, 0.0)
            out += tl.sum(constants - 0.5 * z * z, axis=1, keep_dims=True)
        if REDUCE:
            total += tl.where(rows < n_rows, out, 0.0)
        else:
            tl.store(out_ptr + rows, out.to(out_ptr.dtype.element_ty), mask=rows < n_rows)
    if REDUCE:
        tl.store(out_ptr + tl.program_id(0), tl.sum(tl.sum(total, axis=1), axis=0))


@jit
def _diagonal_normal_backward_kernel(
    x_gradient_ptr,
    loc_sum_ptr,
    scale_sum_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    cotangent_ptr,
    cotangent_row_stride,
    _cotangent_column_stride,
    n_rows,
    n_columns,
    loc_ptr,
    scale_ptr,
    NEEDS_X: tl.constexpr,
    NEEDS_PARAMETERS: tl.constexpr,
    STEPS: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    split, block = program // BLOCKS_PER_ROW, program % BLOCKS_PER_ROW
    columns = block * BLOCK + tl.arange(0, BLOCK)[None, :]
    known = columns < n_columns
    loc = load_tile(loc_ptr, columns, known, 0.0, ACCUMULATOR)
    scale = load_tile(scale_ptr, columns, known, 1.0, ACCUMULATOR)
    loc_sum = tl.zeros((1, BLOCK), ACCUMULATOR)
    scale_sum = tl.zeros((1, BLOCK), ACCUMULATOR)
    for step in range(STEPS):
        rows = (split * STEPS + step) * ROWS + tl.arange(0, ROWS)[:, None]
        inside = (rows < n_rows) & known
        offsets = rows * x_row_stride + columns * x_column_stride
        x = load_tile(x_ptr, offsets, inside, 0.0, ACCUMULATOR)
        cotangent = load_tile(
            cotangent_ptr, rows * cotangent_row_stride, rows < n_rows, 0.0, ACCUMULATOR
        )
        # Beside a cotangent of 0 there may be an infinity, or nan.
        z = tl.where(cotangent == 0.0, 0.0, (x - loc) / scale)
        slope = cotangent / scale
        if NEEDS_X:
            gradient = (-z * slope).to(x_gradient_ptr.dtype.element_ty)
            tl.store(x_gradient_ptr + rows * n_columns + columns, gradient, mask=inside)
        if NEEDS_PARAMETERS:
            loc_sum += tl.sum(z * slope, axis=0, keep_dims=True)
            scale_sum += tl.sum((z * z - 1.0) * slope, axis=0, keep_dims=True)
    if NEEDS_PARAMETERS:
        tl.store(loc_sum_ptr + split * n_columns + columns, loc_sum, mask=known)
        tl.store(scale_sum_ptr + split * n_columns + columns, scale_sum, mask=known)


@torch.library.custom_op("kernels_triton::diagonal_normal_log_density", mutates_args=())
def _diagonal_normal(x: Tensor, loc: Tensor, scale: Tensor, reduce: bool) -> Tensor:
    """The log-density of each row, or its sum in the accumulator's dtype."""
    if not _launch.uses_triton(x):
        return _diagonal_normal_torch(x, loc, scale, reduce)
    matrix = _launch.as_rows(x)
    tiles = _launch.tiling(*matrix.shape)
    programs, steps = _launch.row_split(tiles.row_tiles, _MOST_PROGRAMS)
    programs = programs if matrix.shape[0] else 0
    dtype = _launch.accumulator(x.dtype)
    out = x.new_empty(programs, dtype=dtype) if reduce else x.new_empty(x.shape[:-1])
    _launch.launch(
        _diagonal_normal_kernel,
        tiles,
        programs,
        [out],
        [matrix],
        *(value.to(dtype).contiguous() for value in (loc, scale)),
        REDUCE=reduce,
        STEPS=steps,
        BLOCKS_PER_ROW=tiles.blocks_per_row,
    )
    return out.sum() if reduce else out


def _backward_sums(
    cotangent: Tensor, x: Tensor, loc: Tensor, scale: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradient to `x` and, of each program, those to the parameters: only launches."""
    gradient = x.new_empty(x.shape if needs[0] else (1,))
    matrix = _launch.as_rows(x)
    tiles = _launch.tiling(*matrix.shape)
    splits, steps = _launch.row_split(tiles.row_tiles, _MOST_PROGRAMS)
    splits = splits if x.numel() else 0
    first, second = (loc.new_empty(splits, loc.shape[0]) for _ in range(2))
    _launch.launch(
        _diagonal_normal_backward_kernel,
        tiles,
        splits * tiles.blocks_per_row,
        [gradient, first, second],
        [matrix, cotangent.reshape(-1, 1)],
        loc,
        scale,
        warps=8,
        NEEDS_X=needs[0],
        NEEDS_PARAMETERS=needs[1] or needs[2],
        STEPS=steps,
        BLOCKS_PER_ROW=tiles.blocks_per_row,
    )
    return gradient, first, second


@torch.library.custom_op("kernels_triton::diagonal_normal_log_density_backward", mutates_args=())
def _diagonal_normal_backward(
    cotangent: Tensor, x: Tensor, loc: Tensor, scale: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients to `x`, `loc` and `scale`, empty where `needs` says that none is wanted."""
    outputs = _launch.empty_gradients(needs, x, loc, scale)
    if _launch.uses_triton(x):
        dtype = _launch.accumulator(x.dtype)
        wide_loc, wide_scale = (value.to(dtype).contiguous() for value in (loc, scale))
        gradient, *sums = _backward_sums(cotangent, x, wide_loc, wide_scale, needs)
        values = gradient, *(part.sum(0) for part in sums)
    else:
        values = _diagonal_normal_backward_torch(cotangent, x, loc, scale)
    for output, value, needed in zip(outputs, values, needs, strict=True):
        if needed:
            output.copy_(value)
    return outputs


@_diagonal_normal.register_fake
def _(x, _loc, _scale, reduce):
    if reduce:
        return x.new_empty((), dtype=_launch.accumulator(x.dtype))
    return x.new_empty(x.shape[:-1])


@_diagonal_normal_backward.register_fake
def _(_cotangent, x, loc, scale, needs):
    return _launch.empty_gradients(needs, x, loc, scale)


def _setup_context(ctx, inputs, output):  # noqa: ARG001 - the registered signature
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx, cotangent):
    x, loc, scale = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    cotangent = cotangent.expand(x.shape[:-1])
    gradients = _diagonal_normal_backward(cotangent, x, loc, scale, needs)
    return *(g if needed else None for g, needed in zip(gradients, needs, strict=True)), None


_diagonal_normal.register_autograd(_autograd, setup_context=_setup_context)


def _diagonal_normal_torch(x: Tensor, loc: Tensor, scale: Tensor, reduce: bool) -> Tensor:
    """The kernel's formula in torch."""
    dtype = x.dtype
    x, loc, scale = (tensor.to(_launch.accumulator(dtype)) for tensor in (x, loc, scale))
    z = (x - loc) / scale
    out = (-0.5 * z * z - scale.log() - 0.9189385332046727418).sum(-1)
    return out.sum() if reduce else out.to(dtype)


def _diagonal_normal_backward_torch(
    cotangent: Tensor, x: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward kernel's formulas in torch."""
    dtype = _launch.accumulator(x.dtype)
    cotangent, x, loc, scale = (tensor.to(dtype) for tensor in (cotangent, x, loc, scale))
    cotangent = cotangent.unsqueeze(-1)
    z = torch.where(cotangent == 0, 0.0, (x - loc) / scale)
    slope = cotangent / scale
    over_rows = lambda values: _launch.as_rows(values).sum(0)
    return -z * slope, over_rows(z * slope), over_rows((z * z - 1.0) * slope)


def _checked(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> tuple[Tensor, ...]:
    require_floating("x", x)
    require_rows("x", x)
    found = [x]
    for name, value in (("loc", loc), ("scale", scale)):
        value = require_number_or_tensor(name, value, x)
        require_alike(name, value, "x", x)
        require_shape(name, value, (), x.shape[-1:])
        found.append(value.expand(x.shape[-1:]))
    return tuple(found)


def diagonal_normal_log_density(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    """Log-density of each row under independent normal coordinates, in nats.

    `sum_i (-z_i**2 / 2 - log scale_i) - d log(2 pi) / 2` with `z = (x - loc) / scale`. One read of
    `x`; the backward pass is one more, and one write of the gradient to `x` where it is wanted. Not
    differentiable twice, and without forward mode.

    Args:
      x: observations, shape `(..., d)`, any strides.
      loc: means, shape `(d,)`, of the dtype and device of `x`; or a number for all coordinates.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      Log-densities, contiguous, of shape `(...)` and the dtype of `x`; `-inf` at an infinite entry.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (or a number, which no bool is), or the
        dtypes differ.
      ValueError: `x` is a scalar, a parameter has another shape, or the devices differ.

    Examples:
      >>> round(diagonal_normal_log_density(torch.zeros(1, 2), 0.0, torch.ones(2)).item(), 6)
      -1.837877
    """
    return _diagonal_normal(*_checked(x, loc, scale), False)


def diagonal_normal_log_likelihood(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    """The sum of `diagonal_normal_log_density` over all rows, in nats.

    One read of `x` and no array of log-densities. Deterministic: a fixed tree of sums, no atomics.

    Args:
      x: observations, shape `(..., d)`, any strides.
      loc: means, shape `(d,)`, of the dtype and device of `x`; or a number for all coordinates.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      A scalar, float64 for float64 and otherwise float32; 0 where there are no rows.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (or a number, which no bool is), or the
        dtypes differ.
      ValueError: `x` is a scalar, a parameter has another shape, or the devices differ.

    Examples:
      >>> round(diagonal_normal_log_likelihood(torch.zeros(10, 2), 0.0, 1.0).item(), 4)
      -18.3788
    """
    return _diagonal_normal(*_checked(x, loc, scale), True)


def diagonal_normal_log_density_reference(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """`diagonal_normal_log_density` by torch in float64, differentiable."""
    normal = torch.distributions.Normal(loc.double(), scale.double(), validate_args=False)
    return normal.log_prob(x.double()).sum(-1)


def diagonal_normal_log_likelihood_reference(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """`diagonal_normal_log_likelihood` by torch in float64, differentiable."""
    return diagonal_normal_log_density_reference(x, loc, scale).sum()
