"""Limits of values at ever smaller steps."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def richardson_limit(
    values: Float[Array, "steps *shape"],
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Limit of values at steps h, h/2, h/4, ... whose errors are even powers, and its error.

    Of the orders of the last row of Richardson's table, entry by entry, the one that the last
    halving changed least. The estimate of the error is the next larger change, as one may be small
    by chance: no bound, but mostly too large, since it is the change of the order before.

    Args:
      values: two or more along axis 0, the coarsest first.

    Returns:
      The limit, and an estimate of its error.

    References:
      [HairerNorsettWanner1993] section II.9 (extrapolation of even powers).

    Examples:
      >>> limit, error = richardson_limit(2.0 + jnp.array([1.0, 1 / 4, 1 / 16]))
      >>> float(limit), float(error)
      (2.0, 0.25)
    """
    row, changes = [values[0]], []
    for value in values[1:]:
        before, row = row, [value]
        for order, earlier in enumerate(before, start=1):
            row.append(row[-1] + (row[-1] - earlier) / (4**order - 1))
        changes = [jnp.abs(late - early) for late, early in zip(row[1:], before, strict=True)]
    sizes = jnp.stack(changes)
    best = jnp.argmin(sizes, axis=0)[None]
    limit = jnp.take_along_axis(jnp.stack(row[1:]), best, axis=0)[0]
    return limit, jnp.sort(sizes, axis=0)[min(1, len(changes) - 1)]
