"""The example of EM in torch runs as a user runs it, and all its ways agree."""

import re

import pytest

from tests.examples.script import printed

pytest.importorskip("torch")


@pytest.mark.slow
def test_em_in_torch_and_in_igeojax():
    output = printed("torch_em_triton.py", "--quick", timeout=600)
    table, differences = output.split("Largest difference from igeojax")
    rows = {
        line[:16].strip(): line[16:].split() for line in table.splitlines() if line[:1].isalpha()
    }
    names = ["torch, float64", "torch, float32", "igeojax", "igeojax, e_step"]
    for name in names:
        values = [float(value) for value in rows[name][:-1]]
        assert len(values) == 5
        assert values == sorted(values)
        assert values[-1] > values[0] + 0.1
    found = {line[:16].strip(): float(line[16:]) for line in differences.strip().splitlines()}
    assert list(found) == names
    assert found["igeojax, e_step"] < 1e-11
    assert found["torch, float64"] < 1e-11
    assert found["torch, float32"] < 1e-4
    assert re.search(r"E-step by (the Triton kernel|its formula in torch)", output)
