"""What every transformation asks of its updates and parameters."""

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks


def named_arguments(function: Callable[..., Any], extra: Mapping[str, Any]) -> dict[str, Any]:
    """Those extra arguments of `update` that `function` names; other transforms' are dropped."""
    parameters = inspect.signature(function).parameters.values()
    if any(p.kind is inspect.Parameter.VAR_KEYWORD for p in parameters):
        return dict(extra)
    named = {p.name for p in parameters}
    return {name: value for name, value in extra.items() if name in named}


def real_scalar(name: str, value: ArrayLike, remedy: str) -> Array:
    """A hyperparameter as a floating scalar; it may be traced.

    Raises:
      TypeError: it is not a real number.
      ValueError: it has axes.
    """
    scalar = checks.floating(name, value)
    if scalar.shape:
        raise ValueError(f"{name} must be a scalar; got shape {scalar.shape}. {remedy}")
    return scalar


def require_params(transform: str, params: Any) -> None:
    """Check that `update` was given the parameters.

    Raises:
      ValueError: it was not.
    """
    if params is None:
        raise ValueError(
            f"{transform} needs the current parameters; got params=None. Call "
            "tx.update(grads, state, params, ...)."
        )


def require_alike(
    updates: Any,
    params: Any,
    name: str = "updates",
    remedy: str = "Pass the gradient with respect to these params.",
) -> None:
    """Check that updates have the structure and shapes of the parameters, all of them floating.

    Raises:
      TypeError: a leaf is not floating.
      ValueError: structures or shapes differ.
    """
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
