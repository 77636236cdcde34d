"""The example of fused cross entropy runs as a user runs it, and both frameworks agree."""

import re

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_torch_and_jax_learn_along_one_curve(tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("torch")
    output = printed("fused_cross_entropy_training.py", tmp_path, "--quick", timeout=300)
    require_pictures(tmp_path, ["fused_cross_entropy_training.png"], output)
    rows = {int(step): cells[0] for step, cells in table_rows(output).items() if step.isdigit()}
    by_torch, by_jax = (
        {step: float(cells[place]) for step, cells in rows.items()} for place in (0, 1)
    )
    words = int(re.search(r"(\d+) different ones", output).group(1))
    assert words > 2000
    for curve in (by_torch, by_jax):
        assert abs(curve[1] - 7.88) < 0.1  # log of the number of words, before anything is learned
        assert curve[30] < curve[18] < curve[6] < curve[1]
        assert curve[30] < 7.0
    # Rounding, in float32, of other sums in another order.
    assert max(abs(by_torch[step] - by_jax[step]) for step in rows) < 5e-4
    assert float(re.search(r"at most (\S+) apart", output).group(1)) < 5e-4
