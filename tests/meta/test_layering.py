"""Imports run one way: strictly down the ranks, never in a circle, never through an `__init__`."""

import ast

import pytest

from tests.meta.layering import RANKS, cycles_in, faults_of, own_modules
from tests.meta.sources import PACKAGES, ROOT, module_name, python_files, relative, tree_of


def test_every_room_has_a_rank():
    rooms = {path.parent.name for path in (ROOT / "igeojax").glob("*/__init__.py")}
    loose = {path.name for path in (ROOT / "igeojax").glob("*.py")} - {"__init__.py"}
    assert not rooms - set(RANKS), f"give these rooms a rank in layering.py: {rooms - set(RANKS)}"
    assert not loose, f"modules belong into a room of igeojax, these do not: {loose}"


@pytest.mark.parametrize("package", PACKAGES)
def test_every_folder_is_a_package(package):
    folders = {path.parent for path in python_files(package)}
    missing = [relative(folder) for folder in folders if not (folder / "__init__.py").is_file()]
    assert not missing, f"no __init__.py in {missing}: the wheel would leave them half-importable"


@pytest.mark.parametrize("package", PACKAGES)
def test_imports_follow_the_rules(package):
    faults = [
        f"{relative(path)}:{fault}"
        for path in python_files(package)
        for fault in faults_of(tree_of(path), module_name(path), is_init=path.name == "__init__.py")
    ]
    assert not faults, "\n" + "\n".join(faults)


@pytest.mark.parametrize("package", PACKAGES)
def test_no_cycles(package):
    graph = {
        module_name(path): {source for _, source in own_modules(tree_of(path), package)}
        for path in python_files(package)
        if path.name != "__init__.py"  # re-exports only, and nothing may import them
    }
    cycles = cycles_in(graph)
    assert not cycles, "\n" + "\n".join(cycles)


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("igeojax.numerics.gamma", "from igeojax.optim.nothing import f", "does not exist"),
        ("igeojax._core.checks", "import igeojax.numerics.gamma", "only strictly lower ranks"),
        ("igeojax.manifolds.sphere", "import igeojax.discrete.softmax", "only strictly lower"),
        ("igeojax.viz.plots", "from igeojax.numerics import log1mexp", "through a package's"),
        ("igeojax.viz.plots", "from igeojax.numerics.gamma import *", "star import"),
        ("igeojax.viz.plots", "import igeojax", "root package"),
        ("igeojax.numerics.gamma", "from . import safe", "relative import"),
        ("igeojax.numerics.gamma", "import torch.nn", "never imports torch"),
        ("igeojax.numerics.gamma", "def f():\n    from triton import jit", "never imports triton"),
        ("igeojax.numerics.gamma", "import kernels_triton.softmax", "never imports kernels_triton"),
        ("igeojax.numerics.gamma", "from jax._src import core", "private"),
        ("igeojax.numerics.gamma", "import jax\njax._src.core.Jaxpr", "private"),
        ("igeojax.numerics.gamma", "import jax as j\nj.core.eval_jaxpr", "inside JAX"),
        ("igeojax.numerics.gamma", "from jax.interpreters import ad", "inside JAX"),
        ("kernels_triton.softmax", "import igeojax.numerics.gamma", "never imports igeojax"),
        ("kernels_triton.softmax", "import jax", "import jax"),
        ("kernels_triton.jax_bridges", "import jax", "import jax"),
    ],
)
def test_each_rule_bites(module, source, fault):
    faults = faults_of(ast.parse(source), module, is_init=False)
    assert any(fault in line for line in faults), faults


@pytest.mark.parametrize(
    ("module", "source"),
    [
        ("igeojax.viz.plots", "from igeojax.numerics.gamma import trigamma"),
        ("igeojax.viz.plots", "import igeojax.numerics.gamma"),
        ("igeojax.viz.plots", "from igeojax._core import checks"),
        ("igeojax.numerics.gamma", "import jax\njax.core.Tracer\njax.extend.core.Jaxpr"),
        ("kernels_triton.jax.softmax", "import jax, torch"),
        ("kernels_triton.jax_bridge", "import jax, torch"),
        ("kernels_triton.softmax", "import torch, triton"),
    ],
)
def test_what_the_rules_allow(module, source):
    assert faults_of(ast.parse(source), module, is_init=False) == []


def test_a_cycle_is_found():
    assert cycles_in({"a": {"b"}, "b": {"c"}, "c": {"b"}}) == ["b -> c -> b"]
