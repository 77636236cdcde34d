"""Student's t, which is no exponential family: the predictive density of normal ones."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.remainders import log1p_remainder
from igeojax.numerics.stirling import HALF_LOG_TWO_PI, stirling_remainder


def student_t_log_density(
    x: Float[Array, "*shape"], dof: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Standard Student-t log-density of `dof` degrees of freedom, normal at infinitely many.

    With `a = dof / 2` the constant is `lgamma(a + 1/2) - lgamma(a) - log(2 pi a) / 2`. The
    difference of two log-gammas keeps no digit beyond `dof = 1/eps`; by Stirling's formula it is
    `-a R(1/(2a)) - (mu(a) - mu(a + 1/2))` with the remainder `R(u) = u - log(1 + u)`: two terms of
    one sign. Location and scale: `student_t_log_density((x - loc) / scale, dof) - log(scale)`.

    Args:
      x: any real values.
      dof: positive values, inf included; other values give nan.

    Returns:
      The log-density in nats, of the common shape, to a few eps.

    References:
      [JohnsonKotzBalakrishnan1995] chapter 28.

    Examples:
      >>> round(float(student_t_log_density(jnp.asarray(1.0), jnp.asarray(1e12))), 6)
      -1.418939
    """
    normal = dof == jnp.inf
    dof = jnp.where(normal, 1.0, dof)
    a = 0.5 * dof
    bend = a * log1p_remainder(0.5 / a) + stirling_remainder(a) - stirling_remainder(a + 0.5)
    scaled = x / jnp.sqrt(dof)
    # The square overflows long before its logarithm does.
    far = jnp.abs(scaled) > 1
    high, low = jnp.where(far, scaled, 1.0), jnp.where(far, 0.0, scaled)
    growth = jnp.where(far, 2 * jnp.log(jnp.abs(high)) + jnp.log1p(high**-2), jnp.log1p(low**2))
    heavy = bend + (a + 0.5) * growth
    light = 0.5 * jnp.where(normal, x, 0.0) ** 2
    return -HALF_LOG_TWO_PI - jnp.where(normal, light, heavy)
