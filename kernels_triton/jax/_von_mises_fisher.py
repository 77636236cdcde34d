"""Logits of directions, of JAX arrays."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, alike, require_shape, rows_of
from kernels_triton.jax._operator import RowOperation


def _formula(x: Array, mu: Array, kappa: Array) -> tuple[Array]:
    dtype = x.dtype
    x, mu, kappa = accumulated(x, mu, kappa)
    product = jnp.matmul(x, mu.T, precision="highest")
    spread = jnp.broadcast_to(_inverse_length(mu), product.shape)
    logits = product * _inverse_length(x)[..., None] * spread
    return ((logits * jnp.broadcast_to(kappa, product.shape)).astype(dtype),)


def _inverse_length(x: Array) -> Array:
    square = (x * x).sum(-1)
    # The derivative of a choice is nan where that of what is not chosen is.
    positive = jnp.where(square > 0, square, 1.0)
    return jnp.where(square > 0, 1 / jnp.sqrt(positive), square)


_INPUTS = {"x": 1, "mu": None, "kappa": None}
# The kernels flatten the rows, and so the lengths of them that they save.
_LOGITS = RowOperation("von_mises_fisher_logits", _formula, _INPUTS, (1,), saved={1: None, 2: None})
OPERATIONS = {_LOGITS.name: _LOGITS}


def von_mises_fisher_logits(x: ArrayLike, mu: ArrayLike, kappa: ArrayLike = 1.0) -> Array:
    """Logits `kappa_k <mu_k / |mu_k|, x / |x|>` of rows and directions: scaled cosines.

    As `kernels_triton.von_mises_fisher_logits`, for JAX: by the same kernels on CUDA, by their
    formula elsewhere. On CUDA rows that are sharded are gathered, and `vmap` is a loop.

    Args:
      x: rows of any length, shape `(..., d)`. A zero row has no direction: its logits and its
        gradient are 0.
      mu: directions of any length, shape `(K, d)`, of the dtype of `x`; zero likewise.
      kappa: concentrations, shape `(K,)`, likewise; or a number, or a scalar array, for all.

    Returns:
      The logits, of shape `(..., K)` and the dtype of `x`.

    Raises:
      TypeError: an argument is not a floating array (`kappa` may be a number, which no bool is), or
        the dtypes differ.
      ValueError: `x` is a scalar, or `mu` or `kappa` has another shape.

    Examples:
      >>> rows, directions = jnp.array([[3.0, 4.0], [0.0, 0.0]]), jnp.array([[2.0, 0.0]])
      >>> [round(row.item(), 5) for row in von_mises_fisher_logits(rows, directions, 10.0)]
      [6.0, 0.0]
    """
    rows = rows_of("x", x)
    count, size = (jnp.shape(mu) or (0,))[0], rows.shape[-1]
    require_shape("mu", mu, (count, size))
    require_shape("kappa", kappa, (), (count,))
    mu = alike("mu", mu, "x", rows, (count, size))
    kappa = alike("kappa", kappa, "x", rows, (count,))
    return _LOGITS({"x": rows, "mu": mu, "kappa": kappa})[0]
