"""The example of Bayesian updates runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, require_pictures, sections


@pytest.mark.slow
def test_three_ways_to_a_posterior(tmp_path):
    output = printed("bayesian_updates.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["evidence.png", "logistic.png", "normal.png"], output)
    wine, tumors, network = sections(output)
    rows = [line.split() for line in wine.splitlines() if re.match(r" *\d+  [cgL]", line)]
    values = {(int(n), name): list(map(float, cells)) for n, name, *cells in rows}
    sizes = sorted({n for n, _ in values})
    errors = []
    for n in sizes:
        exact = values[n, "conjugate"]
        assert values[n, "grid"] == pytest.approx(exact, abs=2e-3)
        errors.append(abs(values[n, "Laplace"][-1] - exact[-1]))
    # The error of Laplace's approximation falls as one over the number of observations, but for
    # those that the prior counts for.
    assert errors[0] > 1.5 * errors[1]
    assert errors[1] > 3 * errors[2]
    grid, laplace = map(float, re.search(r"grid (\S+), Laplace (\S+)", tumors).groups())
    assert abs(grid - laplace) < 0.2
    size = lambda name: abs(float(re.search(rf"^{name} +\S+ +(\S+)", tumors, re.M).group(1)))
    assert size("mode") < size("likelihood")
    cells = [line.split() for line in network.splitlines() if re.match(r" +\d\.\d+ ", line)]
    assert len(cells) == 8
