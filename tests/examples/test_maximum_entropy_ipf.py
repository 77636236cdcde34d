"""The example of contingency tables runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, table_rows


@pytest.mark.slow
def test_interactions_add_up():
    output = printed("maximum_entropy_ipf.py", "--quick", timeout=300)
    table = table_rows(output)
    rows = {name: table[name][-1] for name in ("pairs", "three-way", "all")}
    values = {name: float(value) for name, (value, *_) in rows.items()}
    assert values["all"] == pytest.approx(values["pairs"] + values["three-way"], abs=2e-6)
    tails = {name: float(tail) for name, (*_, tail) in rows.items()}
    assert tails["pairs"] < 1e-20 < 0.05 < tails["three-way"]
    gap = float(re.search(r"gap .*: (\S+)", output).group(1))
    difference = float(re.search(r"differs by (\S+)", output).group(1))
    assert gap < 1e-11
    assert difference < 1e-11
    residuals = [float(table[name][0][-1]) for name in ("independence", "pairs")]
    assert max(residuals) < 1e-13
