"""The log-density of normal observations, elementwise or summed, forward and backward.

    log N(x; loc, scale) = -z**2 / 2 - log scale - log(2 pi) / 2,  z = (x - loc) / scale,

with derivatives `-z / scale` in `x`, `z / scale` in `loc` and `(z**2 - 1) / scale` in `scale`.

The sum is taken in two stages without atomics: each program sums its own tile, then the tiles'
sums are added. Tiles depend on the shape alone, so equal inputs give equal bits.

The operators have first derivatives in reverse mode: none of second order, no forward mode.
"""

from __future__ import annotations

from numbers import Real

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import require_alike, require_floating
from kernels_triton._launch import jit, load_tile, tl


@jit
def _tile(n_rows, n_columns, ROWS: tl.constexpr, BLOCK: tl.constexpr):
    # Blocks of a row are numbered on the first axis of the grid: the others end at 65535.
    program = tl.program_id(0).to(tl.int64)
    blocks = tl.cdiv(n_columns, BLOCK)
    rows = program // blocks * ROWS + tl.arange(0, ROWS)[:, None]
    columns = program % blocks * BLOCK + tl.arange(0, BLOCK)[None, :]
    return rows, columns, (rows < n_rows) & (columns < n_columns)


@jit
def _normal_log_density_kernel(
    out_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    loc_ptr,
    loc_row_stride,
    loc_column_stride,
    scale_ptr,
    scale_row_stride,
    scale_column_stride,
    n_rows,
    n_columns,
    REDUCE: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    rows, columns, inside = _tile(n_rows, n_columns, ROWS, BLOCK)
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, 0.0, ACCUMULATOR)
    loc = load_tile(
        loc_ptr, rows * loc_row_stride + columns * loc_column_stride, inside, 0.0, ACCUMULATOR
    )
    scale = load_tile(
        scale_ptr, rows * scale_row_stride + columns * scale_column_stride, inside, 1.0, ACCUMULATOR
    )
    z = (x - loc) / scale
    out = -0.5 * z * z - tl.log(scale) - 0.9189385332046727418
    if REDUCE:
        total = tl.sum(tl.sum(tl.where(inside, out, 0.0), axis=1), axis=0)
        tl.store(out_ptr + tl.program_id(0), total)
    else:
        out = out.to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + rows * n_columns + columns, out, mask=inside)


@jit
def _normal_log_density_backward_kernel(
    x_gradient_ptr,
    loc_gradient_ptr,
    scale_gradient_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    loc_ptr,
    loc_row_stride,
    loc_column_stride,
    scale_ptr,
    scale_row_stride,
    scale_column_stride,
    cotangent_ptr,
    cotangent_row_stride,
    cotangent_column_stride,
    n_rows,
    n_columns,
    NEEDS_X: tl.constexpr,
    NEEDS_LOC: tl.constexpr,
    NEEDS_SCALE: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    rows, columns, inside = _tile(n_rows, n_columns, ROWS, BLOCK)
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, 0.0, ACCUMULATOR)
    loc = load_tile(
        loc_ptr, rows * loc_row_stride + columns * loc_column_stride, inside, 0.0, ACCUMULATOR
    )
    scale = load_tile(
        scale_ptr, rows * scale_row_stride + columns * scale_column_stride, inside, 1.0, ACCUMULATOR
    )
    cotangent = load_tile(
        cotangent_ptr,
        rows * cotangent_row_stride + columns * cotangent_column_stride,
        inside,
        0.0,
        ACCUMULATOR,
    )
    z = (x - loc) / scale
    slope = cotangent / scale
    offsets = rows * n_columns + columns
    if NEEDS_X:
        gradient = (-z * slope).to(x_gradient_ptr.dtype.element_ty)
        tl.store(x_gradient_ptr + offsets, gradient, mask=inside)
    if NEEDS_LOC:
        gradient = (z * slope).to(loc_gradient_ptr.dtype.element_ty)
        tl.store(loc_gradient_ptr + offsets, gradient, mask=inside)
    if NEEDS_SCALE:
        gradient = ((z * z - 1.0) * slope).to(scale_gradient_ptr.dtype.element_ty)
        tl.store(scale_gradient_ptr + offsets, gradient, mask=inside)


@torch.library.custom_op("kernels_triton::normal_log_density", mutates_args=())
def _normal_log_density(x: Tensor, loc: Tensor, scale: Tensor, reduce: bool) -> Tensor:
    """Of tensors of one shape: the log-density, or its sum in the accumulator's dtype."""
    if not _launch.uses_triton(x):
        return _normal_log_density_torch(x, loc, scale, reduce)
    matrices = _launch.as_matrices(x, loc, scale)
    tiles = _launch.tiling(*matrices[0].shape)
    programs = tiles.row_tiles * tiles.blocks_per_row if x.numel() else 0
    out = (
        x.new_empty(programs, dtype=_launch.accumulator(x.dtype))
        if reduce
        else torch.empty_like(x, memory_format=torch.contiguous_format)
    )
    _launch.launch(_normal_log_density_kernel, tiles, programs, [out], matrices, REDUCE=reduce)
    return out.sum() if reduce else out


@torch.library.custom_op("kernels_triton::normal_log_density_backward", mutates_args=())
def _normal_log_density_backward(
    cotangent: Tensor, x: Tensor, loc: Tensor, scale: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients to `x`, `loc` and `scale`, empty where `needs` says that none is wanted."""
    outputs = _empty_gradients(x, needs)
    if not _launch.uses_triton(x):
        values = _normal_log_density_backward_torch(cotangent, x, loc, scale)
        for output, value, needed in zip(outputs, values, needs, strict=True):
            if needed:
                output.copy_(value)
        return outputs
    matrices = _launch.as_matrices(x, loc, scale, cotangent)
    tiles = _launch.tiling(*matrices[0].shape)
    programs = tiles.row_tiles * tiles.blocks_per_row if x.numel() else 0
    _launch.launch(
        _normal_log_density_backward_kernel,
        tiles,
        programs,
        outputs,
        matrices,
        NEEDS_X=needs[0],
        NEEDS_LOC=needs[1],
        NEEDS_SCALE=needs[2],
    )
    return outputs


def _empty_gradients(x: Tensor, needs: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
    first, second, third = (x.new_empty(x.shape if needed else 0) for needed in needs)
    return first, second, third


@_normal_log_density.register_fake
def _(x, _loc, _scale, reduce):
    if reduce:
        return x.new_empty((), dtype=_launch.accumulator(x.dtype))
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_normal_log_density_backward.register_fake
def _(_cotangent, x, _loc, _scale, needs):
    return _empty_gradients(x, needs)


def _setup_context(ctx, inputs, output):  # noqa: ARG001 - the registered signature
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx, cotangent):
    x, loc, scale = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    gradients = _normal_log_density_backward(cotangent.expand_as(x), x, loc, scale, needs)
    return *(g if needed else None for g, needed in zip(gradients, needs, strict=True)), None


_normal_log_density.register_autograd(_autograd, setup_context=_setup_context)


def _normal_log_density_torch(x: Tensor, loc: Tensor, scale: Tensor, reduce: bool) -> Tensor:
    """The kernel's formula in torch."""
    dtype = x.dtype
    x, loc, scale = (tensor.to(_launch.accumulator(dtype)) for tensor in (x, loc, scale))
    z = (x - loc) / scale
    out = -0.5 * z * z - scale.log() - 0.9189385332046727418
    return out.sum() if reduce else out.to(dtype).contiguous()


def _normal_log_density_backward_torch(
    cotangent: Tensor, x: Tensor, loc: Tensor, scale: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """The backward kernel's formulas in torch."""
    dtype = _launch.accumulator(x.dtype)
    cotangent, x, loc, scale = (tensor.to(dtype) for tensor in (cotangent, x, loc, scale))
    z = (x - loc) / scale
    slope = cotangent / scale
    return -z * slope, z * slope, (z * z - 1.0) * slope


def _broadcast(
    x: Tensor, loc: Tensor | float, scale: Tensor | float
) -> tuple[Tensor, Tensor, Tensor]:
    require_floating("x", x)
    tensors = [x]
    for name, value in (("loc", loc), ("scale", scale)):
        if isinstance(value, bool):
            raise TypeError(
                f"{name} must be a tensor or a number; got bool. Pass {float(value)} if meant."
            )
        if isinstance(value, (int, float, Real)):  # Real: the scalars of numpy
            value = torch.full((), float(value), dtype=x.dtype, device=x.device)
        require_floating(name, value)
        require_alike(name, value, "x", x)
        tensors.append(value)
    try:
        return torch.broadcast_tensors(*tensors)
    except RuntimeError:
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in tensors)
        raise ValueError(
            f"x, loc and scale must have shapes that broadcast together; got {shapes}. "
            "Insert axes of length one where they differ, for example loc[:, None]."
        ) from None


def normal_log_density(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    """Log-density `-z**2/2 - log scale - log(2 pi)/2`, `z = (x - loc)/scale`, in nats.

    Three reads and one write an element; the backward pass writes only the gradients that are
    wanted. The arguments are broadcast as in torch without being copied, except where the leading
    axes of a broadcast argument cannot be viewed as one; its gradient is summed back by torch. Not
    differentiable twice, and without forward mode: use the formula in torch for those.

    Args:
      x: observations, any shape, any strides.
      loc: means; a tensor of the dtype and device of `x`, or a number.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      Log-densities, contiguous, of the broadcast shape and the dtype of `x`.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (or a number, which no bool is), or the
        dtypes differ.
      ValueError: the shapes do not broadcast, or the devices differ.

    Examples:
      >>> round(normal_log_density(torch.zeros(1), 0.0, 1.0).item(), 6)
      -0.918939
    """
    x, loc, scale = _broadcast(x, loc, scale)
    return _normal_log_density(x, loc, scale, False)


def normal_log_likelihood(x: Tensor, loc: Tensor | float, scale: Tensor | float) -> Tensor:
    """The sum of `normal_log_density` over all elements, in nats.

    Three reads an element and no array of log-densities. Deterministic: a fixed tree of sums, no
    atomics. The gradient is that of `normal_log_density`: first derivatives in reverse mode only.

    Args:
      x: observations, any shape, any strides.
      loc: means; a tensor of the dtype and device of `x`, or a number.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      A scalar, float64 for float64 and otherwise float32, which also holds the sums that would
      overflow float16; 0 for an empty tensor.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (or a number, which no bool is), or the
        dtypes differ.
      ValueError: the shapes do not broadcast, or the devices differ.

    Examples:
      >>> round(normal_log_likelihood(torch.zeros(10), 0.0, 1.0).item(), 4)
      -9.1894
    """
    x, loc, scale = _broadcast(x, loc, scale)
    return _normal_log_density(x, loc, scale, True)


def normal_log_density_reference(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """`normal_log_density` by torch in float64, differentiable."""
    normal = torch.distributions.Normal(loc.double(), scale.double(), validate_args=False)
    return normal.log_prob(x.double())


def normal_log_likelihood_reference(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    """`normal_log_likelihood` by torch in float64, differentiable."""
    return normal_log_density_reference(x, loc, scale).sum()
