"""Every kernel compiles for GPUs that are not here, without spilling registers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

from kernels_triton import _launch, compile_report
from kernels_triton._assembly import widths
from kernels_triton._operations.table import OPERATIONS

ROOT = Path(__file__).parents[2]


def report(tmp_path, *arguments):
    """The rows of the table as they are committed; a child process, for here triton interprets."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    file = tmp_path / "table.md"
    done = subprocess.run(
        [sys.executable, "-m", "kernels_triton.compile_report", "--write", str(file), *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)  # the table, shown by `pytest -rP`
    assert done.returncode == 0, done.stderr[-3000:]
    assert "not run on a GPU" in done.stdout.splitlines()[0]
    return rows_of(file.read_text())


def rows_of(text):
    """The five cells of numbers by operation, variant, kernel, dtype and target."""
    assert "compiled only, not run on a GPU" in text
    rows = {}
    for line in text.splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if line.startswith("## "):
            operation = line.removeprefix("## ")
        elif line.startswith("| variant"):
            targets = cells[3:]
        elif line.startswith("|") and not line.startswith("| ---"):
            for target, cell in zip(targets, cells[3:], strict=True):
                numbers, loads, stores = cell.split("; ")
                counts = (int(number) for number in numbers.split(" / "))
                rows[operation, *cells[:3], target] = (*counts, loads, stores)
    return rows


def assert_good(rows, targets, dtypes):
    assert {key[0] for key in rows} == set(OPERATIONS)
    for name, operation in OPERATIONS.items():
        assert {key[1] for key in rows if key[0] == name} == set(operation.compiled)
    assert {key[3:] for key in rows} == {(dtype, target) for dtype in dtypes for target in targets}
    assert all(spills <= 2 for _, spills, *_ in rows.values())
    # 512 on the AMD targets, whose vectors have as many
    assert all(0 < registers <= 512 for registers, *_ in rows.values())
    # A row of one block is read once: softmax loads no more than logsumexp, which has one pass (of
    # float64 in two blocks).
    for key, row in rows.items():
        if key[:3] == ("softmax", "4096 columns", "softmax_kernel") and key[3] != "float64":
            assert row[3] == rows["logsumexp", *key[1:]][3]


def test_kernels_compile(tmp_path):
    rows = report(tmp_path, "--target", "sm_90", "--dtype", "bfloat16")
    assert_good(rows, ["sm_90"], ["bfloat16"])


@pytest.mark.slow
def test_kernels_compile_for_every_target_and_dtype(tmp_path):
    targets = ["sm_80", "sm_90", "sm_100", "gfx942"]
    assert_good(report(tmp_path), targets, ["float16", "bfloat16", "float32", "float64"])


def test_the_committed_table_has_every_variant_and_no_spills():
    rows = rows_of((ROOT / "benchmarks/results/kernels_compiled.md").read_text())
    targets = ["sm_80", "sm_90", "sm_100", "gfx942"]
    assert_good(rows, targets, ["float16", "bfloat16", "float32", "float64"])


def test_widths_of_loads_and_stores():
    ptx = """
        ld.global.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];
        ld.global.L1::evict_last.v4.b32 { %r1, %r2, %r3, %r4 }, [ %rd1 + 0 ];
        ld.global.b16 { %rs1 }, [ %rd1 + 0 ];
        cp.async.cg.shared.global [ %r1 + 0 ], [ %rd1 + 0 ], 0x10, %r5;
        ld.shared.v4.b32 { %r1, %r2, %r3, %r4 }, [ %r5 ];
        st.global.v2.b64 [ %rd1 + 0 ], { %rd2, %rd3 };
    """
    assert widths({"ptx": ptx}, "load") == "16:3,2:1"
    assert widths({"ptx": ptx}, "store") == "16:1"
    amd = """
        global_load_dwordx4 v[0:3], v[4:5], off
        buffer_load_dwordx2 v[0:1], v4, s[0:3], 0 offen
        global_load_ushort v0, v1, s[0:1]
        global_load_short_d16_hi v0, v1, s[0:1]
        global_load_ubyte_d16 v0, v1, s[0:1]
        global_store_byte v0, v1, s[0:1]
    """
    assert widths({"amdgcn": amd}, "load") == "16:1,8:1,2:2,1:1"
    assert widths({"amdgcn": amd}, "store") == "1:1"
    assert widths({"ptx": ""}, "load") == "-"


@pytest.mark.skipif(_launch.triton is None, reason="needs triton's version")
def test_writing_replaces_the_operations_that_were_compiled(tmp_path, monkeypatch):
    file = tmp_path / "table.md"

    def row(operation, registers):
        names = [operation, "16 columns", "kernel", "float32", "sm_90"]
        return compile_report.Compiled._make([*names, registers, 0, 32, "16:2", "-"])

    for name, registers in [("logsumexp", 30), ("softmax", 20), ("softmax", 40)]:
        compile_report._write(file, [row(name, registers)], ["sm_90"])
    assert [(key[0], cells) for key, cells in rows_of(file.read_text()).items()] == [
        ("softmax", (40, 0, 32, "16:2", "-")),  # in the order of the operations
        ("logsumexp", (30, 0, 32, "16:2", "-")),
    ]
    monkeypatch.setattr(_launch.triton, "__version__", "0.0.0")
    compile_report._write(file, [row("softmax", 50)], ["sm_90"])
    assert {key[0] for key in rows_of(file.read_text())} == {"softmax"}


def test_the_interpreter_cannot_compile():
    if _launch.INTERPRETED:
        with pytest.raises(RuntimeError, match="got its interpreter"):
            next(compile_report.compile_report())
