"""The programs of the pages print what the pages say."""

import os
import re
import subprocess
import sys

import pytest

from tests.meta.sources import ROOT

BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


@pytest.mark.slow
@pytest.mark.parametrize(
    "page",
    ["choosing_an_optimiser", "conventions", "curved_spaces", "index", "latent_variables"],
)
def test_its_blocks_print_what_they_say(page, tmp_path):
    pytest.importorskip("orbax.checkpoint")
    text = (ROOT / "docs" / f"{page}.md").read_text(encoding="utf-8")
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
