"""The log-density of rows under a Cholesky factor, against substitution in float64."""

import math

import pytest
import torch

from kernels_triton import _multivariate_normal as normal
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.agreement import assert_agrees
from tests.kernels_triton.layouts import any_view

NAMES = ("multivariate_normal_log_density", "multivariate_normal_log_likelihood")
INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("implementation")


def operation_of(name):
    return getattr(normal, name), getattr(normal, f"{name}_reference")


def draw(shape, dtype, device):
    """Above the diagonal stands what must not be read."""
    generator = torch.Generator().manual_seed(0)
    size = shape[-1]
    shapes = (shape, (size,), (size, size))
    x, loc, factor = (torch.randn(part, generator=generator) for part in shapes)
    factor = 0.2 * factor + 1.5 * torch.eye(size)
    return [tensor.to(device, dtype) for tensor in (x, loc, factor)]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(5,), (1, 1), (131, 3), (2, 3, 17), (40, 32), (9, 37)], ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_values_and_gradients(name, shape, dtype, device):
    assert_agrees(*operation_of(name), draw(shape, dtype, device), gradient_scale=2)


@any_view
def test_any_stride(view, device):
    x = view(torch.randn(20, 12, device=device))
    _, loc, factor = draw(x.shape, torch.float32, device)
    for name in NAMES:
        assert_agrees(*operation_of(name), [x, loc, factor.T.contiguous().T])


def test_programs_that_take_several_tiles(monkeypatch, device):
    monkeypatch.setattr(normal, "_MOST_PROGRAMS", 3)
    for name in NAMES:
        assert_agrees(*operation_of(name), draw((500, 5), torch.float32, device), gradient_scale=4)


@pytest.mark.parametrize("condition", [1e3, 1e4, 1e5, 1e6])
@pytest.mark.parametrize("size", [3, 16, 32])
def test_error_grows_with_the_root_of_the_condition(size, condition, device):
    generator = torch.Generator().manual_seed(size)
    turn, _ = torch.linalg.qr(torch.randn(size, size, generator=generator, dtype=torch.float64))
    spectrum = torch.logspace(0, -math.log10(condition), size, dtype=torch.float64)
    factor = torch.linalg.cholesky(turn * spectrum @ turn.T).float().to(device)
    x = (torch.randn(200, size, generator=generator).to(device)) @ factor.T
    loc = 0.1 * x[0]
    density, reference = operation_of(NAMES[0])
    exact = reference(x, loc, factor)
    z = torch.linalg.solve_triangular(factor.double(), (x - loc).double().T, upper=False)
    scale = (z * z).sum(0) + size
    unit = torch.finfo(torch.float32).eps * math.sqrt(condition)
    assert ((density(x, loc, factor) - exact).abs() / scale).max() < unit
    # The gradients to the parameters are sums that cancel: relative to the size of their terms.
    leaves = [tensor.clone().requires_grad_() for tensor in (x, loc, factor)]
    found = torch.autograd.grad(density(*leaves).sum(), leaves)
    doubles = [tensor.double().requires_grad_() for tensor in (x, loc, factor)]
    expected = torch.autograd.grad(reference(*doubles).sum(), doubles)
    whitening = torch.linalg.inv(factor.double())
    terms = (expected[0].norm(), expected[0].norm(dim=1).sum(), len(x) * whitening.norm())
    for gradient, exact_gradient, size_of_terms in zip(found, expected, terms, strict=True):
        assert (gradient - exact_gradient).norm() < unit * size_of_terms


def test_only_the_lower_triangle_is_read(device):
    x, loc, factor = draw((4, 3), torch.float32, device)
    broken = factor.tril() + torch.full_like(factor, NAN).triu(1)
    broken.requires_grad_()
    found = normal.multivariate_normal_log_density(x, loc, broken)
    assert torch.equal(found, normal.multivariate_normal_log_density(x, loc, factor))
    (gradient,) = torch.autograd.grad(found.sum(), broken)
    assert (gradient.triu(1) == 0).all()
    assert (gradient.tril() != 0).sum() == 6


@pytest.mark.parametrize("shape", [(0, 3), (3, 0), (0,)])
def test_empty(shape, device):
    tensors = draw(shape, torch.float32, device)
    for name in NAMES:
        assert_agrees(*operation_of(name), tensors)


def test_outside_the_domain(device):
    x = torch.tensor([[0.0, 1.0], [INF, 1.0], [-INF, INF], [NAN, INF]], device=device)
    x.requires_grad_()
    loc = torch.zeros(2, device=device, requires_grad=True)
    factor = torch.tensor([[1.0, 0.0], [1.0, 1.0]], device=device, requires_grad=True)
    found = normal.multivariate_normal_log_density(x, loc, factor)
    assert found[0].detach().item() == pytest.approx(-0.5 - math.log(2 * math.pi), rel=1e-6, abs=0)
    assert found[1:3].detach().tolist() == [-INF, -INF]
    assert found[3].isnan()
    cotangent = torch.tensor([1.0, 0.0, 0.0, 0.0], device=device)
    for gradient in torch.autograd.grad(found, (x, loc, factor), cotangent):
        assert gradient.isfinite().all()
    singular = torch.tensor([[1.0, 0.0], [1.0, 0.0]], device=device)
    assert not normal.multivariate_normal_log_density(x[:1].detach(), 0.0, singular).isfinite()


def test_partial_gradients_and_numbers(device):
    x, _, factor = draw((5, 3), torch.float32, device)
    loc = torch.tensor(0.5, device=device, requires_grad=True)
    spread = normal.multivariate_normal_log_density(x, torch.full((3,), 0.5, device=device), factor)
    assert torch.equal(normal.multivariate_normal_log_density(x, 0.5, factor), spread)
    value = normal.multivariate_normal_log_likelihood(x, loc, factor)
    (found,) = torch.autograd.grad(value, loc)
    exact = loc.detach().double().requires_grad_()
    reference = normal.multivariate_normal_log_likelihood_reference
    (expected,) = torch.autograd.grad(reference(x, exact.expand(3), factor), exact)
    assert error(found, expected) < 1e-5


def test_sum_is_the_same_every_time(device):
    tensors = draw((3000, 5), torch.float32, device)
    first = normal.multivariate_normal_log_likelihood(*tensors)
    assert all(normal.multivariate_normal_log_likelihood(*tensors) == first for _ in range(3))


@pytest.mark.parametrize("reduce", [False, True])
def test_opcheck(reduce, device):
    tensors = [tensor.requires_grad_() for tensor in draw((4, 3), torch.float32, device)]
    torch.library.opcheck(normal._multivariate_normal, (*tensors, reduce))
    tensors = [tensor.detach() for tensor in tensors]
    arguments = (torch.ones(4, device=device), *tensors, [True, False, True])
    torch.library.opcheck(normal._multivariate_normal_backward, arguments)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((1.0, 0.0, torch.eye(3)), TypeError, "x must be a torch.Tensor; got float"),
        ((torch.ones(()), 0.0, torch.eye(3)), ValueError, "x must have at least one axis"),
        ((torch.ones(3), 0.0, 1.0), TypeError, "scale_tril must be a torch.Tensor; got float"),
        ((torch.ones(3), True, torch.eye(3)), TypeError, "loc must be a tensor or a number"),
        ((torch.ones(3), 0.0, torch.eye(3).double()), TypeError, "scale_tril must have the dtype"),
        ((torch.ones(3), torch.ones(4), torch.eye(3)), ValueError, "loc must have shape"),
        ((torch.ones(3), 0.0, torch.eye(4)), ValueError, r"must have shape \(3, 3\)"),
        ((torch.ones(3), 0.0, torch.eye(3, device="meta")), ValueError, "on the device of x"),
    ],
)
def test_bad_input(arguments, exception, message):
    for name in NAMES:
        with pytest.raises(exception, match=message):
            getattr(normal, name)(*arguments)
