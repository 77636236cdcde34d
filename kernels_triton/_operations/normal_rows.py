"""The log-density of rows under one normal law, diagonal or full."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _diagonal(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    return lambda draw: {
        "x": draw.normal(n_rows, n_columns),
        "loc": draw.normal(n_columns),
        "scale": 0.5 + draw.normal(n_columns).abs(),
    }


def _full(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    # Of diagonals near 1.5 and small entries below: well conditioned in any dtype.
    return lambda draw: {
        "x": draw.normal(n_rows, n_columns),
        "loc": draw.normal(n_columns),
        "scale_tril": (0.1 * draw.normal(n_columns, n_columns)).tril() + 1.5 * torch.eye(n_columns),
    }


_DIAGONAL_CASES = {
    "33x10": Case(_diagonal(33, 10)),
    "7x1000 transposed": Case(_diagonal(7, 1000), transposed=True),
    "2x5000": Case(_diagonal(2, 5000)),
}
_FULL_CASES = {
    "33x10": Case(_full(33, 10)),
    "7x30 transposed": Case(_full(7, 30), transposed=True),
    "70x3": Case(_full(70, 3)),
}
# Short rows share a program, long ones are read block by block.
_DIAGONAL_COMPILED = {
    f"{columns} columns": Case(_diagonal(64, columns)) for columns in (16, 4096, 16384)
}
_FULL_COMPILED = {f"{columns} columns": Case(_full(4096, columns)) for columns in (16, 32)}


def _diagonal_in_torch(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.distributions.Normal(loc, scale).log_prob(x).sum(-1)


def _diagonal_in_jax(x: jax.Array, loc: jax.Array, scale: jax.Array) -> jax.Array:
    spread = (jnp.broadcast_to(value, x.shape) for value in (loc, scale))
    return jax.scipy.stats.norm.logpdf(x, *spread).sum(-1)


def _full_in_torch(x: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    factor = scale_tril.tril()
    z = torch.linalg.solve_triangular(factor, (x - loc).mT, upper=False)
    norm = factor.diagonal().log().sum() + 0.5 * len(factor) * math.log(2 * math.pi)
    return -0.5 * (z * z).sum(0) - norm


def _full_in_jax(x: jax.Array, loc: jax.Array, scale_tril: jax.Array) -> jax.Array:
    factor = jnp.tril(scale_tril)
    z = jax.scipy.linalg.solve_triangular(factor, (x - loc[None]).T, lower=True)
    norm = jnp.log(jnp.diagonal(factor)).sum() + 0.5 * len(factor) * math.log(2 * math.pi)
    return -0.5 * (z * z).sum(0) - norm


def _summed(function: Callable) -> Callable:
    return lambda **inputs: function(**inputs).sum()


_DIAGONAL = (_DIAGONAL_CASES, _DIAGONAL_COMPILED)
_FULL = (_FULL_CASES, _FULL_COMPILED)
OPERATIONS = {
    "diagonal_normal_log_density": Operation(_diagonal_in_torch, _diagonal_in_jax, *_DIAGONAL),
    "diagonal_normal_log_likelihood": Operation(
        _summed(_diagonal_in_torch), _summed(_diagonal_in_jax), *_DIAGONAL
    ),
    "multivariate_normal_log_density": Operation(_full_in_torch, _full_in_jax, *_FULL),
    "multivariate_normal_log_likelihood": Operation(
        _summed(_full_in_torch), _summed(_full_in_jax), *_FULL
    ),
}
