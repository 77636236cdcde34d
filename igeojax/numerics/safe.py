"""Elementary functions with derivatives that stay finite: at zero, and for huge arguments."""

import jax
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


def abs_at_zero(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Absolute value whose derivative at 0 is 0, where that of `jnp.abs` is 1.

    Args:
      x: real values.

    Returns:
      `|x|`, of the shape of `x`.

    Examples:
      >>> import jax
      >>> float(jax.grad(abs_at_zero)(0.0))
      0.0
    """
    return jnp.where(x == 0, 0.0, jnp.abs(x))


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


@jax.custom_jvp
def quotient(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Quotient `a / b` whose derivatives do not square b, which may over- or underflow.

    Args:
      a: any values.
      b: non-zero values, which broadcast with them.

    Returns:
      The quotient.

    Examples:
      >>> round(float(jax.grad(quotient, 1)(1e30, 1e30)) * 1e30, 5)
      -1.0
    """
    return a / b


@quotient.defjvp
def _quotient_jvp(primals, tangents):
    (a, b), (da, db) = primals, tangents
    value = quotient(a, b)
    return value, quotient(da, b) - value * quotient(db, b)
