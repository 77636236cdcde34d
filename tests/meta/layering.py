"""The rules of imports, as a function from one file's tree to a list of faults."""

import ast
from collections.abc import Iterator
from pathlib import Path

from tests.meta.sources import (
    ROOT,
    Import,
    imports_of,
    is_module,
    is_package,
    is_private,
    tree_of,
)

RANKS = {
    "_core": 0,
    "numerics": 1,
    "discrete": 2,
    "manifolds": 2,
    "families": 3,
    "divergences": 4,
    "geometry": 5,
    "fisher": 5,
    "optim": 6,
    "chains": 6,
    "bayes": 6,
    "em": 7,
    "estimation": 7,
    "nn": 7,
    "viz": 8,
}
FORBIDDEN_ROOTS = {
    "igeojax": {
        "torch",
        "triton",
        "kernels_triton",
        "tensorflow",
        "tensorflow_probability",
        "numba",
    },
    "kernels_triton": {"igeojax", "tensorflow", "numba"},
}
JAX_ROOTS = {"jax", "jaxlib", "jaxtyping", "optax", "flax"}
JAX_ROOMS = (
    "kernels_triton._operations",
    "kernels_triton.crosscheck",
    "kernels_triton.jax",
    "kernels_triton.jax_bridge",
)
# Public parts of modules that are otherwise the inside of JAX and move between releases.
PUBLIC_INSIDE = {"jax.core": {"Tracer"}, "jax.interpreters": set(), "jax.lib": set()}


def room_of(module: str) -> str:
    """The package of igeojax that holds the module."""
    parts = module.split(".")
    return parts[1] if len(parts) > 1 else ""


def knows_jax(module: str) -> bool:
    """Whether the module of kernels_triton may import JAX."""
    return any(module == room or module.startswith(f"{room}.") for room in JAX_ROOMS)


def is_rebound(item: Import) -> bool:
    """Whether a package's `__init__` gives the name of one of its modules to something else.

    `from igeojax.optim import kfac` is then the function, where `igeojax/optim/kfac.py` is meant.
    """
    init = ROOT / Path(*item.module.split(".")) / "__init__.py"
    return init.is_file() and any(
        other.bound == item.name and other.target != item.target
        for other in imports_of(tree_of(init))
    )


def own_modules(tree: ast.Module, package: str) -> Iterator[tuple[Import, str]]:
    """Imports from the own package, each with the module that defines what is imported."""
    for item in imports_of(tree):
        if item.root == package:
            names_module = is_module(item.target) or is_package(item.target)
            yield item, item.target if names_module and not is_rebound(item) else item.module


def dotted_uses(tree: ast.Module) -> Iterator[tuple[str, int]]:
    """Dotted paths of imported things as they are used: `jax.core.Tracer`, under any alias."""
    bound = {}
    for item in imports_of(tree):
        plain = item.name is None and item.bound == item.root
        bound[item.bound] = item.root if plain else item.target
        yield item.target, item.line
    for node in ast.walk(tree):
        parts: list[str] = []
        inner: ast.AST = node
        while isinstance(inner, ast.Attribute):
            parts.append(inner.attr)
            inner = inner.value
        if parts and isinstance(inner, ast.Name) and inner.id in bound:
            yield ".".join([bound[inner.id], *reversed(parts)]), node.lineno


def faults_of_jax_internals(tree: ast.Module) -> Iterator[tuple[int, str]]:
    """Uses of private modules and of JAX's inside."""
    for path, line in dotted_uses(tree):
        if path.partition(".")[0] not in JAX_ROOTS:
            continue
        if is_private(path):
            yield line, f"`{path}` is private; use what its package documents"
        for inside, public in PUBLIC_INSIDE.items():
            name = path.removeprefix(f"{inside}.").partition(".")[0]
            if path.startswith(f"{inside}.") and name not in public:
                yield line, f"`{path}` is inside JAX and moves; use jax.extend or a public name"


def faults_of(tree: ast.Module, module: str, *, is_init: bool) -> list[str]:
    """What is wrong with the imports of one module, as lines of `line: fault`."""
    package = module.partition(".")[0]
    faults = list(faults_of_jax_internals(tree))
    for item in imports_of(tree):
        if item.level:
            faults.append((item.line, "relative import; name the module in full"))
        if item.root in FORBIDDEN_ROOTS[package]:
            faults.append((item.line, f"{package} never imports {item.root}"))
        if package == "kernels_triton" and item.root in JAX_ROOTS and not knows_jax(module):
            faults.append((item.line, f"only {', '.join(JAX_ROOMS)} import {item.root}"))
    for item, source in own_modules(tree, package):
        if not is_module(source) and not is_package(source):
            faults.append((item.line, f"`{item.target}` does not exist"))
            continue
        if not is_module(source) and not is_init:
            faults.append(
                (item.line, f"`{item.target}` goes through a package's __init__; name its module")
            )
        if item.name == "*":
            faults.append((item.line, f"star import from {source}"))
        if package == "igeojax":
            faults += [(item.line, text) for text in faults_of_rank(module, source)]
    return [f"{line}: {text}" for line, text in sorted(set(faults))]


def faults_of_rank(module: str, source: str) -> Iterator[str]:
    """What the rank table says of `module` importing `source`."""
    room, other = room_of(module), room_of(source)
    if not room or room == other:
        return
    if not other:
        yield f"{module} imports the root package; name the module"
    elif other in RANKS and room in RANKS and RANKS[other] >= RANKS[room]:
        yield (
            f"{room} (rank {RANKS[room]}) imports {other} (rank {RANKS[other]}); "
            "only strictly lower ranks may be imported"
        )


def cycles_in(graph: dict[str, set[str]]) -> list[str]:
    """The cycles of a graph of imports, one line each."""
    found: set[tuple[str, ...]] = set()
    done: set[str] = set()

    def visit(node: str, trail: list[str]) -> None:
        if node in trail:
            cycle = trail[trail.index(node) :]
            start = cycle.index(min(cycle))
            found.add((*cycle[start:], *cycle[:start]))
            return
        if node in done:
            return
        for following in sorted(graph.get(node, ())):
            visit(following, [*trail, node])
        done.add(node)

    for node in sorted(graph):
        visit(node, [])
    return [" -> ".join([*cycle, cycle[0]]) for cycle in sorted(found)]
