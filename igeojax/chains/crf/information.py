"""Entropy of the law of the tags, and the divergence between two such laws."""

from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax.chains import _information
from igeojax.chains._chain import chain_of


def entropy(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Entropy `-sum_y p(y) log p(y)` over all tag sequences.

    The expected entropies of each tag given the one after it, a sum of non-negative terms where
    `log Z` less the mean score would cancel. `O(T K^2)` exponentials.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Values in `[0, T log K]`, in nats; 0 where no path is possible.

    Raises:
      TypeError: as `log_partition`.
      ValueError: as `log_partition`.

    References:
      [LiEisner2009] section 5.

    Examples:
      >>> import jax.numpy as jnp
      >>> forbidden = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
      >>> round(float(jnp.exp(entropy(jnp.zeros((3, 2)), forbidden))), 4)
      4.0
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    return _information.entropy(chain.shifted()[0]).reshape(shape[:-1])


def kl(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    other_unary: Float[ArrayLike, "*batch T K"],
    other_transition: Float[ArrayLike, "*steps K K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
    other_start: Float[ArrayLike, "*batch K"] | None = None,
    other_end: Float[ArrayLike, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence `sum_y p(y) log(p(y) / q(y))` over all tag sequences.

    The expected divergences of each tag given the one after it: non-negative terms, 0 for equal
    laws, with the digits of near ones. `O(T K^2)` exponentials.

    Args:
      unary: scores of the tags under `p`.
      transition: scores of transitions under `p`.
      other_unary: scores of the tags under `q`, of the shape of `unary`.
      other_transition: scores of transitions under `q`.
      length: number of steps of each sequence, of both laws.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag under `p`.
      end: scores of the last tag under `p`.
      other_start: scores of the first tag under `q`.
      other_end: scores of the last tag under `q`.

    Returns:
      Values in `[0, inf]`, in nats; inf where `q` forbids what `p` allows, nan where `p` allows no
      path.

    Raises:
      TypeError: as `log_partition`.
      ValueError: as `log_partition`, or the two laws differ in shape.

    References:
      [LiEisner2009] section 5.

    Examples:
      >>> import jax.numpy as jnp
      >>> forbidden = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
      >>> free, unary = jnp.zeros((2, 2)), jnp.zeros((3, 2))
      >>> round(float(kl(unary, forbidden, unary, free) / jnp.log(2.0)), 4)
      1.0
      >>> float(kl(unary, free, unary, forbidden))
      inf
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    other, other_shape = chain_of(
        other_unary,
        other_transition,
        length=length,
        mask=mask,
        start=other_start,
        end=other_end,
        names=("other_unary", "other_transition", "other_start", "other_end"),
    )
    if chain.unary.shape != other.unary.shape or shape != other_shape:
        raise ValueError(
            f"other_unary must have the shape of unary, {shape + chain.unary.shape[2:]}; got "
            f"{other_shape + other.unary.shape[2:]}. A divergence compares laws on the same tags."
        )
    return _information.kl(chain.shifted()[0], other.shifted()[0]).reshape(shape[:-1])
