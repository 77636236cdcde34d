"""Birth of components: one without observations takes a part of those of another.

Where it is born: in the heaviest component, whose observations are shared between the two by their
nearer of two k-means++ seeds. Unlike the observations of least density this does not depend on the
coordinates of the observations, and does not look for outliers, on which a component collapses.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.discrete.softmax import log_softmax
from igeojax.em._maximization import maximized
from igeojax.em.checkpoint import resumable_loop
from igeojax.em.expectations import neutral_frames, shared_out
from igeojax.em.initialization import features, nearest_seed_responsibilities
from igeojax.em.loop import LoopResult

EMPTY = 0.01
"""A component of less mass, in mean weights of an observation, is empty."""


def with_births(
    mixture: Any,
    end: LoopResult,
    seen: Any,
    chart: Any,
    options: Any,
    again: Callable[[Any, LoopResult, Array], LoopResult],
) -> LoopResult:
    """Go on from an end of EM while a component is empty and splitting another gains.

    The heaviest component is split first, then the others. A birth whose objective is less than
    that before it is not taken: the objective never falls.

    Args:
      mixture: the `Mixture`.
      end: where EM ended.
      seen: the survey of the data.
      chart: the frame of the data, the noise that blurs them and the prior.
      options: the arguments of the fit.
      again: `(start, end, number) -> end`, EM from a start that is taken where it is no worse than
        the end before; births are numbered from 1.

    Returns:
      The last end.
    """
    free = _free(mixture, options.fixed)
    floor = jnp.log(EMPTY / seen.num_data)

    def going(carry: tuple[LoopResult, Array, Array]) -> Array:
        end, rank, tried = carry
        empty = end.params.log_weights < floor
        donors = jnp.sum(free & ~empty)
        left = (tried < options.births) & (end.num_iterations < options.max_iterations)
        return end.converged & (free & empty).any() & (rank < donors) & left

    def attempt(carry: tuple[LoopResult, Array, Array]) -> tuple[LoopResult, Array, Array]:
        end, rank, tried = carry
        start = _split(
            *(mixture, end.params, rank, tried, seen.sample, seen.weights, chart), options.fixed
        )
        found = again(start, end, tried + 1)
        gained = found.num_iterations > end.num_iterations
        end = jax.tree.map(lambda new, old: jnp.where(gained, new, old), found, end)
        return end, jnp.where(gained, 0, rank + 1), tried + 1

    traced = checks.concrete(end.converged) is None
    while_loop = jax.lax.while_loop if traced else resumable_loop(None)
    zero = jnp.zeros((), int)
    return while_loop(going, attempt, (end, zero, zero))[0]


def _free(mixture: Any, fixed: tuple[str | int, ...]) -> Array:
    """Mask of the components that are not fixed."""
    labels = [label for label in fixed if not isinstance(label, str)]
    return jnp.ones(mixture.num_components, bool).at[jnp.asarray(labels, int)].set(False)


@partial(jax.jit, static_argnames=("mixture", "fixed"))
def _split(
    mixture: Any,
    params: Any,
    rank: Array,
    number: Array,
    sample: Any,
    weights: Array,
    chart: Any,
    fixed: tuple[str | int, ...],
) -> Any:
    """A step of EM in which the lightest component takes a part of the heaviest's observations.

    Args:
      mixture: the `Mixture`.
      params: `Framed` parameters in the frame of the data.
      rank: 0 splits the heaviest component, 1 the next.
      number: of the birth; another draws other seeds.
      sample: observations without missing entries.
      weights: their weights.
      chart: the frame of the data, the noise that blurs them and the prior.
      fixed: what stays.

    Returns:
      The parameters.
    """
    family = mixture.family
    z = family.standardized(sample, chart.frame)
    joint = mixture.joint_log_density(mixture.Point(params.log_weights, params.components), z)
    mass = jnp.exp(log_softmax(joint)) * weights[:, None]
    free = _free(mixture, fixed)
    order = jnp.argsort(jnp.where(free, -params.log_weights, jnp.inf))
    donor, born = order[rank], order[jnp.sum(free) - 1]
    key = jax.random.fold_in(jax.random.key(0), number)
    rows = features(family, z).astype(weights.dtype)
    halves = nearest_seed_responsibilities(key, rows, mass[:, donor], 2) * mass[:, donor, None]
    mass = mass.at[:, donor].set(halves[:, 0]).at[:, born].set(halves[:, 1])
    return maximized(
        mixture,
        shared_out(family, mass, z),
        neutral_frames(mixture, weights.dtype),
        previous=params,
        fixed=fixed,
        noise=chart.noise,
        prior=chart.prior,
        standardized=True,
    )
