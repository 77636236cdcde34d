"""Cholesky factors and triangular systems against dense algebra, in values and derivatives."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.numerics import cho_solve, cholesky, solve_triangular

SIZES = [0, 1, 2, 5, 8, 9]  # unrolled up to 8, LAPACK's beyond


def positive(size, dtype="float64", batch=(3,)):
    half = jax.random.normal(jax.random.key(size), (*batch, size, 2 * size), dtype)
    return half @ jnp.swapaxes(half, -1, -2)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("size", SIZES)
def test_factors_and_solutions(size, dtype):
    matrix, eps = positive(size, dtype), np.finfo(dtype).eps
    factor = jax.jit(cholesky)(matrix)
    assert factor.dtype == dtype
    np.testing.assert_array_equal(factor, np.tril(factor))
    exact = np.asarray(factor, float)
    trace = np.trace(matrix, axis1=-2, axis2=-1)[:, None, None]
    assert (np.abs(exact @ exact.swapaxes(-1, -2) - matrix) <= 4 * eps * trace).all()
    columns = jax.random.normal(jax.random.key(0), (3, size, 2), dtype)
    # What stands above the diagonal does not count.
    filled = factor + jnp.triu(jnp.ones((size, size), dtype), 1)[None]
    for found, lower in (
        (solve_triangular(filled, columns), exact),
        (solve_triangular(filled, columns, transposed=True), exact.swapaxes(-1, -2)),
        (cho_solve(factor, columns), exact @ exact.swapaxes(-1, -2)),
    ):
        assert found.dtype == dtype
        scale = np.abs(lower) @ np.abs(np.asarray(found, float))
        assert (np.abs(lower @ np.asarray(found, float) - columns) <= 16 * eps * scale).all()


@pytest.mark.parametrize("size", SIZES[1:])
def test_what_is_not_positive_definite_has_no_factor(size):
    good, bad = jnp.eye(size), jnp.eye(size).at[-1, -1].set(-1.0)
    first = jnp.eye(size).at[0, 0].set(-1.0)
    factors = cholesky(jnp.stack([good, bad, jnp.maximum(bad, 0.0), first, good * jnp.nan]))
    assert np.isfinite(factors[0]).all()
    assert np.isnan(np.diagonal(factors[1:], 0, -2, -1)).all()


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3])
def test_derivatives(size):
    matrix, step = positive(size), positive(size + 1)[:, :size, :size]
    columns = jax.random.normal(jax.random.key(1), (3, size, 2))

    def scalar(factorize, solve, solve_transposed):
        def value(t):
            factor = factorize(matrix + t * step)
            solved = solve_transposed(factor, jnp.sin(solve(factor, columns + t)))
            return jnp.sum(solved**2) + jnp.sum(jnp.cos(factor))

        return value

    ours = scalar(cholesky, solve_triangular, lambda a, b: solve_triangular(a, b, transposed=True))
    lapack = jax.scipy.linalg.solve_triangular
    theirs = scalar(
        jnp.linalg.cholesky,
        lambda a, b: lapack(a, b, lower=True),
        lambda a, b: lapack(a, b, lower=True, trans="T"),
    )
    at = jnp.asarray(0.1)
    for derived in (
        jax.grad,
        lambda f: jax.jacfwd(jax.grad(f)),
        lambda f: jax.grad(jax.hessian(f)),
    ):
        np.testing.assert_allclose(
            jax.jit(derived(ours))(at), jax.jit(derived(theirs))(at), rtol=1e-9
        )


def test_the_derivative_is_that_of_the_symmetric_part():
    slope = jax.jacrev(cholesky)(positive(3, batch=()))
    np.testing.assert_array_equal(slope, jnp.swapaxes(slope, -1, -2))


@pytest.mark.parametrize("function", [cholesky, lambda a: cho_solve(a, a)])
def test_small_ones_take_nothing_of_lapack(function):
    for derived in (function, jax.jacfwd(jax.jacrev(function))):
        program = jax.jit(jax.vmap(derived)).lower(positive(3)).as_text()
        assert "custom_call" not in program
    assert "custom_call" in jax.jit(function).lower(positive(9)).as_text()
