"""The multivariate normal family of full covariance."""

import dataclasses
import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import cho_solve, solve_triangular
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.covariance import (
    checked_mean_covariance,
    half_log_det,
    log_det_change_remainder,
    mean_covariance_parts,
    scale_entropy,
)
from igeojax.families.weighting import weighted_mean


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
class MultivariateNormal(ExponentialFamily[MultivariateNormalPoint, MultivariateNormalParams]):
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

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def point_shape(self):
        return ((self.dim,), (self.dim, self.dim))

    @property
    def event_shape(self):
        return (self.dim,)

    def statistics(self, x: ArrayLike) -> MultivariateNormalPoint:
        x = self._data(x)
        return MultivariateNormalPoint(x, x[..., :, None] * x[..., None, :])

    def log_partition(self, theta: MultivariateNormalPoint) -> Array:
        factor = _precision_factor(theta)
        white = solve_triangular(factor, theta.x[..., None], lower=True)
        norm = 0.5 * self.dim * math.log(2 * math.pi)
        return 0.5 * jnp.sum(white**2, axis=(-2, -1)) - half_log_det(factor) + norm

    def mean_from_natural(self, theta: MultivariateNormalPoint) -> MultivariateNormalPoint:
        self.batch_shape(theta)
        mean, covariance = self.params_from_natural(theta)
        return MultivariateNormalPoint(mean, covariance + mean[..., :, None] * mean[..., None, :])

    def natural_from_mean(self, eta: MultivariateNormalPoint) -> MultivariateNormalPoint:
        covariance = eta.xx - eta.x[..., :, None] * eta.x[..., None, :]
        return _natural(eta.x, jnp.linalg.cholesky(covariance))

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
          ValueError: wrong shapes, or concrete values that are not finite, not symmetric, or not
            positive definite.
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
            return _natural(mean, jnp.tril(matrix))
        checks.require_positive_definite(name, matrix)
        if name == "covariance":
            return _natural(mean, jnp.linalg.cholesky(matrix))
        return MultivariateNormalPoint(jnp.einsum("...ij,...j->...i", matrix, mean), -0.5 * matrix)

    def params_from_natural(self, theta: MultivariateNormalPoint) -> MultivariateNormalParams:
        factor = _precision_factor(theta)
        mean = cho_solve((factor, True), theta.x[..., None])[..., 0]
        return MultivariateNormalParams(mean, _symmetric_inverse(factor))

    def in_natural_domain(self, theta: MultivariateNormalPoint) -> Array:
        diagonal = jnp.diagonal(_precision_factor(theta), 0, -2, -1)
        return jnp.isfinite(theta.x).all(axis=-1) & (jnp.isfinite(diagonal)).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x)).all(axis=-1)

    def _entropy(self, theta: MultivariateNormalPoint) -> Array:
        return 0.5 * self.dim * math.log(2 * math.pi * math.e) - half_log_det(
            _precision_factor(theta)
        )

    def _bregman(
        self,
        theta: MultivariateNormalPoint,
        other: MultivariateNormalPoint,
        step: MultivariateNormalPoint,
    ) -> Array:
        # KL(other || theta) = [tr C - log det(I + C)] / 2 + |L^{-1} push|^2 / 2 where I + C is the
        # precision of `theta` whitened by `other`; C and push are differences of naturals.
        factor, other_factor = _precision_factor(theta), _precision_factor(other)
        step = _symmetrized(step)
        mean = cho_solve((other_factor, True), other.x[..., None])
        push = step.x[..., None] + 2 * step.xx @ mean
        gap = solve_triangular(factor, push, lower=True)
        half = solve_triangular(other_factor, -2 * step.xx, lower=True)
        log_det = 2 * (half_log_det(factor) - half_log_det(other_factor))
        change = solve_triangular(other_factor, jnp.swapaxes(half, -1, -2), lower=True)
        return 0.5 * (log_det_change_remainder(change, log_det) + jnp.sum(gap**2, axis=(-2, -1)))

    def _source_parts(self, p: MultivariateNormalParams, q: MultivariateNormalParams, order: Array):
        both = checked_mean_covariance(*p, self.dim), checked_mean_covariance(*q, self.dim)
        return mean_covariance_parts(*both, order)

    def _source_entropy(self, params: MultivariateNormalParams) -> Array:
        _, covariance = checked_mean_covariance(*params, self.dim)
        factor = jnp.linalg.cholesky(covariance)
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
    ) -> MultivariateNormalPoint:
        """Maximum likelihood, or its ridge: weighted mean and centred covariance.

        Args:
          x: observations of shape `(N, *batch, dim)`; axis 0 is averaged.
          weights: non-negative, shape `(N,)`. None weighs all alike.
          covariance_regularization: added to the diagonal of the covariance, in squared units of
            the data; needed where `N <= dim` or a column is constant.

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
        seen = None if weights is None else checks.concrete(weights)
        count = x.shape[0] if seen is None else int((seen > 0).sum())
        if ridge is not None and ridge == 0 and count <= self.dim:
            raise ValueError(
                f"a full covariance in {self.dim} dimensions needs more than {self.dim} "
                f"observations of positive weight; got {count}. Pass covariance_regularization > 0 "
                "or fit a DiagonalNormal."
            )
        return self._checked_estimate(self._fit(x, weights, covariance_regularization))

    def _fit(
        self, x: Array, weights: Array | None, covariance_regularization: ArrayLike = 0.0
    ) -> MultivariateNormalPoint:
        mean = weighted_mean(x, weights)
        centred = x - mean[None]
        if weights is None:
            scaled = centred / x.shape[0]
        else:
            scaled = centred * _trailing(weights.astype(x.dtype), x.ndim)
        covariance = jnp.einsum("n...i,n...j->...ij", scaled, centred)
        ridge = jnp.asarray(covariance_regularization, x.dtype) * jnp.eye(self.dim, dtype=x.dtype)
        covariance = covariance + jnp.broadcast_to(ridge, covariance.shape)
        factor = jnp.linalg.cholesky(covariance)
        # Of dependent columns rounding leaves a pivot of this size: no covariance at all.
        noise = self.dim * jnp.finfo(x.dtype).eps * jnp.diagonal(covariance, 0, -2, -1)
        noise = noise + (4 * jnp.finfo(x.dtype).eps * mean) ** 2
        sound = (jnp.diagonal(factor, 0, -2, -1) ** 2 > noise).all(axis=-1)
        return _natural(mean, jnp.where(sound[..., None, None], factor, jnp.nan))

    def marginal(self, theta: MultivariateNormalPoint, kept: ArrayLike) -> MultivariateNormalPoint:
        """Marginal law of some coordinates, in the order of the axes.

        Args:
          theta: natural parameter.
          kept: static boolean mask of shape `(dim,)`; at least one True.

        Returns:
          Natural parameter of `MultivariateNormal(kept.sum())`.

        Raises:
          TypeError: `kept` is traced or not boolean.
          ValueError: `kept` has a wrong shape or keeps nothing.

        Examples:
          >>> import jax.numpy as jnp
          >>> family = MultivariateNormal(2)
          >>> theta = family.natural_from_params(
          ...     mean=jnp.array([1.0, -2.0]), covariance=jnp.array([[2.0, 0.8], [0.8, 1.0]])
          ... )
          >>> part = family.marginal(theta, [True, False])
          >>> round(MultivariateNormal(1).params_from_natural(part).covariance.item(), 6)
          2.0
        """
        theta = self._point(theta)
        kept, dropped = self._split(kept, "kept")
        theta = _symmetrized(theta)
        # Precision of the marginal: the Schur complement L_11 - L_12 L_22^{-1} L_21.
        cross = theta.xx[..., dropped[:, None], kept[None, :]]
        factor = jnp.linalg.cholesky(-2 * theta.xx[..., dropped[:, None], dropped[None, :]])
        half = solve_triangular(factor, -2 * cross, lower=True)
        shift = solve_triangular(factor, theta.x[..., dropped, None], lower=True)
        transposed = jnp.swapaxes(half, -1, -2)
        return MultivariateNormalPoint(
            theta.x[..., kept] - (transposed @ shift)[..., 0],
            theta.xx[..., kept[:, None], kept[None, :]] + 0.5 * transposed @ half,
        )

    def conditional(
        self, theta: MultivariateNormalPoint, observed: ArrayLike, values: ArrayLike
    ) -> MultivariateNormalPoint:
        """Law of the remaining coordinates given the observed ones.

        In natural coordinates conditioning only selects: the block of the precision, and a shift
        of `theta.x`; no Schur complement is solved.

        Args:
          theta: natural parameter.
          observed: static boolean mask of shape `(dim,)`; at least one False.
          values: full-length values, shape `(..., dim)`; entries not observed are ignored.

        Returns:
          Natural parameter of `MultivariateNormal((~observed).sum())`.

        Raises:
          TypeError: `observed` is traced or not boolean, or `values` are not real.
          ValueError: `observed` has a wrong shape or leaves nothing, or `values` a wrong length.

        Examples:
          >>> import jax.numpy as jnp
          >>> family = MultivariateNormal(2)
          >>> theta = family.natural_from_params(
          ...     mean=jnp.array([1.0, -2.0]), covariance=jnp.array([[2.0, 0.8], [0.8, 1.0]])
          ... )
          >>> rest = family.conditional(theta, [False, True], jnp.array([0.0, -1.0]))
          >>> [round(v.item(), 6) for v in MultivariateNormal(1).params_from_natural(rest)]
          [1.8, 1.36]
        """
        theta = self._point(theta)
        seen, free = self._split(observed, "observed", "leave at least one coordinate free")
        theta = _symmetrized(theta)
        values = checks.floating("values", values)
        checks.require_trailing_shape("values", values, (self.dim,))
        cross = theta.xx[..., free[:, None], seen[None, :]]
        shift = jnp.einsum("...ij,...j->...i", cross, values[..., seen])
        batch = jnp.broadcast_shapes(theta.x.shape[:-1], values.shape[:-1])
        size = free.size
        block = theta.xx[..., free[:, None], free[None, :]]
        return MultivariateNormalPoint(
            jnp.broadcast_to(theta.x[..., free], (*batch, size)) + 2 * shift,
            jnp.broadcast_to(block, (*batch, size, size)),
        )

    def _split(
        self, mask: ArrayLike, name: str, need: str = "keep at least one coordinate"
    ) -> tuple[np.ndarray, np.ndarray]:
        """Indices where a static mask is True and where it is False.

        Raises:
          TypeError: the mask is traced or not boolean.
          ValueError: it has a wrong shape, or the part that is needed is empty.
        """
        seen = checks.concrete(mask)
        if seen is None or seen.dtype != bool:
            found = "a traced array" if seen is None else f"dtype {seen.dtype}"
            raise TypeError(
                f"{name} must be a static boolean mask; got {found}. It decides the shape of the "
                "result: pass a list of booleans."
            )
        chosen, rest = np.flatnonzero(seen), np.flatnonzero(~seen)
        if seen.shape != (self.dim,) or (chosen if name == "kept" else rest).size == 0:
            raise ValueError(
                f"{name} must have shape ({self.dim},) and {need}; got shape {seen.shape} with "
                f"{chosen.size} True. Mark every coordinate once."
            )
        return chosen, rest

    def _log_density(self, theta: MultivariateNormalPoint, x: Array) -> Array:
        batch = theta.x.shape[:-1]
        if math.prod(batch) == 1:  # one matrix product for all points, not one for each
            theta = jax.tree.map(lambda leaf: leaf.reshape(leaf.shape[len(batch) :]), theta)
        factor = _precision_factor(theta)
        mean = cho_solve((factor, True), theta.x[..., None])[..., 0]
        centred = x - mean.reshape((1,) * (x.ndim - mean.ndim) + mean.shape)
        white = centred @ factor if factor.ndim == 2 else jnp.einsum("...i,...ij", centred, factor)
        norm = 0.5 * self.dim * math.log(2 * math.pi)
        return half_log_det(factor) - norm - 0.5 * jnp.sum(white**2, axis=-1)

    def _draw(self, key, theta, shape):
        factor = _precision_factor(theta)
        mean = cho_solve((factor, True), theta.x[..., None])[..., 0]
        noise = jax.random.normal(key, (*shape, self.dim), theta.x.dtype)
        factor = jnp.broadcast_to(factor, (*shape, self.dim, self.dim))
        colored = solve_triangular(factor, noise[..., None], lower=True, trans="T")[..., 0]
        return jnp.broadcast_to(mean, colored.shape) + colored


def _precision_factor(theta: MultivariateNormalPoint) -> Array:
    """Lower Cholesky factor of the precision; nan where it is not positive definite."""
    return jnp.linalg.cholesky(-2 * theta.xx)


def _symmetrized(point: MultivariateNormalPoint) -> MultivariateNormalPoint:
    """The same point; gradients through it are symmetric, as those of a symmetric matrix are."""
    return point._replace(xx=0.5 * (point.xx + jnp.swapaxes(point.xx, -1, -2)))


def _symmetric_inverse(factor: Array) -> Array:
    """Inverse of `factor factor^T`, exactly symmetric; only where the inverse is the answer."""
    identity = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    inverse = solve_triangular(factor, identity, lower=True)
    return jnp.swapaxes(inverse, -1, -2) @ inverse


def _natural(mean: Array, scale_tril: Array) -> MultivariateNormalPoint:
    precision = _symmetric_inverse(scale_tril)
    return MultivariateNormalPoint(
        cho_solve((scale_tril, True), mean[..., None])[..., 0], -0.5 * precision
    )


def _trailing(weights: Array, rank: int) -> Array:
    return weights.reshape(weights.shape + (1,) * (rank - 1))
