"""Sources are taken apart as a user does it, no worse than by the peer."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_signals_and_photographs_are_taken_apart(tmp_path):
    pytest.importorskip("rich")
    output = printed("unmixing.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["photographs.png", "signals.png"], output)
    table = table_rows(output)
    for name in ("signals", "photographs"):
        ((_, index, peer, _, converged),) = [row[:5] for row in table[name]]
        assert float(index) < 0.1
        assert float(index) < 1.05 * float(peer) + 1e-3
        assert converged == "True"
    assert "heavy and heavy tails" in output
