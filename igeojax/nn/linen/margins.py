"""A normalized classifier as a `flax.linen` module."""

from collections.abc import Callable

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, DTypeLike, Float, Int

from igeojax.nn._margin import classifier_logits
from igeojax.nn.unit_weights import unit_normal


class NormalizedClassifier(linen.Module):
    """Cosine logits of classes, with a margin where the labels are given.

    Attributes:
      num_classes: number of classes.
      scale: concentration of the classes.
      margin: `nn.margins.cosface_logits`, `arcface_logits` or `sphereface_logits`, or one with its
        margin set by `functools.partial`; None for none.
      param_dtype: dtype of the class vectors.

    References:
      [DengArcFace2019] equation (2).

    Examples:
      >>> import jax
      >>> layer, x = NormalizedClassifier(3, scale=8.0), jnp.array([[1.0, 2.0]])
      >>> layer.init_with_output(jax.random.key(0), x)[0].shape
      (1, 3)
    """

    num_classes: int
    scale: float = 64.0
    margin: Callable[..., Array] | None = None
    param_dtype: DTypeLike = jnp.float32

    @linen.compact
    def __call__(
        self, features: Float[Array, "*batch d"], labels: Int[Array, "*batch"] | None = None
    ) -> Float[Array, "*batch K"]:
        """Logits; with `labels` those of training, with the margin."""
        shape = (self.num_classes, features.shape[-1])
        weights = self.param("unit_rows", unit_normal("unit_rows"), shape, self.param_dtype)
        return classifier_logits(self.margin, features, weights, labels, self.scale)
