"""Advantages of actions from rewards and a value function, for policy gradients."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks


def generalized_advantages(
    rewards: Float[ArrayLike, "steps *batch"],
    values: Float[ArrayLike, "steps *batch"],
    next_values: Float[ArrayLike, "steps *batch"],
    discounts: Float[ArrayLike, "steps *batch"],
    ends: Bool[ArrayLike, "steps *batch"],
    *,
    trace: ArrayLike = 0.95,
) -> Float[Array, "steps *batch"]:
    """Generalized advantage estimates of rollouts that may hold several episodes.

    With temporal differences `d_t = r_t + g_t V(s'_t) - V(s_t)`, where `s'_t` is the state that the
    step leads to, `A_t = d_t + g_t trace A_{t+1}` within an episode and `A_t = d_t` in its last
    step. `A + V` is the target of the value function. An episode that ends in a terminal state has
    discount 0 there; one that is cut off by a time limit keeps its discount, and `V(s')` counts.

    Args:
      rewards: of each step.
      values: `V(s_t)`, of the states that the actions are taken in.
      next_values: `V(s'_t)`, before any reset.
      discounts: `g_t` of each step, 0 at a terminal state.
      ends: whether the episode ends with the step, for whichever reason.
      trace: `lambda` in [0, 1]: 0 for `d_t`, the least variance; 1 for the return minus `V`, no
        bias; may be traced.

    Returns:
      The advantages.

    Raises:
      TypeError: an argument is not real.
      ValueError: the shapes differ, there is no axis of steps, or `trace` is outside [0, 1].

    References:
      [Schulman2016] equation 16.

    Examples:
      >>> ones, ends = jnp.ones(3), jnp.array([False, True, False])
      >>> generalized_advantages(ones, 0 * ones, 0 * ones, 1.0 - ends, ends, trace=1.0).tolist()
      [2.0, 1.0, 1.0]
    """
    named = {
        "rewards": rewards,
        "values": values,
        "next_values": next_values,
        "discounts": discounts,
    }
    rewards, values, next_values, discounts = checks.floating_together(**named)
    ends = jnp.asarray(ends)
    shapes = {
        "values": values, "next_values": next_values, "discounts": discounts, "ends": ends
    }  # fmt: skip
    if rewards.ndim == 0 or any(value.shape != rewards.shape for value in shapes.values()):
        found = ", ".join(f"{name} {value.shape}" for name, value in shapes.items())
        raise ValueError(
            "rewards, values, next_values, discounts and ends must have one shape, with the steps "
            f"on axis 0; got rewards {rewards.shape}, {found}. Broadcast them first."
        )
    if ends.dtype != bool:
        raise TypeError(f"ends must be Booleans; got {ends.dtype}. Compare with 0, or cast them.")
    checks.require_values("trace", trace, lambda v: (v >= 0) & (v <= 1), "in [0, 1]", "Try 0.95.")
    differences = rewards + discounts * next_values - values
    kept = jnp.where(ends, 0.0, discounts * jnp.asarray(trace, rewards.dtype))

    def back(later: Array, step: tuple[Array, Array]) -> tuple[Array, Array]:
        difference, share = step
        advantage = difference + share * later
        return advantage, advantage

    _, advantages = jax.lax.scan(
        back, jnp.zeros_like(differences[0]), (differences, kept), reverse=True
    )
    return advantages
