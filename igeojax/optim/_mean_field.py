"""The step that the variational optimizers of networks share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.optim._arguments import real_scalar, require_alike, require_params
from igeojax.optim.mean_field_posterior import MeanFieldState

Curvature = Callable[[MeanFieldState, Any, Any, dict[str, Any]], Any]
"""Diagonal curvature of state, parameters, gradients and the extra arguments of `update`."""


def mean_field(
    transform: str,
    curvature_of: Curvature,
    hyperparams: dict[str, ArrayLike],
    *,
    second_order: bool,
) -> optax.GradientTransformationExtraArgs:
    """Running means of gradients and curvature, and the Newton step from them.

    Args:
      transform: its name.
      curvature_of: the new estimate of the curvature.
      hyperparams: `ess`, `weight_decay`, `b1`, `b2`, `curvature_init`.
      second_order: whether the curvature's average has the term that keeps it positive.

    Returns:
      The transform.

    Raises:
      TypeError: a hyperparameter is not real.
      ValueError: a hyperparameter outside its domain.
    """
    for name, value in hyperparams.items():
        real_scalar(name, value, "It holds for all parameters together.")
    for name in ("ess", "curvature_init"):
        checks.require_positive(name, hyperparams[name], "Of ess pass the number of examples.")
    checks.require_values(
        "weight_decay", hyperparams["weight_decay"], lambda v: v >= 0, "non-negative", "Try 1e-4."
    )
    for name in ("b1", "b2"):
        checks.require_values(
            name, hyperparams[name], lambda v: (v >= 0) & (v < 1), "in [0, 1)", "Try 0.9."
        )

    def scalar(name: str, dtype: Any) -> Array:
        return checks.floating(name, hyperparams[name]).astype(dtype)

    def init(params: Any) -> MeanFieldState:
        like = lambda leaf, value: jnp.full(jnp.shape(leaf), value, wide(leaf))
        dtype = jnp.result_type(jnp.float32, *map(wide, jax.tree.leaves(params)))
        return MeanFieldState(
            jnp.zeros((), int),
            jax.tree.map(lambda leaf: like(leaf, 0), params),
            jax.tree.map(lambda leaf: like(leaf, hyperparams["curvature_init"]), params),
            scalar("ess", dtype),
            scalar("weight_decay", dtype),
        )

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, MeanFieldState]:
        require_params(transform, params)
        require_alike(updates, params)
        curvature = curvature_of(state, params, updates, extra)
        dtype = state.ess.dtype
        ess, decay, b1, b2 = (scalar(name, dtype) for name in ("ess", "weight_decay", "b1", "b2"))
        step = state.step + 1

        def averaged(h: Array, new: Array) -> Array:
            change = (1 - b2).astype(h.dtype) * (new.astype(h.dtype) - h)
            if not second_order:
                return h + change
            return h + change + 0.5 * change**2 / (h + decay.astype(h.dtype))

        def kept(mean: Array, gradient: Array) -> Array:
            return mean + (1 - b1).astype(mean.dtype) * (gradient.astype(mean.dtype) - mean)

        def direction(mean: Array, h: Array, param: Array, gradient: Array) -> Array:
            pull = decay.astype(h.dtype) * param.astype(h.dtype)
            unbiased = mean / (1 - b1**step).astype(h.dtype)
            return ((unbiased + pull) / (h + decay.astype(h.dtype))).astype(gradient.dtype)

        momentum = jax.tree.map(kept, state.momentum, updates)
        curvature = jax.tree.map(averaged, state.curvature, curvature)
        found = jax.tree.map(direction, momentum, curvature, params, updates)
        return found, MeanFieldState(step, momentum, curvature, ess, decay)

    return optax.GradientTransformationExtraArgs(init, update)


def wide(leaf: Any) -> Any:
    """The dtype of running means: that of the parameter, at least float32."""
    return jnp.promote_types(jnp.result_type(leaf), jnp.float32)
