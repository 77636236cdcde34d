"""A tree of manifolds beside a tree of parameters: each manifold has the part it describes."""

from collections.abc import Callable
from typing import Any

import jax

from igeojax.manifolds.base import Manifold
from igeojax.optim._arguments import require_alike, require_params

OnManifold = Callable[..., Any]
"""A map of one part, `(manifold, *parts) -> part`."""


def require_manifolds(manifolds: Any) -> None:
    """Check that a tree holds manifolds and None only.

    Raises:
      TypeError: it holds something else, or no manifold at all.
    """
    leaves = jax.tree.leaves(manifolds, is_leaf=_is_description)
    for leaf in leaves:
        if not _is_description(leaf):
            raise TypeError(
                f"manifolds must hold manifolds, and None for Euclidean leaves; got {leaf!r}. Use "
                "jax.tree.map over the parameters to make a tree of them."
            )
    if all(leaf is None for leaf in leaves):
        raise TypeError(
            f"manifolds must hold a manifold, such as Sphere(3); got {manifolds!r}. Without "
            "one the transforms of optax do the same."
        )


def require_arguments(transform: str, updates: Any, params: Any) -> None:
    """Check what `update` was given.

    Raises:
      TypeError: a leaf is not floating.
      ValueError: no parameters, or updates of other structure or shapes.
    """
    require_params(transform, params)
    require_alike(updates, params)


def map_parts(manifolds: Any, on: OnManifold, plain: OnManifold, *trees: Any) -> Any:
    """Map the parts of trees: by `on` what has a manifold, by `plain` each leaf of what has none.

    Args:
      manifolds: the tree of manifolds; its leaves may stand for whole parts.
      on: what is done with a manifold and a part of each tree.
      plain: what is done with a leaf of each tree.
      *trees: parameters, and what is alike.

    Returns:
      The tree of results.

    Raises:
      ValueError: the trees do not continue that of the manifolds.
    """
    descriptions, structure = jax.tree.flatten(manifolds, is_leaf=_is_description)
    try:
        parts = [structure.flatten_up_to(tree) for tree in trees]
    except ValueError as error:
        raise ValueError(
            f"manifolds must have the tree structure of params down to their leaves; got "
            f"{structure} for {jax.tree.structure(trees[0])}. Put None where there is no manifold."
        ) from error
    return structure.unflatten(
        jax.tree.map(plain, *part) if manifold is None else on(manifold, *part)
        for manifold, *part in zip(descriptions, *parts, strict=True)
    )


def unchanged(*leaves: Any) -> Any:
    """The last leaf as it is: tangents of Euclidean leaves are the same everywhere."""
    return leaves[-1]


def _is_description(node: Any) -> bool:
    return node is None or isinstance(node, Manifold)
