"""Likelihood of token sequences under logits of a model, with ignored positions.

Shapes: logits `(..., T, K)`, labels `(..., T)`; sums run over the last axis of labels. With
`shift=True` both describe the same positions of a text, and the logits of each predict the label
of the next: `logits[..., :-1, :]` against `labels[..., 1:]`.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.softmax import log_softmax

IGNORE_INDEX = -100
"""The label of a position that does not count, as in other libraries."""


class SequenceLogProb(NamedTuple):
    """Log-probability of each sequence, in nats, and how many of its tokens counted."""

    log_prob: Float[Array, "*batch"]
    num_tokens: Int[Array, "*batch"]


def token_log_probs(
    logits: Float[ArrayLike, "*batch length classes"],
    labels: Int[ArrayLike, "*batch length"],
    *,
    ignore_index: int = IGNORE_INDEX,
    shift: bool = False,
) -> Float[Array, "*batch length"]:
    """Log-probability of each label, `log softmax(logits)[label]`; 0 where the label is ignored.

    Other classes may be impossible (`-inf`); a label of an impossible class has `-inf`.

    Args:
      logits: scores, shape `(..., T, K)`.
      labels: integers in `0..K-1` or `ignore_index`, shape `(..., T)`.
      ignore_index: the label that does not count.
      shift: logits predict the next label; the result has `T - 1` entries.

    Returns:
      Non-positive values, in nats; nan at a traced label out of range.

    Raises:
      TypeError: logits are not real, or labels no integers.
      ValueError: shapes do not fit, or a concrete label is out of range.

    Examples:
      >>> token_log_probs([[0.0, -jnp.inf], [0.0, 0.0]], [0, -100]).tolist()
      [0.0, 0.0]
    """
    logits, labels = _aligned(logits, labels, ignore_index, shift)
    dtype, classes = logits.dtype, logits.shape[-1]
    counted = labels != ignore_index
    known = (labels >= 0) & (labels < classes)
    index = jnp.where(known, labels, 0)[..., None]
    # Blank where ignored: a nan there would come back through the derivative.
    logits = jnp.where(counted[..., None], logits, 0.0)
    scores = log_softmax(logits.astype(jnp.promote_types(dtype, jnp.float32)))
    scores = jnp.take_along_axis(scores, index, axis=-1)[..., 0]
    return jnp.where(counted, jnp.where(known, scores, jnp.nan), 0.0).astype(dtype)


def sequence_log_prob(
    logits: Float[ArrayLike, "*batch length classes"],
    labels: Int[ArrayLike, "*batch length"],
    *,
    ignore_index: int = IGNORE_INDEX,
    shift: bool = False,
) -> SequenceLogProb:
    """Log-probability of each sequence, the sum over its tokens, and their count.

    The mean negative log-likelihood of a whole batch is `-sum(log_prob) / sum(num_tokens)`.

    Args:
      logits: scores, shape `(..., T, K)`.
      labels: integers in `0..K-1` or `ignore_index`, shape `(..., T)`.
      ignore_index: the label that does not count.
      shift: logits predict the next label.

    Returns:
      Sums and counts over the last axis of labels; 0 and 0 where every label is ignored.

    Raises:
      TypeError: as `token_log_probs`.
      ValueError: as `token_log_probs`.

    Examples:
      >>> result = sequence_log_prob(jnp.zeros((3, 2)), [0, 1, -100])
      >>> round(float(result.log_prob), 4), int(result.num_tokens)
      (-1.3863, 2)
    """
    logits, labels = _aligned(logits, labels, ignore_index, shift)
    dtype = logits.dtype
    logits = logits.astype(jnp.promote_types(dtype, jnp.float32))
    scores = token_log_probs(logits, labels, ignore_index=ignore_index)
    count = jnp.sum(labels != ignore_index, axis=-1)
    return SequenceLogProb(jnp.sum(scores, axis=-1).astype(dtype), count)


def perplexity(
    logits: Float[ArrayLike, "*batch length classes"],
    labels: Int[ArrayLike, "*batch length"],
    *,
    ignore_index: int = IGNORE_INDEX,
    shift: bool = False,
) -> Float[Array, "*batch"]:
    """Perplexity `exp(-log_prob / num_tokens)` of each sequence: K for uniform predictions.

    Args:
      logits: scores, shape `(..., T, K)`.
      labels: integers in `0..K-1` or `ignore_index`, shape `(..., T)`.
      ignore_index: the label that does not count.
      shift: logits predict the next label.

    Returns:
      Values of at least 1; inf where a label is impossible, 1 where every label is ignored.

    Raises:
      TypeError: as `token_log_probs`.
      ValueError: as `token_log_probs`.

    Examples:
      >>> round(float(perplexity(jnp.zeros((3, 5)), [0, 4, -100])), 6)
      5.0
    """
    logits = _scores.checked(logits)
    wide = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    log_prob, count = sequence_log_prob(wide, labels, ignore_index=ignore_index, shift=shift)
    mean = log_prob / jnp.maximum(count, 1).astype(log_prob.dtype)
    return jnp.exp(-mean).astype(logits.dtype)


def _aligned(
    logits: ArrayLike, labels: ArrayLike, ignore_index: int, shift: bool
) -> tuple[Array, Array]:
    """Logits and the labels that they predict, one for one.

    Raises:
      TypeError: labels are no integers.
      ValueError: shapes do not fit, or a concrete label is out of range.
    """
    logits, labels = _scores.checked(logits), jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(
            f"labels must be integers; got dtype {labels.dtype}. Cast them with astype(int); for "
            "one-hot rows take argmax first."
        )
    if logits.ndim < 2 or logits.shape[:-1] != labels.shape:
        raise ValueError(
            f"logits must have the shape of labels and one axis of classes; got {logits.shape} for "
            f"labels {labels.shape}. For a single token add an axis of length one."
        )
    classes = logits.shape[-1]
    checks.require_values(
        "labels",
        labels,
        lambda v: ((v >= 0) & (v < classes)) | (v == ignore_index),
        f"in 0..{classes - 1}, or {ignore_index} to be ignored",
        "Check the vocabulary, or set ignore_index.",
    )
    if shift:
        return logits[..., :-1, :], labels[..., 1:]
    return logits, labels
