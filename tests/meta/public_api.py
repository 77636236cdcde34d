"""What is public, and what a docstring has to say about it."""

import ast
import dataclasses
import importlib
import inspect
import itertools
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TypeVar, get_origin

from tests.meta.sources import (
    ROOT,
    imports_of,
    is_private,
    module_name,
    python_files,
    tree_of,
)


def public_modules(package: str) -> list[str]:
    """Modules and packages without an underscore in their path, `__main__` left out."""
    names = [module_name(path) for path in python_files(package)]
    return [name for name in names if not is_private(name) and not name.endswith("__main__")]


def path_of(module: str) -> Path:
    """The file of a module or package."""
    base = ROOT / Path(*module.split("."))
    return base / "__init__.py" if base.is_dir() else base.with_suffix(".py")


def declared_names(module: str) -> list[str] | None:
    """`__all__` as it stands in the file, or None where there is none."""
    for node in tree_of(path_of(module)).body:
        targets = node.targets if isinstance(node, ast.Assign) else []
        if any(isinstance(target, ast.Name) and target.id == "__all__" for target in targets):
            return ast.literal_eval(node.value)  # pyright: ignore[reportAttributeAccessIssue]
    return None


def bound_names(module: str) -> set[str]:
    """Public names that the file defines or, in a package's `__init__`, imports."""
    body = tree_of(path_of(module)).body
    is_init = path_of(module).name == "__init__.py"
    names: set[str] = set()
    for node in body:
        if isinstance(node, ast.ClassDef | ast.FunctionDef):
            names.add(node.name)
        elif isinstance(node, ast.Assign):
            names |= {target.id for target in node.targets if isinstance(target, ast.Name)}
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            names.add(node.target.id)
        elif is_init and isinstance(node, ast.Import | ast.ImportFrom):
            names |= {alias.asname or alias.name.partition(".")[0] for alias in node.names}
    return {name for name in names if not name.startswith("_")}


def public_names(module: str) -> list[str]:
    """`__all__`, or for a module without one the public names that it defines."""
    declared = declared_names(module)
    return sorted(bound_names(module) if declared is None else declared)


def public_objects(package: str) -> Iterator[tuple[str, str, Any]]:
    """Module, name and object of everything public."""
    for module in public_modules(package):
        loaded = importlib.import_module(module)
        for name in public_names(module):
            yield module, name, getattr(loaded, name)


def is_described(name: str, module: str) -> bool:
    """Whether the constant has a docstring where it, or what the package re-exports, is made."""
    homes = [item.module for item in imports_of(tree_of(path_of(module))) if item.bound == name]
    return any(name in constants_described(home) for home in [module, *homes])


def constants_described(module: str) -> set[str]:
    """Assigned names that are followed by a string, the docstring of a constant."""
    body = tree_of(path_of(module)).body
    described = set()
    for node, following in itertools.pairwise(body):
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            targets = node.targets if isinstance(node, ast.Assign) else []
            targets = [node.target] if isinstance(node, ast.AnnAssign) else targets
            described |= {target.id for target in targets if isinstance(target, ast.Name)}
    return described


def parameters_of(thing: Any) -> list[str]:
    """Names of the parameters of a call."""
    try:
        signature = inspect.signature(thing)
    except (TypeError, ValueError):
        return []
    return [name for name in signature.parameters if name not in ("self", "cls")]


def has_section(doc: str, *names: str) -> bool:
    """Whether the docstring has one of the sections."""
    return any(f"\n{name}:\n" in f"\n{doc}\n" for name in names)


def is_record(thing: type) -> bool:
    """Whether the class only names fields or abstract methods: there is nothing to call."""
    named_tuple = issubclass(thing, tuple) and hasattr(thing, "_fields")
    own = [member for name, member in vars(thing).items() if not name.startswith("_")]
    fields_only = dataclasses.is_dataclass(thing) and not any(map(inspect.isfunction, own))
    abstract = getattr(thing, "_is_protocol", False) or inspect.isabstract(thing)
    return named_tuple or fields_only or abstract


def faults_of_class(thing: type, doc: str) -> Iterator[str]:
    """What the documentation of a public class lacks."""
    if not is_record(thing) and not issubclass(thing, Exception):
        if parameters_of(thing) and not has_section(doc, "Args", "Attributes"):
            yield "has parameters but no `Args:` section"
        if ">>>" not in doc:
            yield "has no doctest"
    for name, member in vars(thing).items():
        if name.startswith("_") or not isinstance(
            member, types.FunctionType | property | classmethod | staticmethod
        ):
            continue
        if not inspect.getdoc(getattr(thing, name)):
            yield f"has a method `{name}` without docstring, own or inherited"


def faults_of_function(thing: Any, doc: str) -> Iterator[str]:
    """What the documentation of a public function lacks."""
    if parameters_of(thing) and not has_section(doc, "Args"):
        yield "has parameters but no `Args:` section"
    annotation = getattr(inspect.unwrap(thing), "__annotations__", {}).get("return", "")
    if annotation not in (None, "None") and not has_section(doc, "Returns", "Yields"):
        yield "has no `Returns:` section"
    if ">>>" not in doc:
        yield "has no doctest"


def faults_of(thing: Any, name: str, module: str) -> list[str]:
    """What the documentation of a public object lacks."""
    if isinstance(thing, TypeVar):
        return []
    alias = get_origin(thing) is not None  # `Predict = Callable[...]`
    if alias or not (callable(thing) or isinstance(thing, types.ModuleType)):
        described = is_described(name, module)
        return [] if described else ["is a constant without a docstring below it"]
    doc = inspect.getdoc(thing)
    if not doc or (isinstance(thing, type) and "__doc__" not in vars(thing)):
        return ["has no docstring"]
    if is_record_docstring_missing(thing, doc):
        return ["has only the docstring that NamedTuple or dataclass writes"]
    if isinstance(thing, types.ModuleType):
        return []
    faults = faults_of_class if isinstance(thing, type) else faults_of_function
    return list(faults(thing, doc))


def is_record_docstring_missing(thing: Any, doc: str) -> bool:
    """Whether the docstring is the signature that Python fills in."""
    return isinstance(thing, type) and doc.startswith(f"{thing.__name__}(")
