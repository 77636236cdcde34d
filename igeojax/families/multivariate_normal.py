"""The multivariate normal family of full covariance."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.covariance import (
    checked_mean_covariance,
    ledoit_wolf_shrinkage,
    mean_covariance_parts,
    precision_factor,
    scale_entropy,
    symmetrized_point,
)
from igeojax.families.frames import MatrixFrames
from igeojax.families.gaussian_operations import GaussianOperations
from igeojax.numerics.positive_definite import (
    log_det,
    log_det_change_remainder,
    log_det_ratio,
    symmetric_inverse,
)
from igeojax.numerics.triangular import cho_solve, cholesky, solve_triangular
from igeojax.numerics.weighting import weighted_mean


class MultivariateNormalPoint(NamedTuple):
    """Leaves: the statistics `x` and `x x^T`; the latter stays a symmetric matrix."""

    x: Float[Array, "*batch dim"]
    xx: Float[Array, "*batch dim dim"]


class MultivariateNormalParams(NamedTuple):
    """Mean vector and covariance matrix."""

    mean: Float[Array, "*batch dim"]
    covariance: Float[Array, "*batch dim dim"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class MultivariateNormal(
    MatrixFrames,
    GaussianOperations,
    ExponentialFamily[MultivariateNormalPoint, MultivariateNormalParams],
):
    """`dim` correlated coordinates: `T = (x, x x^T)`, `theta = (L m, -L/2)`, L the precision.

    `psi = m^T L m / 2 - log det(L) / 2 + d log(2 pi) / 2`, by the Cholesky factor of L: a
    log-density costs one triangular product a point and never an inverse. Symmetric matrices pair
    by the trace.

    Args:
      dim: number of coordinates.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 1`.

    References:
      [WainwrightJordan2008] example 3.3 (Gaussian Markov random field).

    Examples:
      >>> import jax.numpy as jnp
      >>> family = MultivariateNormal(2)
      >>> theta = family.natural_from_params(mean=jnp.zeros(2), covariance=jnp.eye(2))
      >>> round(float(family.log_density(theta, jnp.zeros(2))), 6)
      -1.837877
    """

    dim: int

    Point = MultivariateNormalPoint
    Params = MultivariateNormalParams
    conjugate_prior = "NormalInverseWishart"
    is_linear = True

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def point_shape(self):
        return ((self.dim,), (self.dim, self.dim))

    @property
    def event_shape(self):
        return (self.dim,)

    def statistics(self, x: ArrayLike) -> MultivariateNormalPoint:
        data: Array = self._data(x)
        return MultivariateNormalPoint(data, data[..., :, None] * data[..., None, :])

    def statistics_sum(self, x: Array, weights: Array) -> MultivariateNormalPoint:
        return MultivariateNormalPoint(weights @ x, (weights[:, None] * x).T @ x)

    def columns(self, x: Array) -> Array:
        z, (row, column) = x.T, np.triu_indices(self.dim)
        return jnp.concatenate([z, z[row] * z[column]])

    def coefficients(self, theta: MultivariateNormalPoint) -> Array:
        row, column = np.triu_indices(self.dim)
        twice = jnp.asarray(np.where(row == column, 1, 2), theta.xx.dtype)
        # Both halves, so that the gradient is symmetric as the matrix is.
        half = 0.5 * (theta.xx[row, column] + theta.xx[column, row])
        return jnp.concatenate([theta.x, twice * half])

    def from_columns(self, sums: Array) -> MultivariateNormalPoint:
        row, column = np.triu_indices(self.dim)
        place = np.zeros((self.dim, self.dim), int)
        place[row, column] = place[column, row] = self.dim + np.arange(row.size)
        return MultivariateNormalPoint(sums[: self.dim], sums[place])

    def log_partition(self, theta: MultivariateNormalPoint) -> Array:
        factor = precision_factor(theta)
        white = solve_triangular(factor, theta.x[..., None])
        norm = 0.5 * self.dim * math.log(2 * math.pi)
        return 0.5 * jnp.sum(white**2, axis=(-2, -1)) - 0.5 * log_det(factor) + norm

    def mean_from_natural(self, theta: MultivariateNormalPoint) -> MultivariateNormalPoint:
        self.batch_shape(theta)
        mean, covariance = self.params_from_natural(theta)
        return MultivariateNormalPoint(mean, covariance + mean[..., :, None] * mean[..., None, :])

    def natural_from_mean(self, eta: MultivariateNormalPoint) -> MultivariateNormalPoint:
        covariance = eta.xx - eta.x[..., :, None] * eta.x[..., None, :]
        return _natural(eta.x, cholesky(covariance))

    def natural_from_params(
        self,
        mean: ArrayLike,
        covariance: ArrayLike | None = None,
        *,
        precision: ArrayLike | None = None,
        scale_tril: ArrayLike | None = None,
    ) -> MultivariateNormalPoint:
        """Natural parameter of a mean and one of covariance, precision, or Cholesky factor.

        Args:
          mean: shape `(..., dim)`.
          covariance: symmetric positive definite, shape `(..., dim, dim)`.
          precision: inverse covariance, likewise.
          scale_tril: lower Cholesky factor of the covariance, positive diagonal.

        Returns:
          The natural parameter.

        Raises:
          TypeError: not exactly one of the three matrices is given, or a value is not real.
          ValueError: wrong shapes, or concrete values that are not finite, not symmetric, not
            positive definite, or not lower triangular.
        """
        given = {"covariance": covariance, "precision": precision, "scale_tril": scale_tril}
        given = {name: matrix for name, matrix in given.items() if matrix is not None}
        if len(given) != 1:
            raise TypeError(
                f"{self} needs exactly one of covariance, precision and scale_tril; got "
                f"{sorted(given) or 'none'}. Pass one of them."
            )
        (name,) = given
        mean, matrix = checks.floating_together(mean=mean, **given)
        checks.require_trailing_shape("mean", mean, (self.dim,))
        checks.require_trailing_shape(name, matrix, (self.dim, self.dim))
        checks.require_finite("mean", mean)
        batch = jnp.broadcast_shapes(mean.shape[:-1], matrix.shape[:-2])
        mean = jnp.broadcast_to(mean, (*batch, self.dim))
        matrix = jnp.broadcast_to(matrix, (*batch, self.dim, self.dim))
        if name == "scale_tril":
            checks.require_positive("the diagonal of scale_tril", jnp.diagonal(matrix, 0, -2, -1))
            checks.require_finite("scale_tril", matrix)
            checks.require_values(
                "the entries of scale_tril above the diagonal",
                jnp.triu(matrix, 1),
                lambda above: above == 0,
                "zero",
                "Transpose an upper factor; pass the matrix itself as covariance=.",
            )
            return _natural(mean, jnp.tril(matrix))
        checks.require_positive_definite(name, matrix)
        if name == "covariance":
            return _natural(mean, cholesky(matrix))
        return MultivariateNormalPoint(jnp.einsum("...ij,...j->...i", matrix, mean), -0.5 * matrix)

    def params_from_natural(self, theta: MultivariateNormalPoint) -> MultivariateNormalParams:
        factor = precision_factor(theta)
        mean = cho_solve(factor, theta.x[..., None])[..., 0]
        return MultivariateNormalParams(mean, symmetric_inverse(factor))

    def in_natural_domain(self, theta: MultivariateNormalPoint) -> Array:
        diagonal = jnp.diagonal(precision_factor(theta), 0, -2, -1)
        return jnp.isfinite(theta.x).all(axis=-1) & (jnp.isfinite(diagonal)).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x)).all(axis=-1)

    def _entropy(self, theta: MultivariateNormalPoint) -> Array:
        return 0.5 * self.dim * math.log(2 * math.pi * math.e) - 0.5 * log_det(
            precision_factor(theta)
        )

    def _bregman(
        self,
        theta: MultivariateNormalPoint,
        other: MultivariateNormalPoint,
        step: MultivariateNormalPoint,
    ) -> Array:
        # KL(other || theta) = [tr C - log det(I + C)] / 2 + |L^{-1} push|^2 / 2 where I + C is the
        # precision of `theta` whitened by `other`; C and push are differences of naturals.
        factor, other_factor = precision_factor(theta), precision_factor(other)
        step = symmetrized_point(step)
        mean = cho_solve(other_factor, other.x[..., None])
        push = step.x[..., None] + 2 * step.xx @ mean
        gap = solve_triangular(factor, push)
        half = solve_triangular(other_factor, -2 * step.xx)
        ratio = log_det_ratio(factor, other_factor)
        change = solve_triangular(other_factor, jnp.swapaxes(half, -1, -2))
        return 0.5 * (log_det_change_remainder(change, ratio) + jnp.sum(gap**2, axis=(-2, -1)))

    def _source_parts(self, p: MultivariateNormalParams, q: MultivariateNormalParams, order: Array):
        both = checked_mean_covariance(*p, self.dim), checked_mean_covariance(*q, self.dim)
        return mean_covariance_parts(*both, order)

    def _source_entropy(self, params: MultivariateNormalParams) -> Array:
        _, covariance = checked_mean_covariance(*params, self.dim)
        factor = cholesky(covariance)
        return scale_entropy(jnp.diagonal(factor, 0, -2, -1)).sum(axis=-1)

    def mean(self, theta: MultivariateNormalPoint) -> Array:
        return self.params_from_natural(theta).mean

    def variance(self, theta: MultivariateNormalPoint) -> Array:
        return jnp.diagonal(self.params_from_natural(theta).covariance, 0, -2, -1)

    def mode(self, theta: MultivariateNormalPoint) -> Array:
        return self.mean(theta)

    def fit(
        self,
        x: ArrayLike,
        weights: ArrayLike | None = None,
        *,
        covariance_regularization: ArrayLike = 0.0,
        shrinkage: ArrayLike | str = 0.0,
    ) -> MultivariateNormalPoint:
        """Maximum likelihood, or its ridge: weighted mean and centred covariance.

        Args:
          x: observations of shape `(N, *batch, dim)`; axis 0 is averaged.
          weights: non-negative, shape `(N,)`. None weighs all alike.
          covariance_regularization: added to the diagonal of the covariance, in squared units of
            the data; it or `shrinkage` is needed where `N <= dim` or a column is constant.
          shrinkage: share in `[0, 1]` of `mean(variances) * identity` in the covariance, or
            `"ledoit-wolf"`: the share of least expected squared error, estimated from the data
            (unweighted, a single batch).

        References:
          [LedoitWolf2004] section 3.

        Returns:
          Natural parameter of the estimate.

        Raises:
          TypeError: `x` is not numeric.
          ValueError: as for every family; and `N <= dim`, or a singular covariance, without
            regularization.

        Examples:
          >>> import jax.numpy as jnp
          >>> family = MultivariateNormal(2)
          >>> x = jnp.array([[0.0, 0.0], [2.0, 0.0], [0.0, 2.0], [2.0, 2.0]])
          >>> family.params_from_natural(family.fit(x)).covariance.round(6).tolist()
          [[1.0, 0.0], [0.0, 1.0]]
        """
        x, weights = self._fit_arguments(x, weights)
        name, remedy = "covariance_regularization", "It is added to the diagonal; try 1e-6."
        checks.require_values(name, covariance_regularization, lambda v: v >= 0, ">= 0", remedy)
        ridge = checks.concrete(covariance_regularization)
        share = self._share(x, weights, shrinkage)
        shrunk = checks.concrete(share)
        shrunk = shrunk is None or bool((shrunk > 0).all())
        seen = None if weights is None else checks.concrete(weights)
        count = x.shape[0] if seen is None else int((seen > 0).sum())
        if ridge is not None and ridge == 0 and not shrunk and count <= self.dim:
            raise ValueError(
                f"a full covariance in {self.dim} dimensions needs more than {self.dim} "
                f"observations of positive weight; got {count}. Pass covariance_regularization > 0 "
                "or shrinkage='ledoit-wolf', or fit a DiagonalNormal."
            )
        return self._checked_estimate(self._fit(x, weights, covariance_regularization, share))

    def _share(self, x: Array, weights: Array | None, shrinkage: ArrayLike | str) -> Array:
        if not isinstance(shrinkage, str):
            remedy = "0 is maximum likelihood, 1 keeps only the mean variance."
            inside = lambda v: (v >= 0) & (v <= 1)
            checks.require_values("shrinkage", shrinkage, inside, "in [0, 1]", remedy)
            return jnp.asarray(shrinkage, x.dtype)
        checks.require_option("shrinkage", shrinkage, ("ledoit-wolf",))
        if weights is not None or x.ndim != 2:
            raise ValueError(
                "shrinkage='ledoit-wolf' needs unweighted data of shape (N, dim); got "
                f"{'weights' if weights is not None else x.shape}. Pass a number, or use jax.vmap."
            )
        return ledoit_wolf_shrinkage(x)

    def _fit(
        self,
        x: Array,
        weights: Array | None,
        covariance_regularization: ArrayLike = 0.0,
        shrinkage: ArrayLike = 0.0,
    ) -> MultivariateNormalPoint:
        mean = weighted_mean(x, weights)
        centred = x - mean[None]
        if weights is None:
            scaled = centred / x.shape[0]
        else:
            scaled = centred * _trailing(weights.astype(x.dtype), x.ndim)
        covariance = jnp.einsum("n...i,n...j->...ij", scaled, centred)
        share = jnp.asarray(shrinkage, x.dtype)
        level = jnp.trace(covariance, axis1=-2, axis2=-1)[..., None, None] / self.dim
        target = level * jnp.broadcast_to(jnp.eye(self.dim, dtype=x.dtype), covariance.shape)
        covariance = (1 - share) * covariance + share * target
        ridge = jnp.asarray(covariance_regularization, x.dtype) * jnp.eye(self.dim, dtype=x.dtype)
        covariance = covariance + jnp.broadcast_to(ridge, covariance.shape)
        factor = cholesky(covariance)
        # Of dependent columns rounding leaves a pivot of this size: no covariance at all.
        noise = self.dim * jnp.finfo(x.dtype).eps * jnp.diagonal(covariance, 0, -2, -1)
        noise = noise + (4 * jnp.finfo(x.dtype).eps * mean) ** 2
        sound = (jnp.diagonal(factor, 0, -2, -1) ** 2 > noise).all(axis=-1)
        return _natural(mean, jnp.where(sound[..., None, None], factor, jnp.nan))

    def _log_density(self, theta: MultivariateNormalPoint, x: Array) -> Array:
        batch = theta.x.shape[:-1]
        if math.prod(batch) == 1:  # one matrix product for all points, not one for each
            theta = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[len(batch) :]), theta)
        factor = precision_factor(theta)
        mean = cho_solve(factor, theta.x[..., None])[..., 0]
        centred = x - mean.reshape((1,) * (x.ndim - mean.ndim) + mean.shape)
        white = centred @ factor if factor.ndim == 2 else jnp.einsum("...i,...ij", centred, factor)
        norm = 0.5 * self.dim * math.log(2 * math.pi)
        return 0.5 * log_det(factor) - norm - 0.5 * jnp.sum(white**2, axis=-1)

    def _draw(self, key, theta, shape):
        factor = precision_factor(theta)
        mean = cho_solve(factor, theta.x[..., None])[..., 0]
        noise = jax.random.normal(key, (*shape, self.dim), theta.x.dtype)
        factor = jnp.broadcast_to(factor, (*shape, self.dim, self.dim))
        colored = solve_triangular(factor, noise[..., None], transposed=True)[..., 0]
        return jnp.broadcast_to(mean, colored.shape) + colored


def _natural(mean: Array, scale_tril: Array) -> MultivariateNormalPoint:
    precision = symmetric_inverse(scale_tril)
    return MultivariateNormalPoint(cho_solve(scale_tril, mean[..., None])[..., 0], -0.5 * precision)


def _trailing(weights: Array, rank: int) -> Array:
    return weights.reshape(weights.shape + (1,) * (rank - 1))
