"""Nodes on the pieces of a line, dense at every break point.

On a piece `(a, b)` the nodes are `a + (b - a) sigma(l)`, `sigma` the logistic function, beside an
infinite end `a + c exp(l)`; `l = 20 sinh(t / 20)` with equal steps of t. Near the break points they
are a geometric sequence, so that laws of very different scale are resolved alike; far out `l` grows
exponentially, as in double-exponential rules [TakahasiMori1974], which takes in powers and heavy
tails. The trapezoidal rule in t then converges geometrically.
"""

import math
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax.families.support import Support

_BEND = 20.0


class _Rule(NamedTuple):
    """Step of t, and depths of `l`: at an inner break point, at a finite and an infinite end."""

    step: float
    inner: float
    finite: float
    infinite: float


# Inside, distances below an eps of the break point round away; at an end they count until they, or
# squares of large ones, leave the range of the dtype.
_RULES = {8: _Rule(0.12, 46.0, 650.0, 320.0), 4: _Rule(0.22, 26.0, 80.0, 40.0)}


class Nodes(NamedTuple):
    """Nodes in increasing order on axis 0, and logs of their weights."""

    x: Array
    log_weight: Array


def nodes_between(support: Support, points: Array, scale: Array) -> Nodes:
    """Nodes and log-weights over an interval.

    Args:
      support: an interval.
      points: break points inside, increasing on axis 0, shape `(n, *batch)`; equal ones do no harm.
      scale: the unit of distances beside an infinite end, shape `batch`.

    Returns:
      The `Nodes`, shape `(N, *batch)`.
    """
    row = points[:1]
    edges = [None if math.isinf(support.low) else jnp.full_like(row, support.low)]
    edges += [points[i : i + 1] for i in range(len(points))]
    edges += [None if math.isinf(support.high) else jnp.full_like(row, support.high)]
    rule = _RULES[scale.dtype.itemsize]
    depths = [rule.infinite if math.isinf(support.low) else rule.finite]
    depths += [rule.inner] * len(points)
    depths += [rule.infinite if math.isinf(support.high) else rule.finite]
    pieces = [
        _piece(edges[i : i + 2], scale[None], depths[i : i + 2], rule.step)
        for i in range(len(edges) - 1)
    ]
    return Nodes(*(jnp.concatenate(parts) for parts in zip(*pieces, strict=True)))


def integers_around(means: Array, deviations: Array, size: int) -> Array:
    """Counts in two windows around two means, or in one where they would overlap.

    Args:
      means: shape `(2, *batch)`, not negative.
      deviations: of the same shape; windows are as wide as they are in proportion.
      size: how many counts in all.

    Returns:
      Integers in increasing order, shape `(size, *batch)`.
    """
    # Means that are not finite, and beyond the integers, belong to laws without enough mass here.
    top = jnp.iinfo(jnp.arange(0).dtype).max // 2
    means = jnp.clip(jnp.nan_to_num(means, nan=0.0, posinf=0.0), 0.0, float(top // 2))
    deviations = jnp.nan_to_num(deviations, nan=0.0, posinf=0.0)
    order = jnp.argsort(means, axis=0)
    first, second = (jnp.take_along_axis(means, order[i : i + 1], axis=0) for i in (0, 1))
    narrow, wide = (jnp.take_along_axis(deviations, order[i : i + 1], axis=0) for i in (0, 1))
    share = jnp.clip(narrow / jnp.maximum(narrow + wide, 1.0), 1 / 16, 15 / 16)
    count = (size * share).astype(int)
    start = jnp.maximum(jnp.floor(first).astype(int) - count // 2, 0)
    other = jnp.floor(second).astype(int) - (size - count) // 2
    # One window in the middle of where both laws have their mass.
    reach = jnp.minimum(first - 8 * narrow, second - 8 * wide)
    reach = 0.5 * (jnp.maximum(reach, 0.0) + jnp.maximum(first + 8 * narrow, second + 8 * wide))
    together = jnp.maximum(jnp.minimum(reach, float(top)).astype(int) - size // 2, 0)
    apart = other >= start + count
    index = jnp.arange(size).reshape((-1,) + (1,) * (first.ndim - 1))
    right = other + index - count
    return jnp.where(apart, jnp.where(index < count, start + index, right), together + index)


def _piece(edges: list[Any], scale: Array, depths: list[float], step: float) -> Nodes:
    start, stop = (_BEND * math.asinh(depth / _BEND) for depth in depths)
    # np.arange with a step would round the step by an eps of the start.
    t = step * np.arange(-math.floor(start / step), math.floor(stop / step) + 1)
    place, log_step = _BEND * np.sinh(t / _BEND), np.log(step * np.cosh(t / _BEND))
    column = lambda v: jnp.asarray(v, scale.dtype).reshape((-1,) + (1,) * (scale.ndim - 1))
    left, right = edges
    if left is None or right is None:
        # Distances from the one finite end; towards -inf they fall as t grows.
        outward = -place if left is None else place
        edge: Any = right if left is None else left
        sign = -1 if left is None else 1
        return Nodes(
            edge + scale * column(sign * np.exp(outward)),
            column(log_step + outward) + jnp.log(scale),
        )
    length = right - left
    # Constants from numpy: XLA's log1p on CPU is off by tens of ulp.
    below, above = -np.logaddexp(0, -place), -np.logaddexp(0, place)
    from_left, from_right = length * column(np.exp(below)), length * column(np.exp(above))
    x = jnp.where(column(place) < 0, left + from_left, right - from_right)
    return Nodes(x, column(log_step + below + above) + jnp.log(length))
