"""Cholesky factors and triangular systems, small ones without LAPACK.

Up to eight rows the elimination is unrolled into array operations, which are several times faster
for batches, and cannot hang: jaxlib shares a batch of LAPACK's triangular solves among the threads
of its pool by a thread of that pool, which waits; on few cores two of them can wait for ever
(jaxlib 0.10.2, seen in `vmap` of third derivatives and in loops). Larger ones are LAPACK's.
"""

import functools

import jax
import jax.numpy as jnp
from jax.scipy.linalg import solve_triangular as _lapack_solve
from jaxtyping import Array, Float

MOST_UNROLLED = 8
"""Most rows that are eliminated without LAPACK."""


@jax.custom_jvp
def cholesky(matrix: Float[Array, "*batch n n"]) -> Float[Array, "*batch n n"]:
    """Lower triangular `L` with `A = L L^T` of the symmetric part of A.

    `n^3 / 3` operations. The derivative takes no derivative of the elimination.

    Args:
      matrix: symmetric matrices on the last two axes.

    Returns:
      The factors; nan where a matrix is not positive definite.

    References:
      [GolubVanLoan2013] section 4.2 (outer product form).

    Examples:
      >>> cholesky(jnp.array([[4.0, 2.0], [2.0, 2.0]])).tolist()
      [[2.0, 0.0], [1.0, 1.0]]
    """
    n = matrix.shape[-1]
    if not 0 < n <= MOST_UNROLLED:
        return jnp.linalg.cholesky(matrix)
    rest, columns = 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2)), []
    for k in range(n):
        column = rest[..., :, 0] / jnp.sqrt(rest[..., :1, 0])
        columns.append(jnp.pad(column, [(0, 0)] * (matrix.ndim - 2) + [(k, 0)]))
        rest = rest[..., 1:, 1:] - column[..., 1:, None] * column[..., None, 1:]
    factor = jnp.stack(columns, axis=-1)
    # A pivot that is not positive makes all after it nan.
    return jnp.where(jnp.isfinite(factor[..., -1:, -1:]), factor, jnp.nan)


@cholesky.defjvp
def _cholesky_jvp(primals, tangents):
    factor, (step,) = cholesky(*primals), tangents
    half = solve_triangular(factor, 0.5 * (step + jnp.swapaxes(step, -1, -2)))
    white = solve_triangular(factor, jnp.swapaxes(half, -1, -2))
    return factor, factor @ (0.5 * (jnp.tril(white) + jnp.tril(white, -1)))


def solve_triangular(
    factor: Float[Array, "*batch n n"],
    columns: Float[Array, "*batch n m"],
    *,
    transposed: bool = False,
) -> Float[Array, "*batch n m"]:
    """Solution `L^{-1} B`, or `L^{-T} B`, for a lower triangular L.

    `n^2 m` operations; what stands above the diagonal of L does not count.

    Args:
      factor: lower triangular.
      columns: right-hand sides, of the same batch shape.
      transposed: whether to solve with the transpose.

    Returns:
      The solutions.

    References:
      [GolubVanLoan2013] section 3.1 (forward substitution by columns).

    Examples:
      >>> solve_triangular(jnp.array([[2.0, 0.0], [1.0, 1.0]]), jnp.array([[4.0], [3.0]])).tolist()
      [[2.0], [1.0]]
    """
    if not 0 < factor.shape[-1] <= MOST_UNROLLED:
        return _lapack_solve(factor, columns, lower=True, trans="T" if transposed else "N")
    return _substituted(transposed, factor, columns)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _substituted(transposed: bool, factor: Array, columns: Array) -> Array:
    if transposed:  # An upper triangular system, read from its last corner, is a lower one.
        factor = jnp.swapaxes(factor, -1, -2)[..., ::-1, ::-1]
        return _substituted(False, factor, columns[..., ::-1, :])[..., ::-1, :]
    rows, rest = [], columns
    for k in range(factor.shape[-1]):
        row = rest[..., 0, :] / factor[..., k, k, None]
        rows.append(row)
        rest = rest[..., 1:, :] - factor[..., k + 1 :, k, None] * row[..., None, :]
    return jnp.stack(rows, axis=-2)


@_substituted.defjvp
def _substituted_jvp(transposed, primals, tangents):
    factor, columns = primals
    solution, step = _substituted(transposed, factor, columns), jnp.tril(tangents[0])
    step = jnp.swapaxes(step, -1, -2) if transposed else step
    return solution, _substituted(transposed, factor, tangents[1] - step @ solution)


def cho_solve(
    factor: Float[Array, "*batch n n"], columns: Float[Array, "*batch n m"]
) -> Float[Array, "*batch n m"]:
    """Solution `(L L^T)^{-1} B` for a lower triangular L.

    Args:
      factor: lower triangular, such as `cholesky` gives.
      columns: right-hand sides, of the same batch shape.

    Returns:
      The solutions.

    Examples:
      >>> cho_solve(2 * jnp.eye(1), jnp.ones((1, 1))).tolist()
      [[0.25]]
    """
    return solve_triangular(factor, solve_triangular(factor, columns), transposed=True)
