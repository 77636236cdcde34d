"""Baum-Welch, step by step: expected counts of sequences, and what maximizes them."""

import math
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.chains import hmm
from igeojax.em import _transitions
from igeojax.em._data import checked_weights, default_chunk_size
from igeojax.em._maximization import maximized
from igeojax.em._missing import log_density_in_frames, own_frames, shared_out_observed
from igeojax.em._sequences import Sequences
from igeojax.em.expectations import Expectations, sum_over_chunks
from igeojax.em.hidden_markov_parameters import as_mixture
from igeojax.numerics.safe import log_at_zero

FIXABLE = ("initial", "transition", "emissions")
"""Names of what a fit may keep."""


def log_emission(model: Any, emissions: Any, sequences: Sequences) -> Array:
    """Log-densities of the observations in each state, `(*batch, T, K)`; 0 where none is."""
    if model.missing:
        # The value is the same in any frame: the derivative need not go through this one.
        frames = jax.lax.stop_gradient(frames_of(model, emissions))
        found = log_density_in_frames(model.family, emissions, frames, sequences.x)
    else:
        density = lambda theta: model.family.log_density(theta, sequences.x)
        found = jax.vmap(density, 0, -1)(emissions)
    return jnp.where(sequences.observed[..., None], found, 0.0)


@partial(jax.jit, static_argnames=("model", "chunk_size"))
def counted(
    model: Any,
    params: Any,
    sequences: Sequences,
    weights: Array,
    frames: Any,
    chunk_size: int | None = None,
) -> Any:
    """E-step: expected counts of first states and of moves, and sums of the emissions.

    The statistics are those of the observations in the frame of each state.
    """
    partial_sum = lambda sequences, weights: _counted(model, params, sequences, weights, frames)
    size = max(weights.shape[0], 1) if chunk_size is None else chunk_size
    return sum_over_chunks(partial_sum, sequences, weights, chunk_size=size)


def _counted(model: Any, params: Any, sequences: Sequences, weights: Array, frames: Any) -> Any:
    """The same of one chunk."""
    emission = log_emission(model, params.emissions, sequences)
    found = hmm.smooth(params.log_initial, params.log_transition, emission, mask=sequences.present)
    # A sequence of weight 0 does not count, even where it is impossible.
    total = jnp.sum(jnp.where(weights > 0, weights * found.log_likelihood, 0.0))
    initial, moves = (
        jnp.tensordot(weights, counts, axes=1) for counts in (found.initial, found.transitions)
    )
    mass = weights[:, None, None] * found.states
    # A wholly missing observation is left out of the complete data, so its states are not counted.
    mass = jnp.where(sequences.observed[..., None], mass, 0.0).reshape((-1, model.num_states))
    sums = Expectations(
        jnp.sum(mass, axis=0),
        _statistics(model, params.emissions, sequences, mass, frames),
        total,
        jnp.sum(weights[:, None] * sequences.observed),
    )
    return model.Expectations(initial, moves, sums)


def _statistics(model: Any, emissions: Any, sequences: Sequences, mass: Array, frames: Any) -> Any:
    """Sums of statistics, the observations shared out to states by a mass of shape `(N, K)`."""
    family = model.family

    def sums(x: Any, mass: Array) -> Any:
        if not model.missing:
            return jax.vmap(
                lambda mass, frame: family.statistics_sum(family.standardized(x, frame), mass)
            )(mass.T, frames)
        # What a missing entry is expected to be depends on the state.
        return shared_out_observed(family, mass, emissions, frames, x).statistics

    size = default_chunk_size(family, model.num_states, mass.dtype)
    part = lambda data, ones: sums(data[0], data[1] * ones[:, None])
    ones = jnp.ones(mass.shape[0], mass.dtype)
    return sum_over_chunks(part, (sequences.rows(), mass), ones, chunk_size=size)


def frames_of(model: Any, emissions: Any) -> Any:
    """The frame of each state, in which its sums are taken."""
    return own_frames(model.family, emissions, missing=model.missing)


def updated(
    model: Any,
    expectations: Any,
    frames: Any,
    previous: Any,
    prior: Any,
    fixed: tuple[str | int, ...],
) -> Any:
    """M-step: the new parameters."""
    initial, transition = laws_of_states(
        model, expectations.initial, expectations.transitions, previous, prior, fixed
    )
    names = tuple("components" if entry == "emissions" else entry for entry in fixed)
    mixture = maximized(
        model.mixture,
        expectations.emissions,
        frames,
        previous=None if previous is None else as_mixture(previous),
        fixed=tuple(entry for entry in names if entry not in FIXABLE),
        prior=None if prior is None else prior.emissions,
    )
    return model.Point(initial, transition, mixture.components)


def laws_of_states(
    model: Any,
    initial: Array,
    moves: Array,
    previous: Any,
    prior: Any,
    fixed: tuple[str | int, ...],
) -> tuple[Array, Array]:
    """Log-probabilities of first states and of moves that maximize their part of the M-step."""
    allowed_first, allowed = model.allowed()
    if prior is not None:
        excess = [(law - 1).astype(moves.dtype) for law in (prior.initial, prior.transition)]
        initial = initial + jnp.where(allowed_first, excess[0], 0.0)
        moves = moves + jnp.where(allowed, excess[1], 0.0)
    if previous is None:
        transition = _transitions.normalized(moves, allowed, _even(allowed, moves.dtype))
        before = _even(allowed_first, initial.dtype)
    else:
        transition, before = jnp.exp(previous.log_transition), jnp.exp(previous.log_initial)
        if "transition" in fixed:
            pass
        elif model.stationary_start:
            transition = _transitions.stationary_step(initial, moves, transition)
        else:
            transition = _transitions.normalized(moves, allowed, transition)
    if model.stationary_start:
        first = _transitions.stationary_law(transition)
    elif "initial" in fixed:
        first = before
    else:
        first = _transitions.normalized(initial, allowed_first, before)
    return log_at_zero(first), log_at_zero(transition)


def _even(allowed: np.ndarray, dtype: Any) -> Array:
    """Equal probabilities of all that is allowed."""
    return jnp.asarray(allowed / allowed.sum(axis=-1, keepdims=True), dtype)


@partial(jax.jit, static_argnames=("model", "name", "num_steps"))
def inferred(
    model: Any, params: Any, sequences: Sequences, *, name: str, num_steps: int | None = None
) -> Any:
    """What a function of `igeojax.chains.hmm` says of sequences."""
    options = {} if num_steps is None else {"num_steps": num_steps}
    emission = log_emission(model, params.emissions, sequences)
    laws = params.log_initial, params.log_transition
    return getattr(hmm, name)(*laws, emission, mask=sequences.present, **options)


@partial(jax.jit, static_argnames=("model", "num_steps", "shape"))
def drawn(
    model: Any, key: Array, params: Any, *, num_steps: int, shape: tuple[int, ...]
) -> tuple[Array, Any]:
    """States and observations of sequences from the model."""
    state_key, draw_key = jax.random.split(key)
    unseen = jnp.zeros((num_steps, model.num_states), params.log_initial.dtype)
    laws = params.log_initial, params.log_transition
    states = hmm.sample(state_key, *laws, unseen, math.prod(shape)).reshape((*shape, num_steps))
    emissions = jax.tree.map(lambda leaf: leaf[states], params.emissions)
    return states, model.family.sample(draw_key, emissions)


def sequence_weights(weights: ArrayLike | None, sequences: Sequences, dtype: Any) -> Array:
    """Weights of the sequences on one axis.

    Raises:
      ValueError: a wrong shape, or a weight that is negative or not finite.
    """
    batch = sequences.shape[:-1]
    if weights is not None:
        weights = checks.floating("weights", weights)
        if weights.shape != batch:
            raise ValueError(
                f"weights must have one entry a sequence, shape {batch}; got {weights.shape}. Tell "
                "padding by length or mask."
            )
        weights = weights.reshape(-1)
    return checked_weights(weights, math.prod(batch), dtype)


def require_possible_emissions(model: Any, name: str, params: Any) -> None:
    """Check the emissions of parameters.

    Raises:
      ValueError: concrete ones outside the natural domain.
    """
    checks.require_values(
        f"emissions of {name}",
        model.family.in_natural_domain(params.emissions),
        lambda inside: inside,
        "inside the natural domain",
        "Make them with natural_from_params.",
    )


def require_fixable(model: Any, fixed: tuple[str | int, ...], previous: Any) -> None:
    """Check what is to stay as it was.

    Raises:
      ValueError: an entry that is no part of the model, or nothing to keep it from.
    """
    known = (*FIXABLE, *range(model.num_states))
    if not isinstance(fixed, tuple) or not set(fixed) <= set(known):
        raise ValueError(
            f"fixed must be a tuple of {', '.join(map(repr, FIXABLE))} and numbers of states below "
            f"{model.num_states}; got {fixed!r}. Write ('initial',) for one name."
        )
    if fixed and previous is None:
        raise ValueError(
            f"fixed={fixed!r} needs the parameters to keep; got None. Pass previous=params (a "
            "starting point, in a fit)."
        )
