"""The example of variational inference runs as a user runs it, and shows what it claims."""

import re

import pytest

from tests.examples.script import printed, require_pictures


@pytest.mark.slow
def test_posteriors_of_weights_networks_and_codes(tmp_path):
    output = printed("variational_inference.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["autoencoder.png", "logistic.png", "reliability.png"], output)
    tumors, network, codes = re.split(r"^-+$", output, flags=re.M)[1:]
    rows = {
        name: tuple(map(float, cells))
        for name, *cells in re.findall(
            r"^(full normal|mean field|full, samples) +(\S+) sd +(\S+) +(\S+) ", tumors, re.M
        )
    }
    full, field, sampled = (rows[name] for name in ("full normal", "mean field", "full, samples"))
    # The same optimum, by quadrature and by samples; a mean field is too narrow, and its bound low.
    assert abs(full[0] - sampled[0]) < 0.05
    assert abs(full[2] - sampled[2]) < 0.1
    assert field[1] < 0.8 * full[1]
    assert field[2] < full[2] - 5
    found = {
        name.strip(): list(map(float, cells.split()))
        for name, cells in re.findall(r"^((?:Adam|IVON)[^.]*?)  +(.*)$", network, re.M)
    }
    assert len(found) == 4
    assert all(accuracy > 0.6 for accuracy, *_ in found.values())
    bounds = [float(value) for value in re.findall(r"ELBO +(\S+)", codes)]
    assert all(-30 < bound < 0 for bound in bounds)
