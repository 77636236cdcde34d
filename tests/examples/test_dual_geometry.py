"""The tour of dual geometry runs as a user runs it, and shows what it claims."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.mark.slow
def test_the_tour_shows_what_it_claims(tmp_path):
    pytest.importorskip("rich")
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / "dual_geometry.py"), str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    pictures = sorted(path.name for path in tmp_path.glob("*.png"))
    assert pictures == [
        "determinant.png",
        "geodesics.png",
        "kl_balls.png",
        "pythagoras.png",
        "temperature.png",
    ]
    assert all((tmp_path / name).stat().st_size > 10_000 for name in pictures)
    assert str(tmp_path) in done.stdout.replace("\n", "")

    rows = [
        re.split(r"\s*│\s*", line.strip("│ ")) for line in done.stdout.splitlines() if "│" in line
    ]
    table = {}
    for name, *cells in rows:
        table.setdefault(name, []).append(cells)
    # Distances lie within their bounds, and the numerical ones know their error.
    for pair in ("setosa - versicolor", "versicolor - virginica", "setosa - virginica"):
        ((exact, numerical, error, off, bounds, _),) = table[pair]
        low, high = map(float, bounds.split(" - "))
        assert low <= float(exact) <= high
        assert float(exact) == pytest.approx(float(numerical), abs=1e-4)
        assert float(off) < 10 * float(error)
    # Each mean has the least of what it minimizes.
    columns = {"e-mean": 2, "Fréchet mean": 3, "m-mean": 4}
    for name, column in columns.items():
        least = min(columns, key=lambda other: float(table[other][0][column]))
        assert least == name
    assert "converged: True" in done.stdout
    middle = re.search(r"virginica: ([\d.]+) and ([\d.]+) away, of ([\d.]+)", done.stdout)
    halves = [float(value) for value in middle.groups()]
    assert 2 * halves[0] == pytest.approx(halves[2], abs=1e-5)
    assert 2 * halves[1] == pytest.approx(halves[2], abs=1e-5)
    # Both clusterings know of the digits, of which they were not told.
    agreement = [float(table[name][0][1]) for name in ("k-means in KL", "k-means (scikit-learn)")]
    assert min(agreement) > 0.5
    assert table["Normal"][-1] == ["-0.500000"] * 3 + ["-0.5"]
    assert table["Categorical(3)"][-1] == ["0.250000"] * 3 + ["0.25"]
    for species in ("setosa", "versicolor", "virginica"):
        ((p_q, q_r, p_r, gap),) = table[species]
        assert float(p_q) + float(q_r) == pytest.approx(float(p_r), abs=2e-4)
        assert float(gap) < 1e-12
