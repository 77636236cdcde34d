"""Log-probabilities of sequences and their perplexity."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _tokens(draw: Draw, *shape: int) -> dict[str, Tensor]:
    """Logits, and labels of which the first does not count."""
    logits, labels = 3 * draw.normal(*shape), draw.integers(shape[-1], *shape[:-1])
    labels.view(-1)[0] = -100
    return {"logits": logits, "labels": labels}


def _batch(draw: Draw) -> dict[str, Tensor]:
    return _tokens(draw, 3, 7, 10)


def _one_behind_the_other(draw: Draw) -> dict[str, Tensor]:
    return _tokens(draw, 33, 10) | {"lengths": torch.tensor([5, 0, 20])}


def _mixed(draw: Draw) -> dict[str, Tensor]:
    return _tokens(draw, 33, 10) | {"sequence_ids": draw.integers(4, 33)}


_OPTIONS: dict[str, Any] = {"temperature": 0.7}
_CASES = {
    "3x7x10 batch": Case(_batch, _OPTIONS),
    "33x10 lengths": Case(_one_behind_the_other, _OPTIONS),
    "33x10 ids transposed": Case(_mixed, _OPTIONS | {"num_sequences": 3}, transposed=True),
}
_COMPILED = {"lengths": Case(_one_behind_the_other)}


def _ids(n_tokens: int, lengths: Any, sequence_ids: Any, num_sequences: int | None) -> list[int]:
    """The sequence of each token, as numbers; one behind the last for none."""
    if lengths is None:
        return [min(int(i), num_sequences or 0) for i in sequence_ids]
    ids = [s for s, length in enumerate(lengths) for _ in range(int(length))]
    return ids + [len(lengths)] * (n_tokens - len(ids))


def _in_torch(of_sums: Callable) -> Callable:
    def peer(
        logits: Tensor,
        labels: Tensor,
        temperature: float,
        lengths: Tensor | None = None,
        sequence_ids: Tensor | None = None,
        num_sequences: int | None = None,
    ) -> Tensor:
        values = -torch.nn.functional.cross_entropy(
            (logits / temperature).movedim(-1, 1), labels, reduction="none"
        )
        counts = (labels != -100).to(values)
        if labels.ndim > 1:
            return of_sums(torch, values.sum(-1), counts.sum(-1))
        ids = torch.tensor(_ids(len(labels), lengths, sequence_ids, num_sequences))
        size = num_sequences or len(lengths if lengths is not None else ())
        ids = ids.to(labels.device)
        sums = (values.new_zeros(size + 1).index_add(0, ids, x)[:-1] for x in (values, counts))
        return of_sums(torch, *sums)

    return peer


def _in_jax(of_sums: Callable) -> Callable:
    def peer(
        logits: jax.Array,
        labels: jax.Array,
        temperature: float,
        lengths: jax.Array | None = None,
        sequence_ids: jax.Array | None = None,
        num_sequences: int | None = None,
    ) -> jax.Array:
        log_probs = jax.nn.log_softmax(logits / temperature)
        counts = (labels != -100).astype(log_probs.dtype)
        picked = jnp.take_along_axis(log_probs, jnp.maximum(labels, 0)[..., None], -1)[..., 0]
        values = picked * counts
        if labels.ndim > 1:
            return of_sums(jnp, values.sum(-1), counts.sum(-1))
        if lengths is None:
            ids, size = sequence_ids, num_sequences or 0
        else:
            size = len(lengths)
            ids = jnp.repeat(jnp.arange(size), lengths, total_repeat_length=len(labels))
            counts = counts * (jnp.arange(len(labels)) < lengths.sum())
            values = values * (jnp.arange(len(labels)) < lengths.sum())
        one_hot = jax.nn.one_hot(ids, size, dtype=values.dtype)
        return of_sums(jnp, values @ one_hot, counts @ one_hot)

    return peer


def _sum(_: Any, sums: Any, _counts: Any) -> Any:
    return sums


def _perplexity(library: Any, sums: Any, counts: Any) -> Any:
    return library.exp(-sums / library.where(counts > 0, counts, 1.0))


OPERATIONS = {
    "sequence_log_probs": Operation(_in_torch(_sum), _in_jax(_sum), _CASES, _COMPILED),
    "perplexity": Operation(_in_torch(_perplexity), _in_jax(_perplexity), _CASES, _COMPILED),
}
