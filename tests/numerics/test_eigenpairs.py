"""Largest eigenpairs from products, against numpy."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.numerics.eigenpairs import top_eigenpairs


@functools.cache
def pairs(rank):
    return jax.jit(
        lambda matrix, key: top_eigenpairs(
            key, lambda v: matrix @ v, matrix.shape[0], rank, dtype=matrix.dtype
        )
    )


def rotated(values):
    basis = np.linalg.qr(np.random.default_rng(1).normal(size=(len(values), len(values))))[0]
    return basis * np.asarray(values) @ basis.T


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_falling_spectrum(dtype):
    values = 0.5 ** np.arange(60.0)
    found, vectors = pairs(5)(jnp.asarray(rotated(values), dtype), jax.random.key(0))
    eps = float(jnp.finfo(dtype).eps)
    np.testing.assert_allclose(found, values[:5], rtol=2e3 * eps)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=50 * eps)
    residual = rotated(values) @ vectors - vectors * found[None]
    assert np.abs(residual).max() < (1e-5 if dtype == "float32" else 1e-10)


def test_repeated_values_and_low_rank():
    found, _ = pairs(5)(jnp.asarray(rotated([3.0] * 3 + [0.0] * 9)), jax.random.key(0))
    np.testing.assert_allclose(found, [3, 3, 3, 0, 0], atol=1e-13)
    none, vectors = pairs(5)(jnp.zeros((12, 12)), jax.random.key(0))
    np.testing.assert_array_equal(none, 0)
    np.testing.assert_allclose(vectors.T @ vectors, np.eye(5), atol=1e-14)


def test_all_of_a_small_matrix():
    matrix = rotated([4.0, 3.0, 0.5])
    found, vectors = pairs(3)(jnp.asarray(matrix), jax.random.key(0))
    np.testing.assert_allclose(found, [4.0, 3.0, 0.5], rtol=1e-12)
    np.testing.assert_allclose(vectors * found[None] @ vectors.T, matrix, atol=1e-13)


def test_errors():
    for rank, message in (
        (4, "rank must be at most the dimension 3"),
        (0, "rank must be at least"),
    ):
        with pytest.raises(ValueError, match=message):
            top_eigenpairs(jax.random.key(0), lambda v: v, 3, rank)
