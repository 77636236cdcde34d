"""The study of estimators runs as a user runs it, and shows what it claims."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_estimators_beside_their_limits(tmp_path):
    pytest.importorskip("rich")
    output = printed("estimation_study.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["estimation.png"], output)
    table = table_rows(output)
    likelihood, wells = (list(map(float, row)) for row in table["maximum likelihood"])
    for name in ("middle quarter", "median"):
        ((small, large),) = table[name]
        assert likelihood[0] > float(small)
        assert likelihood[1] > float(large) + 0.05
    ((_, expected, observed, near, far),) = [
        row for row in table["Cauchy, center"] if row[0] == "40"
    ]
    # The standard error of each share is 0.0034.
    assert 0.92 < float(expected) < 0.955
    assert 0.92 < float(observed) < 0.955
    assert float(near) < float(far)
    for count in (1, 4, 16):
        ((_, _, distance, bound),) = table[f"{count} draws"]
        assert float(distance) < float(bound)
    ((*matched, _, _),) = table["score matching"]
    assert 0.4 < float(matched[0]) < wells[0]
    assert abs(wells[0] - 1) < 0.4
