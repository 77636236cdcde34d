"""`softmax`, `log_softmax` and `logsumexp` of JAX arrays, with the conventions of the kernels."""

from __future__ import annotations

import functools

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton._options import require_temperature
from kernels_triton.jax._checks import accumulated, alike, rows_of
from kernels_triton.jax._operator import RowOperation
from kernels_triton.jax._rows import centered, inverse_temperature, share


def _parts(
    x: Array, mask: Array | None, temperature: float
) -> tuple[Array, Array, Array, Array, float]:
    """Of rows: centered scores, their weights, the sums of these, the maximum over t, and 1 / t."""
    (x,) = accumulated(x)
    if mask is not None:
        x = jnp.where(mask == -jnp.inf, -jnp.inf, x + mask.astype(x.dtype))
    inverse = inverse_temperature(temperature, x.dtype)
    peak = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf)
    gap = centered(x, peak, inverse)
    weights = jnp.exp(gap)
    base = jnp.where(peak == -jnp.inf, 0.0, peak) * inverse
    return gap, weights, weights.sum(-1, keepdims=True), base, inverse


def _formula(x: Array, mask: Array | None = None, *, temperature: float, kind: str) -> tuple[Array]:
    gap, weights, total, base, _ = _parts(x, mask, temperature)
    divisor = jnp.where(total == 0, 1.0, total)
    if kind == "softmax":
        out = weights / divisor
    elif kind == "log_softmax":
        out = gap - jnp.log(divisor)
    else:
        out = (base + jnp.log(total))[..., 0]
    return (out.astype(x.dtype),)


def _pull(
    cotangents: tuple[Array],
    x: Array,
    mask: Array | None = None,
    *,
    temperature: float,
    kind: str,
) -> tuple[Array, ...]:
    _, weights, total, _, inverse = _parts(x, mask, temperature)
    (cotangent,) = accumulated(*cotangents)
    p = weights / jnp.where(total == 0, 1.0, total)
    if kind == "logsumexp":
        cotangent = cotangent[..., None]
    if mask is not None:
        cotangent = jnp.where(mask == -jnp.inf, 0.0, cotangent)
    pooled = share(p, cotangent) if kind == "softmax" else cotangent
    pooled = jnp.broadcast_to(pooled, p.shape).sum(-1, keepdims=True)
    if kind == "softmax":
        gradient = share(p, cotangent) - p * pooled
    elif kind == "log_softmax":
        gradient = jnp.where(total == 0, 0.0, cotangent - share(p, pooled))
    else:
        gradient = share(p, cotangent)
    gradient = (gradient * inverse).astype(x.dtype)
    return (gradient,) if mask is None else (gradient, gradient)


OPERATIONS = {
    kind: RowOperation(
        name=kind,
        formula=functools.partial(_formula, kind=kind),
        inputs={"x": 1, "mask": 1},
        outputs=(0 if kind == "logsumexp" else 1,),
        saved={1: 0, 2: 0},
        pull=functools.partial(_pull, kind=kind),
    )
    for kind in ("softmax", "log_softmax", "logsumexp")
}


def _apply(kind: str, x: ArrayLike, temperature: float, mask: ArrayLike | None) -> Array:
    arrays = {"x": rows_of("x", x)}
    if mask is not None:
        arrays["mask"] = alike("mask", mask, "x", arrays["x"], arrays["x"].shape)
    (out,) = OPERATIONS[kind](arrays, temperature=require_temperature(temperature))
    return out


def softmax(x: ArrayLike, temperature: float = 1.0, *, mask: ArrayLike | None = None) -> Array:
    """Softmax `p_i = exp(x_i / t) / sum_j exp(x_j / t)` of every row (last axis).

    As `kernels_triton.softmax`, for JAX: by the same kernels on CUDA, by their formula elsewhere.

    Args:
      x: scores, any shape with a last axis; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` before it is divided, of its dtype, broadcast to its shape; `-inf`
        leaves an entry out whatever its score.

    Returns:
      Probabilities of the shape and dtype of `x`; a row of all `-inf` gives 0.

    Raises:
      TypeError: `x` is not a floating array, `mask` not one of its dtype, or `temperature` not a
        Python number.
      ValueError: `x` is a scalar, `mask` does not broadcast to it, or `temperature` is not positive
        and finite.

    Examples:
      >>> softmax(jnp.array([0.0, -jnp.inf, 0.0])).tolist()
      [0.5, 0.0, 0.5]
    """
    return _apply("softmax", x, temperature, mask)


def log_softmax(x: ArrayLike, temperature: float = 1.0, *, mask: ArrayLike | None = None) -> Array:
    """Log-probabilities `x_i / t - log sum_j exp(x_j / t)` of every row, in nats.

    As `kernels_triton.log_softmax`, for JAX: by the same kernels on CUDA, by their formula
    elsewhere.

    Args:
      x: scores, any shape with a last axis; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` before it is divided, of its dtype, broadcast to its shape; `-inf`
        leaves an entry out whatever its score.

    Returns:
      Non-positive values of the shape and dtype of `x`; a row of all `-inf` stays so.

    Raises:
      TypeError: `x` is not a floating array, `mask` not one of its dtype, or `temperature` not a
        Python number.
      ValueError: `x` is a scalar, `mask` does not broadcast to it, or `temperature` is not positive
        and finite.

    Examples:
      >>> [round(value, 4) for value in log_softmax(jnp.array([1.0, 1.0])).tolist()]
      [-0.6931, -0.6931]
    """
    return _apply("log_softmax", x, temperature, mask)


def logsumexp(x: ArrayLike, temperature: float = 1.0, *, mask: ArrayLike | None = None) -> Array:
    """Log-sum-exp `log sum_j exp(x_j / t)` of every row, in nats.

    As `kernels_triton.logsumexp`, for JAX: by the same kernels on CUDA, by their formula elsewhere.

    Args:
      x: scores, any shape with a last axis; infinities are allowed.
      temperature: `t`, a positive finite Python number.
      mask: what is added to `x` before it is divided, of its dtype, broadcast to its shape; `-inf`
        leaves an entry out whatever its score.

    Returns:
      The value without the last axis, in the dtype of `x`; `-inf` for a row that is empty or all
      `-inf`.

    Raises:
      TypeError: `x` is not a floating array, `mask` not one of its dtype, or `temperature` not a
        Python number.
      ValueError: `x` is a scalar, `mask` does not broadcast to it, or `temperature` is not positive
        and finite.

    Examples:
      >>> round(logsumexp(jnp.zeros(2)).item(), 6)
      0.693147
    """
    return _apply("logsumexp", x, temperature, mask)
