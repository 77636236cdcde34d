"""Symmetric positive definite matrices on the last two axes, by their Cholesky factors."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax.numerics.remainders import log_det_remainder
from igeojax.numerics.triangular import cholesky, solve_triangular


def is_positive_definite(x: ArrayLike) -> Bool[Array, "*batch"]:
    """Whether matrices are symmetric to rounding and have a Cholesky factor.

    Args:
      x: matrices on the last two axes.

    Returns:
      True where they are.

    Examples:
      >>> is_positive_definite(jnp.eye(2)).item()
      True
    """
    x = jnp.asarray(x)
    x = x if jnp.issubdtype(x.dtype, jnp.floating) else x.astype(float)
    size = jnp.max(jnp.abs(x), axis=(-2, -1))
    skew = jnp.max(jnp.abs(x - jnp.swapaxes(x, -1, -2)), axis=(-2, -1))
    definite = jnp.isfinite(cholesky(x)).all(axis=(-2, -1))
    return jnp.isfinite(size) & (skew <= 8 * jnp.finfo(x.dtype).eps * size) & definite


def log_det(factor: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch"]:
    """Log-determinant of `factor factor^T` for a triangular factor.

    Args:
      factor: triangular with a positive diagonal.

    Returns:
      The log-determinant.

    Examples:
      >>> log_det(jnp.eye(2)).item()
      0.0
    """
    return 2 * jnp.sum(jnp.log(jnp.diagonal(factor, 0, -2, -1)), axis=-1)


def log_det_ratio(
    factor: Float[Array, "*batch dim dim"], other: Float[Array, "*batch dim dim"]
) -> Float[Array, "*batch"]:
    """`log_det(factor) - log_det(other)` from the ratios of the diagonals: large logs cancel there.

    Args:
      factor: triangular with a positive diagonal.
      other: likewise.

    Returns:
      The log-determinant of the ratio.

    Examples:
      >>> log_det_ratio(1e10 * jnp.eye(2), 1e10 * jnp.eye(2)).item()
      0.0
    """
    ratios = jnp.diagonal(factor, 0, -2, -1) / jnp.diagonal(other, 0, -2, -1)
    return 2 * jnp.sum(jnp.log(ratios), axis=-1)


def symmetrized(matrix: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch dim dim"]:
    """Symmetric part; gradients through it are symmetric.

    Args:
      matrix: square matrices.

    Returns:
      `(A + A^T) / 2`.

    Examples:
      >>> symmetrized(jnp.array([[1.0, 2.0], [0.0, 1.0]])).tolist()
      [[1.0, 1.0], [1.0, 1.0]]
    """
    return 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))


def symmetric_inverse(factor: Float[Array, "*batch dim dim"]) -> Float[Array, "*batch dim dim"]:
    """Inverse of `factor factor^T`, exactly symmetric, for a lower triangular factor.

    Args:
      factor: lower triangular.

    Returns:
      The inverse.

    Examples:
      >>> symmetric_inverse(2 * jnp.eye(1)).tolist()
      [[0.25]]
    """
    identity = jnp.broadcast_to(jnp.eye(factor.shape[-1], dtype=factor.dtype), factor.shape)
    inverse = solve_triangular(factor, identity)
    return symmetrized(jnp.swapaxes(inverse, -1, -2) @ inverse)


def whitened(
    factor: Float[Array, "*batch dim dim"], matrix: Float[Array, "*batch dim dim"]
) -> Float[Array, "*batch dim dim"]:
    """`L^{-1} A L^{-T}` of a symmetric matrix, for a lower triangular `L` of the same batch.

    Args:
      factor: lower triangular.
      matrix: symmetric.

    Returns:
      The whitened matrix, symmetric.

    Examples:
      >>> whitened(2 * jnp.eye(1), jnp.eye(1)).tolist()
      [[0.25]]
    """
    half = solve_triangular(factor, matrix)
    return symmetrized(solve_triangular(factor, jnp.swapaxes(half, -1, -2)))


def log_det_change_remainder(change: Array, direct: Array) -> Array:
    """Remainder `tr(C) - log det(I + C)` of a symmetric C, near 0 and far from it.

    Args:
      change: C, shape `(..., d, d)`.
      direct: `log det(I + C)` by factors, which is right where C is far from 0; where an
        eigenvalue of C is near -1 those of C itself have lost its digits.

    Returns:
      The remainder, shape `(...)`, not negative.

    Examples:
      >>> round(float(log_det_change_remainder(jnp.eye(1), jnp.log(2.0))), 6)
      0.306853
    """
    near = jnp.sum(change**2, axis=(-2, -1)) < 0.25
    close = log_det_remainder(jnp.where(near[..., None, None], change, 0.0))
    return jnp.where(near, close, jnp.trace(change, axis1=-2, axis2=-1) - direct)
