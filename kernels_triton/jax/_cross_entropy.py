"""`token_log_probs` and `cross_entropy` of JAX arrays, with the conventions of the kernels."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array

from kernels_triton._options import (
    require_ignore_index,
    require_reduction,
    require_smoothing,
    require_temperature,
)
from kernels_triton.jax._checks import accumulated, rows_of
from kernels_triton.jax._operator import Operator
from kernels_triton.jax._rows import centered, inverse_temperature, share


def _forward_formula(
    x: Array,
    labels: Array,
    temperature: float,
    ignore_index: int,
    smoothing: float,
    _in_place: bool,
) -> tuple[Array, Array, Array]:
    """The value of each row, with the maximum of the row and the sum of its weights."""
    (x,) = accumulated(x)
    inverse = inverse_temperature(temperature, x.dtype)
    label = labels[..., None]
    n_columns = x.shape[-1]
    known = (label >= 0) & (label < n_columns)
    peak = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf)
    total = jnp.exp(centered(x, peak, inverse)).sum(-1, keepdims=True)
    x_label = jnp.take_along_axis(x, jnp.where(known, label, 0), -1) if n_columns else peak
    out = centered(x_label, peak, inverse) - jnp.log(jnp.where(total == 0, 1.0, total))
    if smoothing:
        distance = centered(x, x_label, inverse).sum(-1, keepdims=True)
        out = jnp.where(out == -jnp.inf, out, out + smoothing / n_columns * distance)
    out = jnp.where(label == ignore_index, 0.0, jnp.where(known, out, jnp.nan))
    return out[..., 0], peak[..., 0], total[..., 0]


def _backward_formula(
    cotangent: Array,
    x: Array,
    labels: Array,
    peak: Array,
    total: Array,
    temperature: float,
    ignore_index: int,
    smoothing: float,
) -> tuple[Array]:
    dtype = x.dtype
    (x,) = accumulated(x)
    inverse = inverse_temperature(temperature, x.dtype)
    label, peak, total = labels[..., None], peak[..., None], total[..., None]
    p = jnp.exp(centered(x, peak, inverse)) / jnp.where(total == 0, 1.0, total)
    target = jax.nn.one_hot(labels, x.shape[-1], dtype=x.dtype)
    slope = (1.0 - smoothing) * target + smoothing / max(x.shape[-1], 1) - p
    known = (label >= 0) & (label < x.shape[-1])
    slope = jnp.where(known, jnp.where(total == 0, 0.0, slope), jnp.nan)
    slope = jnp.where(label == ignore_index, 0.0, slope)
    return ((share(slope, cotangent[..., None]) * inverse).astype(dtype),)


_HOME = "_token_log_probs"
_FORWARD = Operator(_forward_formula, _HOME, "_token_log_probs", (1, 0), (0, 0, 0))
_BACKWARD = Operator(_backward_formula, _HOME, "_token_log_probs_backward", (0, 1, 0, 0, 0), (1,))


@functools.partial(jax.custom_vjp, nondiff_argnums=(2, 3, 4))
def _log_probs(
    x: Array, labels: Array, temperature: float, ignore_index: int, smoothing: float
) -> Array:
    return _FORWARD((temperature, ignore_index, smoothing, False), x, labels)[0]


def _forward(
    x: Array, labels: Array, temperature: float, ignore_index: int, smoothing: float
) -> tuple[Array, tuple[Array, ...]]:
    options = temperature, ignore_index, smoothing
    out, peak, total = _FORWARD((*options, False), x, labels)
    return out, (x, labels, peak, total)


def _backward(
    temperature: float,
    ignore_index: int,
    smoothing: float,
    saved: tuple[Array, ...],
    cotangent: Array,
) -> tuple[Array, np.ndarray]:
    (gradient,) = _BACKWARD((temperature, ignore_index, smoothing), cotangent, *saved)
    return gradient, np.zeros(saved[1].shape, jax.dtypes.float0)  # labels are integers


_log_probs.defvjp(_forward, _backward)


def _values(
    logits: Array, labels: Array, temperature: float, ignore_index: int, smoothing: float
) -> Array:
    logits, labels = rows_of("logits", logits), jnp.asarray(labels)
    if labels.dtype.name not in ("int32", "int64"):
        raise TypeError(
            f"labels must be int32 or int64; got {labels.dtype}. Cast them with .astype(jnp.int32)."
        )
    ignore_index = require_ignore_index(ignore_index)
    if labels.shape != logits.shape[:-1]:
        raise ValueError(
            f"labels must have the shape of logits without the last axis, {logits.shape[:-1]}; got "
            f"{labels.shape}. Classes are the last axis here: move it with "
            "jnp.moveaxis(logits, 1, -1)."
        )
    temperature = require_temperature(temperature)
    return _log_probs(logits, labels, temperature, ignore_index, smoothing)


def token_log_probs(
    logits: Array, labels: Array, temperature: float = 1.0, *, ignore_index: int = -100
) -> Array:
    """Log-probability `x_y / t - log sum_j exp(x_j / t)` of each label, in nats.

    As `kernels_triton.token_log_probs`, for JAX: by the same kernels on CUDA, by their formula
    elsewhere.

    Args:
      logits: scores `x`, any shape with the classes on the last axis.
      labels: `y`, int32 or int64, of the shape of `logits` without the last axis. One that is
        neither a class nor `ignore_index` gives nan, in value and gradient.
      temperature: `t`, a positive finite Python number.
      ignore_index: the label of tokens that do not count: value 0, gradient 0.

    Returns:
      Log-probabilities of the shape of `labels`; float64 for float64, otherwise float32.

    Raises:
      TypeError: `logits` is not a floating array, `labels` not one of integers, `temperature` not
        a Python number, or `ignore_index` not an integer.
      ValueError: `logits` is a scalar, the shapes do not suit, or `temperature` is not positive
        and finite.

    Examples:
      >>> round(token_log_probs(jnp.zeros((1, 2)), jnp.array([1])).item(), 4)
      -0.6931
    """
    return _values(logits, labels, temperature, ignore_index, 0.0)


def cross_entropy(
    logits: Array,
    labels: Array,
    temperature: float = 1.0,
    *,
    ignore_index: int = -100,
    label_smoothing: float = 0.0,
    reduction: str = "mean",
) -> Array:
    """Cross entropy `-(1 - s) log p_y - s / V sum_j log p_j` of each label, in nats.

    As `kernels_triton.cross_entropy`, for JAX: by the same kernels on CUDA, by their formula
    elsewhere. A mean over no token is 0.

    Args:
      logits: scores, any shape with the `V` classes on the last axis.
      labels: `y`, as in `token_log_probs`.
      temperature: `t`, a positive finite Python number.
      ignore_index: the label of tokens that do not count.
      label_smoothing: `s`, between 0 and 1.
      reduction: "none", "sum", or "mean" over the tokens that count.

    Returns:
      Of the shape of `labels` for "none", otherwise a scalar; float64 for float64, otherwise
      float32.

    Raises:
      TypeError: as in `token_log_probs`, or `label_smoothing` is not a Python number.
      ValueError: as in `token_log_probs`, or `label_smoothing` or `reduction` is none of these.

    Examples:
      >>> round(cross_entropy(jnp.zeros((3, 4)), jnp.array([0, 3, -100])).item(), 4)
      1.3863
    """
    smoothing = require_smoothing(label_smoothing)
    require_reduction(reduction)
    values = 0.0 - _values(logits, labels, temperature, ignore_index, smoothing)
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return values.sum() / jnp.maximum((jnp.asarray(labels) != ignore_index).sum(), 1)
