"""The example compares three frameworks as a user runs it, and they agree."""

import pytest

from tests.examples.script import printed, table_rows


@pytest.mark.slow
def test_three_ways_agree():
    pytest.importorskip("rich")
    pytest.importorskip("torch")
    table = table_rows(printed("cross_framework_check.py", "--quick", timeout=300))
    for name in ("logistic regression", "normal mixture", "KL"):
        rows = {by: (float(value), *errors) for by, value, *errors in table[name]}
        assert set(rows) == {"float64", "torch and kernels", "JAX and igeojax"}
        exact, *_ = rows.pop("float64")
        for value, *errors in rows.values():
            # Two laws at 1e-3 differ by what the product of float32 leaves of it.
            limit = 1e-3 if name == "KL" else 1e-5
            assert value == pytest.approx(exact, rel=limit, abs=0)
            assert all(float(error) < limit for error in errors)
