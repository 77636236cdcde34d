"""The exact pins cover what the extras ask for, and their JAX is the floor that is promised."""

import re
import sys
import tomllib
from importlib.metadata import version

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.meta.sources import PACKAGES, ROOT, imports_of, python_files, tree_of

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
DISTRIBUTION_OF = {
    "sklearn": "scikit-learn",
    "orbax": "orbax-checkpoint",
}  # where the import has another name
PIN = re.compile(r"^([A-Za-z0-9._-]+)==([A-Za-z0-9.]+)$")


def pin_lines() -> list[str]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def pins() -> dict[str, Version]:
    found = [PIN.match(line) for line in pin_lines()]
    return {canonicalize_name(pin[1]): Version(pin[2]) for pin in found if pin}


def requirements() -> list[tuple[str, Requirement]]:
    """Every requirement, with the extra that makes it."""
    project = PROJECT["project"]
    named = [("dependencies", project["dependencies"]), *project["optional-dependencies"].items()]
    return [(extra, Requirement(text)) for extra, texts in named for text in texts]


def jax_floor() -> Version:
    (jax,) = [
        item for extra, item in requirements() if extra == "dependencies" and item.name == "jax"
    ]
    (bound,) = jax.specifier
    assert bound.operator == ">=", "the floor of JAX is one `>=`, without an upper bound"
    return Version(bound.version)


def test_pins_are_exact_and_name_no_host():
    loose = [line for line in pin_lines() if not PIN.match(line)]
    assert not loose, f"neither exact nor free of hosts, options and local versions: {loose}"
    names = [canonicalize_name(line.partition("==")[0]) for line in pin_lines()]
    assert len(names) == len(set(names)), "a package is pinned twice"


@pytest.mark.parametrize(("extra", "requirement"), requirements(), ids=str)
def test_every_requirement_is_pinned_within_its_bounds(extra, requirement):
    if requirement.name == "igeojax":
        assert requirement.extras <= set(PROJECT["project"]["optional-dependencies"])
        return
    pin = pins().get(canonicalize_name(requirement.name))
    assert pin is not None, f"{requirement.name} of [{extra}] is not in constraints.txt: remake it"
    assert requirement.specifier.contains(pin), f"{requirement} of [{extra}] is pinned to {pin}"


def test_the_pinned_jax_is_the_floor():
    floor = jax_floor()
    assert pins()["jax"] == floor == pins()["jaxlib"], (
        f"pyproject promises jax>={floor}, the pins test {pins()['jax']}; what is not "
        "tested is not supported, so they move together"
    )


def test_the_readme_states_the_floors():
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.search(rf"JAX {re.escape(str(jax_floor()))}\b", text), f"say `JAX {jax_floor()}`"
    python = PROJECT["project"]["requires-python"].removeprefix(">=")
    assert re.search(rf"Python {re.escape(python)}\b", text), f"say `Python {python}`"


def test_all_tools_agree_on_the_oldest_python():
    python = PROJECT["project"]["requires-python"]
    assert python == ">=3.11"
    assert PROJECT["tool"]["ruff"]["target-version"] == "py311"
    assert PROJECT["tool"]["pyright"]["pythonVersion"] == "3.11"


def test_this_run_is_not_below_the_floor():
    assert Version(version("jax")) >= jax_floor()


@pytest.mark.parametrize("extra", ["test", "viz"])
def test_the_extras_of_the_newest_lane_need_no_torch(extra):
    names = {item.name for name, item in requirements() if name in ("dependencies", extra)}
    assert not names & {"torch", "triton"}
    inherited = [item for name, item in requirements() if name == extra and item.extras]
    assert all(not item.extras & {"triton", "examples"} for item in inherited)


def asked_for_by(extra: str) -> set[str]:
    """What the extra installs by name: its own, those of the extras in it, the dependencies."""
    asked = [item for name, item in requirements() if name in (extra, "dependencies")]
    inner = {name for item in asked if item.name == "igeojax" for name in item.extras}
    return {item.name for item in asked}.union(*(asked_for_by(name) for name in inner))


@pytest.mark.parametrize(
    ("extra", "folder", "apart"),
    [("test", "tests", ("kernels_triton", "parity", "examples")), ("examples", "examples", ())],
)
def test_an_extra_names_all_that_its_files_import(extra, folder, apart):
    """A package that only comes along with another one is missing where that one is."""
    ours = {
        *PACKAGES,
        *sys.stdlib_module_names,
        "tests",
        "benchmarks",
        "docs",
        "conftest",
        "script",
    }
    imported = {
        found.root
        for path in python_files(folder)
        if not set(path.parts) & set(apart)
        for found in imports_of(tree_of(path))
        if not found.level
    }
    missing = {DISTRIBUTION_OF.get(name, name) for name in imported - ours} - asked_for_by(extra)
    assert not missing, f"[{extra}] of pyproject.toml does not name {sorted(missing)}"
