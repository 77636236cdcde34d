"""Fisher-Rao distance of any family, from discrete geodesics of ever more segments."""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from igeojax.divergences.exponential.power import hellinger
from igeojax.divergences.exponential.relative_entropy import jeffreys
from igeojax.families._pairs import pair_of
from igeojax.families.base import ExponentialFamily
from igeojax.geometry._discrete_geodesic import (
    Paths,
    checked_levels,
    discrete_geodesics,
    energy,
    flat_vectors,
    require_small_matrices,
)
from igeojax.numerics.extrapolation import richardson_limit
from igeojax.numerics.safe import sqrt_at_zero


class NumericalDistance(NamedTuple):
    """A distance, an estimate of its error, and whether its path was found.

    `residual` is the last Newton step of the path, relative to its length; `converged` says whether
    it is below `eps^(1/4)` (Newton squares it) and the error below a hundredth of the distance.
    """

    value: Float[Array, "*batch"]
    error: Float[Array, "*batch"]
    residual: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def numerical_distance(
    family: ExponentialFamily, p: Any, q: Any, *, segments: int = 64
) -> NumericalDistance:
    """Fisher-Rao distance by minimizing `N sum_k J(x_k, x_{k+1})` over paths of N segments.

    J is the Jeffreys divergence, the squared length of a short segment to fourth order. Paths of
    1, 2, 4, ..., `segments` segments are extrapolated to none; the error is estimated by what the
    last of them changed. Newton's method solves for each path, from the one before: some 10 steps
    of `N n^3` for n coordinates. Right to second derivatives in p and q, not beyond.

    Source parameters keep the digits of near points.

    Args:
      family: the family.
      p: natural or source parameters.
      q: natural or source parameters.
      segments: of the finest path, a power of 2 from 2 on; more where `error` is too large, as for
        laws of very different scale.

    Returns:
      A `NumericalDistance`; its value is nan outside the domain.

    Raises:
      NotImplementedError: a statistic of the family is a matrix of more than eight rows.
      TypeError: an argument is not a point of the family.
      ValueError: shapes do not fit, or `segments` is not a power of 2.

    References:
      [Amari2016] chapter 6 (geodesics); [Nielsen2013] (centers of the Jeffreys divergence).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(0.0, jnp.e)
      >>> round(float(numerical_distance(normal, p, q).value), 4)  # sqrt 2
      1.4142
    """
    require_small_matrices(family)
    levels = checked_levels(segments)
    pair = pair_of(family, p, q)
    ends, batch = flat_vectors(family, pair.p, pair.q)
    divergence = jnp.broadcast_to(jeffreys(family, p, q), batch).reshape(-1)
    paths = discrete_geodesics(family, jnp.zeros_like(divergence), *ends, levels)
    found = _distances(family, paths, *ends, divergence)
    return jax.tree.map(lambda leaf: leaf.reshape(batch), found)


@functools.partial(jax.jit, static_argnums=0)
def _distances(
    family: ExponentialFamily, paths: Paths, p: Array, q: Array, divergence: Array
) -> NumericalDistance:
    return jax.vmap(lambda *parts: _distance(family, *parts))(paths, p, q, divergence)


def _distance(
    family: ExponentialFamily, paths: Paths, p: Array, q: Array, divergence: Array
) -> NumericalDistance:
    """The distance of two natural vectors, as its ratio to a known Jeffreys divergence."""
    direct = energy(family, jnp.stack([p, q]))
    apart = direct > 0
    segments = 2 ** jnp.arange(1, len(paths.residual) + 1).astype(p.dtype)
    squares = segments * jax.vmap(lambda points: energy(family, points))(paths.points)
    ratios = jnp.where(apart, squares / jnp.where(apart, direct, 1.0), 1.0)
    ratios = jnp.concatenate([jnp.ones((1,), p.dtype), ratios])
    ratio, error = richardson_limit(ratios)
    value = sqrt_at_zero(divergence * ratio)
    converged = paths.found & (error < 0.02 * ratio)
    return NumericalDistance(value, 0.5 * value * error / ratio, paths.residual[-1], converged)


class DistanceBounds(NamedTuple):
    """Values between which a Fisher-Rao distance lies."""

    lower: Float[Array, "*batch"]
    upper: Float[Array, "*batch"]


def distance_bounds(family: ExponentialFamily, p: Any, q: Any) -> DistanceBounds:
    """Bounds of the Fisher-Rao distance that need no path, for any family.

    Below, twice the Bhattacharyya angle: laws are a part of the unit sphere of square roots of
    densities, on which nothing is shorter. Above, the root of the Jeffreys divergence: that is the
    energy of the e-geodesic, `int g(dot theta, dot theta) dt = <q - p, eta_q - eta_p>`, and a
    length is at most the root of an energy. Both tend to the distance of near points.

    Args:
      family: the family.
      p: natural or source parameters.
      q: natural or source parameters; batch axes broadcast.

    Returns:
      A `DistanceBounds`.

    Raises:
      TypeError: an argument is not a point of the family.
      ValueError: shapes do not fit the family.

    References:
      [AtkinsonMitchell1981] (the sphere); [Amari2016] chapter 6 (energy).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> bounds = distance_bounds(poisson, poisson.Params(1.0), poisson.Params(4.0))
      >>> [round(float(v), 3) for v in bounds]  # the distance is 2
      [1.838, 2.039]
    """
    upper = sqrt_at_zero(jeffreys(family, p, q))
    return DistanceBounds(2 * bhattacharyya_angle(family, p, q), upper)


def bhattacharyya_angle(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Bhattacharyya angle `acos int sqrt(p q)`, from the Hellinger distance, in radians.

    The angle between the square roots of the densities: a metric in `[0, pi/2]`.

    Args:
      family: the family.
      p: natural or source parameters.
      q: natural or source parameters; batch axes broadcast.

    Returns:
      The angle; at equal points 0 with derivative 0.

    Raises:
      TypeError: an argument is not a point of the family.
      ValueError: shapes do not fit the family.

    References:
      [Bhattacharyya1943].

    Examples:
      >>> from igeojax import families
      >>> bernoulli = families.Bernoulli()
      >>> p, q = bernoulli.Params(0.0), bernoulli.Params(0.5)
      >>> round(float(bhattacharyya_angle(bernoulli, p, q)), 6)  # pi/4
      0.785398
    """
    return 2 * jnp.arcsin(math.sqrt(0.5) * hellinger(family, p, q))
