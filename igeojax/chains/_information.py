"""Entropy and divergence of laws over paths, as expectations of those of one state given the next.

The law of a path is that of its last state times those of each state given the one after it, which
the messages of the sum over paths give. So `E_t[j]`, the expectation over the states before `t`
given `j` there, takes a step by itself: the expectation semiring over conditional laws.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.chains._chain import Chain
from igeojax.chains._semiring import log_add, messages
from igeojax.discrete.relative_entropy import entropy_from_logits
from igeojax.discrete.softmax import softmax
from igeojax.divergences.simplex.relative_entropy import kl as simplex_kl


def entropy(chain: Chain) -> Float[Array, " B"]:
    """Of a chain whose scores are shifted."""

    def gathered(scores, before):
        (scores,) = scores
        return entropy_from_logits(scores) + jnp.sum(softmax(scores) * before, axis=-1)

    return _along((chain,), gathered, jnp.zeros_like(chain.unary[0]))


def kl(chain: Chain, other: Chain) -> Float[Array, " B"]:
    """Of two chains whose scores are shifted."""

    def gathered(scores, before):
        p, q = scores
        value, lost = before
        allowed = p > -jnp.inf
        lost = jnp.any(allowed & (lost | (q == -jnp.inf)), axis=-1)
        # Rows that do not count get equal laws, so that nothing of theirs comes back as nan.
        off = (lost | ~jnp.any(allowed, axis=-1))[..., None]
        p, q = jnp.where(off, 0.0, p), jnp.where(off, 0.0, q)
        here = simplex_kl(p, q, logits=True)
        return here + jnp.sum(softmax(p) * value, axis=-1), lost

    begin = jnp.zeros_like(chain.unary[0])
    value, lost = _along((chain, other), gathered, (begin, jnp.zeros(begin.shape, bool)))
    possible = jnp.all(messages(chain, log_add).log_norm > -jnp.inf, axis=0)
    return jnp.where(possible, jnp.where(lost, jnp.inf, value), jnp.nan)


def _along(chains: tuple[Chain, ...], gathered: Callable[..., Any], begin: Any) -> Any:
    """Fold `gathered(scores, before)` over the steps.

    `scores` are those of the states before, `(..., I)`, for each state after; `before` is what was
    gathered for the states before, and broadcasts with them. The last fold is over the last state.
    """
    chain = chains[0]
    found = [messages(each, log_add).states for each in chains]
    rows = lambda tree: jax.tree.map(lambda leaf: leaf[:, None, :], tree)

    def step(before, now):
        states, moves, joined = now
        scores = []
        for each, state, move in zip(chains, states, moves, strict=True):
            matrix = each.transition if move is None else move
            matrix = matrix[None] if matrix.ndim == 2 else matrix
            scores.append(state[:, None, :] + jnp.swapaxes(matrix, -1, -2))
        after = gathered(tuple(scores), rows(before))
        return jax.tree.map(lambda new, old: jnp.where(joined, new, old), after, before), None

    ahead = [jnp.concatenate([state[:1], state[:-1]]) for state in found]
    moves = [None if each.is_constant else each.transition for each in chains]
    total, _ = jax.lax.scan(step, begin, (ahead, moves, chain.joined[..., None]))
    law = gathered(tuple(state[-1] for state in found), total)
    some = jnp.any(chain.present, axis=0)  # an empty chain has one path, and nothing to gather
    return jax.tree.map(lambda leaf: jnp.where(some, leaf, jnp.zeros_like(leaf)), law)
