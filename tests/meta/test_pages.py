"""The programs of the pages print what the pages say."""

import os
import re
import subprocess
import sys

import pytest

from tests.meta.sources import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


GUIDES = ["choosing_an_optimiser", "conventions", "curved_spaces", "index", "latent_variables"]
TUTORIALS = sorted(
    page.stem for page in (ROOT / "docs" / "tutorials").glob("*.md") if page.stem != "index"
)


@pytest.mark.slow
@pytest.mark.parametrize("page", [*GUIDES, *(f"tutorials/{name}" for name in TUTORIALS)])
def test_its_blocks_print_what_they_say(page, tmp_path):
    pytest.importorskip("orbax.checkpoint")
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
    if "import torch" in text:
        pytest.importorskip("torch")
    program = "\n".join(BLOCK.findall(text))
    expected = PRINTED.findall(program)
    assert len(expected) >= 4
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == expected


def test_every_room_has_a_tutorial():
    rooms = {path.parent.name for path in (ROOT / "igeojax").glob("*/__init__.py")} - {"_core"}
    assert set(TUTORIALS) == rooms | {"kernels_triton"}
    index = (ROOT / "docs" / "tutorials" / "index.md").read_text(encoding="utf-8")
    assert sorted(re.findall(r"\]\((\w+)\.md\)", index)) == TUTORIALS


@pytest.mark.parametrize("room", TUTORIALS)
def test_a_tutorial_has_its_parts(room):
    text = (ROOT / "docs" / "tutorials" / f"{room}.md").read_text(encoding="utf-8")
    for part in ("\n$$", "\n## A pitfall: ", "\n## Read on\n", f"](../api/{room}.md)"):
        assert part in text, f"{room} has no {part!r}"
