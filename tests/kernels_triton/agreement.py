"""An operation beside its float64 reference, values and gradients."""

import torch

from kernels_triton._tolerances import TOLERANCES, error


def value_and_gradients(function, tensors, cotangent):
    """The value, and the gradients to all tensors."""
    leaves = [tensor.detach().requires_grad_() for tensor in tensors]
    value = function(*leaves)
    return value.detach(), torch.autograd.grad(value, leaves, cotangent.to(value.dtype))


def assert_agrees(operation, reference, tensors, gradient_scale=1.0):
    """Value and gradients are those of float64 autograd; a sum over rows may have more terms."""
    dtype = tensors[0].dtype
    value = operation(*tensors)
    generator = torch.Generator().manual_seed(0)
    cotangent = torch.rand(value.shape, generator=generator).to(value.device, value.dtype)
    value, gradients = value_and_gradients(operation, tensors, cotangent)
    doubles = [tensor.double() for tensor in tensors]
    exact, exact_gradients = value_and_gradients(reference, doubles, cotangent)
    assert value.shape == exact.shape
    assert value.is_contiguous()
    assert error(value, exact) <= TOLERANCES[value.dtype]
    for gradient, expected, tensor in zip(gradients, exact_gradients, tensors, strict=True):
        assert gradient.shape == tensor.shape
        assert gradient.dtype == dtype
        assert error(gradient, expected) <= gradient_scale * TOLERANCES[dtype]
