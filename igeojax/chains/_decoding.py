"""The best path, the best few and random ones, by messages and the way back along them.

Compiled, as the loops would be anew at each call outside of `jit`.
"""

from functools import partial

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax.chains._chain import Chain
from igeojax.chains._paths import NO_STATE, moves_into, step_scores, traced_back
from igeojax.chains._semiring import log_add, max_add, messages


def path_score(chain: Chain, states: Int[Array, "T B"]) -> Float[Array, " B"]:
    """Score of a path, -inf if its states are `NO_STATE` where a step is present."""
    lost = jnp.any(chain.present & (states == NO_STATE), axis=0)
    shifted, shifts = chain.shifted()
    steps = jnp.where(lost, -jnp.inf, step_scores(shifted, jnp.maximum(states, 0)))
    # Each step by itself before the sum: so it keeps its digits where chains are long.
    return jnp.where(lost, -jnp.inf, jnp.sum(steps + shifts, axis=0))


@jax.jit
def best(chain: Chain) -> tuple[Int[Array, "T B"], Float[Array, " B"]]:
    """The path of the highest score, the first in the order of states of the last step on."""
    shifted, _ = chain.shifted()
    found = messages(shifted, max_add)
    states = traced_back(shifted, found.states)
    dead = jnp.any(found.log_norm == -jnp.inf, axis=0)
    states = jnp.where(dead, NO_STATE, states)
    return states, path_score(chain, states)


@partial(jax.jit, static_argnames=("count",))
def drawn(key: Array, chain: Chain, count: int) -> Int[Array, "count T B"]:
    """Independent paths from their law."""
    shifted, _ = chain.shifted()
    found = messages(shifted, log_add)
    dead = jnp.any(found.log_norm == -jnp.inf, axis=0)

    def one(key: Array) -> Array:
        # In float32 a uniform number of 24 bits would cut the tail of the noise.
        noise = jax.random.gumbel(key, found.states.shape, found.states.dtype, mode="high")
        return jnp.where(dead, NO_STATE, traced_back(shifted, found.states + noise))

    return jax.lax.map(one, jax.random.split(key, count))


@partial(jax.jit, static_argnames=("count",))
def best_few(chain: Chain, count: int) -> tuple[Int[Array, "count T B"], Float[Array, "count B"]]:
    """Different paths of the highest scores, best first; `NO_STATE` and -inf where there are fewer.

    As `best`, over pairs of a state and a rank among the paths that end in it.
    """
    shifted, _ = chain.shifted()
    batch, size = shifted.unary.shape[1:]

    def step(states, now):
        unary, present, first, move = now
        # [b, j, i, rank], the candidates in the order in which the way back looks them up.
        scores = states[:, None] + jnp.swapaxes(shifted.at_step(move), -1, -2)[..., None]
        reached, _ = jax.lax.top_k(scores.reshape((batch, size, -1)), count)
        reached = jnp.where(first, begin_ranks, reached) + unary[..., None]
        top = jnp.max(reached, axis=(1, 2), keepdims=True)
        following = reached - jnp.where(top == -jnp.inf, 0.0, top)
        states = jnp.where(present, following, states)
        return states, states

    begin_ranks = jnp.where(jnp.arange(count) < 1, 0.0, -jnp.inf)[None, None]
    at = lambda flags: flags[..., None, None]
    begin = jnp.zeros((batch, size, count), shifted.unary.dtype)
    steps = (shifted.unary, at(chain.present), at(chain.first), shifted.varying)
    _, found = jax.lax.scan(step, begin, steps)

    def back(after, now):
        state, rank = after  # (B, count)
        before, present, joined, move = now
        into = moves_into(shifted.transition if move is None else move, state)
        scores = before[:, None] + into[..., None]
        _, order = jax.lax.top_k(scores.reshape((batch, count, -1)), count)
        chosen = jnp.take_along_axis(order, rank[..., None], axis=-1)[..., 0]
        previous = (
            jnp.where(joined, chosen // count, state),
            jnp.where(joined, chosen % count, rank),
        )
        return previous, jnp.where(present, state, NO_STATE)

    scores, order = jax.lax.top_k(found[-1].reshape((batch, -1)), count)
    before = jnp.concatenate([begin[None], found[:-1]])
    flags = (chain.present[..., None], chain.joined[..., None])
    last = order // count, order % count
    _, states = jax.lax.scan(back, last, (before, *flags, shifted.varying), reverse=True)
    # An empty chain has one path; `begin` would count one for each state and rank.
    empty = ~jnp.any(chain.present, axis=0)[:, None]
    scores = jnp.where(empty, begin_ranks[0], scores)
    states = jnp.where(scores == -jnp.inf, NO_STATE, states)
    states = jnp.moveaxis(states, -1, 0)
    values = jax.vmap(lambda path: path_score(chain, path))(states)
    return states, jnp.where(-jnp.inf == scores.T, -jnp.inf, values)
