"""Advantages against sums over each episode, one step at a time."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.optim import generalized_advantages

STEPS, BATCH = 12, 3


def rollouts(seed: int) -> list[np.ndarray]:
    """Rewards, values, next values, discounts and ends of episodes that end and are cut off."""
    draw = np.random.default_rng(seed)
    rewards, values, next_values = draw.standard_normal((3, STEPS, BATCH))
    terminal, cut = draw.random((2, STEPS, BATCH)) < 0.2
    return [rewards, values, next_values, 0.9 * (1.0 - terminal), terminal | cut]


def by_sums(rewards, values, next_values, discounts, ends, trace):
    """`sum_k (g trace)^k d_{t+k}` of the rest of the episode."""
    found = np.zeros_like(rewards)
    for t, b in np.ndindex(STEPS, BATCH):
        weight = 1.0
        for k in range(t, STEPS):
            difference = rewards[k, b] + discounts[k, b] * next_values[k, b] - values[k, b]
            found[t, b] += weight * difference
            if ends[k, b]:
                break
            weight *= discounts[k, b] * trace
    return found


@pytest.mark.parametrize("trace", [0.0, 0.7, 1.0])
def test_they_are_discounted_sums_within_the_episode(trace):
    data = rollouts(0)
    found = jax.jit(generalized_advantages)(*data, trace=trace)
    np.testing.assert_allclose(found, by_sums(*data, trace), rtol=1e-12)
    one = generalized_advantages(*(v[:, 0] for v in data), trace=trace)
    np.testing.assert_allclose(one, found[:, 0], rtol=1e-12)


def test_without_bias_they_are_returns_minus_values():
    rewards, values = np.random.default_rng(1).standard_normal((2, STEPS))
    next_values = np.append(values[1:], 123.0)  # of the terminal state: its discount is 0
    ends = np.arange(STEPS) == STEPS - 1
    found = generalized_advantages(rewards, values, next_values, 1.0 - ends, ends, trace=1.0)
    np.testing.assert_allclose(found + values, np.cumsum(rewards[::-1])[::-1], rtol=1e-12)


def test_float32_stays_and_bad_input_is_told():
    rewards, values, next_values, discounts, ends = rollouts(2)
    single = [jnp.asarray(v, jnp.float32) for v in (rewards, values, next_values, discounts)]
    assert generalized_advantages(*single, ends).dtype == jnp.float32
    with pytest.raises(ValueError, match="must have one shape, with the steps on axis 0"):
        generalized_advantages(rewards, values[:-1], next_values, discounts, ends)
    with pytest.raises(TypeError, match="ends must be Booleans"):
        generalized_advantages(rewards, values, next_values, discounts, 1.0 * ends)
    with pytest.raises(ValueError, match="trace"):
        generalized_advantages(rewards, values, next_values, discounts, ends, trace=1.5)
