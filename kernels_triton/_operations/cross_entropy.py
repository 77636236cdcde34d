"""Log-probabilities of labels and their cross entropy."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _rows(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    """Logits, and labels of which the first does not count."""

    def draw_inputs(draw: Draw) -> dict[str, Tensor]:
        logits, labels = 3 * draw.normal(n_rows, n_columns), draw.integers(n_columns, n_rows)
        labels[0] = -100
        return {"logits": logits, "labels": labels}

    return draw_inputs


def _torch_cross_entropy(
    logits: Tensor, labels: Tensor, temperature: float, label_smoothing: float = 0.0
) -> Tensor:
    return torch.nn.functional.cross_entropy(
        logits / temperature, labels, label_smoothing=label_smoothing
    )


def _torch_log_probs(logits: Tensor, labels: Tensor, temperature: float) -> Tensor:
    return -torch.nn.functional.cross_entropy(logits / temperature, labels, reduction="none")


def _jax_log_probs(
    logits: jax.Array, labels: jax.Array, temperature: float, label_smoothing: float = 0.0
) -> jax.Array:
    log_probs = jax.nn.log_softmax(logits / temperature)
    counts = labels != -100
    picked = jnp.take_along_axis(log_probs, jnp.where(counts, labels, 0)[:, None], 1)[:, 0]
    smoothed = (1 - label_smoothing) * picked + label_smoothing * log_probs.mean(1)
    return jnp.where(counts, smoothed, 0.0)


def _jax_cross_entropy(
    logits: jax.Array, labels: jax.Array, temperature: float, label_smoothing: float = 0.0
) -> jax.Array:
    values = _jax_log_probs(logits, labels, temperature, label_smoothing)
    return -values.sum() / (labels != -100).sum()


def _cases(options: dict[str, float]) -> dict[str, Case]:
    return {
        "33x10": Case(_rows(33, 10), options),
        "7x1000 transposed": Case(_rows(7, 1000), options, transposed=True),
        "3x9001 in parts": Case(_rows(3, 9001), options),
    }


# Short rows share a program; 8 divides 1000; 4096 columns are one block; 50257 has edges; few long
# rows are split.
_COMPILED = {
    f"{columns} columns": Case(_rows(64, columns), {"temperature": 1.0})
    for columns in (16, 1000, 4096)
} | {
    "528 rows of 50257": Case(_rows(528, 50257), {"temperature": 1.0}),
    "8 rows of 131072": Case(_rows(8, 131072), {"temperature": 1.0}),
}
_SMOOTHED = {
    name: Case(case.inputs, {"temperature": 1.0, "label_smoothing": 0.1})
    for name, case in _COMPILED.items()
}

OPERATIONS = {
    "token_log_probs": Operation(
        _torch_log_probs, _jax_log_probs, _cases({"temperature": 0.7}), _COMPILED
    ),
    "cross_entropy": Operation(
        _torch_cross_entropy,
        _jax_cross_entropy,
        _cases({"temperature": 0.7, "label_smoothing": 0.1}),
        _SMOOTHED,
    ),
}
