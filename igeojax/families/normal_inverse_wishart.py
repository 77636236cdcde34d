"""The normal inverse Wishart family."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families._pairs import broadcast_laws
from igeojax.families.base import ExponentialFamily
from igeojax.families.inverse_wishart import InverseWishart, InverseWishartPoint
from igeojax.families.normal_conjugates import (
    NormalConjugate,
    known_conjugate,
    normal_conjugate_parts,
    wishart_precision_parts,
)
from igeojax.families.wishart import Wishart, WishartPoint, checked_dof_scale
from igeojax.numerics.multivariate_gamma import wishart_entropy
from igeojax.numerics.positive_definite import (
    is_positive_definite,
    log_det,
    symmetric_inverse,
    symmetrized,
)
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.triangular import cho_solve, cholesky, solve_triangular
from igeojax.numerics.weighting import weighted_mean


class NormalInverseWishartPoint(NamedTuple):
    """Leaves: `log det V`, `inverse(V)`, `inverse(V) x` and `x^T inverse(V) x`."""

    log_det_v: Float[Array, "*batch"]
    inverse_v: Float[Array, "*batch dim dim"]
    inverse_v_x: Float[Array, "*batch dim"]
    x_inverse_v_x: Float[Array, "*batch"]


class NormalInverseWishartParams(NamedTuple):
    """`x ~ Normal(mean, V / concentration)` (covariance), `V ~ InverseWishart(dof, scale)`."""

    mean: Float[Array, "*batch dim"]
    concentration: Float[Array, "*batch"]
    dof: Float[Array, "*batch"]
    scale: Float[Array, "*batch dim dim"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NormalInverseWishart(
    ExponentialFamily[NormalInverseWishartPoint, NormalInverseWishartParams]
):
    """Means and covariances of normal laws, and their conjugate prior.

    An observation has shape `(dim, dim + 1)`: the mean x in its first column, the covariance V in
    the others. `theta = (-(n + p + 2)/2, -(S + k m m^T)/2, k m, -k/2)` for
    `(m, k, n, S) = (mean, concentration, dof, scale)`, `h = 1`, and `psi` is that of the inverse
    Wishart law less `p log(k / 2 pi) / 2`. For `dim = 1` it is `NormalInverseGamma` with
    `shape = dof / 2` and `scale / 2`.

    Args:
      dim: size p of the covariances.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 1`.

    References:
      [Murphy2007] section 9 (normal inverse Wishart prior).

    Examples:
      >>> family = NormalInverseWishart(1)
      >>> theta = family.natural_from_params(
      ...     mean=jnp.ones(1), concentration=2.0, dof=6.0, scale=8 * jnp.eye(1)
      ... )
      >>> family.mean(theta).round(6).tolist()
      [[1.0, 2.0]]
    """

    dim: int

    Point = NormalInverseWishartPoint
    Params = NormalInverseWishartParams

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def _covariances(self) -> InverseWishart:
        return InverseWishart(self.dim)

    @property
    def point_shape(self):
        return ((), (self.dim, self.dim), (self.dim,), ())

    @property
    def event_shape(self):
        return (self.dim, self.dim + 1)

    @property
    def _inside(self):
        return jnp.eye(self.dim, self.dim + 1, 1)

    def statistics(self, x: ArrayLike) -> NormalInverseWishartPoint:
        x, v = _split(self._data(x))
        factor = cholesky(v)
        white = solve_triangular(factor, x[..., None])
        inverse = symmetric_inverse(factor)
        return NormalInverseWishartPoint(
            log_det(factor),
            inverse,
            jnp.einsum("...ij,...j->...i", inverse, x),
            jnp.sum(white**2, axis=(-2, -1)),
        )

    def log_partition(self, theta: NormalInverseWishartPoint) -> Array:
        covariances = self._covariances.log_partition(self._law(theta))
        return covariances - 0.5 * self.dim * jnp.log(-theta.x_inverse_v_x / math.pi)

    def mean_from_natural(self, theta: NormalInverseWishartPoint) -> NormalInverseWishartPoint:
        self.batch_shape(theta)
        mean_log, inverse = self._covariances.mean_from_natural(self._law(theta))
        mean = _mean(theta)
        product = jnp.einsum("...ij,...j->...i", inverse, mean)
        last = theta.x_inverse_v_x
        last = jnp.where(jnp.isfinite(last) & (last < 0), last, jnp.nan)
        square = jnp.sum(mean * product, axis=-1) - 0.5 * self.dim / last
        return NormalInverseWishartPoint(mean_log, inverse, product, square)

    def natural_from_mean(self, eta: NormalInverseWishartPoint) -> NormalInverseWishartPoint:
        factor = cholesky(eta.inverse_v)
        mean = cho_solve(factor, eta.inverse_v_x[..., None])[..., 0]
        spread = eta.x_inverse_v_x - jnp.sum(mean * eta.inverse_v_x, axis=-1)
        law = self._covariances.natural_from_mean(InverseWishartPoint(eta.log_det_v, eta.inverse_v))
        return self._natural(mean, self.dim / spread, law)

    def natural_from_params(
        self, mean: ArrayLike, concentration: ArrayLike, dof: ArrayLike, scale: ArrayLike
    ) -> NormalInverseWishartPoint:
        """Natural parameter of a `mean`, a positive `concentration`, `dof` and a `scale` matrix.

        Raises:
          TypeError: an argument is not real.
          ValueError: wrong shapes, or concrete values outside the domain: `mean` not finite,
            `concentration` not positive, `dof` at most `dim - 1`, `scale` not symmetric positive
            definite.
        """
        mean, concentration, dof, scale = self._checked(mean, concentration, dof, scale)
        return self._natural(mean, concentration, InverseWishartPoint(-0.5 * dof, -0.5 * scale))

    def _checked(
        self, mean: ArrayLike, concentration: ArrayLike, dof: ArrayLike, scale: ArrayLike
    ) -> tuple[Array, Array, Array, Array]:
        mean, concentration, dof, scale = checks.floating_together(
            mean=mean, concentration=concentration, dof=dof, scale=scale
        )
        checks.require_trailing_shape("mean", mean, (self.dim,))
        checks.require_finite("mean", mean)
        checks.require_positive("concentration", concentration)
        dof, scale = checked_dof_scale(self.dim, dof, scale)
        shapes = {"mean": mean.shape[:-1], "concentration": concentration.shape, "dof": dof.shape}
        checks.require_broadcastable(**shapes)
        batch = jnp.broadcast_shapes(*shapes.values())
        return (
            jnp.broadcast_to(mean, (*batch, self.dim)),
            jnp.broadcast_to(concentration, batch),
            jnp.broadcast_to(dof, batch),
            jnp.broadcast_to(scale, (*batch, self.dim, self.dim)),
        )

    def params_from_natural(self, theta: NormalInverseWishartPoint) -> NormalInverseWishartParams:
        dof, scale = self._covariances.params_from_natural(self._law(theta))
        return NormalInverseWishartParams(_mean(theta), -2 * theta.x_inverse_v_x, dof, scale)

    def in_natural_domain(self, theta: NormalInverseWishartPoint) -> Array:
        last = theta.x_inverse_v_x
        known = jnp.isfinite(last) & (last < 0) & jnp.isfinite(theta.inverse_v_x).all(axis=-1)
        safe = theta._replace(x_inverse_v_x=jnp.where(known, last, -0.5))
        return known & self._covariances.in_natural_domain(self._law(safe))

    def in_support(self, x: ArrayLike) -> Array:
        x, v = _split(jnp.asarray(x))
        return jnp.isfinite(x).all(axis=-1) & is_positive_definite(v)

    def _entropy(self, theta: NormalInverseWishartPoint) -> Array:
        a, rate = self._law(theta)
        return self._entropy_of(-2 * theta.x_inverse_v_x, WishartPoint(-a, rate))

    def _entropy_of(self, concentration: Array, precision: WishartPoint) -> Array:
        a, whole = precision.log_det_x, log_det(cholesky(-precision.x))
        normal = 0.5 * self.dim * jnp.log(2 * math.pi * math.e / concentration)
        return wishart_entropy(a, whole, self.dim, 0.5 * (self.dim + 2)) + normal

    def _source_parts(
        self, p: NormalInverseWishartParams, q: NormalInverseWishartParams, order: Array
    ):
        laws = broadcast_laws(self._checked(*p), self._checked(*q), (1, 0, 0, 2))
        first, second = (self._law_of(*law) for law in laws)
        return normal_conjugate_parts(wishart_precision_parts, first, second, order)

    def _source_entropy(self, params: NormalInverseWishartParams) -> Array:
        _, concentration, theta = self._law_of(*self._checked(*params))
        return self._entropy_of(concentration, theta)

    def _law_of(
        self, mean: Array, concentration: Array, dof: Array, scale: Array
    ) -> NormalConjugate:
        precision = WishartPoint(0.5 * dof, -0.5 * scale)
        return known_conjugate(Wishart(self.dim), mean, concentration, precision)

    def _log_density(self, theta: NormalInverseWishartPoint, x: Array) -> Array:
        x, v = _split(x)
        apart = (x - _mean(theta))[..., None]
        factor = cholesky(v)
        full = jnp.broadcast_shapes(factor.shape[:-1], apart.shape[:-1])
        white = solve_triangular(
            jnp.broadcast_to(factor, (*full, self.dim)),
            jnp.broadcast_to(apart, (*full, 1)),
        )
        square = theta.x_inverse_v_x * jnp.sum(white**2, axis=(-2, -1))
        scale = 0.5 * self.dim * jnp.log(-theta.x_inverse_v_x / math.pi) - 0.5 * log_det(factor)
        return square + scale + self._covariances._log_density(self._law(theta), v)

    def _bregman(
        self,
        theta: NormalInverseWishartPoint,
        other: NormalInverseWishartPoint,
        step: NormalInverseWishartPoint,
    ) -> Array:
        # KL of the covariances, and the mean over them of the KL of the normal laws of x.
        before, after = self._law(other), self._law(theta)
        mean = _mean(other)
        push = step.inverse_v_x + 2 * mean * step.x_inverse_v_x[..., None]
        apart = -0.5 * push / theta.x_inverse_v_x[..., None]
        # From S + k m m^T: the change of k m m^T is that of (k m) m^T.
        product = step.inverse_v_x[..., :, None] * (mean + apart)[..., None, :]
        product = product + other.inverse_v_x[..., :, None] * apart[..., None, :]
        spread = symmetrized(step.inverse_v + 0.5 * product)
        change = InverseWishartPoint(step.log_det_v, spread)
        covariances = self._covariances._bregman(after, before, change)
        inverse = self._covariances.mean_from_natural(before).inverse_x
        square = jnp.einsum("...i,...ij,...j->...", apart, inverse, apart)
        normal = ratio_remainder(theta.x_inverse_v_x, other.x_inverse_v_x, step.x_inverse_v_x)
        return covariances + 0.5 * self.dim * normal - theta.x_inverse_v_x * square

    def mean(self, theta: NormalInverseWishartPoint) -> Array:
        """Mean of x and of V; the latter inf where the degrees are at most `p + 1`."""
        return _join(_mean(theta), self._covariances.mean(self._law(theta)))

    def variance(self, theta: NormalInverseWishartPoint) -> Array:
        """Variance of each entry of x and of V; inf where the degrees are too few."""
        law = self._law(theta)
        diagonal = jnp.diagonal(self._covariances.mean(law), 0, -2, -1)
        spread = -0.5 * diagonal / theta.x_inverse_v_x[..., None]
        return _join(spread, self._covariances.variance(law))

    def mode(self, theta: NormalInverseWishartPoint) -> Array:
        mean, _, dof, scale = self.params_from_natural(theta)
        return _join(mean, scale / (dof + self.dim + 2)[..., None, None])

    def _fit(self, x: Array, weights: Array | None) -> NormalInverseWishartPoint:
        x, v = _split(x)
        factor = cholesky(v)
        inverse = symmetric_inverse(factor)
        precision = cholesky(weighted_mean(inverse, weights))
        push = weighted_mean(jnp.einsum("...ij,...j->...i", inverse, x), weights)
        mean = cho_solve(precision, push[..., None])[..., 0]
        white = solve_triangular(factor, (x - mean[None])[..., None])
        spread = weighted_mean(jnp.sum(white**2, axis=(-2, -1)), weights)
        # Constant data leave only the rounding of the mean: no spread at all.
        size = jnp.einsum("...ij,...i->...j", precision, jnp.abs(mean))
        noise = jnp.sum((4 * self.dim * jnp.finfo(spread.dtype).eps * size) ** 2, axis=-1)
        law = self._covariances._fit(v, weights)
        return self._natural(mean, self.dim / jnp.where(spread > noise, spread, 0.0), law)

    def _draw(self, key, theta, shape):
        first, second = jax.random.split(key)
        root = self._covariances._draw_root(first, self._law(theta), shape)
        transposed = jnp.swapaxes(root, -1, -2)
        noise = jax.random.normal(second, (*shape, self.dim), root.dtype)
        colored = jnp.einsum("...ij,...j->...i", transposed, noise)
        x = _mean(theta) + colored * jax.lax.rsqrt(-2 * theta.x_inverse_v_x)[..., None]
        return _join(x, symmetrized(transposed @ root))

    def _law(self, theta: NormalInverseWishartPoint) -> InverseWishartPoint:
        """Law of V: `S = -2 theta_2 - k m m^T`."""
        outer = theta.inverse_v_x[..., :, None] * theta.inverse_v_x[..., None, :]
        scale = -theta.inverse_v + 0.25 * outer / theta.x_inverse_v_x[..., None, None]
        return InverseWishartPoint(theta.log_det_v + 0.5 * (self.dim + 2), -scale)

    def _natural(
        self, mean: Array, concentration: Array, law: InverseWishartPoint
    ) -> NormalInverseWishartPoint:
        push = concentration[..., None] * mean
        outer = symmetrized(push[..., :, None] * mean[..., None, :])
        return NormalInverseWishartPoint(
            law.log_det_x - 0.5 * (self.dim + 2),
            law.inverse_x - 0.5 * outer,
            push,
            -0.5 * concentration,
        )


def _split(x: Array) -> tuple[Array, Array]:
    """Means and covariances of observations."""
    return x[..., 0], x[..., 1:]


def _join(mean: Array, covariance: Array) -> Array:
    return jnp.concatenate([mean[..., None], covariance], axis=-1)


def _mean(theta: NormalInverseWishartPoint) -> Array:
    return -0.5 * theta.inverse_v_x / theta.x_inverse_v_x[..., None]
