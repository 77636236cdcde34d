"""The log-density of rows under a normal law of given Cholesky factor, of JAX arrays."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, alike, require_shape, rows_of
from kernels_triton.jax._operator import RowOperation


def _formula(x: Array, loc: Array, scale_tril: Array) -> tuple[Array]:
    dtype = x.dtype
    x, loc, scale_tril = accumulated(x, loc, scale_tril)
    infinite = jnp.isinf(x)
    z = _solved(scale_tril, jnp.where(infinite, 0.0, x - jnp.broadcast_to(loc, x.shape)))
    square = (z * z).sum(-1) + jnp.where(infinite.any(-1), jnp.inf, 0.0)
    norm = 0.5 * x.shape[-1] * math.log(2 * math.pi)
    constant = -jnp.log(jnp.diagonal(scale_tril)).sum() - norm
    return ((constant - 0.5 * square).astype(dtype),)


def _pull(cotangents: tuple[Array], x: Array, loc: Array, scale_tril: Array) -> tuple[Array, ...]:
    dtype, size = x.dtype, x.shape[-1]
    x, loc, scale_tril, cotangent = accumulated(x, loc, scale_tril, *cotangents)
    cotangent = cotangent[..., None]
    z = _solved(scale_tril, x - jnp.broadcast_to(loc, x.shape))
    z = jnp.where(cotangent == 0, 0.0, z)
    weighted = cotangent * z
    pull = _solved(scale_tril, weighted, transposed=True)
    rows, weighted_rows = z.reshape(-1, size), weighted.reshape(-1, size)
    square = jnp.matmul(weighted_rows.T, rows, precision="highest")
    inner = _solved(scale_tril, square.T, transposed=True).T
    factor = jnp.tril(inner - jnp.diag(cotangent.sum() / jnp.diagonal(scale_tril)))
    shift = _solved(scale_tril, weighted_rows.sum(0), transposed=True)
    return tuple(value.astype(dtype) for value in (-pull, shift, factor))


def _solved(factor: Array, rows: Array, *, transposed: bool = False) -> Array:
    """`L^-1` of each row, or `L^-T`."""
    columns = rows.reshape(-1, rows.shape[-1]).T
    found = jax.scipy.linalg.solve_triangular(
        factor, columns, lower=True, trans="T" if transposed else "N"
    )
    return found.T.reshape(rows.shape)


def _sum_formula(x: Array, loc: Array, scale_tril: Array) -> tuple[Array]:
    return (_formula(*accumulated(x, loc, scale_tril))[0].sum(),)


def _sum_pull(
    cotangents: tuple[Array], x: Array, loc: Array, scale_tril: Array
) -> tuple[Array, ...]:
    return _pull((jnp.broadcast_to(cotangents[0], x.shape[:-1]),), x, loc, scale_tril)


_INPUTS = {"x": 1, "loc": None, "scale_tril": None}
_DENSITY = RowOperation("multivariate_normal_log_density", _formula, _INPUTS, (0,), pull=_pull)
_SUM = RowOperation(
    "multivariate_normal_log_likelihood", _sum_formula, _INPUTS, (None,), pull=_sum_pull
)
OPERATIONS = {operation.name: operation for operation in (_DENSITY, _SUM)}


def _checked(x: ArrayLike, loc: ArrayLike, scale_tril: ArrayLike) -> dict[str, Array]:
    rows = rows_of("x", x)
    size = rows.shape[-1]
    require_shape("loc", loc, (), (size,))
    require_shape("scale_tril", scale_tril, (size, size))
    return {
        "x": rows,
        "loc": alike("loc", loc, "x", rows, (size,)),
        "scale_tril": alike("scale_tril", scale_tril, "x", rows, (size, size)),
    }


def multivariate_normal_log_density(x: ArrayLike, loc: ArrayLike, scale_tril: ArrayLike) -> Array:
    """Log-density of each row under a normal law of covariance `L L^T`, in nats.

    As `kernels_triton.multivariate_normal_log_density`, for JAX: by the same kernels on CUDA, by
    substitution elsewhere. On CUDA rows that are sharded are gathered, and `L` is inverted in
    float64 where `jax_enable_x64` is on.

    Args:
      x: observations, shape `(..., d)`.
      loc: means, shape `(d,)`, of the dtype of `x`; or a number for all coordinates.
      scale_tril: the Cholesky factor `L`, shape `(d, d)`; only its lower triangle is read, whose
        diagonal must be positive.

    Returns:
      Log-densities of shape `(...)` and the dtype of `x`; `-inf` at an infinite entry.

    Raises:
      TypeError: an argument is not a floating array (`loc` may be a number, which no bool is), or
        the dtypes differ.
      ValueError: `x` is a scalar, or a parameter has another shape.

    Examples:
      >>> round(multivariate_normal_log_density(jnp.zeros((1, 2)), 0.0, jnp.eye(2)).item(), 6)
      -1.837877
    """
    return _DENSITY(_checked(x, loc, scale_tril))[0]


def multivariate_normal_log_likelihood(
    x: ArrayLike, loc: ArrayLike, scale_tril: ArrayLike
) -> Array:
    """The sum of `multivariate_normal_log_density` over all rows, in nats.

    As `kernels_triton.multivariate_normal_log_likelihood`, for JAX.

    Args:
      x: observations, shape `(..., d)`.
      loc: means, shape `(d,)`, of the dtype of `x`; or a number for all coordinates.
      scale_tril: the Cholesky factor `L`, shape `(d, d)`; only its lower triangle is read, whose
        diagonal must be positive.

    Returns:
      A scalar, float64 for float64 and otherwise float32; 0 where there are no rows.

    Raises:
      TypeError: an argument is not a floating array (`loc` may be a number, which no bool is), or
        the dtypes differ.
      ValueError: `x` is a scalar, or a parameter has another shape.

    Examples:
      >>> round(multivariate_normal_log_likelihood(jnp.zeros((9, 2)), 0.0, jnp.eye(2)).item(), 4)
      -16.5409
    """
    return _SUM(_checked(x, loc, scale_tril))[0]
