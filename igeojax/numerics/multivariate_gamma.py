"""The multivariate gamma function of Wishart laws: value, moment equation, inverse, remainder.

`Gamma_p(a) = pi^(p (p-1) / 4) prod_j Gamma(a - j/2)`, `j = 0 .. p-1`, for `a > (p - 1) / 2`.
"""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.gamma import log_gamma, log_minus_digamma, shape_bregman
from igeojax.numerics.remainders import log1p_remainder, log_ratio
from igeojax.numerics.stirling import (
    HALF_LOG_TWO_PI,
    digamma,
    stirling_remainder,
    stirling_remainder_slope,
)


def half_steps(a: Float[Array, "*shape"], dim: int) -> Float[Array, "*shape dim"]:
    """The arguments `a - j/2`, `j = 0 .. dim-1`, on a new last axis.

    Args:
      a: any values.
      dim: how many.

    Returns:
      The arguments, in the dtype of `a`.

    Examples:
      >>> half_steps(jnp.asarray(2.0), 3).tolist()
      [2.0, 1.5, 1.0]
    """
    return a[..., None] - _halves(a, dim)


def _halves(a: Array, dim: int) -> Array:
    return 0.5 * jnp.arange(dim, dtype=a.dtype).reshape((1,) * a.ndim + (dim,))


def log_multivariate_gamma(a: Float[Array, "*shape"], dim: int) -> Float[Array, "*shape"]:
    """Log of the multivariate gamma function, for `a > (dim - 1) / 2`.

    Args:
      a: half the degrees of freedom.
      dim: size of the matrices, static.

    Returns:
      Values of the shape of `a`.

    Examples:
      >>> round(float(log_multivariate_gamma(jnp.asarray(3.0), 2)), 6)
      1.550195
    """
    constant = 0.25 * dim * (dim - 1) * math.log(math.pi)
    return jnp.sum(log_gamma(half_steps(a, dim)), axis=-1) + constant


def multivariate_digamma(a: Float[Array, "*shape"], dim: int) -> Float[Array, "*shape"]:
    """Derivative of `log_multivariate_gamma`, the sum of `digamma(a - j/2)`.

    Args:
      a: half the degrees of freedom.
      dim: size of the matrices, static.

    Returns:
      Values of the shape of `a`.

    Examples:
      >>> round(float(multivariate_digamma(jnp.asarray(3.0), 2)), 6)
      1.625941
    """
    return jnp.sum(digamma(half_steps(a, dim)), axis=-1)


def multivariate_log_minus_digamma(a: Float[Array, "*shape"], dim: int) -> Float[Array, "*shape"]:
    """`dim log(a) - multivariate_digamma(a)`, positive and decreasing, a sum of positive terms.

    The gap `log det E[x] - E[log det x]` of a Wishart matrix of `2 a` degrees of freedom.

    Args:
      a: half the degrees of freedom, above `(dim - 1) / 2`.
      dim: size of the matrices, static.

    Returns:
      The gap, of the shape of `a`.

    Examples:
      >>> round(float(multivariate_log_minus_digamma(jnp.asarray(1e8), 2)) * 1e8, 6)
      1.5
    """
    gaps = log_minus_digamma(half_steps(a, dim)) - jnp.log1p(-_halves(a, dim) / a[..., None])
    return jnp.sum(gaps, axis=-1)


@functools.partial(jax.custom_jvp, nondiff_argnums=(1,))
def multivariate_log_minus_digamma_inverse(
    s: Float[Array, "*shape"], dim: int
) -> Float[Array, "*shape"]:
    """Solve `multivariate_log_minus_digamma(a, dim) = s`: maximum likelihood of Wishart degrees.

    Newton's method in `1 / e` with `e = a - (dim - 1) / 2`, in which the gap is nearly straight:
    its slope runs from `dim (dim + 1) / 4` at 0 to 1 at infinity. At most twenty guarded steps from
    the left end reach rounding; the derivative is that of the implicit function.

    Args:
      s: positive values (nats); 0 gives inf (constant data), a negative value nan.
      dim: size of the matrices, static.

    Returns:
      The solution `a`, half the degrees of freedom.

    Examples:
      >>> s = multivariate_log_minus_digamma(jnp.asarray(3.0), 2)
      >>> round(float(multivariate_log_minus_digamma_inverse(s, 2)), 5)
      3.0
    """
    positive = s > 0
    safe = jnp.where(positive, s, 1.0)
    edge = 0.5 * (dim - 1)
    gap_of = lambda excess: multivariate_log_minus_digamma(edge + excess, dim)

    def unsettled(carry):
        inverse, before, steps = carry
        # The step after one of this size would change less than the last digit.
        change = jnp.abs(inverse - before) > jnp.finfo(s.dtype).eps ** 0.5 * inverse
        return (steps < 20) & change.any()

    def advance(carry):
        inverse, _, steps = carry
        excess = 1 / inverse
        gap, slope = jax.jvp(gap_of, (excess,), (jnp.ones_like(excess),))
        # d gap / d inverse = -slope / inverse^2.
        step = (gap - safe) * inverse / slope * inverse
        return jnp.clip(inverse + step, 0.1 * inverse, 10 * inverse), inverse, steps + 1

    start = safe * (4 / (dim * (dim + 1)))
    unknown = jnp.full_like(start, jnp.inf)
    inverse = jax.lax.while_loop(unsettled, advance, (start, unknown, 0))[0]
    return jnp.where(positive, edge + 1 / inverse, jnp.where(s == 0, jnp.inf, jnp.nan))


@multivariate_log_minus_digamma_inverse.defjvp
def _multivariate_log_minus_digamma_inverse_jvp(dim, primals, tangents):
    (s,), (ds,) = primals, tangents
    a = multivariate_log_minus_digamma_inverse(s, dim)
    gap_of = lambda a: multivariate_log_minus_digamma(a, dim)
    _, slope = jax.jvp(gap_of, (a,), (jnp.ones_like(a),))
    return a, ds / slope


def multivariate_shape_bregman(
    a: Float[Array, "*shape"],
    other: Float[Array, "*shape"],
    step: Float[Array, "*shape"],
    dim: int,
) -> Float[Array, "*shape"]:
    """Bregman divergence of `log_multivariate_gamma(a) - dim (a log a - a)`, non-negative.

    What the divergence of Wishart laws owes to their degrees of freedom once the means agree: for
    each `j` that of `lgamma(x) - x log x + x` at `x = a - j/2`, and that of
    `(a - j/2) log(a - j/2) - a log a`, from differences.

    Args:
      a: half the degrees of freedom.
      other: likewise, the point of tangency.
      step: `a - other`, to as many digits as it is known.
      dim: size of the matrices, static.

    Returns:
      Values of the common shape.

    Examples:
      >>> a, b = jnp.asarray(3.0), jnp.asarray(3.001)
      >>> round(float(multivariate_shape_bregman(a, b, a - b, 1)) * 1e8, 3)
      3.079
    """
    x, y = half_steps(a, dim), half_steps(other, dim)
    c, a, other = _halves(a, dim), a[..., None], other[..., None]
    steps = jnp.broadcast_to(step[..., None], jnp.broadcast_shapes(x.shape, y.shape))
    # x log(x/y) - a log(a/other) = x log(1 + w) - c log(a/other).
    w = c * steps / (y * a)
    near = (jnp.abs(w) < 0.5) & (jnp.abs(steps) < 0.5 * other)
    d = jnp.where(near, steps, 0.0)
    tangent = (c * d / y) * (c * d / x) * (x / a) / other
    flat = c * log1p_remainder(d / other) - x * log1p_remainder(jnp.where(near, w, 0.0))
    small = jnp.abs(w) < 0.5
    apart = log_ratio(x, y) - log_ratio(a, other)
    far = x * jnp.where(small, jnp.log1p(jnp.where(small, w, 0.0)), apart) - c * log_ratio(a, other)
    return jnp.sum(shape_bregman(x, y, steps) + jnp.where(near, tangent + flat, far), axis=-1)


def multivariate_gamma_excess(a: Float[Array, "*shape"], dim: int) -> Float[Array, "*shape"]:
    """`dim (a log a - a) - log_multivariate_gamma(a)`, with the large terms cancelled on paper.

    The largest value of a Wishart log-density in units of its mean, but for the base measure.

    Args:
      a: half the degrees of freedom, above `(dim - 1) / 2`.
      dim: size of the matrices, static.

    Returns:
      Values of the shape of `a`.

    Examples:
      >>> round(float(multivariate_gamma_excess(jnp.asarray(1.0), 1)), 6)
      -1.0
    """
    x, c = half_steps(a, dim), _halves(a, dim)
    ratio = jnp.log1p(-c / a[..., None])
    terms = c * jnp.log(a[..., None]) + 0.5 * jnp.log(x) - x * ratio - c - stirling_remainder(x)
    constant = dim * (HALF_LOG_TWO_PI + 0.25 * (dim - 1) * math.log(math.pi))
    return jnp.sum(terms, axis=-1) - constant


def wishart_entropy(
    a: Float[Array, "*shape"], log_det: Float[Array, "*shape"], dim: int, power: float
) -> Float[Array, "*shape"]:
    """`log Gamma_p(a) - (a + power) digamma_p(a) + p a + power log det B`, large terms cancelled.

    Entropy of a matrix with `theta = (a, -B)` in terms of which the base measure is a power of the
    determinant: `power` is `-(p+1)/2` for Wishart, `(p+1)/2` for inverse Wishart matrices.

    Args:
      a: half the degrees of freedom, above `(dim - 1) / 2`.
      log_det: log-determinant of `B`.
      dim: size p of the matrices, static.
      power: static.

    Returns:
      The entropy, in nats.

    Examples:
      >>> one = jnp.asarray(1.0)
      >>> round(float(wishart_entropy(one, 0 * one, 1, -1.0)), 6)
      1.0
    """
    x, c = half_steps(a, dim), _halves(a, dim)
    lead = -(power + c)
    slope = (lead - x) * stirling_remainder_slope(x) - 0.5 * lead / x
    terms = (lead - 0.5) * jnp.log(x) + stirling_remainder(x) + slope
    constant = dim * (HALF_LOG_TWO_PI + 0.5 + 0.25 * (dim - 1) * (1 + math.log(math.pi)))
    return jnp.sum(terms, axis=-1) + power * log_det + constant
