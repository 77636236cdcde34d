"""A table of hyperbolic points as a `flax.linen` module."""

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, ArrayLike, DTypeLike, Float, Int

from igeojax._core import checks
from igeojax.nn.hyperbolic import (
    Hyperbolic,
    distance_between,
    near_origin,
    points_at,
    table_name,
)


class HyperbolicEmbedding(linen.Module):
    """A point of hyperbolic space for each index.

    Its table is kept on the manifold by an optimizer that moves along geodesics:
    `optim.riemannian_adam(rate, nn.unit_manifolds(params), additive=False)` and
    `optim.apply_riemannian_updates`. Steps are in units of the radius of curvature.

    Attributes:
      num_points: number of points.
      manifold: `manifolds.PoincareBall` or `manifolds.Lorentz`, of any curvature.
      spread: points start at coordinates of at most this size, in units of the radius.
      param_dtype: dtype of the table.

    References:
      [NickelKiela2017] section 3; [NickelKiela2018] section 3.

    Examples:
      >>> import jax
      >>> from igeojax.manifolds import PoincareBall
      >>> layer = HyperbolicEmbedding(5, PoincareBall(2))
      >>> params = layer.init(jax.random.key(0), jnp.array([0]))
      >>> layer.apply(params, jnp.array([0, 3])).shape
      (2, 2)
      >>> layer.apply(params, 3, jnp.array([0, 3]), method="distance")[1].item()
      0.0
    """

    num_points: int
    manifold: Hyperbolic
    spread: float = 1e-3
    param_dtype: DTypeLike = jnp.float32

    def setup(self) -> None:
        """Make the table."""
        checks.require_count("num_points", self.num_points)
        name, shape = table_name(self.manifold), (self.num_points, *self.manifold.point_shape)
        at_first = near_origin(self.manifold, self.spread)
        self.table = self.param(name, at_first, shape, self.param_dtype)

    def __call__(self, index: Int[ArrayLike, "*batch"]) -> Float[Array, "*batch coordinates"]:
        """Points of the manifold, `nn.hyperbolic.points_at`."""
        return points_at(self.manifold, self.table, index)

    def distance(
        self, first: Int[ArrayLike, "*batch"], second: Int[ArrayLike, "*batch"]
    ) -> Float[Array, "*batch"]:
        """Distances between points, `nn.hyperbolic.distance_between`."""
        return distance_between(self.manifold, self.table, first, second)
