"""Divergences of normal laws from means and covariances, which hold more than natural ones do."""

import math
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.numerics.positive_definite import (
    log_det_change_remainder,
    log_det_ratio,
    symmetrized,
)
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.triangular import cholesky, solve_triangular

Parts = tuple[Array, Array, Array]
"""`u`, `v` with `-log int p^a q^(1-a) = a u + (1-a) v`, and whether the integral is finite."""


def checked_loc_scale(loc: ArrayLike, scale: ArrayLike) -> tuple[Array, Array]:
    """A mean and a standard deviation, checked and broadcast.

    Args:
      loc: means.
      scale: standard deviations.

    Returns:
      Both as arrays of one shape and dtype.

    Examples:
      >>> checked_loc_scale([0.0, 1.0], 1.0)[1].tolist()
      [1.0, 1.0]

    Raises:
      TypeError: an argument is not real.
      ValueError: a concrete `loc` is not finite or a `scale` not positive and finite.
    """
    loc, scale = jnp.broadcast_arrays(*checks.floating_together(loc=loc, scale=scale))
    checks.require_finite("loc", loc)
    checks.require_positive("scale", scale, "It is the standard deviation.")
    return loc, scale


def checked_mean_covariance(
    mean: ArrayLike, covariance: ArrayLike, dim: int
) -> tuple[Array, Array]:
    """A mean vector and a covariance matrix, checked and broadcast.

    Args:
      mean: shape `(..., dim)`.
      covariance: shape `(..., dim, dim)`.
      dim: number of coordinates.

    Returns:
      Both as arrays with the same batch axes.

    Examples:
      >>> checked_mean_covariance(jnp.zeros((4, 2)), jnp.eye(2), 2)[1].shape
      (4, 2, 2)

    Raises:
      TypeError: an argument is not real.
      ValueError: wrong shapes, or concrete values that are not finite, not symmetric, or not
        positive definite.
    """
    mean, covariance = checks.floating_together(mean=mean, covariance=covariance)
    checks.require_trailing_shape("mean", mean, (dim,))
    checks.require_trailing_shape("covariance", covariance, (dim, dim))
    checks.require_finite("mean", mean)
    checks.require_positive_definite("covariance", covariance)
    batch = jnp.broadcast_shapes(mean.shape[:-1], covariance.shape[:-2])
    return jnp.broadcast_to(mean, (*batch, dim)), jnp.broadcast_to(covariance, (*batch, dim, dim))


def loc_scale_parts(
    p: tuple[ArrayLike, ArrayLike], q: tuple[ArrayLike, ArrayLike], order: Array
) -> Parts:
    """Skew divergence of two univariate normal laws `(loc, scale)`.

    With `w = a s_q^2 + (1-a) s_p^2` it is half of `a (1-a) (m_p - m_q)^2 / w` and the log of w less
    the mean of the logs: all from differences of means and deviations.

    Args:
      p: mean and standard deviation.
      q: mean and standard deviation.
      order: the statistical order a, a scalar.

    Returns:
      The `Parts`; at order 1 `v` is KL(p || q), at order 0 `u` is KL(q || p).

    Examples:
      >>> _, kl, _ = loc_scale_parts((0.0, 1.0), (1.0, 2.0), jnp.asarray(1.0))
      >>> round(float(kl), 6)
      0.443147
    """
    pairs = (*checked_loc_scale(*p), *checked_loc_scale(*q))
    loc_p, scale_p, loc_q, scale_q = jnp.broadcast_arrays(*pairs)
    # In a unit in which no square that counts over- or underflows.
    unit = jnp.where(
        order >= 1, scale_q, jnp.where(order <= 0, scale_p, jnp.maximum(scale_p, scale_q))
    )
    ratio_p, ratio_q = scale_p / unit, scale_q / unit
    gap = (scale_q - scale_p) / unit * (ratio_q + ratio_p)
    square_p, square_q = ratio_p**2, ratio_q**2
    mixed = order * square_q + (1 - order) * square_p
    mixed = jnp.where(order == 1, square_q, jnp.where(order == 0, square_p, mixed))
    finite = mixed > 0
    safe = jnp.where(finite, mixed, 1.0)
    push = ((loc_p - loc_q) / unit) ** 2 / safe
    first = _square_remainder(ratio_q, scale_q, unit, safe, (1 - order) * gap)
    second = _square_remainder(ratio_p, scale_p, unit, safe, -order * gap)
    return 0.5 * ((1 - order) ** 2 * push + first), 0.5 * (order**2 * push + second), finite


def _square_remainder(ratio: Array, scale: Array, unit: Array, mixed: Array, step: Array) -> Array:
    """`ratio_remainder(ratio^2, mixed)` of a ratio `scale / unit` whose square may underflow."""
    square = ratio**2
    held = square > jnp.finfo(ratio.dtype).tiny
    near = ratio_remainder(jnp.where(held, square, mixed), mixed, jnp.where(held, step, 0.0))
    log_square = 2 * (jnp.log(scale) - jnp.log(unit))
    far = square / mixed - 1 - (log_square - jnp.log(mixed))
    return jnp.where(held, jnp.where(square < jnp.inf, near, jnp.inf), far)


def mean_covariance_parts(p: tuple[Array, Array], q: tuple[Array, Array], order: Array) -> Parts:
    """Skew divergence of two multivariate normal laws `(mean, covariance)`.

    As `loc_scale_parts`, with W the mixture of covariances: the differences of means and
    covariances are whitened by its Cholesky factor. Costs one factorization and two
    eigendecompositions.

    Args:
      p: mean `(..., d)` and covariance `(..., d, d)`.
      q: mean and covariance.
      order: the statistical order a, a scalar.

    Returns:
      The `Parts`; nan where a factorization fails.

    Examples:
      >>> p = jnp.zeros(1), jnp.eye(1)
      >>> _, kl, _ = mean_covariance_parts(p, (jnp.ones(1), 4 * jnp.eye(1)), jnp.asarray(1.0))
      >>> round(float(kl), 6)
      0.443147
    """
    mean_p, mean_q = jnp.broadcast_arrays(p[0], q[0])
    covariance_p, covariance_q = jnp.broadcast_arrays(p[1], q[1])
    mixed = order * covariance_q + (1 - order) * covariance_p
    mixed = jnp.where(order == 1, covariance_q, jnp.where(order == 0, covariance_p, mixed))
    factor = cholesky(mixed)
    finite = jnp.isfinite(jnp.diagonal(factor, 0, -2, -1)).all(axis=-1)
    identity = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    factor = jnp.where(finite[..., None, None], factor, identity)
    whiten = lambda matrix: solve_triangular(factor, matrix)
    push = jnp.sum(whiten((mean_p - mean_q)[..., None]) ** 2, axis=(-2, -1))
    gap = whiten(jnp.swapaxes(whiten(covariance_q - covariance_p), -1, -2))
    gap = symmetrized(gap)
    factors = cholesky(covariance_q), cholesky(covariance_p)
    log_dets = [log_det_ratio(own, factor) for own in factors]
    first = log_det_change_remainder((1 - order) * gap, log_dets[0])
    second = log_det_change_remainder(-order * gap, log_dets[1])
    # A mixture of two covariances is one: if it has no factor, an argument has none.
    proper = (order >= 0) & (order <= 1)
    first, second = (jnp.where(proper & ~finite, jnp.nan, part) for part in (first, second))
    finite = finite | proper
    return 0.5 * ((1 - order) ** 2 * push + first), 0.5 * (order**2 * push + second), finite


def ledoit_wolf_shrinkage(x: Array) -> Array:
    """Shrinkage of least expected squared error towards the mean variance, by Ledoit and Wolf.

    Args:
      x: observations, shape `(N, d)`. Costs two `d x N x d` products.

    Returns:
      A share in `[0, 1]`.

    References:
      [LedoitWolf2004] section 3.

    Examples:
      >>> float(ledoit_wolf_shrinkage(jnp.array([[0.0, 1.0], [1.0, 0.0]])))
      0.0
    """
    count, dim = x.shape
    centred = x - jnp.mean(x, axis=0)[None]
    covariance = centred.T @ centred / count
    squares = centred**2
    level = jnp.trace(covariance) / dim
    # Squared distances from the target and of single observations from their mean, by entry.
    spread = jnp.sum((covariance - level * jnp.eye(dim, dtype=x.dtype)) ** 2)
    noise = (jnp.sum(squares.T @ squares) / count - jnp.sum(covariance**2)) / count
    proper = spread > 0
    share = jnp.minimum(noise, spread) / jnp.where(proper, spread, 1.0)
    return jnp.where(proper, jnp.maximum(share, 0.0), 0.0)


def scale_entropy(scale: Array) -> Array:
    """Entropy `log(s) + log(2 pi e)/2` of a normal law, in nats.

    Args:
      scale: standard deviations.

    Returns:
      The entropies.

    Examples:
      >>> round(float(scale_entropy(jnp.asarray(1.0))), 6)
      1.418939
    """
    return jnp.log(scale) + 0.5 * math.log(2 * math.pi * math.e)


def precision_factor(theta: Any) -> Array:
    """Lower Cholesky factor of the precision of a natural parameter `(x, xx)`.

    Args:
      theta: natural parameter, `xx` minus half of the precision.

    Returns:
      The factor, shape `(..., d, d)`; nan where the precision is not positive definite.

    Examples:
      >>> from igeojax.families import MultivariateNormal
      >>> theta = MultivariateNormal.Point(jnp.zeros(1), -2 * jnp.eye(1))
      >>> precision_factor(theta).tolist()
      [[2.0]]
    """
    return cholesky(-2 * theta.xx)


def symmetrized_point(point: Any) -> Any:
    """The same point; gradients through it are symmetric, as those of a symmetric matrix are.

    Args:
      point: natural or mean parameter with a matrix `xx`.

    Returns:
      The point.

    Examples:
      >>> from igeojax.families import MultivariateNormal
      >>> symmetrized_point(MultivariateNormal.Point(jnp.zeros(1), jnp.eye(1))).xx.tolist()
      [[1.0]]
    """
    return point._replace(xx=symmetrized(point.xx))
