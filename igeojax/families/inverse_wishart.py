"""The inverse Wishart family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.wishart import Wishart, WishartPoint, bartlett, checked_dof_scale
from igeojax.numerics.multivariate_gamma import multivariate_gamma_excess, wishart_entropy
from igeojax.numerics.positive_definite import (
    is_positive_definite,
    log_det,
    symmetric_inverse,
    symmetrized,
    whitened,
)
from igeojax.numerics.remainders import log_det_remainder
from igeojax.numerics.triangular import cholesky, solve_triangular


class InverseWishartPoint(NamedTuple):
    """Leaves: the statistics `log det x` and `inverse(x)`, a symmetric matrix."""

    log_det_x: Float[Array, "*batch"]
    inverse_x: Float[Array, "*batch dim dim"]


class InverseWishartParams(NamedTuple):
    """Degrees of freedom and scale matrix; the mean is `scale / (dof - dim - 1)`."""

    dof: Float[Array, "*batch"]
    scale: Float[Array, "*batch dim dim"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class InverseWishart(ExponentialFamily[InverseWishartPoint, InverseWishartParams]):
    """Covariances: `T = (log det x, inverse(x))`, `theta = (-dof / 2, -scale / 2)`.

    `inverse(x)` is Wishart with these degrees and the inverse scale; `psi` is that of `Wishart`
    with the sign of one leaf changed, and so are its divergences; `h = det(x)^(-(p+1)/2)`. For
    `dim = 1` it is `InverseGamma(dof / 2, scale / 2)`.

    Args:
      dim: size p of the matrices.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 1`.

    References:
      [Muirhead1982] section 3.2 (the Wishart density).

    Examples:
      >>> family = InverseWishart(2)
      >>> theta = family.natural_from_params(dof=5.0, scale=jnp.eye(2))
      >>> family.mean(theta).round(6).tolist()
      [[0.5, 0.0], [0.0, 0.5]]
    """

    dim: int

    Point = InverseWishartPoint
    Params = InverseWishartParams

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def _wishart(self) -> Wishart:
        """The law of the inverse."""
        return Wishart(self.dim)

    @property
    def point_shape(self):
        return ((), (self.dim, self.dim))

    @property
    def event_shape(self):
        return (self.dim, self.dim)

    @property
    def _inside(self):
        return jnp.eye(self.dim)

    def statistics(self, x: ArrayLike) -> InverseWishartPoint:
        factor = cholesky(self._data(x))
        return InverseWishartPoint(log_det(factor), symmetric_inverse(factor))

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -0.5 * (self.dim + 1) * log_det(cholesky(self._data(x)))

    def mean_log_base_measure(self, theta: InverseWishartPoint) -> Array:
        return -0.5 * (self.dim + 1) * self.mean_from_natural(theta).log_det_x

    def log_partition(self, theta: InverseWishartPoint) -> Array:
        return self._wishart.log_partition(_reciprocal(theta))

    def mean_from_natural(self, theta: InverseWishartPoint) -> InverseWishartPoint:
        return _point(self._wishart.mean_from_natural(_reciprocal(theta)))

    def natural_from_mean(self, eta: InverseWishartPoint) -> InverseWishartPoint:
        return _point(self._wishart.natural_from_mean(_reciprocal(eta)))

    def natural_from_params(self, dof: ArrayLike, scale: ArrayLike) -> InverseWishartPoint:
        """Natural parameter of `dof > dim - 1` and a positive definite `scale` matrix.

        Raises:
          TypeError: an argument is not real.
          ValueError: wrong shapes, or a concrete `dof` at most `dim - 1` or not finite, or a
            concrete `scale` not symmetric positive definite.
        """
        dof, scale = checked_dof_scale(self.dim, dof, scale)
        return InverseWishartPoint(-0.5 * dof, -0.5 * scale)

    def params_from_natural(self, theta: InverseWishartPoint) -> InverseWishartParams:
        return InverseWishartParams(-2 * theta.log_det_x, -2 * theta.inverse_x)

    def in_natural_domain(self, theta: InverseWishartPoint) -> Array:
        return self._wishart.in_natural_domain(_reciprocal(theta))

    def in_support(self, x: ArrayLike) -> Array:
        return is_positive_definite(x)

    def _entropy(self, theta: InverseWishartPoint) -> Array:
        whole = log_det(cholesky(-theta.inverse_x))
        return wishart_entropy(-theta.log_det_x, whole, self.dim, 0.5 * (self.dim + 1))

    def _log_density(self, theta: InverseWishartPoint, x: Array) -> Array:
        # As for Wishart, with M = -theta_2 inverse(x) / a.
        a, factor = -theta.log_det_x, cholesky(x)
        scale = -theta.inverse_x / a[..., None, None]
        full = jnp.broadcast_shapes(scale.shape, x.shape)
        factor, scale = jnp.broadcast_to(factor, full), jnp.broadcast_to(scale, full)
        moved = whitened(factor, scale)
        moved = moved - jnp.broadcast_to(jnp.eye(self.dim, dtype=moved.dtype), full)
        near = jnp.sum(moved**2, axis=(-2, -1)) < 0.25
        close = log_det_remainder(jnp.where(near[..., None, None], moved, 0.0))
        whole = log_det(factor)
        log_scale = log_det(cholesky(-theta.inverse_x)) - self.dim * jnp.log(a)
        far = jnp.trace(moved, axis1=-2, axis2=-1) - log_scale + whole
        deviance = a * jnp.where(near, close, far)
        return multivariate_gamma_excess(a, self.dim) - deviance - 0.5 * (self.dim + 1) * whole

    def _bregman(
        self, theta: InverseWishartPoint, other: InverseWishartPoint, step: InverseWishartPoint
    ) -> Array:
        return self._wishart._bregman(*map(_reciprocal, (theta, other, step)))

    def mean(self, theta: InverseWishartPoint) -> Array:
        """Mean `scale / (dof - p - 1)`; inf where the degrees are at most `p + 1`."""
        dof, scale = self.params_from_natural(theta)
        left = (dof - self.dim - 1)[..., None, None]
        return jnp.where(left > 0, scale / jnp.where(left > 0, left, 1.0), jnp.inf)

    def variance(self, theta: InverseWishartPoint) -> Array:
        """Variance of each entry; inf where the degrees are at most `p + 3`."""
        dof, scale = self.params_from_natural(theta)
        left = (dof - self.dim - 1)[..., None, None]
        finite = left > 2
        safe = jnp.where(finite, left, 3.0)
        diagonal = jnp.diagonal(scale, 0, -2, -1)
        product = diagonal[..., None] * diagonal[..., None, :]
        value = ((safe + 2) * scale**2 + safe * product) / ((safe + 1) * safe**2 * (safe - 2))
        return jnp.where(finite, value, jnp.inf)

    def mode(self, theta: InverseWishartPoint) -> Array:
        dof, scale = self.params_from_natural(theta)
        return scale / (dof + self.dim + 1)[..., None, None]

    def _fit(self, x: Array, weights: Array | None) -> InverseWishartPoint:
        inverse = symmetric_inverse(cholesky(x))
        return _point(self._wishart._fit(inverse, weights))

    def _draw(self, key, theta, shape):
        root = self._draw_root(key, theta, shape)
        return symmetrized(jnp.swapaxes(root, -1, -2) @ root)

    def _draw_root(self, key: Array, theta: InverseWishartPoint, shape: tuple[int, ...]) -> Array:
        """Matrices R with `R^T R` a draw."""
        inner = bartlett(key, -theta.log_det_x, self.dim, shape)
        outer = cholesky(-2 * theta.inverse_x)
        outer = jnp.broadcast_to(jnp.swapaxes(outer, -1, -2), inner.shape)
        return solve_triangular(inner, outer)


def _reciprocal(point: InverseWishartPoint) -> WishartPoint:
    """The same point or step for `inverse(x)`."""
    return WishartPoint(-point.log_det_x, point.inverse_x)


def _point(theta: WishartPoint) -> InverseWishartPoint:
    return InverseWishartPoint(-theta.log_det_x, theta.x)
