"""Argument checks of the JAX functions, in the words of those of torch."""

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike


def floating_array(name: str, value: ArrayLike) -> Array:
    """The argument as an array of a dtype the kernels know.

    Raises:
      TypeError: it is of another dtype.
    """
    array = jnp.asarray(value)
    if array.dtype.name not in ("float16", "bfloat16", "float32", "float64"):
        raise TypeError(
            f"{name} must be float16, bfloat16, float32 or float64; got {array.dtype}. "
            "Cast it with .astype(jnp.float32)."
        )
    return array


def rows_of(name: str, value: ArrayLike) -> Array:
    """The argument as a floating array with a last axis to reduce.

    Raises:
      TypeError: it is of another dtype.
      ValueError: it is a scalar.
    """
    array = floating_array(name, value)
    if array.ndim == 0:
        raise ValueError(
            f"{name} must have at least one axis; got a scalar. Reshape it with .reshape(1)."
        )
    return array


def alike(
    name: str, value: ArrayLike, other_name: str, other: Array, shape: tuple[int, ...]
) -> Array:
    """The argument as an array of the dtype of another one, broadcast to a shape.

    A Python number takes that dtype.

    Raises:
      TypeError: the dtypes differ, or it is a bool.
      ValueError: the shape does not broadcast.
    """
    if isinstance(value, bool):
        raise TypeError(
            f"{name} must be an array or a number; got bool. Pass {float(value)} if meant."
        )
    if isinstance(value, (int, float)):
        value = jnp.asarray(value, other.dtype)
    array = floating_array(name, value)
    if array.dtype != other.dtype:
        raise TypeError(
            f"{name} must have the dtype of {other_name}, {other.dtype}; got {array.dtype}. "
            f"Cast one of them, for example {name}.astype({other_name}.dtype)."
        )
    try:
        return jnp.broadcast_to(array, shape)
    except ValueError:
        raise ValueError(
            f"{name} must have a shape that broadcasts to {shape}; got {array.shape}. Insert axes "
            f"of length one, for example {name}[:, None]."
        ) from None


def accumulated(*arrays: Array) -> list[Array]:
    """The arrays in the dtype of all arithmetic: float64 for float64, otherwise float32."""
    return [x.astype(jnp.promote_types(x.dtype, jnp.float32)) for x in arrays]


def require_shape(name: str, value: ArrayLike, *shapes: tuple[int, ...]) -> None:
    """Check that an array has one of some shapes.

    Raises:
      ValueError: it has another.
    """
    if jnp.shape(value) not in shapes:
        raise ValueError(
            f"{name} must have shape {' or '.join(map(str, shapes))}, as the other arguments have "
            f"theirs; got {jnp.shape(value)}. Reshape it, or insert axes with {name}[None]."
        )
