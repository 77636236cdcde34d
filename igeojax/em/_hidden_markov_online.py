"""Online EM: averages of the expectations over a stream, and the M-step after each batch."""

from collections.abc import Iterable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.em import _hidden_markov_steps as _steps
from igeojax.em._hidden_markov_fit import checked_prior
from igeojax.em._sequences import Sequences
from igeojax.em.expectations import neutral_frames
from igeojax.em.hidden_markov_parameters import OnlineFit, SequenceBatch
from igeojax.em.online import kept_where_unsound


def fitted(
    model: Any,
    batches: Iterable[Any],
    start: Any,
    *,
    decay: float,
    prior: Any,
    fixed: tuple[str | int, ...],
) -> OnlineFit:
    """The arguments are those of `HiddenMarkovModel.fit_online`.

    Raises:
      ValueError: `decay` out of range.
    """
    checks.require_values(
        "decay", decay, lambda v: (v > 0.5) & (v <= 1), "above 0.5 and at most 1", "Try 0.6."
    )
    averages: Any = None
    if isinstance(start, OnlineFit):
        params, averages, weight, count, _ = start
    else:
        params, weight, count = start, jnp.zeros(()), 0
    model._require_params(params)
    weight = weight.astype(params.log_initial.dtype)
    _steps.require_fixable(model, fixed, params)
    prior = checked_prior(model, prior)
    found: list[Array] = []
    for item in batches:
        batch = item if isinstance(item, SequenceBatch) else SequenceBatch(item)
        sequences = model._sequences(batch.x, batch.length, batch.mask)
        weights = _steps.sequence_weights(batch.weights, sequences, params.log_initial.dtype)
        count += 1
        params, averages, weight, value = _step(
            model, params, averages, weight, sequences.flat(), weights, count**-decay, prior, fixed
        )
        found.append(value)
    values = jnp.stack(found) if found else jnp.zeros(0, params.log_initial.dtype)
    return OnlineFit(params, averages, weight, count, values)


@partial(jax.jit, static_argnames=("model", "fixed"))
def _step(
    model: Any,
    params: Any,
    averages: Any,
    weight: Array,
    sequences: Sequences,
    weights: Array,
    step_size: ArrayLike,
    prior: Any,
    fixed: tuple[str | int, ...],
) -> tuple[Any, Any, Array, Array]:
    """Parameters and averages after one batch, and its mean log-likelihood before."""
    frames = neutral_frames(model.mixture, weights.dtype)
    sums = _steps.counted(model, params, sequences, weights, frames)
    size = jnp.sum(weights)
    share = jax.tree.map(lambda leaf: leaf / jnp.where(size > 0, size, 1.0), sums)
    # Of the first batch the step is 1: there is nothing before it.
    step_size = jnp.where(size > 0, step_size, 0.0).astype(size.dtype)
    if averages is None:
        averages = share
    averages = jax.tree.map(lambda old, new: old + step_size * (new - old), averages, share)
    weight = weight + size
    # The prior counts once, against all that was seen.
    whole = jax.tree.map(lambda leaf: weight * leaf, averages)
    new = model.maximized(whole, previous=params, prior=prior, fixed=fixed)
    return (
        kept_where_unsound(model.family, new, params),
        averages,
        weight,
        sums.emissions.log_likelihood / sums.emissions.weight,
    )
