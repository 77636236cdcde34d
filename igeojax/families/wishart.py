"""The Wishart family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families._pairs import broadcast_laws, natural_parts, pair_of
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.multivariate_gamma import (
    half_steps,
    log_multivariate_gamma,
    multivariate_digamma,
    multivariate_gamma_excess,
    multivariate_log_minus_digamma_inverse,
    multivariate_shape_bregman,
    wishart_entropy,
)
from igeojax.numerics.positive_definite import (
    is_positive_definite,
    log_det,
    log_det_change_remainder,
    log_det_ratio,
    symmetric_inverse,
    symmetrized,
    whitened,
)
from igeojax.numerics.remainders import log_det_remainder
from igeojax.numerics.triangular import cholesky, solve_triangular
from igeojax.numerics.weighting import weighted_mean


class WishartPoint(NamedTuple):
    """Leaves: the statistics `log det x` and `x`; the latter stays a symmetric matrix."""

    log_det_x: Float[Array, "*batch"]
    x: Float[Array, "*batch dim dim"]


class WishartParams(NamedTuple):
    """Degrees of freedom and scale matrix; the mean is `dof * scale`."""

    dof: Float[Array, "*batch"]
    scale: Float[Array, "*batch dim dim"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Wishart(ExponentialFamily[WishartPoint, WishartParams]):
    """Scatter matrices: `T = (log det x, x)`, `theta = (dof / 2, -inverse(scale) / 2)`.

    `psi = log Gamma_p(theta_1) - theta_1 log det(-theta_2)` with the multivariate gamma function,
    `h = det(x)^(-(p+1)/2)`. For `dim = 1` it is `Gamma(dof / 2, 1 / (2 scale))`.

    Args:
      dim: size p of the matrices.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 1`.

    References:
      [Muirhead1982] section 3.2 (density and log-determinant).

    Examples:
      >>> family = Wishart(2)
      >>> theta = family.natural_from_params(dof=5.0, scale=jnp.eye(2))
      >>> family.mean(theta).round(6).tolist()
      [[5.0, 0.0], [0.0, 5.0]]
    """

    dim: int

    Point = WishartPoint
    Params = WishartParams

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def point_shape(self):
        return ((), (self.dim, self.dim))

    @property
    def event_shape(self):
        return (self.dim, self.dim)

    @property
    def _inside(self):
        return jnp.eye(self.dim)

    def statistics(self, x: ArrayLike) -> WishartPoint:
        x = self._data(x)
        return WishartPoint(log_det(cholesky(x)), x)

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -0.5 * (self.dim + 1) * log_det(cholesky(self._data(x)))

    def mean_log_base_measure(self, theta: WishartPoint) -> Array:
        return -0.5 * (self.dim + 1) * self.mean_from_natural(theta).log_det_x

    def log_partition(self, theta: WishartPoint) -> Array:
        a = theta.log_det_x
        return log_multivariate_gamma(a, self.dim) - a * log_det(cholesky(-theta.x))

    def mean_from_natural(self, theta: WishartPoint) -> WishartPoint:
        self.batch_shape(theta)
        factor = cholesky(-theta.x)
        a = jnp.where(jnp.isfinite(theta.log_det_x), theta.log_det_x, jnp.nan)
        mean_log = multivariate_digamma(a, self.dim) - log_det(factor)
        return WishartPoint(mean_log, a[..., None, None] * symmetric_inverse(factor))

    def natural_from_mean(self, eta: WishartPoint) -> WishartPoint:
        """Inverse mean map: the degrees solve `log det E[x] - E[log det x] = p log a - ...`."""
        factor = cholesky(eta.x)
        return self._natural_from_gap(factor, log_det(factor) - eta.log_det_x)

    def _natural_from_gap(self, factor: Array, gap: Array) -> WishartPoint:
        """The point of mean `factor factor^T` with the gap of the log-determinants."""
        a = multivariate_log_minus_digamma_inverse(gap, self.dim)
        return WishartPoint(a, -a[..., None, None] * symmetric_inverse(factor))

    def natural_from_params(self, dof: ArrayLike, scale: ArrayLike) -> WishartPoint:
        """Natural parameter of `dof > dim - 1` and a positive definite `scale` matrix.

        Raises:
          TypeError: an argument is not real.
          ValueError: wrong shapes, or a concrete `dof` at most `dim - 1` or not finite, or a
            concrete `scale` not symmetric positive definite.
        """
        dof, scale = checked_dof_scale(self.dim, dof, scale)
        return WishartPoint(0.5 * dof, -0.5 * symmetric_inverse(cholesky(scale)))

    def params_from_natural(self, theta: WishartPoint) -> WishartParams:
        inverse = symmetric_inverse(cholesky(-theta.x))
        return WishartParams(2 * theta.log_det_x, 0.5 * inverse)

    def in_natural_domain(self, theta: WishartPoint) -> Array:
        diagonal = jnp.diagonal(cholesky(-theta.x), 0, -2, -1)
        a = theta.log_det_x
        return jnp.isfinite(a) & (a > 0.5 * (self.dim - 1)) & jnp.isfinite(diagonal).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        return is_positive_definite(x)

    def _entropy(self, theta: WishartPoint) -> Array:
        whole = log_det(cholesky(-theta.x))
        return wishart_entropy(theta.log_det_x, whole, self.dim, -0.5 * (self.dim + 1))

    def _log_density(self, theta: WishartPoint, x: Array) -> Array:
        # In units of the mean, M = -theta_2 x / a: -a (tr M - p - log det M) and what is left.
        a, factor = theta.log_det_x, cholesky(-theta.x)
        whole = log_det(cholesky(x))
        moved = jnp.swapaxes(factor, -1, -2) @ x @ factor / a[..., None, None]
        moved = moved - jnp.broadcast_to(jnp.eye(self.dim, dtype=moved.dtype), moved.shape)
        # Far from the mean an eigenvalue of M near 0 would have lost its digits.
        near = jnp.sum(moved**2, axis=(-2, -1)) < 0.25
        close = log_det_remainder(jnp.where(near[..., None, None], moved, 0.0))
        log_mean = log_det(factor) - self.dim * jnp.log(a)
        far = jnp.trace(moved, axis1=-2, axis2=-1) - log_mean - whole
        deviance = a * jnp.where(near, close, far)
        return multivariate_gamma_excess(a, self.dim) - deviance - 0.5 * (self.dim + 1) * whole

    def _bregman(self, theta: WishartPoint, other: WishartPoint, step: WishartPoint) -> Array:
        a, shape = theta.log_det_x, other.log_det_x
        factor = jnp.broadcast_to(cholesky(-other.x), step.x.shape)
        change = whitened(factor, -symmetrized(step.x))
        far = log_det_ratio(cholesky(-theta.x), factor)
        return self._mean_bregman(a, shape, step.log_det_x, change, far)

    def _mean_bregman(self, a: Array, shape: Array, step: Array, change: Array, far: Array):
        """KL of a law of `shape` from one of `a`, the ratio of their rates `I + change`.

        It is `a [tr C - log det(I + C)]`, with `I + C` the ratio of the means, and the remainder of
        the degrees: all of differences. `far` is `log det(I + change)` by factors.
        """
        identity = jnp.broadcast_to(jnp.eye(self.dim, dtype=change.dtype), change.shape)
        ratio, part = shape / a, step / a
        relative = ratio[..., None, None] * change - part[..., None, None] * identity
        means = log_det_change_remainder(relative, far + self.dim * jnp.log(ratio))
        return a * means + multivariate_shape_bregman(a, shape, step, self.dim)

    def _source_parts(self, p: WishartParams, q: WishartParams, order: Array):
        # Exchanged, two scales stand to each other as their inverses do, so that all divergences
        # are those of `(dof_p / 2, -scale_q / 2)` and `(dof_q / 2, -scale_p / 2)`.
        laws = checked_dof_scale(self.dim, *p), checked_dof_scale(self.dim, *q)
        (dof_p, scale_p), (dof_q, scale_q) = broadcast_laws(*laws, (0, 2))
        first = WishartPoint(0.5 * dof_p, -0.5 * scale_q)
        second = WishartPoint(0.5 * dof_q, -0.5 * scale_p)
        return natural_parts(self, pair_of(self, first, second), order)

    def _source_entropy(self, params: WishartParams) -> Array:
        dof, scale = checked_dof_scale(self.dim, *params)
        inside = self.in_natural_domain(WishartPoint(0.5 * dof, -scale))
        whole = -log_det(cholesky(2 * scale))
        entropy = wishart_entropy(0.5 * dof, whole, self.dim, -0.5 * (self.dim + 1))
        return jnp.where(inside, entropy, jnp.nan)

    def mean(self, theta: WishartPoint) -> Array:
        return self.mean_from_natural(theta).x

    def variance(self, theta: WishartPoint) -> Array:
        dof, scale = self.params_from_natural(theta)
        diagonal = jnp.diagonal(scale, 0, -2, -1)
        return dof[..., None, None] * (scale**2 + diagonal[..., None] * diagonal[..., None, :])

    def mode(self, theta: WishartPoint) -> Array:
        """Mode `(dof - p - 1) scale`; the zero matrix, a limit, for fewer degrees."""
        dof, scale = self.params_from_natural(theta)
        return jnp.maximum(dof - self.dim - 1, 0.0)[..., None, None] * scale

    def _fit(self, x: Array, weights: Array | None) -> WishartPoint:
        mean = weighted_mean(x, weights)
        factor = cholesky(mean)
        # With r = x / mean, log det E[x] - E[log det x] = E[tr r - p - log det r].
        batch = jnp.broadcast_to(factor[None], x.shape)
        gap = weighted_mean(log_det_remainder(whitened(batch, x - mean[None])), weights)
        # Constant data leave only the rounding of the mean: no gap at all.
        noise = 8 * self.dim * jnp.finfo(gap.dtype).eps ** 2
        return self._natural_from_gap(factor, jnp.where(gap > noise, gap, 0.0))

    def _draw(self, key, theta, shape):
        inner = bartlett(key, theta.log_det_x, self.dim, shape)
        outer = jnp.broadcast_to(cholesky(-2 * theta.x), inner.shape)
        root = solve_triangular(outer, inner, transposed=True)
        return symmetrized(root @ jnp.swapaxes(root, -1, -2))


def bartlett(key: Array, a: Array, dim: int, shape: tuple[int, ...]) -> Array:
    """Lower triangular A with `A A^T` Wishart of `2 a` degrees of freedom and unit scale.

    Args:
      key: a PRNG key.
      a: half the degrees of freedom; broadcasts to `shape`.
      dim: size of the matrices.
      shape: shape of the draws.

    Returns:
      Factors of shape `shape + (dim, dim)`.

    Examples:
      >>> bartlett(jax.random.key(0), jnp.asarray(2.0), 3, (5,)).shape
      (5, 3, 3)
    """
    chi, normal = jax.random.split(key)
    shapes = jnp.broadcast_to(half_steps(a, dim), (*shape, dim))
    log_half = jax.random.loggamma(chi, shapes, dtype=a.dtype)
    diagonal = jnp.sqrt(2.0).astype(a.dtype) * jnp.exp(0.5 * log_half)
    below = jnp.tril(jax.random.normal(normal, (*shape, dim, dim), a.dtype), -1)
    return below + diagonal[..., None] * jnp.broadcast_to(jnp.eye(dim, dtype=a.dtype), below.shape)


def checked_dof_scale(dim: int, dof: ArrayLike, scale: ArrayLike) -> tuple[Array, Array]:
    """Degrees of freedom and scale matrix, checked and broadcast.

    Args:
      dim: size of the matrices.
      dof: above `dim - 1`.
      scale: symmetric positive definite, shape `batch + (dim, dim)`.

    Returns:
      Both as arrays of one dtype and batch shape.

    Raises:
      TypeError: an argument is not real.
      ValueError: wrong shapes, or concrete values outside the domain.

    Examples:
      >>> dof, scale = checked_dof_scale(2, [4.0, 5.0], jnp.eye(2))
      >>> dof.shape, scale.shape
      ((2,), (2, 2, 2))
    """
    dof, scale = checks.floating_together(dof=dof, scale=scale)
    checks.require_trailing_shape("scale", scale, (dim, dim))
    checks.require_values(
        "dof",
        dof,
        lambda v: (v > dim - 1) & (v < jnp.inf),
        f"finite and above dim - 1 = {dim - 1}",
        "Fewer degrees of freedom give singular matrices, which have no density.",
    )
    checks.require_positive_definite("scale", scale)
    checks.require_broadcastable(dof=dof.shape, scale=scale.shape[:-2])
    batch = jnp.broadcast_shapes(dof.shape, scale.shape[:-2])
    return jnp.broadcast_to(dof, batch), jnp.broadcast_to(scale, (*batch, dim, dim))
