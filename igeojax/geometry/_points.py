"""Arguments that are points of a family, in natural or source coordinates."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.families._pairs import known_where, natural
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry.metric import sharp


def natural_point(family: ExponentialFamily, point: Any) -> Any:
    """Natural parameter of a natural or source parameter, its leaves as arrays."""
    require_family(family)
    return family._point(natural(family, point))


def one_point(family: ExponentialFamily, name: str, point: Any) -> Any:
    """The natural parameter of one law, in the natural domain where its values can be read.

    Raises:
      ValueError: it has batch axes, or a concrete value is outside the domain.
    """
    theta = natural_point(family, point)
    batch = family.batch_shape(theta)
    if batch:
        raise ValueError(f"{name} must be one law; got a batch of shape {batch}. Use jax.vmap.")
    checks.require_values(
        name,
        family.in_natural_domain(theta),
        lambda inside: inside,
        "inside the natural domain",
        "See family.in_natural_domain.",
    )
    return theta


def row_points(family: ExponentialFamily, name: str, points: Any) -> tuple[Any, int]:
    """Natural parameters along axis 0, one or more, and their number.

    Raises:
      ValueError: there is no such axis, or it is empty.
    """
    theta = natural_point(family, points)
    batch = family.batch_shape(theta)
    if not batch or batch[0] == 0:
        raise ValueError(
            f"{name} must have a leading axis of length 1 or more; got batch shape {batch}. Stack "
            "them: jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)."
        )
    return theta, batch[0]


def single_row_points(family: ExponentialFamily, name: str, points: Any) -> tuple[Any, int]:
    """Natural parameters along axis 0 and no other batch axis, and their number.

    Raises:
      ValueError: there is no such axis, it is empty, or there are more.
    """
    theta, count = row_points(family, name, points)
    batch = family.batch_shape(theta)
    if len(batch) != 1:
        raise ValueError(
            f"{name} must have one leading axis; got batch shape {batch}. Use jax.vmap for batches."
        )
    return theta, count


def require_laws_inside(family: ExponentialFamily, theta: Any, share: Array) -> None:
    """Check that concrete laws with weight are inside the natural domain.

    Raises:
      ValueError: one is not.
    """
    checks.require_values(
        "points",
        family.in_natural_domain(theta) | (share == 0),
        lambda inside: inside,
        "inside the natural domain",
        "See family.in_natural_domain.",
    )


def aligned(family: ExponentialFamily, **points: Any) -> list[Any]:
    """Natural parameters of one rank, so that they broadcast without rank promotion."""
    theta = {name: natural_point(family, point) for name, point in points.items()}
    batches = {name: family.batch_shape(point) for name, point in theta.items()}
    checks.require_broadcastable(**batches)
    rank = max(map(len, batches.values()))
    return [padded(point, rank - len(batches[name])) for name, point in theta.items()]


def padded(point: Any, axes: int) -> Any:
    """A point with that many more leading axes of length one."""
    return jax.tree.map(lambda leaf: leaf.reshape((1,) * axes + leaf.shape), point)


def natural_of_mean(family: ExponentialFamily, eta: Any) -> Any:
    """`natural_from_mean`, nan where its result has another mean.

    What is no mean of any law may be given that of another one: of negative means a closed form may
    make positive ones.
    """
    theta = family.natural_from_mean(eta)
    found = jax.lax.stop_gradient(family.mean_from_natural(theta))
    leaves = zip(jax.tree.leaves(found), jax.tree.leaves(eta), family.point_shape, strict=True)
    inside = family.in_natural_domain(theta)
    close, limit = inside, float(jnp.finfo(jnp.result_type(*jax.tree.leaves(eta))).eps) ** (1 / 3)
    for mean, wanted, event in leaves:
        axes = tuple(range(-len(event), 0))
        gap = jnp.max(jnp.abs(mean - wanted), axis=axes, initial=0.0)
        size = jnp.max(jnp.abs(wanted), axis=axes, initial=0.0)
        close = close & (gap <= limit * size)
    # A mean near 0 has no size of its own: in units of the standard deviation of its statistic.
    gap = jax.tree.map(jnp.subtract, found, jax.lax.stop_gradient(eta))
    at = jax.lax.stop_gradient(theta)
    square = family.pairing(sharp(family, at, gap), gap)
    return known_where(family, close | (inside & (square >= 0) & (square <= limit**2)), theta)
