"""The law over paths `p(y) = exp(score(y)) / Z`: log-partition, and marginals, its gradient.

In probabilities where these are safe, in logarithms otherwise. All but `log_partition` and
`log_prob` read a chain whose scores are shifted.

Compiled, as the loops would be anew at each call outside of `jit`.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax.chains import _scaled
from igeojax.chains._chain import Chain
from igeojax.chains._paths import held, moves_into, states_before, step_scores
from igeojax.chains._scaled import Forward
from igeojax.chains._semiring import (
    Messages,
    by_associative_scan,
    by_device,
    by_scan,
    log_add,
    over_steps,
)
from igeojax.discrete.softmax import softmax


class Posterior(NamedTuple):
    """Probabilities of states and of pairs of neighbors, all 0 where no path is possible.

    The pair of the states `i` before and `j` at step `t` has probability
    `filtered[t - 1, i] exp(transition[t, i, j]) right[t, j] + pairs[t, i, j]`: of the two parts one
    is 0. With one transition matrix `pairs` is summed over the steps.
    """

    log_norm: Float[Array, "T B"]
    filtered: Float[Array, "T B K"]
    states: Float[Array, "T B K"]
    right: Float[Array, "T B K"]
    pairs: Float[Array, "*steps B K K"]


@jax.jit
def filtered(chain: Chain) -> Forward:
    """Probabilities of the states given the steps up to each, and what each adds to log Z."""

    def checked(chain: Chain) -> Forward:
        found = _scaled.forward(chain)
        slow = lambda: _exponentials(by_scan(chain, log_add))
        return jax.lax.cond(_scaled.is_safe(chain, found), lambda: found, slow)

    def sequential(chain: Chain) -> Forward:
        # Twice in the program: a result that leaves a `cond` unchanged is copied.
        return jax.lax.cond(_scaled.is_always_safe(chain), _scaled.forward, checked, chain)

    return by_device(
        chain, sequential, lambda chain: _exponentials(by_associative_scan(chain, log_add))
    )


@jax.jit
def posterior(chain: Chain) -> Posterior:
    """Probabilities of states and pairs given all steps."""

    def sequential(chain: Chain) -> Posterior:
        ahead = _scaled.forward(chain)
        return jax.lax.cond(
            _scaled.is_safe(chain, ahead), lambda: _fast(chain, ahead), lambda: _by_scan(chain)
        )

    return by_device(chain, sequential, _by_associative_scan)


@jax.jit
def log_partition(chain: Chain) -> Float[Array, " B"]:
    """`log Z`; -inf where no path is possible, 0 where no step is present."""
    return _log_partition(chain)


@jax.custom_jvp
def _log_partition(chain: Chain) -> Array:
    shifted, shifts = chain.shifted()
    return jnp.sum(filtered(shifted).log_norm + shifts, axis=0)


@_log_partition.defjvp
def _log_partition_jvp(primals, tangents):
    (chain,), (tangent,) = primals, tangents
    shifted, shifts = chain.shifted()
    found = posterior(shifted)
    return jnp.sum(found.log_norm + shifts, axis=0), expected_score(shifted, found, tangent)


@jax.jit
def log_prob(chain: Chain, states: Int[Array, "T B"]) -> Float[Array, " B"]:
    """Log-probability of a path; -inf, and derivative 0, where it is impossible."""
    return _log_prob(chain, states)


@jax.custom_jvp
def _log_prob(chain: Chain, states: Array) -> Array:
    shifted, _ = chain.shifted()
    ahead = filtered(shifted)
    return _log_prob_from(shifted, ahead.log_norm, ahead.states, states)


@_log_prob.defjvp
def _log_prob_jvp(primals, tangents):
    (chain, states), (tangent, _) = primals, tangents
    shifted, _ = chain.shifted()
    found = posterior(shifted)
    value = _log_prob_from(shifted, found.log_norm, found.filtered, states)
    scores = chain._replace(unary=tangent.unary, transition=tangent.transition)
    gained = jnp.sum(step_scores(scores, states), axis=0)
    change = gained - expected_score(shifted, found, tangent)
    return value, jnp.where(value == -jnp.inf, 0.0, change)


def _log_prob_from(chain: Chain, log_norm: Array, filtered: Array, states: Array) -> Array:
    """Of a path in a chain whose scores are shifted.

    Near certainty the product of the probabilities of each state given the next one, by their
    complements; elsewhere these may underflow, and the sum of differences does not.
    """
    steps = step_scores(chain, states)
    lost = jnp.any((steps == -jnp.inf) | (log_norm == -jnp.inf), axis=0)
    value = jnp.sum(jnp.where(lost, 0.0, steps - log_norm), axis=0)

    near = ~lost & (value > -1)
    certain = lambda: _log_prob_of_likely(chain, filtered, states)
    exact = jax.lax.cond(jnp.any(near), certain, lambda: jnp.full_like(value, jnp.nan))
    value = jnp.where(near & jnp.isfinite(exact), exact, jnp.minimum(value, 0.0))
    return jnp.where(lost, -jnp.inf, value)


def _log_prob_of_likely(chain: Chain, filtered: Array, states: Array) -> Array:
    """By the complements of the probabilities of each state given the next; nan at underflow."""
    states, before = jnp.where(chain.present, states, 0), states_before(chain, states)
    if chain.is_constant:
        into = chain.transition.T[states]
    else:
        into = jax.vmap(lambda move, state: moves_into(move, state[:, None])[:, 0])(
            chain.transition, states
        )
    odds = _odds(_before(filtered) * jnp.exp(into), before)
    last = _odds(filtered[-1], held(states, chain.present)[-1])
    total = jnp.sum(jnp.log1p(jnp.where(chain.joined, odds, 0.0)), axis=0)
    return -total - jnp.log1p(jnp.where(jnp.any(chain.present, axis=0), last, 0.0))


def _odds(weights: Array, chosen: Array) -> Array:
    """Sum of all weights but one over that one, on the last axis; nan where it is 0."""
    chosen = chosen[..., None]
    position = jax.lax.broadcasted_iota(chosen.dtype, weights.shape, weights.ndim - 1)
    others = jnp.sum(jnp.where(position == chosen, 0.0, weights), axis=-1)
    one = jnp.take_along_axis(weights, chosen, axis=-1)[..., 0]
    return others / jnp.where(one == 0, jnp.nan, one)


def expected_score(chain: Chain, law: Posterior, scores: Chain) -> Float[Array, " B"]:
    """Mean score of a path under other scores, linear in these; forbidden ones count 0."""
    unary = jnp.where(chain.unary == -jnp.inf, 0.0, scores.unary)
    transition = jnp.where(chain.transition == -jnp.inf, 0.0, scores.transition)
    moved = _product(_before(law.filtered), jnp.exp(chain.transition) * transition)
    expanded = transition[None] if chain.is_constant else over_steps(transition)
    rest = jnp.sum(law.pairs * expanded, axis=(-2, -1))
    return jnp.sum(law.states * unary + moved * law.right, axis=(0, 2)) + (
        rest if chain.is_constant else jnp.sum(rest, axis=0)
    )


@jax.jit
def expected_transitions(chain: Chain, law: Posterior) -> Float[Array, "*steps B K K"]:
    """Mean number of moves from `i` to `j`, at each step where transitions vary."""
    if chain.is_constant:
        moved = jnp.einsum("tbi,tbj->bij", _before(law.filtered), law.right)
        return moved * jnp.exp(chain.transition)[None] + law.pairs
    moves = jnp.exp(over_steps(chain.transition))
    return _before(law.filtered)[..., None] * moves * law.right[..., None, :] + law.pairs


def _exponentials(found: Messages) -> Forward:
    return Forward(jnp.exp(found.states), found.log_norm)


def _product(left: Array, matrices: Array) -> Array:
    """Row vectors of all steps times the matrices of the steps."""
    if matrices.ndim == 2:
        return left @ matrices
    return jnp.einsum("tbi,tbij->tbj" if matrices.ndim == 4 else "tbi,tij->tbj", left, matrices)


def _fast(chain: Chain, ahead: Forward) -> Posterior:
    """From probabilities."""
    states, right = _scaled.backward(chain, ahead)
    _, batch, size = states.shape
    steps = () if chain.is_constant else states.shape[:1]
    nothing = jnp.zeros((*steps, batch, size, size), states.dtype)
    return Posterior(ahead.log_norm, ahead.states, states, right, nothing)


def _before(states: Array) -> Array:
    """The messages of the step before each."""
    return jnp.concatenate([jnp.zeros_like(states[:1]), states[:-1]])


def _by_scan(chain: Chain) -> Posterior:
    """From logarithms: each step weighs the states before by their law given the state after."""
    found = by_scan(chain, log_add)

    def step(carry, now):
        after, count = carry
        before, present, joined, move = now
        pairs = softmax(before[:, :, None] + chain.at_step(move), axis=-2) * after[:, None, :]
        pairs = jnp.where(joined[..., None], pairs, 0.0)
        states = jnp.where(present, after, 0.0)
        after = jnp.where(joined, jnp.sum(pairs, axis=-1), after)
        return (after, count + pairs), (states,) if chain.is_constant else (states, pairs)

    last = softmax(found.states[-1])
    count = jnp.zeros((*last.shape, last.shape[-1]), last.dtype)
    flags = chain.present[..., None], chain.joined[..., None]
    steps = (_before(found.states), *flags, chain.varying)
    (_, count), (states, *varying) = jax.lax.scan(step, (last, count), steps, reverse=True)
    return Posterior(
        found.log_norm,
        jnp.exp(found.states),
        states,
        jnp.zeros_like(states),
        varying[0] if varying else count,
    )


def _by_associative_scan(chain: Chain) -> Posterior:
    """The same with all products of the laws of the states before at once."""
    found = by_associative_scan(chain, log_add)
    size = chain.unary.shape[-1]
    joined = chain.joined[..., None, None]
    scores = _before(found.states)[..., None] + over_steps(chain.transition)
    identity = jnp.eye(size, dtype=scores.dtype)[None, None]
    laws = jnp.where(joined, softmax(scores, axis=-2), identity)
    # [i, j]: the law of the state before step t, given the one at the last step.
    products = jax.lax.associative_scan(lambda right, left: left @ right, laws, reverse=True)
    last = softmax(found.states[-1])
    ahead = jnp.concatenate([products[1:], jnp.broadcast_to(identity, products[:1].shape)])
    after = jnp.einsum("tbij,bj->tbi", ahead, last)
    pairs = jnp.where(joined, laws * after[..., None, :], 0.0)
    return Posterior(
        found.log_norm,
        jnp.exp(found.states),
        jnp.where(chain.present[..., None], after, 0.0),
        jnp.zeros_like(after),
        jnp.sum(pairs, axis=0) if chain.is_constant else pairs,
    )
