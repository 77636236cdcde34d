"""The quickstart runs as a user runs it, and shows what it claims."""

import pytest

from tests.examples.script import printed, require_pictures, table_rows


@pytest.mark.slow
def test_quickstart_shows_what_it_claims(tmp_path):
    pytest.importorskip("torch")
    pytest.importorskip("rich")
    output = printed("quickstart.py", tmp_path, "--quick", timeout=900)
    require_pictures(
        tmp_path,
        [
            "fisher_ellipses.png",
            "kl_asymmetry.png",
            "mixture.png",
            "reparameterization.png",
            "simplex.png",
            "training.png",
        ],
        output,
    )
    assert "all passed" in output  # the cross-check of the kernels

    table = table_rows(output)
    # Rescaling a layer: the natural gradient does not see it, SGD does.
    *_, sgd = table["SGD"]
    *_, natural = table["natural gradient"]
    assert float(natural[2]) < 1e-4 < 1e-2 < float(sgd[2])
    # Fewer steps to the target than Adam, on both models.
    steps = {
        name: [int(r[2].removeprefix("<= ")) for r in table[name][:2]]
        for name in ("Adam", "natural gradient")
    }
    assert all(
        ours < adam for ours, adam in zip(steps["natural gradient"], steps["Adam"], strict=True)
    )
    # The mixture is scikit-learn's from the same start.
    assert abs(float(table["igeojax"][0][0]) - float(table["scikit-learn"][0][0])) < 1e-4
