"""Every example is started alike, tested, and shown in the gallery with a picture."""

import pytest

from tests.meta.sources import ROOT

EXAMPLES = sorted(path for path in (ROOT / "examples").glob("*.py") if path.name != "script.py")


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_an_example_is_started_tested_and_shown(path):
    text = path.read_text()
    assert "run = script.start(__file__, __doc__, quick=" in text
    assert text.count("run.end()") == 1
    assert f"python examples/{path.name}" in text[:400]
    test = ROOT / "tests" / "examples" / f"test_{path.stem}.py"
    assert f'"{path.name}"' in test.read_text()
    assert "--quick" in test.read_text()
    gallery = (ROOT / "examples" / "README.md").read_text()
    (row,) = [line for line in gallery.splitlines() if f"**`{path.name}`**" in line]
    picture = ROOT / "docs" / "gallery" / f"{path.stem}.png"
    assert f"](../docs/gallery/{picture.name})" in row
    assert 5_000 < picture.stat().st_size < 80_000


def test_the_gallery_shows_nothing_else():
    rows = (ROOT / "examples" / "README.md").read_text().count("](../docs/gallery/")
    assert rows == len(EXAMPLES) == len(list((ROOT / "docs" / "gallery").glob("*.png")))
