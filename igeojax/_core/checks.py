"""Argument checks with one message style: what was required, what came, what to do.

Checks of *values* look only at concrete arrays: under `jit`, `grad` or `vmap` there is nothing to
look at, and the functions then return nan outside their domain.
"""

import warnings
from collections.abc import Callable
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike


def floating(name: str, value: ArrayLike) -> Array:
    """Return `value` as an array of a floating dtype; numbers and integers take the default one.

    Warns:
      UserWarning: numpy data of 64 bits lose digits, as x64 is off.

    Raises:
      TypeError: `value` is not a real number or an array of real numbers.
    """
    if not (
        isinstance(value, (int, float, np.generic, np.ndarray, list, tuple, jax.Array))
    ) or isinstance(value, bool):
        raise TypeError(
            f"{name} must be a number or an array of numbers; got {type(value).__name__}. "
            "Convert it with jnp.asarray first."
        )
    array = as_array(name, value)
    if jnp.issubdtype(array.dtype, jnp.floating):
        return array
    if jnp.issubdtype(array.dtype, jnp.integer):
        return array.astype(float)
    raise TypeError(
        f"{name} must hold real numbers; got dtype {array.dtype}. Cast it to a floating dtype."
    )


def as_array(name: str, value: ArrayLike) -> Array:
    """Return `jnp.asarray(value)`; JAX itself narrows numpy data in silence where x64 is off.

    Warns:
      UserWarning: an array of float64 becomes one of float32.

    Raises:
      TypeError: `value` is no array of numbers.
      ValueError: an integer of 64 bits does not fit into 32.
    """
    try:
        array = jnp.asarray(value)
    except (TypeError, ValueError) as error:
        if isinstance(error, jax.errors.JAXTypeError):
            raise
        kind = f" of {value.dtype}" if isinstance(value, np.ndarray) else ""
        raise TypeError(
            f"{name} must be an array of numbers; got {type(value).__name__}{kind}. Convert it "
            "first, with nan for what is missing."
        ) from error
    if not isinstance(value, np.ndarray) or value.dtype.itemsize <= array.dtype.itemsize:
        return array
    if value.dtype.kind == "f":
        warnings.warn(
            f"{name} has dtype {value.dtype} and becomes {array.dtype}, as jax_enable_x64 is off. "
            f"Pass {name} as {array.dtype} to say that this is meant, or enable x64.",
            stacklevel=3,
        )
    elif value.dtype.kind in "iu" and (lost := value.astype(array.dtype) != value).any():
        raise ValueError(
            f"{name} must hold integers that fit into {array.dtype}; got {value[lost][0]} in "
            f"{value.dtype}. Pass them as a floating array, or enable x64."
        )
    return array


def floating_together(**values: ArrayLike) -> tuple[Array, ...]:
    """Return the named values as arrays of their common floating dtype.

    A Python number is weak: it takes the dtype of the arrays beside it.

    Raises:
      TypeError: a value is not real.
    """
    arrays = {name: floating(name, value) for name, value in values.items()}
    weak = {name: isinstance(value, (int, float)) for name, value in values.items()}
    strong = [array for name, array in arrays.items() if not weak[name]]
    dtype = jnp.result_type(*strong) if strong else jnp.result_type(*arrays.values())
    return tuple(array.astype(dtype) for array in arrays.values())


def concrete(value: ArrayLike) -> np.ndarray | None:
    """Return the values as numpy, or None where they cannot be read here (traced, other hosts)."""
    if isinstance(value, jax.core.Tracer):
        return None
    if isinstance(value, jax.Array) and not value.is_fully_addressable:
        return None
    return np.asarray(value)


def require_values(
    name: str,
    value: ArrayLike,
    condition: Callable[[np.ndarray], np.ndarray],
    requirement: str,
    remedy: str,
) -> None:
    """Check concrete values entry by entry.

    Raises:
      ValueError: an entry fails `condition`; the message shows the first such entry.
    """
    seen = concrete(value)
    if seen is None:
        return
    good = np.asarray(condition(seen))
    if good.all():
        return
    index = tuple(np.argwhere(~good)[0].tolist())
    found = "one that is not" if seen.dtype == bool else str(seen[index])
    if index:
        found += f" at index {index}"
    raise ValueError(f"{name} must be {requirement}; got {found}. {remedy}")


def require_positive(
    name: str, value: ArrayLike, remedy: str = "Check its sign and units."
) -> None:
    """Check that concrete values are positive and finite.

    Raises:
      ValueError: an entry is not.
    """
    require_values(name, value, lambda v: np.isfinite(v) & (v > 0), "positive and finite", remedy)


def require_finite(name: str, value: ArrayLike, remedy: str = "Drop or fill such entries.") -> None:
    """Check that concrete values are finite.

    Raises:
      ValueError: an entry is nan or infinite.
    """
    require_values(name, value, np.isfinite, "finite", remedy)


def require_probabilities(name: str, value: Array) -> None:
    """Check that the last axis of concrete values holds probability vectors.

    Entries must be non-negative and sum to one within `sqrt(eps)` of the dtype.

    Raises:
      ValueError: the array has no axis, a negative entry, or a sum off one.
    """
    if value.ndim == 0:
        raise ValueError(
            f"{name} must hold probability vectors along its last axis; got a scalar. "
            "For a single Bernoulli probability p pass jnp.stack([1 - p, p], axis=-1)."
        )
    require_values(name, value, lambda v: v >= 0, "non-negative", "Probabilities lie in [0, 1].")
    seen = concrete(value)
    if seen is None:
        return
    tolerance = float(jnp.finfo(value.dtype).eps) ** 0.5
    total = seen.astype(float).sum(-1)
    if not (np.abs(total - 1) <= tolerance).all():
        worst = total.flat[np.argmax(np.abs(total - 1))]
        raise ValueError(
            f"{name} must sum to one along the last axis within {tolerance:.1e}; got a sum of "
            f"{worst:.6g}. Divide by the sum, or take a softmax of logits."
        )


def require_positive_definite(name: str, matrix: Array) -> None:
    """Check that concrete matrices on the last two axes are symmetric positive definite.

    Raises:
      ValueError: an entry is not finite, differs from its mirror image by more than `8 eps` of the
        largest, or a matrix has no Cholesky factor in its precision.
    """
    seen = concrete(matrix)
    if seen is None:
        return
    require_finite(name, matrix)
    flat = seen.reshape((-1, *seen.shape[-2:])).astype(float)
    gap = np.abs(flat - flat.swapaxes(-1, -2)).max()
    if gap > 8 * float(jnp.finfo(matrix.dtype).eps) * np.abs(flat).max():
        raise ValueError(
            f"{name} must be symmetric; got entries that differ by {gap:.3g} from their mirror "
            "image. Pass 0.5 * (A + A.T)."
        )
    # What the computations need: an eigenvalue of 1e-16 may be rounded to either side of 0.
    try:
        np.linalg.cholesky(flat.astype(np.promote_types(matrix.dtype, np.float32)))
    except np.linalg.LinAlgError:
        values = np.linalg.eigvalsh(flat)
        sizes = np.maximum(np.abs(values).max(axis=-1), np.finfo(float).tiny)
        worst = values[np.argmin(values[:, 0] / sizes)]
        raise ValueError(
            f"{name} must be positive definite; got smallest eigenvalue {worst[0]:.3g} and largest "
            f"{worst[-1]:.3g} in {matrix.dtype}. Add a multiple of the identity, or drop dependent "
            "coordinates."
        ) from None


def require_trailing_shape(name: str, value: Any, shape: tuple[int, ...]) -> None:
    """Check the trailing axes of an array.

    Raises:
      ValueError: they are not `shape`.
    """
    found = jnp.shape(value)
    if len(found) < len(shape) or found[len(found) - len(shape) :] != shape:
        raise ValueError(
            f"{name} must have trailing axes {shape}; got shape {found}. "
            "Leading axes are batch, trailing axes belong to one observation."
        )


def require_broadcastable(**shapes: tuple[int, ...]) -> None:
    """Check that batch shapes broadcast.

    Raises:
      ValueError: they do not.
    """
    try:
        jnp.broadcast_shapes(*shapes.values())
    except ValueError:
        found = " and ".join(f"{shape} of {name}" for name, shape in shapes.items())
        raise ValueError(
            f"batch shapes must broadcast; got {found}. Align the leading axes, or use jax.vmap."
        ) from None


def require_number(name: str, value: Any, remedy: str) -> None:
    """Check a static real number.

    Raises:
      TypeError: `value` is not a Python number.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise TypeError(
            f"{name} must be a Python number; got {type(value).__name__}. It is part of the "
            f"static description; {remedy}."
        )


def require_count(name: str, value: Any, minimum: int = 1) -> None:
    """Check a static size.

    Raises:
      TypeError: `value` is not an integer.
      ValueError: it is below `minimum`.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)):
        raise TypeError(
            f"{name} must be a Python integer; got {type(value).__name__} {value!r}. "
            "It is part of the description and cannot be traced."
        )
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}; got {value}. Use a larger integer.")


def require_shape(shape: Any) -> None:
    """Check the leading shape of a sample.

    Raises:
      TypeError: it is not a tuple.
    """
    if not isinstance(shape, tuple):
        raise TypeError(f"shape must be a tuple; got {shape!r}. Write ({shape},) for one axis.")


def require_option(name: str, value: Any, options: tuple[str, ...]) -> None:
    """Check a string option.

    Raises:
      ValueError: `value` is not one of `options`.
    """
    if value not in options:
        raise ValueError(
            f"{name} must be one of {', '.join(map(repr, options))}; got {value!r}. "
            "Check the spelling."
        )


def require_key(key: Any) -> None:
    """Check that an argument is a PRNG key, typed or of raw 32-bit words.

    Raises:
      TypeError: it is anything else.
    """
    dtype = getattr(key, "dtype", None)
    if dtype is None or not (jnp.issubdtype(dtype, jax.dtypes.prng_key) or dtype == jnp.uint32):
        raise TypeError(
            f"key must be a PRNG key; got {type(key).__name__} {key!r}. Pass jax.random.key(0)."
        )
