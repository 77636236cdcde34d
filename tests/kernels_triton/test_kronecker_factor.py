"""Factors of K-FAC against float64: averages, ones, splits, symmetry, and as operators."""

import math

import pytest
import torch

from kernels_triton import _kronecker_factor as kronecker
from kernels_triton._launch import accumulator
from kernels_triton._tolerances import TOLERANCES, error

pytestmark = pytest.mark.usefixtures("implementation")


def symmetric(size, dtype, device):
    square = torch.randn(size, size, device=device, dtype=dtype)
    return square + square.mT


def assert_matches(x, homogeneous, averages=True):
    """Value and gradients agree with float64 autograd of the reference."""
    dtype, size = accumulator(x.dtype), x.shape[-1] + homogeneous
    cotangent = symmetric(size, dtype, x.device)
    leaves = [x.detach().requires_grad_()]
    leaves += [symmetric(size, dtype, x.device).requires_grad_()] if averages else []
    doubles = [leaf.detach().double().requires_grad_() for leaf in leaves]
    options = {"decay": 0.7, "homogeneous": homogeneous}
    found = kronecker.kronecker_factor(*leaves, **options)
    exact = kronecker.kronecker_factor_reference(*doubles, **options)
    assert found.dtype == dtype
    assert torch.equal(found, found.mT)
    assert error(found, exact) <= TOLERANCES[dtype]
    gradients = torch.autograd.grad(found, leaves, cotangent)
    expected = torch.autograd.grad(exact, doubles, cotangent.double())
    for actual, gradient, leaf in zip(gradients, expected, leaves, strict=True):
        assert actual.shape == leaf.shape
        assert actual.dtype == leaf.dtype
        assert error(actual, gradient) <= TOLERANCES[leaf.dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("homogeneous", [False, True])
@pytest.mark.parametrize("shape", [(1, 1), (5, 7), (33, 70), (2, 3, 20), (1200, 5)], ids=str)
def test_values_and_gradients(shape, homogeneous, dtype, device):
    torch.manual_seed(0)
    x = torch.randn(shape, device=device).to(dtype)
    assert_matches(x, homogeneous)
    assert_matches(x, homogeneous, averages=False)


@pytest.mark.parametrize("columns", [63, 64, 65, 128, 130])
def test_sizes_at_the_edge_of_a_tile(columns, device):
    torch.manual_seed(1)
    assert_matches(torch.randn(600, columns, device=device), homogeneous=True)


def test_any_stride(device):
    torch.manual_seed(2)
    x = torch.randn(40, 60, device=device)
    for view in (x.mT, x[::3, 1:], x[:1].expand(9, -1), x.reshape(4, 10, 60).transpose(0, 1)):
        assert_matches(view, homogeneous=True)
    previous = symmetric(60, torch.float32, device)
    found = kronecker.kronecker_factor(x, previous.mT[:, :].mT)
    expanded = kronecker.kronecker_factor(x, torch.ones(1, 1, device=device).expand(60, 60))
    assert error(expanded, 0.05 * x.double().mT @ x.double() / 40 + 0.95) <= 4e-6
    assert error(found, kronecker.kronecker_factor_reference(x, previous)) <= 4e-6


def test_the_lower_half_of_the_average_counts(device):
    x = torch.zeros(3, 70, device=device)
    previous = torch.randn(70, 70, device=device)
    found = kronecker.kronecker_factor(x, previous, decay=1.0)
    assert torch.equal(found, previous.tril() + previous.tril(-1).mT)


def test_many_tiles_and_rows_are_covered_once(device):
    for row, column in [(0, 0), (1, 0), (1, 1), (2, 1), (3, 3)]:
        x = torch.zeros(512, 200, device=device)
        x[row::8, 64 * row : 64 * row + 3] = 1.0
        x[row::8, 64 * column : 64 * column + 3] = 1.0
        assert torch.equal(kronecker.kronecker_factor(x).double(), x.double().mT @ x.double() / 512)


def test_equal_bits_every_time(device):
    x = torch.randn(2000, 20, device=device)
    first = kronecker.kronecker_factor(x)
    assert torch.equal(kronecker.kronecker_factor(x), first)


def test_no_examples(device):
    x = torch.zeros(0, 3, device=device, requires_grad=True)
    assert not kronecker.kronecker_factor(x).count_nonzero()
    previous = torch.eye(3, device=device)
    found = kronecker.kronecker_factor(x, previous, decay=0.5)
    assert torch.equal(found, 0.5 * previous)
    found.sum().backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 3)
    assert kronecker.kronecker_factor(torch.zeros(4, 0, device=device)).shape == (0, 0)
    ones = kronecker.kronecker_factor(torch.zeros(4, 0, device=device), homogeneous=True)
    assert ones.tolist() == [[1.0]]


def test_a_bad_example_is_seen_in_its_features_alone(device):
    x = torch.ones(5, 3, device=device)
    x[2, 1] = math.nan
    found = kronecker.kronecker_factor(x).isnan()
    assert found.tolist() == [[False, True, False], [True, True, True], [False, True, False]]


def test_gradcheck_and_opcheck(device):
    torch.manual_seed(3)
    x = torch.randn(4, 3, device=device, dtype=torch.float64, requires_grad=True)
    previous = symmetric(4, torch.float64, device).requires_grad_()
    options = {"decay": 0.3, "homogeneous": True}

    def symmetrized(x, previous):
        return kronecker.kronecker_factor(x, previous, **options)

    # The derivative by `previous` is that along symmetric matrices.
    assert torch.autograd.gradcheck(lambda x: symmetrized(x, previous.detach()), (x,))
    half = lambda p: kronecker.kronecker_factor(x.detach(), p + p.mT, **options)
    assert torch.autograd.gradcheck(half, (previous,))
    torch.library.opcheck(kronecker._kronecker_factor, (x, previous, 0.3, True))
    arguments = (previous.detach(), x.detach(), 0.7, True)
    torch.library.opcheck(kronecker._kronecker_factor_backward, arguments)


@pytest.mark.parametrize(
    ("arguments", "options", "exception", "message"),
    [
        (([1.0],), {}, TypeError, "activations must be a torch.Tensor; got list"),
        ((torch.tensor(1.0),), {}, ValueError, "at least one axis; got a scalar"),
        (
            (torch.ones(2, 3),),
            {"decay": True},
            TypeError,
            "decay must be a Python number; got bool",
        ),
        ((torch.ones(2, 3),), {"decay": 1.5}, ValueError, "decay must be between 0 and 1; got 1.5"),
        ((torch.ones(2, 3), torch.eye(4)), {}, ValueError, r"shape \(3, 3\); got \(4, 4\)"),
        ((torch.ones(2, 3).half(), torch.eye(3).half()), {}, TypeError, "dtype of the result"),
        (
            (torch.ones(2, 3), torch.eye(3, device="meta")),
            {},
            ValueError,
            "on the device of activations, cpu",
        ),
    ],
)
def test_bad_input(arguments, options, exception, message):
    with pytest.raises(exception, match=message):
        kronecker.kronecker_factor(*arguments, **options)
