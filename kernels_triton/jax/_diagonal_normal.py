"""The log-density of rows of independent normal coordinates, of JAX arrays."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, alike, require_shape, rows_of
from kernels_triton.jax._operator import RowOperation


def _formula(x: Array, loc: Array, scale: Array) -> tuple[Array]:
    dtype = x.dtype
    x, loc, scale = _spread(x, loc, scale)
    z = (x - loc) / scale
    out = (-0.5 * z * z - jnp.log(scale) - 0.9189385332046727418).sum(-1)
    return (out.astype(dtype),)


def _pull(cotangents: tuple[Array], x: Array, loc: Array, scale: Array) -> tuple[Array, ...]:
    dtype, size = x.dtype, x.shape[-1]
    x, loc, scale = _spread(x, loc, scale)
    cotangent = cotangents[0].astype(x.dtype)[..., None]
    z = jnp.where(cotangent == 0, 0.0, (x - loc) / scale)
    slope = cotangent / scale
    over_rows = lambda values: values.reshape(-1, size).sum(0)
    found = -z * slope, over_rows(z * slope), over_rows((z * z - 1.0) * slope)
    return tuple(value.astype(dtype) for value in found)


def _spread(x: Array, *parameters: Array) -> list[Array]:
    x, *wide = accumulated(x, *parameters)
    return [x, *(jnp.broadcast_to(value, x.shape) for value in wide)]


def _sum_formula(x: Array, loc: Array, scale: Array) -> tuple[Array]:
    return (_formula(*accumulated(x, loc, scale))[0].sum(),)


def _sum_pull(cotangents: tuple[Array], x: Array, loc: Array, scale: Array) -> tuple[Array, ...]:
    return _pull((jnp.broadcast_to(cotangents[0], x.shape[:-1]),), x, loc, scale)


_INPUTS = {"x": 1, "loc": None, "scale": None}
_DENSITY = RowOperation("diagonal_normal_log_density", _formula, _INPUTS, (0,), pull=_pull)
_SUM = RowOperation(
    "diagonal_normal_log_likelihood", _sum_formula, _INPUTS, (None,), pull=_sum_pull
)
OPERATIONS = {operation.name: operation for operation in (_DENSITY, _SUM)}


def _checked(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> dict[str, Array]:
    rows = rows_of("x", x)
    found = {"x": rows}
    for name, value in (("loc", loc), ("scale", scale)):
        require_shape(name, value, (), rows.shape[-1:])
        found[name] = alike(name, value, "x", rows, rows.shape[-1:])
    return found


def diagonal_normal_log_density(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """Log-density of each row under independent normal coordinates, in nats.

    As `kernels_triton.diagonal_normal_log_density`, for JAX: by the same kernels on CUDA, by their
    formula elsewhere. On CUDA rows that are sharded are gathered.

    Args:
      x: observations, shape `(..., d)`.
      loc: means, shape `(d,)`, of the dtype of `x`; or a number for all coordinates.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      Log-densities of shape `(...)` and the dtype of `x`.

    Raises:
      TypeError: an argument is not a floating array (or a number, which no bool is), or the dtypes
        differ.
      ValueError: `x` is a scalar, or a parameter has another shape.

    Examples:
      >>> round(diagonal_normal_log_density(jnp.zeros((1, 2)), 0.0, jnp.ones(2)).item(), 6)
      -1.837877
    """
    return _DENSITY(_checked(x, loc, scale))[0]


def diagonal_normal_log_likelihood(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """The sum of `diagonal_normal_log_density` over all rows, in nats.

    As `kernels_triton.diagonal_normal_log_likelihood`, for JAX.

    Args:
      x: observations, shape `(..., d)`.
      loc: means, shape `(d,)`, of the dtype of `x`; or a number for all coordinates.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      A scalar, float64 for float64 and otherwise float32; 0 where there are no rows.

    Raises:
      TypeError: an argument is not a floating array (or a number, which no bool is), or the dtypes
        differ.
      ValueError: `x` is a scalar, or a parameter has another shape.

    Examples:
      >>> round(diagonal_normal_log_likelihood(jnp.zeros((10, 2)), 0.0, 1.0).item(), 4)
      -18.3788
    """
    return _SUM(_checked(x, loc, scale))[0]
