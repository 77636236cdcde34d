"""One pass over the data in the frame that keeps its digits: E-step, sums, M-step.

The data are standardized chunk by chunk, `z = scale^-1 (x - offset)`, and the parameters of a fit
are those of z. Of a family whose log-density is `<theta, T(z)> - psi` to rounding the pass is two
matrix products with the columns of `T(z)`, one for the log-densities and one for the sums. Where a
component is so narrow that this would round too much, each component has a frame of its own, that
in which it is the standard member: its log-densities are those of the standard member and its sums
are taken about its mean, in units of its deviations. Where entries are missing each has always a
frame of its own, see `_missing`.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.discrete.softmax import logsumexp
from igeojax.em._given_e_step import given_sums
from igeojax.em._missing import standardized, sums_of_observed, unturned
from igeojax.em.expectations import Expectations, assigned, neutral_frames, sum_over_chunks

MOST_ROUNDING = {4: 6e-5, 8: 3e-9}
"""Mean bound of the rounding of a log-density, nats a coordinate, by the bytes of a number.

Products are taken below it. In float64 the mean log-likelihood is then off by 1/25 to 1/100 of the
bound (measured at dimensions 3 to 16, conditions of the components 10 to 10^8), as errors of either
sign cancel: by less than 1e-10 of itself. In float32 it is off by less than 1e-5 of itself.
"""


DEGENERATE = 10_000
"""Conditional variances of so many units in the last place of those of blurred data are none."""


class Pass(NamedTuple):
    """Sums of a pass, and the frame of each component that its statistics are taken in."""

    sums: Expectations
    frames: Any


class Layout(NamedTuple):
    """How a pass goes through its rows: `chunk_size` at once on each of `num_shards` devices."""

    chunk_size: int
    num_shards: int = 1


def data_frame(family: Any, sample: Any, weights: Array, variance: Array | None) -> Any:
    """The frame of the member that is fitted to a sample, blurred by noise of a variance.

    Of degenerate data (a constant column, collinear ones) that of each column blurred by a tenth of
    its deviation, of 1 where it has none.
    """
    shares = weights / jnp.sum(weights)

    def deviation(leaf: Array) -> Array:
        centred = leaf - jnp.tensordot(shares, leaf, 1)[None]
        square = jnp.tensordot(shares, centred**2, 1)
        return jnp.where(square > 0, 0.1 * jnp.sqrt(square), 1.0)[None]

    def fitted(size: Callable[[Array], Array]) -> Any:
        def blurred(leaf: Array) -> Array:
            if not jnp.issubdtype(leaf.dtype, jnp.floating):
                return leaf
            drawn = jax.random.normal(jax.random.key(0), leaf.shape, leaf.dtype)
            return leaf + size(leaf).astype(leaf.dtype) * drawn

        return family._fit(jax.tree.map(blurred, sample), shares)

    neutral = family.neutral_frame(weights.dtype)
    if not jax.tree.leaves(neutral):
        return neutral
    if variance is None:
        theta = family._fit(sample, shares)
    else:
        noise = jnp.sqrt(variance)
        theta = fitted(lambda _: noise)
    spread = fitted(deviation)
    left, full = map(family.conditional_variances, (theta, spread))
    frame, other = map(family.frame_of, (theta, spread))
    choices = (
        (frame, (left > DEGENERATE * jnp.finfo(weights.dtype).eps * full).all()),
        (other, jnp.isfinite(full).all()),
    )
    for found, sound in reversed(choices):
        finite = jnp.asarray([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(found)]).all()
        take = finite & sound
        neutral = jax.tree.map(lambda leaf, rest, t=take: jnp.where(t, leaf, rest), found, neutral)
    return neutral


def run(
    mixture: Any,
    params: Any,
    x: Any,
    weights: Array,
    frame: Any,
    layout: Layout,
    *,
    hard: bool = False,
    e_step: Callable[..., Any] | None = None,
) -> Pass:
    """One pass: the sums at `params`, which are those of the standardized data.

    Args:
      mixture: the `Mixture`.
      params: `Framed` parameters in the frame of the data.
      x: observations as they come.
      weights: shape `(N,)`.
      frame: the frame of the data.
      layout: how the rows are taken.
      hard: see `expectations.assigned`.
      e_step: None, or what takes its place; see `Mixture.fit`.

    Returns:
      The `Pass`; its log-likelihood is that of the observations.
    """
    family, own = mixture.family, params.frames
    if mixture.missing:
        own = jax.vmap(lambda _, frame: unturned(frame))(params.log_weights, own)
        in_frames = sums_of_observed(mixture, params, own, hard=hard)

        def observed(x: Any, weights: Array) -> Expectations:
            sums = in_frames(standardized(family, x, frame), weights)
            volume = jnp.sum(weights * family.observed_log_volume(x, frame))
            return sums._replace(log_likelihood=sums.log_likelihood - volume)

        return Pass(sum_over_chunks(observed, x, weights, **layout._asdict()), own)

    def summed(partial_sum: Any) -> Expectations:
        return sum_over_chunks(
            lambda x, weights: partial_sum(family.standardized(x, frame), weights),
            x,
            weights,
            **layout._asdict(),
        )

    in_own = lambda: Pass(summed(sums_in_frames(mixture, params, own, own=True, hard=hard)), own)
    if e_step is not None:
        z = family.standardized(x, frame)
        found = Pass(given_sums(mixture, params, z, weights, e_step), own)
    elif not family.is_linear:
        found = in_own()
    else:
        coefficients, constants, exact = _linear_form(family, params)
        found = jax.lax.cond(
            exact,
            lambda: Pass(
                _from_columns(
                    family, summed(_by_products(family, coefficients, constants, hard=hard))
                ),
                neutral_frames(mixture, constants.dtype),
            ),
            in_own,
        )
    volume = found.sums.weight * family.log_volume(frame)
    sums = found.sums._replace(log_likelihood=found.sums.log_likelihood - volume)
    return Pass(sums, found.frames)


def _linear_form(family: Any, params: Any) -> tuple[Array, Array, Array]:
    """Coefficients and constants of the log-densities, and whether their products are exact."""
    coefficients = jax.vmap(family.coefficients)(params.components)
    constants = params.log_weights - family.log_partition(params.components)
    # A component rounds the log-densities of its own rows, of which its weight is the share.
    sizes = jnp.sum(jnp.abs(coefficients), axis=1)
    # Of one component a hundred times the mean is let pass: its M-step has digits to spare.
    size = jnp.maximum(jnp.exp(params.log_weights) @ sizes, 1e-2 * jnp.max(sizes))
    rounding = jnp.finfo(size.dtype).eps * size / max(1, math.prod(family.event_shape))
    return coefficients, constants, rounding < MOST_ROUNDING[size.dtype.itemsize]


def _from_columns(family: Any, sums: Expectations) -> Expectations:
    table = sums.statistics
    statistics = jax.vmap(family.from_columns, 1)(table[1:])
    return sums._replace(counts=table[0], statistics=statistics)


def _by_products(family: Any, coefficients: Array, constants: Array, *, hard: bool) -> Any:
    """Sums of a chunk by two matrix products, the observations on the last axis; as columns."""
    affine = jnp.concatenate([constants[:, None], coefficients], axis=1)

    def partial_sum(z: Any, weights: Array) -> Expectations:
        # A column of ones carries the constants and the counts.
        columns = jnp.concatenate([jnp.ones_like(weights)[None], family.columns(z)])
        joint = affine @ columns
        if hard:
            responsibilities, values = assigned(joint, hard=True, axis=0)
            mass = responsibilities * weights[None]
        else:
            top = jnp.max(joint, axis=0)
            excess = jnp.exp(joint - top[None])
            total = jnp.sum(excess, axis=0)
            mass, values = excess * (weights / total)[None], top + jnp.log(total)
        # The long operand first: it is then read as it lies, twice as fast.
        table = jax.lax.dot_general(columns, mass, (((1,), (1,)), ((), ())))
        seen = jnp.where(weights > 0, values, 0.0)
        none: Any = ()  # They are the first row of the table.
        return Expectations(none, table, jnp.sum(weights * seen), jnp.sum(weights))

    return partial_sum


def sums_in_frames(
    mixture: Any, params: Any, frames: Any, *, own: bool = False, hard: bool = False
) -> Any:
    """The function `(x, weights) -> Expectations` of a chunk, each component in its frame.

    Args:
      mixture: the `Mixture`.
      params: its parameters.
      frames: one for each component, or the empty frame.
      own: whether they are the components' own, in which they are standard members.
      hard: see `expectations.assigned`.

    Returns:
      The function; statistics in the frames, the log-likelihood that of x.
    """
    family = mixture.family
    joint_of = _joint_in_frames(family, params, frames, own=own)

    def statistics(x: Any, mass: Array, frame: Any) -> Any:
        return family.statistics_sum(family.standardized(x, frame), mass)

    def partial_sum(x: Any, weights: Array) -> Expectations:
        joint = joint_of(x)
        responsibilities, values = assigned(joint, hard=hard, axis=0)
        mass = responsibilities * weights[None]
        # An observation of weight 0 does not count, even where its density is 0.
        seen = jnp.where(weights > 0, values, 0.0)
        return Expectations(
            jnp.sum(mass, axis=1),
            jax.vmap(partial(statistics, x))(mass, frames),
            jnp.sum(weights * seen),
            jnp.sum(weights),
        )

    return partial_sum


def _joint_in_frames(family: Any, params: Any, frames: Any, *, own: bool) -> Callable[[Any], Array]:
    """`log w_k + log p(x; theta_k)` of a chunk, the components first, each in its frame."""
    members = jax.vmap(family.in_frame)(params.components, frames)
    volumes = jax.vmap(lambda _, frame: family.log_volume(frame))(params.log_weights, frames)
    constants = (params.log_weights - volumes)[:, None]

    log_density = family.own_log_density if own else family.log_density

    def one(x: Any, theta: Any, frame: Any) -> Array:
        return log_density(theta, family.standardized(x, frame))

    return lambda x: jax.vmap(partial(one, x))(members, frames) + constants


def log_density(mixture: Any, params: Any, x: Array, chunk_size: int) -> Array:
    """Log-densities of a mixture of a family with a linear form, chunk by chunk.

    In the frame of the member nearest to the mixture, that of its mean statistics.

    Args:
      mixture: the `Mixture`.
      params: its parameters.
      x: at least `chunk_size` observations on axis 0.
      chunk_size: rows taken at once.

    Returns:
      The values.
    """
    family, count = mixture.family, x.shape[0]
    weights = jnp.exp(params.log_weights)
    etas = family.mean_from_natural(params.components)
    eta = jax.tree.map(lambda leaf: jnp.tensordot(weights, leaf, axes=1), etas)
    # The value is the same in any frame: the derivative need not go through this one.
    frame = jax.lax.stop_gradient(family.frame_of(family.natural_from_mean(eta)))
    components = jax.vmap(lambda theta: family.in_frame(theta, frame))(params.components)
    params = params._replace(components=components)
    coefficients, constants, exact = _linear_form(family, params)

    def filled(joint_of: Callable[[Any], Array]) -> Array:
        def fill(index: Array, values: Array) -> Array:
            start = jnp.minimum(index * chunk_size, count - chunk_size)
            part = jax.lax.dynamic_slice_in_dim(x, start, chunk_size)
            found = logsumexp(joint_of(family.standardized(part, frame)), axis=0)
            entries = part.reshape(chunk_size, -1)
            infinite = jnp.isinf(entries).any(axis=1) & ~jnp.isnan(entries).any(axis=1)
            found = jnp.where(infinite, -jnp.inf, found)
            return jax.lax.dynamic_update_slice(values, found, (start,))

        return jax.lax.fori_loop(0, -(-count // chunk_size), fill, jnp.zeros(count, weights.dtype))

    values = jax.lax.cond(
        exact,
        lambda: filled(lambda z: coefficients @ family.columns(z) + constants[:, None]),
        lambda: filled(
            _joint_in_frames(family, params, jax.vmap(family.frame_of)(params.components), own=True)
        ),
    )
    return values - family.log_volume(frame)
