"""The regimes of an economy are found as a user finds them, and show what the example claims."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_regimes_meet_recessions_that_no_fit_was_told_of(tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("statsmodels")
    output = printed("hmm_regimes.py", tmp_path, "--quick", timeout=900)
    require_pictures(tmp_path, ["regimes.png"], output)
    table = table_rows(output)
    (one,), (two,) = (table[states][:1] for states in "12")
    # Two regimes pay for their parameters.
    assert float(two[1]) < float(one[1]) - 50
    (slow,), (fast,) = table["0"], table["1"][1:]
    assert float(slow[0].split()[0]) < float(fast[0].split()[0])
    assert float(slow[1].split()[0]) > 0 > float(fast[1].split()[0])
    ((caught, false_alarms, agree),) = table["all entries"]
    assert float(caught) > 0.9
    assert float(false_alarms) < 0.25
    assert float(agree) > 0.8
    ((caught, _, agree),) = table["a third hidden"]
    assert float(caught) > 0.85
    assert float(agree) > 0.7
