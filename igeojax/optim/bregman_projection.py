"""Bregman projections onto convex sets, for mirror steps with constraints."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks


def entropy_projection(
    weights: Float[Array, "*batch n"], *, lower: ArrayLike = 0.0, upper: ArrayLike = 1.0
) -> Float[Array, "*batch n"]:
    """Probability vector within bounds that is nearest to `weights` in relative entropy.

    `argmin sum y log(y / w) - y + w` over `sum y = 1`, `lower <= y <= upper`, which is
    `clip(c w, lower, upper)` for one `c`: the Bregman projection of `NegativeEntropy`, onto the
    capped simplex when only `upper` is given. Exact, by bisection of the sorted bounds:
    `O(n log n)`. Differentiable where the set of active bounds does not change.

    Args:
      weights: non-negative weights on the last axis; they need not sum to one. Entries of 0 stay
        at `lower`.
      lower: least values, which broadcast against `weights`, not negative.
      upper: largest values, likewise, not below `lower`.

    Returns:
      The projections; nan where no vector within the bounds sums to one, up to `sqrt(eps)`, and
      for weights that are negative or nan.

    Raises:
      ValueError: `weights` is a scalar, or concrete weights or bounds are out of their ranges.

    References:
      [HerbsterWarmuth2001] (Bregman projections after mirror steps).

    Examples:
      >>> weights = jnp.array([0.7, 0.2, 0.1])
      >>> [round(p, 6) for p in entropy_projection(weights, upper=0.4).tolist()]
      [0.4, 0.4, 0.2]
    """
    weights = checks.floating("weights of entropy_projection", weights)
    if weights.ndim == 0:
        raise ValueError(
            "entropy_projection needs vectors on the last axis; got a scalar. Pass one weight an "
            "outcome."
        )
    low = jnp.broadcast_to(jnp.asarray(lower, weights.dtype), weights.shape)
    high = jnp.broadcast_to(jnp.asarray(upper, weights.dtype), weights.shape)
    for name, value in (("weights", weights), ("lower", low)):
        checks.require_values(
            f"{name} of entropy_projection", value, lambda v: v >= 0, "non-negative", "Check signs."
        )
    checks.require_values(
        "upper of entropy_projection", high >= low, lambda v: v, "at least lower", "Swap them."
    )
    positive = weights > 0
    safe = jnp.where(positive, weights, 1.0)
    # Which bounds hold is discrete: derivatives pass through the scale alone.
    enter = jax.lax.stop_gradient(jnp.where(positive, low / safe, jnp.inf))
    leave = jax.lax.stop_gradient(jnp.where(positive, high / safe, jnp.inf))
    pivots = jnp.sort(jnp.concatenate([enter, leave], axis=-1), axis=-1)
    pivot = _last_pivot(pivots, enter, leave, low, high, safe)
    at_low, at_high = (enter > pivot) | ~positive, (leave <= pivot) & positive
    free = ~at_low & ~at_high
    fixed = jnp.where(at_low, low, jnp.where(at_high, high, 0.0))
    mass = jnp.sum(jnp.where(free, safe, 0.0), axis=-1, keepdims=True)
    left = 1 - jnp.sum(fixed, axis=-1, keepdims=True)
    scale = left / jnp.where(mass > 0, mass, 1.0)
    found = jnp.where(free, jnp.clip(safe * scale, low, high), fixed)
    off = jnp.abs(jnp.sum(found, axis=-1, keepdims=True) - 1)
    valid = (weights >= 0).all(axis=-1, keepdims=True)  # False for nan
    return jnp.where(valid & (off <= jnp.finfo(weights.dtype).eps ** 0.5), found, jnp.nan)


def _last_pivot(
    pivots: Array, enter: Array, leave: Array, low: Array, high: Array, safe: Array
) -> Array:
    """The largest scale at which a bound changes and the sum is not yet above one, by bisection."""

    def total(pivot):
        inside = jnp.where(jnp.isfinite(pivot), pivot, 0.0) * safe
        value = jnp.where(enter > pivot, low, jnp.where(leave <= pivot, high, inside))
        return jnp.sum(value, axis=-1, keepdims=True)

    def halve(_, ends):
        first, last = ends
        middle = (first + last + 1) // 2
        below = total(jnp.take_along_axis(pivots, middle, axis=-1)) <= 1
        return jnp.where(below, middle, first), jnp.where(below, last, middle - 1)

    count = pivots.shape[-1]
    first = jnp.zeros((*pivots.shape[:-1], 1), int)
    first, _ = jax.lax.fori_loop(0, count.bit_length(), halve, (first, first + count - 1))
    return jax.lax.stop_gradient(jnp.take_along_axis(pivots, first, axis=-1))
