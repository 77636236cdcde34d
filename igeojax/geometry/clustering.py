"""Clustering of laws by k-means in a divergence of their family."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from igeojax._core import checks
from igeojax.divergences.exponential.relative_entropy import kl
from igeojax.families._pairs import selected
from igeojax.families.base import ExponentialFamily
from igeojax.geometry._points import padded, require_laws_inside, single_row_points
from igeojax.numerics.seeding import plus_plus_seeds
from igeojax.numerics.weighting import normalized_weights

SIDES = ("right", "left")
"""Where the centers stand in the divergence."""


class Clustering(NamedTuple):
    """Centers of the clusters, the cluster of each law, and the objective step by step.

    `centers` are natural parameters, the clusters along axis 0. `objective` holds the weighted mean
    divergence after each assignment, and repeats its last value after the last step; it never
    rises. `converged` says that the last step left all labels as they were and that
    the objective is known: it is nan where a traced law has no divergence.
    """

    centers: Any
    labels: Int[Array, "laws"]
    objective: Float[Array, "steps"]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


def bregman_k_means(
    family: ExponentialFamily,
    points: Any,
    num_clusters: int,
    *,
    key: Key[Array, ""] | None = None,
    weights: Float[ArrayLike, "laws"] | None = None,
    side: str = "right",
    start: Any = None,
    max_steps: int = 100,
) -> Clustering:
    """Hard clustering of laws that lowers `sum_i w_i KL(p_i || c_label(i))`, Bregman k-means.

    Assigns each law to its nearest center and moves each center to the mean of its laws, in turn.
    Centers on the right are averages of mean parameters (`m_mean`), and cover their laws; centers
    on the left, of `KL(c || p_i)`, are averages of natural parameters (`e_mean`). A center without
    laws stays where it is. A step costs `N K` divergences.

    A local minimum: try several keys and keep the lowest objective.

    Args:
      family: the family.
      points: natural or source parameters, N laws along axis 0.
      num_clusters: number of clusters K, from 1 to N.
      key: a PRNG key, for seeds among the laws drawn one after another in proportion to weight and
        divergence from the nearest seed so far (k-means++). Not needed with `start`.
      weights: non-negative, one for each law; None weighs all alike.
      side: `"right"` or `"left"`, where the centers stand in the divergence.
      start: natural or source parameters of K first centers along axis 0, instead of seeds.
      max_steps: bound of steps.

    Returns:
      A `Clustering`.

    Raises:
      TypeError: `family` is not a family, points are not of it, or `key` is missing.
      ValueError: shapes, weights or options do not fit.

    References:
      [Banerjee2005] algorithm 1; [NockLuosto2008] (seeding by a Bregman divergence).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> laws = poisson.Params(jnp.array([1.0, 50.0, 3.0, 70.0]))
      >>> found = bregman_k_means(poisson, laws, 2, key=jax.random.key(0))
      >>> bool(found.converged)
      True
      >>> jnp.sort(poisson.params_from_natural(found.centers).rate).round(6).tolist()
      [2.0, 60.0]
    """
    theta, count = single_row_points(family, "points", points)
    checks.require_option("side", side, SIDES)
    checks.require_count("max_steps", max_steps)
    checks.require_count("num_clusters", num_clusters)
    if num_clusters > count:
        raise ValueError(
            f"num_clusters must be at most the number of laws, {count}; got {num_clusters}. Use "
            "fewer clusters."
        )
    dtype = jax.tree.leaves(theta)[0].dtype
    share = normalized_weights(weights, count)
    share = jnp.full(count, 1 / count, dtype) if share is None else share.astype(dtype)
    require_laws_inside(family, theta, share)
    if start is None:
        checks.require_key(key)
        return _seeded(family, theta, share, key, num_clusters, side, max_steps)
    centers, found = single_row_points(family, "start", start)
    if found != num_clusters:
        raise ValueError(
            f"start must hold {num_clusters} centers along axis 0; got {found}. Pass as many as "
            "num_clusters says."
        )
    centers = jax.tree.map(lambda leaf: leaf.astype(dtype), centers)
    return _clustered(family, theta, share, centers, side, max_steps)


def _distances(family: ExponentialFamily, points: Any, centers: Any, side: str) -> Array:
    """Divergences of each law and each center, shape `(laws, centers)`."""
    laws = jax.tree.map(lambda leaf: jnp.expand_dims(leaf, 1), points)
    pair = (laws, padded(centers, 1))
    return kl(family, *(pair if side == "right" else pair[::-1]))


@functools.partial(jax.jit, static_argnames=("family", "num_clusters", "side", "max_steps"))
def _seeded(
    family: ExponentialFamily,
    points: Any,
    share: Array,
    key: Array,
    num_clusters: int,
    side: str,
    max_steps: int,
) -> Clustering:
    """Clustering from k-means++ seeds."""

    def from_seed(seed: Array) -> Array:
        center = jax.tree.map(lambda leaf: leaf[seed][None], points)
        return _distances(family, points, center, side)[:, 0]

    seeds = plus_plus_seeds(key, share, from_seed, num_clusters)
    centers = jax.tree.map(lambda leaf: leaf[seeds], points)
    return _clustered(family, points, share, centers, side, max_steps)


class _Step(NamedTuple):
    centers: Any
    labels: Array
    objective: Array
    steps: Array
    changed: Array


@functools.partial(jax.jit, static_argnames=("family", "side", "max_steps"))
def _clustered(
    family: ExponentialFamily, points: Any, share: Array, start: Any, side: str, max_steps: int
) -> Clustering:
    """Alternating assignments and means from first centers."""
    num_clusters = family.batch_shape(start)[0]
    chart = family.mean_from_natural(points) if side == "right" else points

    def assigned(centers: Any) -> tuple[Array, Array]:
        distances = _distances(family, points, centers, side)
        # A law that has no divergence (outside the domain) makes the objective nan.
        counted = share > 0
        nearest = jnp.where(counted, jnp.min(distances, axis=1), 0.0)
        return jnp.argmin(distances, axis=1), jnp.sum(share * nearest)

    def moved(labels: Array, centers: Any) -> Any:
        member = (labels[:, None] == jnp.arange(num_clusters)[None]) * share[:, None]
        mass = jnp.sum(member, axis=0)
        parts = member / jnp.where(mass > 0, mass, 1.0)[None]

        def mean(leaf: Array) -> Array:
            # A class that no law has is at minus infinity for all of them.
            finite = jnp.where(jnp.isinf(leaf), 0.0, leaf)
            average = jnp.tensordot(parts.T, finite, axes=1)
            low = jnp.tensordot((parts.T > 0).astype(leaf.dtype), (leaf == -jnp.inf) * 1.0, axes=1)
            return jnp.where(low > 0, -jnp.inf, average).astype(leaf.dtype)

        average = jax.tree.map(mean, chart)
        natural = family.natural_from_mean(average) if side == "right" else average
        return selected(family, mass > 0, natural, centers)

    def unfinished(state: _Step) -> Array:
        return (state.steps < max_steps) & state.changed

    def advance(state: _Step) -> _Step:
        centers = moved(state.labels, state.centers)
        labels, value = assigned(centers)
        changed = (labels != state.labels).any()
        objective = jnp.where(jnp.arange(max_steps + 1) > state.steps, value, state.objective)
        return _Step(centers, labels, objective, state.steps + 1, changed)

    labels, value = assigned(start)
    first = _Step(
        start,
        labels,
        jnp.full(max_steps + 1, value),
        jnp.zeros((), int),
        jnp.ones((), bool),
    )
    last = jax.lax.while_loop(unfinished, advance, first)
    converged = ~last.changed & ~jnp.isnan(last.objective[-1])
    return Clustering(last.centers, last.labels, last.objective, last.steps, converged)
