"""What the functions of one coordinate vector share: their arguments, and derivatives in it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax._core import checks


def one_vector(name: str, value: Any) -> Float[Array, " n"]:
    """The argument as one floating vector.

    Raises:
      TypeError: it is not real.
      ValueError: it has no axis, or more than one.
    """
    vector = checks.floating(name, value)
    if vector.ndim != 1:
        raise ValueError(
            f"{name} must be one vector of coordinates; got shape {vector.shape}. Use jax.vmap "
            "over several."
        )
    return vector


def one_scalar(name: str, value: Any, dtype: Any = None) -> Float[Array, ""]:
    """The argument as a floating scalar, of the given dtype if there is one.

    Raises:
      TypeError: it is not real.
      ValueError: it has axes.
    """
    scalar = checks.floating(name, value)
    if scalar.ndim:
        raise ValueError(
            f"{name} must be a scalar; got shape {scalar.shape}. Use jax.vmap over several."
        )
    return scalar if dtype is None else scalar.astype(dtype)


def tangents(x: Array, **values: Any) -> tuple[Array, ...]:
    """The named tangents as vectors of the shape and dtype of their foot point.

    Raises:
      TypeError: one is not real.
      ValueError: one has another shape.
    """
    found = {name: one_vector(name, value) for name, value in values.items()}
    for name, vector in found.items():
        if vector.shape != x.shape:
            raise ValueError(
                f"{name} must have the shape of its foot point, {x.shape}; got {vector.shape}. "
                "Tangents are components in the same chart."
            )
    return tuple(vector.astype(jnp.result_type(x)) for vector in found.values())


def slopes(function: Callable[[Array], Array], x: Array) -> Array:
    """Forward derivatives, the direction last; nan where the function is nan.

    The derivative of a nan that a predicate chose is 0, and would look like a flat manifold.
    """
    both = lambda y: (function(y),) * 2
    derivative, value = jax.jacfwd(both, has_aux=True)(x)
    return jnp.where(jnp.isnan(value)[..., None], jnp.nan, derivative)
