"""Log-probabilities of labels against float64, at infinities, in place, and as torch operators."""

import math

import pytest
import torch

from kernels_triton import _rows
from kernels_triton import _token_log_probs as home
from kernels_triton._token_log_probs import token_log_probs, token_log_probs_reference
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.layouts import any_view

INF, NAN = math.inf, math.nan
LONG = 9001  # more than one block

pytestmark = pytest.mark.usefixtures("implementation")


@pytest.fixture(params=["whole", "streamed", "split"])
def blocks(request, monkeypatch):
    """Rows of more than 64 columns are long, or none are; edges from 33 columns on."""
    monkeypatch.setattr(_rows, "_NO_EDGES", 32)
    if request.param != "whole":
        monkeypatch.setattr(_rows, "_STREAMED", 64)
    if request.param == "streamed":
        monkeypatch.setattr(_rows, "_PROCESSORS", 0)
    return request.param


def with_gradient(function, x, labels, cotangent, *arguments, **options):
    x = x.detach().requires_grad_()
    y = function(x, labels, *arguments, **options)
    (gradient,) = torch.autograd.grad(y, x, cotangent)
    return y.detach(), gradient


def labels_of(shape, n_columns, device, ignored=-100):
    labels = torch.randint(n_columns, shape, device=device)
    return torch.where(torch.rand(shape, device=device) < 0.2, ignored, labels)


def assert_matches(x, labels, temperature=0.7, **options):
    cotangent = torch.randn(labels.shape, device=x.device, dtype=torch.float32).to(
        torch.promote_types(x.dtype, torch.float32)
    )
    value, gradient = with_gradient(token_log_probs, x, labels, cotangent, temperature, **options)
    exact, expected = with_gradient(
        token_log_probs_reference, x.double(), labels, cotangent.double(), temperature, **options
    )
    assert value.dtype == torch.promote_types(x.dtype, torch.float32)
    assert gradient.dtype == x.dtype
    assert value.shape == labels.shape
    assert value.is_contiguous()
    assert gradient.is_contiguous()
    assert error(value, exact) <= TOLERANCES[value.dtype]
    assert error(gradient, expected) <= TOLERANCES[x.dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", [(1,), (7,), (5, 7), (3, 1, 33), (2, LONG)], ids=str)
def test_values_and_gradients(shape, dtype, device):
    torch.manual_seed(0)
    x = (3 * torch.randn(shape, device=device)).to(dtype)
    assert_matches(x, labels_of(shape[:-1], shape[-1], device))


@pytest.mark.parametrize(
    ("n_columns", "stride", "dtype"),
    [
        (128, 128, torch.float16),
        (129, 129, torch.bfloat16),
        (150, 160, torch.float32),
        (131, 131, torch.float64),
        (128, 133, torch.float32),
    ],
)
def test_long_rows_in_blocks_and_parts(n_columns, stride, dtype, blocks, device):
    torch.manual_seed(1)
    x = (3 * torch.randn(4, stride, device=device)).to(dtype)[:, :n_columns]
    assert_matches(x, torch.tensor([0, n_columns - 1, -100, 64], device=device))


@any_view
def test_any_stride(view, device):
    torch.manual_seed(2)
    x = view(torch.randn(12, 50, device=device))
    assert_matches(x, labels_of(x.shape[:-1], x.shape[-1], device))
    # Labels and cotangents may be strided too.
    labels = labels_of((*x.shape[:-1], 2), x.shape[-1], device)[..., 0]
    cotangent = torch.randn(1, device=device).expand(labels.shape)
    found = with_gradient(token_log_probs, x, labels, cotangent)
    expected = with_gradient(token_log_probs_reference, x, labels, cotangent.double())
    for a, b in zip(found, expected, strict=True):
        assert error(a, b) <= TOLERANCES[torch.float32]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64], ids=str)
@pytest.mark.parametrize("ignored", [-100, 1, 0, 5000])
def test_any_ignored_label(ignored, dtype, device):
    torch.manual_seed(3)
    x = torch.randn(6, 5, device=device)
    labels = torch.tensor([ignored, 1, 2, 0, ignored, 4], device=device, dtype=dtype)
    assert_matches(x, labels, ignore_index=ignored)


def test_an_ignored_row_may_hold_anything(blocks, device):
    x = torch.randn(3, 131, device=device)
    x[1] = torch.tensor([NAN, INF, -INF], device=device).repeat(44)[:131]
    labels = torch.tensor([5, -100, 7], device=device)
    cotangent = torch.tensor([1.0, NAN, 1.0], device=device)
    value, gradient = with_gradient(token_log_probs, x, labels, cotangent)
    assert value[1] == 0
    assert not gradient[1].count_nonzero()
    assert torch.isfinite(value).all()
    assert torch.isfinite(gradient).all()


# Row, label, value, gradient.
SPECIAL_ROWS = {
    "all -inf": ([-INF] * 3, 1, -INF, [0, 0, 0]),
    "label -inf": ([0, -INF, 0], 1, -INF, [-0.5, 1, -0.5]),
    "other -inf": ([0, -INF, 0], 2, -math.log(2), [-0.5, 0, 0.5]),
    "label +inf": ([0, INF, 1], 1, 0, [0, 0, 0]),
    "other +inf": ([0, INF, 1], 0, -INF, [1, -1, 0]),
    "two +inf": ([INF, -INF, INF], 0, -math.log(2), [0.5, 0, -0.5]),
    "nan": ([0, NAN, 1], 0, NAN, [NAN] * 3),
    "nan label": ([0, NAN, 1], 1, NAN, [NAN] * 3),
    "underflow": ([0, -300, 0], 1, -300 - math.log(2), [-0.5, 1, -0.5]),
    "huge": ([3e38, 3e38, 0], 0, -math.log(2), [0.5, -0.5, 0]),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("case", SPECIAL_ROWS)
def test_special_rows(case, dtype, device):
    row, label, value, gradient = SPECIAL_ROWS[case]
    for padding in (0, LONG):
        rows = [[-INF] * padding + row, [-INF] * padding + [1.0, 1.0, 1.0]]
        x = torch.tensor(rows, device=device, dtype=torch.float64).to(dtype)
        labels = torch.tensor([label, 0], device=device) + padding
        found, slope = with_gradient(token_log_probs, x, labels, torch.ones(2, device=device))
        expected = torch.tensor([value, -math.log(3)], dtype=torch.float64)
        tolerance = TOLERANCES[dtype]
        near = {"rtol": tolerance, "atol": tolerance, "equal_nan": True}
        torch.testing.assert_close(found.double().cpu(), expected, **near)
        slopes = torch.tensor([gradient, [2 / 3, -1 / 3, -1 / 3]], dtype=torch.float64)
        torch.testing.assert_close(slope[:, padding:].double().cpu(), slopes, **near)
        assert not slope[1, :padding].count_nonzero()


def test_infinite_cotangent_of_a_certain_label(device):
    x = torch.tensor([[0.0, -INF], [0.0, 0.0]], device=device)
    labels = torch.tensor([0, 0], device=device)
    _, gradient = with_gradient(token_log_probs, x, labels, torch.tensor([INF, 1.0]).to(device))
    assert gradient.tolist() == [[0, 0], [0.5, -0.5]]


@pytest.mark.parametrize("shape", [(0, 5), (2, 0, 3)])
def test_empty(shape, device):
    x = torch.zeros(shape, device=device)
    labels = torch.zeros(shape[:-1], dtype=torch.long, device=device)
    value, gradient = with_gradient(token_log_probs, x, labels, torch.ones(labels.shape).to(device))
    assert value.shape == labels.shape
    assert gradient.shape == shape


def test_no_columns(device):
    x = torch.zeros(3, 0, device=device)
    labels = torch.full((3,), -100, device=device)
    value, gradient = with_gradient(token_log_probs, x, labels, torch.ones(3, device=device))
    assert value.tolist() == [0, 0, 0]
    assert gradient.shape == (3, 0)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize(
    "view",
    [
        lambda x: x,
        lambda x: x.T,
        lambda x: x[:, :129],
        lambda x: x[:, 1::2],
        lambda x: x.reshape(2, 2, 133),
    ],
    ids=["whole", "transpose", "part", "step", "3d"],
)
def test_gradient_over_the_logits(view, dtype, blocks, device):
    torch.manual_seed(4)
    leaf = torch.randn(4, 133, device=device, dtype=dtype, requires_grad=True)
    base = leaf * 1
    logits = view(base)
    labels = labels_of(logits.shape[:-1], logits.shape[-1], device)
    cotangent = torch.randn(labels.shape, device=device).to(
        torch.promote_types(dtype, torch.float32)
    )
    before = base.detach().clone()
    value = token_log_probs(logits, labels, 0.7, inplace_gradient=True)
    exact, expected = with_gradient(token_log_probs, logits, labels, cotangent, 0.7)
    assert torch.equal(value, exact)
    (found,) = torch.autograd.grad(value, logits, cotangent)
    assert torch.equal(found, expected)
    assert found.data_ptr() == logits.data_ptr()
    assert torch.equal(logits.detach(), expected)
    changed = torch.zeros(4 * 133, dtype=torch.bool, device=device)
    places = torch.arange(4 * 133, device=device).reshape(4, 133)
    changed[view(places).flatten()] = True
    assert torch.equal(base.detach().flatten()[~changed], before.flatten()[~changed])


def test_logits_that_are_gone_are_an_error(device):
    leaf = torch.randn(3, 5, device=device, requires_grad=True)
    labels = torch.tensor([0, 1, 2], device=device)
    logits = leaf * 1
    value = token_log_probs(logits, labels, inplace_gradient=True).sum()
    other = logits.exp().sum() + (logits**2).sum()
    value.backward(retain_graph=True)
    expected = with_gradient(token_log_probs, leaf, labels, torch.ones(3, device=device))[1]
    torch.testing.assert_close(leaf.grad, expected)
    for again in (value, other):
        with pytest.raises(RuntimeError, match="modified by an inplace operation"):
            again.backward()


def test_gradcheck(device):
    x = torch.randn(3, 4, device=device, dtype=torch.float64, requires_grad=True)
    labels = torch.tensor([0, -100, 3], device=device)
    for smoothing in (0.0, 0.3):
        assert torch.autograd.gradcheck(
            lambda x, s=smoothing: home.smoothed_log_probs(x, labels, 0.7, -100, s, False),
            (x,),
            fast_mode=True,
        )


def test_opcheck(device):
    x = torch.randn(5, 3, device=device).T.requires_grad_()
    labels = torch.tensor([0, -100, 4], device=device)
    torch.library.opcheck(home._token_log_probs, (x, labels, 0.7, -100, 0.1, False))
    _, peak, total = home._token_log_probs(x, labels, 0.7, -100, 0.1, False)
    cotangent = torch.randn(3, device=device)
    arguments = (cotangent, x.detach(), labels, peak, total, 0.7, -100, 0.1)
    torch.library.opcheck(home._token_log_probs_backward, arguments)
    torch.library.opcheck(home._token_log_probs_backward_in_place, arguments)


def test_a_label_out_of_range_where_nothing_looks(device):
    """As on a GPU: nan in value and gradient, and nothing is read out of bounds."""
    x = torch.randn(4, 5, device=device)
    labels = torch.tensor([5, -1, 2**40, 3], device=device)
    value, peak, total = home._token_log_probs(x, labels, 1.0, -100, 0.0, False)
    ones = torch.ones(4, device=device)
    gradient = home._token_log_probs_backward(ones, x, labels, peak, total, 1.0, -100, 0.0)
    assert value[:3].isnan().all()
    assert gradient[:3].isnan().all()
    exact, expected = with_gradient(token_log_probs, x[3:], labels[3:], ones[3:])
    torch.testing.assert_close(value[3:], exact)
    torch.testing.assert_close(gradient[3:], expected)


LABELS = torch.tensor([0, 1])


@pytest.mark.parametrize(
    ("logits", "labels", "options", "exception", "message"),
    [
        ([1.0], LABELS, {}, TypeError, "logits must be a torch.Tensor; got list"),
        (torch.tensor(1.0), LABELS, {}, ValueError, "logits must have at least one axis"),
        (torch.eye(2), [0, 1], {}, TypeError, "labels must be a tensor of int64 or int32; got lis"),
        (torch.eye(2), LABELS.float(), {}, TypeError, r"got torch.float32. Cast it with .long\(\)"),
        (torch.eye(2), LABELS[:1], {}, ValueError, r"last axis, \(2,\); got \(1,\). Classes are"),
        (torch.eye(2), LABELS + 1, {}, ValueError, "0 to 1, or ignore_index -100; got 2. Mark"),
        (torch.eye(2), LABELS - 1, {}, ValueError, "ignore_index -100; got -1"),
        (torch.eye(2), LABELS, {"ignore_index": 0.5}, TypeError, "must be an integer; got 0.5"),
        (torch.eye(2), LABELS, {"temperature": 0}, ValueError, "positive and finite; got 0"),
        (
            torch.eye(2, requires_grad=True),
            LABELS,
            {"inplace_gradient": True},
            ValueError,
            "logits that were computed; got a leaf",
        ),
        (
            torch.ones(1, 3).expand(2, 3),
            LABELS,
            {"inplace_gradient": True},
            ValueError,
            r"rows lie apart on one stride; got shape \(2, 3\) with strides \(0, 1\)",
        ),
        (
            torch.ones(2, 3, 4)[:, :-1],
            torch.zeros(2, 2, dtype=torch.long),
            {"inplace_gradient": True},
            ValueError,
            "Pass the whole tensor, with ignore_index",
        ),
        (
            torch.ones(9).unfold(0, 3, 2),
            torch.zeros(4, dtype=torch.long),
            {"inplace_gradient": True},
            ValueError,
            "rows lie apart",
        ),
    ],
)
def test_bad_input(logits, labels, options, exception, message):
    with pytest.raises(exception, match=message):
        token_log_probs(logits, labels, **options)
