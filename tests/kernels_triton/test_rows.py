"""Covers of a matrix by tiles, alignment, broadcast rows; and what they do to softmax's kernels."""

import itertools
import math

import pytest
import torch

from kernels_triton import _launch, _rows, _softmax
from kernels_triton._tolerances import TOLERANCES, error

OPERATIONS = ("softmax", "log_softmax", "logsumexp")
INF = math.inf


@pytest.fixture(params=["streamed", "split"])
def small_blocks(request, monkeypatch):
    """Rows of more than 64 columns are long; edges from 33 columns on."""
    monkeypatch.setattr(_rows, "_RESIDENT", 64)
    monkeypatch.setattr(_rows, "_STREAMED", 64)
    monkeypatch.setattr(_rows, "_NO_EDGES", 32)
    if request.param == "streamed":
        monkeypatch.setattr(_rows, "_PROCESSORS", 0)
    return request.param


def gradients(function, inputs, cotangent, **options):
    inputs = [x.detach().requires_grad_() for x in inputs]
    y = function(*inputs[:1], 0.7, **dict(zip(["mask"], inputs[1:], strict=False)), **options)
    return y.detach(), torch.autograd.grad(y, inputs, cotangent)


def assert_right(x, *masks):
    """Values and gradients of all three operations, to scores and masks."""
    for name in OPERATIONS:
        function = getattr(_softmax, name)
        cotangent = torch.randn(x.shape if name != "logsumexp" else x.shape[:-1]).to(x)
        value, found = gradients(function, [x, *masks], cotangent)
        double = [tensor.double() for tensor in (x, *masks)]
        reference = getattr(_softmax, f"{name}_reference")
        exact, expected = gradients(reference, double, cotangent.double())
        assert error(value, exact) <= TOLERANCES[x.dtype]
        assert error(found[0], expected[0]) <= TOLERANCES[x.dtype]
        # The gradient of a broadcast mask is a sum over rows, in its own dtype.
        for mask, left, right in zip(masks, found[1:], expected[1:], strict=True):
            assert error(left, right) <= 2 * TOLERANCES[x.dtype] * x.numel() / mask.numel()


def padded(n_rows, stride, n_columns, dtype):
    return (3 * torch.randn(n_rows, stride)).to(dtype)[:, :n_columns]


@pytest.mark.parametrize(
    ("n_columns", "stride", "dtype"),
    [
        (128, 128, torch.float16),
        (129, 129, torch.bfloat16),
        (129, 129, torch.float64),
        (150, 160, torch.float32),
        (128, 133, torch.float32),
        (97, 97, torch.float16),
        (193, 400, torch.float32),
    ],
)
def test_long_rows_in_blocks_and_parts(n_columns, stride, dtype, small_blocks, device):
    torch.manual_seed(0)
    x = padded(2, stride, n_columns, dtype).to(device)
    tiles = _rows.row_tiling(2, n_columns, dtype, held=1)
    assert (tiles.splits > 1) is (small_blocks == "split")
    assert_right(x)


def test_views_without_a_common_alignment(small_blocks, device):
    torch.manual_seed(1)
    assert_right(padded(2, 150, 131, torch.float32).to(device))  # the outputs have another
    assert_right(torch.randn(263, 2, device=device)[1::2].T)
    assert_right(torch.randn(2, 1, 140, device=device).transpose(0, 1)[..., 3:])


def test_strided_cotangents_of_long_rows(small_blocks, device):
    torch.manual_seed(2)
    x = torch.randn(2, 131, device=device, dtype=torch.float64, requires_grad=True)
    wide = torch.randn(2, 150, device=device, dtype=torch.float64)
    for seed in (wide[:, 7:138], wide[:1, :131].expand(2, -1), wide[:, :1].expand(-1, 131)):
        for name in ("softmax", "log_softmax"):
            (found,) = torch.autograd.grad(getattr(_softmax, name)(x), x, seed)
            (exact,) = torch.autograd.grad(getattr(_softmax, f"{name}_reference")(x), x, seed)
            assert error(found, exact) <= TOLERANCES[torch.float64]


@pytest.mark.parametrize("place", [0, 64, 132])
def test_infinities_in_any_part(place, small_blocks, device):
    x = torch.full((3, 133), -INF, device=device)
    x[0, place] = 2.0
    x[1, place] = INF
    x[2, :5] = INF
    x[2, place] = math.nan
    p = _softmax.softmax(x.requires_grad_())
    assert torch.equal(p[:2], torch.nn.functional.one_hot(torch.tensor([place] * 2), 133).to(p))
    assert p[2].isnan().all()
    totals = _softmax.logsumexp(x)
    assert totals.tolist()[:2] == [2.0, INF]
    assert totals[2].isnan()
    (gradient,) = torch.autograd.grad(_softmax.log_softmax(x)[:2, place].sum(), x)
    assert not gradient[:2].count_nonzero()


def test_equal_inputs_give_equal_bits(small_blocks, device):
    x = torch.randn(1, 300, device=device)
    for name in OPERATIONS:
        first, second = (getattr(_softmax, name)(x.clone()) for _ in range(2))
        assert torch.equal(first, second)


MASKS = {
    "columns": (lambda: torch.zeros(7), (5, 7)),
    "rows": (lambda: torch.zeros(5, 1), (5, 7)),
    "scalar": (lambda: torch.zeros(()), (5, 7)),
    "full": (lambda: torch.zeros(2, 3, 7), (2, 3, 7)),
    "keys": (lambda: torch.zeros(2, 1, 1, 7), (2, 3, 4, 7)),
    "queries": (lambda: torch.zeros(4, 7), (2, 3, 4, 7)),
    "keys and queries": (lambda: torch.zeros(2, 1, 4, 7), (2, 3, 4, 7)),
    "four strides": (lambda: torch.zeros(2, 1, 2, 1, 7), (2, 3, 2, 2, 7)),
    "long": (lambda: torch.zeros(133), (2, 133)),
    "long rows": (lambda: torch.zeros(2, 1), (2, 133)),
    "transposed": (lambda: torch.zeros(133, 2).T, (2, 133)),
}


@pytest.mark.usefixtures("implementation")
@pytest.mark.parametrize("case", MASKS)
def test_masks_of_any_broadcast_shape(case, small_blocks, device):
    torch.manual_seed(3)
    make, shape = MASKS[case]
    mask = make()
    dtype = torch.bfloat16 if "keys" in case else torch.float32
    mask = mask.copy_(torch.randn(mask.shape)).to(device, dtype)
    assert_right(torch.randn(shape).to(device, dtype), mask)


@pytest.mark.usefixtures("implementation")
def test_a_mask_excludes_what_it_covers(small_blocks, device):
    """Whatever an excluded entry holds, and its cotangent, rows are as if it were not there."""
    torch.manual_seed(4)
    kept = torch.rand(2, 133, device=device) < 0.6
    kept[1] = False
    x = torch.randn(2, 133, device=device, dtype=torch.float64)
    garbage = torch.tensor([math.nan, INF, -INF, 1e300], device=device, dtype=torch.float64)
    x = torch.where(kept, x, garbage.repeat(34)[:133])
    mask = torch.zeros_like(x).masked_fill(~kept, -INF)
    for name in OPERATIONS:
        shape = x.shape if name != "logsumexp" else x.shape[:-1]
        cotangent = torch.randn(shape, device=device, dtype=torch.float64)
        value, (gradient, mask_gradient) = gradients(getattr(_softmax, name), [x, mask], cotangent)
        assert torch.equal(gradient, mask_gradient)
        assert not gradient[~kept].count_nonzero()
        for row in range(2):
            rest = x[row, kept[row]]
            seed = cotangent[row, kept[row]] if name != "logsumexp" else cotangent[row]
            exact, (expected,) = gradients(getattr(_softmax, name), [rest], seed)
            found = value[row, kept[row]] if name != "logsumexp" else value[row]
            tolerance = TOLERANCES[torch.float64]
            torch.testing.assert_close(found, exact, rtol=tolerance, atol=tolerance)
            assert error(gradient[row, kept[row]], expected) <= tolerance
        if name != "logsumexp":
            excluded = 0.0 if name == "softmax" else -INF
            assert (value[~kept] == excluded).all()


def test_gradient_where_only_the_mask_asks(device):
    x = torch.randn(2, 3, device=device)
    mask = torch.zeros(3, device=device, requires_grad=True)
    (found,) = torch.autograd.grad(_softmax.softmax(x, mask=mask)[:, 0].sum(), mask)
    leaf = x.clone().requires_grad_()
    (expected,) = torch.autograd.grad(_softmax.softmax(leaf)[:, 0].sum(), leaf)
    torch.testing.assert_close(found, expected.sum(0))


def test_opcheck_with_a_mask(device):
    x = torch.randn(3, 5, device=device, requires_grad=True)
    mask = torch.zeros(3, 5, device=device, requires_grad=True)
    torch.library.opcheck(_softmax._softmax, (x, 0.7, "log_softmax", mask))


@pytest.mark.parametrize(
    ("mask", "exception", "message"),
    [
        ([0.0], TypeError, "mask must be a torch.Tensor; got list"),
        (
            torch.ones(3, dtype=torch.bool),
            TypeError,
            "so of its dtype; got torch.bool. Where it is",
        ),
        (torch.ones(3, dtype=torch.float64), TypeError, "have the dtype of x, torch.float32"),
        (torch.ones(4), ValueError, r"broadcasts to that of x, \(2, 3\); got \(4,\)"),
        (torch.ones(2, 2, 3), ValueError, r"got \(2, 2, 3\). Insert axes"),
    ],
)
def test_bad_masks(mask, exception, message):
    for name in OPERATIONS:
        with pytest.raises(exception, match=message):
            getattr(_softmax, name)(torch.ones(2, 3), mask=mask)


def test_tiles_cover_the_matrix():
    lengths = [0, 1, 15, 16, 17, 1000, 4097, 32768, 32769, 50257, 131072, 524288, 524289]
    for n_rows, n_columns, held in itertools.product([0, 1, 8, 131, 133, 3000], lengths, range(3)):
        for dtype in (torch.bfloat16, torch.float64):
            tiles = _rows.row_tiling(n_rows, n_columns, dtype, held=held)
            assert tiles.rows * tiles.row_tiles >= n_rows
            assert tiles.block * tiles.blocks_per_row * tiles.splits >= n_columns
            assert tiles.block * tiles.blocks_per_row * (tiles.splits - 1) < max(n_columns, 1)
            assert tiles.block % 16 == 0
            assert tiles.rows == 1 or tiles.splits == tiles.blocks_per_row == 1
            assert tiles.rows * tiles.block * max(held, 1) * dtype.itemsize <= 2**17 * 2
            if n_rows * tiles.splits > 1 and tiles.splits > 1:
                assert n_rows * tiles.splits <= 132 * (1 if held else 4)
    assert _rows.row_tiling(8, 131072, torch.float32, held=1).splits == 16
    assert _rows.row_tiling(1, 524288, torch.float32, held=0).splits == 64
    assert _rows.row_tiling(1000, 524288, torch.float32, held=1).splits == 1


def test_places_cover_every_row_once():
    """What a kernel does with `alignment`, `edge_places` and `whole_granules`, in plain Python."""
    for n_columns, stride, row in itertools.product([2049, 2050, 2063, 2064], [2064, 2071], [0, 3]):
        x = torch.zeros(4, stride)[:, :n_columns]
        aligned = _rows.alignment(x)
        shift = row * stride % 16 if aligned.edges else 0
        first, end = (shift + 15) // 16 * 16, (shift + n_columns) // 16 * 16
        if aligned.edges:
            assert (row * stride - shift) % 16 == 0
        else:
            assert n_columns % 4 == stride % 4 == 0
            continue
        edges = [place for place in range(16) if shift <= place < first]
        edges += [end + lane for lane in range(16) if first <= end + lane < shift + n_columns]
        assert sorted([*edges, *range(first, end)]) == list(range(shift, shift + n_columns))


@pytest.mark.parametrize(
    ("shape", "stride", "dtype", "expected"),
    [
        ((4, 1000), 1000, torch.bfloat16, (8, 0)),
        ((4, 1000), 1000, torch.float32, (8, 0)),
        ((4, 50257), 50257, torch.bfloat16, (1, 2)),
        ((4, 50257), 50304, torch.bfloat16, (1, 2)),
        ((4, 50260), 50260, torch.bfloat16, (4, 2)),
        ((4, 50260), 50260, torch.float32, (4, 0)),
        ((4, 50304), 50304, torch.bfloat16, (16, 0)),
        ((4, 77), 77, torch.float32, (1, 0)),
    ],
)
def test_alignment(shape, stride, dtype, expected):
    x = torch.empty(shape[0], stride, dtype=dtype)[:, : shape[1]]
    assert _rows.alignment(x) == expected
    assert _rows.alignment(x, torch.empty(shape[0], stride + 1)[:, : shape[1]]).edges in (0, 1)


def test_rows_on_axes():
    x = torch.arange(24.0).reshape(2, 3, 4)
    for view in (x, x[0, 0], x[:, :1].expand(-1, 5, -1), x.permute(2, 0, 1), x[..., None, :]):
        assert torch.equal(_rows.row_axes(view).flatten(0, 2), _launch.as_rows(view))
    wide = x.reshape(2, 1, 3, 1, 4).expand(2, 5, 3, 6, 4)
    assert torch.equal(_rows.row_axes(wide).flatten(0, 2), _launch.as_rows(wide))
    assert _rows.row_axes(x[:, :1].expand(-1, 5, -1)).data_ptr() == x.data_ptr()
