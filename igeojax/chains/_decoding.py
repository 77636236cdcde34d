"""The best path, the best few and random ones, by messages and the way back along them."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax.chains._chain import Chain
from igeojax.chains._paths import NO_STATE, step_scores, traced_back
from igeojax.chains._semiring import log_add, max_add, messages, normalized


def path_score(chain: Chain, states: Int[Array, "T B"]) -> Float[Array, " B"]:
    """Score of a path, -inf if its states are `NO_STATE` where a step is present."""
    lost = jnp.any(chain.present & (states == NO_STATE), axis=0)
    shifted, shifts = chain.shifted()
    steps = jnp.where(lost, -jnp.inf, step_scores(shifted, jnp.maximum(states, 0)))
    # Each step by itself before the sum: so it keeps its digits where chains are long.
    return jnp.where(lost, -jnp.inf, jnp.sum(steps + shifts, axis=0))


def best(chain: Chain) -> tuple[Int[Array, "T B"], Float[Array, " B"]]:
    """The path of the highest score, the first in the order of states of the last step on."""
    shifted, _ = chain.shifted()
    found = messages(shifted, max_add)
    states = traced_back(shifted, found.states)
    dead = jnp.any(found.log_norm == -jnp.inf, axis=0)
    states = jnp.where(dead, NO_STATE, states)
    return states, path_score(chain, states)


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
