"""The class tree is embedded as a user embeds it; the hyperbolic plane has more room for it."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_ancestors_are_nearer_in_the_hyperbolic_plane(tmp_path):
    pytest.importorskip("rich")
    output = printed("hyperbolic_tree.py", tmp_path, "--quick", timeout=900)
    require_pictures(tmp_path, ["disk.png"], output)
    table = table_rows(output)
    (curved,), (flat,) = table["the hyperbolic plane"], table["the Euclidean plane"]
    assert float(curved[0]) < 0.3 * float(flat[0])
    assert float(curved[1]) > float(flat[1]) + 0.05
