"""Passes over observations with missing entries: what is not observed is integrated out.

The E-step expects the statistics of each observation under each component, given what is observed
of it; the M-step is the same. Frames move and scale each coordinate and do not turn them: what is
missing stays missing, and the scales of the observed coordinates count in the log-density.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.em.expectations import Expectations, assigned
from igeojax.families.frames import Frame
from igeojax.families.missing import expected_statistics, observed_log_density


def sums_of_observed(mixture: Any, params: Any, frames: Any, *, hard: bool = False) -> Any:
    """The function `(x, weights) -> Expectations` of a chunk of observations with nan.

    Args:
      mixture: the `Mixture`.
      params: its parameters.
      frames: of each component one that does not turn, or the empty frame.
      hard: see `expectations.assigned`.

    Returns:
      The function; the statistics are in the frames, the log-likelihood is that of what is
      observed of x.
    """

    def partial_sum(x: Any, weights: Array) -> Expectations:
        log_density = log_density_in_frames(mixture.family, params.components, frames, x)
        joint = log_density + params.log_weights[None]
        responsibilities, values = assigned(joint, hard=hard)
        mass = responsibilities * weights[:, None]
        seen = jnp.where(weights > 0, values, 0.0)
        sums = shared_out_observed(mixture.family, mass, params.components, frames, x)
        return sums._replace(log_likelihood=jnp.sum(weights * seen), weight=jnp.sum(weights))

    return partial_sum


def log_density_in_frames(family: Any, components: Any, frames: Any, x: Any) -> Array:
    """Log-densities of what is observed, each in the frame of its component; those come last."""

    def one(theta: Any, frame: Any) -> Array:
        z = standardized(family, x, frame)
        inside = observed_log_density(family, family.in_frame(theta, frame), z)
        return inside - family.observed_log_volume(x, frame)

    return jax.vmap(one, out_axes=-1)(components, frames)


def shared_out_observed(
    family: Any, mass: Array, components: Any, frames: Any, x: Any
) -> Expectations:
    """Counts and statistics of observations by their mass, rows of the data and then components.

    The statistics are those in the frames of the components.
    """

    def one(share: Array, theta: Any, frame: Any) -> Any:
        z = standardized(family, x, frame)
        expected = expected_statistics(family, family.in_frame(theta, frame), z)
        # An observation that does not count has perhaps no finite statistics.
        kept = lambda leaf: jnp.where(_leading(share > 0, leaf), leaf, 0.0)
        return jax.tree.map(lambda leaf: jnp.tensordot(share, kept(leaf), axes=1), expected)

    counts = jnp.sum(mass, axis=0)
    statistics = jax.vmap(one, (1, 0, 0))(mass, components, frames)
    return Expectations(counts, statistics, jnp.zeros((), mass.dtype), jnp.sum(counts))


def own_frames(family: Any, components: Any, *, missing: bool) -> Any:
    """The frame in which each component is the standard member; unturned with missing entries."""
    # In one map: the frames of a family that has none are empty, which no second map takes.
    own = lambda theta: unturned(family.frame_of(theta)) if missing else family.frame_of(theta)
    return jax.vmap(own)(components)


def unturned(frame: Any) -> Any:
    """The frame of the same mean and deviations that does not turn observations.

    In a frame that mixes entries one that is missing would hide the others.
    """

    def part(found: Frame) -> Frame:
        if jnp.ndim(found.scale) < 2:
            return found
        deviation = jnp.sqrt(jnp.sum(found.scale**2, axis=1))
        return Frame(found.offset, jnp.diag(deviation), jnp.diag(1 / deviation))

    return jax.tree.map(part, frame, is_leaf=lambda leaf: isinstance(leaf, Frame))


def standardized(family: Any, x: Any, frame: Any) -> Any:
    """Observations in a frame that does not turn, nan where they were."""
    holes = jax.tree.map(jnp.isnan, x)
    filled = jax.tree.map(lambda leaf, hole: jnp.where(hole, 0, leaf), x, holes)
    inside = family.standardized(filled, frame)
    return jax.tree.map(
        lambda leaf, hole: (
            jnp.where(hole, jnp.nan, leaf) if jnp.issubdtype(leaf.dtype, jnp.floating) else leaf
        ),
        inside,
        holes,
    )


def _leading(mask: Array, leaf: Array) -> Array:
    return mask.reshape(mask.shape + (1,) * (leaf.ndim - 1))
