"""The best tags, the best few, and tags drawn at random."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks
from igeojax.chains import _decoding
from igeojax.chains._chain import batch_first, chain_of


class Decoded(NamedTuple):
    """Tags, -1 where a step is absent or no path is possible, and their scores, then `-inf`."""

    tags: Int[Array, "*batch T"]
    score: Float[Array, "*batch"]


def viterbi(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Decoded:
    """The tags of the highest score.

    The way there keeps maxima alone; the way back forms the scores of the moves into one tag.
    `O(T K^2)`. Among equal scores the lower tag wins, decided from the last step to the first.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Tags and their score in nats, whose gradient is the indicator of the path.

    Raises:
      TypeError: as `log_partition`.
      ValueError: as `log_partition`.

    References:
      [Rabiner1989] equations (32)-(35).

    Examples:
      >>> change = jnp.array([[-9.0, 0.0], [0.0, -9.0]])
      >>> tags, score = viterbi(jnp.array([[1.0, 0.0], [3.0, 0.0], [1.0, 0.0]]), change)
      >>> tags.tolist(), float(score)
      ([1, 0, 1], 3.0)
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    states, score = _decoding.best(chain)
    return Decoded(batch_first(states, shape), score.reshape(shape[:-1]))


def k_best(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    num_paths: int,
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Decoded:
    """The `n` different tag sequences of the highest scores, best first.

    `O(T K^2 n log n)` time, `O(T K n)` memory.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      num_paths: `n`, a Python integer.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Tags `(*batch, n, T)` and scores `(*batch, n)` in nats; -1 and `-inf` beyond the number of
      paths that are possible.

    Raises:
      TypeError: as `log_partition`, or `num_paths` is no Python integer.
      ValueError: as `log_partition`, or `num_paths` is below 1.

    Examples:
      >>> tags, score = k_best(jnp.array([[2.0, 0.0], [1.0, 0.0]]), jnp.zeros((2, 2)), 3)
      >>> tags.tolist(), score.tolist()
      ([[0, 0], [0, 1], [1, 0]], [3.0, 2.0, 1.0])
    """
    checks.require_count("num_paths", num_paths)
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    states, scores = _decoding.best_few(chain, num_paths)
    tags = jax.vmap(lambda states: batch_first(states, shape))(states)
    return Decoded(
        jnp.moveaxis(tags, 0, -2), jnp.moveaxis(scores.reshape((num_paths, *shape[:-1])), 0, -1)
    )


def sample(
    key: Array,
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    num_samples: int = 1,
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Int[Array, "num_samples *batch T"]:
    """Independent tag sequences from their law: messages forward, draws backward.

    Args:
      key: a PRNG key.
      unary: scores of the tags.
      transition: scores of transitions.
      num_samples: how many of each sequence, a Python integer.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Tags, -1 where a step is absent or no path is possible.

    Raises:
      TypeError: as `log_partition`, `key` is none, or `num_samples` is no Python integer.
      ValueError: as `log_partition`, or `num_samples` is negative.

    Examples:
      >>> forbidden = jnp.array([[-jnp.inf, 0.0], [0.0, -jnp.inf]])
      >>> tags = sample(jax.random.key(0), jnp.zeros((4, 2)), forbidden, 100)
      >>> sorted(set(map(tuple, tags.tolist())))
      [(0, 1, 0, 1), (1, 0, 1, 0)]
    """
    checks.require_key(key)
    checks.require_count("num_samples", num_samples, minimum=0)
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    states = _decoding.drawn(key, chain, num_samples)
    return jax.vmap(lambda states: batch_first(states, shape))(states)
