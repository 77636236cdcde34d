"""The policies are trained as a user trains them; the natural gradient is ahead."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_the_natural_gradient_is_ahead(tmp_path):
    pytest.importorskip("rich")
    pytest.importorskip("gymnax")
    output = printed("natural_policy_gradient.py", tmp_path, "--quick", timeout=900)
    require_pictures(tmp_path, ["returns.png"], output)
    (*rows,) = table_rows(output)["CartPole-v1"]
    returns = {row[0]: float(row[3]) for row in rows}
    assert returns["TRPO"] > 350
    assert returns["TRPO"] > max(returns["Adam"], returns["SGD"]) + 30
