"""The tour of dual geometry runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_the_tour_shows_what_it_claims(tmp_path):
    pytest.importorskip("rich")
    output = printed("dual_geometry.py", tmp_path, "--quick", timeout=600)
    require_pictures(
        tmp_path,
        [
            "determinant.png",
            "geodesics.png",
            "kl_balls.png",
            "pythagoras.png",
            "temperature.png",
        ],
        output,
    )

    table = table_rows(output)
    # Distances lie within their bounds, and the numerical ones know their error.
    for pair in ("setosa - versicolor", "versicolor - virginica", "setosa - virginica"):
        (exact, numerical, error, off, bounds), (both, _, converged, limits) = table[pair]
        for value, limit in ((exact, bounds), (both, limits)):
            low, high = map(float, limit.split(" - "))
            assert low <= float(value) <= high
        assert float(exact) == pytest.approx(float(numerical), abs=1e-4)
        assert float(off) < 10 * float(error)
        # Two measurements tell at least as much as one.
        assert converged == "True"
        assert float(both) > float(exact)
    # Each mean has the least of what it minimizes.
    columns = {"e-mean": 2, "Fréchet mean": 3, "m-mean": 4}
    for name, column in columns.items():
        least = min(columns, key=lambda other: float(table[other][0][column]))
        assert least == name
    assert "converged: True" in output
    middle = re.search(r"virginica: ([\d.]+) and ([\d.]+) away, of ([\d.]+)", output)
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
