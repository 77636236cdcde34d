"""What both forms of the normalized classifier compute."""

from collections.abc import Callable

from jaxtyping import Array, Float, Int

from igeojax.nn.margins import cosine_logits


def classifier_logits(
    margin: Callable[..., Array] | None,
    features: Float[Array, "*batch d"],
    weights: Float[Array, "K d"],
    labels: Int[Array, "*batch"] | None,
    scale: float,
) -> Float[Array, "*batch K"]:
    """Logits with the margin where there is one and labels are given.

    Raises:
      TypeError: `margin` is no function.
    """
    if not (margin is None or callable(margin)):
        raise TypeError(
            f"margin must be a function or None; got {margin!r}. Of an angle of 0.2 it is "
            "functools.partial(nn.margins.arcface_logits, margin=0.2)."
        )
    if labels is None or margin is None:
        return cosine_logits(features, weights, scale=scale)
    return margin(features, weights, labels, scale=scale)
