"""The operators inside `torch.compile`, whole graph and dynamic shapes."""

import pytest
import torch

import kernels_triton


def loss(x, temperature):
    density = kernels_triton.normal_log_density(x, 0.0, 1.0)
    return (kernels_triton.softmax(x, temperature) * density).sum() + kernels_triton.logsumexp(
        2 * x
    ).sum()


# Inductor imports modules of torch that warn of their own deprecation.
INDUCTOR = [pytest.mark.slow, pytest.mark.filterwarnings("ignore::DeprecationWarning")]


@pytest.mark.parametrize("backend", ["aot_eager", pytest.param("inductor", marks=INDUCTOR)])
def test_whole_graph(backend, device):
    compiled = torch.compile(loss, backend=backend, fullgraph=True)
    for shape, temperature in [((4, 7), 1.0), ((6, 9), 0.7), ((3, 11), 0.6)]:
        x = torch.randn(shape, device=device, requires_grad=True)
        expected = loss(x, temperature)
        found = compiled(x, temperature)
        torch.testing.assert_close(found, expected)
        pair = (torch.autograd.grad(value, x)[0] for value in (found, expected))
        torch.testing.assert_close(*pair)


def test_export(device):
    class Model(torch.nn.Module):
        def forward(self, x):
            return kernels_triton.log_softmax(x)

    x = torch.randn(2, 3, device=device)
    program = torch.export.export(Model(), (x,))
    torch.testing.assert_close(program.module()(x), kernels_triton.log_softmax(x))
