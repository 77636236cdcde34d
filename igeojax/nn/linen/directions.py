"""A head for directions as a `flax.linen` module."""

import jax.numpy as jnp
from flax import linen
from jaxtyping import Array, DTypeLike, Float

from igeojax.families.von_mises_fisher import VonMisesFisher, VonMisesFisherPoint


class VonMisesFisherHead(linen.Module):
    """Regression of directions: features to the natural parameter `kappa mu` of a direction's law.

    `theta = features kernel + bias`, zero at first, the uniform law. The loss is
    `-family.log_density(theta, y)`, convex in the layer's parameters; both it and its gradient
    `A(kappa) mu - y` are right at zero and up to concentrations of 1e18 in float32, so nothing
    needs a bound. `theta` is a point of `family`, as the natural gradient of `optim` and the Fisher
    information of `fisher` take it from a model.

    Attributes:
      dim: dimension of the directions, at least 2.
      param_dtype: dtype of the parameters.

    References:
      [BanerjeeDhillon2005] section 2.2 (the law).

    Examples:
      >>> import jax
      >>> layer, x = VonMisesFisherHead(3), jnp.ones((2, 5))
      >>> params = layer.init(jax.random.key(0), x)
      >>> loss = -layer.family.log_density(layer.apply(params, x), jnp.eye(3)[:2])
      >>> [round(float(nats), 3) for nats in loss]  # log 4 pi
      [2.531, 2.531]
    """

    dim: int
    param_dtype: DTypeLike = jnp.float32

    @property
    def family(self) -> VonMisesFisher:
        """The family of the output."""
        return VonMisesFisher(self.dim)

    @linen.compact
    def __call__(self, features: Float[Array, "*batch d"]) -> VonMisesFisherPoint:
        """Natural parameters of batch shape `batch`."""
        shape, zeros = (features.shape[-1], self.dim), linen.initializers.zeros
        kernel = self.param("kernel", zeros, shape, self.param_dtype)
        bias = self.param("bias", zeros, shape[1:], self.param_dtype)
        theta = jnp.matmul(features, kernel)
        return self.family.Point(theta + jnp.broadcast_to(bias, theta.shape))
