"""Log-probabilities of whole sequences and their perplexity, from the logits of their tokens.

    sequence_log_probs_s = sum of log p(label_i) over the tokens i of sequence s,
    perplexity_s = exp(-sequence_log_probs_s / number of its tokens that count).

One program adds the tokens of one sequence, block by block in the order in which they lie: no
atomics, so equal inputs give equal bits. The derivative of a sum is its cotangent, at each of its
tokens.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._launch import jit, tl
from kernels_triton._token_log_probs import token_log_probs, token_log_probs_reference

_BLOCK = 1024  # tokens that a program adds at once


@jit
def _sequence_sums_kernel(
    out_ptr,
    values_ptr,
    values_row_stride,  # noqa: ARG001 - of the one row
    values_stride,
    n_rows,  # noqa: ARG001
    n_tokens,
    starts_ptr,
    ACCUMULATOR: tl.constexpr,
    ROWS: tl.constexpr,  # noqa: ARG001
    BLOCK: tl.constexpr,
):
    sequence = tl.program_id(0).to(tl.int64)
    token = tl.load(starts_ptr + sequence)
    end = tl.load(starts_ptr + sequence + 1)
    lanes = tl.arange(0, BLOCK)
    total = tl.zeros((BLOCK,), ACCUMULATOR)
    while token < end:
        tokens = token + lanes
        inside = (tokens >= 0) & (tokens < tl.minimum(end, n_tokens))
        total += tl.load(values_ptr + tokens * values_stride, mask=inside, other=0.0)
        token += BLOCK
    # Lengths may promise more tokens than there are.
    out = tl.where(end > n_tokens, float("nan"), tl.sum(total, axis=0))
    tl.store(out_ptr + sequence, out)


@torch.library.custom_op("kernels_triton::sequence_sums", mutates_args=())
def _sequence_sums(values: Tensor, starts: Tensor) -> Tensor:
    """The sums of `values[starts[s] : starts[s + 1]]`, in float32 or float64 as they are."""
    out = values.new_empty(len(starts) - 1)
    if not _launch.uses_triton(values):
        padded = values.new_zeros(len(starts)).index_add_(0, _ids_of(starts, len(values)), values)
        return out.copy_(torch.where(starts[1:] > len(values), torch.nan, padded[:-1]))
    tiles = _launch.Tiling(1, _BLOCK, len(out), 1)
    matrix = values.unsqueeze(0)
    _launch.launch(_sequence_sums_kernel, tiles, len(out), [out], [matrix], starts)
    return out


@torch.library.custom_op("kernels_triton::sequence_sums_backward", mutates_args=())
def _sequence_sums_backward(cotangent: Tensor, starts: Tensor, n_tokens: int) -> Tensor:
    """The cotangent of its sequence for each token; 0 for one of none."""
    padded = torch.cat([cotangent, cotangent.new_zeros(1)])
    return padded[_ids_of(starts, n_tokens)]


def _ids_of(starts: Tensor, n_tokens: int) -> Tensor:
    """The sequence of each token, and the number of sequences for a token of none."""
    tokens = torch.arange(n_tokens, device=starts.device)
    ids = torch.searchsorted(starts, tokens, right=True) - 1
    return torch.where((ids >= 0) & (tokens < starts[-1]), ids, len(starts) - 1)


@_sequence_sums.register_fake
def _(values, starts):
    return values.new_empty(starts.shape[0] - 1)


@_sequence_sums_backward.register_fake
def _(cotangent, _starts, n_tokens):
    return cotangent.new_empty(n_tokens)


def _setup_context(ctx, inputs, output):  # noqa: ARG001 - the registered signature
    values, starts = inputs
    ctx.n_tokens = values.shape[0]
    ctx.save_for_backward(starts)


def _autograd(ctx, cotangent):
    (starts,) = ctx.saved_tensors
    return _sequence_sums_backward(cotangent, starts, ctx.n_tokens), None


_sequence_sums.register_autograd(_autograd, setup_context=_setup_context)


class _Layout(NamedTuple):
    """Where tokens lie: sequence `s` has those from `starts[s]` on of the tokens in `order`."""

    starts: Tensor
    order: Tensor | None


def _layout(
    labels: Tensor,
    lengths: Tensor | None,
    sequence_ids: Tensor | None,
    num_sequences: int | None,
) -> _Layout | None:
    """The layout of tokens on one axis; None of a padded batch.

    Raises:
      TypeError: an argument is not of integers.
      ValueError: shapes, devices or lengths do not suit.
    """
    if lengths is None and sequence_ids is None:
        _require(labels.ndim >= 2, "labels with an axis of sequences and one of tokens", labels)
        return None
    _require(labels.ndim == 1, "labels with one axis", labels)
    if sequence_ids is None:
        lengths = _integers("lengths", lengths, labels)
        _require(lengths.ndim == 1, "lengths with one axis", lengths)
        starts = torch.nn.functional.pad(lengths.long().cumsum(0), (1, 0))
        _require_lengths(lengths, starts, len(labels))
        return _Layout(starts, None)
    _require(lengths is None, "lengths or sequence_ids, not both", labels)
    sequence_ids = _integers("sequence_ids", sequence_ids, labels)
    _require(sequence_ids.shape == labels.shape, "sequence_ids of the shape of labels", labels)
    if not isinstance(num_sequences, int) or isinstance(num_sequences, bool):
        raise TypeError(
            f"num_sequences must be an integer with sequence_ids; got {num_sequences!r}. "
            "Pass the number of sequences: to ask the ids would wait for the device."
        )
    in_order, order = sequence_ids.long().sort(stable=True)
    sequences = torch.arange(num_sequences + 1, device=labels.device)
    return _Layout(torch.searchsorted(in_order, sequences), order)


def _sums(values: Tensor, layout: _Layout | None) -> Tensor:
    if layout is None:
        return values.sum(-1)
    return _sequence_sums(values if layout.order is None else values[layout.order], layout.starts)


def _require_lengths(lengths: Tensor, starts: Tensor, n_tokens: int) -> None:
    # On a GPU asking would wait for it: there such a sequence gives nan.
    if lengths.device.type != "cpu" or torch.compiler.is_compiling():
        return
    if (lengths < 0).any() or starts[-1] > n_tokens:
        raise ValueError(
            f"lengths must not be negative and end with the {n_tokens} tokens; got "
            f"{lengths.tolist()}. Tokens behind the last sequence belong to none."
        )


def _require(holds: bool, what: str, came: Tensor) -> None:
    if not holds:
        raise ValueError(
            f"sequences need {what}; got shape {tuple(came.shape)}. Pass lengths for sequences one "
            "behind the other, sequence_ids for any order, neither for a padded batch."
        )


def _integers(name: str, value: Tensor | None, labels: Tensor) -> Tensor:
    if not isinstance(value, Tensor) or value.dtype not in (torch.int32, torch.int64):
        came = value.dtype if isinstance(value, Tensor) else type(value).__name__
        raise TypeError(
            f"{name} must be a tensor of int64 or int32; got {came}. Cast with .long()."
        )
    if value.device != labels.device:
        raise ValueError(
            f"{name} must be on the device of labels, {labels.device}; got {value.device}. "
            f"Move it with {name}.to(labels.device)."
        )
    return value


def _values_and_layout(
    logits: Tensor,
    labels: Tensor,
    temperature: float,
    ignore_index: int,
    inplace_gradient: bool,
    of_sequences: tuple[Tensor | None, Tensor | None, int | None],
) -> tuple[Tensor, _Layout | None]:
    # What is no tensor is refused below, by token_log_probs.
    layout = _layout(labels, *of_sequences) if isinstance(labels, Tensor) else None
    values = token_log_probs(
        logits, labels, temperature, ignore_index=ignore_index, inplace_gradient=inplace_gradient
    )
    return values, layout


def sequence_log_probs(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    lengths: Tensor | None = None,
    sequence_ids: Tensor | None = None,
    num_sequences: int | None = None,
    ignore_index: int = -100,
    inplace_gradient: bool = False,
) -> Tensor:
    """Log-probability of each sequence, `sum_i log p(label_i)` over its tokens, in nats.

    The cost is that of `token_log_probs`, which says more of the arguments that both have. The sum
    is deterministic.

    Args:
      logits: scores, `[..., tokens, classes]`.
      labels: classes, `[..., tokens]`. With `lengths` or `sequence_ids` there is one axis of
        tokens; with neither each row of labels is a sequence, padded with `ignore_index`.
      temperature: a positive finite Python number.
      lengths: tokens of each sequence, one sequence behind the other; int64 or int32. Tokens that
        remain belong to none. On a GPU a sequence that ends behind the last token gives nan.
      sequence_ids: the sequence of each token, in any order; one below 0, or of `num_sequences` or
        more, means none.
      num_sequences: the number of sequences, with `sequence_ids`.
      ignore_index: the label of tokens that do not count.
      inplace_gradient: write the gradient over `logits`.

    Returns:
      One number a sequence, 0 for an empty one; float64 for float64, otherwise float32.

    Raises:
      NotImplementedError: `logits` has a tangent of forward mode; only reverse mode, once.
      TypeError: as in `token_log_probs`; `lengths`, `sequence_ids` or `num_sequences` are not
        integers.
      ValueError: as in `token_log_probs`; shapes or devices do not suit, or lengths are negative
        or longer than the tokens (on the CPU).

    Examples:
      >>> logits, labels = torch.zeros(5, 2), torch.tensor([0, 1, 1, -100, 0])
      >>> sums = sequence_log_probs(logits, labels, lengths=torch.tensor([2, 3]))
      >>> [round(x, 4) for x in sums.tolist()]
      [-1.3863, -1.3863]
    """
    values, layout = _values_and_layout(
        logits,
        labels,
        temperature,
        ignore_index,
        inplace_gradient,
        (lengths, sequence_ids, num_sequences),
    )
    return _sums(values, layout)


def perplexity(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    lengths: Tensor | None = None,
    sequence_ids: Tensor | None = None,
    num_sequences: int | None = None,
    ignore_index: int = -100,
    inplace_gradient: bool = False,
) -> Tensor:
    """Perplexity `exp(-sum_i log p(label_i) / n)` of each sequence of `n` tokens that count.

    Args:
      logits: scores, `[..., tokens, classes]`.
      labels: classes, `[..., tokens]`, as in `sequence_log_probs`.
      temperature: a positive finite Python number.
      lengths: tokens of each sequence, as in `sequence_log_probs`.
      sequence_ids: the sequence of each token, likewise.
      num_sequences: the number of sequences, with `sequence_ids`.
      ignore_index: the label of tokens that do not count.
      inplace_gradient: write the gradient over `logits`.

    Returns:
      One number a sequence, at least 1, and 1 where no token counts; float64 for float64,
      otherwise float32.

    Raises:
      NotImplementedError: `logits` has a tangent of forward mode; only reverse mode, once.
      TypeError: as in `sequence_log_probs`.
      ValueError: as in `sequence_log_probs`.

    Examples:
      >>> round(perplexity(torch.zeros(1, 3, 5), torch.tensor([[0, 4, -100]])).item(), 4)
      5.0
    """
    values, layout = _values_and_layout(
        logits,
        labels,
        temperature,
        ignore_index,
        inplace_gradient,
        (lengths, sequence_ids, num_sequences),
    )
    counts = _sums((labels != ignore_index).to(values.dtype), layout)
    return torch.exp(-_sums(values, layout) / counts.clamp(min=1))


def sequence_log_probs_reference(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    lengths: Tensor | None = None,
    sequence_ids: Tensor | None = None,
    num_sequences: int | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """`sequence_log_probs` by torch in float64, differentiable."""
    values = token_log_probs_reference(logits, labels, temperature, ignore_index=ignore_index)
    return _sums_reference(values, lengths, sequence_ids, num_sequences)


def perplexity_reference(
    logits: Tensor,
    labels: Tensor,
    temperature: float = 1.0,
    *,
    lengths: Tensor | None = None,
    sequence_ids: Tensor | None = None,
    num_sequences: int | None = None,
    ignore_index: int = -100,
) -> Tensor:
    """`perplexity` by torch in float64, differentiable."""
    values = token_log_probs_reference(logits, labels, temperature, ignore_index=ignore_index)
    counts = (labels != ignore_index).double()
    sums, tokens = (
        _sums_reference(x, lengths, sequence_ids, num_sequences) for x in (values, counts)
    )
    return torch.exp(-sums / tokens.clamp(min=1))


def _sums_reference(
    values: Tensor,
    lengths: Tensor | None,
    sequence_ids: Tensor | None,
    num_sequences: int | None,
) -> Tensor:
    if lengths is not None:
        parts = values[: int(lengths.sum())].split(lengths.tolist())
        return torch.stack([part.sum() for part in parts])
    if sequence_ids is not None:
        return torch.stack([values[sequence_ids == s].sum() for s in range(num_sequences or 0)])
    return values.sum(-1)
