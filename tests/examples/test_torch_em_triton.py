"""The example of EM in torch runs as a user runs it, and all its ways agree."""

import re

import pytest

from tests.examples.script import printed, table_rows

pytest.importorskip("torch")


@pytest.mark.slow
def test_em_in_torch_and_in_igeojax():
    output = printed("torch_em_triton.py", "--quick", timeout=600)
    rows = {name: list(map(float, cells[0])) for name, cells in table_rows(output).items()}
    names = ["torch, float64", "torch, float32", "igeojax", "igeojax, e_step"]
    for name in names:
        *values, _, _ = rows[name]
        assert len(values) == 4
        assert values == sorted(values)
        assert values[-1] > values[0] + 0.1
    found = {name: rows[name][-1] for name in names}
    assert found["igeojax, e_step"] < 1e-11
    assert found["torch, float64"] < 1e-11
    assert found["torch, float32"] < 1e-4
    assert re.search(r"E-step by (the Triton kernel|its formula in torch)", output)
