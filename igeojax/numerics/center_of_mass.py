"""Karcher's iteration for the center of mass, of whatever has velocities and steps along them."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float


class FrechetMean(NamedTuple):
    """A Fréchet mean, and how well it was found.

    `residual` is the length of the mean of the velocities to the data, which is 0 at the mean, in
    units of the root of their mean squared distance. `converged` says that it is at most the
    tolerance and that all velocities were found.
    """

    point: Any
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


class Pull(NamedTuple):
    """What draws a point to the data.

    The mean velocity to them and its squared length, their mean squared distance, the squared size
    of the point, of which differences are rounded, and whether all velocities were found.
    """

    velocity: Any
    square: Array
    spread: Array
    size: Array
    found: Array


class _Walk(NamedTuple):
    point: Any
    pull: Pull
    residual: Array
    length: Array
    steps: Array


def center_of_mass(
    start: Any,
    pull: Callable[[Any], Pull],
    move: Callable[[Any, Any], Any],
    tolerance: ArrayLike,
    max_steps: int,
) -> FrechetMean:
    """Point where the mean of the velocities to the data is 0, a minimum of their mean square.

    Steps go along the geodesic of the mean velocity, and are halved where they lower the sum less
    than they should, as far out in negative curvature. A step costs a `pull` and a `move`. By a
    loop: no derivatives.

    Args:
      start: where to begin, a pytree of floats of one dtype.
      pull: the pull at a point.
      move: `move(point, velocity)`, the exponential map.
      tolerance: largest `residual` that counts as converged.
      max_steps: bound of steps.

    Returns:
      A `FrechetMean`.

    References:
      [Karcher1977] section 1; [Pennec2006] section 4 (the iteration).

    Examples:
      >>> data, one = jnp.array([1.0, 2.0, 6.0]), jnp.ones((), bool)
      >>> def pull(x):
      ...     velocity = jnp.mean(data - x)
      ...     return Pull(velocity, velocity**2, jnp.mean((data - x) ** 2), x**2, one)
      >>> center_of_mass(jnp.array(1.0), pull, lambda x, v: x + v, 1e-6, 10).point.item()
      3.0
    """
    dtype = jnp.result_type(*jax.tree.leaves(start))
    eps = float(jnp.finfo(dtype).eps)

    def residual_of(pull: Pull) -> Array:
        # Data that are all the same up to rounding: there is no spread to measure by.
        scale = pull.spread + eps * pull.size
        return jnp.sqrt(pull.square / jnp.where(scale > 0, scale, 1.0))

    def unfinished(walk: _Walk) -> Array:
        return (walk.steps < max_steps) & (walk.residual > tolerance) & (walk.length > eps)

    def advance(walk: _Walk) -> _Walk:
        step = jax.tree.map(lambda leaf: walk.length * leaf, walk.pull.velocity)
        point = move(walk.point, step)
        after = pull(point)
        before = walk.pull.spread, walk.pull.square
        lower = after.spread < before[0] - 0.5 * walk.length * before[1]
        # The sum has no digits left for small steps, the velocity has.
        alike = jnp.abs(after.spread - before[0]) <= 16 * eps * before[0]
        good = jnp.where(alike, after.square < before[1], lower | (after.square < 0.5 * before[1]))
        kept = lambda new, old: jax.tree.map(lambda a, b: jnp.where(good, a, b), new, old)
        return _Walk(
            kept(point, walk.point),
            kept(after, walk.pull),
            jnp.where(good, residual_of(after), walk.residual),
            jnp.where(good, 1.0, 0.5) * walk.length,
            walk.steps + 1,
        )

    nowhere = jnp.full((), jnp.inf, dtype)
    still = jax.tree.map(jnp.zeros_like, start)
    rest = Pull(still, nowhere, nowhere, jnp.zeros((), dtype), jnp.zeros((), bool))
    first = _Walk(start, rest, nowhere, jnp.ones((), dtype), jnp.zeros((), int))
    # The first step, of no velocity, is where the start is looked at: one program for all.
    last = jax.lax.while_loop(unfinished, advance, first)
    return FrechetMean(last.point, last.residual, last.pull.found & (last.residual <= tolerance))
