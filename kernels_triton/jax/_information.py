"""`categorical_fisher_matvec` and `kronecker_factor` of JAX arrays."""

from __future__ import annotations

from numbers import Real

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, alike, floating_array, rows_of
from kernels_triton.jax._operator import RowOperation
from kernels_triton.jax._rows import centered, share


def _products(logits: Array, tangent: Array, cotangent: Array) -> tuple[Array, Array]:
    """`F g`, and the gradient of `g^T F v` to the logits."""
    x, v, g = accumulated(logits, tangent, cotangent)
    peak = x.max(-1, keepdims=True, initial=-jnp.inf)
    weight = jnp.exp(centered(x, peak, 1.0))
    total = weight.sum(-1, keepdims=True)
    p = weight / jnp.where(total == 0, 1.0, total)
    leading = (x == peak) & (weight > 0)

    def rest(z: Array) -> Array:
        anchor = jnp.where(leading, z, -jnp.inf).max(-1, keepdims=True, initial=-jnp.inf)
        step = z - jnp.where(anchor == -jnp.inf, 0.0, anchor)
        return step - share(p, step).sum(-1, keepdims=True)

    rest_g = rest(g)
    product = rest(v) * rest_g
    slope = share(p, product - share(p, product).sum(-1, keepdims=True))
    return share(p, rest_g).astype(logits.dtype), slope.astype(logits.dtype)


def _matvec(logits: Array, tangent: Array) -> tuple[Array]:
    return (_products(logits, tangent, tangent)[0],)


def _matvec_pull(cotangents: tuple[Array], logits: Array, tangent: Array) -> tuple[Array, Array]:
    to_tangent, to_logits = _products(logits, tangent, cotangents[0])
    return to_logits, to_tangent


def _rows(activations: Array, homogeneous: bool) -> Array:
    (rows,) = accumulated(activations.reshape(-1, activations.shape[-1]))
    ones = jnp.ones((len(rows), int(homogeneous)), rows.dtype)
    return jnp.concatenate([rows, ones], axis=1)


def _mirrored(factor: Array) -> Array:
    return jnp.tril(factor) + jnp.tril(factor, -1).T


def _factor(
    activations: Array, previous: Array | None = None, *, decay: float, homogeneous: bool
) -> tuple[Array]:
    rows = _rows(activations, homogeneous)
    new = jnp.matmul(rows.T, rows, precision=jax.lax.Precision.HIGHEST) / max(1, len(rows))
    if previous is not None:
        new = decay * previous + (1.0 - decay) * new
    return (_mirrored(new),)


def _factor_pull(
    cotangents: tuple[Array],
    activations: Array,
    previous: Array | None = None,
    *,
    decay: float,
    homogeneous: bool,
) -> tuple[Array, ...]:
    (cotangent,) = cotangents
    rows = _rows(activations, homogeneous)
    share_of_new = (1.0 if previous is None else 1.0 - decay) / max(1, len(rows))
    both = share_of_new * (cotangent + cotangent.T)
    slope = jnp.matmul(rows, both, precision=jax.lax.Precision.HIGHEST)
    slope = slope[:, : activations.shape[-1]].reshape(activations.shape).astype(activations.dtype)
    return (slope,) if previous is None else (slope, decay * cotangent)


_MATVEC = RowOperation(
    "categorical_fisher_matvec", _matvec, {"logits": 1, "tangent": 1}, (1,), pull=_matvec_pull
)
# The result is summed over the rows.
_FACTOR = RowOperation(
    "kronecker_factor", _factor, {"activations": 1, "previous": None}, (None,), pull=_factor_pull
)
OPERATIONS = {operation.name: operation for operation in (_MATVEC, _FACTOR)}


def categorical_fisher_matvec(logits: ArrayLike, tangent: ArrayLike) -> Array:
    """Product `(diag p - p p^T) v = p (v - <p, v>)` of every row, with `p = softmax(logits)`.

    As `kernels_triton.categorical_fisher_matvec`, for JAX: by the same kernels on CUDA, by their
    formula elsewhere.

    Args:
      logits: any shape with a last axis; infinities are allowed.
      tangent: v, of the dtype of `logits`; the shapes are broadcast.

    Returns:
      The product, of the broadcast shape and the dtype of `logits`.

    Raises:
      TypeError: an argument is not a floating array, or the dtypes differ.
      ValueError: a scalar, or shapes that do not broadcast.

    Examples:
      >>> categorical_fisher_matvec(jnp.zeros(2), jnp.array([1.0, 3.0])).tolist()
      [-0.5, 0.5]
    """
    x, v = rows_of("logits", logits), rows_of("tangent", tangent)
    try:
        shape = jnp.broadcast_shapes(x.shape, v.shape)
    except ValueError:
        raise ValueError(
            f"logits and tangent must have shapes that broadcast together; got {x.shape} and "
            f"{v.shape}. Insert axes of length one where they differ, for example "
            "tangent[:, None]."
        ) from None
    v = alike("tangent", v, "logits", x, shape)
    return _MATVEC({"logits": jnp.broadcast_to(x, shape), "tangent": v})[0]


def kronecker_factor(
    activations: ArrayLike,
    previous: ArrayLike | None = None,
    *,
    decay: float = 0.95,
    homogeneous: bool = False,
) -> Array:
    """Factor `decay previous + (1 - decay) A^T A / N` of the Fisher matrix of a layer, as in K-FAC.

    As `kernels_triton.kronecker_factor`, for JAX: by the same kernels on CUDA, by their formula
    elsewhere.

    Args:
      activations: A, rows of examples along all but the last axis.
      previous: the average so far, symmetric (its lower half is read); None takes these rows alone.
      decay: of the average, in `[0, 1]`; not read without `previous`.
      homogeneous: a column of ones is put after the last, for the bias of the layer.

    Returns:
      Symmetric, `(D, D)` or `(D + 1, D + 1)`: float64 for float64, otherwise float32.

    Raises:
      TypeError: an argument is not a floating array, `previous` has not the dtype of the result, or
        `decay` is not a Python number.
      ValueError: a scalar, `previous` of another shape, or `decay` outside `[0, 1]`.

    Examples:
      >>> kronecker_factor(jnp.array([[1.0, 2.0]]), homogeneous=True).tolist()
      [[1.0, 2.0, 1.0], [2.0, 4.0, 2.0], [1.0, 2.0, 1.0]]
    """
    x = rows_of("activations", activations)
    if isinstance(decay, bool) or not isinstance(decay, Real):
        raise TypeError(f"decay must be a Python number; got {type(decay).__name__}. Try 0.95.")
    if not 0 <= decay <= 1:
        raise ValueError(f"decay must be between 0 and 1; got {decay}. Try 0.95.")
    arrays = {"activations": x}
    if previous is not None:
        size = x.shape[-1] + homogeneous
        old = floating_array("previous", previous)
        dtype = jnp.promote_types(x.dtype, jnp.float32)
        if old.shape != (size, size):
            raise ValueError(
                "previous must be the factor of the steps before, of shape "
                f"{(size, size)}; got {old.shape}. Start from jnp.zeros, and keep `homogeneous` as "
                "it was."
            )
        if old.dtype != dtype:
            raise TypeError(
                f"previous must have the dtype of the result, {dtype}; got {old.dtype}. "
                "Cast it with .astype."
            )
        arrays["previous"] = old
    return _FACTOR(arrays, decay=float(decay), homogeneous=bool(homogeneous))[0]
