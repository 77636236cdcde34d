"""The example of variational inference runs as a user runs it, and shows what it claims."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_posteriors_of_weights_networks_and_codes(tmp_path):
    output = printed("variational_inference.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["autoencoder.png", "logistic.png", "reliability.png"], output)
    table = table_rows(output)
    value = lambda name, column: float(table[name][0][column].split()[0])
    # The same optimum, by quadrature and by samples; a mean field is too narrow, and its bound low.
    assert abs(value("full normal", 0) - value("full, samples", 0)) < 0.05
    assert abs(value("full normal", 2) - value("full, samples", 2)) < 0.1
    assert value("mean field", 1) < 0.8 * value("full normal", 1)
    assert value("mean field", 2) < value("full normal", 2) - 5
    # Within half a standard deviation of a long run of Hamiltonian Monte Carlo.
    assert value("full normal", 0) < 0.5
    for name in ("Adam, likelihood", "Adam, mode", "IVON", "IVON, 4 N"):
        assert value(name, 0) > 0.6
    assert all(-30 < value(name, 0) < 0 for name in ("trained on", "held out"))
