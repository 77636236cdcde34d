"""Every public operation is in the table, and every entry of it can be called."""

import pytest
import torch

import kernels_triton
from kernels_triton._operations.operation import function_of, outputs_of, reference_of
from kernels_triton._operations.table import OPERATIONS

NOT_OPERATIONS = {"MixtureStatistics", "to_jax", "to_torch"}


def test_every_public_operation_has_an_entry():
    assert set(OPERATIONS) == set(kernels_triton.__all__) - NOT_OPERATIONS


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_entry_is_complete(name):
    operation = OPERATIONS[name]
    assert function_of(name) is getattr(kernels_triton, name)
    assert reference_of(name).__name__ == f"{name}_reference"
    assert len(operation.cases) >= 3
    assert any(case.transposed for case in operation.cases.values())
    assert operation.compiled
    inputs = next(iter(operation.cases.values())).tensors(torch.float64)
    assert operation.without_gradient <= set(inputs)


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_peer_in_torch_takes_what_the_reference_takes(name):
    operation = OPERATIONS[name]
    for label, case in operation.cases.items():
        inputs = case.tensors(torch.float64)
        assert all(
            torch.equal(x, y)
            for x, y in zip(inputs.values(), case.tensors(torch.float64).values(), strict=True)
        )
        expected = outputs_of(reference_of(name)(**inputs, **case.options))
        found = outputs_of(operation.torch(**inputs, **case.options))
        for a, b in zip(found, expected, strict=True):
            torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9, msg=label)


def test_a_transposed_case_is_stored_by_columns():
    x = OPERATIONS["softmax"].cases["7x1000 transposed"].tensors(torch.bfloat16)["x"]
    assert (x.shape, x.stride(), x.dtype) == ((7, 1000), (1, 7), torch.bfloat16)
