"""A normalized classifier as a `flax.nnx` module."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float, Int

from igeojax.nn._margin import classifier_logits
from igeojax.nn.unit_weights import unit_normal


class NormalizedClassifier(nnx.Module):
    """Cosine logits of classes, with a margin where the labels are given.

    Args:
      features: dimension of what is classified.
      num_classes: number of classes.
      scale: concentration of the classes.
      margin: `nn.margins.cosface_logits`, `arcface_logits` or `sphereface_logits`, or one with its
        margin set by `functools.partial`; None for none.
      param_dtype: dtype of the class vectors.
      rngs: random streams; `params` is drawn from.

    References:
      [DengArcFace2019] equation (2).

    Examples:
      >>> layer = NormalizedClassifier(2, 3, scale=8.0, rngs=nnx.Rngs(0))
      >>> layer(jnp.array([[1.0, 2.0]])).shape
      (1, 3)
    """

    def __init__(
        self,
        features: int,
        num_classes: int,
        *,
        scale: float = 64.0,
        margin: Callable[..., Array] | None = None,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        self.scale, self.margin = scale, margin
        weights = unit_normal("unit_rows")(rngs.params(), (num_classes, features), param_dtype)
        self.unit_rows = nnx.Param(weights)

    def __call__(
        self, features: Float[Array, "*batch d"], labels: Int[Array, "*batch"] | None = None
    ) -> Float[Array, "*batch K"]:
        """Logits; with `labels` those of training, with the margin."""
        return classifier_logits(self.margin, features, self.unit_rows[...], labels, self.scale)
