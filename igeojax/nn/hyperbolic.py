"""Tables of points of hyperbolic space: how they start, where they are, how far apart.

A table is stored in units of the radius of curvature, `1 / sqrt(c)`, as `unit_rows` are of length
one: its name alone says on which manifold an optimizer has to keep it, see `nn.unit_manifolds`.
"""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, DTypeLike, Float, Int

from igeojax._core import checks
from igeojax.manifolds.lorentz import Lorentz
from igeojax.manifolds.poincare_ball import PoincareBall
from igeojax.nn._sizes import table_rows

Hyperbolic = PoincareBall | Lorentz
"""The models of hyperbolic space."""


def table_name(manifold: Hyperbolic) -> str:
    """Name of a table of points, which says on which model of hyperbolic space they are.

    Args:
      manifold: the model, of any curvature.

    Returns:
      "unit_ball" or "unit_hyperboloid".

    Raises:
      TypeError: `manifold` is neither.

    Examples:
      >>> table_name(Lorentz(2, curvature=-0.5))
      'unit_hyperboloid'
    """
    if not isinstance(manifold, Hyperbolic):
        raise TypeError(
            f"manifold must be a PoincareBall or a Lorentz; got {manifold!r}. Points of other "
            "manifolds are parameters under a tree of manifolds, as optim.riemannian_adam takes it."
        )
    return "unit_ball" if isinstance(manifold, PoincareBall) else "unit_hyperboloid"


def near_origin(manifold: Hyperbolic, spread: float) -> Callable[..., Array]:
    """Initializer of a table: points at coordinates uniform in `[-spread, spread]`.

    Near the origin all directions are open; training moves points outward.

    Args:
      manifold: the model; its curvature does not matter.
      spread: the largest coordinate, in units of the radius of curvature.

    Returns:
      `(key, shape, dtype) -> table`.

    Raises:
      TypeError: `manifold` is neither model.
      ValueError: `spread` is not positive.

    References:
      [NickelKiela2017] section 3.1.

    Examples:
      >>> table = near_origin(PoincareBall(2), 0.01)(jax.random.key(0), (5, 2))
      >>> bool(jnp.abs(table).max() <= 0.01)
      True
    """
    name = table_name(manifold)
    checks.require_positive("spread", spread, "It is the size of the region where points start.")

    def initialized(key: Array, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        *count, _ = shape
        space = jax.random.uniform(key, (*count, manifold.dim), dtype, -spread, spread)
        if name == "unit_hyperboloid":
            space = jnp.concatenate([jnp.zeros_like(space[..., :1]), space], axis=-1)
        return _unit(manifold)._project_point(space)

    return initialized


def points_at(
    manifold: Hyperbolic, table: Float[Array, "points coordinates"], index: Int[ArrayLike, "*batch"]
) -> Float[Array, "*batch coordinates"]:
    """Points of the manifold that a table holds.

    Args:
      manifold: the model, with its curvature.
      table: points in units of the radius.
      index: their rows in the table.

    Returns:
      Points.

    Raises:
      TypeError: `index` is not of integers.
      ValueError: a concrete one is not a row of the table.

    Examples:
      >>> ball = PoincareBall(1, curvature=-0.25)
      >>> points_at(ball, jnp.array([[0.0], [0.5]]), 1).tolist()
      [1.0]
    """
    return table_rows("index", table, index) / math.sqrt(-manifold.curvature)


def distance_between(
    manifold: Hyperbolic,
    table: Float[Array, "points coordinates"],
    first: Int[ArrayLike, "*batch"],
    second: Int[ArrayLike, "*batch"],
) -> Float[Array, "*batch"]:
    """Distances between points that a table holds, without a rounding of the radius.

    Args:
      manifold: the model, with its curvature.
      table: points in units of the radius.
      first: rows of the table, which broadcast with `second`.
      second: rows of the table.

    Returns:
      The distances on the manifold; 0 with gradient 0 at equal points.

    Raises:
      TypeError: rows are not integers.
      ValueError: a concrete one is not in the table, or shapes do not broadcast.

    References:
      [NickelKiela2017] equation 1.

    Examples:
      >>> table = jnp.array([[0.0], [math.tanh(0.5)]])
      >>> distance_between(PoincareBall(1, curvature=-0.25), table, 0, [0, 1]).round(5).tolist()
      [0.0, 2.0]
    """
    points = table_rows("first", table, first), table_rows("second", table, second)
    checks.require_broadcastable(first=points[0].shape[:-1], second=points[1].shape[:-1])
    return _unit(manifold).distance(*points) / math.sqrt(-manifold.curvature)


def _unit(manifold: Hyperbolic) -> Hyperbolic:
    """The same model of curvature -1."""
    return type(manifold)(manifold.dim)
