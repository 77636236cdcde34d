"""Compile every kernel for GPUs that need not be present, and read what the compiler made of it.

    python -m kernels_triton.compile_report
    python -m kernels_triton.compile_report --target sm_90 --dtype bfloat16 --op softmax

The arguments are not written down: each operation of `_operations` is called on small tensors and
the launch itself is recorded, so that what is compiled is what a GPU would be given. It needs
triton, but no GPU and no driver, and a process in which `TRITON_INTERPRET` was never set.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

import kernels_triton._launch as _launch
from kernels_triton._assembly import resources, widths
from kernels_triton._checks import FLOATING_DTYPES
from kernels_triton._launch import Launch, triton
from kernels_triton._operations.operation import Case, function_of, outputs_of
from kernels_triton._operations.table import OPERATIONS

_TARGETS = ("sm_80", "sm_90", "sm_100", "gfx942")

# Words of spill that are no fault. triton 3.9 has ptxas trade two registers of the softmax backward
# kernel, long float32 rows on sm_90, for more resident programs; 3.6 to 3.8 spill nothing.
_ALLOWED_SPILLS = 2


class Compiled(NamedTuple):
    """One kernel of one variant on one target.

    Registers, spilled 32-bit words, loads and stores are those of a thread. `16:4,2:1` says that
    four instructions move 16 bytes each and one moves 2.
    """

    operation: str
    variant: str
    kernel: str
    dtype: str
    target: str
    registers: int
    spills: int
    shared_bytes: int
    loads: str
    stores: str


def _launches(name: str, case: Case, dtype: torch.dtype) -> list[Launch]:
    """The launches of an operation and of its backward pass, in the order in which they come."""
    inputs = case.tensors(dtype)
    for wanted in OPERATIONS[name].differentiable(inputs):
        inputs[wanted].requires_grad_()
    launches: list[Launch] = []
    with _launch.recording(launches.append):
        outputs = outputs_of(function_of(name)(**inputs, **case.options))
        outputs = [output for output in outputs if output.requires_grad]
        if outputs:
            torch.autograd.backward(outputs, [torch.ones_like(output) for output in outputs])
    return launches


def _source(launch: Launch) -> tuple[Any, dict[str, Any]]:
    """Triton's description of the launch, specialized as its launcher does, and the options."""
    kernel, _, arguments, _, constants = launch
    values = dict(zip(kernel.arg_names, arguments, strict=False)) | constants
    options = {name: value for name, value in constants.items() if name not in kernel.arg_names}
    fixed, signature, divisible = {}, {}, {}
    for index, parameter in enumerate(kernel.params):
        name, value = parameter.name, values[parameter.name]
        if parameter.is_constexpr or value is None or (type(value) is int and value == 1):
            fixed[name] = value
            signature[name] = "constexpr"
        elif isinstance(value, torch.Tensor):
            signature[name] = "*" + _TRITON_NAMES[value.dtype]
            divisible[(index,)] = [["tt.divisibility", 16]]
        elif isinstance(value, int):
            signature[name] = "i32" if value < 2**31 else "i64"
            if value % 16 == 0:
                divisible[(index,)] = [["tt.divisibility", 16]]
        else:
            signature[name] = parameter.annotation_type or "fp32"
    source = triton.compiler.ASTSource(kernel, signature, constexprs=fixed, attrs=divisible)
    return source, options


_TRITON_NAMES = {
    torch.float16: "fp16",
    torch.bfloat16: "bf16",
    torch.float32: "fp32",
    torch.float64: "fp64",
    torch.bool: "i1",
    torch.uint8: "u8",
    torch.int8: "i8",
    torch.int16: "i16",
    torch.int32: "i32",
    torch.int64: "i64",
}


def _target(name: str) -> Any:
    target = triton.backends.compiler.GPUTarget
    if name.startswith("sm_"):
        return target("cuda", int(name.removeprefix("sm_")), 32)
    return target("hip", name, 64 if name.startswith("gfx9") else 32)


def _compiled(
    launch: Launch, targets: Sequence[str]
) -> Iterator[tuple[str, tuple[int, int, int, str, str]]]:
    source, options = _source(launch)
    for target in targets:
        compiled = triton.compile(source, target=_target(target), options=options)
        loads, stores = (widths(compiled.asm, action) for action in ("load", "store"))
        yield target, (*resources(compiled), compiled.metadata.shared, loads, stores)


def compile_report(
    targets: Sequence[str] = _TARGETS,
    dtypes: Sequence[torch.dtype] = FLOATING_DTYPES,
    operations: Sequence[str] = tuple(OPERATIONS),
) -> Iterator[Compiled]:
    """Compile every kernel for each target and dtype.

    Args:
      targets: names as `sm_90` (NVIDIA) or `gfx942` (AMD).
      dtypes: storage dtypes.
      operations: names of public operations.

    Yields:
      One row for each kernel of each variant, as soon as it is compiled; a kernel that an operation
      starts twice with the same constants comes once.

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
    for name in operations:
        for variant, case in OPERATIONS[name].compiled.items():
            for dtype in dtypes:
                seen = set()
                for launch in _launches(name, case, dtype):
                    label = str(dtype).removeprefix("torch.")
                    source, _ = _source(launch)
                    if (key := source.hash()) in seen:
                        continue
                    seen.add(key)
                    kernel = launch.kernel.__name__.strip("_")
                    for target, found in _compiled(launch, targets):
                        yield Compiled(name, variant, kernel, label, target, *found)


_HEADER = """# What the compiler makes of the kernels

triton {}; compiled only, not run on a GPU. Made by

    python -m kernels_triton.compile_report --write benchmarks/results/kernels_compiled.md

A cell is registers / spilled words / bytes of shared memory, then the global loads and stores of a
thread as `bytes of one instruction:number of instructions`."""


def _section(rows: Sequence[Compiled], targets: Sequence[str]) -> str:
    """One operation of the table: a line for each variant, kernel and dtype, a cell a target."""
    cells = {(*row[1:4], row.target): row for row in rows}
    lines = [f"{rows[0].operation}", "", f"| variant | kernel | dtype | {' | '.join(targets)} |"]
    lines.append("| --- " * (3 + len(targets)) + "|")
    for key in dict.fromkeys(row[1:4] for row in rows):
        found = [cells[*key, target] for target in targets]
        texts = (
            f"{row.registers} / {row.spills} / {row.shared_bytes}; {row.loads}; {row.stores}"
            for row in found
        )
        lines.append(f"| {' | '.join([*key, *texts])} |")
    return "\n".join(lines)


def _write(path: Path, rows: Sequence[Compiled], targets: Sequence[str]) -> None:
    """Replace the operations of `rows` in the table; those of another triton are dropped."""
    text = path.read_text() if path.exists() else ""
    header, *sections = text.rstrip("\n").split("\n\n## ")
    own_header = _HEADER.format(triton.__version__)
    if header != own_header:
        sections = []
    by_name = {section.partition("\n")[0]: section for section in sections}
    for name in dict.fromkeys(row.operation for row in rows):
        by_name[name] = _section([row for row in rows if row.operation == name], targets)
    ordered = [by_name[name] for name in OPERATIONS if name in by_name]
    path.write_text("\n\n## ".join([own_header, *ordered]) + "\n")


def _main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 when a kernel spills more than is allowed."""
    parser = argparse.ArgumentParser(prog="python -m kernels_triton.compile_report")
    parser.add_argument("--target", action="append", choices=_TARGETS)
    names = [str(dtype).removeprefix("torch.") for dtype in FLOATING_DTYPES]
    parser.add_argument("--dtype", action="append", choices=names)
    parser.add_argument("--op", action="append", choices=tuple(OPERATIONS))
    parser.add_argument(
        "--write", type=Path, help="a table in Markdown, in which these are replaced"
    )
    options = parser.parse_args(arguments)
    dtypes = [getattr(torch, name) for name in options.dtype or names]
    targets = options.target or _TARGETS
    print(f"triton {triton.__version__ if triton else 'absent'}; compiled only, not run on a GPU")
    layout = "{:22} {:18} {:40} {:9} {:7} {:>9} {:>6} {:>12} {:>14} {}"
    print(layout.format(*Compiled._fields))
    rows = []
    for row in compile_report(targets, dtypes, options.op or tuple(OPERATIONS)):
        print(layout.format(*row), flush=True)
        rows.append(row)
    if options.write:
        _write(options.write, rows, targets)
    return int(any(row.spills > _ALLOWED_SPILLS for row in rows))


if __name__ == "__main__":
    raise SystemExit(_main())
