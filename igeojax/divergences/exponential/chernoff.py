"""Chernoff information: the best exponent of a test between two members of a family."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.families._pairs import as_order, mixture_parts, natural, source_parts
from igeojax.families.base import ExponentialFamily

_STEPS = {8: 60, 4: 30}
"""Halvings of `[0, 1]`, by the bytes of the dtype: down to orders that round away."""


def chernoff_information(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Chernoff information `max_a -log int p^a q^(1-a)` over orders `0 <= a <= 1`, symmetric.

    The exponential rate at which the Bayes error of telling `p` from `q` falls with the number of
    observations. The exponent is concave in a; its derivative is halved to zero in a fixed number
    of steps, each the cost of two Bregman divergences and their derivative. Derivatives of any
    order are those of the maximum, by the implicit function; nan where a second derivative of the
    exponent leaves the range of the dtype (float32: scales of 1e-10 and 1).

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
    first, second, batch = _rows(family, p, q)

    def largest(one: Any, other: Any) -> Array:
        return _exponent(family, one, other, _best_order(family, one, other))

    return jax.vmap(largest)(first, second).reshape(batch)


def chernoff_order(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """The order `a` at which `-log int p^a q^(1-a)` is largest.

    The member of the family on the e-geodesic there, `geometry.chernoff_point`, is as far from `p`
    as from `q` in Kullback-Leibler divergence, which is the Chernoff information. Cost and
    derivatives as of `chernoff_information`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.

    Returns:
      Orders in `[0, 1]`; 1/2 for equal laws.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [CoverThomas2006] theorem 11.9.1; [Nielsen2013b].

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> round(float(chernoff_order(normal, normal.Params(0.0, 1.0), normal.Params(2.0, 1.0))), 6)
      0.5
    """
    first, second, batch = _rows(family, p, q)
    return jax.vmap(lambda one, other: _best_order(family, one, other))(first, second).reshape(
        batch
    )


def _rows(family: ExponentialFamily, p: Any, q: Any) -> tuple[Any, Any, tuple[int, ...]]:
    """Both points broadcast, batch axes raveled, and the shape of those."""
    # Source parameters may be of laws whose natural ones leave the range of the dtype.
    if source_parts(family, p, q, 0.5) is None:
        p, q = (_checked(family, point) for point in (p, q))
    events = [_events(family, point) for point in (p, q)]
    batches = [
        jnp.shape(leaf)[: jnp.ndim(leaf) - len(event)]
        for point, shapes in zip((p, q), events, strict=True)
        for leaf, event in zip(jax.tree.leaves(point), shapes, strict=True)
    ]
    batch = jnp.broadcast_shapes(*batches)

    def ravel(point: Any, shapes: list[tuple[int, ...]]) -> Any:
        rows = [
            jnp.broadcast_to(jnp.asarray(leaf), batch + event).reshape((-1, *event))
            for leaf, event in zip(jax.tree.leaves(point), shapes, strict=True)
        ]
        return jax.tree.unflatten(jax.tree.structure(point), rows)

    return ravel(p, events[0]), ravel(q, events[1]), batch


def _checked(family: ExponentialFamily, point: Any) -> Any:
    natural(family, point)
    return point


def _events(family: ExponentialFamily, point: Any) -> list[tuple[int, ...]]:
    """Trailing shapes of the leaves of natural or source parameters."""
    leaves = [jax.ShapeDtypeStruct(shape, float) for shape in family.point_shape]
    single: Any = family.from_leaves(leaves)  # type: ignore[arg-type]
    if isinstance(point, family.Params):
        single = jax.eval_shape(family.params_from_natural, single)
    return [leaf.shape for leaf in jax.tree.leaves(single)]


def _exponent(family: ExponentialFamily, p: Any, q: Any, order: Array) -> Array:
    near_p, near_q, _ = mixture_parts(family, p, q, order)
    return order * near_p + (1 - order) * near_q


def _best_order(family: ExponentialFamily, p: Any, q: Any) -> Array:
    def slope(order: Array) -> Array:
        exponent = lambda a: _exponent(family, p, q, a)
        value = jax.jvp(exponent, (order,), (jnp.ones_like(order),))[1]
        # At infinite natural parameters the mixture does not move; only one law counts.
        near_p, near_q, _ = jax.lax.stop_gradient(mixture_parts(family, p, q, order))
        return jnp.where(jnp.isnan(value), near_p - near_q, value)

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        curvature = matvec(jnp.ones_like(rhs))
        inner = curvature < 0
        return jnp.where(inner, rhs / jnp.where(inner, curvature, -1.0), 0.0)

    middle = as_order(0.5, family, p)
    return jax.lax.custom_root(slope, middle, _falling_root, tangent_solve)


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
