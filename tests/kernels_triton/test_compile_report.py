"""Every kernel compiles for GPUs that are not here, without spilling registers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("triton")

ROOT = Path(__file__).parents[2]


def report(tmp_path, *arguments):
    """The rows of the table as dictionaries; a child process, for here triton interprets."""
    environment = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    environment["PYTHONPATH"] = os.pathsep.join([str(ROOT), environment.get("PYTHONPATH", "")])
    environment["TRITON_CACHE_DIR"] = str(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "kernels_triton.compile_report", *arguments],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    print(done.stdout)  # the table, shown by `pytest -rP`
    assert done.returncode == 0, done.stderr[-3000:]
    header, names, *rows = done.stdout.splitlines()
    assert "not run on a GPU" in header
    return [dict(zip(names.split(), row.split(), strict=True)) for row in rows]


def assert_good(rows, variants):
    assert len(rows) == 11 * 2 * variants
    assert all(int(row["spills"]) <= 2 for row in rows)
    assert all(0 < int(row["registers"]) <= 255 for row in rows)
    # A row of one block is read once: softmax loads no more than logsumexp, which has one pass.
    for row in rows:
        if row["operation"] == "softmax" and (row["columns"], row["direction"]) == (
            "4096",
            "forward",
        ):
            key = ("direction", "columns", "dtype", "target")
            (single,) = (
                other
                for other in rows
                if other["operation"] == "logsumexp" and all(other[k] == row[k] for k in key)
            )
            assert row["loads"] == single["loads"]


def test_kernels_compile(tmp_path):
    assert_good(report(tmp_path, "--target", "sm_90", "--dtype", "bfloat16"), variants=1)


@pytest.mark.slow
def test_kernels_compile_for_every_target_and_dtype(tmp_path):
    assert_good(report(tmp_path), variants=12)


def test_the_interpreter_cannot_compile():
    from kernels_triton import _launch, compile_report

    if _launch.INTERPRETED:
        with pytest.raises(RuntimeError, match="got its interpreter"):
            next(compile_report.compile_report())
