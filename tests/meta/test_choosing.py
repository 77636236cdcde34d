"""The page on choosing an optimizer shows what happens, and names what exists."""

import os
import re
import subprocess
import sys

import pytest

from igeojax import optim
from tests.meta.sources import ROOT

PAGE = (ROOT / "docs" / "choosing_an_optimiser.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)
NAME = re.compile(r"\boptim\.(\w+)\b")


def test_it_names_what_exists():
    names = set(NAME.findall(PAGE))
    assert len(names) > 10
    unknown = {name for name in names if not hasattr(optim, name)}
    assert not unknown, f"optim has no {unknown}"


def test_it_names_every_solver():
    solvers = [
        name
        for name, value in vars(optim).items()
        if isinstance(value, type) and issubclass(value, optim.Solver) and value is not optim.Solver
    ]
    assert len(solvers) > 5
    absent = [name for name in solvers if f"{name}(" not in PAGE]
    assert not absent, f"the page does not say when to take {absent}"


@pytest.mark.slow
def test_its_blocks_print_what_they_say(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    program = "\n".join(BLOCK.findall(PAGE))
    expected = PRINTED.findall(program)
    assert len(expected) > 5
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == expected
