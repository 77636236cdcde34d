"""Sums of statistics over observations, and the chart of the data that they are taken in.

What `em` asks of a family for its passes over data, of single points. Families that are closed
under affine maps of the data override what concerns frames, see `families.frames`.
"""

from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float


class StatisticSums:
    """Sums and columns of the statistics of any family, and the frame in which nothing changes."""

    is_linear: ClassVar[bool] = False
    """Whether `<theta, T(x)> - psi(theta)` keeps its digits in the frame of the data."""

    def statistics_sum(self: Any, x: Any, weights: Array) -> Any:
        """Weighted sum `sum_n w_n T(x_n)` of the statistics of observations on axis 0."""
        return jax.tree.map(
            lambda leaf: jnp.tensordot(weights, leaf.astype(weights.dtype), axes=1),
            self.statistics(x),
        )

    def columns(self: Any, x: Any) -> Float[Array, "entries data"]:
        """Entries of the statistics of observations on axis 0, one a row; a matrix gives half."""
        leaves = jax.tree.leaves(self.statistics(x))
        return jnp.concatenate([leaf.reshape(leaf.shape[0], -1).T for leaf in leaves])

    def coefficients(self: Any, theta: Any) -> Float[Array, "entries"]:
        """Vector whose product with a column is `<theta, T(x)>`."""
        return jnp.concatenate([leaf.ravel() for leaf in jax.tree.leaves(theta)])

    def from_columns(self: Any, sums: Float[Array, "entries"]) -> Any:
        """Statistics of a column, the inverse of `columns` for one observation or a sum of many."""
        sizes = [int(np.prod(shape)) for shape in self.point_shape]
        parts = jnp.split(sums, np.cumsum(sizes)[:-1])
        shapes = zip(parts, self.point_shape, strict=True)
        return self.from_leaves([part.reshape(shape) for part, shape in shapes])

    def frame_of(self: Any, theta: Any) -> Any:
        """The frame in which a point is the standard member, `families.frames`; here the empty."""
        return ()

    def neutral_frame(self: Any, dtype: Any) -> Any:
        """The frame in which nothing changes."""
        return ()

    def standardized(self: Any, x: Any, frame: Any) -> Any:
        """Observations in a frame."""
        return x

    def own_log_density(self: Any, theta: Any, z: Any) -> Float[Array, "data"]:
        """Log-density of observations in the frame of the point itself, `frame_of(theta)`."""
        return self.log_density(theta, z)

    def in_frame(self: Any, theta: Any, frame: Any) -> Any:
        """Natural parameter in a frame."""
        return theta

    def from_frame(self: Any, theta: Any, frame: Any) -> Any:
        """Natural parameter of the observations from that in a frame."""
        return theta

    def log_volume(self: Any, frame: Any) -> Array | float:
        """What the log-density in a frame exceeds that of the observations by."""
        return 0.0

    def observed_log_volume(self: Any, x: Any, frame: Any) -> Array | float:
        """The same of the observed entries of each observation."""
        return 0.0

    def sums_in_frame(self: Any, count: Array, sums: Any, frame: Any) -> Any:
        """Sums of the statistics of `count` observations in a frame."""
        return sums

    def conditional_variances(self: Any, theta: Any) -> Float[Array, "coordinates"]:
        """Variance of each coordinate with a scale, given the others; here of none."""
        return jnp.zeros(0, jax.tree.leaves(theta)[0].dtype)

    def mean_squares(self: Any, eta: Any) -> Float[Array, "coordinates"]:
        """Mean square of each coordinate with a scale; here of none."""
        return jnp.zeros(0, jax.tree.leaves(eta)[0].dtype)

    def in_chart(self: Any, eta: Any) -> Any:
        """Mean statistics, moved by rounding where the chart cannot hold them; here as they are."""
        return eta

    def blur(self: Any, variance: Array, like: Any) -> Any:
        """What noise adds to the mean statistics, of one variance or one for each; here none."""
        return jax.tree.map(jnp.zeros_like, like)
