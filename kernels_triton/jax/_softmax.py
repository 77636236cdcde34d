"""`softmax`, `log_softmax` and `logsumexp` of JAX arrays, with the conventions of the kernels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
from jax import Array

from kernels_triton._options import require_temperature
from kernels_triton.jax._checks import accumulated, floating_array, rows_of
from kernels_triton.jax._operator import Operator
from kernels_triton.jax._rows import centered, inverse_temperature, share


def _forward_formula(x: Array, temperature: float, kind: str) -> tuple[Array, Array, Array]:
    """The result with the maximum of each row and the sum of its weights."""
    dtype = x.dtype
    (x,) = accumulated(x)
    inverse = inverse_temperature(temperature, x.dtype)
    peak = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf)
    gap = centered(x, peak, inverse)
    total = jnp.exp(gap).sum(-1, keepdims=True)
    divisor = jnp.where(total == 0, 1.0, total)
    if kind == "softmax":
        out = jnp.exp(gap) / divisor
    elif kind == "log_softmax":
        out = gap - jnp.log(divisor)
    else:
        center = jnp.where(peak == -jnp.inf, 0.0, peak)
        out = (center * inverse + jnp.log(total))[..., 0]
    return out.astype(dtype), peak[..., 0], total[..., 0]


def _backward_formula(
    cotangent: Array, x: Array, peak: Array, total: Array, temperature: float, kind: str
) -> tuple[Array]:
    dtype = x.dtype
    cotangent, x = accumulated(cotangent, x)
    inverse = inverse_temperature(temperature, x.dtype)
    peak, total = peak[..., None], total[..., None]
    p = jnp.exp(centered(x, peak, inverse)) / jnp.where(total == 0, 1.0, total)
    if kind == "logsumexp":
        gradient = share(p, cotangent[..., None])
    elif kind == "log_softmax":
        pooled = cotangent.sum(-1, keepdims=True)
        gradient = jnp.where(total == 0, 0.0, cotangent - share(p, pooled))
    else:
        shared = share(p, cotangent)
        gradient = shared - p * shared.sum(-1, keepdims=True)
    return ((gradient * inverse).astype(dtype),)


_FORWARD = {
    kind: Operator(_forward_formula, "_softmax", "_softmax", (1,), (out, 0, 0))
    for kind, out in (("softmax", 1), ("log_softmax", 1), ("logsumexp", 0))
}
_BACKWARD = {
    kind: Operator(_backward_formula, "_softmax", "_softmax_backward", (out, 1, 0, 0), (1,))
    for kind, out in (("softmax", 1), ("log_softmax", 1), ("logsumexp", 0))
}


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2))
def _softmax(x: Array, temperature: float, kind: str) -> Array:
    return _FORWARD[kind]((temperature, kind), x)[0]


def _forward(x: Array, temperature: float, kind: str) -> tuple[Array, tuple[Array, ...]]:
    out, peak, total = _FORWARD[kind]((temperature, kind), x)
    return out, (x, peak, total)


def _backward(
    temperature: float, kind: str, saved: tuple[Array, ...], cotangent: Array
) -> tuple[Array, ...]:
    return _BACKWARD[kind]((temperature, kind), cotangent, *saved)


_softmax.defvjp(_forward, _backward)


def _apply(x: Array, temperature: float, mask: Array | None, kind: str) -> Array:
    x, temperature = rows_of("x", x), require_temperature(temperature)
    if mask is None:
        return _softmax(x, temperature, kind)
    mask = floating_array("mask", mask)
    if mask.dtype != x.dtype:
        raise TypeError(
            f"mask must have the dtype of x, {x.dtype}; got {mask.dtype}. "
            "Cast one of them, for example mask.astype(x.dtype)."
        )
    try:
        mask = jnp.broadcast_to(mask, x.shape)
    except ValueError:
        raise ValueError(
            f"mask must have a shape that broadcasts to that of x, {x.shape}; got {mask.shape}. "
            "Insert axes of length one, for example mask[:, None]."
        ) from None
    # Added by XLA, in one pass of its own: a kernel would need the broadcast mask in memory.
    scores, wide_mask = accumulated(x, mask)
    excluded = mask == -jnp.inf
    scores = jnp.where(excluded, -jnp.inf, scores + wide_mask)
    out: Array = _softmax(scores, temperature, kind)
    if kind == "log_softmax":
        out = jnp.where(excluded, -jnp.inf, out)  # constants, so their cotangents count nowhere
    return out.astype(x.dtype)


def softmax(x: Array, temperature: float = 1.0, *, mask: Array | None = None) -> Array:
    """Softmax `p_i = exp(x_i / t) / sum_j exp(x_j / t)` of every row (last axis).

    As `kernels_triton.softmax`, for JAX: by the same kernels on CUDA, by their formula elsewhere.

    Args:
      x: scores, any shape with a last axis; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` first, of its dtype, broadcast to its shape, by a pass of its own;
        `-inf` excludes an entry whatever it holds.

    Returns:
      Probabilities of the shape and dtype of `x`; a row of all `-inf` gives 0.

    Raises:
      TypeError: `x` or `mask` is not a floating array, their dtypes differ, or `temperature` is not
        a Python number.
      ValueError: `x` is a scalar, `temperature` is not positive and finite, or the shape of `mask`
        does not broadcast to that of `x`.

    Examples:
      >>> softmax(jnp.array([0.0, -jnp.inf, 0.0])).tolist()
      [0.5, 0.0, 0.5]
    """
    return _apply(x, temperature, mask, "softmax")


def log_softmax(x: Array, temperature: float = 1.0, *, mask: Array | None = None) -> Array:
    """Log-probabilities `x_i / t - log sum_j exp(x_j / t)` of every row, in nats.

    As `kernels_triton.log_softmax`, for JAX: by the same kernels on CUDA, by their formula
    elsewhere.

    Args:
      x: scores, any shape with a last axis; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` first, of its dtype, broadcast to its shape, by a pass of its own;
        `-inf` excludes an entry whatever it holds.

    Returns:
      Non-positive values of the shape and dtype of `x`; a row of all `-inf` stays so.

    Raises:
      TypeError: `x` or `mask` is not a floating array, their dtypes differ, or `temperature` is not
        a Python number.
      ValueError: `x` is a scalar, `temperature` is not positive and finite, or the shape of `mask`
        does not broadcast to that of `x`.

    Examples:
      >>> [round(value, 4) for value in log_softmax(jnp.array([1.0, 1.0])).tolist()]
      [-0.6931, -0.6931]
    """
    return _apply(x, temperature, mask, "log_softmax")


def logsumexp(x: Array, temperature: float = 1.0, *, mask: Array | None = None) -> Array:
    """Log-sum-exp `log sum_j exp(x_j / t)` of every row, in nats.

    As `kernels_triton.logsumexp`, for JAX: by the same kernels on CUDA, by their formula elsewhere.

    Args:
      x: scores, any shape with a last axis; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` first, of its dtype, broadcast to its shape, by a pass of its own;
        `-inf` excludes an entry whatever it holds.

    Returns:
      The value without the last axis, in the dtype of `x`; `-inf` for a row that is empty or all
      `-inf`.

    Raises:
      TypeError: `x` or `mask` is not a floating array, their dtypes differ, or `temperature` is not
        a Python number.
      ValueError: `x` is a scalar, `temperature` is not positive and finite, or the shape of `mask`
        does not broadcast to that of `x`.

    Examples:
      >>> round(logsumexp(jnp.zeros(2)).item(), 6)
      0.693147
    """
    return _apply(x, temperature, mask, "logsumexp")
