"""Second moments `A^T A / N` of activations, averaged over steps: the factors of K-FAC.

Only tiles on and below the diagonal are computed, each mirrored where it is stored, so that the
result is symmetric to the bit. Where there are few tiles the rows are split among programs, whose
sums are added in a fixed order: equal inputs give equal bits. Products of half precision are taken
by `tl.dot` as they are, exactly, and summed in float32; those of float32 and float64 are IEEE.

The operator has first derivatives in reverse mode, two products of matrices by torch: none of
second order, no forward mode.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import require_floating, require_rows
from kernels_triton._launch import Tiling, jit, tl

_PROGRAMS = 264  # twice the processors of an H200: rows are split until there are about so many
_FEWEST = 4  # blocks of rows that are worth a program of their own


@jit
def _tile_of(number):
    """The row and column of a tile in a lower triangle, counted row by row."""
    row = ((tl.sqrt(8.0 * number.to(tl.float64) + 1.0) - 1.0) * 0.5).to(tl.int64)
    row -= (row * (row + 1) // 2 > number).to(tl.int64)
    row += ((row + 1) * (row + 2) // 2 <= number).to(tl.int64)
    return row, number - row * (row + 1) // 2


@jit
def _features(ptr, rows, columns, row_stride, column_stride, n_rows, n_columns, ONES: tl.constexpr):
    """A tile of activations, with a column of ones after the last where `ONES`."""
    inside = (rows < n_rows) & (columns < n_columns)
    tile = tl.load(ptr + rows * row_stride + columns * column_stride, mask=inside, other=0.0)
    if ONES:
        tile = tl.where((rows < n_rows) & (columns == n_columns), 1.0, tile).to(tile.dtype)
    return tile


@jit
def _store_symmetric(
    out_ptr,
    tile,
    up,
    left,
    previous_ptr,
    row_stride,
    column_stride,
    size,
    scale,
    decay,
    AVERAGES: tl.constexpr,
    BLOCK: tl.constexpr,
):
    """A tile on or below the diagonal, and its mirror image; `up` and `left` count tiles."""
    # The triangular mask of a tile on the diagonal allows only narrow stores; the others are wide.
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    rows, columns = (up * BLOCK + lanes)[:, None], (left * BLOCK + lanes)[None, :]
    inside = (rows < size) & (columns < size)
    tile = tile * scale
    if AVERAGES:
        places = rows * row_stride + columns * column_stride
        tile += decay * tl.load(previous_ptr + places, mask=inside, other=0.0)
    if up == left:
        tl.store(out_ptr + rows * size + columns, tile, mask=inside & (columns <= rows))
    else:
        tl.store(out_ptr + rows * size + columns, tile, mask=inside)
    rows, columns = (up * BLOCK + lanes)[None, :], (left * BLOCK + lanes)[:, None]
    tile = tl.trans(tile)
    if up == left:
        mirrored = (rows < size) & (columns < rows)
        tl.store(out_ptr + columns * size + rows, tile, mask=mirrored)
    else:
        mirrored = (rows < size) & (columns < size)
        tl.store(out_ptr + columns * size + rows, tile, mask=mirrored)


@jit
def _kronecker_factor_kernel(
    out_ptr,
    part_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    previous_ptr,
    previous_row_stride,
    previous_column_stride,
    n_rows,
    n_columns,
    scale: tl.float64,
    decay: tl.float64,
    ONES: tl.constexpr,
    AVERAGES: tl.constexpr,
    BLOCKS: tl.constexpr,
    SPLITS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    tile, split = program // SPLITS, program % SPLITS
    up, left = _tile_of(tile)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    total = tl.zeros((BLOCK, BLOCK), ACCUMULATOR)
    for block in range(BLOCKS):
        rows = (split * BLOCKS + block) * ROWS + tl.arange(0, ROWS).to(tl.int64)[:, None]
        first = _features(
            x_ptr,
            rows,
            up * BLOCK + lanes[None, :],
            x_row_stride,
            x_column_stride,
            n_rows,
            n_columns,
            ONES,
        )
        second = _features(
            x_ptr,
            rows,
            left * BLOCK + lanes[None, :],
            x_row_stride,
            x_column_stride,
            n_rows,
            n_columns,
            ONES,
        )
        total = tl.dot(
            tl.trans(first), second, total, input_precision="ieee", out_dtype=ACCUMULATOR
        )
    if SPLITS == 1:
        size = n_columns + 1 if ONES else n_columns
        _store_symmetric(
            out_ptr,
            total,
            up,
            left,
            previous_ptr,
            previous_row_stride,
            previous_column_stride,
            size,
            tl.full((1, 1), scale, ACCUMULATOR),
            tl.full((1, 1), decay, ACCUMULATOR),
            AVERAGES,
            BLOCK,
        )
    else:
        places = program * BLOCK * BLOCK + lanes[:, None] * BLOCK + lanes[None, :]
        tl.store(part_ptr + places, total)


@jit
def _kronecker_factor_join_kernel(
    out_ptr,
    part_ptr,
    part_row_stride,
    _part_column_stride,
    previous_ptr,
    previous_row_stride,
    previous_column_stride,
    _n_parts,
    _n_entries,
    size,
    scale: tl.float64,
    decay: tl.float64,
    AVERAGES: tl.constexpr,
    SPLITS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,  # noqa: ARG001 - of every launch
    BLOCK: tl.constexpr,
):
    tile = tl.program_id(0).to(tl.int64)
    up, left = _tile_of(tile)
    lanes = tl.arange(0, BLOCK).to(tl.int64)
    places = lanes[:, None] * BLOCK + lanes[None, :]
    total = tl.zeros((BLOCK, BLOCK), ACCUMULATOR)
    for split in range(SPLITS):
        total += tl.load(part_ptr + (tile * SPLITS + split) * part_row_stride + places)
    _store_symmetric(
        out_ptr,
        total,
        up,
        left,
        previous_ptr,
        previous_row_stride,
        previous_column_stride,
        size,
        tl.full((1, 1), scale, ACCUMULATOR),
        tl.full((1, 1), decay, ACCUMULATOR),
        AVERAGES,
        BLOCK,
    )


def _run(x: Tensor, previous: Tensor | None, scale: float, decay: float, out: Tensor) -> None:
    matrix, size = _launch.as_rows(x), len(out)
    side = 32 if x.dtype == torch.float64 else 64
    count = -(-size // side)
    tiles, blocks = count * (count + 1) // 2, max(1, -(-len(matrix) // side))
    splits = max(1, min(-(-_PROGRAMS // tiles), blocks // _FEWEST))
    blocks_per_split = -(-blocks // splits)
    splits = -(-blocks // blocks_per_split)
    tiling = Tiling(side, side, tiles, blocks_per_split, splits)
    parts = out.new_empty(tiles * splits if splits > 1 else 1, side * side)
    options = {"AVERAGES": previous is not None, "SPLITS": splits}
    _launch.launch(
        _kronecker_factor_kernel,
        tiling,
        tiles * splits,
        [out, parts],
        [matrix, matrix if previous is None else previous],
        scale,
        decay,
        ONES=size > matrix.shape[1],
        warps=16 if size > matrix.shape[1] else None,  # 8 spill 4 words of it on sm_100
        BLOCKS=blocks_per_split,
        **options,
    )
    if splits > 1:
        _launch.launch(
            _kronecker_factor_join_kernel,
            tiling,
            tiles,
            [out],
            [parts, parts if previous is None else previous],
            size,
            scale,
            decay,
            **options,
        )


@torch.library.custom_op("kernels_triton::kronecker_factor", mutates_args=())
def _kronecker_factor(
    x: Tensor, previous: Tensor | None, decay: float, homogeneous: bool
) -> Tensor:
    out = _empty_factor(x, homogeneous)
    scale = (1.0 if previous is None else 1.0 - decay) / max(1, math.prod(x.shape[:-1]))
    if not out.numel():
        return out
    if _launch.uses_triton(x):
        _run(x, previous, scale, decay, out)
        return out
    rows = _features_of(x, homogeneous)
    out.copy_(scale * (rows.mT @ rows))
    # As the kernel does: what is below the diagonal is what counts.
    if previous is not None:
        out += decay * previous
    return out.copy_(out.tril() + out.tril(-1).mT)


@torch.library.custom_op("kernels_triton::kronecker_factor_backward", mutates_args=())
def _kronecker_factor_backward(
    cotangent: Tensor, x: Tensor, share: float, homogeneous: bool
) -> Tensor:
    """The gradient `share A (G + G^T) / N` to the activations."""
    rows = _features_of(x, homogeneous)
    gradient = rows @ ((share / max(1, len(rows))) * (cotangent + cotangent.mT))
    return gradient[:, : x.shape[-1]].reshape(x.shape).to(x.dtype).contiguous()


def _features_of(x: Tensor, homogeneous: bool) -> Tensor:
    rows = _launch.as_rows(x).to(_launch.accumulator(x.dtype))
    return torch.nn.functional.pad(rows, (0, 1), value=1.0) if homogeneous else rows


def _empty_factor(x: Tensor, homogeneous: bool) -> Tensor:
    size = x.shape[-1] + homogeneous
    return x.new_empty(size, size, dtype=_launch.accumulator(x.dtype))


@_kronecker_factor.register_fake
def _(x, _previous, _decay, homogeneous):
    return _empty_factor(x, homogeneous)


@_kronecker_factor_backward.register_fake
def _(_cotangent, x, _share, _homogeneous):
    return torch.empty_like(x, memory_format=torch.contiguous_format)


def _setup_context(ctx, inputs, output):  # noqa: ARG001 - the registered signature
    x, previous, ctx.decay, ctx.homogeneous = inputs
    ctx.share = 1.0 if previous is None else 1.0 - ctx.decay
    ctx.save_for_backward(x)


def _autograd(ctx, cotangent):
    (x,) = ctx.saved_tensors
    to_x = to_previous = None
    if ctx.needs_input_grad[0]:
        to_x = _kronecker_factor_backward(cotangent, x, ctx.share, ctx.homogeneous)
    if ctx.needs_input_grad[1]:
        to_previous = ctx.decay * cotangent  # along symmetric matrices
    return to_x, to_previous, None, None


_kronecker_factor.register_autograd(_autograd, setup_context=_setup_context)


def _require_previous(previous: Tensor, activations: Tensor, homogeneous: bool) -> None:
    require_floating("previous", previous)
    size = activations.shape[-1] + homogeneous
    dtype = _launch.accumulator(activations.dtype)
    if previous.shape != (size, size):
        raise ValueError(
            f"previous must be the factor of the steps before, of shape {(size, size)}; got "
            f"{tuple(previous.shape)}. Start from torch.zeros, and keep `homogeneous` as it was."
        )
    if previous.dtype != dtype:
        raise TypeError(
            f"previous must have the dtype of the result, {dtype}; got {previous.dtype}. "
            f"Cast it with .to({dtype})."
        )
    if previous.device != activations.device:
        raise ValueError(
            f"previous must be on the device of activations, {activations.device}; got "
            f"{previous.device}. Move it with previous.to(activations.device)."
        )


def kronecker_factor(
    activations: Tensor,
    previous: Tensor | None = None,
    *,
    decay: float = 0.95,
    homogeneous: bool = False,
) -> Tensor:
    """Factor `decay previous + (1 - decay) A^T A / N` of the Fisher matrix of a layer, as in K-FAC.

    For a layer with activations a and cotangents g of its outputs the Fisher matrix is about
    `E[a a^T] (x) E[g g^T]`: this is either factor. `N D^2 / 2` products, half of a full product;
    `A` is read `D / 128` times, mostly from the cache, and only the result is written.

    Args:
      activations: A, rows of examples along all but the last axis, any strides.
      previous: the average so far, symmetric (its lower half is read); None takes these rows alone.
      decay: of the average, in `[0, 1]`; not read without `previous`.
      homogeneous: a column of ones is put after the last, for the bias of the layer.

    Returns:
      Symmetric to the bit, `(D, D)` or `(D + 1, D + 1)`: float64 for float64, otherwise float32.
      Without examples `A^T A / N` counts as 0.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode; only reverse mode, once.
      TypeError: an argument is not a dense floating tensor, `previous` has not the dtype of the
        result, or `decay` is not a Python number.
      ValueError: a scalar, `previous` of another shape or device, or `decay` outside `[0, 1]`.

    References:
      [MartensGrosse2015] section 3.

    Examples:
      >>> kronecker_factor(torch.tensor([[1.0, 2.0]]), homogeneous=True).tolist()
      [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """
    require_floating("activations", activations)
    require_rows("activations", activations)
    if isinstance(decay, bool) or not isinstance(decay, Real):
        raise TypeError(f"decay must be a Python number; got {type(decay).__name__}. Try 0.95.")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be between 0 and 1; got {decay}. Try 0.95.")
    if previous is not None:
        _require_previous(previous, activations, homogeneous)
    return _kronecker_factor(activations, previous, float(decay), homogeneous)


def kronecker_factor_reference(
    activations: Tensor,
    previous: Tensor | None = None,
    *,
    decay: float = 0.95,
    homogeneous: bool = False,
) -> Tensor:
    """`kronecker_factor` by torch in float64, differentiable; for at least one example."""
    rows = activations.double().reshape(-1, activations.shape[-1])
    if homogeneous:
        rows = torch.cat([rows, rows.new_ones(len(rows), 1)], -1)
    new = rows.mT @ rows / len(rows)
    return new if previous is None else decay * previous.double() + (1 - decay) * new
