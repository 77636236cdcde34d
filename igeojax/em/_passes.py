"""One pass over the data in the frame that keeps its digits: E-step, sums, M-step.

The data are standardized chunk by chunk, `z = scale^-1 (x - offset)`, and the parameters of a fit
are those of z. Of a family whose log-density is `<theta, T(z)> - psi` to rounding the pass is two
matrix products with the columns of `T(z)`, one for the log-densities and one for the sums. Where a
component is so narrow that this would round too much, each component has a frame of its own, that
in which it is the standard member: its log-densities are those of the standard member and its sums
are taken about its mean, in units of its deviations.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.discrete.softmax import log_softmax, logsumexp
from igeojax.em.expectations import Expectations, neutral_frames, sum_over_chunks

MOST_ROUNDING = {4: 1e-5, 8: 1e-11}
"""Rounding of a log-density, nats, up to which products are taken, by the bytes of a number."""


class Pass(NamedTuple):
    """Sums of a pass, and the frame of each component that its statistics are taken in."""

    sums: Expectations
    frames: Any


class Layout(NamedTuple):
    """How a pass goes through its rows: `chunk_size` at once on each of `num_shards` devices."""

    chunk_size: int
    num_shards: int = 1


def data_frame(family: Any, sample: Any, weights: Array, variance: Array) -> Any:
    """The frame of the member that is fitted to a sample, blurred by noise of a variance."""
    noise = lambda leaf: jax.random.normal(jax.random.key(0), leaf.shape, leaf.dtype)
    blurred = jax.tree.map(
        lambda leaf: (
            leaf + jnp.sqrt(variance).astype(leaf.dtype) * noise(leaf)
            if jnp.issubdtype(leaf.dtype, jnp.floating)
            else leaf
        ),
        sample,
    )
    theta = family._fit(blurred, weights / jnp.sum(weights))
    frame = family.frame_of(theta)
    sound = jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(frame)]).all()
    neutral = family.neutral_frame(weights.dtype)
    return jax.tree.map(lambda leaf, other: jnp.where(sound, leaf, other), frame, neutral)


def mapped(change: Any, params: Any, frame: Any) -> Any:
    """Mixture parameters whose components are `change(theta, frame)`."""
    components = jax.vmap(lambda theta: change(theta, frame))(params.components)
    return params._replace(components=components)


def run(mixture: Any, params: Any, x: Any, weights: Array, frame: Any, layout: Layout) -> Pass:
    """One pass: the sums at `params`, which are those of the standardized data.

    Args:
      mixture: the `Mixture`.
      params: parameters in the frame of the data.
      x: observations as they come.
      weights: shape `(N,)`.
      frame: the frame of the data.
      layout: how the rows are taken.

    Returns:
      The `Pass`; its log-likelihood is that of the observations.
    """
    family = mixture.family
    own = jax.vmap(family.frame_of)(params.components)

    def summed(partial_sum: Any) -> Expectations:
        return sum_over_chunks(
            lambda x, weights: partial_sum(family.standardized(x, frame), weights),
            x,
            weights,
            **layout._asdict(),
        )

    if not family.is_linear:
        found = Pass(summed(sums_in_frames(mixture, params, own)), own)
    else:
        coefficients = jax.vmap(family.coefficients)(params.components)
        constants = params.log_weights - family.log_partition(params.components)
        size = jnp.sum(jnp.abs(coefficients), axis=1)
        rounding = jnp.finfo(size.dtype).eps * jnp.max(size)
        found = jax.lax.cond(
            rounding < MOST_ROUNDING[size.dtype.itemsize],
            lambda: Pass(
                summed(_by_products(family, coefficients, constants)),
                neutral_frames(mixture, size.dtype),
            ),
            lambda: Pass(summed(sums_in_frames(mixture, params, own)), own),
        )
    volume = found.sums.weight * family.log_volume(frame)
    sums = found.sums._replace(log_likelihood=found.sums.log_likelihood - volume)
    return Pass(sums, found.frames)


def _by_products(family: Any, coefficients: Array, constants: Array) -> Any:
    """Sums of a chunk by two matrix products; the observations are on the last axis."""

    def partial_sum(z: Any, weights: Array) -> Expectations:
        columns = family.columns(z)
        joint = coefficients @ columns + constants[:, None]
        top = jnp.max(joint, axis=0)
        excess = jnp.exp(joint - top[None])
        total = jnp.sum(excess, axis=0)
        mass = excess * (weights / total)[None]
        sums = jax.lax.dot_general(mass, columns, (((1,), (1,)), ((), ())))
        seen = jnp.where(weights > 0, top + jnp.log(total), 0.0)
        return Expectations(
            jnp.sum(mass, axis=1),
            jax.vmap(family.from_columns)(sums),
            jnp.sum(weights * seen),
            jnp.sum(weights),
        )

    return partial_sum


def sums_in_frames(mixture: Any, params: Any, frames: Any) -> Any:
    """The function `(x, weights) -> Expectations` of a chunk, each component in its frame.

    Args:
      mixture: the `Mixture`.
      params: its parameters.
      frames: one for each component, or the empty frame.

    Returns:
      The function; statistics in the frames, the log-likelihood that of x.
    """
    family = mixture.family
    members = jax.vmap(family.in_frame)(params.components, frames)
    volumes = jax.vmap(lambda _, frame: family.log_volume(frame))(params.log_weights, frames)
    constants = params.log_weights - volumes

    def log_density(x: Any, theta: Any, frame: Any) -> Array:
        return family.log_density(theta, family.standardized(x, frame))

    def statistics(x: Any, mass: Array, frame: Any) -> Any:
        return family.statistics_sum(family.standardized(x, frame), mass)

    def partial_sum(x: Any, weights: Array) -> Expectations:
        joint = jax.vmap(partial(log_density, x))(members, frames) + constants[:, None]
        mass = jnp.exp(log_softmax(joint, axis=0)) * weights[None]
        # An observation of weight 0 does not count, even where its density is 0.
        seen = jnp.where(weights > 0, logsumexp(joint, axis=0), 0.0)
        return Expectations(
            jnp.sum(mass, axis=1),
            jax.vmap(partial(statistics, x))(mass, frames),
            jnp.sum(weights * seen),
            jnp.sum(weights),
        )

    return partial_sum
