"""The plane in which laws with two coordinates are drawn, and strokes that keep their meaning."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.families.base import ExponentialFamily, require_family
from igeojax.families.categorical import Categorical

CORNERS = np.array([[0.0, 0.0], [1.0, 0.0], [0.5, np.sqrt(0.75)]])
"""Where the classes of a simplex stand, one a row."""


class Stroke(NamedTuple):
    """A color that the color-blind tell from the others, and a line that tells it without color."""

    color: str
    linestyle: Any


E_STROKE = Stroke("#0072b2", "-")
M_STROKE = Stroke("#d55e00", (0, (5, 2)))
FISHER_STROKE = Stroke("#009e73", (0, (5, 1.5, 1, 1.5)))


def is_simplex(family: ExponentialFamily) -> bool:
    """Whether laws of the family are drawn in the triangle of three classes."""
    return isinstance(family, Categorical) and family.num_classes == 3


def require_plane(family: ExponentialFamily) -> None:
    """Check that laws of the family have a place in the plane.

    Raises:
      ValueError: they are neither of three classes nor of two scalar parameters.
    """
    require_family(family)
    if not is_simplex(family) and (family.point_shape, len(family.Params._fields)) != (((), ()), 2):
        raise ValueError(
            f"family must have two coordinates to be drawn: three classes, or two scalar source "
            f"parameters as Normal has; got {family}. Draw a submanifold of it instead."
        )


def places(family: ExponentialFamily, theta: Any) -> np.ndarray:
    """Coordinates in the plane on the last axis: in the triangle, or the two source parameters."""
    params = family.params_from_natural(theta)
    if is_simplex(family):
        return np.asarray(params.probs) @ CORNERS
    return np.stack([np.asarray(leaf) for leaf in jax.tree.leaves(params)], axis=-1)


def parameter_names(family: ExponentialFamily) -> tuple[str, ...]:
    """What corners or axes are called where the caller does not say."""
    return ("1", "2", "3") if is_simplex(family) else family.Params._fields


def stacked(*points: Any) -> Any:
    """Points as one with an axis in front."""
    return jax.tree.map(lambda *leaves: jnp.stack(leaves), *points)
