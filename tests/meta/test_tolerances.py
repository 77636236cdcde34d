"""A relative tolerance says what it is absolutely: pytest adds 1e-12 where nothing is said."""

import ast

from tests.meta.sources import python_files, relative, tree_of


def test_relative_tolerances_name_the_absolute_one():
    # A divergence of near laws is far below 1e-12: without `abs=` any value would pass.
    loose = [
        f"{relative(path)}:{node.lineno}"
        for path in python_files("tests")
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) == "pytest.approx"
        and {word.arg for word in node.keywords} & {"rel", "abs"} == {"rel"}
    ]
    assert not loose, f"write abs=0, or the absolute tolerance that is meant: {loose}"
