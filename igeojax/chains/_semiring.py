"""The messages of a chain in any semiring whose product is the sum of scores.

What differs between the sum over paths and the best path is one reduction. The best `k` paths keep
`k` scores a state, and have a scan of their own in `_decoding`.
Two forms give the same messages: a scan of T steps of K^2 operations, and an associative scan over
matrices, log T deep and K times the work, for devices on which many small steps are slow.
"""

from collections.abc import Callable
from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.chains._chain import Chain
from igeojax.discrete.softmax import logsumexp

Add = Callable[[Array, int], Array]
"""The sum of a semiring along an axis."""

Result = TypeVar("Result")


def log_add(scores: Array, axis: int) -> Array:
    """The sum over paths: `log sum exp`."""
    return logsumexp(scores, axis=axis)


def max_add(scores: Array, axis: int) -> Array:
    """The best path."""
    return jnp.max(scores, axis=axis)


class Messages(NamedTuple):
    """Scores of the paths that end in each state, of which each step's sum is taken out."""

    states: Float[Array, "T B K"]  # their sum is 0, or all are -inf; kept over absent steps
    log_norm: Float[Array, "T B"]  # what is taken out; they sum to the total of the chain


def by_device(
    chain: Chain, sequential: Callable[[Chain], Result], parallel: Callable[[Chain], Result]
) -> Result:
    """The form that suits device and size.

    A core of a processor does K times the work in K times the time; an accelerator waits for each
    of many small steps.
    """
    length, _, states = chain.unary.shape
    if length < 256 or states > 16:
        return sequential(chain)
    return jax.lax.platform_dependent(chain, cpu=sequential, default=parallel)


def messages(chain: Chain, add: Add) -> Messages:
    """Messages from the start."""
    return by_device(
        chain, lambda chain: by_scan(chain, add), lambda chain: by_associative_scan(chain, add)
    )


def normalized(scores: Array, add: Add) -> tuple[Array, Array]:
    """Scores less their sum over the last axis, and that sum."""
    total = add(scores, -1)
    finite = jnp.where(total == -jnp.inf, 0.0, total)
    return scores - finite[..., None], total


def by_scan(chain: Chain, add: Add) -> Messages:
    """One step after the other."""

    def step(states, now):
        unary, present, first, move = now
        scores = states[:, :, None] + chain.at_step(move)
        reached = jnp.where(first, 0.0, add(scores, -2))
        following, norm = normalized(reached + unary, add)
        states = jnp.where(present, following, states)
        return states, (states, jnp.where(present[:, 0], norm, 0.0))

    steps = (chain.unary, chain.present[..., None], chain.first[..., None])
    begin = jnp.zeros_like(chain.unary[0])
    _, (states, norms) = jax.lax.scan(step, begin, (*steps, chain.varying))
    return Messages(states, norms)


def by_associative_scan(chain: Chain, add: Add) -> Messages:
    """All prefixes at once, as products of matrices.

    References:
      [SarkkaGarciaFernandez2021].
    """
    batch, size = chain.unary.shape[1:]
    at = lambda flags: flags[..., None, None]
    moves = over_steps(chain.transition)
    identity = jnp.where(jnp.eye(size, dtype=bool), 0.0, -jnp.inf).astype(moves.dtype)
    steps = jnp.where(at(chain.first), 0.0, moves) + chain.unary[:, :, None, :]
    steps = jnp.where(at(chain.present), steps, identity[None, None])

    def combine(left, right):
        joined = add(left[..., :, :, None] + right[..., None, :, :], -2)
        top = jnp.max(joined, axis=(-2, -1), keepdims=True)
        return joined - jax.lax.stop_gradient(jnp.where(top == -jnp.inf, 0.0, top))

    prefixes = jax.lax.associative_scan(combine, steps)
    states, _ = normalized(prefixes[..., 0, :], add)
    # What each step adds, from the messages before it: a difference of totals would lose digits.
    before = jnp.concatenate([jnp.zeros((1, batch, size), states.dtype), states[:-1]])
    reached = add(before[..., None] + moves, -2)
    reached = jnp.where(chain.first[..., None], 0.0, reached) + chain.unary
    _, norm = normalized(reached, add)
    return Messages(states, jnp.where(chain.present, norm, 0.0))


def over_steps(transition: Array) -> Array:
    """Transitions of all steps, `(T or 1, B or 1, K, K)`."""
    if transition.ndim == 4:
        return transition
    return transition[None, None] if transition.ndim == 2 else transition[:, None]
