"""Runs an example as a user runs it, and reads what it prints."""

import os
import re
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def printed(name, *arguments, timeout):
    """What the example prints; it must end well, within that many seconds."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("JAX_")}
    done = subprocess.run(
        [sys.executable, str(ROOT / "examples" / name), *map(str, arguments)],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=timeout,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def require_pictures(folder, names, output):
    """The folder, which the output names, holds these pictures, and none is blank."""
    assert sorted(path.name for path in folder.glob("*.png")) == names
    assert all((folder / name).stat().st_size > 10_000 for name in names)
    assert str(folder) in output.replace("\n", "")


def sections(output):
    """What stands below each heading."""
    return re.split(r"^.*─{5,}$", output, flags=re.M)[1:]


def table_rows(output):
    """Cells of the tables it prints, by the first of each row."""
    table = {}
    for line in output.splitlines():
        if "│" in line:
            name, *cells = re.split(r"\s*│\s*", line.strip("│ "))
            table.setdefault(name, []).append(cells)
    return table
