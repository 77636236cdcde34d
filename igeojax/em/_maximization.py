"""The M-step on sums: mean statistics to natural parameters, weights from counts."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.em.expectations import Expectations, along, mean_statistics
from igeojax.families.frames import composed

NOISE = 8
"""Variances of so many units in the last place of the mean square are rounding."""

FIXABLE = ("weights", "components")
"""Names of what a fit may keep."""


class Framed(NamedTuple):
    """Parameters of a mixture, and of each component the frame in which it is the standard member.

    A narrow component has digits in its frame that its natural parameters have no room for: in
    float32 these round away 1e-3 of a nat and more where its covariance has a condition of 1e6.
    """

    log_weights: Any
    components: Any
    frames: Any


def framed(family: Any, params: Any) -> Framed:
    """Parameters with the frames that they give themselves."""
    frames = jax.vmap(family.frame_of)(params.components)
    return Framed(params.log_weights, params.components, frames)


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
      those of degenerate data. `Framed` of standardized data, as the `previous` ones then are.
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
        if previous is not None:
            # An empty component keeps its mean: its scale is that of the others.
            inside = jax.vmap(family.in_frame)(previous.components, frames)
            eta = _chosen(empty, family.mean_from_natural(inside), eta)
        eta = family.shared(jnp.where(empty, 0.0, counts) / jnp.sum(counts), eta, frames)
        empty = jnp.zeros_like(empty)
    theta, components = _members(family, eta, frames, empty, standardized=standardized)
    found = mixture.Point(log_weights, components)
    if standardized:
        # Not of the components: near the standard member nothing cancels.
        own = jax.vmap(lambda theta, frame: composed(frame, family.frame_of(theta)))(theta, frames)
        found = Framed(log_weights, components, own)
    return _with_kept(found, previous, empty, fixed)


def _members(
    family: Any, eta: Any, frames: Any, empty: Array, *, standardized: bool
) -> tuple[Any, Any]:
    """Natural parameters of mean statistics, in frames and out; nan where they are but rounding."""
    eps = jnp.finfo(jax.tree.leaves(eta)[0].dtype).eps
    noise = NOISE * eps * jax.vmap(family.mean_squares)(eta)

    def found(eta: Any) -> tuple[Any, Array]:
        theta = jax.vmap(lambda eta: family.natural_from_mean(family.in_chart(eta)))(eta)
        left = jax.vmap(family.conditional_variances)(theta)
        return theta, (left > noise).all(axis=1)

    def blurred(theta: Any, sound: Array) -> tuple[Any, Array]:
        added = jax.vmap(family.blur)(2 * noise, eta)
        other, left = found(jax.tree.map(jnp.add, eta, added))
        return _chosen(sound, theta, other), sound | left

    theta, sound = found(eta)
    if standardized and noise.shape[1]:
        # Only where variances shrink to rounding: elsewhere it would make them too large.
        as_it_is = lambda theta, sound: (theta, sound)
        theta, sound = jax.lax.cond((sound | empty).all(), as_it_is, blurred, theta, sound)
    moved = jax.vmap(family.from_frame)(theta, frames)
    if standardized:
        variances = jax.vmap(family.conditional_variances)(moved)
        sound = sound & (variances > (4 * eps) ** 2).all(axis=1)
        # What rounding leaves no frame could not be handed out, though the frames go on.
        for leaf in jax.tree.leaves(jax.vmap(family.frame_of)(moved)):
            sound = sound & jnp.isfinite(leaf.reshape(sound.shape[0], -1)).all(axis=1)
    known = lambda leaf: jnp.where(along(sound, leaf), leaf, jnp.nan)
    return jax.tree.map(known, (theta, moved))


def _chosen(mask: Array, one: Any, other: Any) -> Any:
    """What is of `one` where the mask of the components says so."""
    return jax.tree.map(lambda a, b: jnp.where(along(mask, a), a, b), one, other)


def _with_kept(found: Any, previous: Any, empty: Array, fixed: tuple[str | int, ...]) -> Any:
    """The parameters, with those of before where they are fixed or nothing is known of them."""
    if previous is None:
        return found
    kept = jnp.ones_like(empty) if "components" in fixed else empty
    labels = [label for label in fixed if not isinstance(label, str)]
    kept = kept.at[jnp.asarray(labels, int)].set(True) if labels else kept
    weights = previous if "weights" in fixed else found
    return _chosen(kept, previous, found)._replace(log_weights=weights.log_weights)


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
    if mixture.tied and not set(fixed) <= set(FIXABLE):
        raise ValueError(
            f"fixed must be of {', '.join(map(repr, FIXABLE))} where components are tied; got "
            f"{fixed!r}. They have one scale in common: fix all of them or none."
        )
    if fixed and previous is None:
        raise ValueError(
            f"fixed={fixed!r} needs the parameters to keep; got None. Pass previous=params (a "
            "starting point, in a fit)."
        )
