"""Means of several laws: averages in the two dual affine charts, and the center of mass between."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.divergences.exponential.chernoff import chernoff_order
from igeojax.families._pairs import between, over
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry._points import aligned, require_laws_inside, row_points, single_row_points
from igeojax.geometry.coordinates import ravel, unravel
from igeojax.geometry.exponential_map import exponential_map, logarithm_map
from igeojax.geometry.metric import inner
from igeojax.numerics.center_of_mass import FrechetMean, Pull, center_of_mass
from igeojax.numerics.small_solve import small_solve
from igeojax.numerics.weighting import normalized_weights, weighted_mean


def e_mean(
    family: ExponentialFamily, points: Any, weights: Float[ArrayLike, "laws"] | None = None
) -> Any:
    """Exponential mean, `argmin_q sum_i w_i KL(q || p_i)`: the average of natural parameters.

    The normalized geometric mean of the densities; near 0 where one of them is. One pass.

    Args:
      family: the family.
      points: natural or source parameters, the laws along axis 0; more axes are batch.
      weights: non-negative, one for each law; None weighs all alike.

    Returns:
      The natural parameter of the mean.

    Raises:
      TypeError: `family` is not a family, or `points` not points of it.
      ValueError: no axis of laws, or weights of a wrong shape, negative, or all zero.

    References:
      [NielsenNock2009] (sided centroids).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> mean = e_mean(poisson, poisson.Params(jnp.array([1.0, 4.0])))
      >>> round(float(poisson.params_from_natural(mean).rate), 6)
      2.0
    """
    theta, count = row_points(family, "points", points)
    return _average(theta, normalized_weights(weights, count))


def m_mean(
    family: ExponentialFamily, points: Any, weights: Float[ArrayLike, "laws"] | None = None
) -> Any:
    """Mixture mean, `argmin_q sum_i w_i KL(p_i || q)`: the average of mean parameters.

    The member of the family with the moments of the mixture of the laws. One pass, and one
    `natural_from_mean`.

    Args:
      family: the family.
      points: natural or source parameters, the laws along axis 0; more axes are batch.
      weights: non-negative, one for each law; None weighs all alike.

    Returns:
      The natural parameter of the mean.

    Raises:
      TypeError: `family` is not a family, or `points` not points of it.
      ValueError: no axis of laws, or weights of a wrong shape, negative, or all zero.

    References:
      [Banerjee2005] proposition 1; [NielsenNock2009] (sided centroids).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> mean = m_mean(poisson, poisson.Params(jnp.array([1.0, 4.0])))
      >>> round(float(poisson.params_from_natural(mean).rate), 6)
      2.5
    """
    theta, count = row_points(family, "points", points)
    eta = family.mean_from_natural(theta)
    return family.natural_from_mean(_average(eta, normalized_weights(weights, count)))


def chernoff_point(family: ExponentialFamily, p: Any, q: Any) -> Any:
    """Law on the e-geodesic of p and q from which both have one Kullback-Leibler divergence.

    `argmin_c max(KL(c || p), KL(c || q))`, and the least value is their Chernoff information.
    Cost and derivatives as of `divergences.exponential.chernoff_order`, whose point it is.

    Args:
      family: the family.
      p: natural or source parameters.
      q: natural or source parameters; batch axes broadcast.

    Returns:
      Natural parameters.

    Raises:
      TypeError: `family` is not a family, or a point not one of it.
      ValueError: batch axes do not broadcast.

    References:
      [Nielsen2013b] section III.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> middle = chernoff_point(normal, normal.Params(0.0, 1.0), normal.Params(2.0, 1.0))
      >>> round(float(normal.params_from_natural(middle).loc), 6)
      1.0
    """
    require_family(family)
    order = chernoff_order(family, p, q)
    p, q = aligned(family, p=p, q=q)
    leaves = zip(jax.tree.leaves(p), jax.tree.leaves(q), family.point_shape, strict=True)
    return family.from_leaves([between(u, v, over(order, event)) for u, v, event in leaves])


def _average(points: Any, weights: Array | None) -> Any:
    if weights is None:
        return jax.tree.map(lambda leaf: weighted_mean(leaf, None), points)

    def mean(leaf: Array) -> Array:
        # A law of weight 0 does not count, even one at infinity.
        counted = weights.reshape((-1,) + (1,) * (leaf.ndim - 1)) > 0
        return weighted_mean(jnp.where(counted, leaf, 0.0), weights)

    return jax.tree.map(mean, points)


def frechet_mean(
    family: ExponentialFamily,
    points: Any,
    weights: Float[ArrayLike, "laws"] | None = None,
    *,
    tolerance: float | None = None,
    segments: int = 64,
    max_steps: int = 100,
) -> FrechetMean:
    """Fréchet mean `argmin_q sum_i w_i d(p_i, q)^2` in the Fisher-Rao distance d.

    A mean of no chart. Karcher's iteration: along the geodesic of the mean of the velocities to the
    laws, from half-way between e-mean and m-mean, in steps that are halved where they lower the sum
    less than they should, as far out in negative curvature. A step costs a `logarithm_map` to each
    law and an `exponential_map`; it takes a few where the laws are near to each other. First
    derivatives, in both modes, are those of the solution, at the cost of one more `logarithm_map`
    and its derivatives in all directions.

    The mean is unique where the curvature is not positive, as of normal laws, and among classes; if
    not, this is a local minimum.

    Args:
      family: the family.
      points: natural or source parameters, the laws along axis 0; batches by `jax.vmap`.
      weights: non-negative, one for each law; None weighs all alike.
      tolerance: largest `residual` that counts as converged; None for `10 sqrt(eps)`.
      segments: of the paths of `logarithm_map`, a power of 2 from 2 on.
      max_steps: bound of steps.

    Returns:
      A `FrechetMean`, its point a natural parameter.

    Raises:
      NotImplementedError: a statistic of the family is a matrix of more than eight rows.
      TypeError: `family` is not a family, `points` not points of it, or a count no integer.
      ValueError: no or more than one axis of laws, weights of a wrong shape, negative or all zero,
        or a concrete law that has weight is outside the natural domain.

    References:
      [Karcher1977] section 1; [Pennec2006] section 4 (the iteration).

    Examples:
      >>> from igeojax import families
      >>> exponential = families.Exponential()
      >>> mean = frechet_mean(exponential, exponential.Params(jnp.array([1.0, 2.0, 4.0])))
      >>> round(float(exponential.params_from_natural(mean.point).rate), 4), bool(mean.converged)
      (2.0, True)
    """
    theta, count = single_row_points(family, "points", points)
    checks.require_count("max_steps", max_steps)
    dtype = jnp.result_type(*jax.tree.leaves(theta))
    share = normalized_weights(weights, count)
    share = jnp.full(count, 1 / count, dtype) if share is None else share.astype(dtype)
    require_laws_inside(family, theta, share)
    limit = 10 * float(jnp.finfo(dtype).eps) ** 0.5 if tolerance is None else tolerance
    return _center(family, theta, share, limit, segments, max_steps)


@functools.partial(jax.jit, static_argnames=("family", "segments", "max_steps"))
def _center(
    family: ExponentialFamily,
    points: Any,
    share: Array,
    tolerance: ArrayLike,
    segments: int,
    max_steps: int,
) -> FrechetMean:
    """The mean for weights that sum to one, as the root of the mean of velocities."""
    dtype = share.dtype

    def pull(vector: Array) -> Array:
        to = logarithm_map(family, unravel(family, vector), points, segments=segments)
        return ravel(family, _average(to.velocity, share))

    def solve(*_: Any) -> tuple[Array, tuple[Array, Array]]:
        found = _walked(family, *fixed, segments, max_steps)
        # What comes beside a root must have tangents, which truth values have not.
        return ravel(family, found.point), (found.residual, found.converged.astype(dtype))

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        matrix = jax.vmap(matvec, out_axes=1)(jnp.eye(rhs.size, dtype=rhs.dtype))
        return small_solve(matrix, rhs[:, None])[:, 0]

    fixed = jax.lax.stop_gradient((points, share, tolerance))
    start = jnp.zeros(family.dimension, dtype)
    vector, aside = jax.lax.custom_root(pull, start, solve, tangent_solve, has_aux=True)
    residual, converged = jax.lax.stop_gradient(aside)
    return FrechetMean(unravel(family, vector), residual, converged > 0)


def _walked(
    family: ExponentialFamily,
    points: Any,
    share: Array,
    tolerance: ArrayLike,
    segments: int,
    max_steps: int,
) -> FrechetMean:
    """Karcher's iteration, from half-way between e-mean and m-mean."""
    eps = float(jnp.finfo(share.dtype).eps)

    def pull(theta: Any) -> Pull:
        to = logarithm_map(family, theta, points, segments=segments)
        feet = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (share.size, *leaf.shape)), theta)
        squares = inner(family, feet, to.velocity, to.velocity)
        counted = share > 0
        spread = jnp.sum(share * jnp.where(counted, squares, 0.0))
        error = jnp.sum(share * jnp.where(counted, to.error, 0.0))
        velocity = _average(to.velocity, share)
        # Not `to.converged`: the mean may be one of the laws, and a velocity of 0 has no digits.
        near = (~counted | (to.residual < eps**0.25)).all() & (error <= 0.01 * jnp.sqrt(spread))
        size = inner(family, theta, theta, theta)
        square = inner(family, theta, velocity, velocity)
        return Pull(velocity, square, spread, size, near | (spread <= eps * size))

    natural = family.natural_from_mean(_average(family.mean_from_natural(points), share))
    start = jax.tree.map(lambda a, b: 0.5 * (a + b), _average(points, share), natural)
    move = functools.partial(exponential_map, family)
    return center_of_mass(start, pull, move, tolerance, max_steps)
