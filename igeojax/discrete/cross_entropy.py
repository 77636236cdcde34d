"""Cross-entropy of label probabilities against logits."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.softmax import log_softmax


def softmax_cross_entropy(
    logits: Float[ArrayLike, "*batch classes"],
    labels: Float[ArrayLike, "*batch classes"],
    *,
    smoothing: ArrayLike = 0.0,
    where: Bool[ArrayLike, "*batch classes"] | None = None,
) -> Float[Array, "*batch"]:
    """Cross-entropy `-sum_i y_i log softmax(z)_i` of label probabilities y, on the last axis.

    A class of label 0 costs nothing, also where its logit is -inf, and its derivatives are finite;
    optax's returns nan there. With smoothing a labels become `(1 - a) y + a / K`, under which an
    impossible class costs inf: mask it by `where`.

    Args:
      logits: scores, `-inf` allowed.
      labels: probability vectors, those of `simplex` divergences.
      smoothing: share of the labels that is spread evenly, a scalar in `[0, 1]`; may be traced.
      where: the classes that exist; others have no probability, and no share of the smoothing.

    Returns:
      Values in nats, at least the entropy of the labels; inf where a label is on an impossible
      class, 0 for a row without a class.

    Raises:
      TypeError: an argument is not of the kind described.
      ValueError: shapes that differ on the last axis, concrete labels that are no probabilities, or
        a `smoothing` outside `[0, 1]`.

    References:
      [Szegedy2016] section 7 (label smoothing).

    Examples:
      >>> round(float(softmax_cross_entropy([0.0, 0.0, -jnp.inf], [0.5, 0.5, 0.0])), 6)
      0.693147
    """
    z, y = checks.floating_together(logits=logits, labels=labels)
    z, y = _scores.checked(z), _scores.checked(y, "labels")
    if z.shape[-1] != y.shape[-1]:
        raise ValueError(
            f"logits and labels must have one number of classes; got {z.shape[-1]} and "
            f"{y.shape[-1]}. For integer labels use token_log_probs."
        )
    checks.require_probabilities("labels", y)
    share = checks.floating("smoothing", smoothing)
    checks.require_values(
        "smoothing", share, lambda v: (v >= 0) & (v <= 1), "in [0, 1]", "Try 0.1."
    )
    dtype = z.dtype
    z, y = jnp.broadcast_arrays(z, y)
    wide = jnp.promote_types(dtype, jnp.float32)
    present = jnp.ones(z.shape, bool) if where is None else jnp.broadcast_to(where, z.shape)
    z, y, share = jnp.where(present, z, -jnp.inf).astype(wide), y.astype(wide), share.astype(wide)
    count = jnp.maximum(jnp.sum(present, axis=-1, keepdims=True), 1)
    weight = (1 - share) * y + share * jnp.where(present, 1 / count.astype(wide), 0.0)
    scores = log_softmax(z)
    impossible = scores == -jnp.inf
    surprise = -jnp.where(impossible, 0.0, scores)
    lost = (impossible & present & (weight > 0)) | (~present & (y > 0))
    value = jnp.sum(weight * surprise, axis=-1)
    return jnp.where(lost.any(axis=-1), jnp.inf, value).astype(dtype)
