"""Small systems against dense algebra."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.numerics import block_tridiagonal_solve, small_solve


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", [1, 2, 5])
def test_small_solve(size, dtype):
    matrix, columns = jax.random.normal(jax.random.key(size), (2, 3, size, size), dtype)
    # Without exchange of rows the first pivot is 0.
    matrix = matrix.at[0, 0, 0].set(0.0 if size > 1 else 1.0)
    found = jax.jit(jax.vmap(small_solve))(matrix, columns)
    assert found.dtype == dtype
    residual = np.asarray(matrix, float) @ np.asarray(found, float) - np.asarray(columns)
    size_of = np.abs(np.asarray(matrix)) @ np.abs(np.asarray(found))
    assert (np.abs(residual) <= 64 * np.finfo(dtype).eps * size_of).all()


def test_it_can_be_transposed():
    matrix = jax.random.normal(jax.random.key(0), (3, 3))
    columns = jax.random.normal(jax.random.key(1), (3, 2))
    (back,) = jax.linear_transpose(lambda c: small_solve(matrix, c), columns)(columns)
    np.testing.assert_allclose(back, np.linalg.solve(matrix.T, columns), rtol=1e-11)


def test_a_singular_matrix_has_no_solution():
    assert not np.isfinite(small_solve(jnp.ones((2, 2)), jnp.eye(2))).all()


@pytest.mark.parametrize(
    "count", [2, *(pytest.param(count, marks=pytest.mark.slow) for count in (1, 7))]
)
def test_block_tridiagonal_solve(count):
    lower, diagonal, upper = jax.random.normal(jax.random.key(count), (3, count, 3, 3))
    diagonal = diagonal + 8 * jnp.eye(3)[None]
    values = jax.random.normal(jax.random.key(1), (count, 3))
    dense = np.zeros((count, 3, count, 3))
    for i in range(count):
        dense[i, :, i] = diagonal[i]
        if i > 0:
            dense[i, :, i - 1] = lower[i]
        if i < count - 1:
            dense[i, :, i + 1] = upper[i]
    expected = np.linalg.solve(dense.reshape(3 * count, -1), np.ravel(values)).reshape(count, 3)
    # Both modes, for fixed matrices.
    solve = lambda v: block_tridiagonal_solve(lower, diagonal, upper, v)
    program = jax.jit(lambda v: (solve(v), jax.jacfwd(solve)(v), jax.jacrev(solve)(v)))
    found, forward, reverse = program(values)
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    np.testing.assert_allclose(forward, reverse, rtol=1e-12, atol=1e-15)
