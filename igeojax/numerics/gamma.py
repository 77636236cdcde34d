"""The gamma family's special functions: log-gamma, the moment equation, inverses, remainders."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.remainders import log1p_remainder, ratio_remainder
from igeojax.numerics.stirling import (
    HALF_LOG_TWO_PI,
    SHIFT,
    digamma,
    shifted,
    stirling_remainder,
    stirling_remainder_slope,
    trigamma,
)

# mu(a) = sum_k c_k / a^(2k-1): the first eight c_k, which at 8 are enough for a remainder.
_LGAMMA_SERIES = (
    *(1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360),
    *(1 / 156, -3617 / 122400),
)
_EULER = 0.5772156649015329


@jax.custom_jvp
def log_gamma(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log-gamma of `x > 0`, to a few eps also near its zeros 1 and 2, in the dtype of `x`.

    `jax.scipy.special.gammaln` returns 4.8e-7 at 1 in float32. Near a zero the value is its tangent
    and the remainder of it; elsewhere Stirling's formula.

    Args:
      x: positive values; nan for negative ones.

    Returns:
      `log Gamma(x)`, of the shape of `x`.

    Examples:
      >>> float(log_gamma(jnp.asarray(2.0)))
      0.0
    """
    near = (x > 0.5) & (x < 2.5)
    zero = jnp.where(x < 1.5, 1.0, 2.0).astype(x.dtype)
    step = jnp.where(near, x - zero, 0.0)
    point = zero + step
    slope = jnp.where(zero == 1, -_EULER, 1 - _EULER).astype(x.dtype)
    # The remainder of a log a - a and that of the rest.
    bend = point * ratio_remainder(zero, point, -step) + shape_bregman(point, zero, step)
    far = (x - 0.5) * jnp.log(x) - x + HALF_LOG_TWO_PI + stirling_remainder(x)
    return jnp.where(near, slope * step + bend, far)


@log_gamma.defjvp
def _log_gamma_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return log_gamma(x), digamma(x) * dx


@jax.custom_jvp
def digamma_inverse(y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Positive `x` with `digamma(x) = y`, by Newton's method from a start within a few percent.

    For positive y the residual is taken from `x / exp(y)`, so that x keeps its digits where y is
    large. The derivative is that of the implicit function.

    Args:
      y: any real values; inf gives inf, -inf gives 0.

    Returns:
      The solution, of the shape of `y`.

    References:
      [Minka2000] appendix C (the start and the Newton step).

    Examples:
      >>> round(float(digamma_inverse(digamma(jnp.asarray(3.0)))), 5)
      3.0
    """
    finite = jnp.isfinite(y)
    safe = jnp.where(finite, y, 0.0)
    high = safe > -2.22
    growth = jnp.exp(jnp.where(high, safe, 0.0))
    x = jnp.where(high, growth + 0.5, -1 / jnp.where(high, -1.0, safe + _EULER))
    overflow = jnp.isinf(growth)
    x, growth = (jnp.where(overflow, 1.0, value) for value in (x, growth))
    for _ in range(5):
        # y - digamma(x): log(x / e^y) for large x, 1/x beside digamma(1 + x) for small ones.
        near = safe > 0
        relative = (jnp.where(near, x, 1.0) - jnp.where(near, growth, 1.0)) / growth
        above = 0.5 / x - stirling_remainder_slope(x) - jnp.log1p(relative)
        residual = jnp.where(near, above, safe - digamma(x))
        # The function is concave: Newton from the right could leave the domain.
        x = jnp.maximum(x + residual / trigamma(x), 0.1 * x)
    x = jnp.where(overflow, jnp.inf, x)
    return jnp.where(finite, x, jnp.where(y == jnp.inf, jnp.inf, jnp.where(y < 0, 0.0, jnp.nan)))


@digamma_inverse.defjvp
def _digamma_inverse_jvp(primals, tangents):
    (y,), (dy,) = primals, tangents
    x = digamma_inverse(y)
    return x, dy / trigamma(x)


def gamma_log_density(
    a: Float[Array, "*shape"], mean: Float[Array, "*shape"], x: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Log-density of a gamma law of shape a, in nats, by the deviance from its mean.

    `a log a - a - log(a)/2` is taken out of log-gamma on paper: what is left does not cancel.

    Args:
      a: positive shapes.
      mean: positive means.
      x: positive values.

    Returns:
      The log-density of the common shape; error a few eps of its size and one.

    References:
      [Loader2000] section 2 (the deviance form, there of counts).

    Examples:
      >>> round(float(gamma_log_density(*map(jnp.asarray, (1e6, 1.0, 1.0)))), 6)
      5.988817
    """
    deviance = a * ratio_remainder(x, mean)
    return jnp.log(jnp.sqrt(a) / x) - deviance - HALF_LOG_TWO_PI - stirling_remainder(a)


def log_minus_digamma(a: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """`log(a) - digamma(a)`, positive and decreasing, for `a > 0`.

    The gap `log E[x] - E[log x]` of a gamma variable of shape `a`. The subtraction loses digits as
    the gap falls like `1/(2a)`; here it is a sum of positive terms.

    Args:
      a: positive values.

    Returns:
      The gap, of the shape of `a`.

    Examples:
      >>> round(float(log_minus_digamma(jnp.asarray(1e8))) * 1e8, 6)
      0.5
    """
    return 0.5 / a - stirling_remainder_slope(a)


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
    # Where s is large the numerator would cancel: its conjugate.
    root = (safe + 9) * jnp.sqrt(1 - 72 / (safe + 9) / (safe + 9))  # of (s - 3)^2 + 24 s
    direct = (3 - safe + root) / (12 * jnp.minimum(safe, 3.0))
    a = jnp.where(safe < 3, direct, 2 / (safe - 3 + root))
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
    a: Float[Array, "*shape"],
    other: Float[Array, "*shape"],
    step: Float[Array, "*shape"] | None = None,
) -> Float[Array, "*shape"]:
    """Bregman divergence of the convex `g(a) = lgamma(a) - a log(a) + a`, non-negative.

    What the divergence of gamma laws owes to their shapes once the means agree:
    `g(a) = -log(a)/2 + mu(a)` up to a constant, and both remainders are non-negative. Relative
    error a few eps, also for shapes that nearly coincide and for large ones.

    Args:
      a: positive values.
      other: positive values, the point of tangency.
      step: `a - other` where it is known to more digits than the subtraction gives.

    Returns:
      `g(a) - g(other) - (a - other) g'(other)`, of the common shape.

    Examples:
      >>> near = shape_bregman(jnp.asarray(3.0), jnp.asarray(3.001))
      >>> round(float(near) * 1e8, 3)
      3.079
    """
    step = a - other if step is None else step
    return 0.5 * ratio_remainder(a, other, step) + stirling_bregman(a, other, step)


def stirling_bregman(
    a: Float[Array, "*shape"], other: Float[Array, "*shape"], step: Float[Array, "*shape"]
) -> Float[Array, "*shape"]:
    """Bregman divergence of `stirling_remainder`, non-negative.

    Eight steps of its recurrence and the differences of its series at `a + 8`, neither negative.

    Args:
      a: positive values.
      other: positive values, the point of tangency.
      step: `a - other`, to as many digits as it is known.

    Returns:
      `mu(a) - mu(other) - (a - other) mu'(other)`, of the common shape.

    Examples:
      >>> one, two = jnp.asarray(1.0), jnp.asarray(2.0)
      >>> round(float(stirling_bregman(one, two, one - two)), 6)
      0.019358
    """
    step = jnp.broadcast_to(step, jnp.broadcast_shapes(a.shape, other.shape, step.shape))
    steps = jnp.broadcast_to(step[..., None], (*step.shape, SHIFT))
    total = jnp.sum(_recurrence_bregman(shifted(a), shifted(other), steps), axis=-1)
    u, v = 1 / (a + SHIFT), 1 / (other + SHIFT)
    # The remainder of x^-m is step^2 u v^2 (u^(m-1) + 2 u^(m-2) v + ... + m v^(m-1)).
    inner, power, series = jnp.ones_like(v), jnp.ones_like(v), jnp.zeros_like(step)
    for m in range(1, 2 * len(_LGAMMA_SERIES)):
        if m % 2:
            series = series + _LGAMMA_SERIES[m // 2] * inner
        power = power * v
        inner = u * inner + (m + 1) * power
    return total + (step * v) ** 2 * u * series


def _recurrence_bregman(a: Array, other: Array, step: Array) -> Array:
    """Bregman divergence of `nu(a) = (a + 1/2) log(1 + 1/a) - 1`."""
    w = -step / a / (other + 1)
    near = jnp.abs(w) < 0.5
    small = jnp.where(near, w, 0.0)
    # From (a + 1/2)(w - remainder of log(1 + w)) and the tangent: the linear terms cancel on paper.
    half = jnp.where(near, step, 0.0) / other
    close = 0.5 * half * (step / a) / (other + 1) - (a + 0.5) * log1p_remainder(small)
    ratio = (a + 1) / a * (other / (other + 1))
    far = (a + 0.5) * jnp.log(ratio) + step / other * ((other + 0.5) / (other + 1))
    return jnp.where(near, close, far)
