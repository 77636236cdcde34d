"""Forward and backward messages as probabilities that are rescaled at each step.

One small matrix product a step, an order of magnitude faster than sums of exponentials, and exact
while no probability that matters leaves the range of the numbers; `is_safe` tells.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from igeojax.chains._chain import Chain
from igeojax.numerics.safe import log_at_zero


class Forward(NamedTuple):
    """What is known at each step of the states there from the steps up to it."""

    states: Float[Array, "T B K"]  # probabilities; all 0 once no path is left
    log_norm: Float[Array, "T B"]  # log of what each step multiplies the sum over paths by


FEW = 4096
"""Below so many products, `B K^2`, of at most `FEW_STATES` states, a step sums them itself."""

FEW_STATES = 32


def product(left: Array, matrix: Array) -> Array:
    """Row vectors `(B, K)` times one matrix or one each.

    A few products are one with the rest of a step, where the call of a matrix product costs more
    than all the others: measured 2 to 16 times the time of the whole scan.
    """
    # A caller's `vmap` is not seen: over 64 chains of 8 states sums take 2.6 times as long in all.
    # A rule for it would have to be differentiable in both modes, and such a `vmap`, which computes
    # the logarithms too, would still take 7 times as long as the 64 as a batch.
    batch, size = left.shape
    if batch * size * size < FEW and size <= FEW_STATES:
        each = matrix[None] if matrix.ndim == 2 else matrix
        return jnp.sum(left[:, :, None] * each, axis=1)
    return left @ matrix if matrix.ndim == 2 else (left[:, None, :] @ matrix)[:, 0]


def forward(chain: Chain) -> Forward:
    """Messages from the start, of a chain whose scores are shifted."""
    weights, moves = jnp.exp(chain.unary), jnp.exp(chain.transition)
    fixed = moves if chain.is_constant else None

    def step(alpha, now):
        weight, present, first, move = now
        reached = jnp.where(first, 1.0, product(alpha, move if fixed is None else fixed))
        mass = reached * weight
        total = jnp.sum(mass, axis=-1, keepdims=True)
        alpha = jnp.where(present, mass / jnp.where(total == 0, 1.0, total), alpha)
        return alpha, (alpha, total[:, 0])

    steps = (weights, chain.present[..., None], chain.first[..., None])
    begin = jnp.zeros_like(weights[0])
    _, (states, totals) = jax.lax.scan(step, begin, (*steps, None if chain.is_constant else moves))
    return Forward(states, jnp.where(chain.present, log_at_zero(totals), 0.0))


def backward(chain: Chain, messages: Forward) -> tuple[Array, Array]:
    """Ratios of the probability of each state given all steps to that given the steps before.

    Returns:
      Marginal probabilities `(T, B, K)`, and `right (T, B, K)`: the probability of a pair of
      neighbors is `messages.states[t - 1, i] * moves[i, j] * right[t, j]`.
    """
    weights, moves = jnp.exp(chain.unary), jnp.exp(chain.transition)
    fixed = moves.T if chain.is_constant else None
    # No pair leads into a state without mass; its message may overflow.
    weights = jnp.where(messages.states > 0, weights, 0.0)
    scale = jnp.where(chain.joined, jnp.exp(-messages.log_norm), 0.0)
    scale = jnp.where(messages.log_norm == -jnp.inf, 0.0, scale)[..., None]

    def step(beta, now):
        weight, joined, move = now
        right = weight * beta
        move = fixed if fixed is not None else jnp.swapaxes(move, -1, -2)
        return jnp.where(joined, product(right, move), beta), (beta, right)

    begin = jnp.ones_like(weights[0])
    _, (betas, right) = jax.lax.scan(
        step,
        begin,
        (weights * scale, chain.joined[..., None], None if chain.is_constant else moves),
        reverse=True,
    )
    states = messages.states * betas
    # A sum of 1, from which roundings drift away over 10^5 steps.
    total = jax.lax.stop_gradient(jnp.sum(states, axis=-1, keepdims=True))
    scale = jnp.where(chain.present[..., None], 1 / jnp.where(total == 0, 1.0, total), 0.0)
    return states * scale, right * scale


def is_always_safe(chain: Chain) -> Bool[Array, ""]:
    """Whether no message can lose a path that matters, as each state leads to each other one.

    A state that the messages have lost cannot come back by more than the span of the transitions.
    """
    return jnp.all(chain.transition > -jnp.inf) & (_span(chain) <= 0.6 * _room(chain))


def is_safe(chain: Chain, messages: Forward) -> Bool[Array, ""]:
    """Whether these messages have lost no path that matters.

    Where transitions are forbidden a lost state can come back by any amount, if all others meet a
    dead end: then no state that can be reached may have come near underflow.
    """
    room = _room(chain)
    held = lambda: ~_nears_underflow(chain, messages, jnp.exp(-0.7 * room))
    narrow = _span(chain) <= 0.25 * room
    return is_always_safe(chain) | jax.lax.cond(
        narrow & jnp.any(chain.transition == -jnp.inf), held, lambda: False
    )


def _room(chain: Chain) -> Array:
    """How far below 1 a probability can be, in nats."""
    return -jnp.log(jnp.finfo(chain.unary.dtype).tiny)


def _span(chain: Chain) -> Array:
    """Between the scores of the transitions that are allowed, of which the largest is 0."""
    allowed = chain.transition > -jnp.inf
    return jnp.max(jnp.where(allowed, -chain.transition, 0.0), initial=0.0)


def _nears_underflow(chain: Chain, messages: Forward, least: Array) -> Bool[Array, ""]:
    """Whether a state that some path leads to has less than that probability."""
    moves = (chain.transition > -jnp.inf).astype(chain.unary.dtype)
    fixed = moves if chain.is_constant else None

    def step(reach, now):
        possible, present, first, move = now
        reached = first | (product(reach, move if fixed is None else fixed) > 0)
        reach = jnp.where(present, (reached & possible).astype(reach.dtype), reach)
        return reach, reach > 0

    steps = (chain.unary > -jnp.inf, chain.present[..., None], chain.first[..., None])
    begin = jnp.zeros_like(chain.unary[0])
    _, reach = jax.lax.scan(step, begin, (*steps, None if chain.is_constant else moves))
    return jnp.any(reach & (messages.states < least))
