"""A file holds one concept: 100 to 300 lines, and above 400 a reason."""

import pytest

from tests.meta.sources import PACKAGES, python_files, relative

LIMIT = 400
# Longer files, each with the reason why it is one concept all the same.
EXCEPTIONS: dict[str, str] = {
    "igeojax/families/base.py": "the one abstract class; two thirds of it are docstrings",
    "examples/quickstart.py": "one script, read from top to bottom",
    "tests/kernels_triton/test_divergences.py": "six divergences, asked the same questions",
    "tests/laws/test_transforms.py": "one table of transforms, and what is asked of each",
    "tests/divergences/test_quadrature.py": "one table of laws, and what is asked of each",
}


def sizes(*folders: str) -> dict[str, int]:
    """Lines of every file."""
    return {
        relative(path): len(path.read_text(encoding="utf-8").splitlines())
        for path in python_files(*folders)
    }


@pytest.mark.parametrize("folder", [*PACKAGES, "examples", "benchmarks", "tests"])
def test_no_file_outgrows_one_concept(folder):
    lines = sizes(folder)
    listing = [f"{count:5d}  {name}" for name, count in sorted(lines.items(), key=lambda p: -p[1])]
    print("\n".join(listing))  # shown by `pytest -rP tests/meta/test_file_size.py`
    long = {name: count for name, count in lines.items() if count > LIMIT}
    unexplained = sorted(set(long) - set(EXCEPTIONS))
    assert not unexplained, (
        f"above {LIMIT} lines: {unexplained}. Split by concept, or give the reason in EXCEPTIONS.\n"
        + "\n".join(listing)
    )


def test_no_stale_exception():
    lines = sizes(*PACKAGES, "examples", "benchmarks", "tests")
    stale = [name for name in EXCEPTIONS if lines.get(name, 0) <= LIMIT]
    assert not stale, f"no longer above {LIMIT} lines, drop from EXCEPTIONS: {stale}"
