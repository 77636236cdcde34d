"""The example of the normalized transformer runs as a user runs it, is resumed, and shows both."""

import re
import shutil

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_both_models_learn_and_a_stopped_run_goes_on(tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("orbax.checkpoint")
    run = lambda: printed("ngpt_characters.py", tmp_path, "--quick", timeout=600)
    output = run()
    require_pictures(tmp_path, ["ngpt_characters.png"], output)
    table = {name: list(map(float, cells[0])) for name, cells in table_rows(output).items()}
    for kind in ("usual", "normalized"):
        after_100, after_200 = table[kind]
        # A character of the unigram law costs 3.2 nats.
        assert after_200 < after_100 < 2.6
    assert table["normalized"][1] < table["usual"][1]
    assert float(re.search(r"Unit weights are 1 long to (\S+)\.", output).group(1)) < 1e-6

    # Without its last fifty steps, as if it had been stopped there, it ends at the same losses.
    for kind in ("usual", "normalized"):
        shutil.rmtree(tmp_path / f"{kind}-200-steps-seed-0" / "200")
    again = {name: list(map(float, cells[0])) for name, cells in table_rows(run()).items()}
    assert {k: again[k] for k in ("usual", "normalized")} == {
        k: table[k] for k in ("usual", "normalized")
    }
