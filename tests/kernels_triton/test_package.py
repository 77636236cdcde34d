"""The package's names and the examples in its docstrings."""

import doctest
import importlib

import pytest

import kernels_triton


@pytest.mark.parametrize("name", kernels_triton.__all__)
def test_names_are_functions_also_after_their_modules_are_imported(name):
    assert getattr(kernels_triton, name).__name__ == name
    assert name in dir(kernels_triton)


def test_unknown_name():
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = kernels_triton.nothing


@pytest.mark.parametrize("module", ["_softmax", "_normal_log_density", "jax_bridge", "crosscheck"])
def test_docstrings(module):
    failed, tried = doctest.testmod(importlib.import_module(f"kernels_triton.{module}"))
    assert tried
    assert not failed
