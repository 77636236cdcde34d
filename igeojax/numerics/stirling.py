"""Log-gamma and its derivatives from Stirling's remainder, which has one sign and cannot cancel.

`lgamma(x) = (x - 1/2) log x - x + log(2 pi)/2 + mu(x)`. Binet's `mu` is completely monotone: `mu`,
`-mu'` and `mu''` are sums of positive terms, of `nu(x) = mu(x) - mu(x + 1)` at `x .. x + 7` and of
Stirling's series from `x + 8` on. What needs log-gamma without its large terms is written with
`mu`, so that they cancel on paper.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

SHIFT = 8
"""Steps of the recurrence before Stirling's series is summed."""

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)
"""The constant of Stirling's formula."""

# Bernoulli numbers B_2k: at 8 the terms left out are below rounding, of mu'' too.
_BERNOULLI = (
    *(1 / 6, -1 / 30, 1 / 42, -1 / 30, 5 / 66, -691 / 2730, 7 / 6),
    *(-3617 / 510, 43867 / 798, -174611 / 330, 854513 / 138),
)
_VALUE = tuple(b / (2 * k * (2 * k - 1)) for k, b in enumerate(_BERNOULLI, 1))
_SLOPES = tuple(b / (2 * k) for k, b in enumerate(_BERNOULLI, 1))
# nu = sum w^2j / (2j+1) and -nu' = 4 w sum w^2j j / (2j+1) with w = 1 / (2x+1) <= 1/3.
_NU = tuple(1 / (2 * j + 1) for j in range(1, 19))
_NU_SLOPE = tuple(4 * j / (2 * j + 1) for j in range(1, 19))


def shifted(x: Float[Array, "*shape"]) -> Float[Array, "*shape 8"]:
    """The points `x, x + 1, .., x + 7` on a new last axis.

    Args:
      x: any values.

    Returns:
      The points, in the dtype of `x`.

    Examples:
      >>> shifted(jnp.asarray(1.0)).tolist()
      [1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0]
    """
    return x[..., None] + jnp.arange(SHIFT, dtype=x.dtype).reshape((1,) * x.ndim + (SHIFT,))


def _polynomial(coefficients: tuple[float, ...], x: Array) -> Array:
    """`x (c_1 + x (c_2 + ...))`."""
    total = jnp.zeros_like(x)
    for coefficient in reversed(coefficients):
        total = (total + coefficient) * x
    return total


@jax.custom_jvp
def stirling_remainder(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Binet's `mu(x) = lgamma(x) - (x - 1/2) log x + x - log(2 pi)/2`, positive and decreasing.

    Relative error a few eps for all `x > 0`, in the dtype of `x`; about `1/(12 x)` for large x.

    Args:
      x: positive values; 0 gives inf, a negative value nan.

    Returns:
      The remainder, of the shape of `x`.

    Examples:
      >>> round(float(stirling_remainder(jnp.asarray(1e6))) * 12e6, 6)
      1.0
    """
    points = shifted(x)
    small = points < 1
    w = 1 / (2 * jnp.where(small, 1.0, points) + 1)
    low = jnp.where(small, points, 1.0)
    direct = (low + 0.5) * (jnp.log(low + 1) - jnp.log(low)) - 1
    u = 1 / (x + SHIFT)
    series = _polynomial(_VALUE, u * u) / u
    return jnp.sum(jnp.where(small, direct, _polynomial(_NU, w * w)), axis=-1) + series


@stirling_remainder.defjvp
def _stirling_remainder_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return stirling_remainder(x), stirling_remainder_slope(x) * dx


@jax.custom_jvp
def stirling_remainder_slope(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Derivative `mu'(x) = digamma(x) - log x + 1/(2x)`, negative and increasing.

    Relative error a few eps for all `x > 0`, in the dtype of `x`.

    Args:
      x: positive values; 0 gives -inf, a negative value nan.

    Returns:
      The derivative of `stirling_remainder`, of the shape of `x`.

    Examples:
      >>> round(float(stirling_remainder_slope(jnp.asarray(1.0))), 6)
      -0.077216
    """
    points = shifted(x)
    small = points < 1
    w = 1 / (2 * jnp.where(small, 1.0, points) + 1)
    low = jnp.where(small & (points != 0), points, 1.0)
    direct = (low + 0.5) / (low * (low + 1)) - (jnp.log(low + 1) - jnp.log(low))
    direct = jnp.where(points == 0, jnp.inf, direct)
    u = 1 / (x + SHIFT)
    series = _polynomial(_SLOPES, u * u)
    return -jnp.sum(jnp.where(small, direct, w * _polynomial(_NU_SLOPE, w * w)), axis=-1) - series


@stirling_remainder_slope.defjvp
def _stirling_remainder_slope_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return stirling_remainder_slope(x), stirling_remainder_curvature(x) * dx


def stirling_remainder_curvature(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Second derivative `mu''(x) = trigamma(x) - 1/x - 1/(2 x^2)`, positive and decreasing.

    Relative error a few eps for all `x > 0`; no logarithm is taken.

    Args:
      x: positive values.

    Returns:
      The second derivative of `stirling_remainder`, of the shape of `x`.

    Examples:
      >>> round(float(stirling_remainder_curvature(jnp.asarray(1.0))), 6)
      0.144934
    """
    points = shifted(x)
    # nu'' = 1 / (2 x^2 (x+1)^2).
    product = (1 / points) * (1 / (points + 1))
    u = 1 / (x + SHIFT)
    return 0.5 * jnp.sum(product * product, axis=-1) + _polynomial(_BERNOULLI, u * u) * u


def digamma(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Digamma function of `x > 0`, with derivatives of every order to a few eps in any dtype.

    `jax.scipy.special.digamma` is nan at 1e-38 in float32.

    Args:
      x: positive values; nan for negative ones.

    Returns:
      `lgamma'(x)`, of the shape of `x`.

    Examples:
      >>> round(float(digamma(jnp.asarray(1.0))), 6)
      -0.577216
    """
    return jnp.log(x) - 0.5 / x + stirling_remainder_slope(x)


def trigamma(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Trigamma function of `x > 0`, a sum of positive terms.

    Args:
      x: positive values.

    Returns:
      `lgamma''(x)`, of the shape of `x`, to a few eps.

    Examples:
      >>> round(float(trigamma(jnp.asarray(1.0))), 6)
      1.644934
    """
    inverse = 1 / x
    return inverse + 0.5 * inverse * inverse + stirling_remainder_curvature(x)


def scaled_trigamma_excess(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`x trigamma(x) - 1`, positive: `1/(2x)` for large x, where the subtraction keeps no digit.

    The Fisher metric of the gamma family in (shape, rate) has determinant
    `(a trigamma(a) - 1) / b^2`.

    Args:
      x: positive values.

    Returns:
      The excess, of the shape of `x`.

    Examples:
      >>> round(float(scaled_trigamma_excess(jnp.asarray(1e6))) * 2e6, 6)
      1.0
    """
    return 0.5 / x + x * stirling_remainder_curvature(x)


def digamma_step(x: Float[Array, "*shape"], step: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Difference `digamma(x + step) - digamma(x)` to a few eps of itself, for `x, x + step > 0`.

    From the step and not from the two values: eight steps of the recurrence and the differences of
    Stirling's series, all of the sign of `step` but for its small correction.

    Args:
      x: positive values.
      step: values above `-x`.

    Returns:
      The difference, of the common shape.

    Examples:
      >>> round(float(digamma_step(jnp.asarray(1.0), jnp.asarray(1e-9))) * 1e9, 6)
      1.644934
    """
    low, high = shifted(x), shifted(x + step)
    total = jnp.sum(step[..., None] / low / high, axis=-1)
    u, v = 1 / (x + SHIFT), 1 / (x + step + SHIFT)
    gap = step * u * v
    uu, vv = u * u, v * v
    # (u^2k - v^2k) / (u^2 - v^2) by its recurrence.
    quotient, power, series = jnp.ones_like(gap), jnp.ones_like(gap), jnp.zeros_like(gap)
    for coefficient in _SLOPES:
        series = series + coefficient * quotient
        power = power * vv
        quotient = uu * quotient + power
    return total + jnp.log1p(step * u) + gap * (0.5 + (u + v) * series)


def trigamma_drop(
    x: Float[Array, "*shape"], step: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Difference `trigamma(x) - trigamma(x + step)` to a few eps of itself, for `step >= 0`.

    Args:
      x: positive values.
      step: non-negative values.

    Returns:
      Non-negative values of the common shape.

    Examples:
      >>> round(float(trigamma_drop(jnp.asarray(1.0), jnp.asarray(1.0))), 6)
      1.0
    """
    low, high = shifted(x), shifted(x + step)
    gaps = step[..., None] / low / high
    total = jnp.sum(gaps * (1 / low + 1 / high), axis=-1)
    u, v = 1 / (x + SHIFT), 1 / (x + step + SHIFT)
    gap = step * u * v
    # u^m - v^m = (u - v) (u^(m-1) + .. + v^(m-1)) for m = 1, 2 and 3, 5, 7, ...
    quotient, power, series = jnp.ones_like(gap), jnp.ones_like(gap), jnp.zeros_like(gap)
    for m in range(1, 2 * len(_BERNOULLI) + 1):
        power = power * v
        quotient = u * quotient + power
        if m % 2 == 0:
            series = series + _BERNOULLI[m // 2 - 1] * quotient
    return total + gap * (1 + 0.5 * (u + v) + series)
