"""Logits of directions."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _directions(n_rows: int, n_columns: int, count: int) -> Callable[[Draw], dict[str, Tensor]]:
    return lambda draw: {
        "x": draw.normal(n_rows, n_columns),
        "mu": draw.normal(count, n_columns),
        "kappa": 2 * draw.uniform(count),
    }


def _in_torch(x: Tensor, mu: Tensor, kappa: Tensor) -> Tensor:
    unit, direction = (torch.nn.functional.normalize(value, dim=-1) for value in (x, mu))
    return unit @ direction.T * kappa


def _in_jax(x: jax.Array, mu: jax.Array, kappa: jax.Array) -> jax.Array:
    unit, direction = (value / jnp.linalg.norm(value, axis=-1, keepdims=True) for value in (x, mu))
    return jnp.matmul(unit, direction.T, precision="highest") * kappa[None]


OPERATIONS = {
    "von_mises_fisher_logits": Operation(
        _in_torch,
        _in_jax,
        {
            "33x10": Case(_directions(33, 10, 5)),
            "7x100 transposed": Case(_directions(7, 100, 70), transposed=True),
            "70x40": Case(_directions(70, 40, 3)),
        },
        {"4096x128, 512 directions": Case(_directions(4096, 128, 512))},
    )
}
