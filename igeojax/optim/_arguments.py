"""What every transformation asks of its updates and parameters."""

from typing import Any

import jax
import jax.numpy as jnp


def require_alike(updates: Any, params: Any, name: str = "updates") -> None:
    """Check that updates have the structure and shapes of the parameters, all of them floating.

    Raises:
      TypeError: a leaf is not floating.
      ValueError: structures or shapes differ.
    """
    remedy = (
        "Pass the gradient with respect to these params."
        if name == "updates"
        else "A projection maps a point to a point alike."
    )
    if jax.tree.structure(updates) != jax.tree.structure(params):
        raise ValueError(
            f"{name} and params must have one tree structure; got "
            f"{jax.tree.structure(updates)} and {jax.tree.structure(params)}. "
            f"{remedy}"
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(updates), jax.tree.leaves(params), strict=True)
    for (path, update), param in pairs:
        where = f" at {jax.tree_util.keystr(path)}" if path else ""
        if jnp.shape(update) != jnp.shape(param):
            raise ValueError(
                f"{name} must have the shapes of params; got {jnp.shape(update)} for a parameter "
                f"of shape {jnp.shape(param)}{where}. {remedy}"
            )
        for role, leaf in ((name, update), ("params", param)):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(
                    f"{role} must be floating arrays; got {jnp.result_type(leaf)}{where}. Cast "
                    "them, or leave them out by optax.masked."
                )
