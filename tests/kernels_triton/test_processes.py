"""What depends on how a process starts: guard pages, no triton, a variable set too late."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FORMULAS = """
import torch
import kernels_triton as k
x = torch.tensor([[0.0, float("-inf"), 0.0], [1.0, 2.0, 3.0]], requires_grad=True)
k.softmax(x).select(0, 0).sum().backward()
assert k.softmax(x)[0].tolist() == [0.5, 0.0, 0.5]
assert abs(k.normal_log_likelihood(torch.zeros(10), 0.0, 1.0).item() + 9.18938533) < 1e-5
from kernels_triton import _launch
assert not _launch.uses_triton(x)
"""


def run(*arguments, **environment):
    kept = {name: value for name, value in os.environ.items() if name != "TRITON_INTERPRET"}
    return subprocess.run(
        [sys.executable, "-W", "error", *map(str, arguments)],
        cwd=ROOT,
        env={
            **kept,
            "PYTHONPATH": os.pathsep.join([str(ROOT), kept.get("PYTHONPATH", "")]),
            **environment,
        },
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.skipif(sys.platform != "linux", reason="guard pages are made with Linux's mmap")
@pytest.mark.parametrize(
    ("what", "survives"), [("good", True), ("bad-read", False), ("bad-write", False)]
)
def test_kernels_stay_inside_their_tensors(what, survives):
    pytest.importorskip("triton")
    done = run(Path(__file__).with_name("guard_pages.py"), what, TRITON_INTERPRET="1")
    assert ("nothing forbidden" in done.stdout) is survives, done.stderr[-3000:]
    assert (done.returncode == 0) is survives


def test_formulas_where_triton_is_missing():
    done = run("-c", "import sys; sys.modules['triton'] = None" + FORMULAS)
    assert done.returncode == 0, done.stderr[-3000:]


def test_formulas_on_the_cpu_without_the_interpreter():
    done = run("-c", FORMULAS)
    assert done.returncode == 0, done.stderr[-3000:]


def test_variable_set_after_triton_was_imported():
    pytest.importorskip("triton")
    done = run(
        "-c",
        "import os, triton; os.environ['TRITON_INTERPRET'] = '1'; "
        "from kernels_triton import softmax",
    )
    assert "RuntimeError: TRITON_INTERPRET must be set before triton is first imp" in done.stderr
