"""Logits of directions against float64, at zero vectors, and as torch operators."""

import math

import pytest
import torch

from kernels_triton import _von_mises_fisher as directions
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.agreement import assert_agrees, value_and_gradients
from tests.kernels_triton.layouts import any_view

LOGITS = directions.von_mises_fisher_logits
REFERENCE = directions.von_mises_fisher_logits_reference
INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("implementation")


def draw(shape, count, dtype, device):
    generator = torch.Generator().manual_seed(0)
    shapes = (shape, (count, shape[-1]), (count,))
    x, mu, kappa = (torch.randn(part, generator=generator) for part in shapes)
    return [tensor.to(device, dtype) for tensor in (3 * x, mu, 2 * kappa)]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(
    ("shape", "count"),
    [((5,), 1), ((67, 3), 70), ((2, 3, 33), 16), ((70, 100), 13), ((0, 3), 2), ((3, 4), 0)],
)
def test_values_and_gradients(shape, count, dtype, device):
    assert_agrees(LOGITS, REFERENCE, draw(shape, count, dtype, device))


@any_view
def test_any_stride(view, device):
    x = view(torch.randn(20, 12, device=device))
    _, mu, kappa = draw(x.shape, 6, torch.float32, device)
    assert_agrees(LOGITS, REFERENCE, [x, mu.T.contiguous().T, kappa[::2].repeat_interleave(2)])


def test_sums_that_are_split(monkeypatch, device):
    monkeypatch.setattr(directions, "_FEW_PROGRAMS", 3)
    assert_agrees(LOGITS, REFERENCE, draw((500, 5), 4, torch.float32, device), gradient_scale=4)


def test_numbers_and_partial_gradients(device):
    x, mu, _ = draw((7, 4), 3, torch.float32, device)
    found = LOGITS(x, mu, 2)
    assert error(found, REFERENCE(x, mu, 2)) <= TOLERANCES[torch.float32]
    assert torch.equal(found, LOGITS(x, mu, torch.full((3,), 2.0, device=device)))
    kappa = torch.tensor(2.0, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(LOGITS(x, mu, kappa).sum(), kappa)
    assert error(gradient, found.sum() / 2) < 1e-6
    x.requires_grad_()
    (gradient,) = torch.autograd.grad(LOGITS(x, mu).sum(), x)
    assert error((gradient * x).sum(-1), torch.zeros(7)) < 1e-6  # of length nothing depends


@pytest.mark.parametrize("scale", [1e-12, 1e12])
def test_length_does_not_matter(scale, device):
    x, mu, kappa = draw((7, 4), 3, torch.float32, device)
    cotangent = torch.rand(7, 3, device=device)
    value, gradients = value_and_gradients(LOGITS, (x, mu, kappa), cotangent)
    scaled = (scale * x, mu / scale, kappa)
    other, others = value_and_gradients(LOGITS, scaled, cotangent)
    assert error(other, value) < 1e-6
    assert error(scale * others[0], gradients[0]) < 1e-5
    assert error(others[1] / scale, gradients[1]) < 1e-5


def test_zero_vectors_and_what_is_no_number(device):
    x, mu, kappa = draw((6, 4), 3, torch.float32, device)
    x[1], mu[2], x[3, 0], x[4, 0] = 0.0, 0.0, NAN, INF
    value, gradients = value_and_gradients(LOGITS, (x, mu, kappa), torch.ones(6, 3, device=device))
    assert (value[1] == 0).all()
    assert (value[[0, 2, 5], 2] == 0).all()
    assert value[3:5].isnan().all()
    assert value[[0, 2, 5]].isfinite().all()
    assert (gradients[0][1] == 0).all()
    assert gradients[0][3:5].isnan().all()
    assert gradients[0][[0, 2, 5]].isfinite().all()
    _, gradients = value_and_gradients(LOGITS, (x[:3], mu, kappa), torch.ones(3, 3, device=device))
    assert (gradients[1][2] == 0).all()
    assert all(gradient.isfinite().all() for gradient in gradients)


def test_same_bits_every_time(device):
    tensors = draw((300, 5), 4, torch.float32, device)
    cotangent = torch.rand(300, 4, device=device)
    value, gradients = value_and_gradients(LOGITS, tensors, cotangent)
    again, others = value_and_gradients(LOGITS, tensors, cotangent)
    assert torch.equal(value, again)
    assert all(torch.equal(one, two) for one, two in zip(gradients, others, strict=True))


def test_opcheck(device):
    tensors = [tensor.requires_grad_() for tensor in draw((5, 3), 4, torch.float32, device)]
    torch.library.opcheck(directions._von_mises_fisher, tensors)
    tensors = [tensor.detach() for tensor in tensors]
    lengths = [torch.ones(size, device=device) for size in (5, 4)]
    arguments = (torch.ones(5, 4, device=device), *tensors, *lengths, [True, False, True])
    torch.library.opcheck(directions._von_mises_fisher_backward, arguments)


@pytest.mark.parametrize(
    ("arguments", "exception", "message"),
    [
        ((1.0, torch.ones(2, 3)), TypeError, "x must be a torch.Tensor; got float"),
        ((torch.ones(()), torch.ones(2, 3)), ValueError, "x must have at least one axis"),
        ((torch.ones(3), 1.0), TypeError, "mu must be a torch.Tensor; got float"),
        ((torch.ones(3), torch.ones(3)), ValueError, r"mu must have shape \(3, 3\)"),
        ((torch.ones(3), torch.ones(2, 4)), ValueError, r"mu must have shape \(2, 3\)"),
        ((torch.ones(3), torch.ones(2, 3), True), TypeError, "kappa must be a tensor or a number"),
        ((torch.ones(3), torch.ones(2, 3), torch.ones(3)), ValueError, "kappa must have shape"),
        ((torch.ones(3), torch.ones(2, 3).double()), TypeError, "mu must have the dtype of x"),
    ],
)
def test_bad_input(arguments, exception, message):
    with pytest.raises(exception, match=message):
        LOGITS(*arguments)
