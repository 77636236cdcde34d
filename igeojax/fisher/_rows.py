"""Gradients of each example for given cotangents on its outputs, as rows of a matrix."""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.fisher.output import widened


def gradient_rows(
    predict: Callable[[Any, Any], Any],
    cotangents: Callable[[Any, Any], Any],
    params: Any,
    weights: Array,
    inputs: Any,
    extra: Any,
) -> Array:
    """Rows `sqrt(w_n) J_n^T s_nk`, shape `(N K, P)`, examples in order; at least float32.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      cotangents: `cotangents(theta, extra)` of one example, of batch shape `(1, ...)`, with K
        cotangents stacked on axis 0.
      params: any pytree of floating arrays.
      weights: of each output, of its batch shape `(N, ...)`.
      inputs: pytree of arrays with the examples on axis 0.
      extra: likewise; what `cotangents` takes.
    """
    vector, unravel = jax.flatten_util.ravel_pytree(params)

    def of_example(weight: Array, example: Any, extra: Any) -> Array:
        alone = jax.tree.map(lambda leaf: jnp.asarray(leaf)[None], example)
        theta, pull = jax.vjp(lambda v: predict(unravel(v), alone), vector)
        # No infinite derivative at the weight 0 of a mask.
        root = jnp.where(weight > 0, jnp.sqrt(jnp.where(weight > 0, weight, 1.0)), 0.0)

        def scaled(score: Array, at: Array) -> Array:
            shape = (1, 1, *root.shape) + (1,) * (score.ndim - root.ndim - 2)
            return (widened(score) * root.reshape(shape)).astype(at.dtype)

        scores = jax.tree.map(scaled, cotangents(theta, extra), theta)
        return jax.vmap(lambda score: pull(score)[0])(scores)

    rows = widened(jax.vmap(of_example)(weights, inputs, extra))
    return rows.reshape((-1, rows.shape[-1]))
