"""The example of contingency tables runs as a user runs it, and shows what it claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_interactions_add_up():
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "maximum_entropy_ipf.py")],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    rows = re.findall(
        r"^(pairs|three-way|all) +(\d\.\d{6}) +([\d.]+) +(\d+) +(\S+)$", done.stdout, re.M
    )
    values = {name: float(value) for name, value, *_ in rows}
    assert values["all"] == pytest.approx(values["pairs"] + values["three-way"], abs=2e-6)
    tails = {name: float(tail) for name, *_, tail in rows}
    assert tails["pairs"] < 1e-20 < 0.05 < tails["three-way"]
    gap = float(re.search(r"gap .*: (\S+)", done.stdout).group(1))
    difference = float(re.search(r"differs by (\S+)", done.stdout).group(1))
    assert gap < 1e-11
    assert difference < 1e-11
    residuals = [float(r) for r in re.findall(r"residual (\S+)", done.stdout)]
    assert len(residuals) == 2
    assert max(residuals) < 1e-13
