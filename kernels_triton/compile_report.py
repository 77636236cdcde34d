"""Compile every kernel for GPUs that need not be present, and read what the compiler made of it.

    python -m kernels_triton.compile_report
    python -m kernels_triton.compile_report --target sm_90 --dtype bfloat16

The arguments are not written down here: each operation is called on small tensors and the launch
itself is recorded, so that what is compiled is what a GPU would be given. It needs triton, but no
GPU and no driver, and a process in which `TRITON_INTERPRET` was never set.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple
from unittest import mock

import torch

import kernels_triton._launch as _launch
from kernels_triton._checks import FLOATING_DTYPES
from kernels_triton._launch import triton
from kernels_triton._normal_log_density import normal_log_density, normal_log_likelihood
from kernels_triton._softmax import log_softmax, logsumexp, softmax

_TARGETS = ("sm_80", "sm_90", "gfx942")


# Words of spill that are no fault. triton 3.9 has ptxas trade two registers of the softmax backward
# kernel, long float32 rows on sm_90, for more resident programs; 3.6 to 3.8 spill nothing.
_ALLOWED_SPILLS = 2


class Compiled(NamedTuple):
    """One kernel variant on one target: spilled 32-bit words, load instructions of a thread."""

    operation: str
    direction: str
    columns: int
    dtype: str
    target: str
    registers: int
    spills: int
    shared_bytes: int
    loads: int


def _rows(operation: Callable, n_columns: int) -> Callable:
    return lambda dtype: operation(torch.zeros(64, n_columns, dtype=dtype, requires_grad=True))


def _normal(operation: Callable) -> Callable:
    def call(dtype: torch.dtype) -> torch.Tensor:
        x, loc, scale = (torch.ones(64, 4096, dtype=dtype, requires_grad=True) for _ in range(3))
        return operation(x, loc, scale)

    return call


# Short rows share a program, 4096 columns are one block, longer rows are read block by block.
_CASES: dict[tuple[str, int], Callable[[torch.dtype], torch.Tensor]] = {
    (operation.__name__, n_columns): _rows(operation, n_columns)
    for operation in (softmax, log_softmax, logsumexp)
    for n_columns in (16, 4096, 16384)
} | {
    (operation.__name__, 4096): _normal(operation)
    for operation in (normal_log_density, normal_log_likelihood)
}


def _launches(call: Callable[[], torch.Tensor]) -> list[tuple[Any, tuple, dict[str, Any]]]:
    """The launches of an operation and of its backward pass: kernel, arguments, constants."""
    seen: list[tuple[Any, tuple, dict[str, Any]]] = []

    def record(kernel: Any, _programs: int, *arguments: Any, **constants: Any) -> None:
        seen.append((kernel, arguments, constants))

    with mock.patch.multiple(_launch, uses_triton=lambda _: True, run=record):
        result = call()
        result.backward(torch.ones_like(result))
    return seen


def _source(kernel: Any, arguments: tuple, constants: dict[str, Any]) -> tuple[Any, dict[str, Any]]:
    """Triton's description of the launch, specialized as its launcher does, and the options."""
    values = dict(zip(kernel.arg_names, arguments, strict=False))
    fixed = {name: constants[name] for name in kernel.arg_names if name in constants}
    options = {name: value for name, value in constants.items() if name not in fixed}
    fixed |= {name: 1 for name, value in values.items() if type(value) is int and value == 1}
    signature, divisible = {}, {}
    for index, parameter in enumerate(kernel.params):
        name = parameter.name
        value = values.get(name)
        if name in fixed:
            signature[name] = "constexpr"
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + _TRITON_NAMES[value.dtype]
            divisible[(index,)] = [["tt.divisibility", 16]]
        elif isinstance(value, int):
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                divisible[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = parameter.annotation_type
    source = triton.compiler.ASTSource(kernel, signature, constexprs=fixed, attrs=divisible)
    return source, options


_TRITON_NAMES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
}


def _target(name: str) -> Any:
    target = triton.backends.compiler.GPUTarget
    if name.startswith("sm_"):
        return target("cuda", int(name.removeprefix("sm_")), 32)
    return target("hip", name, 64 if name.startswith("gfx9") else 32)


def _resources(compiled: Any) -> tuple[int, int, int]:
    """Registers, spilled words and global loads of one thread."""
    if "amdgcn" in compiled.asm:
        text = compiled.asm["amdgcn"]
        registers, spills = (
            int(re.findall(rf"\.{name}:\s*(\d+)", text)[0])
            for name in ("vgpr_count", "vgpr_spill_count")
        )
        return registers, spills, len(re.findall(r"\b(?:global|buffer|flat)_load_", text))
    with tempfile.TemporaryDirectory() as folder:
        binary = Path(folder, "kernel.cubin")
        binary.write_bytes(compiled.asm["cubin"])
        usage = subprocess.run(
            [triton.knobs.nvidia.cuobjdump.path, "-res-usage", str(binary)],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    registers, stack = (int(re.findall(rf"{name}:(\d+)", usage)[0]) for name in ("REG", "STACK"))
    return registers, stack // 4, len(re.findall(r"\bld\.global", compiled.asm["ptx"]))


def compile_report(
    targets: Sequence[str] = _TARGETS, dtypes: Sequence[torch.dtype] = FLOATING_DTYPES
) -> Iterator[Compiled]:
    """Compile every kernel for each target and dtype.

    Args:
      targets: names as `sm_90` (NVIDIA) or `gfx942` (AMD).
      dtypes: storage dtypes.

    Yields:
      One row for each kernel variant, as soon as it is compiled.

    Raises:
      RuntimeError: triton is missing, or was imported to interpret.

    Examples:
      >>> all(row.spills == 0 for row in compile_report(["sm_80"]))  # doctest: +SKIP
      True
    """
    if triton is None or _launch.INTERPRETED:
        raise RuntimeError(
            "compile_report needs triton's compiler; "
            f"got {'its interpreter' if triton else 'no triton'}. "
            "Install triton (Linux) and start a process without TRITON_INTERPRET."
        )
    for (operation, n_columns), call in _CASES.items():
        for dtype in dtypes:
            launches = _launches(lambda call=call, dtype=dtype: call(dtype))
            for direction, launch in zip(("forward", "backward"), launches, strict=True):
                source, options = _source(*launch)
                for target in targets:
                    compiled = triton.compile(source, target=_target(target), options=options)
                    registers, spills, loads = _resources(compiled)
                    yield Compiled(
                        operation,
                        direction,
                        n_columns,
                        str(dtype).removeprefix("torch."),
                        target,
                        registers,
                        spills,
                        compiled.metadata.shared,
                        loads,
                    )


def _main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 when a kernel spills more than is allowed."""
    parser = argparse.ArgumentParser(prog="python -m kernels_triton.compile_report")
    parser.add_argument("--target", action="append", choices=_TARGETS)
    names = [str(dtype).removeprefix("torch.") for dtype in FLOATING_DTYPES]
    parser.add_argument("--dtype", action="append", choices=names)
    options = parser.parse_args(arguments)
    dtypes = [getattr(torch, name) for name in options.dtype or names]
    print(f"triton {triton.__version__ if triton else 'absent'}; compiled only, not run on a GPU")
    layout = "{:22} {:9} {:>7} {:9} {:7} {:>9} {:>6} {:>12} {:>5}"
    print(layout.format(*Compiled._fields))
    spilled = False
    for row in compile_report(options.target or _TARGETS, dtypes):
        print(layout.format(*row), flush=True)
        spilled |= row.spills > _ALLOWED_SPILLS
    return int(spilled)


if __name__ == "__main__":
    raise SystemExit(_main())
