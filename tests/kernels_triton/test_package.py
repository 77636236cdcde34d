"""The package's names; pytest runs the examples in its docstrings itself."""

import pytest

import kernels_triton


@pytest.mark.parametrize("name", kernels_triton.__all__)
def test_names_are_functions_also_after_their_modules_are_imported(name):
    assert getattr(kernels_triton, name).__name__ == name
    assert name in dir(kernels_triton)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kernels_triton.nothing
