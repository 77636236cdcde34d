"""EM on batches: stepwise (online), and incremental over a fixed set of batches.

Both keep mean statistics, and move them instead of the parameters. In mean coordinates a full EM
step is the unit step `eta <- mean statistics at the present parameters`, which is the natural
gradient of the expected complete log-likelihood; a stepwise step goes a part of that way.
"""

from collections.abc import Iterable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax._core import checks
from igeojax.em.expectations import Expectations
from igeojax.families.product import Product


class OnlineState(NamedTuple):
    """Where online EM stands: parameters, running mean sums an observation, batches seen."""

    params: Any
    mean: Expectations
    step: Int[Array, ""]


def stepwise_em(
    mixture: Any,
    params: Any,
    batches: Iterable[Any],
    *,
    state: OnlineState | None = None,
    decay: float = 0.6,
    offset: float = 2.0,
    warmup: int = 1,
    step_options: dict[str, Any] | None = None,
) -> OnlineState:
    """Online EM: `s <- (1 - g) s + g s(batch)`, `g = (step + offset)^-decay`, an M-step a batch.

    For data that come once, or more than anyone would pass over many times. Each batch costs an
    E-step; nothing of it is kept. Continue by passing the state that came back.

    Args:
      mixture: the `Mixture`.
      params: parameters to start at.
      batches: observations with axis 0, or pairs `(observations, weights)` where the family is no
        product. Equal sizes are compiled once.
      state: where an earlier call ended; None starts anew from `params`.
      decay: exponent in (1/2, 1], for which the steps converge.
      offset: positive; larger makes the first steps smaller.
      warmup: batches before the first M-step.
      step_options: what `Mixture.maximized` takes.

    Returns:
      The `OnlineState`.

    Raises:
      ValueError: an option out of range, or no batch.

    References:
      [CappeMoulines2009] section 2.3, equation (13).

    Examples:
      >>> from igeojax import em, families
      >>> mixture = em.Mixture(families.Poisson(), 1)
      >>> start = mixture.point([1.0], families.Poisson().natural_from_params([1.0]))
      >>> state = stepwise_em(mixture, start, [jnp.array([2, 4])] * 50)
      >>> round(float(jnp.exp(state.params.components.x[0])), 6)
      3.0
    """
    if not 0.5 < decay <= 1:
        raise ValueError(
            f"decay must lie in (1/2, 1]; got {decay}. Smaller steps never settle; try 0.6."
        )
    if offset <= 0:
        raise ValueError(f"offset must be positive; got {offset}. Try 2.")
    checks.require_count("warmup", warmup)
    options = step_options or {}
    for piece in batches:
        batch = _with_weights(mixture, piece)
        if state is None:
            sums = mixture.expectations(params, *batch)
            state = OnlineState(params, _scaled(sums), jnp.ones((), int))
            continue
        rate = (state.step + offset) ** -decay
        state = _stepwise(mixture, state, batch, rate, state.step >= warmup, options)
    if state is None:
        raise ValueError("batches must hold at least one batch; got none.")
    return state


def _with_weights(mixture: Any, batch: Any) -> tuple[Any, Any]:
    """Observations and their weights, None where they have none."""
    paired = isinstance(batch, tuple) and not isinstance(mixture.family, Product)
    return batch if paired else (batch, None)


def _scaled(sums: Expectations) -> Expectations:
    """The sums of one unit of weight."""
    return jax.tree.map(lambda leaf: leaf / sums.weight, sums)


@partial(jax.jit, static_argnames=("mixture",))
def _stepwise(
    mixture: Any, state: OnlineState, batch: Any, rate: Array, ready: Array, options: Any
) -> OnlineState:
    fresh = _scaled(mixture.expectations(state.params, *batch))
    mean = jax.tree.map(
        lambda old, new: old + rate.astype(old.dtype) * (new - old), state.mean, fresh
    )
    moved = mixture.maximized(mean, previous=state.params, **options)
    params = jax.tree.map(lambda new, old: jnp.where(ready, new, old), moved, state.params)
    return OnlineState(params, mean, state.step + 1)


def incremental_em(
    mixture: Any,
    params: Any,
    batches: list[Any],
    *,
    num_passes: int,
    step_options: dict[str, Any] | None = None,
) -> tuple[Any, Float[Array, "passes"]]:
    """Incremental EM: the sums of one batch are replaced at a time, with an M-step after each.

    The free energy never falls, and information is used as soon as it is there: on redundant data
    a few passes do what many of batch EM do. Keeps the sums of each batch.

    Args:
      mixture: the `Mixture`.
      params: parameters to start at.
      batches: observations in pieces; all together are the data.
      num_passes: passes over all of them.
      step_options: what `Mixture.maximized` takes.

    Returns:
      The parameters, and the mean log-likelihood (nats an observation) of each pass, each batch's
      at the parameters that it was last seen with.

    Raises:
      ValueError: no batch, or no pass.

    References:
      [NealHinton1998] section 3 (algorithm (7)).

    Examples:
      >>> from igeojax import em, families
      >>> mixture = em.Mixture(families.Poisson(), 1)
      >>> start = mixture.point([1.0], families.Poisson().natural_from_params([1.0]))
      >>> found, _ = incremental_em(mixture, start, [jnp.array([2]), jnp.array([4])], num_passes=2)
      >>> round(float(jnp.exp(found.components.x[0])), 6)
      3.0
    """
    checks.require_count("the number of batches", len(batches))
    checks.require_count("num_passes", num_passes)
    options = step_options or {}
    add = partial(jax.tree.map, jnp.add)
    kept = [mixture.expectations(params, batch) for batch in batches]
    history = []
    for _ in range(num_passes):
        # Summed anew each pass, so that the rounding of replacements does not pile up.
        total = kept[0]
        for sums in kept[1:]:
            total = add(total, sums)
        for index, batch in enumerate(batches):
            params, total, kept[index] = _replaced(
                mixture, params, batch, total, kept[index], options
            )
        history.append(total.log_likelihood / total.weight)
    return params, jnp.stack(history)


@partial(jax.jit, static_argnames=("mixture",))
def _replaced(
    mixture: Any, params: Any, batch: Any, total: Expectations, old: Expectations, options: Any
) -> tuple[Any, Expectations, Expectations]:
    params = mixture.maximized(total, previous=params, **options)
    fresh = mixture.expectations(params, batch)
    total = jax.tree.map(lambda a, b, c: a + (b - c), total, fresh, old)
    return params, total, fresh
