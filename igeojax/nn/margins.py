"""Logits of normalized classifiers, with margins on the angle of the true class.

Logits are `s cos t_k`, with `t_k` the angle between the features and the weights of class k: the
posterior of von Mises-Fisher classes of concentration s. A margin enlarges the angle of the true
class while training, so that the loss goes on pulling where the class is already right.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.nn.normalized import l2_normalize
from igeojax.numerics.angles import unit_angle


def cosine_logits(
    features: Float[ArrayLike, "*batch d"],
    weights: Float[ArrayLike, "K d"],
    *,
    scale: Float[ArrayLike, ""] = 1.0,
) -> Float[Array, "*batch K"]:
    """Logits `scale cos t_k` of a normalized classifier.

    Args:
      features: vectors of any length; the zero vector has logits 0.
      weights: one vector of any length for each class.
      scale: concentration of the classes, the inverse of a temperature.

    Returns:
      Logits within `[-scale, scale]`.

    Raises:
      TypeError: an argument is not real.
      ValueError: the dimensions of features and weights differ.

    References:
      [BanerjeeDhillon2005] section 4.1 (posterior of equal concentrations).

    Examples:
      >>> cosine_logits([3.0, 4.0], [[1.0, 0.0], [0.0, 2.0]], scale=10.0).round(3).tolist()
      [6.0, 8.0]
    """
    features, weights, scale = _checked(features, weights, scale)
    return scale * jnp.matmul(l2_normalize(features), l2_normalize(weights).T)


def cosface_logits(
    features: Float[ArrayLike, "*batch d"],
    weights: Float[ArrayLike, "K d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    scale: Float[ArrayLike, ""] = 64.0,
    margin: float = 0.35,
) -> Float[Array, "*batch K"]:
    """Logits of `cosine_logits`, that of the true class `scale (cos t - margin)` (CosFace).

    Args:
      features: vectors of any length.
      weights: one vector of any length for each class.
      labels: the true classes.
      scale: concentration of the classes.
      margin: what the cosine of the true class loses.

    Returns:
      Logits for a cross-entropy in training.

    Raises:
      TypeError: `labels` are not integers, or another argument is not real.
      ValueError: wrong sizes, or a negative margin.

    References:
      [WangCosFace2018] equation (4).

    Examples:
      >>> cosface_logits([1.0, 0.0], jnp.eye(2), 0, scale=1.0, margin=0.25).tolist()
      [0.75, 0.0]
    """
    _require_margin(margin, 0)
    features, weights, scale = _checked(features, weights, scale)
    chosen = _chosen(features, weights, labels)
    logits = cosine_logits(features, weights, scale=scale)
    return jnp.where(chosen, logits - scale * margin, logits)


def arcface_logits(
    features: Float[ArrayLike, "*batch d"],
    weights: Float[ArrayLike, "K d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    scale: Float[ArrayLike, ""] = 64.0,
    margin: float = 0.5,
) -> Float[Array, "*batch K"]:
    """Logits of `cosine_logits`, that of the true class `scale cos(t + margin)` (ArcFace).

    Beyond pi, where the cosine would rise again, it goes on falling as in `sphereface_logits`.
    The angle is that of the chords, right to rounding where features and weights agree or oppose;
    gradients there are 0 along the sphere, not infinite as those of `arccos`.

    Args:
      features: vectors of any length.
      weights: one vector of any length for each class.
      labels: the true classes.
      scale: concentration of the classes.
      margin: what is added to the angle of the true class, radians.

    Returns:
      Logits for a cross-entropy in training.

    Raises:
      TypeError: `labels` are not integers, or another argument is not real.
      ValueError: wrong sizes, or a negative margin.

    References:
      [DengArcFace2019] equation (3).

    Examples:
      >>> logits = arcface_logits([1.0, 0.0], jnp.eye(2), 0, scale=1.0, margin=0.5)
      >>> bool(jnp.isclose(logits[0], jnp.cos(0.5)))
      True
    """
    _require_margin(margin, 0)
    return _angular(features, weights, labels, scale, lambda angle: angle + margin)


def sphereface_logits(
    features: Float[ArrayLike, "*batch d"],
    weights: Float[ArrayLike, "K d"],
    labels: Int[ArrayLike, "*batch"],
    *,
    scale: Float[ArrayLike, ""] = 64.0,
    margin: float = 1.5,
) -> Float[Array, "*batch K"]:
    """Logits of `cosine_logits`, that of the true class `scale cos(margin t)` (SphereFace).

    Continued to fall, `(-1)^k cos(margin t) - 2k` for `margin t` in `[k pi, (k+1) pi]`. Angles and
    gradients are those of `arcface_logits`.

    Args:
      features: vectors of any length.
      weights: one vector of any length for each class.
      labels: the true classes.
      scale: concentration of the classes.
      margin: factor of the angle of the true class.

    Returns:
      Logits for a cross-entropy in training.

    Raises:
      TypeError: `labels` are not integers, or another argument is not real.
      ValueError: wrong sizes, or a margin below 1.

    References:
      [LiuSphereFace2017] equations (6) and (7).

    Examples:
      >>> logits = sphereface_logits([-1.0, 0.0], jnp.eye(2), 0, scale=1.0, margin=2.0)
      >>> logits.round(6).tolist()
      [-3.0, 0.0]
    """
    _require_margin(margin, 1)
    return _angular(features, weights, labels, scale, lambda angle: margin * angle)


def _require_margin(margin: ArrayLike, least: int) -> None:
    """Check that a margin makes the true class harder, where its value is known.

    Raises:
      ValueError: it is less than what changes nothing.
    """
    remedy = f"{least} is no margin; a smaller one would help the true class."
    checks.require_values("margin", margin, lambda m: m >= least, f"at least {least}", remedy)


def _angular(features, weights, labels, scale, enlarged):
    """Logits with the angle of the true class enlarged."""
    features, weights, scale = _checked(features, weights, scale)
    chosen = _chosen(features, weights, labels)
    x, true = l2_normalize(features), l2_normalize(weights)[jnp.asarray(labels)]
    # Not arccos of the product, which has half the digits at its ends and an infinite slope.
    angle = unit_angle(x, true)
    logits = cosine_logits(features, weights, scale=scale)
    return jnp.where(chosen, scale * _falling_cosine(enlarged(angle))[..., None], logits)


def _falling_cosine(angle: Array) -> Array:
    """Cosine on `[0, pi]`, continued to fall: each half period below the last."""
    turn = jnp.floor(angle / jnp.pi)
    return (1 - 2 * (turn % 2)) * jnp.cos(angle) - 2 * turn


def _checked(features: ArrayLike, weights: ArrayLike, scale: ArrayLike) -> tuple[Array, ...]:
    """The arguments as arrays of one dtype.

    Raises:
      TypeError: one is not real.
      ValueError: dimensions differ.
    """
    features, weights = checks.floating_together(features=features, weights=weights)
    if weights.ndim != 2 or features.ndim == 0 or features.shape[-1] != weights.shape[1]:
        raise ValueError(
            "features must have shape (..., d) and weights (K, d); got "
            f"{features.shape} and {weights.shape}. A Dense kernel is (d, K): transpose it."
        )
    return features, weights, checks.floating("scale", scale).astype(features.dtype)


def _chosen(features: Array, weights: Array, labels: ArrayLike) -> Array:
    """Where the true class is, one-hot.

    Raises:
      TypeError: labels are not integers.
      ValueError: their shape is not that of the batch, or a class is not there.
    """
    labels = jnp.asarray(labels)
    if not jnp.issubdtype(labels.dtype, jnp.integer):
        raise TypeError(f"labels must be integers; got {labels.dtype}. Pass class numbers.")
    if labels.shape != features.shape[:-1]:
        raise ValueError(
            f"labels must have the batch shape of features {features.shape[:-1]}; "
            f"got {labels.shape}."
        )
    count = weights.shape[0]
    checks.require_values(
        "labels",
        labels,
        lambda label: (label >= 0) & (label < count),
        f"from 0 to {count - 1}",
        "Number the classes from 0.",
    )
    return labels[..., None] == jnp.broadcast_to(jnp.arange(count), (*labels.shape, count))
