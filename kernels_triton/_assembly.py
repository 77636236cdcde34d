"""What a compiled kernel uses and how wide its loads are, read from its assembly."""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from kernels_triton._launch import triton

# What one lane moves in an AMD instruction, by the end of its name.
_AMD_BYTES = {
    "b128": 16,
    "b96": 12,
    "b64": 8,
    "b32": 4,
    "dwordx4": 16,
    "dwordx3": 12,
    "dwordx2": 8,
    "dword": 4,
    "short": 2,
    "ushort": 2,
    "sshort": 2,
    "byte": 1,
    "ubyte": 1,
    "sbyte": 1,
}


def _amd_width(name: str) -> int:
    # short_d16, ushort_d16_hi and b16, u16, i8 beside the names above
    stem = name.partition("_d16")[0]
    if stem in _AMD_BYTES:
        return _AMD_BYTES[stem]
    return 2 if stem.endswith("16") else 1


def widths(assembly: dict[str, Any], action: str) -> str:
    """How many global loads or stores one thread has, by the bytes that each of them moves."""
    if "amdgcn" in assembly:
        names = re.findall(rf"\b(?:global|buffer|flat)_{action}_(\w+)", assembly["amdgcn"])
        widths = [_amd_width(name) for name in names]
    else:
        short = {"load": "ld", "store": "st"}[action]
        found = re.findall(
            rf"\b{short}\.global(?:\.[a-zA-Z_0-9:]+?)*?(?:\.v(\d))?\.[a-z](\d+)\b", assembly["ptx"]
        )
        widths = [int(vector or 1) * int(bits) // 8 for vector, bits in found]
        if action == "load":  # those that go to shared memory by themselves
            copied = r"cp\.async\.c[ag]\.shared\.global[^,]*,[^,]*, (0x[0-9a-f]+|\d+)"
            widths += [int(size, 0) for size in re.findall(copied, assembly["ptx"])]
    counts = sorted(Counter(widths).items(), reverse=True)
    return ",".join(f"{width}:{count}" for width, count in counts) or "-"


def resources(compiled: Any) -> tuple[int, int]:
    """Registers and spilled words of one thread."""
    if "amdgcn" in compiled.asm:
        text = compiled.asm["amdgcn"]
        registers, spills = (
            int(re.findall(rf"\.{name}:\s*(\d+)", text)[0])
            for name in ("vgpr_count", "vgpr_spill_count")
        )
        return registers, spills
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
    return registers, stack // 4
