"""Log-likelihood of tags, log-partition and marginals."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks
from igeojax.chains import _posterior
from igeojax.chains._chain import batch_first, chain_of, time_first


def log_likelihood(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    tags: Int[ArrayLike, "*batch T"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Log-probability of tags, `score(tags) - log Z`, in nats.

    Taken step by step, so that it does not cancel in long sequences; near 0, where the tags are all
    but certain, it is a sum of logarithms of one plus small ratios, correct to all digits.
    `O(T K^2)` for the value and for its gradient.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      tags: integers in `0..K-1`; not read where a step is absent.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Non-positive values; `-inf`, with gradient 0, for tags that are forbidden, and 0 for an empty
      sequence. The loss of a model is minus their mean.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: shapes do not fit, or a concrete tag or length is out of range.

    References:
      [LaffertyMcCallumPereira2001] section 3.

    Examples:
      >>> unary = jnp.zeros((3, 2))
      >>> value = log_likelihood(unary, jnp.zeros((2, 2)), jnp.array([0, 1, 0]))
      >>> round(float(value / jnp.log(2.0)), 4)
      -3.0
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    tags = jnp.asarray(tags)
    if not jnp.issubdtype(tags.dtype, jnp.integer):
        raise TypeError(
            f"tags must be integers; got dtype {tags.dtype}. Take argmax of one-hot tags."
        )
    if tags.shape != shape:
        raise ValueError(
            f"tags must have one entry a step, shape {shape}; got {tags.shape}. "
            "Pad all sequences to the same number of steps and pass length or mask."
        )
    states = time_first(tags) if shape[-1] else jnp.zeros(chain.present.shape, tags.dtype)
    size = chain.unary.shape[-1]
    known = (states >= 0) & (states < size) | ~chain.present
    checks.require_values(
        "tags at each step (time first)",
        known,
        lambda v: v,
        f"in 0..{size - 1} where a step is present",
        "Tell padding by length or mask, not by a tag.",
    )
    value = _posterior.log_prob(chain, jnp.clip(states, 0, size - 1))
    # Traced tags out of range: a value outside of the domain is nan.
    value = jnp.where(jnp.all(known, axis=0), value, jnp.nan)
    return value.reshape(shape[:-1])


def log_partition(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Float[Array, "*batch"]:
    """Log-partition `log Z = log sum_y exp(score(y))`: convex, its gradient the marginals.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Values in nats; `-inf` where no path is possible.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: shapes do not fit, or a concrete length is out of range.

    Examples:
      >>> round(float(jnp.exp(log_partition(jnp.zeros((3, 2)), jnp.zeros((2, 2))))), 4)
      8.0
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    return _posterior.log_partition(chain).reshape(shape[:-1])


def marginals(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Float[Array, "*batch T K"]:
    """Probability of each tag at each step, the gradient of `log_partition` in `unary`.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Probabilities, 0 where a step is absent or no path is possible.

    Raises:
      TypeError: as `log_partition`.
      ValueError: as `log_partition`.

    Examples:
      >>> forbidden = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
      >>> [round(p, 4) for p in marginals(jnp.zeros((2, 2)), forbidden)[0].tolist()]
      [0.3333, 0.6667]
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    return batch_first(_posterior.posterior(chain.shifted()[0]).states, shape)


def pair_marginals(
    unary: Float[ArrayLike, "*batch T K"],
    transition: Float[ArrayLike, "*steps K K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
    start: Float[ArrayLike, "*batch K"] | None = None,
    end: Float[ArrayLike, "*batch K"] | None = None,
) -> Float[Array, "*batch T-1 K K"]:
    """Probability of each pair of tags at neighbors, `[t, i, j]`: `i` before and `j` at step `t+1`.

    Their sum over steps and sequences is the gradient of `sum(log_partition)` in `transition`,
    which needs no array of this size.

    Args:
      unary: scores of the tags.
      transition: scores of transitions.
      length: number of steps of each sequence.
      mask: which steps are present, in the stead of `length`.
      start: scores of the first tag.
      end: scores of the last tag.

    Returns:
      Probabilities, 0 where step `t+1` is absent or the first one, or no path is possible.

    Raises:
      TypeError: as `log_partition`.
      ValueError: as `log_partition`.

    Examples:
      >>> forbidden = jnp.array([[0.0, -jnp.inf], [0.0, 0.0]])
      >>> jnp.round(3 * pair_marginals(jnp.zeros((2, 2)), forbidden)[0]).tolist()
      [[1.0, 0.0], [1.0, 1.0]]
    """
    chain, shape = chain_of(unary, transition, length=length, mask=mask, start=start, end=end)
    if chain.is_constant:
        steps = (chain.unary.shape[0], *chain.transition.shape)
        chain = chain._replace(transition=jnp.broadcast_to(chain.transition, steps))
    chain, _ = chain.shifted()
    pairs = _posterior.expected_transitions(chain, _posterior.posterior(chain))
    return batch_first(pairs[1:], (*shape[:-1], max(shape[-1] - 1, 0)))
