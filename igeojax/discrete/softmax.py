"""Softmax, log-softmax and log-sum-exp with temperature, right at infinite logits.

Conventions, for values and all derivatives: a slice of all `-inf` has log-sum-exp `-inf`, softmax 0
and gradient 0; `+inf` entries share the mass equally; a nan stays in its own slice. Half-precision
logits are accumulated in float32 and rounded once.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.discrete import _scores


def _scaled(logits: ArrayLike, temperature: ArrayLike, axis: int) -> tuple[Array, Array, jnp.dtype]:
    """Logits minus their maximum over temperature, that maximum over it, and the dtype to return.

    Raises:
      TypeError: an argument is not real.
      ValueError: a scalar for `logits`, or a `temperature` that is no scalar or not positive.
    """
    logits = _scores.checked(logits)
    dtype = logits.dtype
    logits = logits.astype(jnp.promote_types(dtype, jnp.float32))
    temperature = _scores.positive_temperature(temperature, logits.dtype)
    # Before the division: two large quotients could both overflow, and would tie.
    shift = _scores.shift_of(logits, axis)
    scaled = _scores.over_temperature(logits - shift, temperature)
    return scaled, _scores.over_temperature(shift, temperature), dtype


def _weights(z: Array, axis: int) -> tuple[Array, Array, Array]:
    """Maximum, shift and `exp(z - shift)`, where `+inf` counts 1 and all else in its slice 0."""
    top = jnp.max(z, axis=axis, keepdims=True)
    shift = jnp.where(jnp.isinf(top), 0.0, top)  # a nan stays
    return top, shift, jnp.where(top == jnp.inf, jnp.where(z == top, 1.0, 0.0), jnp.exp(z - shift))


def _excess(z: Array, weights: Array, axis: int) -> Array:
    """`log sum_j exp(z_j - max z)`, by log1p over all entries but one maximum: exact near 0."""
    chosen = jnp.expand_dims(jnp.argmax(z, axis=axis), axis)
    position = jax.lax.broadcasted_iota(chosen.dtype, z.shape, axis % z.ndim)
    return jnp.log1p(jnp.sum(jnp.where(position == chosen, 0.0, weights), axis=axis, keepdims=True))


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _softmax(z: Array, axis: int) -> Array:
    _, _, weights = _weights(z, axis)
    total = jnp.sum(weights, axis=axis, keepdims=True)
    return weights / jnp.where(total == 0, 1.0, total)


def _times(p: Array, tangent: Array) -> Array:
    # At p = 0 the logit may be -inf with an infinite tangent: its share of any sum is 0.
    return jnp.where(p == 0, 0.0, p * tangent)


def _apart(p: Array, tangent: Array, axis: int) -> Array:
    """A tangent of logits relative to that of a class with more than half of the mass, if any.

    Softmax does not see a common motion, and `1 - p` of that class would cancel.
    """
    dominant = p > 0.5
    common = jnp.sum(jnp.where(dominant, tangent, 0.0), axis=axis, keepdims=True)
    return jnp.where(dominant, 0.0, tangent - common)


def covariance_matvec(p: Array, tangent: Array, axis: int) -> Array:
    """`(diag(p) - p p^T) tangent` of probability vectors along an axis, to all digits.

    Args:
      p: probability vectors.
      tangent: vectors of the same shape; not read where `p = 0`.
      axis: the axis of the classes.

    Returns:
      The products, which sum to zero.

    Examples:
      >>> p = jnp.array([0.5, 0.25, 0.25])
      >>> covariance_matvec(p, jnp.array([0.0, 1.0, 0.0]), 0).tolist()
      [-0.125, 0.1875, -0.0625]
    """
    tangent = _apart(p, tangent, axis)
    mean = jnp.sum(_times(p, tangent), axis=axis, keepdims=True)
    flow = _times(p, tangent - mean)
    # Written twice in one form, before and after, so that its transpose is as exact as itself.
    dominant = p > 0.5
    others = jnp.sum(jnp.where(dominant, 0.0, flow), axis=axis, keepdims=True)
    return jnp.where(dominant, -others, flow)


@_softmax.defjvp
def _softmax_jvp(axis, primals, tangents):
    p = _softmax(primals[0], axis)
    return p, covariance_matvec(p, tangents[0], axis)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _logsumexp(z: Array, axis: int) -> Array:
    top, shift, weights = _weights(z, axis)
    total = jnp.where(jnp.isfinite(top), shift + _excess(z, weights, axis), top)
    return jnp.squeeze(total, axis)


@_logsumexp.defjvp
def _logsumexp_jvp(axis, primals, tangents):
    (z,), (dz,) = primals, tangents
    return _logsumexp(z, axis), jnp.sum(_times(_softmax(z, axis), dz), axis=axis)


@partial(jax.custom_jvp, nondiff_argnums=(1,))
def _log_softmax(z: Array, axis: int) -> Array:
    top, shift, weights = _weights(z, axis)
    # (z - max) - excess: subtracting the log-sum-exp itself would round at the size of max.
    scores = jnp.where(top == jnp.inf, jnp.log(weights), z - shift)
    return jnp.where(top == -jnp.inf, -jnp.inf, scores - _excess(z, weights, axis))


@_log_softmax.defjvp
def _log_softmax_jvp(axis, primals, tangents):
    (z,), (dz,) = primals, tangents
    p = _softmax(z, axis)
    empty = jnp.max(z, axis=axis, keepdims=True) == -jnp.inf
    dz = _apart(p, dz, axis)
    centred = dz - jnp.sum(_times(p, dz), axis=axis, keepdims=True)
    return _log_softmax(z, axis), jnp.where(empty, 0.0, centred)


def softmax(
    logits: Float[ArrayLike, "*shape"], temperature: ArrayLike = 1.0, *, axis: int = -1
) -> Float[Array, "*shape"]:
    """Softmax `p_i = exp(z_i / t) / sum_j exp(z_j / t)`.

    The posterior of a categorical variable; as `t -> 0` the mass moves to the maximum (ties share
    it), as `t -> inf` it becomes uniform. `softmax(z + c) = softmax(z)`.

    Args:
      logits: scores `z`; any real values including infinities.
      temperature: `t > 0`, a scalar; where it is traced, 0 gives the limit and a negative one nan.
      axis: the axis of the classes.

    Returns:
      Probabilities, of the shape and dtype of `logits`; a slice of all `-inf` gives 0.

    Raises:
      ValueError: a scalar for `logits`, or a `temperature` that is no scalar or not positive.
      TypeError: an argument is not made of real numbers.

    References:
      [Hinton2015] equation (1).

    Examples:
      >>> import jax.numpy as jnp
      >>> softmax(jnp.array([0.0, -jnp.inf, 0.0])).tolist()
      [0.5, 0.0, 0.5]
    """
    z, _, dtype = _scaled(logits, temperature, axis)
    return _softmax(z, axis).astype(dtype)


def log_softmax(
    logits: Float[ArrayLike, "*shape"], temperature: ArrayLike = 1.0, *, axis: int = -1
) -> Float[Array, "*shape"]:
    """Log-probabilities `z_i / t - log sum_j exp(z_j / t)`, in nats.

    Args:
      logits: scores `z`; any real values including infinities.
      temperature: `t > 0`, a scalar; where it is traced, 0 gives the limit and a negative one nan.
      axis: the axis of the classes.

    Returns:
      Non-positive values, of the shape and dtype of `logits`; a slice of all `-inf` stays `-inf`.

    Raises:
      ValueError: a scalar for `logits`, or a `temperature` that is no scalar or not positive.
      TypeError: an argument is not made of real numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> [round(v, 4) for v in log_softmax(jnp.array([1.0, 1.0])).tolist()]
      [-0.6931, -0.6931]
    """
    z, _, dtype = _scaled(logits, temperature, axis)
    return _log_softmax(z, axis).astype(dtype)


def logsumexp(
    logits: Float[ArrayLike, "*shape"], temperature: ArrayLike = 1.0, *, axis: int = -1
) -> Float[Array, "*rest"]:
    """Log-sum-exp `log sum_j exp(z_j / t)`, in nats: the log-partition of the categorical family.

    Convex, between `max z/t` and `max z/t + log K`; its gradient is the softmax over `t`.

    Args:
      logits: scores `z`; any real values including infinities.
      temperature: `t > 0`, a scalar; where it is traced, 0 gives the limit and a negative one nan.
      axis: the axis that is summed over.

    Returns:
      The value without `axis`, in the dtype of `logits`; a slice of all `-inf` gives `-inf`.

    Raises:
      ValueError: a scalar for `logits`, or a `temperature` that is no scalar or not positive.
      TypeError: an argument is not made of real numbers.

    Examples:
      >>> import jax.numpy as jnp
      >>> round(float(logsumexp(jnp.array([0.0, 0.0]))), 6)
      0.693147
    """
    z, shift, dtype = _scaled(logits, temperature, axis)
    return (_logsumexp(z, axis) + jnp.squeeze(shift, axis)).astype(dtype)
