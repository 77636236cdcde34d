"""`assert` disappears under `python -O`: library code raises ValueError or TypeError."""

import ast

from tests.meta.sources import PACKAGES, python_files, relative, tree_of


def test_no_assert_in_library_code():
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in python_files(*PACKAGES)
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.Assert)
    ]
    assert not found, f"raise an error that says what was required, instead of assert: {found}"
