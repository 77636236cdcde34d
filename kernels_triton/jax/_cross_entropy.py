"""`token_log_probs` and `cross_entropy` of JAX arrays, with the conventions of the kernels."""

from __future__ import annotations

from collections.abc import Callable, Hashable

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton._options import (
    require_ignore_index,
    require_reduction,
    require_smoothing,
    require_temperature,
)
from kernels_triton.jax._checks import accumulated, rows_of
from kernels_triton.jax._operator import RowOperation
from kernels_triton.jax._rows import centered, inverse_temperature, share


def _formula(
    logits: Array,
    labels: Array,
    *,
    temperature: float,
    ignore_index: int,
    label_smoothing: float = 0.0,
    reduction: str = "none",  # read by the torch function
) -> tuple[Array]:
    """Of `token_log_probs`, with the smoothing of `cross_entropy`."""
    del reduction
    (x,) = accumulated(logits)
    inverse = inverse_temperature(temperature, x.dtype)
    label = labels[..., None]
    n_columns = x.shape[-1]
    known = (label >= 0) & (label < n_columns)
    peak = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf)
    total = jnp.exp(centered(x, peak, inverse)).sum(-1, keepdims=True)
    x_label = jnp.take_along_axis(x, jnp.where(known, label, 0), -1) if n_columns else peak
    out = centered(x_label, peak, inverse) - jnp.log(jnp.where(total == 0, 1.0, total))
    if label_smoothing:
        distance = centered(x, x_label, inverse).sum(-1, keepdims=True)
        out = jnp.where(out == -jnp.inf, out, out + label_smoothing / n_columns * distance)
    out = jnp.where(label == ignore_index, 0.0, jnp.where(known, out, jnp.nan))
    return (out[..., 0],)


def _pull(
    cotangents: tuple[Array],
    logits: Array,
    labels: Array,
    *,
    temperature: float,
    ignore_index: int,
    label_smoothing: float = 0.0,
    reduction: str = "none",
) -> tuple[Array]:
    del reduction
    (cotangent,) = cotangents
    (x,) = accumulated(logits)
    inverse = inverse_temperature(temperature, x.dtype)
    label, n_columns = labels[..., None], x.shape[-1]
    peak = jnp.max(x, axis=-1, keepdims=True, initial=-jnp.inf)
    weights = jnp.exp(centered(x, peak, inverse))
    total = weights.sum(-1, keepdims=True)
    p = weights / jnp.where(total == 0, 1.0, total)
    target = jax.nn.one_hot(labels, n_columns, dtype=x.dtype)
    slope = (1.0 - label_smoothing) * target + label_smoothing / max(n_columns, 1) - p
    known = (label >= 0) & (label < n_columns)
    slope = jnp.where(known, jnp.where(total == 0, 0.0, slope), jnp.nan)
    slope = jnp.where(label == ignore_index, 0.0, slope)
    return ((share(slope, cotangent[..., None]) * inverse).astype(logits.dtype),)


def _operation(name: str, formula: Callable, pull: Callable) -> RowOperation:
    inputs, saved = {"logits": 1, "labels": 0}, {1: 0, 2: 0}
    return RowOperation(name, formula, inputs, (0,), saved, constant=("labels",), pull=pull)


# `cross_entropy` of each token is the negative of the other, by the same kernels.
OPERATIONS = {
    "token_log_probs": _operation("token_log_probs", _formula, _pull),
    "cross_entropy": _operation(
        "cross_entropy",
        lambda **arguments: (0.0 - _formula(**arguments)[0],),
        lambda cotangents, **arguments: _pull((-cotangents[0],), **arguments),
    ),
}


def _values(
    name: str,
    logits: ArrayLike,
    labels: ArrayLike,
    temperature: float,
    ignore_index: int,
    **options: Hashable,
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
    options |= {"temperature": require_temperature(temperature), "ignore_index": ignore_index}
    (out,) = OPERATIONS[name]({"logits": logits, "labels": labels}, **options)
    return out


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
    return _values("token_log_probs", logits, labels, temperature, ignore_index)


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
    options: dict[str, Hashable] = {"label_smoothing": smoothing, "reduction": "none"}
    values = _values("cross_entropy", logits, labels, temperature, ignore_index, **options)
    if reduction == "none":
        return values
    if reduction == "sum":
        return values.sum()
    return values.sum() / jnp.maximum((jnp.asarray(labels) != ignore_index).sum(), 1)
