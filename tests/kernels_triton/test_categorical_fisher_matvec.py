"""Products with the categorical Fisher matrix against float64, at infinities, as operators."""

import math

import pytest
import torch

from kernels_triton import _categorical_fisher_matvec as fisher
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.layouts import VIEWS

INF, NAN = math.inf, math.nan
LONG = 5000  # more than one block

pytestmark = pytest.mark.usefixtures("implementation")


def with_gradients(function, x, v, cotangent):
    x, v = x.detach().requires_grad_(), v.detach().requires_grad_()
    out = function(x, v)
    return out.detach(), *torch.autograd.grad(out, (x, v), cotangent)


def assert_matches(x, v):
    """Value and gradients agree with float64 autograd of the reference."""
    shape = torch.broadcast_shapes(x.shape, v.shape)
    cotangent = torch.randn(shape, device=x.device).to(x.dtype)
    found = with_gradients(fisher.categorical_fisher_matvec, x, v, cotangent)
    reference = fisher.categorical_fisher_matvec_reference
    exact = with_gradients(reference, x.double(), v.double(), cotangent.double())
    assert found[0].is_contiguous()
    for actual, expected in zip(found, exact, strict=True):
        assert actual.dtype == x.dtype
        assert actual.shape == expected.shape
        assert error(actual, expected) <= TOLERANCES[x.dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (5, 7), (3, 1, 33), (2, LONG)], ids=str)
def test_values_and_gradients(shape, dtype, device):
    torch.manual_seed(0)
    x, v = 3 * torch.randn(shape, device=device), torch.randn(shape, device=device)
    assert_matches(x.to(dtype), v.to(dtype))


def test_any_stride_and_broadcasting(device):
    torch.manual_seed(1)
    x, v = (torch.randn(12, 50, device=device).bfloat16() for _ in range(2))
    for view in VIEWS.values():
        assert_matches(view(x), view(v))
    assert_matches(x, v[0])
    assert_matches(x.reshape(4, 6, 25).transpose(0, 1), v[:6, :25].reshape(6, 1, 25))


@pytest.mark.parametrize("columns", [6, LONG])
def test_a_constant_drops_out(columns, device):
    torch.manual_seed(2)
    x = torch.randn(2, columns, device=device)
    v, g = (torch.randn(2, columns, device=device).half().float() for _ in range(2))
    plain = with_gradients(fisher.categorical_fisher_matvec, x, v, g)
    moved = with_gradients(fisher.categorical_fisher_matvec, x, v + 4096, g - 4096)
    near = [z.half().float() for z in (v, g)]
    assert torch.equal(v, near[0])
    # 4096 rounds v and g to 2^-11; a mean that rounded so would be off by as much everywhere.
    v, g = (v + 4096) - 4096, (g - 4096) + 4096
    plain = with_gradients(fisher.categorical_fisher_matvec, x, v, g)
    for a, b in zip(moved, plain, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-7)
    assert not fisher.categorical_fisher_matvec(x, torch.full_like(x, 1e30)).count_nonzero()


@pytest.mark.parametrize("padding", [0, LONG], ids=["one block", "two blocks"])
def test_special_rows(padding, device):
    rows = [[-INF] * 3, [0, -INF, 0], [0, INF, 1], [INF, -INF, INF], [0, NAN, 1], [1e4, -1e4, 1e4]]
    pad = [-INF] * padding
    x = torch.tensor([[*pad, *row] for row in rows], device=device)
    v = torch.tensor([1.0, INF, 3.0], device=device).repeat(6, 1)
    v = torch.nn.functional.pad(v, (padding, 0), value=NAN)  # of classes that nothing chooses
    g = torch.where(v.isfinite(), v, -INF)
    ordinary = torch.tensor([False, False, True, False, True, False], device=device)[:, None]
    v, g = torch.where(ordinary, 1.0, v), torch.where(ordinary, 1.0, g)
    out, to_x, to_v = (
        z[:, padding:].tolist() for z in with_gradients(fisher.categorical_fisher_matvec, x, v, g)
    )
    half = [-0.5, 0, 0.5]
    assert out[:4] == [[0, 0, 0], half, [0, 0, 0], half]
    assert out[5] == half
    assert all(math.isnan(value) for value in out[4])
    assert to_v[:4] == [[0, 0, 0], half, [0, 0, 0], half]
    assert to_x[:4] == [[0, 0, 0]] * 4  # both centered vectors are (-1, 1), of covariance 1
    assert all(math.isnan(value) for value in to_x[4] + to_v[4])


def test_empty(device):
    for shape in [(0, 5), (3, 0), (0,), (2, 0, 3)]:
        x = torch.zeros(shape, device=device)
        for found in with_gradients(fisher.categorical_fisher_matvec, x, x, x):
            assert found.shape == shape


def test_gradcheck_and_opcheck(device):
    torch.manual_seed(3)
    x, v, g = (torch.randn(3, 4, device=device, dtype=torch.float64) for _ in range(3))
    pair = (x.requires_grad_(), v.requires_grad_())
    assert torch.autograd.gradcheck(fisher.categorical_fisher_matvec, pair, fast_mode=True)
    torch.library.opcheck(fisher._categorical_fisher_matvec, pair)
    arguments = (g, x.detach(), v.detach())
    torch.library.opcheck(fisher._categorical_fisher_matvec_backward, arguments)


@pytest.mark.parametrize(
    ("x", "v", "exception", "message"),
    [
        ([1.0], torch.ones(1), TypeError, "logits must be a torch.Tensor; got list"),
        (torch.ones(3), torch.ones(3).long(), TypeError, "tangent must be float16"),
        (torch.ones(3), torch.ones(3).double(), TypeError, "tangent must have the dtype of logits"),
        (torch.tensor(1.0), torch.ones(3), ValueError, "at least one axis; got a scalar"),
        (torch.ones(2, 3), torch.ones(4, 3), ValueError, r"broadcast together; got \(2, 3\) and"),
        (torch.ones(3), torch.ones(3, device="meta"), ValueError, "on the device of logits, cpu"),
    ],
)
def test_bad_input(x, v, exception, message):
    with pytest.raises(exception, match=message):
        fisher.categorical_fisher_matvec(x, v)
