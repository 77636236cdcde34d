"""Softmax, log-softmax and log-sum-exp of rows with temperature, forward and backward.

For a row `x` and temperature `t`, with `m = max x` and `w_j = exp((x_j - m) / t)`,

    softmax = w / sum_j w_j,  log_softmax = (x - m) / t - log sum_j w_j,
    logsumexp = m / t + log sum_j w_j.

The difference is taken before it is divided, so its rounding error is relative to `x - m`, not to
`x`. The forward pass keeps `m` and `sum w` of each row; the backward pass forms `w` again from `x`
in the accumulator's precision, whatever the precision of the result was.

Conventions, for values and gradients: a row of all `-inf` has logsumexp `-inf`, softmax 0 and
gradient 0; `+inf` entries share the mass equally; a nan stays in its row.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import require_floating, require_rows
from kernels_triton._launch import jit, load_tile, tl
from kernels_triton._options import require_temperature
from kernels_triton._rows import (
    absorb,
    centered,
    centered_torch,
    inverse_temperature,
    peak_torch,
    share,
    share_torch,
)

# Both kernels go over a row twice, block by block. In a row of one block the compiler merges the
# two loops, so that everything is read once: stores come after the loads they could disturb.


@jit
def _softmax_kernel(
    out_ptr,
    peak_ptr,
    total_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    n_rows,
    n_columns,
    inverse_temperature: tl.float64,  # an untyped float would reach a GPU as float32
    KIND: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # 64-bit offsets: rows * stride can pass 2**31, and columns * stride in a transposed matrix.
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lanes = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inverse_temperature = tl.full((1, 1), inverse_temperature, ACCUMULATOR)
    x_rows = x_ptr + rows * x_row_stride

    peak = tl.full((ROWS, 1), -float("inf"), ACCUMULATOR)
    total = tl.zeros((ROWS, 1), ACCUMULATOR)
    for block in range(BLOCKS_PER_ROW):
        columns = block * BLOCK + lanes
        inside = (rows < n_rows) & (columns < n_columns)
        x = load_tile(x_rows, columns * x_column_stride, inside, -float("inf"), ACCUMULATOR)
        peak, total = absorb(peak, total, x, inverse_temperature)

    if KIND == "logsumexp":
        center = tl.where(peak == -float("inf"), 0.0, peak)
        out = center * inverse_temperature + tl.log(total)
        tl.store(out_ptr + rows, out.to(out_ptr.dtype.element_ty), mask=rows < n_rows)
    else:
        divisor = tl.where(total == 0.0, 1.0, total)
        for block in range(BLOCKS_PER_ROW):
            columns = block * BLOCK + lanes
            inside = (rows < n_rows) & (columns < n_columns)
            x = load_tile(x_rows, columns * x_column_stride, inside, -float("inf"), ACCUMULATOR)
            gap = centered(x, peak, inverse_temperature)
            out = tl.exp(gap) / divisor if KIND == "softmax" else gap - tl.log(divisor)
            out = out.to(out_ptr.dtype.element_ty)
            tl.store(out_ptr + rows * n_columns + columns, out, mask=inside)
    tl.store(peak_ptr + rows, peak, mask=rows < n_rows)
    tl.store(total_ptr + rows, total, mask=rows < n_rows)


@jit
def _softmax_backward_kernel(
    gradient_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    cotangent_ptr,
    cotangent_row_stride,
    cotangent_column_stride,
    n_rows,
    n_columns,
    peak_ptr,
    total_ptr,
    inverse_temperature: tl.float64,
    KIND: tl.constexpr,
    BLOCKS_PER_ROW: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    rows = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)[:, None]
    lanes = tl.arange(0, BLOCK)[None, :].to(tl.int64)
    inverse_temperature = tl.full((1, 1), inverse_temperature, ACCUMULATOR)
    x_rows = x_ptr + rows * x_row_stride
    cotangent_rows = cotangent_ptr + rows * cotangent_row_stride
    peak = tl.load(peak_ptr + rows, mask=rows < n_rows, other=0.0)
    total = tl.load(total_ptr + rows, mask=rows < n_rows, other=1.0)
    divisor = tl.where(total == 0.0, 1.0, total)

    pooled = tl.zeros((ROWS, 1), ACCUMULATOR)
    if KIND != "logsumexp":
        for block in range(BLOCKS_PER_ROW):
            columns = block * BLOCK + lanes
            inside = (rows < n_rows) & (columns < n_columns)
            cotangent = load_tile(
                cotangent_rows, columns * cotangent_column_stride, inside, 0.0, ACCUMULATOR
            )
            if KIND == "softmax":
                x = load_tile(x_rows, columns * x_column_stride, inside, -float("inf"), ACCUMULATOR)
                p = tl.exp(centered(x, peak, inverse_temperature)) / divisor
                cotangent = share(p, cotangent)
            pooled += tl.sum(cotangent, axis=1, keep_dims=True)

    for block in range(BLOCKS_PER_ROW):
        columns = block * BLOCK + lanes
        inside = (rows < n_rows) & (columns < n_columns)
        x = load_tile(x_rows, columns * x_column_stride, inside, -float("inf"), ACCUMULATOR)
        p = tl.exp(centered(x, peak, inverse_temperature)) / divisor
        cotangent = load_tile(
            cotangent_rows, columns * cotangent_column_stride, inside, 0.0, ACCUMULATOR
        )
        if KIND == "softmax":
            gradient = share(p, cotangent) - p * pooled
        elif KIND == "log_softmax":
            gradient = tl.where(total == 0.0, 0.0, cotangent - share(p, pooled))
        else:
            gradient = share(p, cotangent)
        gradient = (gradient * inverse_temperature).to(gradient_ptr.dtype.element_ty)
        tl.store(gradient_ptr + rows * n_columns + columns, gradient, mask=inside)


@torch.library.custom_op("kernels_triton::softmax", mutates_args=())
def _softmax(x: Tensor, temperature: float, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    """The result of `kind` with the maximum of each row and the sum of its weights."""
    outputs = _empty_outputs(x, kind)
    inverse = inverse_temperature(temperature, x.dtype)
    if not _launch.uses_triton(x):
        for output, value in zip(outputs, _softmax_torch(x, inverse, kind), strict=True):
            output.copy_(value)
        return outputs
    matrix = _launch.as_rows(x)
    tiles = _launch.tiling(*matrix.shape)
    _launch.launch(
        _softmax_kernel,
        tiles,
        tiles.row_tiles,
        outputs,
        [matrix],
        inverse,
        KIND=kind,
        BLOCKS_PER_ROW=tiles.blocks_per_row,
    )
    return outputs


@torch.library.custom_op("kernels_triton::softmax_backward", mutates_args=())
def _softmax_backward(
    cotangent: Tensor, x: Tensor, peak: Tensor, total: Tensor, temperature: float, kind: str
) -> Tensor:
    gradient = torch.empty_like(x, memory_format=torch.contiguous_format)
    inverse = inverse_temperature(temperature, x.dtype)
    if kind == "logsumexp":
        cotangent = cotangent.unsqueeze(-1).expand_as(x)
    if not _launch.uses_triton(x):
        value = _softmax_backward_torch(cotangent, x, peak, total, inverse, kind)
        return gradient.copy_(value)
    matrices = [_launch.as_rows(x), _launch.as_rows(cotangent)]
    tiles = _launch.tiling(*matrices[0].shape)
    _launch.launch(
        _softmax_backward_kernel,
        tiles,
        tiles.row_tiles,
        [gradient],
        matrices,
        peak,
        total,
        inverse,
        KIND=kind,
        BLOCKS_PER_ROW=tiles.blocks_per_row,
    )
    return gradient


def _empty_outputs(x: Tensor, kind: str) -> tuple[Tensor, Tensor, Tensor]:
    rows = x.shape[:-1]
    dtype = _launch.accumulator(x.dtype)
    return (
        x.new_empty(rows if kind == "logsumexp" else x.shape),
        x.new_empty(rows, dtype=dtype),
        x.new_empty(rows, dtype=dtype),
    )


@_softmax.register_fake
def _(x, _temperature, kind):
    return _empty_outputs(x, kind)


@_softmax_backward.register_fake
def _(_cotangent, x, *_):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output):
    x, ctx.temperature, ctx.kind = inputs
    _, peak, total = output
    ctx.save_for_backward(x, peak, total)
    ctx.mark_non_differentiable(peak, total)
    ctx.set_materialize_grads(False)


def _autograd(ctx, cotangent, *_):
    if cotangent is None:
        return None, None, None
    x, peak, total = ctx.saved_tensors
    gradient = _softmax_backward(cotangent, x, peak, total, ctx.temperature, ctx.kind)
    return gradient, None, None


_softmax.register_autograd(_autograd, setup_context=_setup_context)


def _softmax_torch(x: Tensor, inverse_temperature: float, kind: str) -> tuple[Tensor, ...]:
    """The kernel's formulas in torch."""
    x = x.to(_launch.accumulator(x.dtype))
    peak = peak_torch(x)
    gap = centered_torch(x, peak, inverse_temperature)
    total = gap.exp().sum(-1, keepdim=True)
    divisor = torch.where(total == 0, 1.0, total)
    if kind == "softmax":
        out = gap.exp() / divisor
    elif kind == "log_softmax":
        out = gap - divisor.log()
    else:
        center = torch.where(peak == -torch.inf, 0.0, peak)
        out = (center * inverse_temperature + total.log()).squeeze(-1)
    return out, peak.squeeze(-1), total.squeeze(-1)


def _softmax_backward_torch(
    cotangent: Tensor,
    x: Tensor,
    peak: Tensor,
    total: Tensor,
    inverse_temperature: float,
    kind: str,
) -> Tensor:
    """The backward kernel's formulas in torch."""
    peak, total = peak.unsqueeze(-1), total.unsqueeze(-1)
    x, cotangent = x.to(total.dtype), cotangent.to(total.dtype)
    divisor = torch.where(total == 0, 1.0, total)
    p = centered_torch(x, peak, inverse_temperature).exp() / divisor
    share = share_torch(p, cotangent)
    if kind == "softmax":
        gradient = share - p * share.sum(-1, keepdim=True)
    elif kind == "log_softmax":
        pooled = cotangent.sum(-1, keepdim=True)
        pooled_share = share_torch(p, pooled)
        gradient = torch.where(total == 0, 0.0, cotangent - pooled_share)
    else:
        gradient = share
    return gradient * inverse_temperature


def _apply(x: Tensor, temperature: float, kind: str) -> Tensor:
    require_floating("x", x)
    require_rows("x", x)
    return _softmax(x, require_temperature(temperature), kind)[0]


def softmax(x: Tensor, temperature: float = 1.0) -> Tensor:
    """Softmax `p_i = exp(x_i / t) / sum_j exp(x_j / t)` of every row (last axis).

    Reads `x` once while a row has at most 4096 columns, twice beyond; the gradient
    `(p_i g_i - p_i sum_j p_j g_j) / t` reads `x` and the cotangent `g` as often, and keeps two
    numbers a row besides `x`.

    Args:
      x: scores, any shape with a last axis, any strides; infinities are allowed.
      temperature: `t`, a positive finite Python number.

    Returns:
      Probabilities, contiguous, of the shape and dtype of `x`; a row of all `-inf` gives 0.

    Raises:
      NotImplementedError: `x` has a tangent of forward mode; only reverse mode, once.
      TypeError: `x` is not a dense floating tensor, or `temperature` not a Python number.
      ValueError: `x` is a scalar, or `temperature` is not positive and finite.

    References:
      [Milakov2018] algorithm 3, for rows of more than one block.

    Examples:
      >>> softmax(torch.tensor([0.0, -torch.inf, 0.0])).tolist()
      [0.5, 0.0, 0.5]
    """
    return _apply(x, temperature, "softmax")


def log_softmax(x: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-probabilities `x_i / t - log sum_j exp(x_j / t)` of every row, in nats.

    The cost is that of `softmax`; the gradient is `(g_i - p_i sum_j g_j) / t`.

    Args:
      x: scores, any shape with a last axis, any strides; infinities are allowed.
      temperature: `t`, a positive finite Python number.

    Returns:
      Non-positive values, contiguous, of the shape and dtype of `x`; a row of all `-inf` stays so.

    Raises:
      NotImplementedError: `x` has a tangent of forward mode; only reverse mode, once.
      TypeError: `x` is not a dense floating tensor, or `temperature` not a Python number.
      ValueError: `x` is a scalar, or `temperature` is not positive and finite.

    Examples:
      >>> [round(value, 4) for value in log_softmax(torch.tensor([1.0, 1.0])).tolist()]
      [-0.6931, -0.6931]
    """
    return _apply(x, temperature, "log_softmax")


def logsumexp(x: Tensor, temperature: float = 1.0) -> Tensor:
    """Log-sum-exp `log sum_j exp(x_j / t)` of every row, in nats.

    One read of `x` at every length; the gradient `p_i g / t` is one read and one write.

    Args:
      x: scores, any shape with a last axis, any strides; infinities are allowed.
      temperature: `t`, a positive finite Python number.

    Returns:
      The value without the last axis, contiguous, in the dtype of `x`; `-inf` for a row that is
      empty or all `-inf`.

    Raises:
      NotImplementedError: `x` has a tangent of forward mode; only reverse mode, once.
      TypeError: `x` is not a dense floating tensor, or `temperature` not a Python number.
      ValueError: `x` is a scalar, or `temperature` is not positive and finite.

    Examples:
      >>> round(logsumexp(torch.zeros(2)).item(), 6)
      0.693147
    """
    return _apply(x, temperature, "logsumexp")


def softmax_reference(x: Tensor, temperature: float = 1.0) -> Tensor:
    """`softmax` by torch in float64, differentiable; for rows with a finite maximum."""
    return torch.softmax(x.double() / temperature, dim=-1)


def log_softmax_reference(x: Tensor, temperature: float = 1.0) -> Tensor:
    """`log_softmax` by torch in float64, differentiable; for rows with a finite maximum."""
    return torch.log_softmax(x.double() / temperature, dim=-1)


def logsumexp_reference(x: Tensor, temperature: float = 1.0) -> Tensor:
    """`logsumexp` by torch in float64, differentiable; for rows with a finite maximum."""
    return torch.logsumexp(x.double() / temperature, dim=-1)
