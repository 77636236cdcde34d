"""The scaled exponential integral, finite where its factors are not."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

_TERMS = 26
_STEPS = 60
_EDGE = 2.0


@jax.custom_jvp
def scaled_exponential_integral(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`exp(x) E_1(x) = int_0^inf exp(-t) / (x + t) dt`, positive and decreasing.

    The power series below 2, the continued fraction above. Relative error a few eps.

    Args:
      x: positive values; at 0 the result is inf.

    Returns:
      The integral, of the shape of `x`; about `1/x` for large x, where `E_1` underflows.

    References:
      [DLMF2024] equations 6.6.2 and 6.9.1.

    Examples:
      >>> round(float(scaled_exponential_integral(jnp.asarray(1.0))), 6)
      0.596347
    """
    near = x < _EDGE
    small = jnp.where(near, x, 1.0)
    # -sum_k (-x)^k / (k k!) = x (1 - x/2 (1/2 - x/3 (1/3 - ...))), nested from the last term.
    series = jnp.full_like(x, 1 / _TERMS)
    for k in range(_TERMS - 1, 0, -1):
        series = 1 / k - series * small / (k + 1)
    low = jnp.exp(small) * (-np.euler_gamma - jnp.log(small) + small * series)
    return jnp.where(near, low, _fraction(jnp.where(near, _EDGE, x), 1))


def _fraction(x: Array, order: int) -> Array:
    """`exp(x) E_order(x)` by its continued fraction, for `x >= 2`."""

    def step(index, tail):
        k = _STEPS - index
        return k * (k + order - 1) / (x + 2 * k + order - tail)

    tail = jax.lax.fori_loop(0, _STEPS, step, jnp.zeros_like(x))
    return 1 / (x + order - tail)


@scaled_exponential_integral.defjvp
def _scaled_exponential_integral_jvp(primals, tangents):
    # The derivative is F - 1/x = -F_2/x with F_2 = exp(x) E_2(x): no difference of near numbers.
    (x,), (dx,) = primals, tangents
    value = scaled_exponential_integral(x)
    return value, -_second(x) / x * dx


@jax.custom_jvp
def _second(x: Array) -> Array:
    near = x < _EDGE
    small = jnp.where(near, x, 1.0)
    low = 1 - small * scaled_exponential_integral(small)
    return jnp.where(near, low, _fraction(jnp.where(near, _EDGE, x), 2))


@_second.defjvp
def _second_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    value = _second(x)
    return value, (value - scaled_exponential_integral(x)) * dx
