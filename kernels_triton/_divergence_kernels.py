"""The kernels of divergences between rows of logits, and how they are launched.

A row of one block is read once. Each block of a longer one is a part that a program of its own
makes; a second launch joins the parts. Jensen-Shannon and total variation, which need the log-ratio
of each class, then read it again.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._divergence_parts import (
    joined_part,
    load_part,
    part_of,
    store_part,
    summary_of,
)
from kernels_triton._divergence_terms import affinity_slopes, affinity_value, gap_sums, gaps
from kernels_triton._launch import Tiling, jit, load_tile, tl
from kernels_triton._rows import share

_SHORT = 512  # elements of one program that holds several rows
_BLOCK = 4096  # columns of one part
_GROUP = 1024  # parts that are joined by one program


@jit
def _divergence_kernel(
    value_ptr,
    part_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    y_ptr,
    y_row_stride,
    y_column_stride,
    n_rows,
    n_columns,
    tilt: tl.float64,
    scale: tl.float64,
    KIND: tl.constexpr,
    TILTED: tl.constexpr,
    BLOCKS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    # 64-bit offsets: rows * stride can pass 2**31, and columns * stride in a transposed matrix.
    program = tl.program_id(0).to(tl.int64)
    rows = program // BLOCKS * ROWS + tl.arange(0, ROWS)[:, None]
    columns = program % BLOCKS * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside = (rows < n_rows) & (columns < n_columns)
    tilt = tl.full((1, 1), tilt, ACCUMULATOR)
    scale = tl.full((1, 1), scale, ACCUMULATOR)
    low: tl.constexpr = -float("inf")
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, low, ACCUMULATOR)
    y = load_tile(y_ptr, rows * y_row_stride + columns * y_column_stride, inside, low, ACCUMULATOR)
    part = part_of(x, y, tilt, TILTED, ACCUMULATOR)
    stride = tl.cast(n_rows, tl.int64) * BLOCKS
    offsets, there = rows * BLOCKS + program % BLOCKS, rows < n_rows
    store_part(part_ptr, offsets, stride, there, part, TILTED)
    if BLOCKS == 1:
        if KIND == "renyi" or KIND == "alpha":
            value = affinity_value(part, tilt, scale, KIND, TILTED, ACCUMULATOR)
        else:
            value, pooled = gap_sums(x, y, part, tilt, KIND, ACCUMULATOR)
            tl.store(part_ptr + 9 * stride + rows, pooled, mask=there)
            tl.store(part_ptr + 10 * stride + rows, value, mask=there)
        tl.store(value_ptr + rows, value, mask=there)


@jit
def _divergence_join_kernel(
    value_ptr,
    out_ptr,
    part_ptr,
    part_row_stride,
    part_column_stride,
    _n_slots_and_rows,
    n_parts,
    n_rows,
    tilt: tl.float64,
    scale: tl.float64,
    KIND: tl.constexpr,
    TILTED: tl.constexpr,
    GROUPS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    rows = program // GROUPS * ROWS + tl.arange(0, ROWS)[:, None]
    parts = program % GROUPS * BLOCK + tl.arange(0, BLOCK)[None, :]
    tilt = tl.full((1, 1), tilt, ACCUMULATOR)
    scale = tl.full((1, 1), scale, ACCUMULATOR)
    offsets, inside = (
        rows * part_row_stride + parts * part_column_stride,
        (rows < n_rows) & (parts < n_parts),
    )
    stride = tl.cast(n_rows, tl.int64) * part_row_stride
    found = load_part(part_ptr, offsets, stride, inside, TILTED, False)
    part = joined_part(
        found[0],
        found[1],
        found[2],
        found[3],
        found[4],
        found[5],
        found[6],
        found[7],
        found[8],
        found[9],
        found[10],
        found[11],
        tilt,
        False,
        TILTED,
        ACCUMULATOR,
    )
    stride = tl.cast(n_rows, tl.int64) * GROUPS
    offsets, there = rows * GROUPS + program % GROUPS, rows < n_rows
    store_part(out_ptr, offsets, stride, there, part, TILTED)
    if GROUPS == 1 and (KIND == "renyi" or KIND == "alpha"):
        value = affinity_value(part, tilt, scale, KIND, TILTED, ACCUMULATOR)
        tl.store(value_ptr + rows, value, mask=there)


@jit
def _kept(ptr, row, rows, n_rows, TILTED: tl.constexpr, ROWS: tl.constexpr):
    """The joined parts of a tile of rows."""
    if ROWS == 1:
        part = load_part(ptr, row, tl.cast(n_rows, tl.int64), True, TILTED, True)
    else:
        part = load_part(ptr, rows, tl.cast(n_rows, tl.int64), rows < n_rows, TILTED, False)
    return part


@jit
def _gap_kernel(
    value_ptr,
    pooled_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    y_ptr,
    y_row_stride,
    y_column_stride,
    n_rows,
    n_columns,
    part_ptr,
    KIND: tl.constexpr,
    BLOCKS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    rows = program // BLOCKS * ROWS + tl.arange(0, ROWS)[:, None]
    columns = program % BLOCKS * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside, there = (rows < n_rows) & (columns < n_columns), rows < n_rows
    low: tl.constexpr = -float("inf")
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, low, ACCUMULATOR)
    y = load_tile(y_ptr, rows * y_row_stride + columns * y_column_stride, inside, low, ACCUMULATOR)
    part = _kept(part_ptr, program // BLOCKS, rows, n_rows, False, ROWS)
    value, pooled = gap_sums(x, y, part, 0.0, KIND, ACCUMULATOR)
    tl.store(value_ptr + rows * BLOCKS + program % BLOCKS, value, mask=there)
    tl.store(pooled_ptr + rows * BLOCKS + program % BLOCKS, pooled, mask=there)


@jit
def _divergence_backward_kernel(
    x_gradient_ptr,
    y_gradient_ptr,
    x_ptr,
    x_row_stride,
    x_column_stride,
    y_ptr,
    y_row_stride,
    y_column_stride,
    n_rows,
    n_columns,
    cotangent_ptr,
    part_ptr,
    tilt: tl.float64,
    scale: tl.float64,
    loss: tl.float64,
    KIND: tl.constexpr,
    TILTED: tl.constexpr,
    NEEDS_X: tl.constexpr,
    NEEDS_Y: tl.constexpr,
    BLOCKS: tl.constexpr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
):
    program = tl.program_id(0).to(tl.int64)
    rows = program // BLOCKS * ROWS + tl.arange(0, ROWS)[:, None]
    columns = program % BLOCKS * BLOCK + tl.arange(0, BLOCK)[None, :]
    inside, there = (rows < n_rows) & (columns < n_columns), rows < n_rows
    tilt = tl.full((1, 1), tilt, ACCUMULATOR)
    scale = tl.full((1, 1), scale, ACCUMULATOR)
    loss = tl.full((1, 1), loss, ACCUMULATOR)
    low: tl.constexpr = -float("inf")
    x = load_tile(x_ptr, rows * x_row_stride + columns * x_column_stride, inside, low, ACCUMULATOR)
    y = load_tile(y_ptr, rows * y_row_stride + columns * y_column_stride, inside, low, ACCUMULATOR)
    stride = tl.cast(n_rows, tl.int64)
    part = _kept(part_ptr, program // BLOCKS, rows, n_rows, TILTED, ROWS)
    cotangent = tl.load(cotangent_ptr + rows, mask=there, other=0.0)
    if KIND == "renyi" or KIND == "alpha":
        to_x, to_y = affinity_slopes(x, y, part, tilt, scale, loss, KIND, TILTED, ACCUMULATOR)
    else:
        pooled = tl.load(part_ptr + 9 * stride + rows, mask=there, other=0.0)
        value = tl.load(part_ptr + 10 * stride + rows, mask=there, other=0.0)
        kl, _, _, lost_x, lost_y, law = summary_of(part, tilt, False, ACCUMULATOR)
        p, q, _, slope_x, slope_y = gaps(x, y, part, kl, lost_x, lost_y, KIND, ACCUMULATOR)
        # The means of both slopes add to the divergence, which for total variation is odd in them.
        pooled_y = value - pooled
        to_x = tl.where(p == 0.0, 0.0, p * (slope_x - pooled)) + law
        to_y = tl.where(q == 0.0, 0.0, q * (slope_y - pooled_y)) + law
    offsets = rows * n_columns + columns
    if NEEDS_X:
        to_x = share(to_x, cotangent).to(x_gradient_ptr.dtype.element_ty)
        tl.store(x_gradient_ptr + offsets, to_x, mask=inside)
    if NEEDS_Y:
        to_y = share(to_y, cotangent).to(y_gradient_ptr.dtype.element_ty)
        tl.store(y_gradient_ptr + offsets, to_y, mask=inside)


def _tiles(n_rows: int, n_columns: int, dtype: torch.dtype) -> Tiling:
    """Parts of at most 4096 classes (512 of float64), several short rows a program."""
    # Of float64 four elements a thread do not spill, of the others 16.
    longest, short = (512, 512) if dtype == torch.float64 else (_BLOCK, _SHORT)
    block = max(16, min(_launch.power_of_two(n_columns), longest))
    rows = min(_launch.power_of_two(n_rows), max(1, short // block))
    return Tiling(rows, block, -(-n_rows // rows), max(1, -(-n_columns // block)))


def forward(
    x: Tensor, y: Tensor, kind: str, tilt: float, scale: float, value: Tensor, kept: Tensor
) -> None:
    """Fill the values `[rows]` and what is kept `[slots, rows]` of two matrices of logits."""
    tiles = _tiles(len(x), x.shape[1], x.dtype)
    n_rows, blocks = len(x), tiles.blocks_per_row
    options: dict[str, Any] = {"KIND": kind, "TILTED": tilt != 0}
    parts = kept if blocks == 1 else kept.new_empty(9 + 3 * options["TILTED"], n_rows, blocks)
    programs = tiles.row_tiles * blocks
    _launch.launch(
        _divergence_kernel,
        tiles,
        programs,
        [value, parts],
        [x, y],
        tilt,
        scale,
        **options,
        BLOCKS=blocks,
    )
    if blocks == 1:
        return
    while parts.shape[-1] > 1:
        parts = _join(parts, tilt, scale, value, options)
    kept[: len(parts)].copy_(parts[..., 0])
    if kind in ("jensen_shannon", "total_variation"):
        sums = [kept.new_empty(n_rows, blocks) for _ in range(2)]
        _launch.launch(
            _gap_kernel,
            tiles,
            programs,
            sums,
            [x, y],
            kept,
            KIND=kind,
            BLOCKS=blocks,
        )
        total, pooled = (part.sum(-1) for part in sums)
        kept[9].copy_(pooled)
        kept[10].copy_(total)
        value.copy_(total)


def _join(
    parts: Tensor, tilt: float, scale: float, value: Tensor, options: dict[str, Any]
) -> Tensor:
    """Join groups of parts `[slots, rows, parts]`; the last group's values are final."""
    n_slots, n_rows, count = parts.shape
    block = min(_launch.power_of_two(count), _GROUP)
    groups = -(-count // block)
    rows = min(_launch.power_of_two(n_rows), max(1, 256 // block))
    tiles = Tiling(rows, block, -(-n_rows // rows), groups)
    joined = parts.new_empty(n_slots, n_rows, groups)
    _launch.launch(
        _divergence_join_kernel,
        tiles,
        tiles.row_tiles * groups,
        [value, joined],
        [parts.view(-1, count)],
        n_rows,
        tilt,
        scale,
        **options,
        GROUPS=groups,
    )
    return joined


def backward(
    cotangent: Tensor,
    x: Tensor,
    y: Tensor,
    kept: Tensor,
    kind: str,
    tilt: float,
    scale: float,
    loss: float,
    gradients: tuple[Tensor, Tensor],
) -> None:
    """Fill the gradients of two matrices of logits; an empty one is not wanted."""
    tiles = _tiles(len(x), x.shape[1], x.dtype)
    _launch.launch(
        _divergence_backward_kernel,
        tiles,
        tiles.row_tiles * tiles.blocks_per_row,
        gradients,
        [x, y],
        cotangent,
        kept,
        tilt,
        scale,
        loss,
        KIND=kind,
        TILTED=tilt != 0,
        NEEDS_X=gradients[0].numel() > 0,
        NEEDS_Y=gradients[1].numel() > 0,
        BLOCKS=tiles.blocks_per_row,
    )
