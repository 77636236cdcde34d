"""What the operations on rows of scores share: safe formulas, memory granules, covers of a matrix.

A kernel may go over a row more than once. A row of one block is held in registers, so that it is
read once: the compiler merges the loops. Rows that are longer are read block by block, and few long
rows are split among several programs: each *collects* its part's sums, and a second launch
*finishes*, in which every program joins the parts of its row in one fixed order.

Sixteen elements are a granule. Triton loads 16 bytes at once where it can prove that the address is
a multiple of a granule and that the mask is one value in it. A row that begins or ends inside a
granule (50257 columns) is therefore read by *places*, counted from the last granule before the row:
whole granules in blocks, and the up to 30 elements at its two *edges* as one small tile.
"""

from __future__ import annotations

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._launch import Tiling, jit, tl

GRANULE = 16  # Triton's own unit of divisibility; written as a literal in the kernels
_RESIDENT = 32768  # float32 elements that 16 warps hold in registers, 64 a thread, unspilled
_STREAMED = 8192  # elements of one block of a row that is read block by block
_SHORT = 2048  # elements of one program that holds several rows
_NO_EDGES = 128  # columns below which edges would be most of a row


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
def joined(peaks, totals, inverse_temperature):
    """The maximum and the sum of weights of a row from those of its parts, along the last axis."""
    peak = tl.max(peaks, axis=1, keep_dims=True)
    weights = tl.exp(centered(peaks, peak, inverse_temperature))
    return peak, tl.sum(share(totals, weights), axis=1, keep_dims=True)


@jit
def load_parts(ptr, rows, n_rows, fill, SPLITS: tl.constexpr, PARTS: tl.constexpr):
    """One number a part, of a matrix `[rows, SPLITS]`; `PARTS` is a power of two, or 1."""
    parts = tl.arange(0, PARTS)[None, :]
    return tl.load(ptr + rows * SPLITS + parts, mask=(rows < n_rows) & (parts < SPLITS), other=fill)


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


def row_tiling(
    n_rows: int, n_columns: int, dtype: torch.dtype, *, held: int = 0, programs: int = 132
) -> Tiling:
    """How rows are cut into tiles.

    Args:
      n_rows: rows of the matrix.
      n_columns: its columns.
      dtype: storage dtype.
      held: values of a column that are used twice: a row is one block while that many fit in
        registers. With 0 a row is read once anyhow, in blocks.
      programs: rows that are longer are split until there are about so many programs (an H200 has
        132 processors).

    Returns:
      The tiles; `blocks_per_row` are those of one of the `splits` of a row.
    """
    resident = _RESIDENT // (2 if dtype == torch.float64 else 1) // held if held else _STREAMED
    whole = _launch.power_of_two(n_columns)
    if whole > resident:
        blocks = -(-n_columns // _STREAMED)
        wanted = min(blocks, max(1, programs // max(n_rows, 1)))
        blocks_per_split = -(-blocks // wanted)
        splits = -(-blocks // blocks_per_split)
        return Tiling(1, _STREAMED, n_rows, blocks_per_split, splits)
    block = max(whole, GRANULE)
    rows = min(_launch.power_of_two(n_rows), max(1, _SHORT // block))
    return Tiling(rows, block, -(-n_rows // rows), 1)


def row_edges(n_columns: int, *matrices: Tensor) -> int:
    """Whether rows have edges: 0 none, 1 those of the first matrix, 2 of all matrices alike.

    The first matrix then is read in whole granules, and with 2 the others are too.
    """
    first, *others = (matrix.stride(0) % GRANULE for matrix in matrices)
    if n_columns < _NO_EDGES or any(matrix.stride(1) != 1 for matrix in matrices):
        return 0
    if first == n_columns % GRANULE == 0:
        return 0
    return 2 if all(other == first for other in others) else 1
