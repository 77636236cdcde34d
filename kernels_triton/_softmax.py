"""Softmax, log-softmax and log-sum-exp of rows with temperature and mask, forward and backward.

For a row `x` (to which the mask is added) and temperature `t`, with `m = max x` and
`w_j = exp((x_j - m) / t)`,

    softmax = w / sum_j w_j,  log_softmax = (x - m) / t - log sum_j w_j,
    logsumexp = m / t + log sum_j w_j.

The difference is taken before it is divided, so its rounding error is relative to `x - m`, not to
`x`. The forward pass keeps `m` and `sum w` of each row; the backward pass forms `w` again from `x`
in the accumulator's precision, whatever the precision of the result was.

Conventions, for values and gradients: a row of all `-inf` has logsumexp `-inf`, softmax 0 and
gradient 0; `+inf` entries share the mass equally; a nan stays in its row. A mask of `-inf` excludes
the entry, whatever it holds, and its gradient is 0.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import require_alike, require_floating, require_rows
from kernels_triton._options import require_temperature
from kernels_triton._rows import (
    alignment,
    centered_torch,
    inverse_temperature,
    peak_torch,
    row_axes,
    row_tiling,
    share_torch,
    stages,
)
from kernels_triton._softmax_kernels import softmax_backward_kernel, softmax_kernel


@torch.library.custom_op("kernels_triton::softmax", mutates_args=())
def _softmax(
    x: Tensor, temperature: float, kind: str, mask: Tensor | None = None
) -> tuple[Tensor, Tensor, Tensor]:
    """The result of `kind` with the maximum of each row and the sum of its weights."""
    outputs = _empty_outputs(x, kind)
    inverse = inverse_temperature(temperature, x.dtype)
    if not _launch.uses_triton(x):
        for output, value in zip(outputs, _softmax_torch(x, mask, inverse, kind), strict=True):
            output.copy_(value)
        return outputs
    matrix, mask_axes = _launch.as_rows(x), row_axes(x if mask is None else mask)
    n_rows, n_columns = matrix.shape
    if kind == "logsumexp":
        tiles = row_tiling(n_rows, n_columns, x.dtype, held=0)
        aligned = alignment(matrix)
    else:
        tiles = row_tiling(n_rows, n_columns, x.dtype, held=1)
        aligned = alignment(matrix, _launch.as_rows(outputs[0]))
    parts = [None, None]
    if tiles.splits > 1:
        parts = [outputs[1].new_empty(n_rows, tiles.splits) for _ in parts]
    for stage in stages(tiles):
        _launch.launch(
            softmax_kernel,
            tiles,
            tiles.row_tiles * tiles.splits,
            [None, *parts] if stage == "collect" else outputs,
            [matrix, mask_axes],
            *([None, None] if stage == "collect" else parts),
            *mask_axes.shape[1:3],
            inverse,
            KIND=kind,
            STAGE=stage,
            MASKED=mask is not None,
            DIVISOR=aligned.divisor,
            EDGES=aligned.edges,
            SPLITS=tiles.splits,
            PARTS=_launch.power_of_two(tiles.splits),
            BLOCKS_PER_ROW=tiles.blocks_per_row,
        )
    return outputs


@torch.library.custom_op("kernels_triton::softmax_backward", mutates_args=())
def _softmax_backward(
    cotangent: Tensor,
    x: Tensor,
    peak: Tensor,
    total: Tensor,
    temperature: float,
    kind: str,
    mask: Tensor | None = None,
) -> Tensor:
    """The gradient to the scores, and so to `x` and to the mask."""
    gradient = torch.empty_like(x, memory_format=torch.contiguous_format)
    inverse = inverse_temperature(temperature, x.dtype)
    if kind == "logsumexp":
        cotangent = cotangent.unsqueeze(-1)
    if not _launch.uses_triton(x):
        value = _softmax_backward_torch(cotangent, x, mask, peak, total, inverse, kind)
        return gradient.copy_(value)
    matrices = [_launch.as_rows(tensor) for tensor in (x, cotangent, gradient)]
    mask_axes = row_axes(x if mask is None else mask)
    n_rows, n_columns = matrices[0].shape
    if kind == "logsumexp":  # every element by itself: parts of a row need no collecting
        tiles = row_tiling(n_rows, n_columns, x.dtype, held=0)
        aligned, launches = alignment(matrices[0], matrices[2]), ("whole",)
    else:
        tiles = row_tiling(n_rows, n_columns, x.dtype, held=2)
        aligned, launches = alignment(*matrices), stages(tiles)
    pooled = total.new_empty(n_rows, tiles.splits) if len(launches) > 1 else None
    for stage in launches:
        _launch.launch(
            softmax_backward_kernel,
            tiles,
            tiles.row_tiles * tiles.splits,
            [None if stage == "collect" else gradient, pooled],
            [*matrices[:2], mask_axes],
            peak,
            total,
            *mask_axes.shape[1:3],
            inverse,
            KIND=kind,
            STAGE=stage,
            MASKED=mask is not None,
            DIVISOR=aligned.divisor,
            EDGES=aligned.edges,
            SPLITS=tiles.splits,
            PARTS=_launch.power_of_two(tiles.splits),
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
def _(x, _temperature, kind, *_):
    return _empty_outputs(x, kind)


@_softmax_backward.register_fake
def _(_cotangent, x, *_):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output):
    x, ctx.temperature, ctx.kind, mask = inputs
    _, peak, total = output
    ctx.save_for_backward(x, peak, total, mask)
    ctx.mark_non_differentiable(peak, total)
    ctx.set_materialize_grads(False)


def _autograd(ctx, cotangent, *_):
    if cotangent is None:
        return None, None, None, None
    x, peak, total, mask = ctx.saved_tensors
    gradient = _softmax_backward(cotangent, x, peak, total, ctx.temperature, ctx.kind, mask)
    x_needed, *_, mask_needed = ctx.needs_input_grad
    return gradient if x_needed else None, None, None, gradient if mask_needed else None


_softmax.register_autograd(_autograd, setup_context=_setup_context)


def _scores_torch(x: Tensor, mask: Tensor | None) -> Tensor:
    x = x.to(_launch.accumulator(x.dtype))
    return x if mask is None else torch.where(mask == -torch.inf, -torch.inf, x + mask)


def _softmax_torch(
    x: Tensor, mask: Tensor | None, inverse_temperature: float, kind: str
) -> tuple[Tensor, ...]:
    """The kernel's formulas in torch."""
    x = _scores_torch(x, mask)
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
    mask: Tensor | None,
    peak: Tensor,
    total: Tensor,
    inverse_temperature: float,
    kind: str,
) -> Tensor:
    """The backward kernel's formulas in torch."""
    peak, total = peak.unsqueeze(-1), total.unsqueeze(-1)
    x, cotangent = _scores_torch(x, mask), cotangent.to(total.dtype)
    if mask is not None:
        cotangent = torch.where(mask == -torch.inf, 0.0, cotangent)
    divisor = torch.where(total == 0, 1.0, total)
    p = centered_torch(x, peak, inverse_temperature).exp() / divisor
    pooled = share_torch(p, cotangent) if kind == "softmax" else cotangent
    pooled = pooled.sum(-1, keepdim=True)
    if kind == "softmax":
        gradient = share_torch(p, cotangent) - p * pooled
    elif kind == "log_softmax":
        gradient = torch.where(total == 0, 0.0, cotangent - share_torch(p, pooled))
    else:
        gradient = share_torch(p, cotangent)
    return gradient * inverse_temperature


def _apply(x: Tensor, temperature: float, mask: Tensor | None, kind: str) -> Tensor:
    require_floating("x", x)
    require_rows("x", x)
    temperature = require_temperature(temperature)
    if mask is not None:
        mask = _broadcast_mask(x, mask)
    return _softmax(x, temperature, kind, mask)[0]


def _broadcast_mask(x: Tensor, mask: Tensor) -> Tensor:
    if isinstance(mask, Tensor) and mask.dtype == torch.bool:
        raise TypeError(
            "mask must be added to x, so of its dtype; got torch.bool. Where it is True of entries "
            "that count pass torch.zeros_like(mask, dtype=x.dtype).masked_fill(~mask, -torch.inf)."
        )
    require_floating("mask", mask)
    require_alike("mask", mask, "x", x)
    try:
        return mask.expand(x.shape)
    except RuntimeError:
        raise ValueError(
            f"mask must have a shape that broadcasts to that of x, {tuple(x.shape)}; got "
            f"{tuple(mask.shape)}. Insert axes of length one, for example mask[:, None]."
        ) from None


def softmax(x: Tensor, temperature: float = 1.0, *, mask: Tensor | None = None) -> Tensor:
    """Softmax `p_i = exp(x_i / t) / sum_j exp(x_j / t)` of every row (last axis).

    One read and one write while a row has at most 32768 columns (8192 in float64), two reads
    beyond, where few rows are split among several programs. The gradient
    `(p_i g_i - p_i sum_j p_j g_j) / t` reads `x` and the cotangent `g` once up to half that length,
    and keeps two numbers a row besides `x`.

    Args:
      x: scores, any shape with a last axis, any strides; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` before it is divided, of its dtype and device, broadcast to its
        shape without being copied while the leading axes lie on at most three strides. `-inf`
        excludes an entry. It may require a gradient: that of `x`, summed over the broadcast axes.

    Returns:
      Probabilities, contiguous, of the shape and dtype of `x`; a row of all `-inf` gives 0.

    Raises:
      NotImplementedError: `x` or `mask` has a tangent of forward mode; only reverse mode, once.
      TypeError: `x` or `mask` is not a dense floating tensor, their dtypes differ, or `temperature`
        is not a Python number.
      ValueError: `x` is a scalar, `temperature` is not positive and finite, or the shape or device
        of `mask` does not suit `x`.

    References:
      [Milakov2018] algorithm 3, for rows of more than one block.

    Examples:
      >>> softmax(torch.tensor([0.0, -torch.inf, 0.0])).tolist()
      [0.5, 0.0, 0.5]
      >>> softmax(torch.zeros(2, 2), mask=torch.tensor([0.0, -torch.inf])).tolist()
      [[1.0, 0.0], [1.0, 0.0]]
    """
    return _apply(x, temperature, mask, "softmax")


def log_softmax(x: Tensor, temperature: float = 1.0, *, mask: Tensor | None = None) -> Tensor:
    """Log-probabilities `x_i / t - log sum_j exp(x_j / t)` of every row, in nats.

    The cost is that of `softmax`; the gradient is `(g_i - p_i sum_j g_j) / t`. Entries that the
    mask excludes are the constant `-inf`: their cotangents count nowhere.

    Args:
      x: scores, any shape with a last axis, any strides; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` first, as in `softmax`.

    Returns:
      Non-positive values, contiguous, of the shape and dtype of `x`; a row of all `-inf` stays so.

    Raises:
      NotImplementedError: `x` or `mask` has a tangent of forward mode; only reverse mode, once.
      TypeError: `x` or `mask` is not a dense floating tensor, their dtypes differ, or `temperature`
        is not a Python number.
      ValueError: `x` is a scalar, `temperature` is not positive and finite, or the shape or device
        of `mask` does not suit `x`.

    Examples:
      >>> [round(value, 4) for value in log_softmax(torch.tensor([1.0, 1.0])).tolist()]
      [-0.6931, -0.6931]
    """
    return _apply(x, temperature, mask, "log_softmax")


def logsumexp(x: Tensor, temperature: float = 1.0, *, mask: Tensor | None = None) -> Tensor:
    """Log-sum-exp `log sum_j exp(x_j / t)` of every row, in nats.

    One read of `x` at every length; the gradient `p_i g / t` is one read and one write.

    Args:
      x: scores, any shape with a last axis, any strides; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` first, as in `softmax`.

    Returns:
      The value without the last axis, contiguous, in the dtype of `x`; `-inf` for a row that is
      empty or all `-inf`.

    Raises:
      NotImplementedError: `x` or `mask` has a tangent of forward mode; only reverse mode, once.
      TypeError: `x` or `mask` is not a dense floating tensor, their dtypes differ, or `temperature`
        is not a Python number.
      ValueError: `x` is a scalar, `temperature` is not positive and finite, or the shape or device
        of `mask` does not suit `x`.

    Examples:
      >>> round(logsumexp(torch.zeros(2)).item(), 6)
      0.693147
    """
    return _apply(x, temperature, mask, "logsumexp")


def softmax_reference(x: Tensor, temperature: float = 1.0, *, mask: Tensor | float = 0.0) -> Tensor:
    """`softmax` by torch in float64, differentiable; for rows with a finite maximum."""
    return torch.softmax((x.double() + mask) / temperature, dim=-1)


def log_softmax_reference(
    x: Tensor, temperature: float = 1.0, *, mask: Tensor | float = 0.0
) -> Tensor:
    """`log_softmax` by torch in float64, differentiable; for rows with a finite maximum."""
    return torch.log_softmax((x.double() + mask) / temperature, dim=-1)


def logsumexp_reference(
    x: Tensor, temperature: float = 1.0, *, mask: Tensor | float = 0.0
) -> Tensor:
    """`logsumexp` by torch in float64, differentiable; for rows with a finite maximum."""
    return torch.logsumexp((x.double() + mask) / temperature, dim=-1)
