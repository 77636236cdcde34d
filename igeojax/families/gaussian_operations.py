"""What one does with normal vectors: marginals, conditionals, images, sums, products, distances."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.covariance import precision_factor, symmetrized_point
from igeojax.numerics.positive_definite import log_det, symmetric_inverse
from igeojax.numerics.safe import sqrt_at_zero
from igeojax.numerics.triangular import cholesky, solve_triangular


class GaussianOperations:
    """Operations of `MultivariateNormal`, which return natural parameters of that family.

    Examples:
      >>> from igeojax.families import MultivariateNormal
      >>> issubclass(MultivariateNormal, GaussianOperations)
      True
    """

    dim: int
    Point: Any
    params_from_natural: Any
    natural_from_params: Any
    _point: Any
    _aligned: Any
    _data: Any

    def marginal(self, theta: Any, kept: ArrayLike) -> Any:
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
          >>> from igeojax.families import MultivariateNormal
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
        theta = symmetrized_point(theta)
        # Precision of the marginal: the Schur complement L_11 - L_12 L_22^{-1} L_21.
        cross = theta.xx[..., dropped[:, None], kept[None, :]]
        factor = cholesky(-2 * theta.xx[..., dropped[:, None], dropped[None, :]])
        half = solve_triangular(factor, -2 * cross)
        shift = solve_triangular(factor, theta.x[..., dropped, None])
        transposed = jnp.swapaxes(half, -1, -2)
        return self.Point(
            theta.x[..., kept] - (transposed @ shift)[..., 0],
            theta.xx[..., kept[:, None], kept[None, :]] + 0.5 * transposed @ half,
        )

    def conditional(self, theta: Any, observed: ArrayLike, values: ArrayLike) -> Any:
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
          >>> from igeojax.families import MultivariateNormal
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
        theta = symmetrized_point(theta)
        values = checks.floating("values", values)
        checks.require_trailing_shape("values", values, (self.dim,))
        cross = theta.xx[..., free[:, None], seen[None, :]]
        shift = jnp.einsum("...ij,...j->...i", cross, values[..., seen])
        batch = jnp.broadcast_shapes(theta.x.shape[:-1], values.shape[:-1])
        size = free.size
        block = theta.xx[..., free[:, None], free[None, :]]
        return self.Point(
            jnp.broadcast_to(theta.x[..., free], (*batch, size)) + 2 * shift,
            jnp.broadcast_to(block, (*batch, size, size)),
        )

    def _filled(self, x: ArrayLike) -> Array:
        x = self._data(x)
        return jnp.where(jnp.isnan(x), 0.0, x)

    def _observed_log_density(self, theta: Any, x: ArrayLike) -> Array:
        theta, x = self._aligned(theta, x)
        seen = ~jnp.isnan(x)
        mean, covariance = self.params_from_natural(theta)
        gap = jnp.where(seen, jnp.where(seen, x, mean) - mean, 0.0)
        # The covariance of the observed entries, the identity in the place of the others.
        factor = cholesky(_masked(covariance, seen, seen) + _diagonal(~seen, covariance.dtype))
        possible = ~jnp.isinf(x).any(axis=-1)
        gap = jnp.where(possible[..., None], gap, 0.0)
        white = solve_triangular(factor, gap[..., None])
        norm = math.log(2 * math.pi) * jnp.sum(seen, axis=-1)
        value = -0.5 * (jnp.sum(white**2, axis=(-2, -1)) + log_det(factor) + norm)
        return jnp.where(possible, value, -jnp.inf)

    def _expected_statistics(self, theta: Any, x: ArrayLike) -> Any:
        theta, x = self._aligned(theta, x)
        seen = ~jnp.isnan(x)
        theta = symmetrized_point(theta)
        mean, precision = self.params_from_natural(theta).mean, -2 * theta.xx
        gap = jnp.where(seen, jnp.where(seen, x, mean) - mean, 0.0)
        # Conditioning selects the block of the precision: its inverse cannot cancel.
        factor = cholesky(_masked(precision, ~seen, ~seen) + _diagonal(seen, precision.dtype))
        covariance = _masked(symmetric_inverse(factor), ~seen, ~seen)
        push = jnp.where(seen, 0.0, jnp.einsum("...ij,...j->...i", precision, gap))
        shift = jnp.einsum("...ij,...j->...i", covariance, push)
        known = jnp.where(seen, x, mean - shift)
        return self.Point(known, known[..., :, None] * known[..., None, :] + covariance)

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

    def affine(self, theta: Any, matrix: ArrayLike, offset: ArrayLike = 0.0) -> Any:
        """Law of the image `A x + b`.

        The factor of `A S A^T` comes from a QR decomposition of `A` times a factor of S, which
        never squares the condition.

        Args:
          theta: natural parameter.
          matrix: A, shape `(rows, dim)` of full rank, `rows <= dim`.
          offset: b, shape `(..., rows)` or a scalar.

        Returns:
          Natural parameter of `MultivariateNormal(rows)`.

        Raises:
          TypeError: an argument is not real.
          ValueError: A has another shape, or a concrete A no full rank.

        Examples:
          >>> from igeojax.families import MultivariateNormal
          >>> family = MultivariateNormal(2)
          >>> theta = family.natural_from_params(mean=jnp.ones(2), covariance=jnp.eye(2))
          >>> total = family.affine(theta, jnp.array([[1.0, 1.0]]))
          >>> [round(v.item(), 6) for v in MultivariateNormal(1).params_from_natural(total)]
          [2.0, 2.0]
        """
        theta = self._point(theta)
        matrix, offset = checks.floating_together(matrix=matrix, offset=offset)
        if matrix.ndim != 2 or matrix.shape[1] != self.dim or matrix.shape[0] > self.dim:
            raise ValueError(
                f"matrix must have shape (rows, {self.dim}) with at most {self.dim} rows; got "
                f"{matrix.shape}. A taller image has no density."
            )
        mean, factor = self._mean_and_factor(theta)
        image = jnp.einsum("ij,...j->...i", matrix, mean)
        upper = jnp.linalg.qr(jnp.einsum("ij,...jk->...ki", matrix, factor), mode="r")
        sign = jnp.where(jnp.diagonal(upper, 0, -2, -1) < 0, -1.0, 1.0)
        lower = jnp.swapaxes(upper, -1, -2) * sign[..., None, :].astype(upper.dtype)
        image = image + jnp.broadcast_to(offset, image.shape)
        return type(self)(matrix.shape[0]).natural_from_params(mean=image, scale_tril=lower)  # type: ignore[call-arg]

    def _mean_and_factor(self, theta: Any) -> tuple[Array, Array]:
        """The mean, and a matrix L^{-T} whose square is the covariance."""
        factor = precision_factor(theta)
        identity = jnp.broadcast_to(jnp.eye(self.dim, dtype=factor.dtype), factor.shape)
        inverse = solve_triangular(factor, identity)
        root = jnp.swapaxes(inverse, -1, -2)
        return jnp.einsum("...ij,...jk,...k->...i", root, inverse, theta.x), root

    def convolution(self, theta: Any, other: Any) -> Any:
        """Law of the sum of two independent vectors: means and covariances add.

        Args:
          theta: natural parameter.
          other: natural parameter.

        Returns:
          Natural parameter of the sum.

        Raises:
          TypeError: an argument is not a point of this family.

        Examples:
          >>> from igeojax.families import MultivariateNormal
          >>> family = MultivariateNormal(1)
          >>> theta = family.natural_from_params(mean=jnp.ones(1), covariance=jnp.eye(1))
          >>> total = family.params_from_natural(family.convolution(theta, theta))
          >>> [round(v.item(), 6) for v in total]
          [2.0, 2.0]
        """
        one = self.params_from_natural(self._point(theta))
        two = self.params_from_natural(self._point(other))
        return self.natural_from_params(one.mean + two.mean, one.covariance + two.covariance)

    def product(self, theta: Any, other: Any) -> Any:
        """Law of density proportional to the product of two: natural parameters add.

        The normaliser is `psi(theta + other) - psi(theta) - psi(other)`, in log.

        Args:
          theta: natural parameter.
          other: natural parameter.

        Returns:
          Natural parameter of the normalised product.

        Raises:
          TypeError: an argument is not a point of this family.

        Examples:
          >>> from igeojax.families import MultivariateNormal
          >>> family = MultivariateNormal(1)
          >>> theta = family.natural_from_params(mean=jnp.ones(1), covariance=jnp.eye(1))
          >>> both = family.params_from_natural(family.product(theta, theta))
          >>> [round(v.item(), 6) for v in both]
          [1.0, 0.5]
        """
        return jax.tree.map(jnp.add, self._point(theta), self._point(other))

    def mahalanobis(self, theta: Any, x: ArrayLike) -> Float[Array, "*batch"]:
        """Mahalanobis distance `sqrt((x - m)^T S^-1 (x - m))`, by a triangular product.

        Args:
          theta: natural parameter; its batch axes broadcast against those of `x`.
          x: observations of shape `(..., dim)`.

        Returns:
          Distances, in standard deviations; at the mean the gradient is 0 by convention.

        Raises:
          TypeError: `theta` is not a point of this family or `x` is not real.
          ValueError: `x` has another length.

        Examples:
          >>> from igeojax.families import MultivariateNormal
          >>> family = MultivariateNormal(1)
          >>> theta = family.natural_from_params(mean=jnp.ones(1), covariance=4 * jnp.eye(1))
          >>> float(family.mahalanobis(theta, jnp.array([5.0])))
          2.0
        """
        theta, x = self._aligned(theta, x)
        mean, _ = self._mean_and_factor(theta)
        white = jnp.einsum("...i,...ij->...j", x - mean, precision_factor(theta))
        return sqrt_at_zero(jnp.sum(white**2, axis=-1))


def _masked(matrix: Array, rows: Array, columns: Array) -> Array:
    return jnp.where(rows[..., :, None] & columns[..., None, :], matrix, 0.0)


def _diagonal(mask: Array, dtype: Any) -> Array:
    size = mask.shape[-1]
    identity = jnp.eye(size, dtype=dtype).reshape((1,) * (mask.ndim - 1) + (size, size))
    return jnp.where(mask[..., None], identity, 0.0)
