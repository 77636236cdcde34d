"""`normal_log_density` and `normal_log_likelihood` of JAX arrays."""

from __future__ import annotations

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, alike, floating_array
from kernels_triton.jax._operator import RowOperation


def _formula(x: Array, loc: Array, scale: Array) -> tuple[Array]:
    dtype = x.dtype
    x, loc, scale = accumulated(x, loc, scale)
    z = (x - loc) / scale
    return ((-0.5 * z * z - jnp.log(scale) - 0.9189385332046727418).astype(dtype),)


def _pull(cotangents: tuple[Array], x: Array, loc: Array, scale: Array) -> tuple[Array, ...]:
    dtype = x.dtype
    cotangent, x, loc, scale = accumulated(*cotangents, x, loc, scale)
    z = (x - loc) / scale
    slope = cotangent / scale
    gradients = -z * slope, z * slope, (z * z - 1.0) * slope
    return tuple(gradient.astype(dtype) for gradient in gradients)


def _sum_formula(x: Array, loc: Array, scale: Array) -> tuple[Array]:
    return (_formula(*accumulated(x, loc, scale))[0].sum(),)


def _sum_pull(cotangents: tuple[Array], x: Array, loc: Array, scale: Array) -> tuple[Array, ...]:
    return _pull((jnp.broadcast_to(cotangents[0], x.shape),), x, loc, scale)


_ELEMENTS = {"x": 0, "loc": 0, "scale": 0}
_DENSITY = RowOperation("normal_log_density", _formula, _ELEMENTS, (0,), pull=_pull)
_SUM = RowOperation("normal_log_likelihood", _sum_formula, _ELEMENTS, (None,), pull=_sum_pull)
OPERATIONS = {operation.name: operation for operation in (_DENSITY, _SUM)}


def _broadcast(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> dict[str, Array]:
    x = floating_array("x", x)
    shapes = [jnp.shape(value) for value in (x, loc, scale)]
    try:
        shape = jnp.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            "x, loc and scale must have shapes that broadcast together; got "
            f"{', '.join(map(str, shapes))}. "
            "Insert axes of length one where they differ, for example loc[:, None]."
        ) from None
    values = {"x": x, "loc": loc, "scale": scale}
    return {name: alike(name, value, "x", x, shape) for name, value in values.items()}


def normal_log_density(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """Log-density `-z**2/2 - log scale - log(2 pi)/2`, `z = (x - loc)/scale`, in nats.

    As `kernels_triton.normal_log_density`, for JAX: by the same kernels on CUDA, by their formula
    elsewhere. A kernel takes whole arrays: where one of the arguments is broadcast it is written
    out, and its gradient summed back by JAX.

    Args:
      x: observations, any shape.
      loc: means; an array of the dtype of `x`, or a number.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      Log-densities of the broadcast shape and the dtype of `x`.

    Raises:
      TypeError: an argument is not a floating array (or a number, which no bool is), or the dtypes
        differ.
      ValueError: the shapes do not broadcast.

    Examples:
      >>> round(normal_log_density(jnp.zeros(1), 0.0, 1.0).item(), 6)
      -0.918939
    """
    return _DENSITY(_broadcast(x, loc, scale))[0]


def normal_log_likelihood(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """The sum of `normal_log_density` over all elements, in nats.

    As `kernels_triton.normal_log_likelihood`, for JAX: by the same kernels on CUDA, by their
    formula elsewhere.

    Args:
      x: observations, any shape.
      loc: means; an array of the dtype of `x`, or a number.
      scale: standard deviations, positive; likewise. Elsewhere the result is nan.

    Returns:
      A scalar, float64 for float64 and otherwise float32; 0 for an empty array.

    Raises:
      TypeError: an argument is not a floating array (or a number, which no bool is), or the dtypes
        differ.
      ValueError: the shapes do not broadcast.

    Examples:
      >>> round(normal_log_likelihood(jnp.zeros(10), 0.0, 1.0).item(), 4)
      -9.1894
    """
    return _SUM(_broadcast(x, loc, scale))[0]
