"""Layers as `flax.linen` modules."""

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, ArrayLike, Bool, DTypeLike, Float, Int

from igeojax.chains.crf.decoding import Decoded, viterbi
from igeojax.chains.crf.likelihood import log_likelihood
from igeojax.nn._crf import Tags, constrained, tag_count


class CRF(linen.Module):
    """A linear-chain conditional random field on top of the scores of a network.

    Its parameters are the scores of transitions, of the first and of the last tag, zero at first;
    the scores of the tags at each step are its input. `potentials` hands them to any function of
    `chains.crf`: `crf.marginals(unary, **layer.potentials())`.

    Attributes:
      tags: the number of tags, or their names.
      scheme: "BIO" or "BIOES", by which transitions between the named tags are forbidden; None for
        free transitions.
      param_dtype: dtype of the parameters.

    References:
      [LaffertyMcCallumPereira2001] section 3.

    Examples:
      >>> import jax
      >>> layer = CRF(tags=("O", "B-x", "I-x"), scheme="BIO")
      >>> unary = jnp.array([[0.0, 0.0, 9.0], [0.0, 0.0, 9.0]])
      >>> params = layer.init(jax.random.key(0), unary, jnp.array([1, 2]))
      >>> layer.apply(params, unary, method="viterbi").tags.tolist()
      [1, 2]
    """

    tags: Tags
    scheme: str | None = None
    param_dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Make the parameters."""
        count, zeros = tag_count(self.tags), linen.initializers.zeros
        self.transition = self.param("transition", zeros, (count, count), self.param_dtype)
        self.start = self.param("start", zeros, (count,), self.param_dtype)
        self.end = self.param("end", zeros, (count,), self.param_dtype)

    def potentials(self) -> dict[str, Float[Array, "..."]]:
        """Scores by the names of the arguments of `chains.crf`: `transition`, `start`, `end`."""
        return constrained(self.tags, self.scheme, self.transition, self.start, self.end)

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
