"""The quickstart runs as a user runs it, and shows what it claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_quickstart_shows_what_it_claims(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("rich")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "quickstart.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [
        "fisher_ellipses.png",
        "kl_asymmetry.png",
        "mixture.png",
        "reparameterization.png",
        "simplex.png",
        "training.png",
    ]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in pictures)
    assert "all passed" in done.stdout  # the cross-check of the kernels
    assert str(tmp_path) in done.stdout.replace("\n", "")

    rows = [
        re.split(r"\s*│\s*", line.strip("│ ")) for line in done.stdout.splitlines() if "│" in line
    ]
    table = {}
    for name, *cells in rows:
        table.setdefault(name, []).append(cells)
    # Rescaling a layer: the natural gradient does not see it, SGD does.
    *_, sgd = table["SGD"]
    *_, natural = table["natural gradient"]
    assert float(natural[2]) < 1e-4 < 1e-2 < float(sgd[2])
    # Fewer steps to the target than Adam, on both models.
    steps = {
        name: [int(r[2].removeprefix("<= ")) for r in table[name][:2]]
        for name in ("Adam", "natural gradient")
    }
    assert all(
        ours < adam for ours, adam in zip(steps["natural gradient"], steps["Adam"], strict=True)
    )
    # The mixture is scikit-learn's from the same start.
    assert abs(float(table["igeojax"][0][0]) - float(table["scikit-learn"][0][0])) < 1e-4
