"""Linear systems of small dense blocks, without LAPACK.

jaxlib shares a batch of LAPACK's triangular solves among the threads of its pool by a thread of
that pool, which waits; in a loop on few cores two of them can wait for ever (jaxlib 0.10.2).
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float


def small_solve(matrix: Float[Array, "n n"], columns: Float[Array, "n m"]) -> Float[Array, "n m"]:
    """Solution of a small dense system, by Gauss-Jordan elimination with exchange of rows.

    `n` steps of `n (n + m)` operations; batches by `jax.vmap`.

    Args:
      matrix: square.
      columns: right-hand sides.

    Returns:
      The solutions; not finite where the matrix is singular.

    References:
      [GolubVanLoan2013] section 3.4 (exchange of rows).

    Examples:
      >>> small_solve(jnp.array([[0.0, 2.0], [1.0, 0.0]]), jnp.array([[4.0], [3.0]])).tolist()
      [[3.0], [2.0]]
    """
    size = matrix.shape[0]

    def pivot(k: Array, work: tuple[Array, Array]) -> tuple[Array, Array]:
        column = work[0][:, k]
        best = jnp.argmax(jnp.where(jnp.arange(size) < k, -1.0, jnp.abs(column)))
        factors = column.at[best].set(column[k]).at[k].set(0.0)

        def eliminated(side: Array) -> Array:
            row = side[best] / column[best]
            return (side.at[best].set(side[k]) - factors[:, None] * row[None]).at[k].set(row)

        # The columns stay linear in themselves, so that the solution can be transposed.
        left, right = work
        return eliminated(left), eliminated(right)

    return jax.lax.fori_loop(0, size, pivot, (matrix, columns))[1]


def block_tridiagonal_solve(
    lower: Float[Array, "k n n"],
    diagonal: Float[Array, "k n n"],
    upper: Float[Array, "k n n"],
    values: Float[Array, "k n"],
) -> Float[Array, "k n"]:
    """Solution of `lower_i x_{i-1} + diagonal_i x_i + upper_i x_{i+1} = values_i`.

    One elimination forth and one substitution back, `k` steps of `n^3`. Rows are exchanged within
    blocks only: for systems whose diagonal blocks lead, as those of second differences.

    Args:
      lower: blocks below the diagonal; the first does not count.
      diagonal: blocks of the diagonal.
      upper: blocks above the diagonal; the last does not count.
      values: right-hand side, a row for each block.

    Returns:
      The solution.

    References:
      [GolubVanLoan2013] section 4.5 (block tridiagonal systems).

    Examples:
      >>> ones = jnp.ones((3, 1, 1))  # second differences, of a straight line with ends 0 and 4
      >>> values = jnp.array([[0.0], [0.0], [4.0]])
      >>> block_tridiagonal_solve(-ones, 2 * ones, -ones, values).round(6).tolist()
      [[1.0], [2.0], [3.0]]
    """
    size = values.shape[1]

    def eliminate(carry: tuple[Array, Array], row: Any) -> Any:
        left, middle, right, value = row
        ratio, part = carry
        columns = jnp.concatenate([right, (value - left @ part)[:, None]], axis=1)
        solved = small_solve(middle - left @ ratio, columns)
        after = solved[:, :-1], solved[:, -1]
        return after, after

    def substitute(after: Array, row: Any) -> Any:
        ratio, part = row
        value = part - ratio @ after
        return value, value

    zero = jnp.zeros(size, values.dtype)
    start = jnp.zeros((size, size), values.dtype), zero
    _, rows = jax.lax.scan(eliminate, start, (lower, diagonal, upper, values))
    return jax.lax.scan(substitute, zero, rows, reverse=True)[1]
