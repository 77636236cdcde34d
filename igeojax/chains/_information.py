"""Entropy and divergence of laws over paths, as expectations of those of one state given the next.

The law of a path is that of its last state times those of each state given the one after it, which
the messages of the sum over paths give. From the last step to the first, the law of the state after
weighs what each of its states adds: the expectation semiring over conditional laws.

Compiled, as the loops would be anew at each call outside of `jit`.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from igeojax.chains._chain import Chain
from igeojax.chains._semiring import log_add, messages
from igeojax.discrete.relative_entropy import entropy_from_logits
from igeojax.discrete.softmax import softmax
from igeojax.divergences.simplex.relative_entropy import kl as simplex_kl


@jax.jit
def entropy(chain: Chain) -> Float[Array, " B"]:
    """Of a chain whose scores are shifted."""
    terms, *_ = _terms((chain,), entropy_from_logits)
    return jnp.sum(terms, axis=0)


@jax.jit
def kl(chain: Chain, other: Chain) -> Float[Array, " B"]:
    """Of two chains whose scores are shifted; nan where the first has no path."""

    def divergence(p: Array, q: Array) -> Array:
        # Rows that do not count get equal laws, so that nothing of theirs comes back as nan.
        off = jnp.any((p > -jnp.inf) & (q == -jnp.inf), axis=-1) | jnp.all(p == -jnp.inf, axis=-1)
        blank = lambda scores: jnp.where(off[..., None], 0.0, scores)
        return simplex_kl(blank(p), blank(q), logits=True)

    terms, lost, possible = _terms((chain, other), divergence)
    value = jnp.where(jnp.any(lost, axis=0), jnp.inf, jnp.sum(terms, axis=0))
    return jnp.where(possible, value, jnp.nan)


def _terms(
    chains: tuple[Chain, ...], function: Callable[..., Array]
) -> tuple[Float[Array, "T+1 B"], Bool[Array, "T+1 B"], Bool[Array, " B"]]:
    """What each step adds, whether the first chain has paths there that the last forbids, if any.

    `function` takes the scores of the states before, on the last axis, for each state after.
    """
    chain = chains[0]
    found = [messages(each, log_add).states for each in chains]

    def step(carry, now):
        after, alive = carry
        states, moves, joined = now
        scores = []
        for each, state, move in zip(chains, states, moves, strict=True):
            scores.append(state[:, None, :] + jnp.swapaxes(each.at_step(move), -1, -2))
        term = jnp.sum(after * function(*scores), axis=-1)
        lost = jnp.any(alive[..., None] & _forbidden(scores), axis=(1, 2))
        law = jnp.sum(after[..., None] * softmax(scores[0]), axis=1)
        leads = jnp.any(alive[..., None] & (scores[0] > -jnp.inf), axis=1)
        carry = jnp.where(joined, law, after), jnp.where(joined, leads, alive)
        return carry, (jnp.where(joined[:, 0], term, 0.0), joined[:, 0] & lost)

    # An empty chain has one path, and nothing to add.
    some = jnp.any(chain.present, axis=0)
    last = [jnp.where(some[:, None], state[-1], 0.0) for state in found]
    ahead = [jnp.concatenate([state[:1], state[:-1]]) for state in found]
    moves = [each.varying for each in chains]
    begin = softmax(last[0]), last[0] > -jnp.inf
    _, (terms, lost) = jax.lax.scan(
        step, begin, (ahead, moves, chain.joined[..., None]), reverse=True
    )
    ending = jnp.where(some, function(*last), 0.0)
    terms = jnp.concatenate([terms, ending[None]])
    lost = jnp.concatenate([lost, jnp.any(_forbidden(last), axis=-1)[None]])
    return terms, lost, jnp.any(last[0] > -jnp.inf, axis=-1)


def _forbidden(scores: list[Array]) -> Array:
    """Where the first scores allow and the last ones do not."""
    return (scores[0] > -jnp.inf) & (scores[-1] == -jnp.inf)
