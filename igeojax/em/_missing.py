"""Passes over observations with missing entries: what is not observed is integrated out.

The E-step expects the statistics of each observation under each component, given what is observed
of it; the M-step is the same. Here no component has a frame of its own, and that of the data only
moves the origin.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.discrete.softmax import log_softmax, logsumexp
from igeojax.em.expectations import Expectations
from igeojax.families.frames import Frame
from igeojax.families.missing import expected_statistics, observed_log_density


def sums_of_observed(mixture: Any, params: Any) -> Any:
    """The function `(x, weights) -> Expectations` of a chunk of observations with nan.

    Args:
      mixture: the `Mixture`.
      params: its parameters.

    Returns:
      The function; the log-likelihood is that of what is observed.
    """

    def partial_sum(x: Any, weights: Array) -> Expectations:
        log_density = lambda theta: observed_log_density(mixture.family, theta, x)
        joint = jax.vmap(log_density, out_axes=1)(params.components) + params.log_weights[None]
        mass = jnp.exp(log_softmax(joint)) * weights[:, None]
        seen = jnp.where(weights > 0, logsumexp(joint), 0.0)
        sums = shared_out_observed(mixture.family, mass, params.components, x)
        return sums._replace(log_likelihood=jnp.sum(weights * seen), weight=jnp.sum(weights))

    return partial_sum


def shared_out_observed(family: Any, mass: Array, components: Any, x: Any) -> Expectations:
    """Counts and statistics of observations by their mass, rows of the data and then components."""

    def one(share: Array, theta: Any) -> Any:
        expected = expected_statistics(family, theta, x)
        # An observation that does not count has perhaps no finite statistics.
        kept = lambda leaf: jnp.where(_leading(share > 0, leaf), leaf, 0.0)
        return jax.tree.map(lambda leaf: jnp.tensordot(share, kept(leaf), axes=1), expected)

    counts = jnp.sum(mass, axis=0)
    statistics = jax.vmap(one, (1, 0))(mass, components)
    return Expectations(counts, statistics, jnp.zeros((), mass.dtype), jnp.sum(counts))


def centred(frame: Any) -> Any:
    """The frame that moves observations and neither turns nor scales them.

    A scale would count in the log-density of the observed entries alone, another in each row.
    """

    def part(found: Frame) -> Frame:
        one = jnp.eye(len(found.offset)) if jnp.ndim(found.scale) == 2 else jnp.ones(())
        one = jnp.broadcast_to(one.astype(found.scale.dtype), jnp.shape(found.scale))
        return Frame(found.offset, one, one)

    return jax.tree.map(part, frame, is_leaf=lambda leaf: isinstance(leaf, Frame))


def standardized(family: Any, x: Any, frame: Any) -> Any:
    """Observations in a centred frame, nan where they were."""
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
