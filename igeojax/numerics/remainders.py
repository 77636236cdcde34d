"""Second-order Taylor remainders of log1p and expm1, without cancellation.

A divergence between near-equal points is the remainder of a convex function after its tangent.
Computed by subtraction it loses every digit; computed as below it keeps them all.
"""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.numerics.safe import quotient
from igeojax.numerics.triangular import MOST_UNROLLED, cho_solve, cholesky

_LOG1P_COEFFICIENTS = tuple(1.0 / (2 * k + 3) for k in range(22))
_EXPREL2_COEFFICIENTS = tuple(1.0 / math.factorial(k + 2) for k in range(18))


def _horner(coefficients: tuple[float, ...], x: Array) -> Array:
    total = jnp.full_like(x, coefficients[-1])
    for coefficient in coefficients[-2::-1]:
        total = total * x + coefficient
    return total


def _log_quotient(a: Array, b: Array) -> Array:
    """Log of `a / b`, unless that leaves the range: the logs of far numbers cancel."""
    ratio = a / b
    inside = (ratio > jnp.finfo(ratio.dtype).tiny) & (ratio < jnp.inf)
    return jnp.where(inside, jnp.log(jnp.where(inside, ratio, 1.0)), jnp.log(a) - jnp.log(b))


def _log1p(x: Array) -> Array:
    # XLA's log1p on CPU is off by 110 eps around -0.4, where 1 + x rounds harmlessly.
    return jnp.where(x < -0.25, jnp.log(1 + x), jnp.log1p(x))


@jax.custom_jvp
def log1p_remainder(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Remainder `x - log(1 + x)`, non-negative, for `x > -1`.

    The Bregman remainder of `-log`: divergences of scale families are made of it. Relative error a
    few eps everywhere, also near 0 where the subtraction loses all digits.

    Args:
      x: values in `(-1, inf)`; any shape. At -1 the result is inf, below it nan.

    Returns:
      `x - log1p(x)`, of the shape of `x`; derivative `x / (1 + x)`.

    Examples:
      >>> round(float(log1p_remainder(jnp.asarray(1e-6))) * 1e12, 4)
      0.5
    """
    near = (x > -0.6) & (x < 0.7)
    small = jnp.where(near, x, 0.0)
    # log1p(x) = 2 atanh(w) with w = x/(2+x), and x - 2w = xw: the linear terms cancel on paper.
    w = small / (2 + small)
    series = w * (small - 2 * w * w * _horner(_LOG1P_COEFFICIENTS, w * w))
    # 1 + x rounds harmlessly out here.
    far = jnp.where(near, 1.0, x)
    return jnp.where(near, series, far - jnp.log(1 + far))


@log1p_remainder.defjvp
def _log1p_remainder_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return log1p_remainder(x), x / (1 + x) * dx


def exprel2(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Second relative exponential `(exp(x) - 1 - x) / x^2`, positive, 1/2 at 0.

    Args:
      x: any real values.

    Returns:
      The ratio, of the shape of `x`, to a few eps; infinite where `exp(x)` is.

    Examples:
      >>> float(exprel2(jnp.asarray(0.0)))
      0.5
    """
    near = jnp.abs(x) < 1
    small = jnp.where(near, x, 0.0)
    far = jnp.where(near, 1.0, x)
    # exp(x) / x^2 would be inf / inf at -inf; two divisions keep the limit 0.
    direct = jnp.where(x == jnp.inf, jnp.inf, (jnp.expm1(far) / far - 1) / far)
    return jnp.where(near, _horner(_EXPREL2_COEFFICIENTS, small), direct)


@jax.custom_jvp
def expm1_remainder(x: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Remainder `exp(x) - 1 - x`, non-negative.

    The Bregman remainder of `exp`: divergences of counting families are made of it.

    Args:
      x: any real values.

    Returns:
      `expm1(x) - x`, of the shape of `x`, to a few eps; derivative `expm1(x)`.

    Examples:
      >>> round(float(expm1_remainder(jnp.asarray(-2e-6))) * 1e12, 4)
      2.0
    """
    near = jnp.abs(x) < 1
    small = jnp.where(near, x, 0.0)
    return jnp.where(near, small * small * exprel2(small), jnp.expm1(x) - x)


@expm1_remainder.defjvp
def _expm1_remainder_jvp(primals, tangents):
    (x,), (dx,) = primals, tangents
    return expm1_remainder(x), jnp.expm1(x) * dx


def ratio_remainder(
    a: Float[Array, "*shape"], b: Float[Array, "*shape"], step: Float[Array, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """Remainder `a/b - 1 - log(a/b)` of two numbers of one sign (Itakura-Saito), non-negative.

    From the difference `a - b` where the ratio is near 1 and from the ratio elsewhere, so that
    neither close nor far pairs lose digits: `log1p_remainder((a - b) / b)` alone would be inf as
    soon as `a/b < eps`.

    Args:
      a: non-zero values.
      b: values of the same sign as `a`.
      step: `a - b` where it is known to more digits than the subtraction gives.

    Returns:
      The remainder, of the common shape; nan where the signs differ.

    Examples:
      >>> round(float(ratio_remainder(jnp.asarray(1e-30), jnp.asarray(1e10))), 4)
      91.1034
    """
    return _ratio_remainder(a, b, a - b if step is None else step)


@jax.custom_jvp
def _ratio_remainder(a: Array, b: Array, step: Array) -> Array:
    relative = step / b
    near = (relative > -0.6) & (relative < 0.7)
    ratio = a / b
    far = ratio - 1 - _log_quotient(jnp.abs(a), jnp.abs(b))
    value = jnp.where(near, log1p_remainder(jnp.where(near, relative, 0.0)), far)
    return jnp.where(jnp.sign(a) == jnp.sign(b), value, jnp.nan)


@_ratio_remainder.defjvp
def _ratio_remainder_jvp(primals, tangents):
    # The step moves with a and b; its own tangent would count the same motion twice.
    (a, b, step), (da, db, _) = primals, tangents
    relative = quotient(step, b)
    slopes = quotient(relative, a), quotient(relative, b)
    return _ratio_remainder(a, b, step), slopes[0] * da - slopes[1] * db


@jax.custom_jvp
def log_ratio(
    a: Float[ArrayLike, "*shape"], b: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """Log of a ratio, `log(a) - log(b)`, from the difference where the numbers are near.

    Args:
      a: non-negative values.
      b: non-negative values.

    Returns:
      The logarithm, of the common shape, to a few eps; -inf where only `a` is 0, inf where only `b`
      is, nan where both are. Derivatives at a zero are 0 by convention.

    Examples:
      >>> float(log_ratio(1 + 2**-20, 1.0) * 2**20) < 1.0
      True
    """
    dtype = jnp.result_type(a, b)
    a, b = jnp.broadcast_arrays(jnp.asarray(a, dtype), jnp.asarray(b, dtype))
    near = (a > 0.5 * b) & (a < 2 * b)
    step = jnp.where(near, a - b, 0.0) / jnp.where(near, b, 1.0)
    return jnp.where(near, _log1p(step), _log_quotient(*(jnp.where(near, 1.0, v) for v in (a, b))))


@log_ratio.defjvp
def _log_ratio_jvp(primals, tangents):
    # Not by the quotient, whose derivative squares b; at a zero 0 by convention.
    shares = [
        jnp.where(x == 0, 0.0, quotient(dx, jnp.where(x == 0, 1.0, x)))
        for x, dx in zip(primals, tangents, strict=True)
    ]
    return log_ratio(*primals), shares[0] - shares[1]


@jax.custom_jvp
def log_complement_ratio(
    p: Float[ArrayLike, "*shape"], q: Float[ArrayLike, "*shape"]
) -> Float[Array, "*shape"]:
    """`log((1 - p) / (1 - q))`, from the difference of p and q, which `1 - p` would round.

    Args:
      p: values in `[0, 1]`.
      q: values in `[0, 1]`.

    Returns:
      The logarithm, of the common shape, to a few eps; -inf where only `p` is 1, inf where only `q`
      is, nan where both are. Derivatives at 1 are 0 by convention.

    Examples:
      >>> round(float(log_complement_ratio(0.5, 0.75)), 6)
      0.693147
    """
    dtype = jnp.result_type(p, q)
    p, q = jnp.broadcast_arrays(jnp.asarray(p, dtype), jnp.asarray(q, dtype))
    near = jnp.abs(q - p) < 0.5 * (1 - q)
    step = jnp.where(near, q - p, 0.0) / jnp.where(near, 1 - q, 1.0)
    apart = _log1p(jnp.where(near, 0.0, -p)) - _log1p(jnp.where(near, 0.0, -q))
    return jnp.where(near, _log1p(step), apart)


@log_complement_ratio.defjvp
def _log_complement_ratio_jvp(primals, tangents):
    rests = [jnp.where(x == 1, 1.0, 1 - x) for x in primals]
    shares = [
        jnp.where(x == 1, 0.0, dx / rest)
        for x, dx, rest in zip(primals, tangents, rests, strict=True)
    ]
    return log_complement_ratio(*primals), shares[1] - shares[0]


@jax.custom_jvp
def log_det_remainder(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch"]:
    """Remainder `tr(C) - log det(I + C)` of a symmetric `C > -I`, non-negative.

    The Bregman remainder of `-log det`, a sum of non-negative terms, so that near-equal covariances
    keep their digits. By elimination up to eight rows: each pivot `1 + e` brings `e - log(1 + e)`
    and what its Schur complement takes from the trace; for larger matrices over the eigenvalues.
    The derivative `C inverse(I + C)` takes neither.

    Args:
      matrix: symmetric, shape `(..., n, n)`.

    Returns:
      The remainder, shape `(...)`; nan where `I + C` is not positive definite.

    Examples:
      >>> float(log_det_remainder(1e-10 * jnp.eye(2))) < 1.0001e-20
      True
    """
    if matrix.shape[-1] > MOST_UNROLLED:
        return jnp.sum(log1p_remainder(jnp.linalg.eigvalsh(matrix)), axis=-1)
    total, rest = jnp.zeros(matrix.shape[:-2], matrix.dtype), matrix
    for _ in range(matrix.shape[-1]):
        excess, column = rest[..., 0, 0], rest[..., 1:, 0]
        scaled = column / (1 + excess)[..., None]
        total = total + log1p_remainder(excess) + jnp.sum(column * scaled, axis=-1)
        rest = rest[..., 1:, 1:] - column[..., :, None] * scaled[..., None, :]
    return total


@log_det_remainder.defjvp
def _log_det_remainder_jvp(primals, tangents):
    (matrix,), (step,) = primals, tangents
    identity = jnp.broadcast_to(jnp.eye(matrix.shape[-1], dtype=matrix.dtype), matrix.shape)
    slope = cho_solve(cholesky(identity + matrix), matrix)
    slope = 0.5 * (slope + jnp.swapaxes(slope, -1, -2))
    return log_det_remainder(matrix), jnp.sum(slope * step, axis=(-2, -1))
