"""Hidden Markov models: inference from log-likelihoods of the observations given the states.

A model is three arrays in nats: `log_initial (K,)`, `log_transition (K, K)`, whose rows are laws of
the next state, and `log_emission (*batch, T, K)`, the log-likelihood of each observation under each
state, of any emission. A *missing* observation is a row of zeros: time passes, and nothing is seen.
Padding is something else: `length`, or a `mask` that is False, takes the step out of the chain.

The expected counts of Baum-Welch are in `smooth`; summed over chains with weights, they are also
the gradient of `sum(weights * log_likelihood(...))` in `log_initial` and `log_transition`, and the
posterior probabilities times the weights that in `log_emission`, at the cost of one pass.
"""

from functools import partial
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks
from igeojax.chains import _posterior
from igeojax.chains._chain import Chain, batch_first, chain_of
from igeojax.chains._decoding import best, drawn


class Filtered(NamedTuple):
    """What is known of the state at each step from the observations up to it."""

    log_likelihood: Float[Array, "*batch"]
    states: Float[Array, "*batch T K"]


class Smoothed(NamedTuple):
    """What is known of the states from all observations; all 0 where they are impossible."""

    log_likelihood: Float[Array, "*batch"]
    states: Float[Array, "*batch T K"]
    transitions: Float[Array, "*batch K K"]
    initial: Float[Array, "*batch K"]


class Path(NamedTuple):
    """The most likely states, -1 where there are none, and their joint log-density, in nats."""

    states: Int[Array, "*batch T"]
    log_density: Float[Array, "*batch"]


def log_likelihood(
    log_initial: Float[ArrayLike, " K"],
    log_transition: Float[ArrayLike, "K K"],
    log_emission: Float[ArrayLike, "*batch T K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
) -> Float[Array, "*batch"]:
    """Log-density of the observations, the sum over all paths of states.

    Its gradients are the expected counts that Baum-Welch needs. `O(T K^2)`.

    Args:
      log_initial: log-probabilities of the first state; `-inf` forbids.
      log_transition: `[i, j]` is the log-probability of `j` after `i`, constant or one matrix for
        each pair of neighbors, `(T - 1, K, K)`; `-inf` forbids.
      log_emission: log-likelihoods of the observations given the states; a row of zeros for a
        missing one.
      length: number of steps of each chain, the rest is padding.
      mask: False where there is padding, at any place; in the stead of `length`.

    Returns:
      Values in nats; `-inf` where no path is possible, 0 for an empty chain.

    Raises:
      TypeError: an argument is of another kind.
      ValueError: shapes do not fit, or concrete log-probabilities do not sum to one.

    References:
      [Rabiner1989] equation (21).

    Examples:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> seen = jnp.log(jnp.array([[0.5, 0.1], [0.5, 0.1]]))
      >>> round(float(jnp.exp(log_likelihood(half[0], half, seen))), 6)
      0.09
    """
    chain, shape = _model(log_initial, log_transition, log_emission, length, mask)
    return _posterior.log_partition(chain).reshape(shape[:-1])


def filter(
    log_initial: Float[ArrayLike, " K"],
    log_transition: Float[ArrayLike, "K K"],
    log_emission: Float[ArrayLike, "*batch T K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
) -> Filtered:
    """Law of each state given the observations up to it, and the log-likelihood.

    Args:
      log_initial: as in `log_likelihood`.
      log_transition: as in `log_likelihood`.
      log_emission: as in `log_likelihood`.
      length: as in `log_likelihood`.
      mask: as in `log_likelihood`.

    Returns:
      Log-likelihood in nats and probabilities `p(z_t | x_1..x_t)`, 0 at padding and from the first
      impossible observation on.

    Raises:
      TypeError: as `log_likelihood`.
      ValueError: as `log_likelihood`.

    References:
      [Rabiner1989] equations (19)-(20), scaled as in its section V.A.

    Examples:
      >>> half = jnp.log(jnp.full((2, 2), 0.5))
      >>> seen = jnp.log(jnp.array([[0.3, 0.1], [0.1, 0.1]]))
      >>> [round(p, 4) for p in filter(half[0], half, seen).states[:, 0].tolist()]
      [0.75, 0.5]
    """
    chain, shape = _model(log_initial, log_transition, log_emission, length, mask)
    shifted, shifts = chain.shifted()
    found = _posterior.filtered(shifted)
    total = jnp.sum(found.log_norm + shifts, axis=0)
    states = jnp.where(chain.present[..., None], found.states, 0.0)
    return Filtered(total.reshape(shape[:-1]), batch_first(states, shape))


def smooth(
    log_initial: Float[ArrayLike, " K"],
    log_transition: Float[ArrayLike, "K K"],
    log_emission: Float[ArrayLike, "*batch T K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
) -> Smoothed:
    """Law of each state given all observations, and expected counts of transitions.

    Forward-backward: the expectation step of Baum-Welch.

    Args:
      log_initial: as in `log_likelihood`.
      log_transition: as in `log_likelihood`.
      log_emission: as in `log_likelihood`.
      length: as in `log_likelihood`.
      mask: as in `log_likelihood`.

    Returns:
      Log-likelihood in nats; probabilities `p(z_t | x)`, 0 at padding; the expected number of
      moves from `i` to `j` in each chain, or `(*batch, T - 1, K, K)` where transitions vary over
      time; the law of the first state of each.

    Raises:
      TypeError: as `log_likelihood`.
      ValueError: as `log_likelihood`.

    References:
      [Rabiner1989] equations (27) and (37).

    Examples:
      >>> stay = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> seen = jnp.array([[0.0, -jnp.inf], [0.0, 0.0], [0.0, -jnp.inf]])
      >>> [round(p, 4) for p in smooth(jnp.log(jnp.full(2, 0.5)), stay, seen).states[1].tolist()]
      [0.9878, 0.0122]
    """
    chain, shape = _model(log_initial, log_transition, log_emission, length, mask)
    shifted, shifts = chain.shifted()
    found = _posterior.posterior(shifted)
    total = jnp.sum(found.log_norm + shifts, axis=0)
    counts = _posterior.expected_transitions(shifted, found)
    batch, steps = shape[:-1], max(shape[-1] - 1, 0)
    if chain.is_constant:
        counts = counts.reshape((*batch, *counts.shape[1:]))
    else:
        counts = batch_first(counts[1:], (*batch, steps))
    first = jnp.sum(jnp.where(chain.first[..., None], found.states, 0.0), axis=0)
    return Smoothed(
        total.reshape(batch),
        batch_first(found.states, shape),
        counts,
        first.reshape((*batch, first.shape[-1])),
    )


def viterbi(
    log_initial: Float[ArrayLike, " K"],
    log_transition: Float[ArrayLike, "K K"],
    log_emission: Float[ArrayLike, "*batch T K"],
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
) -> Path:
    """The most likely path of states given all observations.

    Args:
      log_initial: as in `log_likelihood`.
      log_transition: as in `log_likelihood`.
      log_emission: as in `log_likelihood`.
      length: as in `log_likelihood`.
      mask: as in `log_likelihood`.

    Returns:
      States, -1 at padding and where no path is possible, and the joint log-density of states and
      observations in nats, differentiable, then `-inf`.

    Raises:
      TypeError: as `log_likelihood`.
      ValueError: as `log_likelihood`.

    References:
      [Rabiner1989] equations (32)-(35).

    Examples:
      >>> stay = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> seen = jnp.array([[2.0, 0.0], [0.0, 1.0], [2.0, 0.0]])
      >>> viterbi(jnp.log(jnp.full(2, 0.5)), stay, seen).states.tolist()
      [0, 0, 0]
    """
    chain, shape = _model(log_initial, log_transition, log_emission, length, mask)
    states, score = best(chain)
    return Path(batch_first(states, shape), score.reshape(shape[:-1]))


def sample(
    key: Array,
    log_initial: Float[ArrayLike, " K"],
    log_transition: Float[ArrayLike, "K K"],
    log_emission: Float[ArrayLike, "*batch T K"],
    num_samples: int = 1,
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
) -> Int[Array, "num_samples *batch T"]:
    """Paths of states drawn given the observations: filter forward, sample backward.

    With rows of zeros as `log_emission` they are draws from the model itself.

    Args:
      key: a PRNG key.
      log_initial: as in `log_likelihood`.
      log_transition: as in `log_likelihood`.
      log_emission: as in `log_likelihood`.
      num_samples: how many of each chain.
      length: as in `log_likelihood`.
      mask: as in `log_likelihood`.

    Returns:
      States, -1 at padding and where no path is possible.

    Raises:
      TypeError: as `log_likelihood`.
      ValueError: as `log_likelihood`.

    Examples:
      >>> certain = jnp.log(jnp.array([[0.0, 1.0], [1.0, 0.0]]))
      >>> sample(jax.random.key(0), certain[0], certain, jnp.zeros((4, 2))).tolist()
      [[1, 0, 1, 0]]
    """
    checks.require_key(key)
    checks.require_count("num_samples", num_samples, minimum=0)
    chain, shape = _model(log_initial, log_transition, log_emission, length, mask)
    return jax.vmap(lambda states: batch_first(states, shape))(drawn(key, chain, num_samples))


def forecast(
    log_initial: Float[ArrayLike, " K"],
    log_transition: Float[ArrayLike, "K K"],
    log_emission: Float[ArrayLike, "*batch T K"],
    num_steps: int,
    *,
    length: Int[ArrayLike, "*batch"] | None = None,
    mask: Bool[ArrayLike, "*batch T"] | None = None,
) -> Float[Array, "*batch num_steps K"]:
    """Laws of the states after the last observation, `p(z_{T+h} | x)`.

    Args:
      log_initial: as in `log_likelihood`.
      log_transition: one matrix; as in `log_likelihood`.
      log_emission: as in `log_likelihood`.
      num_steps: how many steps ahead.
      length: as in `log_likelihood`.
      mask: as in `log_likelihood`.

    Returns:
      Probabilities for `h = 1..num_steps`. After an empty chain the first is the initial law.

    Raises:
      TypeError: as `log_likelihood`.
      ValueError: as `log_likelihood`, or transitions that vary over time.

    Examples:
      >>> stay = jnp.log(jnp.array([[0.9, 0.1], [0.1, 0.9]]))
      >>> seen = jnp.array([[0.0, -jnp.inf]])
      >>> [round(p, 4) for p in forecast(stay[0], stay, seen, 2)[:, 0].tolist()]
      [0.9, 0.82]
    """
    checks.require_count("num_steps", num_steps, minimum=0)
    chain, shape = _model(log_initial, log_transition, log_emission, length, mask)
    if not chain.is_constant:
        raise ValueError(
            f"log_transition must be one matrix to forecast with; got {jnp.shape(log_transition)}. "
            "Multiply the laws that `filter` returns by the matrices of the steps to come."
        )
    last = _posterior.filtered(chain.shifted()[0]).states[-1]
    moves = jnp.exp(chain.transition)
    empty = ~jnp.any(chain.present, axis=0)[:, None]
    initial = jnp.exp(checks.floating("log_initial", log_initial).astype(last.dtype))
    first = jnp.where(empty, initial[None], last @ moves)
    return batch_first(_laws_ahead(first, moves, num_steps), (*shape[:-1], num_steps))


@partial(jax.jit, static_argnames=("num_steps",))
def _laws_ahead(first: Array, moves: Array, num_steps: int) -> Float[Array, "num_steps B K"]:
    """Laws at the steps from that of `first` on."""
    ahead = lambda law, _: (law @ moves, law)
    return jax.lax.scan(ahead, first, length=num_steps)[1]


def _model(
    log_initial: ArrayLike,
    log_transition: ArrayLike,
    log_emission: ArrayLike,
    length: ArrayLike | None,
    mask: ArrayLike | None,
) -> tuple[Chain, tuple[int, ...]]:
    """The chain of a model and its observations."""
    _require_log_laws("log_initial", log_initial)
    _require_log_laws("log_transition", log_transition)
    return chain_of(
        log_emission,
        log_transition,
        length=length,
        mask=mask,
        start=log_initial,
        names=("log_emission", "log_transition", "log_initial", "end"),
    )


def _require_log_laws(name: str, value: ArrayLike) -> None:
    """Check that concrete values are log-probabilities along the last axis.

    Raises:
      ValueError: their exponentials do not sum to one.
    """
    array = checks.floating(name, value)
    seen = checks.concrete(array)
    if seen is None or array.ndim == 0:
        return
    # Laws that a network or a file gave in float32 are laws, in any dtype.
    eps = max(float(jnp.finfo(dtype).eps) for dtype in (array.dtype, jnp.float32))
    tolerance = eps**0.5
    checks.require_values(
        f"the sum of exp({name}) over the last axis",
        np.exp(seen.astype(float)).sum(axis=-1),
        lambda v: np.abs(v - 1) <= tolerance,
        f"1 within {tolerance:.1e}",
        f"Pass logarithms of probabilities, as {name} = jax.nn.log_softmax(scores).",
    )
