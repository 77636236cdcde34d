"""The example of mixtures runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, require_pictures, sections


@pytest.mark.slow
def test_mixtures_of_digits_and_wine(tmp_path):
    output = printed("mixtures_real_data.py", tmp_path, "--quick", timeout=600)
    names = ["components.png", "projections.png", "selection.png", "wine.png"]
    require_pictures(tmp_path, names, output)
    digits, gains, wine = sections(output)
    agreement = float(re.search(r"components and the digits: (\S+)", digits).group(1))
    assert agreement > 0.4
    steps = [line.split() for line in gains.splitlines() if re.match(r" +\d+  +-", line)]
    assert len(steps) == 6
    for _, _, gain, latent, model, difference in steps:
        assert float(gain) == pytest.approx(float(latent) + float(model), rel=1e-4, abs=1e-7)
        assert abs(float(difference)) < 1e-6
    rows = {line.split()[0]: line for line in wine.splitlines() if re.match(r" +\d +-\d", line)}
    assert [name for name, line in rows.items() if line.split()[5].endswith("*")] == ["3"]
    assert float(re.search(r"adjusted Rand (\S+):", wine).group(1)) > 0.75
