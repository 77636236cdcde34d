"""The two models of hyperbolic space, one from the other."""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.manifolds.lorentz import Lorentz
from igeojax.manifolds.poincare_ball import PoincareBall, rim_gap


def lorentz_from_poincare(
    ball: PoincareBall, x: Float[ArrayLike, "*batch dim"]
) -> Float[Array, "*batch dim+1"]:
    """Points of the hyperboloid of the same curvature: `(1 + c|x|^2, 2 sqrt(c) x) / (1 - c|x|^2)`.

    An isometry, times the radius `1 / sqrt(c)`. It loses nothing that the ball holds. Tangents
    follow by `jax.jvp`.

    Args:
      ball: the ball.
      x: its points.

    Returns:
      Points of `Lorentz(ball.dim, ball.curvature)`.

    Raises:
      TypeError: `ball` is not a `PoincareBall`.
      ValueError: a wrong shape, or a concrete point outside the ball.

    References:
      [NickelKiela2018] equation 11.

    Examples:
      >>> [round(v, 6) for v in lorentz_from_poincare(PoincareBall(1), [0.5]).tolist()]
      [1.666667, 1.333333]
    """
    _require_model("ball", ball, PoincareBall)
    (points,) = ball._arguments({"x": x})
    root = math.sqrt(-ball.curvature)
    gap = rim_gap(root * points)[..., None]
    return jnp.concatenate([(2 - gap) / root, 2 * points], axis=-1) / gap


def poincare_from_lorentz(
    lorentz: Lorentz, x: Float[ArrayLike, "*batch dim+1"]
) -> Float[Array, "*batch dim"]:
    """Points of the ball of the same curvature: `x_space / (1 + sqrt(c) x_0)`.

    Points further away than the ball of this precision reaches end at its rim, by `project_point`.

    Args:
      lorentz: the hyperboloid.
      x: its points.

    Returns:
      Points of `PoincareBall(lorentz.dim, lorentz.curvature)`.

    Raises:
      TypeError: `lorentz` is not a `Lorentz`.
      ValueError: a wrong shape, or a concrete point off the hyperboloid.

    References:
      [NickelKiela2018] equation 11.

    Examples:
      >>> [round(v, 6) for v in poincare_from_lorentz(Lorentz(1), [5 / 3, 4 / 3]).tolist()]
      [0.5]
    """
    _require_model("lorentz", lorentz, Lorentz)
    (points,) = lorentz._arguments({"x": x})
    root, space = math.sqrt(-lorentz.curvature), points[..., 1:]
    time = jnp.sqrt(1 + jnp.sum((root * space) ** 2, axis=-1, keepdims=True))
    return PoincareBall(lorentz.dim, lorentz.curvature)._project_point(space / (1 + time))


def _require_model(name: str, value: object, kind: type) -> None:
    """Check which model of hyperbolic space an argument is.

    Raises:
      TypeError: it is another thing.
    """
    if not isinstance(value, kind):
        raise TypeError(
            f"{name} must be a {kind.__name__}; got {value!r}. Pass the description of the model "
            "that the points are of."
        )
