"""Chernoff information: the best exponent of a test between two members of a family."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.divergences.exponential._pairs import as_order, mixture_parts, natural
from igeojax.families.base import ExponentialFamily

_STEPS = {8: 60, 4: 30}
"""Halvings of `[0, 1]`, by the bytes of the dtype: down to orders that round away."""


def chernoff_information(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Chernoff information `max_a -log int p^a q^(1-a)` over orders `0 <= a <= 1`, symmetric.

    The exponential rate at which the Bayes error of telling `p` from `q` falls with the number of
    observations. The exponent is concave in a; its derivative is halved to zero in a fixed number
    of steps, each the cost of two Bregman divergences and their derivative. Derivatives of any
    order are those of the maximum, by the implicit function.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.

    Returns:
      Values in `[0, inf]`, in nats; inf for laws without common support.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [CoverThomas2006] theorem 11.9.1.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(2.0, 1.0)
      >>> round(float(chernoff_information(normal, p, q)), 6)
      0.5
    """
    first, batch = _rows(family, p, q)
    second, _ = _rows(family, q, p)
    return jax.vmap(lambda one, other: _largest(family, one, other))(first, second).reshape(batch)


def _rows(family: ExponentialFamily, point: Any, other: Any) -> tuple[Any, tuple[int, ...]]:
    """The point broadcast against another one, batch axes raveled, and their shape."""
    batches = [family.batch_shape(natural(family, value)) for value in (point, other)]
    batch = jnp.broadcast_shapes(*batches)
    leaves = [jax.ShapeDtypeStruct(shape, float) for shape in family.point_shape]
    single: Any = family.from_leaves(leaves)  # type: ignore[arg-type]
    if isinstance(point, family.Params):
        single = jax.eval_shape(family.params_from_natural, single)

    def ravel(leaf: Any, event: Any) -> Array:
        full = jnp.broadcast_to(jnp.asarray(leaf), batch + event.shape)
        return full.reshape((-1, *event.shape))

    return jax.tree.map(ravel, point, single), batch


def _largest(family: ExponentialFamily, p: Any, q: Any) -> Array:
    def exponent(order: Array) -> Array:
        near_p, near_q, _ = mixture_parts(family, p, q, order)
        return order * near_p + (1 - order) * near_q

    def slope(order: Array) -> Array:
        value = jax.jvp(exponent, (order,), (jnp.ones_like(order),))[1]
        # At infinite natural parameters the mixture does not move; only one law counts.
        near_p, near_q, _ = jax.lax.stop_gradient(mixture_parts(family, p, q, order))
        return jnp.where(jnp.isnan(value), near_p - near_q, value)

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        curvature = matvec(jnp.ones_like(rhs))
        inner = curvature < 0
        return jnp.where(inner, rhs / jnp.where(inner, curvature, -1.0), 0.0)

    middle = as_order(0.5, family, p)
    best = jax.lax.custom_root(slope, middle, _falling_root, tangent_solve)
    return exponent(best)


def _falling_root(slope: Callable[[Array], Array], middle: Array) -> Array:
    """Where a decreasing function on `[0, 1]` vanishes; an end where it does not."""

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        point = 0.5 * (low + high)
        value = slope(point)
        # Where the function is 0 on an interval, as for equal laws, the point stays inside.
        return jnp.where(value >= 0, point, low), jnp.where(value <= 0, point, high)

    # At the order 1 itself a weight 0 would meet an infinite divergence.
    ends = jnp.zeros_like(middle), jnp.full_like(middle, 1 - jnp.finfo(middle.dtype).eps)
    low, high = jax.lax.fori_loop(0, _STEPS[middle.dtype.itemsize], halve, ends)
    return 0.5 * (low + high)
