"""Elementary functions with a finite derivative at zero."""

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


def log_at_zero(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Logarithm whose derivative at 0 is 0 by convention instead of infinite.

    For probabilities that may be 0: nothing moves with a coordinate at -inf, and `0 * inf` would be
    nan.

    Args:
      x: non-negative values.

    Returns:
      `log(x)`, of the shape of `x`; -inf at 0, nan below.

    Examples:
      >>> import jax
      >>> float(log_at_zero(jnp.asarray(0.0))), float(jax.grad(log_at_zero)(0.0))
      (-inf, 0.0)
    """
    zero = x == 0
    return jnp.where(zero, -jnp.inf, jnp.log(jnp.where(zero, 1.0, x)))
