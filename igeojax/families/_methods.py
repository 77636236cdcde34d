"""What every method of a family does around its formula: points checked, nan outside the domain."""

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

TAKE_POINTS = {
    "dual_potential",
    "in_natural_domain",
    "log_partition",
    "mean",
    "mean_from_natural",
    "mean_log_base_measure",
    "mode",
    "natural_from_mean",
    "params_from_natural",
    "variance",
}
"""Methods whose arguments are points."""

_NAN_OUTSIDE = {"mean", "mean_from_natural", "params_from_natural", "variance"}
"""Of these, what is nan outside the natural domain, where its formula may well give numbers."""


def on_checked_points(method: Callable[..., Any]) -> Callable[..., Any]:
    """The method, its points checked before and its value masked after."""
    name = method.__name__

    @functools.wraps(method)
    def checked(self: Any, *points: Any) -> Any:
        points = tuple(map(self._point, points))
        value = method(self, *points)
        return nan_outside(self, name, points[0], value) if name in _NAN_OUTSIDE else value

    return checked


def nan_outside(family: Any, name: str, theta: Any, value: Any) -> Any:
    """The value of the method `name` at `theta`, nan outside the natural domain."""
    if name == "mean_from_natural" and any(len(shape) == 2 for shape in family.point_shape):
        # The Cholesky factor, which would be taken twice, has left its nan in some leaf.
        leaves = zip(jax.tree.leaves(value), family.point_shape, strict=True)
        inside: Any = True
        for leaf, shape in leaves:
            inside = inside & ~jnp.isnan(leaf).any(axis=tuple(range(-len(shape), 0)))
    else:
        inside = family.in_natural_domain(theta)
    mask = lambda leaf: inside.reshape(inside.shape + (1,) * (leaf.ndim - inside.ndim))
    return jax.tree.map(lambda leaf: jnp.where(mask(leaf), leaf, jnp.nan), value)
