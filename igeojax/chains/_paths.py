"""Single paths: their scores, and the way back along messages that finds the best or draws some."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from igeojax.chains._chain import Chain

NO_STATE = -1
"""The state of a step that is absent, and of all steps where no path is possible."""


def traced_back(chain: Chain, messages: Float[Array, "T B K"]) -> Int[Array, "T B"]:
    """The states that maximize message plus transition, from the last step to the first.

    From messages of the best paths this is the best path; from those of the sum over paths with
    Gumbel noise added, a draw from their law. Only the scores of the moves into one state are
    formed at each step.
    """

    def step(after, now):
        before, present, joined, move = now
        into = moves_into(chain.transition if move is None else move, after[:, None])[:, 0]
        chosen = _first_argmax(before + into)
        return jnp.where(joined, chosen, after), jnp.where(present, after, NO_STATE)

    before = jnp.concatenate([jnp.zeros_like(messages[:1]), messages[:-1]])
    last = _first_argmax(messages[-1])
    steps = (before, chain.present, chain.joined, chain.varying)
    return jax.lax.scan(step, last, steps, reverse=True)[1]


def _first_argmax(scores: Array) -> Array:
    """`jnp.argmax` of the last axis by two plain reductions, which a CPU does twice as fast."""
    best = jnp.max(scores, axis=-1, keepdims=True)
    index = jax.lax.broadcasted_iota(jnp.int32, scores.shape, scores.ndim - 1)
    return jnp.min(jnp.where(scores == best, index, scores.shape[-1] - 1), axis=-1)


def moves_into(transition: Array, states: Int[Array, "B n"]) -> Float[Array, "B n K"]:
    """Scores of the moves from each state into these."""
    columns = jnp.swapaxes(transition, -1, -2)
    if columns.ndim == 2:
        return columns[states]
    return jnp.take_along_axis(columns, states[..., None], axis=1)


def step_scores(chain: Chain, states: Int[Array, "T B"]) -> Float[Array, "T B"]:
    """What each step adds to the score of a path; states at absent steps are not read."""
    states = jnp.where(chain.present, states, 0)
    here = jnp.take_along_axis(chain.unary, states[..., None], axis=-1)[..., 0]
    before = states_before(chain, states)
    if chain.is_constant:
        moved = chain.transition[before, states]
    elif chain.transition.ndim == 3:
        moved = chain.transition[jnp.arange(len(states))[:, None], before, states]
    else:
        steps, chains = jnp.indices(states.shape)
        moved = chain.transition[steps, chains, before, states]
    return jnp.where(chain.present, here, 0.0) + jnp.where(chain.joined, moved, 0.0)


def states_before(chain: Chain, states: Int[Array, "T B"]) -> Int[Array, "T B"]:
    """The state at the last step before each that is present, and any where there is none."""
    found = held(states, chain.present)
    return jnp.concatenate([jnp.zeros_like(found[:1]), found[:-1]])


def held(states: Int[Array, "T B"], present: Bool[Array, "T B"]) -> Int[Array, "T B"]:
    """The state at the last step up to each that is present, and any where there is none."""
    index = jnp.where(present, jax.lax.broadcasted_iota(states.dtype, states.shape, 0), 0)
    return jnp.take_along_axis(states, jax.lax.cummax(index, axis=0), axis=0)
