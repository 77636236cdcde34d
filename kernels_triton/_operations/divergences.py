"""Divergences between rows of logits."""

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _rows(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    def draw(draw: Draw) -> dict[str, Tensor]:
        p = 2 * draw.normal(n_rows, n_columns)
        return {"p_logits": p, "q_logits": p + draw.normal(n_rows, n_columns)}

    return draw


def _cases(options: Mapping[str, Any]) -> dict[str, Case]:
    return {
        "33x10": Case(_rows(33, 10), options),
        "7x1000 transposed": Case(_rows(7, 1000), options, transposed=True),
        "2x5000": Case(_rows(2, 5000), options),
    }


def _compiled(options: Mapping[str, Any]) -> dict[str, Case]:
    # Short rows share a program; 4096 columns are one part; longer rows are joined of parts.
    return {
        f"{columns} columns": Case(_rows(64, columns), options) for columns in (16, 4096, 16384)
    }


def _kl_in_torch(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    p, q = p_logits.log_softmax(-1), q_logits.log_softmax(-1)
    return torch.nn.functional.kl_div(q, p, reduction="none", log_target=True).sum(-1)


def _kl_in_jax(p_logits: jax.Array, q_logits: jax.Array) -> jax.Array:
    p, q = jax.nn.log_softmax(p_logits), jax.nn.log_softmax(q_logits)
    return jnp.sum(jnp.exp(p) * (p - q), axis=-1)


def _affinity_in_torch(p_logits: Tensor, q_logits: Tensor, order: float) -> Tensor:
    exponent = order * p_logits.log_softmax(-1) + (1 - order) * q_logits.log_softmax(-1)
    return exponent.logsumexp(-1)


def _affinity_in_jax(p_logits: jax.Array, q_logits: jax.Array, order: float) -> jax.Array:
    p, q = jax.nn.log_softmax(p_logits), jax.nn.log_softmax(q_logits)
    return jax.scipy.special.logsumexp(order * p + (1 - order) * q, axis=-1)


def _alpha_in_torch(p_logits: Tensor, q_logits: Tensor, order: float) -> Tensor:
    return torch.expm1(_affinity_in_torch(p_logits, q_logits, order)) / (order * (order - 1))


def _alpha_in_jax(p_logits: jax.Array, q_logits: jax.Array, order: float) -> jax.Array:
    return jnp.expm1(_affinity_in_jax(p_logits, q_logits, order)) / (order * (order - 1))


def _jensen_shannon_in_torch(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    p, q = p_logits.softmax(-1), q_logits.softmax(-1)
    middle = (0.5 * (p + q)).log()
    return 0.5 * ((p * (p.log() - middle)).sum(-1) + (q * (q.log() - middle)).sum(-1))


def _jensen_shannon_in_jax(p_logits: jax.Array, q_logits: jax.Array) -> jax.Array:
    p, q = jax.nn.softmax(p_logits), jax.nn.softmax(q_logits)
    middle = 0.5 * (p + q)
    terms = jax.scipy.special.rel_entr(p, middle) + jax.scipy.special.rel_entr(q, middle)
    return 0.5 * terms.sum(-1)


def _operation(in_torch: Callable, in_jax: Callable, **options: float) -> Operation:
    return Operation(in_torch, in_jax, _cases(options), _compiled(options))


OPERATIONS = {
    "kl": _operation(_kl_in_torch, _kl_in_jax),
    "jensen_shannon": _operation(_jensen_shannon_in_torch, _jensen_shannon_in_jax),
    "alpha_divergence": _operation(_alpha_in_torch, _alpha_in_jax, order=0.3),
    "amari_alpha_divergence": _operation(
        lambda alpha, **laws: _alpha_in_torch(order=0.5 * (1 - alpha), **laws),
        lambda alpha, **laws: _alpha_in_jax(order=0.5 * (1 - alpha), **laws),
        alpha=0.0,
    ),
    "renyi": _operation(
        lambda order, **laws: _affinity_in_torch(order=order, **laws) / (order - 1),
        lambda order, **laws: _affinity_in_jax(order=order, **laws) / (order - 1),
        order=0.7,
    ),
    "total_variation": _operation(
        lambda p_logits, q_logits: (
            0.5 * (p_logits.softmax(-1) - q_logits.softmax(-1)).abs().sum(-1)
        ),
        lambda p_logits, q_logits: (
            0.5 * jnp.sum(jnp.abs(jax.nn.softmax(p_logits) - jax.nn.softmax(q_logits)), axis=-1)
        ),
    ),
}
