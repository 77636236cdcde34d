"""What the meta-tests read: the files of the two packages, their trees and their imports."""

import ast
import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("igeojax", "kernels_triton")


def python_files(*folders: str) -> list[Path]:
    """All Python files under the folders of the repository, sorted."""
    return sorted(path for folder in folders for path in (ROOT / folder).rglob("*.py"))


def relative(path: Path) -> str:
    """The path as a message shows it."""
    return path.relative_to(ROOT).as_posix()


@functools.cache
def tree_of(path: Path) -> ast.Module:
    """The parsed file."""
    return ast.parse(path.read_text(encoding="utf-8"), filename=str(path))


def module_name(path: Path) -> str:
    """`igeojax/families/normal.py` is `igeojax.families.normal`; an `__init__` is its package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def is_module(name: str) -> bool:
    """Whether the dotted name is a file of this repository, and not a package."""
    return (ROOT / Path(*name.split("."))).with_suffix(".py").is_file()


def is_package(name: str) -> bool:
    """Whether the dotted name is a folder with an `__init__` of this repository."""
    return (ROOT / Path(*name.split(".")) / "__init__.py").is_file()


def is_private(name: str) -> bool:
    """Whether a part of the dotted name starts with one underscore (dunder names are public)."""
    return any(part.startswith("_") and not part.startswith("__") for part in name.split("."))


@dataclass(frozen=True)
class Import:
    """One imported name: `from a.b import c as d` is module `a.b`, name `c`, bound to `d`."""

    module: str
    name: str | None
    bound: str
    line: int
    level: int = 0

    @property
    def target(self) -> str:
        """The dotted path of what is imported."""
        return f"{self.module}.{self.name}" if self.name else self.module

    @property
    def root(self) -> str:
        """The top-level package."""
        return self.module.partition(".")[0]


def imports_of(tree: ast.Module) -> Iterator[Import]:
    """Every import of the file, those inside functions and under `TYPE_CHECKING` included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            for alias in node.names:
                bound = alias.asname or alias.name.partition(".")[0]
                yield Import(alias.name, None, bound, node.lineno)
        elif isinstance(node, ast.ImportFrom):
            for alias in node.names:
                bound = alias.asname or alias.name
                yield Import(node.module or "", alias.name, bound, node.lineno, node.level)


def docstrings_of(tree: ast.Module) -> Iterator[tuple[str, int, str]]:
    """Name, line and text of every docstring of the file."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            text = ast.get_docstring(node)
            if text is not None:
                name = "module" if isinstance(node, ast.Module) else node.name
                yield name, getattr(node, "lineno", 1), text
