"""Divergences between rows of logits: against float64, near rows, at infinities, as operators."""

import math

import numpy as np
import pytest
import torch

from kernels_triton import _divergence_kernels, _divergences
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.layouts import any_view

INF, NAN = math.inf, math.nan
LONG = 5000  # more than one part
ORDERS = (-1.5, 0.0, 0.3, 1.0, 2.0)
KINDS = [
    ("kl", {}),
    ("jensen_shannon", {}),
    ("total_variation", {}),
    ("amari_alpha_divergence", {"alpha": 0.4}),
    *(("alpha_divergence", {"order": order}) for order in ORDERS),
    *(("renyi", {"order": order}) for order in ORDERS),
]
NAMED = [pytest.param(*kind, id=f"{kind[0]}{list(kind[1].values())}") for kind in KINDS]
# One of each way through the kernels.
FEW = [
    pytest.param("kl", {}, id="kl"),
    pytest.param("jensen_shannon", {}, id="jensen_shannon"),
    pytest.param("total_variation", {}, id="total_variation"),
    pytest.param("alpha_divergence", {"order": 0.3}, id="alpha"),
    pytest.param("renyi", {"order": 2.0}, id="renyi"),
]

pytestmark = pytest.mark.usefixtures("implementation")


def function_of(name, options):
    return lambda p, q: getattr(_divergences, name)(p, q, **options)


def with_gradients(function, p, q, cotangent=None):
    p, q = p.detach().requires_grad_(), q.detach().requires_grad_()
    value = function(p, q)
    cotangent = torch.ones_like(value) if cotangent is None else cotangent
    return value.detach(), *torch.autograd.grad(value, (p, q), cotangent)


def assert_matches(name, options, p, q):
    """Value and gradients agree with float64 autograd of the reference."""
    cotangent = torch.rand(torch.broadcast_shapes(p.shape, q.shape)[:-1], device=p.device)
    reference = getattr(_divergences, f"{name}_reference")
    found = with_gradients(function_of(name, options), p, q, cotangent.to(p.double().dtype).to(
        torch.float64 if p.dtype == torch.float64 else torch.float32
    ))  # fmt: skip
    exact = with_gradients(
        lambda p, q: reference(p, q, **options), p.double(), q.double(), cotangent.double()
    )
    value, *gradients = found
    assert value.dtype == (torch.float64 if p.dtype == torch.float64 else torch.float32)
    assert value.is_contiguous()
    assert value.shape == exact[0].shape
    assert error(value, exact[0]) <= TOLERANCES[value.dtype]
    for gradient, expected, logits in zip(gradients, exact[1:], (p, q), strict=True):
        assert gradient.shape == logits.shape
        assert gradient.dtype == logits.dtype
        assert error(gradient, expected) <= TOLERANCES[logits.dtype]
    return value


def draw(shape, dtype, device, spread=0.7):
    p = 2 * torch.randn(shape, device=device)
    return p.to(dtype), (p + spread * torch.randn(shape, device=device)).to(dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize(("name", "options"), NAMED)
def test_values_and_gradients(name, options, dtype, device):
    torch.manual_seed(0)
    assert_matches(name, options, *draw((3, 2, 33), dtype, device))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
@pytest.mark.parametrize(("name", "options"), FEW)
def test_half_precision(name, options, dtype, device):
    torch.manual_seed(0)
    assert_matches(name, options, *draw((33,), dtype, device))


@pytest.mark.parametrize(("name", "options"), FEW)
def test_rows_of_several_parts(name, options, device):
    torch.manual_seed(1)
    assert_matches(name, options, *draw((1, LONG), torch.bfloat16, device))
    assert_matches(name, options, *draw((1, 600), torch.float64, device))


@pytest.mark.parametrize(("name", "options"), FEW)
def test_parts_are_joined_in_groups(name, options, device, monkeypatch):
    monkeypatch.setattr(_divergence_kernels, "_BLOCK", 16)
    monkeypatch.setattr(_divergence_kernels, "_GROUP", 4)
    torch.manual_seed(2)
    p, q = draw((2, 150), torch.float32, device, spread=3.0)  # 10 parts, 3 groups, 1
    p[:, 40:60] -= 200.0  # parts that the first law all but lacks
    q[:, 100:120] -= 150.0
    p[1, 66:90], q[1, 80:100] = -INF, -INF
    value, *gradients = with_gradients(function_of(name, options), p, q)
    monkeypatch.setattr(_divergence_kernels, "_BLOCK", 4096)
    expected, *exact = with_gradients(function_of(name, options), p, q)
    torch.testing.assert_close(value, expected, rtol=4e-6, atol=4e-6)
    for gradient, other in zip(gradients, exact, strict=True):
        torch.testing.assert_close(gradient, other, rtol=2e-5, atol=4e-6)


@any_view
def test_any_stride(view, device):
    torch.manual_seed(3)
    p, q = (view(x) for x in draw((12, 50), torch.bfloat16, device))
    assert_matches("kl", {}, p, q)
    assert_matches("jensen_shannon", {}, p, q.contiguous())


def test_broadcasting(device):
    torch.manual_seed(4)
    p, q = draw((3, 4, 6), torch.float32, device)
    assert_matches("kl", {}, p, q[0, 0])
    assert_matches("renyi", {"order": 0.3}, p[:, :1], q[:1])


def divergences_by_long_double(p, q):
    """Sums of non-negative terms in 64 bits of mantissa."""
    p, q = (np.asarray(x.detach().cpu().double(), np.longdouble) for x in (p, q))
    d = p - q
    d = d - d.mean(-1, keepdims=True)
    p, q = (x - x.max(-1, keepdims=True) for x in (p, q))
    p, q = (x - np.log(np.exp(x).sum(-1, keepdims=True)) for x in (p, q))
    law = np.exp(p)
    shift = np.log1p((law * np.expm1(-d)).sum(-1, keepdims=True))  # log sum p exp(-d)
    r = d + shift  # log p - log q
    other = law * np.exp(-r)
    gap = -law * np.expm1(-r)
    middle = law - 0.5 * gap
    t = 0.5 * gap / middle
    coin = sum(t ** (2 * k) / (2 * k * (2 * k - 1)) for k in range(1, 6))
    return {
        "kl": (law * (np.expm1(-r) + r)).sum(-1),
        "jensen_shannon": (middle * coin).sum(-1),
        "total_variation": 0.5 * np.abs(gap).sum(-1),
        "alpha_divergence": 4 * ((np.sqrt(law) - np.sqrt(other)) ** 2).sum(-1) / 2,
        "slope": (law * r - law * (law * r).sum(-1, keepdims=True), -gap),
    }


@pytest.mark.parametrize(
    ("spread", "columns", "offset"),
    [(1e-1, 10, 0.0), (1e-4, 10, 300.0), (1e-4, LONG, 0.0), (1e-6, 10, 0.0)],
)
def test_near_rows_keep_their_digits(spread, columns, offset, device):
    torch.manual_seed(5)
    p = 3 * torch.randn(1, columns, device=device)
    q = p + spread * torch.randn_like(p)
    p = p + offset  # rounds the logits, whose true difference is what counts
    exact = divergences_by_long_double(p, q)
    for name, options in [
        ("kl", {}),
        ("jensen_shannon", {}),
        ("total_variation", {}),
        ("alpha_divergence", {"order": 0.5}),
    ]:
        found = with_gradients(function_of(name, options), p, q)[0].double().cpu().numpy()
        np.testing.assert_allclose(found, exact[name].astype(float), rtol=1e-5, err_msg=name)
    _, to_p, to_q = with_gradients(_divergences.kl, p, q)
    for gradient, expected in zip((to_p, to_q), exact["slope"], strict=True):
        expected = expected.astype(float)
        miss = np.abs(gradient.double().cpu().numpy() - expected).max()
        assert miss < 1e-5 * np.abs(expected).max()


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize(("name", "options"), FEW)
def test_equal_rows_have_exactly_nothing(name, options, dtype, device, monkeypatch):
    monkeypatch.setattr(_divergence_kernels, "_BLOCK", 16)
    torch.manual_seed(6)
    x = (30 * torch.randn(2, 33, device=device)).to(dtype)
    x[0, 1::3] = -INF
    for found in with_gradients(function_of(name, options), x, x.clone()):
        assert not found.count_nonzero()
        assert not found.isnan().any()


@pytest.mark.parametrize(("name", "options"), FEW)
def test_one_constant_more_changes_nothing(name, options, device):
    x = torch.tensor([[1.0, 2.0, 4.0, -8.0]], device=device)
    for found in with_gradients(function_of(name, options), x, x + 4096.0):
        assert not found.count_nonzero()


H = math.log(2)
# Of (1, 0) and (1/2, 1/2), with (3/4, 1/4) between them.
HALF_LOST = 0.5 * math.log(4 / 3) + 0.25 * math.log(2 / 3) + 0.25 * math.log(2)
TAIL = 1 / (1 + math.e)
# Logits of p and q, then KL(p || q), Jensen-Shannon, total variation, Renyi of order 1/2.
HARD_ROWS = {
    "underflow": ([1e4, -1e4, 0], [1e4, -1e4, 0], 0, 0, 0, 0),
    "opposite": ([1e4, -1e4, 0], [-1e4, 1e4, 0], 2e4, H, 1, 2e4 - 2 * math.log(3)),
    "one class of three": ([1e4, 0, 0], [0, 0, 1e4], 1e4, H, 1, 1e4 - 2 * math.log(2)),
    "both lack one": ([0, -INF, 0], [0, -INF, 0], 0, 0, 0, 0),
    "p lacks one": ([0, -INF], [0, 0], H, HALF_LOST, 0.5, H),
    "q lacks one": ([0, 0], [0, -INF], INF, HALF_LOST, 0.5, H),
    "q all but lacks one": ([0, 0], [0, -1e4], 5e3 - H, HALF_LOST, 0.5, H),
    "disjoint": ([0, -INF], [-INF, 0], INF, H, 1, INF),
    "nothing underflows to": ([0, -1e4], [0, -INF], 0, 0, 0, 0),
    "no class in both": ([-INF, -INF], [-INF, -INF], 0, 0, 0, 0),
    "no class in one": ([-INF, -INF], [0, 0], NAN, NAN, NAN, NAN),
    "no class in the other": ([0, 0], [-INF, -INF], NAN, NAN, NAN, NAN),
    "nan": ([0, NAN], [0, 0], NAN, NAN, NAN, NAN),
    "nan beside -inf": ([0, NAN], [0, -INF], NAN, NAN, NAN, NAN),
    "+inf": ([0, INF], [0, 0], NAN, NAN, NAN, NAN),
    "lowest of float32": ([0, -3e38], [0, -3e38], 0, 0, 0, 0),
    "lowest in q": ([0, -1], [0, -3e38], 3e38 * TAIL, None, TAIL, -math.log1p(-TAIL)),
}


@pytest.mark.parametrize("padding", [0, 20], ids=["one part", "two parts"])
def test_hard_rows(padding, device, monkeypatch):
    monkeypatch.setattr(_divergence_kernels, "_BLOCK", 16)
    pads = [[-INF] * (padding + 3 - len(row[0])) for row in HARD_ROWS.values()]
    pairs = [[*pad, *row[side]] for row, pad in zip(HARD_ROWS.values(), pads, strict=True)
             for side in (0, 1)]  # fmt: skip
    p, q = (torch.tensor(pairs[side::2], device=device) for side in (0, 1))
    functions = [
        _divergences.kl,
        _divergences.jensen_shannon,
        _divergences.total_variation,
        function_of("renyi", {"order": 0.5}),
    ]
    for index, function in enumerate(functions):
        value, *gradients = with_gradients(function, p, q)
        for case, (name, row) in enumerate(HARD_ROWS.items()):
            found, exact = value[case].item(), row[2 + index]
            if exact is not None:
                close = pytest.approx(exact, rel=1e-6, abs=1e-7, nan_ok=True)
                assert found == close, (name, function)
            for gradient in gradients:
                slopes = gradient[case]
                assert slopes.isnan().any() == math.isnan(found), name
                assert not slopes[: len(pads[case])].count_nonzero() or math.isnan(found), name
                if math.isinf(found):
                    assert not slopes.count_nonzero(), name
                if not math.isnan(found):
                    assert abs(slopes.sum()) <= 1e-3 * (1 + slopes.abs().max()), name


@pytest.mark.parametrize("columns", [6, 40])
def test_underflow_leaves_finite_gradients(columns, device, monkeypatch):
    """Logits of either sign at 1e4, where p log p and q log q are 0 times infinity."""
    monkeypatch.setattr(_divergence_kernels, "_BLOCK", 16)
    torch.manual_seed(7)
    p, q = (1e4 * torch.randn(4, columns, device=device).sign() for _ in range(2))
    p[:2, 1::5], q[1:3, ::4] = -INF, -INF
    for name, options in KINDS if columns == 6 else KINDS[1:-1:4]:
        value, *gradients = with_gradients(function_of(name, options), p, q)
        assert not value.isnan().any(), name
        assert all(gradient.isfinite().all() for gradient in gradients), name


def test_gradients_of_a_law_that_lacks_classes(device):
    p = torch.tensor([0.3, -INF, 1.0, -INF, 0.0], device=device, dtype=torch.float64)
    q = torch.tensor([1.0, 0.5, -INF, -INF, 0.2], device=device, dtype=torch.float64)
    eps = 1e-6
    for name, options in [
        ("jensen_shannon", {}),
        ("total_variation", {}),
        ("alpha_divergence", {"order": 0.3}),
        ("alpha_divergence", {"order": 0.8}),
        ("renyi", {"order": 0.3}),
        ("renyi", {"order": 0.0}),
        ("renyi", {"order": 0.8}),
    ]:
        function = function_of(name, options)
        _, *gradients = with_gradients(function, p, q)
        moves = eps * torch.eye(5, device=device, dtype=torch.float64)
        moves = torch.cat([moves, -moves])
        for gradient, ends in zip(
            gradients, (function(p + moves, q), function(p, q + moves)), strict=True
        ):
            slope = (ends[:5] - ends[5:]) / (2 * eps)
            torch.testing.assert_close(gradient, slope, rtol=0, atol=1e-8)


def test_orders_meet_at_their_ends(device):
    torch.manual_seed(8)
    p, q = draw((3, 20), torch.float64, device)
    for end, pair in ((0.0, (q, p)), (1.0, (p, q))):
        exact = with_gradients(_divergences.kl, *pair)
        exact = exact if end else (exact[0], exact[2], exact[1])
        for step in (0.0, 1e-13, -1e-13):
            alpha = function_of("alpha_divergence", {"order": end + step})
            for found, expected in zip(with_gradients(alpha, p, q), exact, strict=True):
                torch.testing.assert_close(found, expected, rtol=1e-11, atol=1e-13)
    order = {"order": 1 + 1e-13}
    found = with_gradients(function_of("renyi", order), p, q)
    for actual, expected in zip(found, with_gradients(_divergences.kl, p, q), strict=True):
        torch.testing.assert_close(actual, expected, rtol=1e-11, atol=1e-13)


def test_the_same_every_time(device):
    torch.manual_seed(9)
    p, q = draw((1, LONG), torch.float32, device)
    first = with_gradients(_divergences.jensen_shannon, p, q)
    again = with_gradients(_divergences.jensen_shannon, p, q)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))


@pytest.mark.parametrize(("name", "options"), FEW)
def test_empty(name, options, device):
    for shape in [(0, 5), (3, 0), (0,), (2, 0, 3)]:
        p = torch.zeros(shape, device=device)
        value, *gradients = with_gradients(function_of(name, options), p, p)
        assert value.shape == shape[:-1]
        assert not value.count_nonzero()  # two laws of no class are equal
        assert all(gradient.shape == shape for gradient in gradients)


@pytest.mark.parametrize(("name", "options"), FEW)
def test_gradcheck(name, options, device):
    torch.manual_seed(10)
    pair = [x.requires_grad_() for x in draw((3, 4), torch.float64, device)]
    assert torch.autograd.gradcheck(function_of(name, options), pair, fast_mode=True)


def test_a_gradient_to_one_side_alone(device):
    p, q = draw((3, 5), torch.float32, device)
    both = with_gradients(_divergences.kl, p, q)
    for index, pair in enumerate(
        [(p.clone().requires_grad_(), q), (p, q.clone().requires_grad_())]
    ):
        (gradient,) = torch.autograd.grad(_divergences.kl(*pair).sum(), pair[index])
        assert torch.equal(gradient, both[1 + index])


@pytest.mark.parametrize(
    ("kind", "tilt"), [("renyi", 0.0), ("alpha", 0.3), ("jensen_shannon", 0.0)]
)
def test_opcheck(kind, tilt, device):
    p, q = (x.T.requires_grad_() for x in draw((5, 3), torch.float32, device))
    torch.library.opcheck(_divergences._divergence, (p, q, kind, tilt, False))
    value, kept = _divergences._divergence(p, q, kind, tilt, False)
    rest = (p.detach(), q.detach(), kept, kind, tilt, False, [True, False])
    torch.library.opcheck(_divergences._divergence_backward, (torch.ones_like(value), *rest))


@pytest.mark.parametrize(
    ("p", "q", "exception", "message"),
    [
        ([1.0], torch.ones(1), TypeError, "p_logits must be a torch.Tensor; got list"),
        (torch.ones(3), torch.ones(3).long(), TypeError, "q_logits must be float16"),
        (torch.ones(3), torch.ones(3).double(), TypeError, "q_logits must have the dtype of p_log"),
        (torch.tensor(1.0), torch.ones(3), ValueError, "at least one axis; got a scalar"),
        (torch.ones(3), torch.ones(1), ValueError, "number of classes on the last axis; got 3 and"),
        (torch.ones(2, 3), torch.ones(4, 3), ValueError, r"broadcast together; got \(2, 3\) and"),
        (torch.ones(3), torch.ones(3, device="meta"), ValueError, "on the device of p_logits, cpu"),
    ],
)
def test_bad_input(p, q, exception, message):
    for name, options in KINDS:
        with pytest.raises(exception, match=message):
            function_of(name, options)(p, q)


@pytest.mark.parametrize(
    ("order", "exception", "message"),
    [
        (True, TypeError, "must be a Python number; got bool"),
        (torch.tensor(1.0), TypeError, "must be a Python number; got Tensor"),
        (INF, ValueError, "must be finite; got inf"),
        (NAN, ValueError, "must be finite; got nan"),
    ],
)
def test_bad_orders(order, exception, message):
    x = torch.ones(3)
    for name in ("alpha_divergence", "renyi"):
        with pytest.raises(exception, match=f"order {message}"):
            getattr(_divergences, name)(x, x, order=order)
    with pytest.raises(exception, match=f"alpha {message}"):
        _divergences.amari_alpha_divergence(x, x, alpha=order)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's forward mode scripts functions
def test_only_first_derivatives_in_reverse_mode(device):
    x = torch.ones(2, 3, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(_divergences.kl(x, x.detach()).sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()
    with pytest.raises(NotImplementedError, match="one with a tangent of forward mode"):
        torch.func.jvp(lambda p: _divergences.kl(p, p), (x.detach(),), (x.detach(),))


@pytest.mark.gpu
def test_offsets_past_32_bits(device):
    x = torch.zeros(2**21 + 3, 1024, device=device, dtype=torch.float16)
    x[-1, 7] = 5.0
    value = _divergences.kl(x, x[:1])
    exact = _divergences.kl_reference(x[-1], x[0])
    assert error(value[-1], exact) <= TOLERANCES[torch.float32]
