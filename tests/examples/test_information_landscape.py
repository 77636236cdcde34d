"""The desert becomes a terrain, and falls again where the network is sure: what the tables say."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_the_desert_becomes_a_terrain(tmp_path):
    pytest.importorskip("rich")
    output = printed("information_landscape.py", tmp_path, "--quick", timeout=600)
    require_pictures(tmp_path, ["landscape.png", "training.png"], output)
    table = table_rows(output)
    dimensions = {}
    for name in ("usual", "vanishing"):
        *rows, area = table[name]
        steps, losses, _, traces, _, counts = zip(*rows, strict=True)
        assert [steps[0], steps[-1]] == ["0", "1600"]
        assert float(losses[-1]) < 0.01
        dimensions[name] = [float(count) for count in counts]
        start, highest, end, share = map(float, area)
        # A hollow of a decade under the small start; the sure network lies as low, from either.
        assert (highest - start > 1) == (name == "vanishing")
        assert highest - end > 1
        assert share > 99
        assert float(traces[-1]) < 0.3 * float(traces[1])
    start, highest, end = dimensions["vanishing"]
    assert start < 9  # the biases of ten classes: no more is seen of the weights
    assert highest > 8 * start
    assert 2 * start < end < 0.6 * highest
    start, highest, end = dimensions["usual"]
    assert highest < 1.2 * start
    assert end < 0.5 * start
    shares = [[float(part) for part in row[4].split(" / ")] for row in table["vanishing"][:2]]
    assert shares[0][2] > 99
    assert shares[1][0] > 50
