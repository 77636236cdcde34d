"""What every transformation asks of its updates and parameters."""

from typing import Any

import jax
import jax.numpy as jnp


def require_alike(updates: Any, params: Any) -> None:
    """Check that updates have the structure and shapes of the parameters, all of them floating.

    Raises:
      TypeError: a leaf is not floating.
      ValueError: structures or shapes differ.
    """
    if jax.tree.structure(updates) != jax.tree.structure(params):
        raise ValueError(
            "updates and params must have one tree structure; got "
            f"{jax.tree.structure(updates)} and {jax.tree.structure(params)}. "
            "Pass the gradient with respect to these params."
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(updates), jax.tree.leaves(params), strict=True)
    for (path, update), param in pairs:
        where = f" at {jax.tree_util.keystr(path)}" if path else ""
        if jnp.shape(update) != jnp.shape(param):
            raise ValueError(
                f"updates must have the shapes of params; got {jnp.shape(update)} for a parameter "
                f"of shape {jnp.shape(param)}{where}. Pass the gradient with respect to these "
                "params."
            )
        for name, leaf in (("updates", update), ("params", param)):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(
                    f"{name} must be floating arrays; got {jnp.result_type(leaf)}{where}. Cast "
                    "them, or leave them out by optax.masked."
                )
