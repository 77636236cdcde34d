"""What every form of the Fisher information asks of its arguments."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax._core import checks


def require_examples(name: str, inputs: Any) -> None:
    """Check that all inputs are arrays with the same number of examples on axis 0.

    Raises:
      ValueError: they are not.
    """
    shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(inputs)]
    if len({shape[:1] for shape in shapes}) != 1 or not shapes[0]:
        raise ValueError(
            f"{name} must be arrays that share the examples on axis 0; got shapes "
            f"{', '.join(map(str, shapes[:4]))}. A list is a tree of its entries: pass "
            "jnp.asarray(...); close over what is not an example."
        )


def require_weights(weights: Array) -> None:
    """Check that concrete weights are non-negative and finite.

    Raises:
      ValueError: an entry is not.
    """
    checks.require_values(
        "weights",
        weights,
        lambda w: np.isfinite(w) & (w >= 0),
        "non-negative and finite",
        "They replace the factor 1/N of the mean; a weight 0 masks.",
    )


def tangent_of(params: Any, tangent: Any) -> Any:
    """The tangent with the dtypes of the parameters, checked to have their structure and shapes.

    Raises:
      ValueError: structures or shapes differ.
    """
    structures = jax.tree.structure(tangent), jax.tree.structure(params)
    if structures[0] != structures[1]:
        raise ValueError(
            f"tangent must have the tree structure of params, {structures[1]}; got "
            f"{structures[0]}. Pass a pytree like params."
        )
    pairs = zip(jax.tree_util.tree_leaves_with_path(tangent), jax.tree.leaves(params), strict=True)
    for (path, leaf), param in pairs:
        if jnp.shape(leaf) != jnp.shape(param):
            where = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise ValueError(
                f"tangent must have the shapes of params, {jnp.shape(param)}{where}; got "
                f"{jnp.shape(leaf)}. Pass a pytree like params; use jax.vmap for several tangents."
            )
    return jax.tree.map(lambda v, param: jnp.asarray(v, jnp.result_type(param)), tangent, params)


def require_floating(params: Any) -> None:
    """Check that all parameters can be differentiated.

    Raises:
      TypeError: a leaf is not floating.
    """
    for path, leaf in jax.tree_util.tree_leaves_with_path(params):
        found = jnp.result_type(leaf)
        if not jnp.issubdtype(found, jnp.floating):
            where = f" at {jax.tree_util.keystr(path)}" if path else ""
            raise TypeError(
                f"params must be floating arrays; got {found}{where}. Cast them, or close over "
                "what is not a parameter."
            )
