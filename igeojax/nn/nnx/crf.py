"""Layers as `flax.nnx` modules."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float, Int

from igeojax.chains.crf.decoding import Decoded, viterbi
from igeojax.chains.crf.likelihood import log_likelihood
from igeojax.nn._crf import Tags, constrained, tag_count


class CRF(nnx.Module):
    """A linear-chain conditional random field on top of the scores of a network.

    Its parameters are the scores of transitions, of the first and of the last tag, zero at first;
    the scores of the tags at each step are its input. `potentials` hands them to any function of
    `chains.crf`: `crf.marginals(unary, **layer.potentials())`.

    Args:
      tags: the number of tags, or their names.
      scheme: "BIO" or "BIOES", by which transitions between the named tags are forbidden; None for
        free transitions.
      param_dtype: dtype of the parameters.

    References:
      [LaffertyMcCallumPereira2001] section 3.

    Examples:
      >>> layer = CRF(tags=("O", "B-x", "I-x"), scheme="BIO")
      >>> layer.viterbi(jnp.array([[0.0, 0.0, 9.0], [0.0, 0.0, 9.0]])).tags.tolist()
      [1, 2]
    """

    def __init__(
        self, tags: Tags, *, scheme: str | None = None, param_dtype: DTypeLike = jnp.float32
    ) -> None:
        count = tag_count(tags)
        self.tags = tags if isinstance(tags, int) else tuple(tags)
        self.scheme = scheme
        self.transition = nnx.Param(jnp.zeros((count, count), param_dtype))
        self.start = nnx.Param(jnp.zeros((count,), param_dtype))
        self.end = nnx.Param(jnp.zeros((count,), param_dtype))

    def potentials(self) -> dict[str, Float[Array, "..."]]:
        """Scores by the names of the arguments of `chains.crf`: `transition`, `start`, `end`."""
        scores = self.transition[...], self.start[...], self.end[...]
        return constrained(self.tags, self.scheme, *scores)

    def __call__(
        self,
        unary: Float[ArrayLike, "*batch T K"],
        tags: Int[ArrayLike, "*batch T"],
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
    ) -> Float[Array, "*batch"]:
        """Log-likelihood of tags, as `crf.log_likelihood`; the loss is minus its mean."""
        return log_likelihood(unary, tags=tags, length=length, mask=mask, **self.potentials())

    def viterbi(
        self,
        unary: Float[ArrayLike, "*batch T K"],
        *,
        length: Int[ArrayLike, "*batch"] | None = None,
        mask: Bool[ArrayLike, "*batch T"] | None = None,
    ) -> Decoded:
        """The best tags and their score, as `crf.viterbi`."""
        return viterbi(unary, length=length, mask=mask, **self.potentials())
