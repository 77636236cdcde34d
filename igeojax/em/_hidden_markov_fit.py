"""The fit of a hidden Markov model: its arguments checked, its starts, and the best of its ends."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.em import initialization
from igeojax.em._data import floating_dtype
from igeojax.em._hidden_markov_steps import (
    counted,
    frames_of,
    inferred,
    require_fixable,
    require_possible_emissions,
    sequence_weights,
    updated,
)
from igeojax.em._missing import standardized, unturned
from igeojax.em._passes import data_frame
from igeojax.em._sequences import Sequences
from igeojax.em.expectations import along, shared_out
from igeojax.em.hidden_markov_parameters import HiddenMarkovPrior
from igeojax.em.loop import LoopResult, best_end, iterate, require_known
from igeojax.em.priors import require_prior
from igeojax.families import missing

OPTIONS = (*initialization.OPTIONS, "segments")
"""Names of the ways to start."""


@partial(jax.jit, static_argnames=("model", "name"))
def starting_points(
    model: Any, keys: Array, sequences: Sequences, weights: Array, prior: Any, *, name: str
) -> Any:
    """Starting parameters: one M-step from starting responsibilities, for each key.

    Missing entries are filled in before.
    """
    present, states = sequences.present, model.num_states
    rows = sequences.rows()
    features = initialization.features(model.family, rows).astype(weights.dtype)
    seen = (weights[:, None] * sequences.observed).reshape(-1)
    order = jnp.cumsum(present, axis=1)

    def responsibilities(key: Array) -> Array:
        if name == "random":
            return initialization.random_responsibilities(key, seen.size, states, weights.dtype)
        if name == "segments":
            size = jnp.maximum(order[:, -1:], 1)
            part = jnp.clip((order - 1) * states // size, 0, states - 1)
            share = jax.nn.one_hot(part, states, dtype=weights.dtype)
            return (0.9 * share + 0.1 / states).reshape((-1, states))
        return initialization.nearest_seed_responsibilities(key, features, seen, states)

    def start(key: Array) -> Any:
        law = responsibilities(key).reshape((*present.shape, states))
        mass = law * weights[:, None, None]
        first = jnp.sum(jnp.where((present & (order == 1))[..., None], mass, 0.0), axis=(0, 1))
        pairs = (present[:, 1:] & present[:, :-1])[..., None]
        moves = jnp.einsum("bti,btj->ij", jnp.where(pairs, mass[:, :-1], 0.0), law[:, 1:])
        observed = jnp.where(sequences.observed[..., None], mass, 0.0)
        sums = shared_out(model.family, observed.reshape((-1, states)), rows)
        # One more of each move: no probability that may be learned starts at 0.
        return model.maximized(model.Expectations(first + 1, moves + 1, sums), prior=prior)

    return jax.vmap(start)(keys)


def fitted(
    model: Any,
    sequences: Sequences,
    *,
    key: Any,
    weights: ArrayLike | None,
    start: Any,
    num_restarts: int,
    tolerance: ArrayLike,
    max_iterations: int,
    prior: Any,
    fixed: tuple[str | int, ...],
    chunk_size: int | None,
    progress: bool,
) -> tuple[LoopResult, Array, Array]:
    """What `run` returns; the arguments are those of the fit.

    Raises:
      TypeError: `prior` is no prior.
      ValueError: nothing is observed, or `fixed` without a start to keep it from.
    """
    checks.require_count("max_iterations", max_iterations)
    checks.require_count("num_restarts", num_restarts)
    floor = checks.floating("tolerance", tolerance)
    checks.require_values("tolerance", floor, lambda v: v >= 0, "non-negative", "Try 1e-6.")
    if chunk_size is not None:
        checks.require_count("chunk_size", chunk_size)
    prior = checked_prior(model, prior)
    require_fixable(model, fixed, start if isinstance(start, model.Point) else None)
    dtype = floating_dtype(sequences.x)
    weights = sequence_weights(weights, sequences, dtype)
    in_dtype = lambda leaf: leaf.astype(dtype) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
    sequences = jax.tree.map(in_dtype, sequences.flat())
    mass = weights[:, None] * sequences.observed
    nothing = "Pass a sequence with an observation and a weight above 0."
    checks.require_values(
        "the weight of all observations", jnp.sum(mass), lambda v: v > 0, "positive", nothing
    )
    learned = "emissions" not in fixed and (prior is None or prior.emissions is None)
    complete = _completed(model, sequences) if model.missing else sequences
    if learned:
        # One dry fit reports what no state could be fitted to, such as a constant column.
        model.family.fit(complete.rows(), mass.reshape(-1))
    frame = _frame(model, complete, mass)
    volume = _log_volume(model, sequences, mass, frame)
    scaled = partial(standardized, model.family) if model.missing else model.family.standardized
    standard = lambda sequences: sequences._replace(x=scaled(sequences.x, frame))
    sequences = standard(sequences)
    prior = None if prior is None else prior.in_frame(model.family, frame)
    if isinstance(start, model.Point):
        starts = _given_start(model, start, num_restarts, dtype)
        starts = _in_frame(model.family.in_frame, starts, frame)
    else:
        keys = _checked_keys(start, key, num_restarts)
        starts = starting_points(model, keys, standard(complete), weights, prior, name=start)
    found = run(
        *(model, starts, sequences, weights, tolerance, prior, volume),
        max_iterations=max_iterations,
        progress=progress,
        fixed=fixed,
        chunk_size=chunk_size,
    )
    if progress:
        jax.effects_barrier()
    require_known(found[0])
    if checks.concrete(found[0].history) is not None and found[0].history[0] == -jnp.inf:
        starts = jax.tree.map(lambda leaf: leaf[0], starts)
        _require_possible(model, starts, sequences, weights)
    end, total, log_prior = found
    end = end._replace(params=_in_frame(model.family.from_frame, end.params, frame))
    return end, total, log_prior


@partial(jax.jit, static_argnames=("model",))
def _frame(model: Any, sequences: Sequences, mass: Array) -> Any:
    """The frame of the member that is fitted to all observations, complete ones."""
    none = jnp.zeros((), mass.dtype)
    frame = data_frame(model.family, sequences.rows(), mass.reshape(-1), none)
    return unturned(frame) if model.missing else frame


@partial(jax.jit, static_argnames=("model",))
def _log_volume(model: Any, sequences: Sequences, mass: Array, frame: Any) -> Array:
    """What the log-likelihood in the frame exceeds that of the observations by."""
    if not model.missing:
        return jnp.sum(mass) * model.family.log_volume(frame)
    return jnp.sum(mass.reshape(-1) * model.family.observed_log_volume(sequences.rows(), frame))


def _in_frame(change: Any, params: Any, frame: Any) -> Any:
    """Parameters whose emissions are `change(theta, frame)`, over their batch axes."""
    for _ in range(params.log_initial.ndim):
        change = jax.vmap(change, (0, None))
    return params._replace(emissions=change(params.emissions, frame))


def _completed(model: Any, sequences: Sequences) -> Sequences:
    """Sequences without nan: each missing entry is that of the nearest step before that has one."""

    def blank(leaf: Array) -> Array:
        if not jnp.issubdtype(leaf.dtype, jnp.floating):
            return leaf
        return jnp.where(along(sequences.present, leaf), leaf, jnp.nan)

    rows = sequences._replace(x=jax.tree.map(blank, sequences.x)).rows()
    steps = lambda leaf: leaf.reshape((*sequences.shape, *leaf.shape[1:]))
    return sequences._replace(x=jax.tree.map(steps, missing.completed(model.family, rows)))


def _given_start(model: Any, start: Any, num_restarts: int, dtype: Any) -> Any:
    """The start as a batch of one.

    Raises:
      ValueError: it is asked for more than once, or lies outside the domain.
    """
    model._require_params(start)
    initial = None if model.stationary_start else jnp.exp(start.log_initial)
    start = model.point(initial, jnp.exp(start.log_transition), start.emissions)
    if num_restarts != 1:
        raise ValueError(
            f"num_restarts must be 1 from a given starting point; got {num_restarts}. Use "
            'initialization="k-means++" or "random" for restarts.'
        )
    require_possible_emissions(model, "the starting point", start)
    # In the dtype of the data: the loop carries one dtype.
    return jax.tree.map(lambda leaf: leaf[None].astype(dtype), start)


def _checked_keys(name: Any, key: Any, num_restarts: int) -> Array:
    """A key for each restart of a named initialization.

    Raises:
      TypeError: `initialization` is no name, or `key` no key.
      ValueError: the name is unknown, or the restarts would all be the same.
    """
    if not isinstance(name, str):
        raise TypeError(
            f"initialization must be one of {', '.join(map(repr, OPTIONS))} or a "
            f"HiddenMarkovPoint; got {type(name).__name__}. Make a starting point with "
            "HiddenMarkovModel.point(initial, transition, emissions)."
        )
    checks.require_option("initialization", name, OPTIONS)
    if name == "segments":
        if num_restarts != 1:
            raise ValueError(
                f'num_restarts must be 1 from "segments", which are not random; got '
                f'{num_restarts}. Use initialization="k-means++" for restarts.'
            )
        return jax.random.key(0)[None]
    if key is None:
        raise TypeError(
            f"initialization {name!r} needs a PRNG key; got None. Pass key=jax.random.key(0)."
        )
    checks.require_key(key)
    return jax.random.split(key, num_restarts)


def checked_prior(model: Any, prior: Any) -> HiddenMarkovPrior | None:
    """The prior with its concentrations as arrays.

    Raises:
      TypeError: it is anything but a `HiddenMarkovPrior` or None, or that of the emissions no
        `MixturePrior`.
      ValueError: a concentration of a wrong shape or below 1, or emissions of another number.
    """
    if prior is None:
        return None
    if not isinstance(prior, HiddenMarkovPrior):
        raise TypeError(
            f"prior must be a HiddenMarkovPrior; got {type(prior).__name__}. A prior of the "
            "emissions is HiddenMarkovPrior(emissions=...)."
        )
    require_prior(model.mixture, prior.emissions)
    if prior.emissions is not None:
        checks.require_values(
            "the concentration of the prior of the emissions",
            prior.emissions.concentration,
            lambda v: v == 1,
            "1",
            "It is of the weights of a mixture; here there are initial and transition.",
        )
    size, laws = (model.num_states,), {}
    for name, shape in (("initial", size), ("transition", 2 * size)):
        told = f"the concentration {name} of the prior"
        laws[name] = checks.floating(told, getattr(prior, name))
        if laws[name].shape not in ((), shape):
            raise ValueError(
                f"{told} must be a number or have shape {shape}; got {laws[name].shape}. Give each "
                "probability one, or one for all."
            )
        checks.require_values(
            told,
            laws[name],
            lambda v: np.isfinite(v) & (v >= 1),
            "at least 1",
            "Below 1 the density has no maximum; 1 is flat.",
        )
    return prior._replace(**laws)


def _require_possible(model: Any, params: Any, sequences: Sequences, weights: Array) -> None:
    """Report the first sequence that counts and has no path of states, and where it ends.

    Raises:
      ValueError: always.
    """
    found = inferred(model, params, sequences, name="filter")
    lost = np.asarray((found.log_likelihood == -jnp.inf) & (weights > 0))
    row = int(np.argmax(lost))
    gone = np.asarray(sequences.present & ~jnp.any(found.states > 0, axis=-1))[row]
    raise ValueError(
        f"sequences must be possible under the starting point; sequence {row} is not, as no state "
        f"that can be reached at step {int(np.argmax(gone))} can give what is observed there. "
        "Allow more transitions, or start from emissions that reach all observations."
    )


@partial(jax.jit, static_argnames=("model", "max_iterations", "progress", "fixed", "chunk_size"))
def run(
    model: Any,
    starts: Any,
    sequences: Sequences,
    weights: Array,
    tolerance: ArrayLike,
    prior: Any,
    volume: Array,
    *,
    max_iterations: int,
    progress: bool,
    fixed: tuple[str | int, ...],
    chunk_size: int | None,
) -> tuple[LoopResult, Array, Array]:
    """The best end of Baum-Welch, the weight of the observations, and the prior's log-density."""
    total = jnp.sum(weights[:, None] * sequences.observed)

    def e_step(params: Any) -> tuple[Any, Array]:
        frames = frames_of(model, params.emissions)
        sums = counted(model, params, sequences, weights, frames, chunk_size)
        value = sums.emissions.log_likelihood - volume
        if prior is not None:
            value = value + prior.log_density(model, params)
        return (sums, frames), value / total

    def m_step(found: Any, params: Any) -> Any:
        sums, frames = found
        return updated(model, sums, frames, params, prior, fixed)

    def ended(numbered: tuple[Any, Array]) -> LoopResult:
        return iterate(
            e_step,
            m_step,
            numbered[0],
            tolerance=tolerance,
            max_iterations=max_iterations,
            progress=progress,
            label=numbered[1],
        )

    count = starts.log_initial.shape[0]
    labels = jnp.arange(1, count + 1) if count > 1 else jnp.zeros(1, int)
    # Not under vmap: the messages choose their form by values, and a batch would run both.
    end = best_end(jax.lax.map(ended, (starts, labels)), max_iterations)
    at_prior = jnp.zeros_like(total) if prior is None else prior.log_density(model, end.params)
    return end, total, at_prior
