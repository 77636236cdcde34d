"""What the README shows is what happens."""

import os
import re
import subprocess
import sys
import tomllib

from tests.meta.sources import ROOT

BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
EXTRAS = re.compile(r"\.\[([\w,]+)\]")
PRINTED = re.compile(r"^print\(.*\)  # (.*)$", re.MULTILINE)


def blocks(language: str) -> list[str]:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    return [body for name, body in BLOCK.findall(text) if name == language]


def commands() -> list[str]:
    return [body.strip() for body in blocks("bash")]


def test_every_block_names_its_language():
    assert not blocks(""), "a fenced block without a language"


def test_there_are_exactly_two_commands():
    assert len(commands()) == 2, "one command for the main job, one for the tests"
    for command in commands():
        assert "\n" not in command, f"one line, so that it is copied as one: {command}"
        assert "-c constraints.txt" in command, f"reproducible by the pins: {command}"
    assert "examples/quickstart.py" in commands()[0]
    assert "pytest" in commands()[1]
    assert '-m "not slow"' in commands()[1]


def test_the_commands_name_what_exists():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    for command in commands():
        extras = {name for group in EXTRAS.findall(command) for name in group.split(",")}
        assert extras, f"installs no extra: {command}"
        unknown = extras - set(project["optional-dependencies"])
        assert not unknown, f"pyproject.toml has no extra {unknown}"
        files = re.findall(r"\b[\w/.-]+\.(?:py|txt)\b", command)
        absent = [name for name in files if not (ROOT / name).is_file()]
        assert not absent, f"{command} names {absent}, which do not exist"


def test_the_example_prints_what_it_says(tmp_path):
    examples = blocks("python")
    assert len(examples) == 1, "one example, in one ```python block"
    lines = [line for line in examples[0].splitlines() if line.strip()]
    assert len(lines) <= 15, f"ten lines or so, not {len(lines)}"
    expected = PRINTED.findall(examples[0])
    assert expected, "print a result, with what it prints behind `  # `"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", examples[0]],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines() == expected
