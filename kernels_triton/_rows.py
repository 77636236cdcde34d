"""What the operations on rows of scores share: safe formulas, memory granules, covers of a matrix.

A kernel may go over a row more than once. A row of one block is held in registers, so that it is
read once: the compiler merges the loops. Rows that are longer are read block by block, and few long
rows are split among several programs: each *collects* its part's sums, and a second launch
*finishes*, in which every program joins the parts of its row in one fixed order.

Triton loads 16 bytes at once where it can prove that their address is a multiple of 16 and that the
mask is one value in them; of a number it knows only whether 16 divides it. The kernels are told
what else does (8, of 1000 columns). Rows that nothing divides (50257 columns) are read in granules
of 16 elements by *places*, counted from the last granule before the row: whole granules in blocks,
and the up to 30 elements at its two *edges* as one small tile.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._launch import Tiling, jit, tl

GRANULE = 16  # Triton's own unit of divisibility; written as a literal in the kernels
_RESIDENT = 32768  # elements that 16 warps hold in registers unspilled, 64 a thread; 16 of float64
_STREAMED = 8192  # elements of one block of a row read block by block; of float64 a quarter
_SHORT = 2048  # elements of one program that holds several rows
_PROCESSORS = 132  # of an H200
_NO_EDGES = 2048  # columns up to which the loads of the edges cost as much as they save


@jit
def centered(x, peak, inverse_temperature):
    """`(x - peak) / t`, where equal infinities differ by 0 and a peak of -inf counts as 0."""
    # An empty row (peak -inf) is centered at 0, so that its weights are 0. Taking x = peak apart
    # gives weight 1 to the +inf entries, where inf - inf would be nan.
    center = tl.where(peak == -float("inf"), 0.0, peak)
    return tl.where(x == center, 0.0, (x - center) * inverse_temperature)


@jit
def share(p, cotangent):
    """`p * cotangent`, and 0 where p = 0: there the cotangent may be infinite."""
    return tl.where(p == 0.0, 0.0, p * cotangent)


@jit
def absorb(peak, total, x, inverse_temperature):
    """The maximum and the sum of weights of a row so far, with a tile `x` of it added."""
    new_peak = tl.maximum(peak, tl.max(x, axis=1, keep_dims=True))
    total *= tl.exp(centered(peak, new_peak, inverse_temperature))
    total += tl.sum(tl.exp(centered(x, new_peak, inverse_temperature)), axis=1, keep_dims=True)
    return new_peak, total


@jit
def load_of_rows(ptr, stride, first_row, n_rows, fill, ROWS: tl.constexpr):
    """One number a row, as a column; loaded on one axis, for on two each lane would load it."""
    rows = first_row + tl.arange(0, ROWS)
    return tl.load(ptr + rows * stride, mask=rows < n_rows, other=fill)[:, None]


@jit
def load_parts(ptr, row, fill, SPLITS: tl.constexpr, PARTS: tl.constexpr):
    """One number for each part of a row, of a matrix `[rows, SPLITS]`; `PARTS` a power of two."""
    parts = tl.arange(0, PARTS)
    return tl.load(ptr + row * SPLITS + parts, mask=parts < SPLITS, other=fill)


@jit
def joined(peaks, totals, inverse_temperature):
    """The maximum and the sum of weights of a row from those of its parts, in one fixed order."""
    peak = tl.max(peaks, axis=0)
    inverse_temperature = tl.max(inverse_temperature)  # of shape (1, 1), as a scalar
    weights = tl.exp(centered(peaks, peak, inverse_temperature))
    return peak, tl.sum(share(totals, weights), axis=0)


@jit
def multiple_of(number, DIVISOR: tl.constexpr):
    """The number, of which the compiler sees that `DIVISOR` divides it."""
    # Not tl.multiple_of, which says nothing of a kernel's own argument.
    return number // DIVISOR * DIVISOR


@jit
def row_start(rows, row_stride, shift, ALIGNED: tl.constexpr):
    """The offset of place 0 of a row; a multiple of a granule for all to see where `ALIGNED`."""
    if ALIGNED:
        return rows * row_stride // 16 * 16
    return rows * row_stride - shift


@jit
def whole_granules(places, rows, n_rows, shift, n_columns, EDGES: tl.constexpr):
    """The mask of a block: places inside the row, without its edges."""
    inside = rows < n_rows
    if EDGES:
        first = (shift + 15) // 16 * 16
        end = (shift + n_columns) // 16 * 16
        return inside & (places >= first) & (places < end)
    return inside & (places < n_columns)


@jit
def edge_places(rows, n_rows, shift, n_columns):
    """A tile of 32 lanes with what `whole_granules` leaves: places and mask."""
    lanes = tl.arange(0, 32)[None, :].to(tl.int64)
    first = (shift + 15) // 16 * 16
    end = (shift + n_columns) // 16 * 16
    places = tl.where(lanes < 16, lanes, end + lanes - 16)
    inside = tl.where(lanes < 16, (places >= shift) & (places < first), places >= first)
    return places, inside & (places < shift + n_columns) & (rows < n_rows)


def row_axes(tensor: Tensor) -> Tensor:
    """The rows of a broadcast tensor on three axes and its columns on the last, as `[a, b, c, d]`.

    It is copied only where its leading axes lie on more than three strides.
    """
    axes: list[tuple[int, int]] = []
    for size, stride in zip(tensor.shape[:-1], tensor.stride()[:-1], strict=True):
        if axes and axes[-1][1] == size * stride:
            axes[-1] = (axes[-1][0] * size, stride)
        elif size != 1:
            axes.append((size, stride))
    if len(axes) > 3:
        return row_axes(tensor.contiguous())
    axes = [(1, 0)] * (3 - len(axes)) + axes + [(tensor.shape[-1], tensor.stride(-1))]
    return tensor.as_strided([size for size, _ in axes], [stride for _, stride in axes])


def inverse_temperature(temperature: float, dtype: torch.dtype) -> float:
    """`1 / temperature`, kept where it and its inverse are normal numbers of the accumulator."""
    tiny = torch.finfo(_launch.accumulator(dtype)).tiny
    return 1.0 / min(max(temperature, tiny), 1.0 / tiny)


def centered_torch(x: Tensor, peak: Tensor, inverse: float) -> Tensor:
    """`centered` in torch."""
    center = torch.where(peak == -torch.inf, 0.0, peak)
    return torch.where(x == center, 0.0, (x - center) * inverse)


def share_torch(p: Tensor, cotangent: Tensor) -> Tensor:
    """`share` in torch."""
    return torch.where(p == 0, 0.0, p * cotangent)


def peak_torch(x: Tensor) -> Tensor:
    """The maximum of each row, kept as an axis of length one; `-inf` of a row without columns."""
    if x.shape[-1]:
        return x.amax(-1, keepdim=True)
    return x.new_full((*x.shape[:-1], 1), -torch.inf)


def row_tiling(n_rows: int, n_columns: int, dtype: torch.dtype, *, held: int) -> Tiling:
    """How rows are cut into tiles.

    Args:
      n_rows: rows of the matrix.
      n_columns: its columns.
      dtype: storage dtype.
      held: values of a column that are used twice: a row is one block while that many fit in
        registers. With 0 each is used once, and a row is read in blocks.

    Returns:
      The tiles; `blocks_per_row` are those of one of the `splits` of a row. Longer rows are split
      while that gives every processor a program, or four where splitting costs no second read.
    """
    wide = dtype == torch.float64
    streamed = _STREAMED // (4 if wide else 1)
    resident = _RESIDENT // (4 if wide else 1) // held if held else streamed
    whole = _launch.power_of_two(n_columns)
    if whole > resident:
        blocks = -(-n_columns // streamed)
        programs = _PROCESSORS if held else 4 * _PROCESSORS
        wanted = min(blocks, max(1, programs // max(n_rows, 1)))
        blocks_per_split = -(-blocks // wanted)
        splits = -(-blocks // blocks_per_split)
        return Tiling(1, streamed, n_rows, blocks_per_split, splits)
    block = max(whole, GRANULE)
    rows = min(_launch.power_of_two(n_rows), max(1, _SHORT // block))
    return Tiling(rows, block, -(-n_rows // rows), 1)


def stages(tiles: Tiling) -> tuple[str, ...]:
    """The launches of an operation that needs whole rows."""
    return ("collect", "finish") if tiles.splits > 1 else ("whole",)


class Alignment(NamedTuple):
    """What is known of where rows begin.

    Attributes:
      divisor: a power of two that divides the number of columns and all strides of rows.
      edges: 0 where rows have none; 1 where the first matrix has; 2 where all have them alike, and
        so all are read in whole granules.
    """

    divisor: int
    edges: int


def alignment(*matrices: Tensor) -> Alignment:
    """How matrices of one shape can be loaded 16 bytes at once; outputs are counted in."""
    n_columns = matrices[0].shape[1]
    strides = [matrix.stride(0) for matrix in matrices]
    divisor = math.gcd(GRANULE, n_columns, *strides)
    wide = divisor * matrices[0].element_size() >= 16
    if wide or n_columns <= _NO_EDGES or any(matrix.stride(1) != 1 for matrix in matrices):
        return Alignment(divisor, 0)
    alike = len({stride % GRANULE for stride in strides}) == 1
    return Alignment(divisor, 2 if alike else 1)
