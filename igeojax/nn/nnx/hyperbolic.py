"""A table of hyperbolic points as a `flax.nnx` module."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, ArrayLike, DTypeLike, Float, Int

from igeojax._core import checks
from igeojax.nn.hyperbolic import (
    Hyperbolic,
    distance_between,
    near_origin,
    points_at,
    table_name,
)


class HyperbolicEmbedding(nnx.Module):
    """A point of hyperbolic space for each index.

    Its table is kept on the manifold by an optimizer that moves along geodesics:
    `optim.riemannian_adam(rate, nn.unit_manifolds(params), additive=False)` and
    `optim.apply_riemannian_updates`. Steps are in units of the radius of curvature.

    Args:
      num_points: number of points.
      manifold: `manifolds.PoincareBall` or `manifolds.Lorentz`, of any curvature.
      spread: points start at coordinates of at most this size, in units of the radius.
      param_dtype: dtype of the table.
      rngs: random streams; `params` is drawn from.

    References:
      [NickelKiela2017] section 3; [NickelKiela2018] section 3.

    Examples:
      >>> from igeojax.manifolds import PoincareBall
      >>> layer = HyperbolicEmbedding(5, PoincareBall(2), rngs=nnx.Rngs(0))
      >>> layer(jnp.array([0, 3])).shape
      (2, 2)
      >>> layer.distance(3, jnp.array([0, 3]))[1].item()
      0.0
    """

    def __init__(
        self,
        num_points: int,
        manifold: Hyperbolic,
        *,
        spread: float = 1e-3,
        param_dtype: DTypeLike = jnp.float32,
        rngs: nnx.Rngs,
    ) -> None:
        checks.require_count("num_points", num_points)
        self.name, self.manifold = table_name(manifold), manifold
        at_first = near_origin(manifold, spread)
        table = at_first(rngs.params(), (num_points, *manifold.point_shape), param_dtype)
        setattr(self, self.name, nnx.Param(table))

    def __call__(self, index: Int[ArrayLike, "*batch"]) -> Float[Array, "*batch coordinates"]:
        """Points of the manifold, `nn.hyperbolic.points_at`."""
        return points_at(self.manifold, getattr(self, self.name)[...], index)

    def distance(
        self, first: Int[ArrayLike, "*batch"], second: Int[ArrayLike, "*batch"]
    ) -> Float[Array, "*batch"]:
        """Distances between points, `nn.hyperbolic.distance_between`."""
        return distance_between(self.manifold, getattr(self, self.name)[...], first, second)
