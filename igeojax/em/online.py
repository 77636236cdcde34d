"""EM on batches: stepwise (online), and incremental over a fixed set of batches.

Both keep mean statistics, and move them instead of the parameters. In mean coordinates a full EM
step is the unit step `eta <- mean statistics at the present parameters`, which is the natural
gradient of the expected complete log-likelihood; a stepwise step goes a part of that way.
"""

from collections.abc import Iterable, Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax._core import checks
from igeojax.em._data import Chunks, checked_rows, checked_weights
from igeojax.em._maximization import require_fixable
from igeojax.em.expectations import Expectations
from igeojax.em.priors import require_prior
from igeojax.families.product import Product


class OnlineState(NamedTuple):
    """Where online EM stands: parameters, running mean sums of a unit of weight, batches seen.

    `weight`: of all observations so far.
    """

    params: Any
    mean: Expectations
    step: Int[Array, ""]
    weight: Float[Array, ""]


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
    E-step; nothing of it is kept. Continue by passing the state that came back. A prior counts once
    against all that was seen. A batch without observations or weight is passed over; a step out of
    the domain (a component collapsing onto too few points) is not taken.

    Args:
      mixture: the `Mixture`.
      params: parameters to start at; not read where `state` is given.
      batches: observations with axis 0, pairs `(observations, weights)` where the family is no
        product, or `em.Chunks`. Equal sizes are compiled once.
      state: where an earlier call ended; None starts anew from `params`.
      decay: exponent in (1/2, 1], for which the steps converge.
      offset: positive; larger makes the first steps smaller.
      warmup: batches before the first M-step.
      step_options: what `Mixture.maximized` takes.

    Returns:
      The `OnlineState`.

    Raises:
      TypeError: parameters, a batch or a prior of a wrong kind.
      ValueError: an option out of range, no batch, or one of other axes, off the support or with
        bad weights.

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
    options, fixed = _checked_options(
        mixture, params if state is None else state.params, step_options
    )
    now = _nothing_seen(mixture, params) if state is None else state
    found, pace = False, (decay, offset, warmup)
    for x, weights in _checked(mixture, batches, now.weight.dtype):
        found, now = True, _stepwise(mixture, now, x, weights, pace, options, fixed)
    if not found:
        raise ValueError("batches must hold at least one batch with observations; got none.")
    return now


def _checked_options(
    mixture: Any, params: Any, step_options: dict[str, Any] | None
) -> tuple[dict[str, Any], tuple[str | int, ...]]:
    """The options of a step, what is fixed (it is static) apart.

    Raises:
      TypeError: parameters or a prior of a wrong kind.
      ValueError: other ones than the mixture asks for.
    """
    mixture._require_params(params)
    options = dict(step_options or {})
    fixed = options.pop("fixed", ())
    require_fixable(mixture, fixed, params)
    require_prior(mixture, options.get("prior"))
    return options, fixed


def _checked(mixture: Any, batches: Any, dtype: Any) -> Iterator[tuple[Any, Array]]:
    """Observations and weights of the batches that have any observations.

    Raises:
      TypeError: a batch of a wrong kind.
      ValueError: one of other axes, off the support or with bad weights.
    """
    for batch in batches:
        paired = isinstance(batch, tuple) and not isinstance(mixture.family, Product)
        piece, weights = batch if paired or isinstance(batches, Chunks) else (batch, None)
        x, count = checked_rows(mixture, piece)
        if count:
            yield x, checked_weights(weights, count, dtype)


def _nothing_seen(mixture: Any, params: Any) -> OnlineState:
    """The state before the first batch."""
    family, dtype = mixture.family, params.log_weights.dtype
    size = mixture.num_components
    leaves = [jnp.zeros((size, *shape), dtype) for shape in family.point_shape]
    zero = jnp.zeros((), dtype)
    mean = Expectations(jnp.zeros(size, dtype), family.from_leaves(leaves), zero, zero)
    return OnlineState(params, mean, jnp.zeros((), int), zero)


@partial(jax.jit, static_argnames=("mixture", "fixed"))
def _stepwise(
    mixture: Any,
    state: OnlineState,
    x: Any,
    weights: Array,
    pace: tuple[Array, Array, Array],
    options: dict[str, Any],
    fixed: tuple[str | int, ...],
) -> OnlineState:
    """The state after a batch; `pace`: the decay, the offset and the batches to wait for."""
    decay, offset, warmup = pace
    sums = mixture.expectations(state.params, x, weights)
    usable = (sums.weight > 0) & _finite(sums)
    # The first batch has nothing before it.
    rate = jnp.where(state.step == 0, 1.0, (state.step + offset) ** -decay)

    def averaged(old: Array, new: Array) -> Array:
        share = new / jnp.where(usable, sums.weight, 1.0)
        return jnp.where(usable, old + rate.astype(old.dtype) * (share - old), old)

    mean = jax.tree.map(averaged, state.mean, sums)
    weight = state.weight + jnp.where(usable, sums.weight, 0.0)
    whole = jax.tree.map(lambda leaf: weight * leaf, mean)
    moved = mixture.maximized(whole, previous=state.params, fixed=fixed, **options)
    moved = kept_where_unsound(mixture.family, moved, state.params)
    ready = usable & (state.step >= warmup)
    params = jax.tree.map(lambda new, old: jnp.where(ready, new, old), moved, state.params)
    return OnlineState(params, mean, state.step + usable, weight)


def _finite(sums: Expectations) -> Array:
    """Whether the counts and statistics are finite; a log-likelihood of -inf does no harm."""
    leaves = jax.tree.leaves((sums.counts, sums.statistics))
    return jnp.stack([jnp.isfinite(leaf).all() for leaf in leaves]).all()


def kept_where_unsound(family: Any, new: Any, old: Any) -> Any:
    """The parameters after a step, or those before where it leads out of the domain.

    Args:
      family: the family of the components.
      new: parameters of a mixture or of a hidden Markov model, the components last.
      old: the parameters before.

    Returns:
      All of one or all of the other.

    Examples:
      >>> from igeojax import em, families
      >>> family, nan = families.Poisson(), jnp.full(1, jnp.nan)
      >>> old = em.MixturePoint(jnp.zeros(1), family.natural_from_params([2.0]))
      >>> float(kept_where_unsound(family, old._replace(log_weights=nan), old).log_weights[0])
      0.0
    """
    known = [~jnp.isnan(leaf).any() for leaf in jax.tree.leaves(new)]
    sound = jnp.stack([*known, family.in_natural_domain(new[-1]).all()]).all()
    return jax.tree.map(lambda leaf, before: jnp.where(sound, leaf, before), new, old)


def incremental_em(
    mixture: Any,
    params: Any,
    batches: Iterable[Any],
    *,
    num_passes: int,
    step_options: dict[str, Any] | None = None,
) -> tuple[Any, Float[Array, "passes"]]:
    """Incremental EM: the sums of one batch are replaced at a time, with an M-step after each.

    The free energy never falls, and information is used as soon as it is there: on redundant data
    a few passes do what many of batch EM do. Keeps the sums of each batch. A step out of the domain
    (a component collapsing onto too few points) is not taken.

    Args:
      mixture: the `Mixture`.
      params: parameters to start at.
      batches: observations in pieces, which are passed many times; all together are the data. As
        those of `stepwise_em`.
      num_passes: passes over all of them.
      step_options: what `Mixture.maximized` takes.

    Returns:
      The parameters, and the mean log-likelihood (nats an observation) of each pass, each batch's
      at the parameters that it was last seen with.

    Raises:
      TypeError: parameters, a batch or a prior of a wrong kind, or batches that can be passed once.
      ValueError: no batch or no pass; a batch of other axes, off the support or with bad weights.

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
    if isinstance(batches, Iterator):
        raise TypeError(
            f"batches must be passed many times; got {type(batches).__name__}. Pass a list, or "
            "em.Chunks of the function that makes it."
        )
    checks.require_count("num_passes", num_passes)
    options, fixed = _checked_options(mixture, params, step_options)
    pieces = partial(_checked, mixture, batches, params.log_weights.dtype)
    kept = [_sums(mixture, params, *batch) for batch in pieces()]
    checks.require_count("the number of batches", len(kept))
    whole = sum(sums.weight for sums in kept)
    checks.require_positive("the sum of weights", whole, "Give at least one positive weight.")
    history = []
    for _ in range(num_passes):
        # Summed anew each pass, so that the rounding of replacements does not pile up.
        total = jax.tree.map(lambda *sums: sum(sums[1:], sums[0]), *kept)
        index = -1
        for index, batch in enumerate(pieces()):
            if index < len(kept):
                arguments = (params, batch, total, kept[index], options, fixed)
                params, total, kept[index] = _replaced(mixture, *arguments)
        if index + 1 != len(kept):
            raise ValueError(
                f"batches must be the same on each pass; got {index + 1} after {len(kept)}. Let "
                "the function make a new iterator each time."
            )
        history.append(total.log_likelihood / total.weight)
    return params, jnp.stack(history)


@partial(jax.jit, static_argnames=("mixture",))
def _sums(mixture: Any, params: Any, x: Any, weights: Array) -> Expectations:
    return mixture.expectations(params, x, weights)


@partial(jax.jit, static_argnames=("mixture", "fixed"))
def _replaced(
    mixture: Any,
    params: Any,
    batch: Any,
    total: Expectations,
    old: Expectations,
    options: dict[str, Any],
    fixed: tuple[str | int, ...],
) -> tuple[Any, Expectations, Expectations]:
    moved = mixture.maximized(total, previous=params, fixed=fixed, **options)
    params = kept_where_unsound(mixture.family, moved, params)
    fresh = mixture.expectations(params, *batch)
    total = jax.tree.map(lambda a, b, c: a + (b - c), total, fresh, old)
    return params, total, fresh
