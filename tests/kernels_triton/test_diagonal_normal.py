"""The log-density of rows of independent coordinates, against float64 and as a torch operator."""

import math

import pytest
import torch

from kernels_triton import _diagonal_normal as normal
from kernels_triton import _launch
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.agreement import assert_agrees
from tests.kernels_triton.layouts import any_view

NAMES = ("diagonal_normal_log_density", "diagonal_normal_log_likelihood")
INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("implementation")


def operation_of(name):
    return getattr(normal, name), getattr(normal, f"{name}_reference")


def draw(shape, dtype, device):
    generator = torch.Generator().manual_seed(0)
    size = shape[-1]
    tensors = [torch.randn(part, generator=generator) for part in (shape, (size,), (size,))]
    tensors[2] = 0.5 + tensors[2].abs()
    return [tensor.to(device, dtype) for tensor in tensors]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(7,), (1, 1), (331, 3), (2, 3, 16), (3, 5000)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients(name, shape, dtype, device):
    assert_agrees(*operation_of(name), draw(shape, dtype, device))


@any_view
def test_any_stride(view, device):
    x = view(torch.randn(20, 12, device=device))
    _, loc, scale = draw(x.shape, torch.float32, device)
    spread = torch.stack([loc, scale], 1)
    for name in NAMES:
        assert_agrees(*operation_of(name), [x, spread[:, 0], spread[:, 1]])


def test_programs_that_take_several_tiles(monkeypatch, device):
    monkeypatch.setattr(normal, "_MOST_PROGRAMS", 3)
    for name in NAMES:
        assert_agrees(*operation_of(name), draw((1300, 16), torch.float32, device), 2)


def test_the_split_of_rows():
    assert _launch.row_split(0, 5) == (0, 1)
    assert _launch.row_split(5, 5) == (5, 1)
    assert _launch.row_split(6, 5) == (3, 2)
    assert _launch.row_split(1000, 3) == (2, 512)


def test_numbers_and_partial_gradients(device):
    x, loc, scale = draw((5, 3), torch.float32, device)
    numbers = normal.diagonal_normal_log_density(x, 1, torch.tensor(2.0, device=device))
    spread = normal.diagonal_normal_log_density(x, torch.ones_like(loc), 2 * torch.ones_like(scale))
    assert torch.equal(numbers, spread)
    number = torch.tensor(2.0, device=device, requires_grad=True)
    (found,) = torch.autograd.grad(normal.diagonal_normal_log_likelihood(x, 1.0, number), number)
    assert error(found, ((x - 1) ** 2 / 8 - 0.5).sum()) < 1e-5
    x.requires_grad_()
    (found,) = torch.autograd.grad(normal.diagonal_normal_log_likelihood(x, loc, scale), x)
    assert error(found, (loc - x) / scale**2) < 1e-6


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_empty(shape, device):
    tensors = draw(shape, torch.float32, device)
    for name in NAMES:
        assert_agrees(*operation_of(name), tensors)


def test_outside_the_domain(device):
    x = torch.tensor([[0.0, 1.0], [INF, 1.0], [-INF, INF], [NAN, INF]], device=device)
    x.requires_grad_()
    loc = torch.zeros(2, device=device, requires_grad=True)
    scale = torch.ones(2, device=device, requires_grad=True)
    found = normal.diagonal_normal_log_density(x, loc, scale)
    assert found[0].detach().item() == pytest.approx(-0.5 - math.log(2 * math.pi), rel=1e-6, abs=0)
    assert found[1:3].detach().tolist() == [-INF, -INF]
    assert found[3].isnan()
    cotangent = torch.tensor([1.0, 0.0, 0.0, 0.0], device=device)
    for gradient in torch.autograd.grad(found, (x, loc, scale), cotangent):
        assert gradient.isfinite().all()
    for bad in (0.0, -1.0, NAN):
        scale = torch.tensor([1.0, bad], device=device)
        assert normal.diagonal_normal_log_density(x.detach(), 0.0, scale).isnan().all()


def test_sum_is_the_same_every_time_and_holds_more_than_float16(device):
    x = torch.randn(3000, 5, device=device).half()
    first = normal.diagonal_normal_log_likelihood(x, 0.0, 0.01)
    assert first.dtype == torch.float32
    assert first < -(2**16)
    assert all(normal.diagonal_normal_log_likelihood(x, 0.0, 0.01) == first for _ in range(3))


@pytest.mark.parametrize("reduce", [False, True])
def test_opcheck(reduce, device):
    tensors = [tensor.requires_grad_() for tensor in draw((4, 3), torch.float32, device)]
    torch.library.opcheck(normal._diagonal_normal, (*tensors, reduce))
    tensors = [tensor.detach() for tensor in tensors]
    arguments = (torch.ones(4, device=device), *tensors, [True, False, True])
    torch.library.opcheck(normal._diagonal_normal_backward, arguments)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((1.0, 0.0, 1.0), TypeError, "x must be a torch.Tensor; got float"),
        ((torch.ones(()), 0.0, 1.0), ValueError, "x must have at least one axis"),
        ((torch.ones(3), True, 1.0), TypeError, "loc must be a tensor or a number; got bool"),
        ((torch.ones(3), 0.0, torch.ones(3).double()), TypeError, "scale must have the dtype of x"),
        ((torch.ones(3), torch.ones(4), 1.0), ValueError, "loc must have shape"),
        ((torch.ones(2, 3), 0.0, torch.ones(2, 1)), ValueError, "scale must have shape"),
        ((torch.ones(3), torch.ones(3, device="meta"), 1.0), ValueError, "on the device of x, cpu"),
    ],
)
def test_bad_input(arguments, exception, message):
    for name in NAMES:
        with pytest.raises(exception, match=message):
            getattr(normal, name)(*arguments)


@pytest.mark.gpu
def test_offsets_past_32_bits(device):
    x = torch.zeros(2**27 + 1, 16, device=device, dtype=torch.float16)
    x[-1] = 2.0
    density = normal.diagonal_normal_log_density(x, 0.0, 1.0)
    assert error(density[-1], torch.tensor(-32 - 8 * math.log(2 * math.pi))) <= 1e-3
