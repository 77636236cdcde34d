"""Where an operation runs and how its kernel is launched.

A tensor on a CUDA or ROCm device goes to the compiled kernel. Where triton was imported under
`TRITON_INTERPRET=1` every tensor goes to the interpreted kernel. All else, and every platform
without a triton wheel, goes to the same formula in torch.

Kernels see matrices: `launch` passes each input as a pointer, a row stride and a column stride, so
that no layout is copied that can be viewed as a matrix. Outputs are new contiguous tensors.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import Any, NamedTuple

import torch

try:
    triton: Any = import_module("triton")
    tl: Any = import_module("triton.language")
except ImportError:  # macOS, Windows and musl have no wheel
    triton = tl = None

# Triton's own library functions show how triton was imported: the variable may have changed since.
INTERPRETED = triton is not None and not isinstance(tl.max, triton.JITFunction)

_TILE = 2048  # elements of one program's tile, unless a single row block is longer
_LONGEST_BLOCK = 4096  # columns held in registers at once


def jit(kernel: Callable) -> Any:
    """`triton.jit`; without triton the function itself, which is then never called.

    Raises:
      RuntimeError: `TRITON_INTERPRET` was changed after triton was imported.
    """
    if triton is None:
        return kernel
    decorated = triton.jit(kernel)
    if isinstance(decorated, triton.JITFunction) == INTERPRETED:
        raise RuntimeError(
            "TRITON_INTERPRET must be set before triton is first imported (torch.compile imports "
            "it too); it was changed in between. Set it in the environment and start again."
        )
    return decorated


@jit
def load_tile(ptr, offsets, inside, fill, ACCUMULATOR: tl.constexpr):
    """A tile in the accumulator's dtype; `fill` outside."""
    return tl.load(ptr + offsets, mask=inside, other=fill).to(ACCUMULATOR)


def uses_triton(tensor: torch.Tensor) -> bool:
    """Whether this tensor is computed by a Triton kernel rather than by torch."""
    here = INTERPRETED or tensor.device.type == "cuda"
    return triton is not None and (here or _listener.get() is not None)


def accumulator(dtype: torch.dtype) -> torch.dtype:
    """The dtype of all arithmetic on storage of `dtype`."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def as_matrices(*tensors: torch.Tensor) -> list[torch.Tensor]:
    """Matrices of tensors of one shape, along the last axis; one row if all are contiguous.

    A tensor is copied only where its leading axes cannot be viewed as one.
    """
    if all(tensor.is_contiguous() for tensor in tensors):
        return [tensor.view(1, -1) for tensor in tensors]
    return [as_rows(tensor) for tensor in tensors]


def as_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The matrix of all rows along the last axis; copied only where no view is one."""
    return tensor[None].flatten(0, -2)


class Tiling(NamedTuple):
    """A cover of a matrix by tiles of `rows x block` elements (powers of two).

    Where a row is split among programs, `blocks_per_row` counts the blocks of one of its `splits`.
    """

    rows: int
    block: int
    row_tiles: int
    blocks_per_row: int
    splits: int = 1


def tiling(n_rows: int, n_columns: int) -> Tiling:
    """One block a row while it fits in registers, several short rows a program."""
    block = min(power_of_two(n_columns), _LONGEST_BLOCK)
    rows = min(power_of_two(n_rows), max(1, _TILE // block))
    return Tiling(rows, block, -(-n_rows // rows), max(1, -(-n_columns // block)))


def row_split(n_tiles: int, most_programs: int) -> tuple[int, int]:
    """Programs, and the tiles that each takes: a power of two, as each number is compiled."""
    steps = power_of_two(-(-n_tiles // most_programs))
    return -(-n_tiles // steps), steps


def power_of_two(size: int) -> int:
    """The least power of two that is no less than `size`."""
    return 1 << max(0, size - 1).bit_length()


def launch(
    kernel: Any,
    tiles: Tiling,
    programs: int,
    outputs: Sequence[torch.Tensor | None],
    matrices: Sequence[torch.Tensor],
    *arguments: Any,
    written: int | None = None,
    warps: int | None = None,
    **constants: Any,
) -> None:
    """Run `kernel(*outputs, *(matrix, row stride, column stride), rows, columns, *arguments)`.

    The constants ROWS, BLOCK and ACCUMULATOR are added to `constants`. An output that this launch
    does not write may be None; one with strides is the matrix of index `written`.
    """
    if programs == 0:
        return
    n_rows, n_columns = matrices[0].shape
    accumulates = accumulator(matrices[0].dtype)
    # The interpreter truncates bfloat16 instead of rounding: it computes on float32 copies.
    buffers = [output if output is None else _widened(output) for output in outputs]
    target = None if written is None else matrices[written]
    matrices = [_widened(matrix) for matrix in matrices]
    with _guard(matrices[0]):
        run(
            kernel,
            programs,
            *buffers,
            *(item for matrix in matrices for item in (matrix, *matrix.stride())),
            n_rows,
            n_columns,
            *arguments,
            n_outputs=len(buffers),
            **constants,
            ACCUMULATOR=tl.float64 if accumulates == torch.float64 else tl.float32,
            ROWS=tiles.rows,
            BLOCK=tiles.block,
            num_warps=warps or _warps(tiles.rows * tiles.block, accumulates),
            enable_fp_fusion=True,
        )
    for output, buffer in zip(outputs, buffers, strict=True):
        if output is not None and buffer is not None and buffer is not output:
            output.copy_(buffer)
    if target is not None and written is not None and matrices[written] is not target:
        target.copy_(matrices[written])


def _warps(elements: int, accumulates: torch.dtype) -> int:
    """As many as hold the tile in registers: up to 64 elements a thread, of float64 16."""
    if elements <= _TILE:
        return 4
    return 8 if elements <= (4096 if accumulates == torch.float64 else 8192) else 16


def run(kernel: Any, programs: int, *arguments: Any, n_outputs: int = 0, **constants: Any) -> None:
    """Start the kernel, or hand it to the listener of `recording`.

    The first `n_outputs` arguments are what it writes; what a listener never saw is written too.
    """
    listener = _listener.get()
    if listener is None:
        kernel[(programs,)](*arguments, **constants)
    else:
        listener(Launch(kernel, programs, arguments, n_outputs, constants))


class Launch(NamedTuple):
    """A launch that was not made: what a GPU would have been given."""

    kernel: Any
    programs: int
    arguments: tuple[Any, ...]
    n_outputs: int
    constants: dict[str, Any]


_listener: ContextVar[Callable[[Launch], None] | None] = ContextVar("listener", default=None)


@contextlib.contextmanager
def recording(listener: Callable[[Launch], None]) -> Iterator[None]:
    """Send every tensor to the kernels, and their launches to the listener instead of a GPU."""
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


def empty_gradients(
    needs: Sequence[bool], *inputs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Contiguous gradients of three inputs to fill in, empty where none is wanted."""
    pairs = zip(inputs, needs, strict=True)
    first, second, third = (like.new_empty(like.shape if needed else 0) for like, needed in pairs)
    return first, second, third


def _widened(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.float() if INTERPRETED and tensor.dtype == torch.bfloat16 else tensor


def _guard(tensor: torch.Tensor) -> contextlib.AbstractContextManager[Any]:
    """Make the tensor's device current; keep numpy quiet about `log 0` when interpreting."""
    if INTERPRETED:
        return import_module("numpy").errstate(all="ignore")
    return torch.cuda.device_of(tensor)
