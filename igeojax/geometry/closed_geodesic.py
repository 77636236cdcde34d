"""Levi-Civita geodesics in closed form: classes on a sphere, normal laws in the half-plane."""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.discrete.softmax import log_softmax
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
    hyperbolic sines. Roots of probabilities move on a great circle, a sum weighed by sines. At
    equal laws derivatives in p and q are right to first order, not beyond.

    Args:
      family: the family.
      p: natural or source parameters, where t is 0.
      q: natural or source parameters, where t is 1; batch axes broadcast.
      t: times.

    Returns:
      Natural parameters, nan where the path has left the domain, or lost half of its digits far
      beyond an end; None where the family is none of Categorical, Normal, DiagonalNormal and
      LogNormal.

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
    near, far = _sinh_ratio(1 - t, length) / scale, _sinh_ratio(t, length) / rise
    inverse = near + far
    # Far beyond an end the two cancel.
    lost = inverse <= jnp.finfo(inverse.dtype).eps ** 0.5 * (jnp.abs(near) + jnp.abs(far))
    inverse = jnp.where(lost, jnp.nan, inverse)
    loc = loc + far / inverse * (other - loc)
    return family.from_leaves([loc * inverse**2, -0.5 * inverse**2])


def _great_circle(family: Categorical, p: Any, q: Any, t: Array) -> Any:
    angle = 0.5 * fisher_rao_distance(family, p, q)[..., None]
    # Roots of probabilities that underflow themselves.
    roots = [jnp.exp(0.5 * log_softmax(family.logits(point))) for point in (p, q)]
    t, angle, *roots = _in_front(t, angle, *roots)
    path = _sin_ratio(1 - t, angle) * roots[0] + _sin_ratio(t, angle) * roots[1]
    logits = 2 * (jnp.log(path[..., :-1]) - jnp.log(path[..., -1:]))
    inside = (path[..., -1:] > 0) & (path >= 0).all(axis=-1, keepdims=True)
    return family.from_leaves([jnp.where(inside, logits, jnp.nan)])


def _in_front(t: Array, *values: Array) -> list[Array]:
    """Times and values of one rank, the axes of the times before those of the values."""
    times = t.reshape(t.shape + (1,) * values[0].ndim).astype(values[0].dtype)
    return [times, *(value.reshape((1,) * t.ndim + value.shape) for value in values)]


def _sin_ratio(t: Array, angle: Array) -> Array:
    """`sin(t w) / sin(w)`, t at `w = 0`."""
    near = angle < jnp.finfo(angle.dtype).eps ** 0.25
    w = jnp.where(near, 1.0, angle)
    return jnp.where(near, _near_ratio(t, -(angle**2)), jnp.sin(t * w) / jnp.sin(w))


def _sinh_ratio(t: Array, length: Array) -> Array:
    """`sinh(t d) / sinh(d)`, t at `d = 0`, without overflow of either."""
    near = length < jnp.finfo(length.dtype).eps ** 0.25
    d = jnp.where(near, 1.0, length)
    ratio = lambda t: jnp.exp((t - 1) * d) * jnp.expm1(-2 * t * d) / jnp.expm1(-2 * d)
    back = t < 0
    far = jnp.where(back, -ratio(jnp.where(back, -t, 0.0)), ratio(jnp.where(back, 0.0, t)))
    return jnp.where(near, _near_ratio(t, length**2), far)


def _near_ratio(t: Array, square: Array) -> Array:
    # By two terms of the series: a quotient would lose the derivatives in a short length.
    return t * (1 + (t * t - 1) * square / 6)
