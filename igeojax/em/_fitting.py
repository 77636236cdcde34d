"""The fit of a mixture: where it starts, how its passes are run, and the best of its ends."""

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.em import _passes
from igeojax.em._births import with_births
from igeojax.em._data import Chunks, Survey, default_chunk_size, num_shards, survey
from igeojax.em._maximization import Framed, framed, maximized
from igeojax.em._missing import unturned
from igeojax.em._options import Options, checked_keys, require_options
from igeojax.em.acceleration import squarem
from igeojax.em.checkpoint import resumable_loop
from igeojax.em.expectations import Expectations, compensated_sum
from igeojax.em.initialization import starting_points
from igeojax.em.loop import LoopResult, best_end, iterate, require_known


class Chart(NamedTuple):
    """The frame of the data, and in it the noise that blurs them and the prior."""

    frame: Any
    noise: Any
    prior: Any


def fit_mixture(mixture: Any, data: Any, options: Options) -> tuple[LoopResult, Array]:
    """The best end of EM, and the total weight of the data.

    Args:
      mixture: the `Mixture`.
      data: arrays with the observations on axis 0, or `Chunks`.
      options: the arguments of the fit.

    Returns:
      The end, its parameters those of the observations as they come, and the total weight.
    """
    require_options(mixture, options)
    seen = survey(mixture, data, options.weights)
    ridge = options.covariance_regularization
    known = checks.concrete(ridge)
    ridge = None if known is not None and known == 0 else jnp.asarray(ridge, seen.weights.dtype)
    _require_fittable(mixture, seen, options, ridge)
    chart = _chart(mixture, seen.sample, seen.weights, ridge, options.prior)
    starts = _starts(mixture, seen, chart, options)
    size = options.chunk_size or default_chunk_size(
        mixture.family, mixture.num_components, seen.weights.dtype
    )
    run = partial(
        _run,
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        accelerated=options.acceleration is not None,
        fixed=options.fixed,
        hard=options.assignment == "hard",
    )
    on_sample = lambda starts: run(
        *(mixture, starts, seen.sample, seen.weights, chart), layout=_passes.Layout(size)
    )
    streamed = isinstance(seen.data, Chunks) or options.checkpoint is not None
    layout = _passes.Layout(size, 1 if streamed else num_shards(seen.data))

    def fitted(starts: Any, after: LoopResult | None = None, birth: Any = 0) -> LoopResult:
        if streamed:
            return _streamed(mixture, starts, seen, chart, size, options, after, birth)
        arguments = (mixture, starts, seen.data, seen.all_weights, chart)
        # Starts, and births, are tried on the sample without it.
        extra = {"progress": options.progress, "e_step": options.e_step}
        return run(*arguments, layout=layout, after=after, **extra)

    if streamed and starts.log_weights.shape[0] > 1:
        # The start is chosen on the sample: each would take a pass over the data a step.
        starts = _stacked(on_sample(starts).params)
    end = fitted(starts)
    require_known(end)
    if options.births:
        again = lambda start, end, number: fitted(
            _stacked(on_sample(_stacked(start)).params), end, number
        )
        end = with_births(mixture, end, seen, chart, options, again)
    params = _mapped_back(mixture, end.params, chart.frame)
    if options.progress:
        jax.effects_barrier()
    return end._replace(params=params), seen.total


def _stacked(start: Any) -> Any:
    """One start as a batch of starts."""
    return jax.tree.map(lambda leaf: leaf[None], start)


def _require_fittable(mixture: Any, seen: Survey, options: Options, ridge: Any) -> None:
    """Check that there is data for all components.

    Raises:
      ValueError: fewer observations than components, or data that no component could be fitted to.
    """
    if seen.num_data < mixture.num_components:
        raise ValueError(
            f"data must have observations N >= {mixture.num_components} components; got "
            f"N = {seen.num_data}. Fit fewer components."
        )
    if options.prior is None and ridge is None and "components" not in options.fixed:
        # One dry fit reports what no component could be fitted to: N <= d, a constant column.
        plain = options.weights is None and not isinstance(seen.data, Chunks)
        mixture.family.fit(seen.sample, None if plain else seen.weights)


def _chart(mixture: Any, sample: Any, weights: Array, ridge: Array | None, prior: Any) -> Chart:
    # In two programs: the first serves any number of components.
    frame, noise = _framed(mixture.family, sample, weights, ridge, missing=mixture.missing)
    return Chart(frame, noise, None if prior is None else _prior_in(mixture.family, prior, frame))


@partial(jax.jit, static_argnames=("family", "missing"))
def _framed(
    family: Any, sample: Any, weights: Array, ridge: Array | None, *, missing: bool
) -> tuple[Any, Any]:
    frame = _passes.data_frame(family, sample, weights, ridge)
    frame = unturned(frame) if missing else frame
    if ridge is None:
        return frame, None
    zero = family.from_leaves([jnp.zeros(shape, weights.dtype) for shape in family.point_shape])
    none = jnp.zeros((), weights.dtype)
    return frame, family.sums_in_frame(none, family.blur(ridge, zero), frame)


@partial(jax.jit, static_argnames=("family",))
def _prior_in(family: Any, prior: Any, frame: Any) -> Any:
    return prior.in_frame(family, frame)


@partial(jax.jit, static_argnames=("mixture",))
def log_prior(mixture: Any, prior: Any, params: Any) -> Array:
    """Log-density of the prior of a mixture, in one program."""
    return prior.log_density(mixture, params)


@partial(jax.jit, static_argnames=("mixture",))
def _mapped(mixture: Any, params: Any, frame: Any) -> Framed:
    """Parameters in the frame of the data."""
    inside = jax.vmap(lambda theta: mixture.family.in_frame(theta, frame))(params.components)
    return framed(mixture.family, mixture.Point(params.log_weights, inside))


@partial(jax.jit, static_argnames=("mixture",))
def _mapped_back(mixture: Any, params: Framed, frame: Any) -> Any:
    """Parameters of the observations as they come."""
    outside = jax.vmap(lambda theta: mixture.family.from_frame(theta, frame))(params.components)
    return mixture.Point(params.log_weights, outside)


def _starts(mixture: Any, seen: Survey, chart: Chart, options: Options) -> Framed:
    """Starting parameters in the frame of the data, the starts on the leading axis."""
    given, dtype = options.initialization, seen.weights.dtype
    if isinstance(given, mixture.Point):
        start = jax.tree.map(lambda leaf: leaf.astype(dtype), given)
        return _stacked(_mapped(mixture, start, chart.frame))
    keys = checked_keys(given, options.key, options.num_restarts)
    return starting_points(
        mixture, keys, seen.sample, seen.weights, chart, initialization=str(given)
    )


def _steps(
    mixture: Any, chart: Chart, total: Array, fixed: tuple[str | int, ...], one_pass: Callable
) -> tuple[Callable, Callable]:
    """E- and M-step of a fit in its chart."""

    def e_step(params: Any) -> tuple[Any, Array]:
        found = one_pass(params)
        objective = found.sums.log_likelihood
        if chart.prior is not None:
            objective = objective + chart.prior.log_density(mixture, params)
        return found, objective / total

    def m_step(found: Any, params: Any) -> Any:
        return _m_step(mixture, found, params, chart, fixed=fixed)

    return e_step, m_step


def _most_loss(chart: Chart, dtype: Any) -> ArrayLike:
    """What a step may lose: rounding, but for the cost of noise and of components that are pruned.

    Where a component collapses its covariance has no digits left, and the objective may be finite
    and far too low.
    """
    if chart.noise is not None:
        return math.inf
    rounding = float(jnp.finfo(dtype).eps) ** 0.5
    if chart.prior is None:
        return rounding
    return jnp.where((chart.prior.concentration < 1).any(), math.inf, rounding)


@partial(jax.jit, static_argnames=("mixture", "fixed"))
def _m_step(
    mixture: Any, found: Any, params: Any, chart: Chart, *, fixed: tuple[str | int, ...]
) -> Any:
    return maximized(
        mixture,
        *found,
        previous=params,
        fixed=fixed,
        noise=chart.noise,
        prior=chart.prior,
        standardized=True,
    )


@partial(
    jax.jit,
    static_argnames=(
        *("mixture", "layout", "max_iterations", "accelerated", "fixed", "hard", "progress"),
        "e_step",
    ),
)
def _run(
    mixture: Any,
    starts: Any,
    data: Any,
    weights: Array,
    chart: Chart,
    *,
    layout: _passes.Layout,
    tolerance: Any,
    max_iterations: int,
    accelerated: bool,
    fixed: tuple[str | int, ...],
    hard: bool,
    progress: bool = False,
    e_step: Callable | None = None,
    after: LoopResult | None = None,
) -> LoopResult:
    """EM from each start, side by side; the best of them. From one start it may follow an end."""
    arguments = (data, weights, chart.frame, layout)
    one_pass = lambda params: _passes.run(mixture, params, *arguments, hard=hard, e_step=e_step)
    steps = _steps(mixture, chart, jnp.sum(weights), fixed, one_pass)

    def ended(start: Any, label: Any) -> LoopResult:
        return iterate(
            *steps,
            start,
            tolerance=tolerance,
            max_iterations=max_iterations,
            progress=progress,
            label=label,
            extrapolate=partial(squarem, mixture) if accelerated else None,
            after=after,
            most_loss=_most_loss(chart, weights.dtype),
        )

    count = starts.log_weights.shape[0]
    if count == 1:
        # Not under vmap, where a choice between two ways is a run of both.
        return ended(jax.tree.map(lambda leaf: leaf[0], starts), 0)
    ends = jax.vmap(ended)(starts, jnp.arange(1, count + 1))
    return best_end(ends, max_iterations)


_one_pass = jax.jit(_passes.run, static_argnames=("mixture", "layout", "hard", "e_step"))


def _streamed(
    mixture: Any,
    starts: Any,
    seen: Survey,
    chart: Chart,
    size: int,
    options: Options,
    after: LoopResult | None,
    birth: Any,
) -> LoopResult:
    """EM from one start in a loop of Python, a pass a chunk; each birth has its own folder."""
    folder, hard = options.checkpoint, options.assignment == "hard"
    known = {} if folder is None else _arguments(mixture, seen, options)
    if folder is not None and birth:
        folder = Path(folder) / f"birth-{birth}"
    source = seen.data
    pieces = (
        source
        if isinstance(source, Chunks)
        else Chunks([(source, seen.all_weights)], weighted=True)
    )

    def one_pass(params: Any) -> _passes.Pass:
        total = lost = frames = None
        count = 0
        for x, weights in pieces.checked(mixture.family, seen.weights.dtype):
            count += weights.shape[0]
            layout = _passes.Layout(size, num_shards(x))
            arguments = (mixture, params, x, weights, chart.frame, layout)
            sums, frames = _one_pass(*arguments, hard=hard, e_step=options.e_step)
            if total is None:
                total, lost = sums, jax.tree.map(jnp.zeros_like, sums)
            else:
                total, lost = compensated_sum(total, lost, sums)
        if count != seen.num_data:
            raise ValueError(
                f"the source of Chunks must give the same observations on each pass; got {count} "
                f"after {seen.num_data}. Let the function make a new iterator each time."
            )
        return _passes.Pass(cast(Expectations, total), frames)

    return iterate(
        *_steps(mixture, chart, seen.total, options.fixed, one_pass),
        jax.tree.map(lambda leaf: leaf[0], starts),
        tolerance=options.tolerance,
        max_iterations=options.max_iterations,
        progress=options.progress,
        extrapolate=partial(squarem, mixture) if options.acceleration else None,
        while_loop=resumable_loop(folder, known),
        after=after,
        most_loss=_most_loss(chart, seen.weights.dtype),
    )


def _arguments(mixture: Any, seen: Survey, options: Options) -> dict[str, Any]:
    """What the end of a fit depends on, beside the number of its steps."""
    start = options.initialization
    if not isinstance(start, mixture.Point):
        start = (start, jax.random.key_data(options.key), options.num_restarts)
    return {
        "mixture": repr(mixture),
        "data": (seen.num_data, seen.total, seen.sample, seen.weights),
        "start": start,
        "prior": options.prior,
        "fixed": sorted(map(str, options.fixed)),
        "tolerance": options.tolerance,
        "acceleration": options.acceleration,
        "assignment": options.assignment,
        "covariance_regularization": options.covariance_regularization,
    }
