"""Cross entropy against torch's own, in float64 and at infinities."""

import math

import pytest
import torch

from kernels_triton import _rows, cross_entropy
from kernels_triton._cross_entropy import cross_entropy_reference
from kernels_triton._tolerances import TOLERANCES, error

INF = math.inf

pytestmark = pytest.mark.usefixtures("implementation")


def with_gradient(function, x, labels, *arguments, **options):
    x = x.detach().requires_grad_()
    y = function(x, labels, *arguments, **options)
    (gradient,) = torch.autograd.grad(y.sum(), x)
    return y.detach(), gradient


def assert_matches(x, labels, **options):
    found = with_gradient(cross_entropy, x, labels, **options)
    expected = with_gradient(cross_entropy_reference, x, labels, **options)
    assert found[0].dtype == torch.promote_types(x.dtype, torch.float32)
    assert found[1].dtype == x.dtype
    for a, b in zip(found, expected, strict=True):
        assert error(a, b) <= TOLERANCES[a.dtype]


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("smoothing", [0, 0.1, 1])
def test_values_and_gradients(smoothing, reduction, dtype, device):
    torch.manual_seed(0)
    options = {"label_smoothing": smoothing, "reduction": reduction}
    for shape in [(6, 33), (2, 3, 7)]:
        x = (3 * torch.randn(shape, device=device)).to(dtype)
        labels = torch.randint(shape[-1], shape[:-1], device=device)
        labels[0] = -100
        assert_matches(x, labels, temperature=0.7, **options)


def test_it_is_torchs_own_where_both_are_defined(device):
    torch.manual_seed(1)
    x = torch.randn(5, 9, device=device, dtype=torch.float64)
    labels = torch.tensor([0, 8, -100, 3, 3], device=device)
    for reduction in ("none", "sum", "mean"):
        for smoothing in (0.0, 0.2):
            options = {"reduction": reduction, "label_smoothing": smoothing}
            found = with_gradient(cross_entropy, x, labels, **options)
            torch_own = with_gradient(torch.nn.functional.cross_entropy, x, labels, **options)
            for a, b in zip(found, torch_own, strict=True):
                torch.testing.assert_close(a, b, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize("processors", [0, 132], ids=["streamed", "split"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_smoothing_of_long_rows(processors, dtype, monkeypatch, device):
    monkeypatch.setattr(_rows, "_STREAMED", 64)
    monkeypatch.setattr(_rows, "_NO_EDGES", 32)
    monkeypatch.setattr(_rows, "_PROCESSORS", processors)
    torch.manual_seed(2)
    for n_columns in (128, 131):
        x = (3 * torch.randn(2, n_columns, device=device)).to(dtype)
        labels = torch.tensor([0, n_columns - 1], device=device)
        assert_matches(x, labels, label_smoothing=0.3, reduction="none")


def test_smoothing_keeps_digits_far_from_zero(device):
    x = torch.tensor([[1e6, 1e6 + 0.5, 1e6 - 1]], device=device)
    labels = torch.tensor([1], device=device)
    assert_matches(x, labels, label_smoothing=0.5, temperature=0.3)


# Row, label, cross entropy with smoothing 0.3; the gradient is finite, and 0 of a row of all -inf.
SPECIAL_ROWS = {
    "other -inf": ([0, -INF, 0], 2, INF),
    "label -inf": ([0, -INF, 0], 1, INF),
    "all -inf": ([-INF] * 3, 0, INF),
    "label +inf": ([0, INF, 1], 1, INF),
    "other +inf": ([0, INF, 1], 0, INF),
    "label -inf, other +inf": ([-INF, INF, 0], 0, INF),
    "all +inf": ([INF] * 3, 1, math.log(3)),
    "nan": ([0, math.nan, -INF], 0, math.nan),
}


@pytest.mark.parametrize("case", SPECIAL_ROWS)
def test_special_rows_with_smoothing(case, device):
    row, label, value = SPECIAL_ROWS[case]
    x = torch.tensor([row, [1.0, 1.0, 1.0]], device=device)
    labels = torch.tensor([label, 0], device=device)
    found, gradient = with_gradient(cross_entropy, x, labels, label_smoothing=0.3, reduction="none")
    expected = torch.tensor([value, math.log(3)], device=device)
    torch.testing.assert_close(found, expected, equal_nan=True)
    assert torch.isfinite(gradient[1]).all()
    if case == "nan":
        assert gradient[0].isnan().all()
    else:
        p = torch.nan_to_num(torch.softmax(torch.nan_to_num(x[0], posinf=1e9), 0))
        target = 0.1 + 0.7 * torch.nn.functional.one_hot(labels[0], 3)
        exact = p - target if case != "all -inf" else torch.zeros(3)
        torch.testing.assert_close(gradient[0], exact.to(gradient))


@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_nothing_counts(reduction, device):
    x = torch.randn(3, 4, device=device)
    labels = torch.full((3,), -100, device=device)
    value, gradient = with_gradient(cross_entropy, x, labels, reduction=reduction)
    assert value == 0
    assert not gradient.count_nonzero()
    assert cross_entropy(x, labels, reduction="none").tolist() == [0, 0, 0]


def test_gradient_over_the_logits(device):
    torch.manual_seed(3)
    hidden = torch.randn(6, 4, device=device, requires_grad=True)
    weight = torch.randn(50, 4, device=device, requires_grad=True)
    labels = torch.randint(50, (6,), device=device)
    found = []
    for inplace in (False, True):
        loss = cross_entropy(
            hidden @ weight.T, labels, label_smoothing=0.1, inplace_gradient=inplace
        )
        found.append(torch.autograd.grad(loss, (hidden, weight)))
    for plain, over in zip(*found, strict=True):
        assert torch.equal(plain, over)


def test_whole_graph(device):
    def loss(hidden, labels):
        logits = hidden * 2
        return cross_entropy(logits, labels, label_smoothing=0.1, inplace_gradient=True)

    hidden = torch.randn(3, 5, device=device, requires_grad=True)
    labels = torch.tensor([0, -100, 4], device=device)
    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    pairs = [
        (f(hidden, labels), *torch.autograd.grad(f(hidden, labels), hidden))
        for f in (loss, compiled)
    ]
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize(
    ("options", "exception", "message"),
    [
        ({"label_smoothing": 1.5}, ValueError, "between 0 and 1; got 1.5"),
        ({"label_smoothing": True}, TypeError, "a Python number; got bool"),
        ({"label_smoothing": math.nan}, ValueError, "between 0 and 1; got nan"),
        ({"reduction": "average"}, ValueError, "none, sum or mean; got 'average'"),
        ({"ignore_index": 1.0}, TypeError, "ignore_index must be an integer; got 1.0"),
    ],
)
def test_bad_options(options, exception, message):
    with pytest.raises(exception, match=message):
        cross_entropy(torch.eye(2), torch.tensor([0, 1]), **options)
