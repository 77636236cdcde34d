"""Products with Fisher matrices, and the factors of K-FAC."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _rows(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    return lambda draw: {
        "logits": 2 * draw.normal(n_rows, n_columns),
        "tangent": draw.normal(n_rows, n_columns),
    }


def _activations(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    return lambda draw: {"activations": draw.normal(n_rows, n_columns)}


def _matvec_in_torch(logits: Tensor, tangent: Tensor) -> Tensor:
    p = logits.softmax(-1)
    return p * (tangent - (p * tangent).sum(-1, keepdim=True))


def _matvec_in_jax(logits: jax.Array, tangent: jax.Array) -> jax.Array:
    return jax.jvp(jax.nn.softmax, (logits,), (tangent,))[1]


def _factor_in_torch(activations: Tensor, homogeneous: bool) -> Tensor:
    rows = torch.nn.functional.pad(activations, (0, 1), value=1.0) if homogeneous else activations
    return torch.einsum("ni,nj->ij", rows, rows) / len(rows)


def _factor_in_jax(activations: jax.Array, homogeneous: bool) -> jax.Array:
    ones = jnp.ones((len(activations), int(homogeneous)), activations.dtype)
    rows = jnp.concatenate([activations, ones], axis=1)
    return jnp.matmul(rows.T, rows, precision="highest") / len(rows)


_BIAS, _NO_BIAS = {"homogeneous": True}, {"homogeneous": False}

OPERATIONS = {
    "categorical_fisher_matvec": Operation(
        _matvec_in_torch,
        _matvec_in_jax,
        {
            "33x10": Case(_rows(33, 10)),
            "7x1000 transposed": Case(_rows(7, 1000), transposed=True),
            "2x5000": Case(_rows(2, 5000)),
        },
        {f"{columns} columns": Case(_rows(64, columns)) for columns in (16, 4096, 16384)},
    ),
    "kronecker_factor": Operation(
        _factor_in_torch,
        _factor_in_jax,
        {
            "33x10": Case(_activations(33, 10), _BIAS),
            "90x70 transposed": Case(_activations(90, 70), _NO_BIAS, transposed=True),
            "1500x20": Case(_activations(1500, 20), _NO_BIAS),
        },
        # A factor of many tiles takes all rows in one program, one of few splits them.
        {
            "512x2048": Case(_activations(512, 2048), _NO_BIAS),
            "4096x128": Case(_activations(4096, 128), _NO_BIAS),
            "4096x128 and ones": Case(_activations(4096, 128), _BIAS),
        },
    ),
}
