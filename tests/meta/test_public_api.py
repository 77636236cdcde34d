"""Every public name is documented, and what is documented is public."""

import ast
import importlib.util
import re
from typing import NamedTuple

import pytest

from tests.meta.public_api import (
    bound_names,
    declared_names,
    faults_of,
    has_section,
    path_of,
    public_modules,
    public_objects,
)
from tests.meta.sources import (
    PACKAGES,
    ROOT,
    docstrings_of,
    imports_of,
    is_module,
    is_package,
    python_files,
    relative,
    tree_of,
)

DIRECTIVE = re.compile(r"^::: ([\w.]+)$", re.MULTILINE)


def needs(package: str) -> None:
    """The modules of kernels_triton can be loaded only with torch."""
    if package == "kernels_triton" and importlib.util.find_spec("torch") is None:
        pytest.skip("kernels_triton needs torch to be loaded")


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_module_says_what_it_is(package):
    names = public_modules(package)
    bare = [
        relative(path_of(name)) for name in names if not ast.get_docstring(tree_of(path_of(name)))
    ]
    assert not bare, f"modules without a docstring: {bare}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_package_declares_what_is_public(package):
    faults = []
    for name in public_modules(package):
        declared, bound = declared_names(name), bound_names(name)
        if is_package(name) and declared is None and bound:
            faults.append(f"{name} binds {sorted(bound)} and has no __all__")
        if any(item.startswith("_") and item != "__version__" for item in declared or ()):
            faults.append(f"{name}.__all__ holds private names")
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("package", PACKAGES)
def test_every_public_name_is_documented(package):
    needs(package)
    faults = [
        f"{module}.{name} {fault}"
        for module, name, thing in public_objects(package)
        for fault in faults_of(thing, name, module)
    ]
    assert not faults, "\n" + "\n".join(sorted(faults))


@pytest.mark.parametrize("package", PACKAGES)
def test_examples_stand_in_the_section_that_pages_show_as_code(package):
    odd = [
        f"{relative(path)}:{line} {name}"
        for path in python_files(package)
        for name, line, text in docstrings_of(tree_of(path))
        if has_section(text, "Example")
    ]
    assert not odd, "name the section `Examples:`, not `Example:`:\n" + "\n".join(odd)


def documented() -> dict[str, str]:
    """Every module that a page of docs/api shows, and the page."""
    return {
        target: relative(page)
        for page in sorted((ROOT / "docs" / "api").glob("*.md"))
        for target in DIRECTIVE.findall(page.read_text(encoding="utf-8"))
    }


def test_docs_show_every_package_and_nothing_else():
    packages = {
        name for package in PACKAGES for name in public_modules(package) if is_package(name)
    }
    # A module that a package offers as such, `divergences.simplex`, has a heading of its own.
    offered = {
        item.target
        for name in packages
        for item in imports_of(tree_of(path_of(name)))
        if is_module(item.target) and item.bound in (declared_names(name) or ())
    }
    shown = documented()
    missing = sorted((packages | offered) - set(shown))
    assert not missing, f"docs/api has no `::: name` for {missing}"
    unknown = [name for name in shown if not is_module(name) and not is_package(name)]
    assert not unknown, f"docs/api shows what does not exist: {unknown}"


def test_docs_list_every_page():
    navigation = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    pages = [path.relative_to(ROOT / "docs").as_posix() for path in (ROOT / "docs").rglob("*.md")]
    absent = [page for page in sorted(pages) if page not in navigation]
    assert not absent, f"mkdocs.yml does not list {absent}"


def good(x: float) -> float:
    """Twice `x`.

    Args:
      x: a number.

    Returns:
      Twice the number.

    Examples:
      >>> good(1.0)
      2.0
    """
    return 2 * x


def bare(x: float) -> float:
    """Twice `x`."""
    return 2 * x


def silent(x):
    return x


class Record(NamedTuple):
    x: float


class Plain:
    """A thing.

    Examples:
      >>> Plain(1).x
      1
    """

    def __init__(self, x):
        self.x = x

    def method(self):
        return self.x


@pytest.mark.parametrize(
    ("thing", "faults"),
    [
        (good, []),
        (bare, ["`Args:`", "`Returns:`", "doctest"]),
        (silent, ["no docstring"]),
        (Record, ["NamedTuple"]),
        (Plain, ["`Args:`", "`method`"]),
        (3.0, ["constant"]),
    ],
)
def test_each_fault_is_seen(thing, faults):
    name = getattr(thing, "__name__", "constant")
    found = faults_of(thing, name, "igeojax")
    assert len(found) == len(faults)
    assert all(part in line for part, line in zip(faults, found, strict=True)), found
