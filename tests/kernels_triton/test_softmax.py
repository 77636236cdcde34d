"""Softmax, log-softmax and log-sum-exp against float64, at infinities, and as torch operators."""

import math

import pytest
import torch

from kernels_triton import _launch, _softmax
from kernels_triton._tolerances import TOLERANCES, error
from tests.kernels_triton.layouts import any_view

OPERATIONS = ("softmax", "log_softmax", "logsumexp")
LONG = 5000  # more than one block
SHAPES = [(1,), (5, 7), (3, 1, 33), (2, LONG)]
INF, NAN = math.inf, math.nan

pytestmark = pytest.mark.usefixtures("implementation")


def operation_of(name):
    return getattr(_softmax, name), getattr(_softmax, f"{name}_reference")


def with_gradient(function, x, cotangent, *arguments):
    x = x.detach().requires_grad_()
    y = function(x, *arguments)
    (gradient,) = torch.autograd.grad(y, x, cotangent)
    return y.detach(), gradient


def assert_matches(name, x, temperature=1.0):
    """Value and gradient agree with float64 autograd of the reference."""
    operation, reference = operation_of(name)
    shape = x.shape if name != "logsumexp" else x.shape[:-1]
    cotangent = torch.randn(shape, device=x.device).to(x.dtype)
    value, gradient = with_gradient(operation, x, cotangent, temperature)
    exact, exact_gradient = with_gradient(reference, x.double(), cotangent.double(), temperature)
    assert value.dtype == gradient.dtype == x.dtype
    assert value.shape == exact.shape
    assert value.is_contiguous()
    assert error(value, exact) <= TOLERANCES[x.dtype]
    assert error(gradient, exact_gradient) <= TOLERANCES[x.dtype]
    return value, exact


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("name", OPERATIONS)
def test_values_and_gradients(name, shape, dtype, device):
    torch.manual_seed(0)
    assert_matches(name, (3 * torch.randn(shape, device=device)).to(dtype), temperature=0.7)


def test_small_probabilities_keep_their_digits(device):
    x = torch.linspace(0, -60, 37, device=device)
    value, exact = assert_matches("softmax", x)
    relative = ((value.double() - exact) / exact).abs().max()
    assert relative < 2e-5  # 60 units in the argument of exp, half a unit each


@any_view
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_any_stride(view, dtype, device):
    torch.manual_seed(1)
    x = view(torch.randn(12, 50, device=device).to(dtype))
    for name in OPERATIONS:
        assert_matches(name, x)


def test_strided_cotangent(device):
    x = torch.randn(6, 11, device=device, dtype=torch.float64, requires_grad=True)
    cotangent = torch.randn(11, 6, device=device, dtype=torch.float64).T
    for name in ("softmax", "log_softmax"):
        operation, reference = operation_of(name)
        for seed in (cotangent, cotangent[:1].expand(6, -1), cotangent[:, :1].expand(-1, 11)):
            (found,) = torch.autograd.grad(operation(x), x, seed)
            (exact,) = torch.autograd.grad(reference(x), x, seed)
            assert error(found, exact) <= TOLERANCES[torch.float64]


def test_random_shapes(device):
    generator = torch.Generator().manual_seed(2)
    for _ in range(10):
        rank = int(torch.randint(1, 4, (), generator=generator))
        shape = torch.randint(1, 40, (rank,), generator=generator).tolist()
        x = 5 * torch.randn(shape, generator=generator)
        name = OPERATIONS[int(torch.randint(3, (), generator=generator))]
        assert_matches(name, x.to(device), temperature=float(x.abs().flatten()[0]) + 0.1)


@pytest.mark.parametrize("columns", [4095, 4096, 4097, 8192, 8193])
def test_lengths_at_the_edge_of_a_block(columns, device):
    torch.manual_seed(3)
    x = torch.randn(1, columns, device=device)
    for name in OPERATIONS:
        assert_matches(name, x)


@pytest.mark.parametrize("name", OPERATIONS)
def test_empty(name, device):
    operation, _ = operation_of(name)
    for shape in [(0, 5), (3, 0), (0, 0), (0,), (2, 0, 3)]:
        x = torch.zeros(shape, device=device, requires_grad=True)
        y = operation(x)
        assert y.shape == (shape if name != "logsumexp" else shape[:-1])
        assert torch.isneginf(y).all()  # of a log-sum-exp of nothing; the others are empty
        y.sum().backward()
        assert x.grad is not None
        assert x.grad.shape == shape


THIRD = 1 / 3
# Row, softmax, gradient of softmax @ (1, 2, 3), log_softmax, gradient of its sum, logsumexp.
SPECIAL_ROWS = {
    "all -inf": ([-INF] * 3, [0, 0, 0], [0, 0, 0], [-INF] * 3, [0, 0, 0], -INF),
    "some -inf": (
        [0, -INF, 0],
        [0.5, 0, 0.5],
        [-0.5, 0, 0.5],
        [-math.log(2), -INF, -math.log(2)],
        [-0.5, 1, -0.5],
        math.log(2),
    ),
    "one +inf": ([0, INF, 1], [0, 1, 0], [0, 0, 0], [-INF, 0, -INF], [1, -2, 1], INF),
    "two +inf": (
        [INF, -INF, INF],
        [0.5, 0, 0.5],
        [-0.5, 0, 0.5],
        [-math.log(2), -INF, -math.log(2)],
        [-0.5, 1, -0.5],
        INF,
    ),
    "all +inf": (
        [INF] * 3,
        [THIRD] * 3,
        [-THIRD, 0, THIRD],
        [-math.log(3)] * 3,
        [0, 0, 0],
        INF,
    ),
    "nan": ([0, NAN, 1], [NAN] * 3, [NAN] * 3, [NAN] * 3, [NAN] * 3, NAN),
    "huge": ([3e38, -3e38, 3e38], [0.5, 0, 0.5], [-0.5, 0, 0.5], None, [-0.5, 1, -0.5], 3e38),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16], ids=str)
@pytest.mark.parametrize("padding", [0, LONG], ids=["one block", "two blocks"])
@pytest.mark.parametrize("case", SPECIAL_ROWS)
def test_special_rows(case, padding, dtype, device):
    row, p, p_gradient, log_p, log_p_gradient, total = SPECIAL_ROWS[case]
    pad = [-INF] * padding
    # The ordinary second row must not notice.
    rows = [[*pad, *row], [*pad, 1.0, 1.0, 1.0]]
    x = torch.tensor(rows, device=device, dtype=torch.float64).to(dtype)
    weights = torch.tensor([1.0, 2.0, 3.0], device=device).to(dtype)

    def close(found, expected):
        expected = torch.tensor(expected, device=device, dtype=torch.float64)
        tolerance = TOLERANCES[dtype]
        torch.testing.assert_close(
            found.double(), expected, rtol=tolerance, atol=tolerance, equal_nan=True
        )

    x.requires_grad_()
    value = _softmax.softmax(x)[:, padding:]
    close(value[0], p)
    close(value[1], [THIRD] * 3)
    (gradient,) = torch.autograd.grad((value * weights).sum(), x)
    close(gradient[0, padding:], p_gradient)
    close(gradient[1, padding:], [-THIRD, 0, THIRD])

    value = _softmax.log_softmax(x)[:, padding:]
    if log_p is not None:
        close(value[0], log_p)
    (gradient,) = torch.autograd.grad(value, x, torch.ones_like(value))
    close(gradient[0, padding:], log_p_gradient)

    value = _softmax.logsumexp(x)
    close(value[0], total)
    close(value[1], 1 + math.log(3))
    (gradient,) = torch.autograd.grad(value, x, torch.ones_like(value))
    close(gradient[0, padding:], p)
    assert not gradient[:, :padding].count_nonzero() or case == "nan"


def test_infinite_cotangent_where_nothing_is_chosen(device):
    x = torch.tensor([0.0, -INF], device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(_softmax.softmax(x), x, torch.tensor([1.0, INF]).to(device))
    assert gradient.tolist() == [0, 0]


@pytest.mark.parametrize("temperature", [1e-300, 1e-30, 0.1, 1, 1.1, 1e30, 1e300])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64], ids=str)
def test_any_temperature(temperature, dtype, device):
    x = torch.tensor([1.0, 2.0, 2.0], device=device).to(dtype)
    p = _softmax.softmax(x, temperature)
    if temperature < 1e-2:
        assert p.tolist() == [0, 0.5, 0.5]
    elif temperature > 1e2:
        assert error(p, torch.full((3,), THIRD)) < 1e-7
    else:
        assert error(p, _softmax.softmax_reference(x, temperature)) <= TOLERANCES[dtype] / 10
    assert torch.isfinite(_softmax.log_softmax(x, max(temperature, 1e-30))).all()


def test_difference_is_taken_before_it_is_divided(device):
    x = torch.tensor([1e6, 1e6 + 0.5], device=device)
    exact = _softmax.log_softmax_reference(x, 0.3)
    assert error(_softmax.log_softmax(x, 0.3), exact) <= TOLERANCES[torch.float32]


@pytest.mark.parametrize("name", OPERATIONS)
def test_gradcheck(name, device):
    operation, _ = operation_of(name)
    x = torch.randn(3, 4, device=device, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: operation(x, 0.7), (x,), fast_mode=True)


@pytest.mark.parametrize("kind", OPERATIONS)
def test_opcheck(kind, device):
    x = torch.randn(5, 3, device=device).T.requires_grad_()
    torch.library.opcheck(_softmax._softmax, (x, 0.7, kind))
    _, peak, total = _softmax._softmax(x, 0.7, kind)
    cotangent = torch.randn(3 if kind == "logsumexp" else (3, 5), device=device)
    arguments = (cotangent, x.detach(), peak, total, 0.7, kind)
    torch.library.opcheck(_softmax._softmax_backward, arguments)


def test_second_derivatives_are_refused(device):
    x = torch.randn(3, device=device, requires_grad=True)
    (gradient,) = torch.autograd.grad(_softmax.logsumexp(x), x, create_graph=True)
    with pytest.raises(RuntimeError, match="no autograd formula was registered"):
        gradient.sum().backward()


@pytest.mark.parametrize(
    ("x", "temperature", "exception", "message"),
    [
        ([1.0], 1.0, TypeError, "x must be a torch.Tensor; got list"),
        (torch.ones(3, dtype=torch.int32), 1.0, TypeError, "got torch.int32. Cast"),
        (torch.eye(3).to_sparse(), 1.0, TypeError, "dense tensor; got layout torch.sparse_coo"),
        (torch.tensor(1.0), 1.0, ValueError, "at least one axis; got a scalar"),
        (torch.ones(3), 0.0, ValueError, "positive and finite; got 0.0"),
        (torch.ones(3), -1, ValueError, "positive and finite; got -1"),
        (torch.ones(3), NAN, ValueError, "positive and finite; got nan"),
        (torch.ones(3), INF, ValueError, "positive and finite; got inf"),
        (torch.ones(3), True, TypeError, "Python number; got bool"),
        (torch.ones(3), torch.tensor(1.0), TypeError, "Python number; got Tensor"),
    ],
)
def test_bad_input(x, temperature, exception, message):
    for name in OPERATIONS:
        with pytest.raises(exception, match=message):
            operation_of(name)[0](x, temperature)


@pytest.mark.gpu
def test_offsets_past_32_bits(device):
    x = torch.zeros(2**21 + 3, 1024, device=device, dtype=torch.float16)
    x[-1, 7] = 5.0
    assert error(_softmax.softmax(x)[-1], _softmax.softmax_reference(x[-1])) <= 1e-3
    transposed = torch.zeros(40000, 2**16, device=device, dtype=torch.float16).T
    transposed[-1, -1] = 5.0
    last = _softmax.logsumexp(transposed)[-1]
    assert error(last, _softmax.logsumexp_reference(transposed[-1])) <= 1e-3


@pytest.mark.gpu
def test_every_device():
    for index in range(torch.cuda.device_count()):
        x = torch.randn(4, 9, device=f"cuda:{index}")
        assert _softmax.softmax(x).device == x.device
        assert_matches("softmax", x)


def test_tiles_cover_the_matrix():
    for shape in [(1, 1), (3, 7), (1000, 10), (1, 4096), (5, 4097), (0, 4), (4, 0), (2, 513)]:
        tiles = _launch.tiling(*shape)
        assert tiles.rows * tiles.row_tiles >= shape[0]
        assert tiles.block * tiles.blocks_per_row >= shape[1]
        assert (tiles.rows * tiles.block).bit_count() == 1
        assert tiles.block <= 4096
        assert tiles.rows * tiles.block <= 4096


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's forward mode scripts functions
def test_forward_mode_is_refused_and_not_zero(device):
    x = torch.ones(2, 3, device=device)
    for operation in (_softmax.softmax, _softmax.log_softmax, _softmax.logsumexp):
        with pytest.raises(NotImplementedError, match="one with a tangent of forward mode"):
            torch.func.jvp(operation, (x,), (x,))
