"""Pairs of points of one family, and the two parts of `-log int p^a q^(1-a)` between them.

Points are natural or source parameters, told apart by their type. Steps between two source
parameters keep digits that natural parameters have rounded away.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily


def natural(family: ExponentialFamily, point: Any) -> Any:
    """Natural parameter of a point given in natural or source coordinates.

    Args:
      family: the family.
      point: `family.Point` (returned as it is) or `family.Params`.

    Returns:
      The natural parameter.

    Raises:
      TypeError: `point` is neither.
      ValueError: its shapes do not fit the family.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> float(natural(poisson, poisson.Params(rate=1.0)).x)
      0.0
    """
    if isinstance(point, family.Params):
        return family.natural_from_params(*point)
    family.batch_shape(point)
    return point


class Pair(NamedTuple):
    """Natural parameters of one rank, nan outside the domain, and `p - q` to all known digits."""

    p: Any
    q: Any
    step: Any


def pair_of(family: ExponentialFamily, p: Any, q: Any) -> Pair:
    """The pair of two points, each in natural or source coordinates."""
    p, q = _arrays(family, p), _arrays(family, q)
    points = [natural(family, p), natural(family, q)]
    batches = [family.batch_shape(point) for point in points]
    checks.require_broadcastable(p=batches[0], q=batches[1])
    rank = max(map(len, batches))
    first, second = (_prepared(family, point, rank) for point in points)
    step = jax.tree.map(jnp.subtract, first, second)
    if isinstance(p, family.Params) and isinstance(q, family.Params) and batches[0] == batches[1]:
        step = family._natural_step(p, q)
    return Pair(first, second, step)


def _arrays(family: ExponentialFamily, point: Any) -> Any:
    """The point; a list of numbers among its source parameters becomes an array."""
    if not isinstance(point, family.Params):
        return point
    return family.Params(*(jnp.asarray(v) if isinstance(v, list) else v for v in point))


def _prepared(family: ExponentialFamily, point: Any, rank: int) -> Any:
    """A natural parameter with that many batch axes, nan outside the domain."""
    inside = family.in_natural_domain(point)
    pad = (1,) * (rank - inside.ndim)
    known = known_where(family, inside, point)
    return jax.tree.map(lambda leaf: leaf.reshape(pad + leaf.shape), known)


def selected(family: ExponentialFamily, mask: Array, point: Any, other: Any) -> Any:
    """`point` where the batch mask holds, `other` elsewhere."""
    leaves = zip(*map(jax.tree.leaves, (point, other)), family.point_shape, strict=True)
    return family.from_leaves([jnp.where(over(mask, event), u, v) for u, v, event in leaves])


def known_where(family: ExponentialFamily, mask: Array, point: Any) -> Any:
    """The point where the batch mask holds, nan elsewhere."""
    nothing = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), point)
    return selected(family, mask, point, nothing)


def over(mask: Array, event: tuple[int, ...]) -> Array:
    """A batch mask with axes of length one for the event."""
    return mask.reshape(mask.shape + (1,) * len(event))


def broadcast_laws(p: tuple, q: tuple, events: tuple[int, ...]) -> tuple[tuple, tuple]:
    """The arrays of two laws, of one batch shape each, over both; they have `events` event axes."""
    batches = [law[0].shape[: law[0].ndim - events[0]] for law in (p, q)]
    checks.require_broadcastable(p=batches[0], q=batches[1])
    batch = jnp.broadcast_shapes(*batches)
    widened = lambda leaf, axes: jnp.broadcast_to(leaf, batch + leaf.shape[leaf.ndim - axes :])
    first, second = (tuple(map(widened, law, events)) for law in (p, q))
    return first, second


def source_parts(
    family: ExponentialFamily, p: Any, q: Any, order: ArrayLike, from_above: bool = False
) -> tuple[Array, Array, Array] | None:
    """What the family makes of two source parameters directly; None: by natural parameters."""
    if not (isinstance(p, family.Params) and isinstance(q, family.Params)):
        return None
    p, q = _arrays(family, p), _arrays(family, q)
    return family._mixture_parts(p, q, as_order(order, family, p), from_above)


def between(u: Array, v: Array, order: Array, from_above: bool = False) -> Array:
    """`a u + (1-a) v`, where ends and infinities that both share stay as they are.

    Towards order 0 from above an infinite `u` still decides.
    """
    # 0 * inf, and 2 inf - inf at a class that is impossible under both, would be nan.
    shared = jnp.isinf(u) & (u == v)
    first, second = jnp.where(shared, 0.0, u), jnp.where(shared, 0.0, v)
    mixed = order * first + (1 - order) * second
    start = jnp.where(jnp.isinf(first), first, second) if from_above else second
    mixed = jnp.where(order == 1, first, jnp.where(order == 0, start, mixed))
    return jnp.where(shared, v, mixed)


def mixture_parts(
    family: ExponentialFamily, p: Any, q: Any, order: Array, from_above: bool = False
) -> tuple[Array, Array, Array]:
    """`B(p, m)`, `B(q, m)` at `m = a p + (1-a) q`, and whether m lies in the natural domain."""
    parts = source_parts(family, p, q, order, from_above)
    if parts is not None:
        return parts
    return natural_parts(family, pair_of(family, p, q), order, from_above)


def natural_parts(
    family: ExponentialFamily, pair: Pair, order: Array, from_above: bool = False
) -> tuple[Array, Array, Array]:
    """`mixture_parts` of two natural parameters and the step between them."""
    mixed = jax.tree.map(lambda u, v: between(u, v, order, from_above), pair.p, pair.q)
    inside = family.in_natural_domain(mixed)
    safe = selected(family, inside, mixed, pair.q)
    # The steps from m are shares of the step between p and q, to all its digits.
    to_p = jax.tree.map(lambda d, u, m: _share(d, 1 - order, u - m), pair.step, pair.p, safe)
    to_q = jax.tree.map(lambda d, v, m: _share(d, -order, v - m), pair.step, pair.q, safe)
    first, second = family.bregman(pair.p, safe, step=to_p), family.bregman(pair.q, safe, step=to_q)
    # Without a law at all the parts are nan, and not those of a divergent integral.
    known = _is_known(family, pair.p) & _is_known(family, pair.q)
    return jnp.where(known, first, jnp.nan), jnp.where(known, second, jnp.nan), inside | ~known


def _is_known(family: ExponentialFamily, point: Any) -> Array:
    leaves = zip(jax.tree.leaves(point), family.point_shape, strict=True)
    known = [~jnp.isnan(leaf).any(axis=tuple(range(-len(event), 0))) for leaf, event in leaves]
    return functools.reduce(jnp.logical_and, known)


def _share(step: Array, weight: Array, difference: Array) -> Array:
    """`weight * step` where the step is finite, else the plain difference."""
    finite = jnp.isfinite(step)
    return jnp.where(finite, weight * jnp.where(finite, step, 0.0), difference)


def as_order(order: ArrayLike, family: ExponentialFamily, p: Any) -> Array:
    """A checked scalar order in the dtype of a point; nan where a traced one is not finite.

    Raises:
      TypeError: it is not real.
      ValueError: it is no scalar, or a concrete one is nan or infinite.
    """
    order = checks.floating("order", order)
    if order.ndim:
        raise ValueError(
            f"order must be a scalar; got shape {order.shape}. Use jax.vmap for many orders."
        )
    advice = "Of members of a family only finite orders are offered."
    checks.require_values("order", order, np.isfinite, "finite", advice)
    order = jnp.where(jnp.isfinite(order), order, jnp.nan)
    if not isinstance(p, family.Params):
        family.batch_shape(p)
    dtype = jnp.result_type(*map(jnp.result_type, jax.tree.leaves(p)))
    return jnp.asarray(order, dtype if jnp.issubdtype(dtype, jnp.floating) else float)
