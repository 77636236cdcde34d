"""Symmetric positive definite matrices with the metric that no change of basis alters."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold
from igeojax.numerics.positive_definite import is_positive_definite, symmetrized, whitened
from igeojax.numerics.rows import norm_at_zero
from igeojax.numerics.symmetric import (
    change_log,
    change_log_norm,
    change_log_square,
    spectral_matrix,
    symmetric_exp,
)
from igeojax.numerics.triangular import cholesky


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class SymmetricPositiveDefinite(Manifold):
    """Symmetric positive definite matrices with the affine-invariant metric `tr(P^-1 U P^-1 V)`.

    Distance `|log(P^-1/2 Q P^-1/2)|`, unchanged under `P -> A P A^T` and under inverses; `1/sqrt 2`
    of it is the Fisher-Rao distance of normal laws of one mean. Complete, of curvature at most 0.
    Computed in the basis of a Cholesky factor, from `Q - P` where the two are near, by one
    eigendecomposition, `O(dim^3)`; derivatives are right at repeated eigenvalues. The smallest
    eigenvalue of a matrix is stored to `eps` of its largest, and so is all that depends on it.

    `retract` is `P + U + U P^-1 U / 2`, of second order and positive definite. `project_point`
    takes the symmetric part and raises eigenvalues to `dim eps` of the largest; in derivatives what
    it adds is constant.

    Args:
      dim: number of rows.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: it is below 1.

    References:
      [PennecFillardAyache2006] section 3; [Skovgaard1984].

    Examples:
      >>> spd = SymmetricPositiveDefinite(2)
      >>> p, q = jnp.eye(2), jnp.diag(jnp.array([jnp.e, 1 / jnp.e]))
      >>> round(spd.distance(p, q).item(), 6)  # sqrt 2
      1.414214
      >>> bool(jnp.allclose(spd.geodesic(p, q, 1.0), q, atol=1e-6))
      True
    """

    dim: int

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.dim, self.dim)

    @property
    def dimension(self) -> int:
        return self.dim * (self.dim + 1) // 2

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        factor = cholesky(x)
        return jnp.sum(whitened(factor, u) * whitened(factor, v), axis=(-2, -1))

    def _norm(self, x: Array, u: Array) -> Array:
        white = whitened(cholesky(x), u)
        return norm_at_zero(white.reshape((*white.shape[:-2], -1)))

    def _distance(self, x: Array, y: Array) -> Array:
        factor = cholesky(x)
        return change_log_norm(whitened(factor, y - x), whitened(factor, y))

    def _squared_distance(self, x: Array, y: Array) -> Array:
        factor = cholesky(x)
        return change_log_square(whitened(factor, y - x), whitened(factor, y))

    def _exp(self, x: Array, u: Array) -> Array:
        factor = cholesky(x)
        return _colored(factor, symmetric_exp(whitened(factor, u)))

    def _log(self, x: Array, y: Array) -> Array:
        factor = cholesky(x)
        return _colored(factor, change_log(whitened(factor, y - x), whitened(factor, y)))

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        factor = cholesky(x)
        way = change_log(whitened(factor, y - x), whitened(factor, y))
        root = symmetric_exp(0.5 * way)
        return _colored(factor @ root, whitened(factor, u))

    def _retract(self, x: Array, u: Array) -> Array:
        factor = cholesky(x)
        white = whitened(factor, u)
        return x + symmetrized(u) + 0.5 * _colored(factor, white @ white)

    def _project_point(self, ambient: Array) -> Array:
        matrix = symmetrized(ambient)
        values, vectors = jnp.linalg.eigh(jax.lax.stop_gradient(matrix))
        checks.require_positive(
            "the largest eigenvalue of each matrix",
            values[..., -1],
            "A matrix without positive eigenvalue has no definite one near it.",
        )
        floor = self.dim * float(jnp.finfo(ambient.dtype).eps) * values[..., -1:]
        return matrix + spectral_matrix(vectors, jnp.maximum(floor - values, 0.0))

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        return symmetrized(ambient)

    def _riemannian_gradient(self, x: Array, gradient: Array) -> Array:
        return symmetrized(x @ symmetrized(gradient) @ x)

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        return symmetric_exp(_normal(key, (*shape, *self.point_shape), dtype))

    def _random_tangent(self, key: Array, x: Array) -> Array:
        return _colored(cholesky(x), _normal(key, x.shape, x.dtype))

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        return is_positive_definite(x)


def _colored(factor: Array, white: Array) -> Array:
    """`L W L^T`, of which `whitened` is the inverse."""
    return symmetrized(factor @ white @ jnp.swapaxes(factor, -1, -2))


def _normal(key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
    # Off-diagonal entries, a root of 2 times in the norm, have the variance 1/2 they should have.
    return symmetrized(jax.random.normal(key, shape, dtype))
