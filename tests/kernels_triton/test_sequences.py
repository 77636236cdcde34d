"""Sums and perplexities of sequences against float64; layouts, determinism, bad input."""

import math

import pytest
import torch

from kernels_triton import _sequences, perplexity, sequence_log_probs
from kernels_triton._sequences import perplexity_reference, sequence_log_probs_reference
from kernels_triton._tolerances import TOLERANCES, error

PAIRS = [
    (sequence_log_probs, sequence_log_probs_reference),
    (perplexity, perplexity_reference),
]

pytestmark = pytest.mark.usefixtures("implementation")


def with_gradient(function, logits, labels, cotangent, **options):
    logits = logits.detach().requires_grad_()
    y = function(logits, labels, 0.7, **options)
    (gradient,) = torch.autograd.grad(y, logits, cotangent)
    return y.detach(), gradient


def assert_matches(logits, labels, n_sequences, **options):
    for function, reference in PAIRS:
        cotangent = torch.randn(n_sequences, device=logits.device)
        cotangent = cotangent.to(torch.promote_types(logits.dtype, torch.float32))
        found = with_gradient(function, logits, labels, cotangent, **options)
        exact = with_gradient(reference, logits, labels, cotangent.double(), **options)
        assert found[0].dtype == torch.promote_types(logits.dtype, torch.float32)
        assert found[1].dtype == logits.dtype
        for a, b in zip(found, exact, strict=True):
            assert error(a, b) <= TOLERANCES[a.dtype]


def tokens(n_tokens, device, dtype=torch.float32, n_columns=5):
    torch.manual_seed(0)
    logits = torch.randn(n_tokens, n_columns, device=device).to(dtype)
    labels = torch.randint(n_columns, (n_tokens,), device=device)
    labels[::7] = -100
    return logits, labels


@pytest.mark.parametrize("dtype", TOLERANCES, ids=str)
@pytest.mark.parametrize("lengths", [[3, 0, 4], [1], [0, 0], [7, 3, 2]], ids=str)
def test_one_behind_the_other(lengths, dtype, device):
    sizes = torch.tensor(lengths, device=device, dtype=torch.int32)
    logits, labels = tokens(sum(lengths) + 2, device, dtype)
    assert_matches(logits, labels, len(lengths), lengths=sizes)


def test_a_sequence_of_several_blocks(device):
    logits, labels = tokens(2100, device, n_columns=2)
    lengths = torch.tensor([12, 1024, 1051, 1], device=device)
    assert_matches(logits, labels, 4, lengths=lengths)


def test_any_order(device):
    logits, labels = tokens(40, device)
    ids = torch.randint(-1, 5, (40,), device=device)
    ids[ids == 2] = 0
    assert_matches(logits, labels, 4, sequence_ids=ids, num_sequences=4)
    assert_matches(logits, labels, 4, sequence_ids=ids.int(), num_sequences=4)
    assert_matches(logits, labels, 7, sequence_ids=ids, num_sequences=7)
    order = torch.argsort(ids, stable=True)
    kept = order[ids[order] >= 0]
    lengths = torch.bincount(ids[kept], minlength=5)
    for function, _ in PAIRS:
        by_ids = function(logits, labels, sequence_ids=ids, num_sequences=5)
        assert torch.equal(by_ids, function(logits[kept], labels[kept], lengths=lengths))


def test_a_padded_batch(device):
    logits, labels = tokens(24, device)
    for function, reference in PAIRS:
        for shape in [(4, 6), (2, 3, 4)]:
            found = function(logits.reshape(*shape, 5), labels.reshape(shape))
            exact = reference(logits.reshape(*shape, 5), labels.reshape(shape))
            assert found.shape == shape[:-1]
            assert error(found, exact) <= TOLERANCES[torch.float32]


def test_tokens_of_none_have_no_gradient(device):
    logits, labels = tokens(6, device)
    labels[0] = 1
    for options in (
        {"lengths": torch.tensor([2, 1], device=device)},
        {"sequence_ids": torch.tensor([0, 0, 1, -1, 2, 9], device=device), "num_sequences": 2},
    ):
        for function, _ in PAIRS:
            ones = torch.ones(2, device=device)
            _, gradient = with_gradient(function, logits, labels, ones, **options)
            assert gradient[:3].count_nonzero(1).all()
            assert not gradient[3:].count_nonzero()


def test_nothing_counts(device):
    logits = torch.randn(3, 5, device=device)
    labels = torch.full((3,), -100, device=device)
    lengths = torch.tensor([0, 3], device=device)
    assert sequence_log_probs(logits, labels, lengths=lengths).tolist() == [0, 0]
    ones = torch.ones(2, device=device)
    value, gradient = with_gradient(perplexity, logits, labels, ones, lengths=lengths)
    assert value.tolist() == [1, 1]
    assert not gradient.count_nonzero()


def test_infinities_and_nan_stay_in_their_sequence(device):
    logits, labels = tokens(6, device)
    labels[0] = 0
    logits[1, labels[1]] = -math.inf
    logits[3] = math.nan
    lengths = torch.tensor([2, 2, 2], device=device)
    sums = sequence_log_probs(logits, labels, lengths=lengths).tolist()
    assert sums[0] == -math.inf
    assert math.isnan(sums[1])
    assert math.isfinite(sums[2])
    assert perplexity(logits, labels, lengths=lengths)[0] == math.inf


def test_equal_inputs_give_equal_bits(device):
    logits, labels = tokens(1700, device, n_columns=2)
    lengths = torch.tensor([500, 1200], device=device)
    first, second = (sequence_log_probs(logits, labels, lengths=lengths) for _ in range(2))
    assert torch.equal(first, second)


def test_lengths_past_the_tokens_where_nothing_looks(device):
    """As on a GPU: nan, and nothing is read out of bounds."""
    values = torch.ones(5, device=device)
    starts = torch.tensor([0, 3, 9, 9], device=device)
    sums = _sequences._sequence_sums(values, starts)
    assert sums[0] == 3
    assert sums[1:].isnan().all()


def test_gradient_over_the_logits(device):
    logits, labels = tokens(9, device)
    lengths = torch.tensor([4, 5], device=device)
    leaf = logits.clone().requires_grad_()
    gradients = [
        torch.autograd.grad(
            perplexity(leaf * 1, labels, lengths=lengths, inplace_gradient=inplace).sum(), leaf
        )[0]
        for inplace in (False, True)
    ]
    assert torch.equal(*gradients)


def test_opcheck(device):
    values = torch.randn(12, device=device)[::2].requires_grad_()
    starts = torch.tensor([0, 2, 5], device=device)
    torch.library.opcheck(_sequences._sequence_sums, (values, starts))
    cotangent = torch.randn(2, device=device)
    torch.library.opcheck(_sequences._sequence_sums_backward, (cotangent, starts, 6))


def test_whole_graph(device):
    logits, labels = tokens(9, device)
    logits.requires_grad_()
    lengths = torch.tensor([4, 5], device=device)

    def loss(logits, labels, lengths):
        return perplexity(logits, labels, lengths=lengths).sum()

    compiled = torch.compile(loss, backend="aot_eager", fullgraph=True)
    pairs = []
    for function in (loss, compiled):
        value = function(logits, labels, lengths)
        pairs.append((value, *torch.autograd.grad(value, logits)))
    for a, b in zip(*pairs, strict=True):
        torch.testing.assert_close(a, b)


LABELS = torch.tensor([0, 1, 0])


@pytest.mark.parametrize(
    ("labels", "options", "exception", "message"),
    [
        (LABELS, {}, ValueError, "labels with an axis of sequences and one of tokens"),
        ([0, 1, 0], {}, TypeError, "labels must be a tensor of int64 or int32; got list"),
        (LABELS, {"lengths": [3]}, TypeError, "lengths must be a tensor of int64 or int32"),
        (LABELS, {"lengths": LABELS[:, None]}, ValueError, "lengths with one axis"),
        (LABELS, {"lengths": LABELS + 3}, ValueError, r"end with the 3 tokens; got \[3, 4, 3\]"),
        (LABELS, {"lengths": LABELS - 1}, ValueError, r"not be negative .* got \[-1, 0, -1\]"),
        (LABELS, {"lengths": LABELS, "sequence_ids": LABELS}, ValueError, "not both"),
        (LABELS, {"sequence_ids": LABELS}, TypeError, "num_sequences must be an integer with"),
        (LABELS, {"sequence_ids": LABELS.float()}, TypeError, "sequence_ids must be a tensor of"),
        (
            LABELS,
            {"sequence_ids": LABELS[:2], "num_sequences": 2},
            ValueError,
            "sequence_ids of the shape of labels",
        ),
        (LABELS[:, None], {"lengths": LABELS}, ValueError, r"one axis; got shape \(3, 1\)"),
    ],
)
def test_bad_input(labels, options, exception, message):
    shape = (*labels.shape, 2) if isinstance(labels, torch.Tensor) else (3, 2)
    for function, _ in PAIRS:
        with pytest.raises(exception, match=message):
            function(torch.zeros(shape), labels, **options)
