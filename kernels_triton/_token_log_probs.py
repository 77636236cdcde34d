"""Log-probabilities of labels and their cross entropy, from logits, forward and backward.

For a row `x` of logits, a label `y`, temperature `t` and smoothing `s` over `V` columns, with
`log p_j = x_j / t - logsumexp(x / t)`,

    token_log_probs = log p_y,  cross_entropy = -(1 - s) log p_y - s / V sum_j log p_j.

The kernel computes `log p_y + s / V sum_j (x_j - x_y) / t`, in which nothing cancels, from one read
of the row; its derivative is `((1 - s) [j = y] + s / V - p_j) / t`.

Conventions: an ignored row gives 0 and gradient 0 whatever it holds, and is not read. A label of
probability 0 gives `-inf` (a cross entropy of `inf`), also in a row of all `-inf`, whose gradient
is 0. With smoothing any `-inf` in the row gives `-inf`. A nan stays in its row.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import require_floating, require_rows
from kernels_triton._options import require_ignore_index, require_temperature
from kernels_triton._rows import (
    alignment,
    centered_torch,
    inverse_temperature,
    peak_torch,
    row_tiling,
    share_torch,
    stages,
)
from kernels_triton._token_log_probs_kernels import (
    token_log_probs_backward_kernel,
    token_log_probs_kernel,
)


@torch.library.custom_op("kernels_triton::token_log_probs", mutates_args=())
def _token_log_probs(
    x: Tensor,
    labels: Tensor,
    temperature: float,
    ignore_index: int,
    smoothing: float,
    in_place: bool,  # noqa: ARG001 - read by the backward pass
) -> tuple[Tensor, Tensor, Tensor]:
    """The value of each row, with the maximum of the row and the sum of its weights."""
    outputs = _empty_outputs(x)
    inverse, share_of_column = inverse_temperature(temperature, x.dtype), _of_column(x, smoothing)
    if not _launch.uses_triton(x):
        values = _token_log_probs_torch(x, labels, inverse, ignore_index, share_of_column)
        for output, value in zip(outputs, values, strict=True):
            output.copy_(value)
        return outputs
    matrix = _launch.as_rows(x)
    n_rows, n_columns = matrix.shape
    tiles, aligned = row_tiling(n_rows, n_columns, x.dtype, held=0), alignment(matrix)
    parts = [None, None, None]
    if tiles.splits > 1:
        parts = [outputs[1].new_empty(n_rows, tiles.splits) for _ in parts]
    for stage in stages(tiles):
        collects = stage == "collect"
        _launch.launch(
            token_log_probs_kernel,
            tiles,
            tiles.row_tiles * (tiles.splits if stage != "finish" else 1),
            [None, *parts[:2]] if collects else outputs,
            [matrix],
            labels.reshape(-1).contiguous(),
            parts[2] if smoothing > 0 else None,
            *([None, None] if collects else parts[:2]),
            ignore_index,
            inverse,
            share_of_column,
            SMOOTHED=smoothing > 0,
            STAGE=stage,
            DIVISOR=aligned.divisor,
            EDGES=aligned.edges,
            SPLITS=tiles.splits,
            PARTS=_launch.power_of_two(tiles.splits),
            BLOCKS_PER_ROW=tiles.blocks_per_row,
        )
    return outputs


def _write_gradient(
    gradient: Tensor,
    cotangent: Tensor,
    x: Tensor,
    labels: Tensor,
    peak: Tensor,
    total: Tensor,
    temperature: float,
    ignore_index: int,
    smoothing: float,
) -> None:
    inverse, share_of_column = inverse_temperature(temperature, x.dtype), _of_column(x, smoothing)
    if not _launch.uses_triton(x):
        gradient.copy_(
            _backward_torch(
                cotangent,
                x,
                labels,
                peak,
                total,
                inverse,
                ignore_index,
                share_of_column,
                1.0 - smoothing,
            )
        )
        return
    matrices = [_launch.as_rows(x), _launch.as_rows(gradient)]
    n_rows, n_columns = matrices[0].shape
    tiles, aligned = row_tiling(n_rows, n_columns, x.dtype, held=0), alignment(*matrices)
    cotangents = _launch.as_rows(cotangent.unsqueeze(-1))
    _launch.launch(
        token_log_probs_backward_kernel,
        tiles,
        tiles.row_tiles * tiles.splits,
        [],
        matrices,
        cotangents,
        cotangents.stride(0),
        labels.reshape(-1).contiguous(),
        peak,
        total,
        ignore_index,
        inverse,
        share_of_column,
        1.0 - smoothing,
        written=1,
        DIVISOR=aligned.divisor,
        EDGES=aligned.edges,
        SPLITS=tiles.splits,
        BLOCKS_PER_ROW=tiles.blocks_per_row,
    )


@torch.library.custom_op("kernels_triton::token_log_probs_backward", mutates_args=())
def _token_log_probs_backward(
    cotangent: Tensor,
    x: Tensor,
    labels: Tensor,
    peak: Tensor,
    total: Tensor,
    temperature: float,
    ignore_index: int,
    smoothing: float,
) -> Tensor:
    gradient = torch.empty_like(x, memory_format=torch.contiguous_format)
    options = temperature, ignore_index, smoothing
    _write_gradient(gradient, cotangent, x, labels, peak, total, *options)
    return gradient


@torch.library.custom_op("kernels_triton::token_log_probs_backward_", mutates_args=("x",))
def _token_log_probs_backward_in_place(
    cotangent: Tensor,
    x: Tensor,
    labels: Tensor,
    peak: Tensor,
    total: Tensor,
    temperature: float,
    ignore_index: int,
    smoothing: float,
) -> None:
    """Write the gradient over `x`."""
    options = temperature, ignore_index, smoothing
    _write_gradient(x, cotangent, x, labels, peak, total, *options)


def _of_column(x: Tensor, smoothing: float) -> float:
    return smoothing / max(x.shape[-1], 1)


def _empty_outputs(x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype = _launch.accumulator(x.dtype)
    first, second, third = (x.new_empty(x.shape[:-1], dtype=dtype) for _ in range(3))
    return first, second, third


@_token_log_probs.register_fake
def _(x, *_):
    return _empty_outputs(x)


@_token_log_probs_backward.register_fake
def _(_cotangent, x, *_):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_token_log_probs_backward_in_place.register_fake
def _(*_):
    return None


def _setup_context(ctx, inputs, output):
    x, labels, *ctx.options, ctx.in_place = inputs
    _, peak, total = output
    ctx.save_for_backward(x, labels, peak, total)
    ctx.mark_non_differentiable(peak, total)
    ctx.set_materialize_grads(False)


def _autograd(ctx, cotangent, *_):
    nothing = (None,) * 5
    if cotangent is None:
        return None, *nothing
    x, *rest = ctx.saved_tensors
    x = x.detach()
    if ctx.in_place:
        _token_log_probs_backward_in_place(cotangent, x, *rest, *ctx.options)
        return x, *nothing
    return _token_log_probs_backward(cotangent, x, *rest, *ctx.options), *nothing


_token_log_probs.register_autograd(_autograd, setup_context=_setup_context)


def _token_log_probs_torch(
    x: Tensor, labels: Tensor, inverse: float, ignore_index: int, smoothing: float
) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel's formulas in torch."""
    x, label = x.to(_launch.accumulator(x.dtype)), labels.long().unsqueeze(-1)
    ignored, known = _kinds(label, x.shape[-1], ignore_index)
    if not x.shape[-1]:
        x = x.new_full((*x.shape[:-1], 1), -torch.inf)
    peak = peak_torch(x)
    total = centered_torch(x, peak, inverse).exp().sum(-1, keepdim=True)
    x_label = x.gather(-1, torch.where(known, label, 0))
    out = centered_torch(x_label, peak, inverse) - torch.where(total == 0, 1.0, total).log()
    if smoothing:
        distance = centered_torch(x, x_label, inverse).sum(-1, keepdim=True)
        out = torch.where(out == -torch.inf, out, out + smoothing * distance)
    out = torch.where(ignored, 0.0, torch.where(known, out, torch.nan))
    return out.squeeze(-1), peak.squeeze(-1), total.squeeze(-1)


def _kinds(label: Tensor, n_columns: int, ignore_index: int) -> tuple[Tensor, Tensor]:
    """Which labels are ignored, and which of all are columns."""
    return label == ignore_index, (label >= 0) & (label < n_columns)


def _backward_torch(
    cotangent: Tensor,
    x: Tensor,
    labels: Tensor,
    peak: Tensor,
    total: Tensor,
    inverse: float,
    ignore_index: int,
    smoothing: float,
    kept: float,
) -> Tensor:
    """The backward kernel's formulas in torch."""
    cotangent, label, peak, total = (
        tensor.unsqueeze(-1) for tensor in (cotangent, labels.long(), peak, total)
    )
    ignored, known = _kinds(label, x.shape[-1], ignore_index)
    p = centered_torch(x.to(total.dtype), peak, inverse).exp() / torch.where(total == 0, 1.0, total)
    columns = torch.arange(x.shape[-1], device=x.device)
    slope = (columns == label).to(p.dtype) * kept + smoothing - p
    slope = torch.where(known, torch.where(total == 0, 0.0, slope), torch.nan)
    return share_torch(torch.where(ignored, 0.0, slope), cotangent) * inverse


def smoothed_log_probs(
    logits: Tensor,
    labels: Tensor,
    temperature: float,
    ignore_index: int,
    smoothing: float,
    inplace_gradient: bool,
) -> Tensor:
    """`(1 - s) log p_y + s / V sum_j log p_j` of each label, of arguments that are checked here.

    Raises:
      NotImplementedError: `logits` has a tangent of forward mode.
      TypeError: an argument is of a wrong type or dtype.
      ValueError: shapes, devices, labels or temperature do not suit.
    """
    require_floating("logits", logits)
    require_rows("logits", logits)
    temperature = require_temperature(temperature)
    ignore_index = require_ignore_index(ignore_index)
    _require_labels(labels, logits, ignore_index)
    if inplace_gradient:
        _require_writable(logits)
    options = temperature, ignore_index, smoothing
    return _token_log_probs(logits, labels, *options, bool(inplace_gradient))[0]


def _require_labels(labels: Tensor, logits: Tensor, ignore_index: int) -> None:
    if not isinstance(labels, Tensor) or labels.dtype not in (torch.int32, torch.int64):
        came = labels.dtype if isinstance(labels, Tensor) else type(labels).__name__
        raise TypeError(
            f"labels must be a tensor of int64 or int32; got {came}. Cast it with .long()."
        )
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have the shape of logits without the last axis, "
            f"{tuple(logits.shape[:-1])}; got {tuple(labels.shape)}. "
            "Classes are the last axis here: move it with logits.movedim(1, -1)."
        )
    if labels.device != logits.device:
        raise ValueError(
            f"labels must be on the device of logits, {logits.device}; got {labels.device}. "
            "Move them with labels.to(logits.device)."
        )
    # On a GPU asking would wait for it: there such a row gives nan.
    if labels.device.type == "cpu" and not torch.compiler.is_compiling():
        ignored, known = _kinds(labels, logits.shape[-1], ignore_index)
        if not (ignored | known).all():
            strange = labels[~(ignored | known)].flatten()[0].item()
            raise ValueError(
                f"labels must be columns of logits, 0 to {logits.shape[-1] - 1}, or ignore_index "
                f"{ignore_index}; got {strange}. Mark what does not count with ignore_index."
            )


def _require_writable(logits: Tensor) -> None:
    if logits.is_leaf and logits.requires_grad and not torch.compiler.is_compiling():
        raise ValueError(
            "inplace_gradient needs logits that were computed; got a leaf, whose .grad would be "
            "its own memory. Pass inplace_gradient=False."
        )
    try:
        matrix = logits.view(math.prod(logits.shape[:-1]), logits.shape[-1])
    except RuntimeError:
        matrix = None
    if matrix is None or not _lies_apart(matrix):
        raise ValueError(
            "inplace_gradient needs logits whose rows lie apart on one stride; got shape "
            f"{tuple(logits.shape)} with strides {logits.stride()}. Pass the whole tensor, "
            "with ignore_index as the label of what does not count, or inplace_gradient=False."
        )


def _lies_apart(matrix: Tensor) -> bool:
    """Whether no two elements share memory, of rows and columns on positive strides."""
    (short, size), (long, other) = sorted(zip(matrix.stride(), matrix.shape, strict=True))
    return matrix.numel() < 2 or (short > 0 and (other < 2 or long > (size - 1) * short))


def token_log_probs(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    ignore_index: int = -100,
    inplace_gradient: bool = False,
) -> Tensor:
    """Log-probability `log p_y = x_y / t - log sum_j exp(x_j / t)` of each label, in nats.

    One read of the logits at every length, without an array of log-probabilities; the gradient
    `([j = y] - p_j) g / t` is one read and one write, and keeps two numbers a row besides them.

    Args:
      logits: scores `x`, any shape with the classes on the last axis, any strides.
      labels: `y`, int64 or int32, of the shape of `logits` without the last axis. One that is
        neither a class nor `ignore_index` is an error on the CPU; on a GPU, and where torch
        compiles, nothing waits to look, and its value and gradient are nan.
      temperature: `t`, a positive finite Python number.
      ignore_index: the label of tokens that do not count: value 0, gradient 0, logits not read.
      inplace_gradient: write the gradient over `logits`, which saves their size in memory. Their
        values are gone after the backward pass: it can run once, and whoever else needs them for
        a gradient gets torch's error about an inplace operation.

    Returns:
      Log-probabilities of the shape of `labels`; float64 for float64, otherwise float32.

    Raises:
      NotImplementedError: `logits` has a tangent of forward mode; only reverse mode, once.
      TypeError: `logits` is not a dense floating tensor, `labels` not one of int64 or int32,
        `temperature` not a Python number, or `ignore_index` not an integer.
      ValueError: `logits` is a scalar, the shapes or devices do not suit, a label is out of range,
        `temperature` is not positive and finite, or `logits` cannot be written over.

    Examples:
      >>> logits = torch.tensor([[0.0, 0.0], [1.0, 2.0]])
      >>> [round(x, 4) for x in token_log_probs(logits, torch.tensor([1, -100])).tolist()]
      [-0.6931, 0.0]
    """
    return smoothed_log_probs(logits, labels, temperature, ignore_index, 0.0, inplace_gradient)


def token_log_probs_reference(
    logits: Tensor, labels: Tensor, temperature: float = 1.0, *, ignore_index: int = -100
) -> Tensor:
    """`token_log_probs` by torch in float64, differentiable."""
    log_probs = torch.log_softmax(logits.double() / temperature, -1)
    counts = labels != ignore_index
    picked = log_probs.gather(-1, torch.where(counts, labels, 0).long().unsqueeze(-1)).squeeze(-1)
    return torch.where(counts, picked, 0.0)
