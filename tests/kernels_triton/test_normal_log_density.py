"""The normal log-density and its sum against float64, broadcasting, and as torch operators."""

import math

import numpy as np
import pytest
import torch

from kernels_triton import _normal_log_density as normal
from kernels_triton._tolerances import TOLERANCES, error

OPERATIONS = ("normal_log_density", "normal_log_likelihood")
INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("implementation")


def draw(shape, dtype, device, transposed=False):
    x, loc, scale = (torch.randn(shape, device=device) for _ in range(3))
    tensors = [tensor.to(dtype) for tensor in (x, loc, 0.5 + scale.abs())]
    return [tensor.T for tensor in tensors] if transposed else tensors


def assert_matches(name, tensors):
    """Value and gradients agree with float64 autograd of the reference."""
    operation, reference = getattr(normal, name), getattr(normal, f"{name}_reference")
    dtype = tensors[0].dtype
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    doubles = [tensor.double().detach().requires_grad_() for tensor in tensors]
    value, exact = operation(*leaves), reference(*doubles)
    assert value.shape == exact.shape
    assert value.is_contiguous()
    assert error(value, exact) <= TOLERANCES[value.dtype]
    cotangent = torch.rand(value.shape, device=value.device).to(value.dtype)
    found = torch.autograd.grad(value, leaves, cotangent)
    expected = torch.autograd.grad(exact, doubles, cotangent.double())
    for gradient, exact_gradient, leaf in zip(found, expected, leaves, strict=True):
        assert gradient.shape == leaf.shape
        assert gradient.dtype == dtype
        assert error(gradient, exact_gradient) <= TOLERANCES[dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    ("shape", "transposed"), [((), False), ((6,), False), ((3, 2050), False), ((300, 7), True)]
)
@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients(name, shape, transposed, dtype, device):
    torch.manual_seed(0)
    assert_matches(name, draw(shape, dtype, device, transposed))


@pytest.mark.parametrize(
    "shapes",
    [
        ((5, 3), (3,), ()),
        ((5, 3), (5, 1), (1, 3)),
        ((3,), (4, 1), (2, 1, 1)),
        ((2, 3, 4), (3, 4), (2, 1, 4)),
    ],
    ids=str,
)
def test_broadcasting(shapes, device):
    torch.manual_seed(1)
    tensors = [draw(shape, torch.float32, device)[2] for shape in shapes]
    for name in OPERATIONS:
        assert_matches(name, tensors)


def test_numbers_and_partial_gradients(device):
    x = torch.randn(4, 5, device=device, requires_grad=True)
    value = normal.normal_log_density(x, 1, 2.0)
    one, two = torch.tensor(1.0), torch.tensor(2.0)
    assert error(value, normal.normal_log_density_reference(x.cpu(), one, two)) < 1e-6
    (gradient,) = torch.autograd.grad(value.sum(), x)
    assert error(gradient, (1 - x) / 4) < 1e-6
    scale = torch.full((), 2.0, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(normal.normal_log_likelihood(x.detach(), 1.0, scale), scale)
    assert error(gradient, (((x - 1) / 2) ** 2 - 1).sum() / 2) < 1e-5


def test_empty(device):
    x = torch.zeros(0, 3, device=device, requires_grad=True)
    assert normal.normal_log_density(x, 0.0, 1.0).shape == (0, 3)
    total = normal.normal_log_likelihood(x, torch.zeros(3, device=device), 1.0)
    assert total.item() == 0
    total.backward()
    assert x.grad is not None
    assert x.grad.shape == (0, 3)


def test_outside_the_domain(device):
    x = torch.tensor([0.0, 1.0, INF, NAN, 0.0, 0.0, 3.0], device=device)
    scale = torch.tensor([0.0, 0.0, 1.0, 1.0, -1.0, NAN, INF], device=device)
    found = normal.normal_log_density(x, 0.0, scale).tolist()
    assert [math.isnan(value) for value in found] == [True, True, False, True, True, True, False]
    assert found[2] == found[6] == -INF


def test_sum_is_the_same_every_time_and_holds_more_than_float16(device):
    x = torch.randn(3, 5000, device=device).half()
    first = normal.normal_log_likelihood(x, 0.0, 0.01)
    assert first.dtype == torch.float32
    assert first < -(2**16)
    assert all(normal.normal_log_likelihood(x, 0.0, 0.01) == first for _ in range(3))


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradcheck(name, device):
    tensors = [tensor.requires_grad_() for tensor in draw((2, 3), torch.float64, device)]
    assert torch.autograd.gradcheck(getattr(normal, name), tensors, fast_mode=True)


@pytest.mark.parametrize("reduce", [False, True])
def test_opcheck(reduce, device):
    tensors = [tensor.requires_grad_() for tensor in draw((4, 3), torch.float32, device)]
    torch.library.opcheck(normal._normal_log_density, (*tensors, reduce))
    tensors = [tensor.detach() for tensor in (tensors[0], *tensors)]
    backward = normal._normal_log_density_backward
    torch.library.opcheck(backward, (*tensors, [True, False, True]))


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((1.0, 0.0, 1.0), TypeError, "x must be a torch.Tensor; got float"),
        ((torch.ones(3), "0", 1.0), TypeError, "loc must be a torch.Tensor; got str"),
        (
            (torch.ones(3), True, 1.0),
            TypeError,
            "loc must be a tensor or a number; got bool",
        ),
        ((torch.ones(3), 0.0, True), TypeError, "scale must be a tensor or a number; got bool"),
        ((torch.ones(3), 0.0, torch.ones(3).double()), TypeError, "scale must have the dtype of x"),
        (
            (torch.ones(3), torch.ones(4), 1.0),
            ValueError,
            r"broadcast together; got \(3,\), \(4,\)",
        ),
        ((torch.ones(3), torch.ones(3, device="meta"), 1.0), ValueError, "on the device of x, cpu"),
    ],
)
def test_bad_input(arguments, exception, message):
    for name in OPERATIONS:
        with pytest.raises(exception, match=message):
            getattr(normal, name)(*arguments)


def test_numbers_of_numpy_are_numbers(device):
    x = torch.ones(3, device=device)
    found = normal.normal_log_density(x, np.float32(0.5), np.int64(2))
    assert torch.equal(found, normal.normal_log_density(x, 0.5, 2.0))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's forward mode scripts functions
@pytest.mark.parametrize("name", OPERATIONS)
def test_only_first_derivatives_in_reverse_mode(name, device):
    x = torch.ones(3, device=device, requires_grad=True)
    operation = getattr(normal, name)
    (gradient,) = torch.autograd.grad(operation(x, 0.0, 1.0).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match=r"normal_log_density_backward.* no autograd formula"):
        torch.autograd.grad(gradient.sum(), x)
    with pytest.raises(NotImplementedError, match="must be a plain tensor; got one with a tangent"):
        torch.func.jvp(lambda x: operation(x, 0.0, 1.0), (x.detach(),), (x.detach(),))


@pytest.mark.gpu
def test_offsets_past_32_bits(device):
    x = torch.zeros(2**31 + 5, device=device, dtype=torch.float16)
    x[-1] = 2.0
    density = normal.normal_log_density(x, 0.0, 1.0)
    assert error(density[-1], torch.tensor(-2 - math.log(2 * math.pi) / 2)) <= 1e-3
