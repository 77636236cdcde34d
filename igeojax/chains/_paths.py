"""Single paths: their scores, and the way back along messages that finds the best or draws some."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax.chains._chain import Chain

NO_STATE = -1
"""The state of a step that is absent, and of all steps where no path is possible."""


def traced_back(chain: Chain, messages: Float[Array, "T B K"]) -> Int[Array, "T B"]:
    """The states that maximize message plus transition, from the last step to the first.

    From messages of the best paths this is the best path; from those of the sum over paths with
    Gumbel noise added, a draw from their law. Only the scores of the moves into one state are
    formed at each step.
    """
    fixed = chain.transition.T if chain.is_constant else None

    def step(after, now):
        before, present, joined, move = now
        if fixed is not None:
            into = fixed[after]
        elif move.ndim == 2:
            into = move.T[after]
        else:
            into = jnp.take_along_axis(move, after[:, None, None], axis=2)[..., 0]
        chosen = jnp.argmax(before + into, axis=-1)
        return jnp.where(joined, chosen, after), jnp.where(present, after, NO_STATE)

    before = jnp.concatenate([jnp.zeros_like(messages[:1]), messages[:-1]])
    moves = None if chain.is_constant else chain.transition
    last = jnp.argmax(messages[-1], axis=-1)
    steps = (before, chain.present, chain.joined, moves)
    return jax.lax.scan(step, last, steps, reverse=True)[1]


def step_scores(chain: Chain, states: Int[Array, "T B"]) -> Float[Array, "T B"]:
    """What each step adds to the score of a path; states at absent steps are not read."""
    states = jnp.where(chain.present, states, 0)
    here = jnp.take_along_axis(chain.unary, states[..., None], axis=-1)[..., 0]
    # The state at the step that is present before each.
    before = _held(states, chain.present)
    if chain.is_constant:
        moved = chain.transition[before, states]
    elif chain.transition.ndim == 3:
        moved = chain.transition[jnp.arange(len(states))[:, None], before, states]
    else:
        steps, chains = jnp.indices(states.shape)
        moved = chain.transition[steps, chains, before, states]
    return jnp.where(chain.present, here, 0.0) + jnp.where(chain.joined, moved, 0.0)


def _held(states: Array, present: Array) -> Array:
    """The state at the last step before each that is present, and 0 where there is none."""
    index = jnp.where(present, jax.lax.broadcasted_iota(states.dtype, states.shape, 0), 0)
    latest = jax.lax.cummax(index, axis=0)
    latest = jnp.concatenate([jnp.zeros_like(latest[:1]), latest[:-1]])
    return jnp.take_along_axis(states, latest, axis=0)
