"""The gamma family's moment equation `log a - digamma(a) = s`, its inverse, and its remainder."""

import jax
import jax.numpy as jnp
from jax.scipy.special import digamma
from jaxtyping import Array, Float

from igeojax.numerics.remainders import log1p_remainder, ratio_remainder

# log a - digamma(a) ~ 1/(2a) + sum_k B_2k / (2k a^2k): B_2k / (2k) for k = 1..11, which at 8 leave
# out less than rounding, of the derivative too.
_STIRLING = (
    *(1 / 12, -1 / 120, 1 / 252, -1 / 240, 1 / 132, -691 / 32760, 1 / 12),
    *(-3617 / 8160, 43867 / 14364, -174611 / 6600, 77683 / 276),
)
_SHIFT = 8
# lgamma(a) = (a - 1/2) log a - a + log(2 pi)/2 + sum_k c_k / a^(2k-1): the first six c_k.
_LGAMMA_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360)


def log_minus_digamma(a: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log(a) - digamma(a)`, positive and decreasing, for `a > 0`.

    The gap `log E[x] - E[log x]` of a gamma variable of shape `a`. The subtraction loses digits as
    the gap falls like `1/(2a)`; above 8 the asymptotic series is summed instead.

    Args:
      a: positive values.

    Returns:
      The gap, of the shape of `a`.

    Examples:
      >>> round(float(log_minus_digamma(jnp.asarray(1e8))) * 1e8, 6)
      0.5
    """
    large = a >= _SHIFT
    big = jnp.where(large, a, _SHIFT)
    small = jnp.where(large, 1.0, a)
    square = 1 / (big * big)
    series = jnp.zeros_like(square)
    for coefficient in reversed(_STIRLING):
        series = (series + coefficient) * square
    return jnp.where(large, 0.5 / big + series, jnp.log(small) - digamma(small))


@jax.custom_jvp
def log_minus_digamma_inverse(s: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Shape `a > 0` with `log(a) - digamma(a) = s`: maximum likelihood of the gamma shape.

    Minka's generalized Newton step on `1/a` converges quadratically from a start within 1.5
    percent: five steps reach rounding. The derivative is that of the implicit function.

    Args:
      s: positive values (nats); 0 gives inf (constant data), a negative value nan.

    Returns:
      The shape `a`, of the shape of `s`.

    References:
      [Minka2002] equation (10) (the generalized Newton step).

    Examples:
      >>> round(float(log_minus_digamma_inverse(log_minus_digamma(jnp.asarray(3.0)))), 5)
      3.0
    """
    positive = s > 0
    safe = jnp.where(positive, s, 1.0)
    a = (3 - safe + jnp.sqrt((safe - 3) ** 2 + 24 * safe)) / (12 * safe)
    for _ in range(5):
        gap, slope = jax.jvp(log_minus_digamma, (a,), (jnp.ones_like(a),))
        a = 1 / (1 / a + (gap - safe) / (a * a * slope))
    return jnp.where(positive, a, jnp.where(s == 0, jnp.inf, jnp.nan))


@log_minus_digamma_inverse.defjvp
def _log_minus_digamma_inverse_jvp(primals, tangents):
    (s,), (ds,) = primals, tangents
    a = log_minus_digamma_inverse(s)
    _, slope = jax.jvp(log_minus_digamma, (a,), (jnp.ones_like(a),))
    return a, ds / slope


def shape_bregman(
    a: Float[Array, "*shape"], other: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Bregman divergence of the convex `g(a) = lgamma(a) - a log(a) + a`, non-negative.

    What the divergence of gamma laws owes to their shapes once the means agree. Summed from
    non-negative terms: differences of Stirling's series at `a + 8`, and eight steps of the
    recurrence `g(a) - g(a+1) = (a+1) log(1 + 1/a) - 1`. Relative error a few eps, also for shapes
    that nearly coincide and for large ones.

    Args:
      a: positive values.
      other: positive values, the point of tangency.

    Returns:
      `g(a) - g(other) - (a - other) g'(other)`, of the common shape.

    Examples:
      >>> near = shape_bregman(jnp.asarray(3.0), jnp.asarray(3.001))
      >>> round(float(near) * 1e8, 3)
      3.079
    """
    step = a - other
    total = jnp.zeros_like(step)
    for k in range(_SHIFT):
        total = total + _recurrence_bregman(a + k, other + k, step)
    x, y = a + _SHIFT, other + _SHIFT
    u, v = 1 / x, 1 / y
    # The remainder of x^-m is step^2 u v^2 (u^(m-1) + 2 u^(m-2) v + ... + m v^(m-1)).
    series = jnp.zeros_like(step)
    for index, coefficient in enumerate(_LGAMMA_SERIES):
        power = 2 * index + 1
        inner = sum((j + 1) * u ** (power - 1 - j) * v**j for j in range(power))
        series = series + coefficient * inner
    # From `step` and not from x - y, which the shift has rounded.
    near = jnp.abs(step) < 0.5 * y
    close = log1p_remainder(jnp.where(near, step / y, 0.0))
    gap = jnp.where(near, close, ratio_remainder(x, y))
    return total + 0.5 * gap + step**2 * u * v**2 * series


def _recurrence_bregman(a: Array, other: Array, step: Array) -> Array:
    """Bregman divergence of `h(a) = (a+1) log(1 + 1/a) - 1`."""
    w = -step / (a * (other + 1))
    near = jnp.abs(w) < 0.5
    small = jnp.where(near, w, 0.0)
    close = step**2 / (a * other * (other + 1)) - (a + 1) * log1p_remainder(small)
    ratio = (a + 1) / a * (other / (other + 1))
    return jnp.where(near, close, (a + 1) * jnp.log(ratio) + step / other)
