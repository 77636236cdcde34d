"""The example of contingency tables runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed


@pytest.mark.slow
def test_interactions_add_up():
    output = printed("maximum_entropy_ipf.py", timeout=300)
    rows = re.findall(r"^(pairs|three-way|all) +(\d\.\d{6}) +([\d.]+) +(\d+) +(\S+)$", output, re.M)
    values = {name: float(value) for name, value, *_ in rows}
    assert values["all"] == pytest.approx(values["pairs"] + values["three-way"], abs=2e-6)
    tails = {name: float(tail) for name, *_, tail in rows}
    assert tails["pairs"] < 1e-20 < 0.05 < tails["three-way"]
    gap = float(re.search(r"gap .*: (\S+)", output).group(1))
    difference = float(re.search(r"differs by (\S+)", output).group(1))
    assert gap < 1e-11
    assert difference < 1e-11
    residuals = [float(r) for r in re.findall(r"residual (\S+)", output)]
    assert len(residuals) == 2
    assert max(residuals) < 1e-13
