"""One classifier in three frameworks trains alike."""

import pytest

from tests.examples.script import printed, table_rows


@pytest.mark.slow
def test_three_frameworks_take_the_same_steps():
    pytest.importorskip("rich")
    table = table_rows(printed("natural_gradient_in_three_lines.py", "--quick", timeout=300))
    found = {}
    for name in ("flax.linen", "flax.nnx", "pytree, as equinox"):
        for optimizer, start, end, accuracy in table[name]:
            values = float(start), float(end), float(accuracy.rstrip("%"))
            found.setdefault(optimizer, []).append(values)
    assert sorted(found) == ["kfac", "natural_gradient"]
    for first, *others in found.values():
        start, end, accuracy = first
        assert end < 0.1 < 2 < start
        assert accuracy > 98
        assert len(others) == 2
        for other in others:
            # Sums in another order: rounding of float32, grown over the steps.
            assert other == pytest.approx(first, rel=0.02, abs=0)
