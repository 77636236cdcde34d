"""Entropy and relative entropy of softmax laws, from logits, on the last axis, in nats.

Both are sums of non-negative terms, with derivatives written out: those of a law that is all but
certain, and products of an underflowing probability with a large logit, keep their digits.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.discrete.softmax import covariance_matvec, log_softmax, logsumexp, softmax
from igeojax.numerics.remainders import expm1_remainder


def _weighted(log_p: Array, p: Array, factor: Array) -> Array:
    """`p * factor`, also where `p = exp(log_p)` underflows and the product does not."""
    edge = log_p < jnp.log(jnp.finfo(p.dtype).tiny) + 16
    size = jnp.abs(jnp.where(factor == 0, 1.0, factor))
    fine = jnp.sign(factor) * jnp.exp(jnp.where(edge, log_p, 0.0) + jnp.log(size))
    return jnp.where(edge, fine, p * jnp.where(edge, 0.0, factor))


def entropy_from_logits(logits: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """Entropy `-sum p log p` of `p = softmax(logits)`.

    Args:
      logits: scores on the last axis, `-inf` allowed.

    Returns:
      Values in `[0, log K]`, in nats; 0 with derivative 0 for a certain class.

    Examples:
      >>> round(float(entropy_from_logits(jnp.array([0.0, 0.0, -jnp.inf]))), 6)
      0.693147
    """
    return _entropy(logits)


@jax.custom_jvp
def _entropy(logits: Array) -> Array:
    scores = log_softmax(logits)
    known = scores != -jnp.inf  # nan goes on
    terms = _weighted(scores, softmax(logits), -jnp.where(known, scores, -1.0))
    return jnp.sum(jnp.where(known, terms, 0.0), axis=-1)


@_entropy.defjvp
def _entropy_jvp(primals, tangents):
    (logits,), (step,) = primals, tangents
    value, scores = _entropy(logits), log_softmax(logits)
    known = scores != -jnp.inf
    surprise = -jnp.where(known, scores, 0.0) - value[..., None]
    weights = jnp.where(known, _weighted(scores, softmax(logits), surprise), 0.0)
    # An impossible class may have an infinite tangent, log p at p = 0: its share is 0.
    return value, jnp.sum(jnp.where(known, weights * step, 0.0), axis=-1)


def log_sum_exp_bregman(
    logits: Float[Array, "*batch classes"],
    other: Float[Array, "*batch classes"],
    step: Float[Array, "*batch classes"],
) -> Float[Array, "*batch"]:
    """Bregman divergence of log-sum-exp, `KL(softmax(other) || softmax(logits))`, last axis.

    With `q = softmax(other)` and steps `d` centered to `sum q d = 0` it is
    `log(1 + sum q (exp(d) - 1 - d))`, a sum of non-negative terms that cannot cancel.

    Args:
      logits: scores of the first point, `-inf` allowed.
      other: scores of the point of tangency.
      step: `logits - other`, to as many digits as it is known; not read where either is -inf. It
        has no derivative of its own: it moves with the other two.

    Returns:
      Non-negative values in nats; inf where `other` has mass and `logits` has none.

    Examples:
      >>> z = jnp.array([0.0, 1e-6])
      >>> round(float(log_sum_exp_bregman(z, jnp.zeros(2), z)) * 1e12, 3)
      0.125
    """
    return _bregman(logits, other, step)


def aligned_logits(logits: Array, other: Array) -> tuple[Array, Array, Array]:
    """Both logits less their value at one likely class, and their difference to full precision.

    No divergence sees a common constant, but a large one rounds the differences: their roundings,
    exact by the two-sum of Knuth, are put back once the step of that class is subtracted.

    Args:
      logits: scores on the last axis, `-inf` allowed.
      other: scores of the same shape.

    Returns:
      The shifted logits, and the steps between them, 0 where either is -inf.

    Examples:
      >>> first, second, step = aligned_logits(jnp.array([1e6, 1e6 + 1]), jnp.array([0.0, 0.0]))
      >>> first.tolist(), step.tolist()
      ([-1.0, 0.0], [-1.0, 0.0])
    """
    both = (logits > -jnp.inf) & (other > -jnp.inf)
    first, second = jnp.where(both, logits, 0.0), jnp.where(both, other, 0.0)
    step = first - second
    virtual = step - first
    rounding = (first - (step - virtual)) - (second + virtual)
    likely = jnp.argmax(jnp.where(both, first + second, -jnp.inf), axis=-1)[..., None]
    at = [jnp.take_along_axis(v, likely, axis=-1) for v in (first, second, step, rounding)]
    step = jnp.where(both, (step - at[2]) + (rounding - at[3]), 0.0)
    return logits - at[0], other - at[1], step


def centered_step(logits: Array, other: Array, step: Array) -> tuple[Array, Array, Array]:
    """Steps minus their mean under `q = softmax(other)`, that mean, and where both have mass.

    Args:
      logits: scores of the first point.
      other: scores of the point of tangency.
      step: `logits - other`.

    Returns:
      The centered steps, 0 where not both have mass; their mean, class axis kept; the mask.

    Examples:
      >>> z = jnp.array([2.0, 0.0])
      >>> centered_step(z, jnp.zeros(2), z)[0].tolist()
      [1.0, -1.0]
    """
    q = softmax(other)
    known = (q != 0) & (logits > -jnp.inf)
    # Relative to the likeliest class: a common step drops out before it can round the mean, and
    # the centered step of a class that holds most of the mass does not cancel.
    position = jax.lax.broadcasted_iota(int, q.shape, q.ndim - 1)
    leading = known & (position == jnp.argmax(jnp.where(known, q, -1.0), axis=-1, keepdims=True))
    common = jnp.sum(jnp.where(leading, step, 0.0), axis=-1, keepdims=True)
    apart = jnp.where(known & ~leading, step - common, 0.0)
    mean = jnp.sum(q * apart, axis=-1, keepdims=True)
    return jnp.where(known, apart - mean, 0.0), common + mean, known


@jax.custom_jvp
def _bregman(logits: Array, other: Array, step: Array) -> Array:
    q = softmax(other)
    massless = q == 0
    lost = (~massless & (logits == -jnp.inf)).any(axis=-1)
    centered, mean, known = centered_step(logits, other, step)
    # A class that gains much, or where q underflows to 0, brings the mass of `logits`, the
    # exponential of this; the others the remainder, however far they fall.
    exponent = logits - logsumexp(other)[..., None] - mean
    gains = (known & (centered > 20)) | massless
    moderate = jnp.max(jnp.where(gains, exponent, -jnp.inf), axis=-1, keepdims=True) < 40
    terms = q * expm1_remainder(jnp.where(gains, 0.0, centered))
    gained = jnp.exp(jnp.where(gains & moderate, exponent, -jnp.inf))
    gained = gained - jnp.where(gains & known & moderate, q * (1 + centered), 0.0)
    near = jnp.log1p(jnp.sum(terms + gained, axis=-1))
    far = logsumexp(jnp.where(moderate, 0.0, exponent))
    return jnp.where(lost, jnp.inf, jnp.where(moderate[..., 0], near, far))


@_bregman.defjvp
def _bregman_jvp(primals, tangents):
    (logits, other, step), (d_logits, d_other, _) = primals, tangents
    value = _bregman(logits, other, step)
    # <softmax(logits) - softmax(other), d_logits> - <Cov_q step, d_other>.
    p, q, scores = softmax(logits), softmax(other), log_softmax(other)
    centered, mean, known = centered_step(logits, other, step)
    exponent = centered - jnp.where(jnp.isinf(value), 0.0, value)[..., None]
    near = known & (jnp.abs(exponent) < 1)
    gap = jnp.where(near, q * jnp.expm1(jnp.where(near, exponent, 0.0)), p - q)
    both = (other > -jnp.inf) & (logits > -jnp.inf)
    flow = covariance_matvec(q, centered, -1)
    info = jnp.finfo(q.dtype)
    edge = both & (q < info.tiny / info.eps)
    away = jnp.where(edge, step - mean, 0.0)
    flow = jnp.where(edge, _weighted(jnp.where(edge, scores, 0.0), q, away), flow)
    leading = q > 0.5
    others = jnp.sum(jnp.where(leading, 0.0, flow), axis=-1, keepdims=True)
    flow = jnp.where(leading, -others, flow)
    change = jnp.where(logits > -jnp.inf, gap * d_logits, 0.0)
    change = change - jnp.where(other > -jnp.inf, flow * d_other, 0.0)
    return value, jnp.sum(change, axis=-1)
