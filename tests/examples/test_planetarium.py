"""The example of digits as directions runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_digits_as_directions(tmp_path):
    output = printed("planetarium.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["planetarium.png", "temperature.png"], output)
    right = float(re.search(r"held out, (\S+)% of them", output).group(1))
    assert right > 85
    table = table_rows(output)
    assert all(float(table[str(digit)][0][1]) > 0.8 for digit in range(10))
    free, one, hard = (
        [float(value) for value in table[name][0][:4]]
        for name in ("free concentrations", "one concentration", "one, hard assignments")
    )
    assert (free[0], one[0], hard[0]) == (39, 30, 30)
    assert free[1] > one[1] >= hard[1]
    assert min(one[3], hard[3]) > 0.6
    # The last row of these names is that of the strip: digits are concentrations too.
    rows = [[float(value) for value in table[f"{4**k}"][-1]] for k in range(5)]
    assert [share for _, share, _ in rows] == sorted(share for _, share, _ in rows)
    for k, (temperature, _, apart) in enumerate(rows):
        assert temperature == pytest.approx(4.0**-k, abs=1e-4)
        # In single precision the inner products are off by some 1e-7 of the concentration.
        assert apart < 1e-6 * 4**k
