"""Products of the Fisher matrix of a categorical law with a vector, by rows, forward and backward.

With `p = softmax(x)` and means under p written `<.>`,

    F v = (diag p - p p^T) v = p (v - <v>),

and for a cotangent g the gradients `F g` to v and `p ((v - <v>) (g - <g>) - Cov(v, g))` to x. Means
are taken of the difference to the value of the likeliest class, and all products of centered
vectors, so that a constant in v or g drops out before it can round.

A row of one block is read once. Each block of a longer one first gives its share of the means,
which every program of the row joins in the same order; then the row is read again for the product.

Conventions, as of `softmax`: a class of probability 0 has product and gradients 0, whatever v and g
are there; so has a row of all `-inf`; `+inf` entries share the mass equally; a nan stays in its
row.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import require_alike, require_floating, require_rows
from kernels_triton._launch import Tiling, jit, load_tile, tl
from kernels_triton._rows import (
    centered,
    centered_torch,
    load_parts,
    peak_torch,
    share,
    share_torch,
)


@jit
def _or_zero(x):
    return tl.where(x == -float("inf"), 0.0, x)


@jit
def _sum(x):
    return tl.sum(x, axis=1, keep_dims=True)


@jit
def _from_anchor(v, leading):
    """A value near the mean, that of the likeliest class, and the differences to it."""
    anchor = _or_zero(tl.max(tl.where(leading, v, -float("inf")), axis=1, keep_dims=True))
    return anchor, v - anchor


@jit
def _means(x, v, g, WITH_COTANGENT: tl.constexpr):
    """Of a tile: peak, total and anchors, the means relative to these, and the covariance."""
    peak = tl.max(x, axis=1, keep_dims=True)
    weight = tl.exp(centered(x, peak, 1.0))
    total = _sum(weight)
    divisor = tl.where(total == 0.0, 1.0, total)
    leading = (x == peak) & (weight > 0.0)
    anchor_v, step_v = _from_anchor(v, leading)
    mean_v = _sum(share(weight, step_v)) / divisor
    anchor_g, mean_g, covariance = anchor_v, mean_v, mean_v
    if WITH_COTANGENT:
        anchor_g, step_g = _from_anchor(g, leading)
        mean_g = _sum(share(weight, step_g)) / divisor
        covariance = _sum(share(weight, (step_v - mean_v) * (step_g - mean_g))) / divisor
    return peak, total, anchor_v, mean_v, anchor_g, mean_g, covariance


@jit
def _joined_means(
    ptr, row, n_rows, WITH_COTANGENT: tl.constexpr, BLOCKS: tl.constexpr, PARTS: tl.constexpr
):
    """`_means` of a whole row from those of its blocks, on one axis: on two each lane has all."""
    stride = tl.cast(n_rows, tl.int64) * BLOCKS
    peaks = load_parts(ptr, row, -float("inf"), BLOCKS, PARTS)
    totals = load_parts(ptr + stride, row, 0.0, BLOCKS, PARTS)
    peak = tl.max(peaks, axis=0)
    weight = share(totals, tl.exp(centered(peaks, peak, 1.0)))
    total = tl.sum(weight, axis=0)
    divisor = tl.where(total == 0.0, 1.0, total)
    leading = (peaks == peak) & (weight > 0.0)
    anchors = load_parts(ptr + 2 * stride, row, 0.0, BLOCKS, PARTS)
    anchor_v = _or_zero(tl.max(tl.where(leading, anchors, -float("inf")), axis=0))
    apart_v = anchors - anchor_v + load_parts(ptr + 3 * stride, row, 0.0, BLOCKS, PARTS)
    mean_v = tl.sum(share(weight, apart_v), axis=0) / divisor
    anchor_g, mean_g, covariance = anchor_v, mean_v, mean_v
    if WITH_COTANGENT:
        anchors = load_parts(ptr + 4 * stride, row, 0.0, BLOCKS, PARTS)
        anchor_g = _or_zero(tl.max(tl.where(leading, anchors, -float("inf")), axis=0))
        apart_g = anchors - anchor_g + load_parts(ptr + 5 * stride, row, 0.0, BLOCKS, PARTS)
        mean_g = tl.sum(share(weight, apart_g), axis=0) / divisor
        inner = load_parts(ptr + 6 * stride, row, 0.0, BLOCKS, PARTS)
        between = (apart_v - mean_v) * (apart_g - mean_g)
        covariance = tl.sum(share(weight, inner + between), axis=0) / divisor
    return peak, total, anchor_v, mean_v, anchor_g, mean_g, covariance


@jit
def _product(x, v, peak, total, anchor, mean):
    """The probabilities, and the vector less its mean."""
    p = tl.exp(centered(x, peak, 1.0)) / tl.where(total == 0.0, 1.0, total)
    return p, (v - anchor) - mean


@jit
def _categorical_fisher_matvec_means_kernel(
    part_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    v_ptr,
    v_row_stride,
    v_column_stride,
    g_ptr,
    g_row_stride,
    g_column_stride,
    n_rows,
    n_columns,
    WITH_COTANGENT: tl.constexpr,
    BLOCKS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    rows = program // BLOCKS * ROWS + tl.arange(0, ROWS)[:, None]
    columns = program % BLOCKS * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (rows < n_rows) & (columns < n_columns)
    low: tl.constexpr = -float("inf")
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, low, ACCUMULATOR)
    v = load_tile(v_ptr, rows * v_row_stride + columns * v_column_stride, inside, 0.0, ACCUMULATOR)
    g = v
    if WITH_COTANGENT:
        offsets = rows * g_row_stride + columns * g_column_stride
        g = load_tile(g_ptr, offsets, inside, 0.0, ACCUMULATOR)
    numbers = _means(x, v, g, WITH_COTANGENT)
    stride = tl.cast(n_rows, tl.int64) * BLOCKS
    COUNT: tl.constexpr = 7 if WITH_COTANGENT else 4
    for slot in tl.static_range(COUNT):
        where = part_ptr + slot * stride + rows * BLOCKS + program % BLOCKS
        tl.store(where, numbers[slot], mask=rows < n_rows)


@jit
def _categorical_fisher_matvec_kernel(
    out_ptr,
    x_gradient_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    v_ptr,
    v_row_stride,
    v_column_stride,
    g_ptr,
    g_row_stride,
    g_column_stride,
    n_rows,
    n_columns,
    part_ptr,
    WITH_COTANGENT: tl.constexpr,
    BLOCKS: tl.constexpr,
    PARTS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # Forward: F v. Backward: F g, which is the gradient to v, and the gradient to x.
    program = tl.program_id(0).to(tl.int64)
    rows = program // BLOCKS * ROWS + tl.arange(0, ROWS)[:, None]
    columns = program % BLOCKS * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (rows < n_rows) & (columns < n_columns)
    low: tl.constexpr = -float("inf")
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, low, ACCUMULATOR)
    v = load_tile(v_ptr, rows * v_row_stride + columns * v_column_stride, inside, 0.0, ACCUMULATOR)
    g = v
    if WITH_COTANGENT:
        offsets = rows * g_row_stride + columns * g_column_stride
        g = load_tile(g_ptr, offsets, inside, 0.0, ACCUMULATOR)
    if BLOCKS == 1:
        numbers = _means(x, v, g, WITH_COTANGENT)
    else:
        numbers = _joined_means(part_ptr, program // BLOCKS, n_rows, WITH_COTANGENT, BLOCKS, PARTS)
    p, rest_v = _product(x, v, numbers[0], numbers[1], numbers[2], numbers[3])
    offsets = rows * n_columns + columns
    if WITH_COTANGENT:
        _, rest_g = _product(x, g, numbers[0], numbers[1], numbers[4], numbers[5])
        out = share(p, rest_g)
        slope = share(p, rest_v * rest_g - numbers[6]).to(x_gradient_ptr.dtype.element_ty)
        tl.store(x_gradient_ptr + offsets, slope, mask=inside)
    else:
        out = share(p, rest_v)
    tl.store(out_ptr + offsets, out.to(out_ptr.dtype.element_ty), mask=inside)


def _tiles(n_rows: int, n_columns: int, dtype: torch.dtype) -> Tiling:
    # Of float64 four elements a thread do not spill where parts are joined.
    longest = 512 if dtype == torch.float64 else 4096
    block = max(16, min(_launch.power_of_two(n_columns), longest))
    rows = min(_launch.power_of_two(n_rows), max(1, longest // 2 // block))
    return Tiling(rows, block, -(-n_rows // rows), max(1, -(-n_columns // block)))


def _run(x: Tensor, v: Tensor, g: Tensor | None, outputs: list[Tensor]) -> None:
    matrices = [_launch.as_rows(z) for z in (x, v, v if g is None else g)]
    n_rows, n_columns = matrices[0].shape
    tiles = _tiles(n_rows, n_columns, x.dtype)
    blocks = tiles.blocks_per_row
    options = {"WITH_COTANGENT": g is not None, "BLOCKS": blocks}
    dtype = _launch.accumulator(x.dtype)
    parts = x.new_empty((4 if g is None else 7, n_rows, blocks) if blocks > 1 else 1, dtype=dtype)
    programs = tiles.row_tiles * blocks if x.numel() else 0
    if blocks > 1:
        kernel = _categorical_fisher_matvec_means_kernel
        _launch.launch(kernel, tiles, programs, [parts], matrices, **options)
    _launch.launch(
        _categorical_fisher_matvec_kernel,
        tiles,
        programs,
        outputs,
        matrices,
        parts,
        **options,
        PARTS=_launch.power_of_two(blocks),
    )


@torch.library.custom_op("kernels_triton::categorical_fisher_matvec", mutates_args=())
def _categorical_fisher_matvec(x: Tensor, v: Tensor) -> Tensor:
    out = torch.empty_like(x, memory_format=torch.contiguous_format)
    if not _launch.uses_triton(x):
        return out.copy_(_formulas(x, v, None)[0])
    _run(x, v, None, [out, x.new_empty(0)])
    return out


@torch.library.custom_op("kernels_triton::categorical_fisher_matvec_backward", mutates_args=())
def _categorical_fisher_matvec_backward(
    cotangent: Tensor, x: Tensor, v: Tensor
) -> tuple[Tensor, Tensor]:
    """The gradients to the logits and to the vector."""
    slopes = [torch.empty_like(x, memory_format=torch.contiguous_format) for _ in range(2)]
    if not _launch.uses_triton(x):
        to_v, to_x = _formulas(x, v, cotangent)
        slopes[0].copy_(to_x)
        slopes[1].copy_(to_v)
    else:
        _run(x, v, cotangent, slopes[::-1])
    return slopes[0], slopes[1]


@_categorical_fisher_matvec.register_fake
def _(x, _v):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


@_categorical_fisher_matvec_backward.register_fake
def _(_cotangent, x, _v):
    contiguous = torch.contiguous_format
    return tuple(torch.empty_like(x, memory_format=contiguous) for _ in range(2))


def _setup_context(ctx, inputs, output):  # noqa: ARG001 - the registered signature
    ctx.save_for_backward(*inputs)


def _autograd(ctx, cotangent):
    return _categorical_fisher_matvec_backward(cotangent, *ctx.saved_tensors)


_categorical_fisher_matvec.register_autograd(_autograd, setup_context=_setup_context)


def _formulas(x: Tensor, v: Tensor, g: Tensor | None) -> tuple[Tensor, Tensor]:
    """The kernel's formulas in torch: `F v`, or `F g` and the gradient to x."""
    dtype = _launch.accumulator(x.dtype)
    x, v, g = x.to(dtype), v.to(dtype), v.to(dtype) if g is None else g.to(dtype)
    peak = peak_torch(x)
    weight = centered_torch(x, peak, 1.0).exp()
    total = weight.sum(-1, keepdim=True)
    p = weight / torch.where(total == 0, 1.0, total)
    leading = (x == peak) & (weight > 0)

    def rest(z: Tensor) -> Tensor:
        anchor = peak_torch(torch.where(leading, z, -torch.inf))
        step = z - torch.where(anchor == -torch.inf, 0.0, anchor)
        return step - share_torch(p, step).sum(-1, keepdim=True)

    rest_v, rest_g = rest(v), rest(g)
    product = rest_v * rest_g
    return share_torch(p, rest_g), share_torch(
        p, product - share_torch(p, product).sum(-1, keepdim=True)
    )


def categorical_fisher_matvec(logits: Tensor, tangent: Tensor) -> Tensor:
    """Product `(diag p - p p^T) v = p (v - <p, v>)` of every row, with `p = softmax(logits)`.

    It is the Fisher matrix of a categorical law in its logits, and the curvature of cross-entropy
    and log-sum-exp. Both tensors are read once while a row has at most 4096 columns (512 of
    float64), twice beyond; so is the backward pass, which reads the cotangent besides.

    Args:
      logits: any shape with a last axis, any strides; infinities are allowed.
      tangent: v, of the dtype and device of `logits`; the shapes are broadcast.

    Returns:
      The product, contiguous, of the broadcast shape and the dtype of `logits`; each row sums to 0.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode; only reverse mode, once.
      TypeError: an argument is not a dense floating tensor, or the dtypes differ.
      ValueError: a scalar, shapes that do not broadcast, or two devices.

    Examples:
      >>> categorical_fisher_matvec(torch.zeros(2), torch.tensor([1.0, 3.0])).tolist()
      [-0.5, 0.5]
    """
    for name, value in (("logits", logits), ("tangent", tangent)):
        require_floating(name, value)
        require_rows(name, value)
    require_alike("tangent", tangent, "logits", logits)
    try:
        x, v = torch.broadcast_tensors(logits, tangent)
    except RuntimeError:
        shapes = f"{tuple(logits.shape)} and {tuple(tangent.shape)}"
        raise ValueError(
            f"logits and tangent must have shapes that broadcast together; got {shapes}. "
            "Insert axes of length one where they differ, for example tangent[:, None]."
        ) from None
    return _categorical_fisher_matvec(x, v)


def categorical_fisher_matvec_reference(logits: Tensor, tangent: Tensor) -> Tensor:
    """`categorical_fisher_matvec` by torch in float64, differentiable."""
    p, v = torch.softmax(logits.double(), -1), tangent.double()
    return p * (v - (p * v).sum(-1, keepdim=True))
