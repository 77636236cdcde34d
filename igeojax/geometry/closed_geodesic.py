"""Levi-Civita geodesics in closed form: classes on a sphere, normal laws in the half-plane."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.families.base import ExponentialFamily
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.log_normal import LogNormal
from igeojax.families.normal import Normal, NormalPoint
from igeojax.geometry._points import aligned
from igeojax.geometry.distance import fisher_rao_distance


def closed_geodesic(family: ExponentialFamily, p: Any, q: Any, t: Array) -> Any | None:
    """Points of the shortest path, natural parameters, the axes of t in front of the batch.

    Normal laws move on a half circle around a point of the axis of `(loc / sqrt 2, scale)`; in the
    coordinates `(1 / scale, loc / scale)` of the hyperboloid that is a sum of both ends, weighed by
    hyperbolic sines. Roots of probabilities move on a great circle, a sum weighed by sines.

    Args:
      family: the family.
      p: natural or source parameters, where t is 0.
      q: natural or source parameters, where t is 1; batch axes broadcast.
      t: times.

    Returns:
      Natural parameters, nan where the path has left the domain; None where the family is none of
      Categorical, Normal, DiagonalNormal and LogNormal.

    Raises:
      TypeError: a point is not of the family.
      ValueError: shapes do not fit the family.

    References:
      [AtkinsonMitchell1981] section 3 (normal laws).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(0.0, 4.0)
      >>> middle = closed_geodesic(normal, p, q, jnp.asarray(0.5))
      >>> round(float(normal.params_from_natural(middle).scale), 6)
      2.0
    """
    first, last = aligned(family, p=p, q=q)
    if isinstance(family, Categorical):
        return _great_circle(family, first, last, t)
    if isinstance(family, Normal | DiagonalNormal | LogNormal):
        return _half_circle(family, first, last, t)
    return None


def _half_circle(family: Any, p: Any, q: Any, t: Array) -> Any:
    # Each coordinate of a diagonal law moves on a half-plane of its own.
    laws = [NormalPoint(*jnp.broadcast_arrays(*jax.tree.leaves(point))) for point in (p, q)]
    length = fisher_rao_distance(Normal(), *laws) / math.sqrt(2)
    ends = [Normal().params_from_natural(law) for law in laws]
    t, length, loc, scale, other, rise = _in_front(t, length, *ends[0], *ends[1])
    weights = _sinh_ratio(1 - t, length) / scale, _sinh_ratio(t, length) / rise
    inverse = weights[0] + weights[1]
    loc = loc + weights[1] / inverse * (other - loc)
    return family.from_leaves([loc * inverse**2, -0.5 * inverse**2])


def _great_circle(family: Categorical, p: Any, q: Any, t: Array) -> Any:
    angle = 0.5 * fisher_rao_distance(family, p, q)[..., None]
    roots = [jnp.sqrt(family.params_from_natural(point).probs) for point in (p, q)]
    t, angle, *roots = _in_front(t, angle, *roots)
    straight = angle == 0
    sine = jnp.where(straight, 1.0, jnp.sin(angle))
    one, two = (jnp.where(straight, s, jnp.sin(s * angle) / sine) for s in (1 - t, t))
    path = one * roots[0] + two * roots[1]
    logits = 2 * (jnp.log(path[..., :-1]) - jnp.log(path[..., -1:]))
    inside = (path[..., -1:] > 0) & (path >= 0).all(axis=-1, keepdims=True)
    return family.from_leaves([jnp.where(inside, logits, jnp.nan)])


def _in_front(t: Array, *values: Array) -> list[Array]:
    """Times and values of one rank, the axes of the times before those of the values."""
    times = t.reshape(t.shape + (1,) * values[0].ndim).astype(values[0].dtype)
    return [times, *(value.reshape((1,) * t.ndim + value.shape) for value in values)]


def _sinh_ratio(t: Array, length: Array) -> Array:
    """`sinh(t d) / sinh(d)`, t at `d = 0`, without overflow of either."""
    straight = length == 0
    d, size = jnp.where(straight, 1.0, length), jnp.abs(t)
    ratio = jnp.exp((size - 1) * d) * jnp.expm1(-2 * size * d) / jnp.expm1(-2 * d)
    return jnp.where(straight, t, jnp.sign(t) * ratio)
