"""Weights that live on manifolds, known by their names: how they start, and where they live."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, DTypeLike

from igeojax._core import checks
from igeojax.manifolds.base import Manifold
from igeojax.manifolds.lorentz import Lorentz
from igeojax.manifolds.oblique import Oblique
from igeojax.manifolds.poincare_ball import PoincareBall
from igeojax.nn.normalized import l2_normalize

AXES = {"unit_columns": -2, "unit_rows": -1}
"""Names of weights made of unit vectors, and their axis."""
MANIFOLDS: dict[Any, Callable[[tuple[int, ...]], Manifold]] = {
    "unit_columns": lambda shape: Oblique(*shape[-2:], axis=-2),
    "unit_rows": lambda shape: Oblique(*shape[-2:]),
    "unit_ball": lambda shape: PoincareBall(shape[-1]),
    "unit_hyperboloid": lambda shape: Lorentz(shape[-1] - 1),
}
"""Names of weights that live on a manifold, and the manifold of a shape."""


def unit_manifolds(params: Any) -> Any:
    """The manifolds of the parameters of a network, for the transforms of `optim`.

    A leaf under the name `unit_columns` or `unit_rows` is on `manifolds.Oblique`, one under
    `unit_ball` on `manifolds.PoincareBall` and one under `unit_hyperboloid` on `manifolds.Lorentz`,
    both of curvature -1; all others have None. `optim.project_onto(unit_manifolds(params))` at the
    end of a chain normalizes the weights after each step; `optim.riemannian_adam` descends on the
    manifolds.

    Args:
      params: parameters of linen or nnx layers: a tree of dictionaries, or `nnx.state(layer,
        nnx.Param)`.

    Returns:
      A tree of the same structure.

    Raises:
      ValueError: no leaf has such a name, or one that has is no matrix.

    References:
      [LoshchilovNgpt2024] section 2.3.

    Examples:
      >>> unit_manifolds({"head": {"unit_columns": jnp.eye(3)}, "scale": jnp.ones(3)})
      {'head': {'unit_columns': Oblique(rows=3, columns=3, axis=-2)}, 'scale': None}
    """

    def manifold(path: Any, leaf: Any) -> Manifold | None:
        names = [key for key in map(_name, path) if key in MANIFOLDS]
        if names and leaf.ndim < 2:
            raise ValueError(
                f"{'/'.join(str(_name(key)) for key in path)} must be a matrix; got shape "
                f"{leaf.shape}. A single vector is a matrix of one row or column."
            )
        return MANIFOLDS[names[-1]](leaf.shape) if names else None

    found = jax.tree_util.tree_map_with_path(manifold, params)
    if not jax.tree.leaves(found, is_leaf=lambda node: isinstance(node, Manifold)):
        raise ValueError(
            f"params must hold a weight named {' or '.join(MANIFOLDS)}; got names "
            f"{sorted({str(_name(path[-1])) for path, _ in _leaves(params) if path})}. Build the "
            "network of nn.linen.NormalizedLinear, HyperbolicEmbedding and their kin."
        )
    return found


def _leaves(params: Any) -> Any:
    return jax.tree_util.tree_leaves_with_path(params)


def _name(key: Any) -> Any:
    """What a key of a path says: a name of a dictionary or an attribute, or a number."""
    return getattr(key, "key", getattr(key, "name", getattr(key, "idx", None)))


def unit_normal(name: str) -> Callable[..., Array]:
    """Initializer of a weight of that name: directions uniform on the sphere.

    Args:
      name: "unit_columns" or "unit_rows".

    Returns:
      `(key, shape, dtype) -> weight`.

    Examples:
      >>> weight = unit_normal("unit_rows")(jax.random.key(0), (2, 3))
      >>> jnp.linalg.norm(weight, axis=1).round(5).tolist()
      [1.0, 1.0]
    """

    def initialized(key: Any, shape: tuple[int, ...], dtype: DTypeLike = jnp.float32) -> Array:
        return l2_normalize(jax.random.normal(key, shape, dtype), axis=AXES[name])

    return initialized


def unit_name(unit: str) -> str:
    """Name of a weight, which says what of it has length one.

    Args:
      unit: "columns" or "rows".

    Returns:
      The name.

    Raises:
      ValueError: `unit` is neither.

    Examples:
      >>> unit_name("rows")
      'unit_rows'
    """
    checks.require_option("unit", unit, ("columns", "rows"))
    return f"unit_{unit}"
