"""Elementary functions with a finite derivative where a distance touches zero."""

import jax.numpy as jnp
from jaxtyping import Array, Float


def sqrt_at_zero(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Square root whose derivative at 0 is 0 by convention instead of infinite.

    For distances, `sqrt` of a smooth non-negative function: at coincident points the subgradient 0
    keeps gradients finite.

    Args:
      x: non-negative values; a negative one gives nan.

    Returns:
      `sqrt(x)`, of the shape of `x`.

    Examples:
      >>> import jax
      >>> float(jax.grad(sqrt_at_zero)(0.0))
      0.0
    """
    zero = x == 0
    return jnp.where(zero, 0.0, jnp.sqrt(jnp.where(zero, 1.0, x)))
