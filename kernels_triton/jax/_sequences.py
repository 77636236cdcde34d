"""`sequence_log_probs` and `perplexity` of JAX arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array

from kernels_triton.jax._cross_entropy import token_log_probs


def _sums(
    values: Array,
    lengths: Array | None,
    sequence_ids: Array | None,
    num_sequences: int | None,
) -> Array:
    """The sum of the values of each sequence.

    Raises:
      TypeError: `num_sequences` is not an integer.
      ValueError: the shapes do not suit.
    """
    if lengths is None and sequence_ids is None:
        if values.ndim < 2:
            raise ValueError(
                f"sequences need labels with an axis of sequences and one of tokens; got shape "
                f"{values.shape}. Pass lengths or sequence_ids for one axis of tokens."
            )
        return values.sum(-1)
    if values.ndim != 1 or (lengths is not None and sequence_ids is not None):
        raise ValueError(
            "sequences need labels with one axis, and lengths or sequence_ids, not both; got shape "
            f"{values.shape}. Pass neither for a padded batch."
        )
    if lengths is not None:
        lengths = jnp.asarray(lengths)
        ends, n_tokens = jnp.cumsum(lengths), values.shape[0]
        # The first end behind a token is that of its sequence; past all ends it is of none.
        ids = jnp.searchsorted(ends, jnp.arange(n_tokens), side="right")
        sums = jax.ops.segment_sum(values, ids, len(lengths) + 1)[:-1]
        return jnp.where(ends > n_tokens, jnp.nan, sums)
    if not isinstance(num_sequences, int) or isinstance(num_sequences, bool):
        raise TypeError(
            f"num_sequences must be an integer with sequence_ids; got {num_sequences!r}. "
            "Pass the number of sequences, which gives the result its shape."
        )
    ids = jnp.asarray(sequence_ids)
    if ids.shape != values.shape:
        raise ValueError(
            f"sequence_ids must have the shape of labels, {values.shape}; got {ids.shape}. "
            "Pass one for each token."
        )
    ids = jnp.where((ids >= 0) & (ids < num_sequences), ids, num_sequences)
    return jax.ops.segment_sum(values, ids, num_sequences + 1)[:-1]


def sequence_log_probs(
    logits: Array,
    labels: Array,
    temperature: float = 1.0,
    *,
    lengths: Array | None = None,
    sequence_ids: Array | None = None,
    num_sequences: int | None = None,
    ignore_index: int = -100,
) -> Array:
    """Log-probability of each sequence, `sum_i log p(label_i)` over its tokens, in nats.

    As `kernels_triton.sequence_log_probs`, for JAX: `token_log_probs`, summed by XLA in an order of
    its own.

    Args:
      logits: scores, `[..., tokens, classes]`.
      labels: classes, `[..., tokens]`. With `lengths` or `sequence_ids` there is one axis of
        tokens; with neither each row of labels is a sequence, padded with `ignore_index`.
      temperature: a positive finite Python number.
      lengths: tokens of each sequence, one sequence behind the other; one that ends behind the
        last token gives nan.
      sequence_ids: the sequence of each token, in any order; one below 0, or of `num_sequences` or
        more, means none.
      num_sequences: the number of sequences, with `sequence_ids`.
      ignore_index: the label of tokens that do not count.

    Returns:
      One number a sequence, 0 for an empty one; float64 for float64, otherwise float32.

    Raises:
      TypeError: as in `token_log_probs`, or `num_sequences` is not an integer.
      ValueError: as in `token_log_probs`, or the shapes do not suit.

    Examples:
      >>> sums = sequence_log_probs(jnp.zeros((1, 3, 2)), jnp.array([[0, 1, -100]]))
      >>> round(sums.item(), 4)
      -1.3863
    """
    values = token_log_probs(logits, labels, temperature, ignore_index=ignore_index)
    return _sums(values, lengths, sequence_ids, num_sequences)


def perplexity(
    logits: Array,
    labels: Array,
    temperature: float = 1.0,
    *,
    lengths: Array | None = None,
    sequence_ids: Array | None = None,
    num_sequences: int | None = None,
    ignore_index: int = -100,
) -> Array:
    """Perplexity `exp(-sum_i log p(label_i) / n)` of each sequence of `n` tokens that count.

    As `kernels_triton.perplexity`, for JAX.

    Args:
      logits: scores, `[..., tokens, classes]`.
      labels: classes, `[..., tokens]`, as in `sequence_log_probs`.
      temperature: a positive finite Python number.
      lengths: tokens of each sequence, as in `sequence_log_probs`.
      sequence_ids: the sequence of each token, likewise.
      num_sequences: the number of sequences, with `sequence_ids`.
      ignore_index: the label of tokens that do not count.

    Returns:
      One number a sequence, at least 1, and 1 where no token counts; float64 for float64,
      otherwise float32.

    Raises:
      TypeError: as in `sequence_log_probs`.
      ValueError: as in `sequence_log_probs`.

    Examples:
      >>> round(perplexity(jnp.zeros((1, 3, 5)), jnp.array([[0, 4, -100]])).item(), 4)
      5.0
    """
    values = token_log_probs(logits, labels, temperature, ignore_index=ignore_index)
    counts = (jnp.asarray(labels) != ignore_index).astype(values.dtype)
    sums, counts = (_sums(x, lengths, sequence_ids, num_sequences) for x in (values, counts))
    return jnp.exp(-sums / jnp.maximum(counts, 1))
