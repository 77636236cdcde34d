"""The M-step on sums: mean statistics to natural parameters, weights from counts."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.em.expectations import Expectations, along, mean_statistics

NOISE = 8
"""Variances of so many units in the last place of the mean square are rounding."""

FIXABLE = ("weights", "components")
"""Names of what a fit may keep."""


def maximized(
    mixture: Any,
    expectations: Expectations,
    frames: Any,
    *,
    previous: Any = None,
    fixed: tuple[str | int, ...] = (),
    noise: Any = None,
    prior: Any = None,
    standardized: bool = False,
) -> Any:
    """Log-weights and components that maximize the expected complete log-likelihood.

    Args:
      mixture: the `Mixture`.
      expectations: sums over all observations.
      frames: of each component, the frame that its statistics are taken in, or the empty frame.
      previous: the parameters before; kept by components without mass, and where `fixed`.
      fixed: names of parts, or numbers of components.
      noise: mean statistics of noise that blurs the observations, or None.
      prior: see `Mixture.maximized`.
      standardized: whether the frames are those of components of standardized data. Variances may
        then shrink to the rounding of one step, in the frame of which the next goes on, down to the
        rounding of the data; else statistics that leave no more than rounding are an error.

    Returns:
      Parameters in the frame that `frames` stand in; a component is nan where its statistics are
      those of degenerate data.
    """
    family, counts = mixture.family, expectations.counts
    log_weights = jnp.log(counts / jnp.sum(counts))
    if prior is not None:
        log_weights = prior.log_weights(counts)
        expectations = prior.added(family, expectations, frames)
        counts = expectations.counts
    eta, empty = mean_statistics(expectations)
    if noise is not None:
        local = lambda mass, frame: family.sums_in_frame(mass, noise, frame)
        added = jax.vmap(local)(0.0 * counts, frames)
        eta = jax.tree.map(jnp.add, eta, added)
    if mixture.tied:
        eta = family.shared(jnp.where(empty, 0.0, counts) / jnp.sum(counts), eta)

    eps = jnp.finfo(counts.dtype).eps

    def component(eta: Any, frame: Any) -> Any:
        noise = NOISE * eps * family.mean_squares(eta)
        if standardized:
            eta = jax.tree.map(jnp.add, eta, family.blur(2 * jnp.max(noise, initial=0.0), eta))
        theta = family.natural_from_mean(family.in_chart(eta))
        sound = (family.conditional_variances(theta) > noise).all()
        moved = family.from_frame(theta, frame)
        if standardized:
            sound = sound & (family.conditional_variances(moved) > (4 * eps) ** 2).all()
        return jax.tree.map(lambda leaf: jnp.where(sound, leaf, jnp.nan), moved)

    components = jax.vmap(component)(eta, frames)
    return _with_kept(mixture.Point(log_weights, components), previous, empty, fixed)


def _with_kept(found: Any, previous: Any, empty: Array, fixed: tuple[str | int, ...]) -> Any:
    """The parameters, with those of before where they are fixed or nothing is known of them."""
    if previous is None:
        return found
    kept = jnp.ones_like(empty) if "components" in fixed else empty
    labels = [label for label in fixed if not isinstance(label, str)]
    kept = kept.at[jnp.asarray(labels, int)].set(True) if labels else kept
    components = jax.tree.map(
        lambda new, old: jnp.where(along(kept, new), old, new),
        found.components,
        previous.components,
    )
    weights = previous if "weights" in fixed else found
    return found._replace(log_weights=weights.log_weights, components=components)


def require_fixable(mixture: Any, fixed: tuple[str | int, ...], previous: Any) -> None:
    """Check what is to stay as it was.

    Raises:
      ValueError: an entry that is no part of the mixture, or nothing to keep it from.
    """
    known = (*FIXABLE, *range(mixture.num_components))
    if not isinstance(fixed, tuple) or not set(fixed) <= set(known):
        raise ValueError(
            f"fixed must be a tuple of {', '.join(map(repr, FIXABLE))} and numbers of components "
            f"below {mixture.num_components}; got {fixed!r}. Write ('weights',) for one name."
        )
    if fixed and previous is None:
        raise ValueError(
            f"fixed={fixed!r} needs the parameters to keep; got None. Pass previous=params (a "
            "starting point, in a fit)."
        )
