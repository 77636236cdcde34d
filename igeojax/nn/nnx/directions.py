"""A head for directions as a `flax.nnx` module."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, DTypeLike, Float

from igeojax.families.von_mises_fisher import VonMisesFisher, VonMisesFisherPoint


class VonMisesFisherHead(nnx.Module):
    """Regression of directions: features to the natural parameter `kappa mu` of a direction's law.

    `theta = features kernel + bias`, zero at first, the uniform law. The loss is
    `-family.log_density(theta, y)`, convex in the layer's parameters; both it and its gradient
    `A(kappa) mu - y` are right at zero and up to concentrations of 1e18 in float32, so nothing
    needs a bound. `theta` is a point of `family`, as the natural gradient of `optim` and the Fisher
    information of `fisher` take it from a model.

    Args:
      features: dimension of the features.
      dim: dimension of the directions, at least 2.
      param_dtype: dtype of the parameters.

    References:
      [BanerjeeDhillon2005] section 2.2 (the law).

    Examples:
      >>> layer = VonMisesFisherHead(5, 3)
      >>> loss = -layer.family.log_density(layer(jnp.ones((2, 5))), jnp.eye(3)[:2])
      >>> [round(float(nats), 3) for nats in loss]  # log 4 pi
      [2.531, 2.531]
    """

    def __init__(self, features: int, dim: int, *, param_dtype: DTypeLike = jnp.float32) -> None:
        self.family = VonMisesFisher(dim)
        self.kernel = nnx.Param(jnp.zeros((features, dim), param_dtype))
        self.bias = nnx.Param(jnp.zeros(dim, param_dtype))

    def __call__(self, features: Float[Array, "*batch d"]) -> VonMisesFisherPoint:
        """Natural parameters of batch shape `batch`."""
        theta = jnp.matmul(features, self.kernel[...])
        return self.family.Point(theta + jnp.broadcast_to(self.bias[...], theta.shape))
