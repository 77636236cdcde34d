"""`normal_log_density` and `normal_log_likelihood` of JAX arrays."""

from __future__ import annotations

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, floating_array
from kernels_triton.jax._operator import Operator


def _forward_formula(x: Array, loc: Array, scale: Array, _reduce: bool) -> tuple[Array]:
    dtype = x.dtype
    x, loc, scale = accumulated(x, loc, scale)
    z = (x - loc) / scale
    return ((-0.5 * z * z - jnp.log(scale) - 0.9189385332046727418).astype(dtype),)


def _backward_formula(
    cotangent: Array, x: Array, loc: Array, scale: Array, _needs: tuple[bool, ...]
) -> tuple[Array, Array, Array]:
    dtype = x.dtype
    cotangent, x, loc, scale = accumulated(cotangent, x, loc, scale)
    z = (x - loc) / scale
    slope = cotangent / scale
    gradients = -z * slope, z * slope, (z * z - 1.0) * slope
    first, second, third = (gradient.astype(dtype) for gradient in gradients)
    return first, second, third


_HOME = "_normal_log_density"
_FORWARD = Operator(_forward_formula, _HOME, "_normal_log_density", (0, 0, 0), (0,))
_BACKWARD = Operator(
    _backward_formula, _HOME, "_normal_log_density_backward", (0, 0, 0, 0), (0, 0, 0)
)


@jax.custom_vjp
def _normal_log_density(x: Array, loc: Array, scale: Array) -> Array:
    return _FORWARD((False,), x, loc, scale)[0]


def _forward(x: Array, loc: Array, scale: Array) -> tuple[Array, tuple[Array, ...]]:
    return _normal_log_density(x, loc, scale), (x, loc, scale)


def _backward(saved: tuple[Array, ...], cotangent: Array) -> tuple[Array, ...]:
    return _BACKWARD(((True, True, True),), cotangent, *saved)


_normal_log_density.defvjp(_forward, _backward)


def _broadcast(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> list[Array]:
    x = floating_array("x", x)
    arrays = [x]
    for name, value in (("loc", loc), ("scale", scale)):
        if isinstance(value, bool):
            raise TypeError(
                f"{name} must be an array or a number; got bool. Pass {float(value)} if meant."
            )
        value = jnp.asarray(value, x.dtype) if isinstance(value, (int, float)) else value
        value = floating_array(name, value)
        if value.dtype != x.dtype:
            raise TypeError(
                f"{name} must have the dtype of x, {x.dtype}; got {value.dtype}. "
                f"Cast one of them, for example {name}.astype(x.dtype)."
            )
        arrays.append(value)
    shapes = [array.shape for array in arrays]
    try:
        shape = jnp.broadcast_shapes(*shapes)
    except ValueError:
        raise ValueError(
            "x, loc and scale must have shapes that broadcast together; got "
            f"{', '.join(map(str, shapes))}. "
            "Insert axes of length one where they differ, for example loc[:, None]."
        ) from None
    return [jnp.broadcast_to(array, shape) for array in arrays]


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
    return _normal_log_density(*_broadcast(x, loc, scale))


def normal_log_likelihood(x: ArrayLike, loc: ArrayLike, scale: ArrayLike) -> Array:
    """The sum of `normal_log_density` over all elements, in nats.

    As `kernels_triton.normal_log_likelihood`, for JAX; the sum is JAX's own.

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
    return normal_log_density(*accumulated(*_broadcast(x, loc, scale))).sum()
