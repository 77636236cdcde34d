"""Conjugate gradients against dense solves, and where the system is not definite."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import discrete
from igeojax.numerics import conjugate_gradient


def dense_product(matrix):
    return lambda v: matrix @ v


def positive_definite(seed: int, size: int, dtype: str = "float64") -> np.ndarray:
    root = np.random.default_rng(seed).normal(size=(size, size))
    return (root @ root.T / size + np.eye(size)).astype(dtype)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float64", 1e-12), ("float32", 1e-6)])
def test_dense_system(dtype, tolerance):
    matrix = positive_definite(0, 30, dtype)
    rhs = np.random.default_rng(1).normal(size=30).astype(dtype)
    solve = jax.jit(
        lambda a, b: conjugate_gradient(dense_product(a), b, tolerance=tolerance, max_iterations=90)
    )
    x, info = solve(matrix, rhs)
    assert x.dtype == dtype
    assert info.converged
    assert info.residual <= tolerance
    assert 5 < info.num_steps < 90
    expected = np.linalg.solve(matrix.astype(float), rhs.astype(float))
    np.testing.assert_allclose(x, expected, atol=20 * tolerance * np.abs(expected).max())
    # The reported residual is the real one.
    real = np.linalg.norm(matrix.astype(float) @ np.asarray(x, float) - rhs) / np.linalg.norm(rhs)
    assert real <= 4 * tolerance


def test_exact_after_as_many_steps_as_eigenvalues():
    matrix = jnp.diag(jnp.array([1.0, 1.0, 5.0, 5.0, 9.0]))
    _, info = conjugate_gradient(dense_product(matrix), jnp.ones(5), tolerance=1e-10)
    assert int(info.num_steps) == 3


def test_stops_at_the_last_iteration_and_says_so():
    matrix = positive_definite(3, 20)
    x, info = conjugate_gradient(
        dense_product(matrix), jnp.ones(20), tolerance=1e-12, max_iterations=2
    )
    assert int(info.num_steps) == 2
    assert not info.converged
    np.testing.assert_allclose(
        info.residual, np.linalg.norm(np.ones(20) - matrix @ x) / np.sqrt(20), rtol=1e-10
    )


def test_zero_right_hand_side():
    x, info = conjugate_gradient(dense_product(jnp.eye(3)), jnp.zeros(3))
    assert (x == 0).all()
    assert info.converged
    assert int(info.num_steps) == 0
    assert info.residual == 0


def test_singular_consistent_system_gives_the_minimum_norm_solution():
    random = np.random.default_rng(4)
    root = random.normal(size=(12, 5))
    matrix = root @ root.T
    rhs = matrix @ random.normal(size=12)
    x, info = conjugate_gradient(
        dense_product(jnp.asarray(matrix)), jnp.asarray(rhs), tolerance=1e-10
    )
    assert info.converged
    np.testing.assert_allclose(x, np.linalg.pinv(matrix) @ rhs, atol=1e-8)


def test_singular_inconsistent_system_stays_finite():
    matrix = jnp.array([[1.0, 1.0], [1.0, 1.0]])
    x, info = conjugate_gradient(dense_product(matrix), jnp.array([1.0, 0.0]), tolerance=1e-8)
    assert jnp.isfinite(x).all()
    assert not info.converged
    assert info.residual > 0.1


@pytest.mark.parametrize("diagonal", [[0.0, 0.0], [-1.0, -1.0], [1.0, -1.0]])
def test_no_curvature_is_no_nan(diagonal):
    x, info = conjugate_gradient(lambda v: jnp.array(diagonal) * v, jnp.ones(2))
    assert jnp.isfinite(x).all()
    assert jnp.isfinite(info.residual)
    assert not info.converged


def test_nan_is_not_hidden():
    x, info = conjugate_gradient(lambda v: 2 * v, jnp.array([1.0, jnp.nan]))
    assert jnp.isnan(x).any()
    assert not info.converged


def test_pytrees():
    tree = {"w": jnp.arange(1.0, 5.0).reshape(2, 2), "b": jnp.array(3.0)}
    scale = {"w": jnp.array([[1.0, 2.0], [3.0, 4.0]]), "b": jnp.array(0.5)}
    x, info = conjugate_gradient(
        lambda v: jax.tree.map(jnp.multiply, scale, v), tree, tolerance=1e-12
    )
    assert info.converged
    expected = jax.tree.map(jnp.divide, tree, scale)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-10), x, expected)


def test_vmap_solves_each_system_on_its_own():
    matrices = jnp.stack([jnp.asarray(positive_definite(seed, 6)) for seed in range(4)])
    matrices = matrices.at[2].set(jnp.eye(6))
    rhs = jnp.stack([jnp.ones(6), jnp.zeros(6), jnp.arange(1.0, 7.0), -jnp.ones(6)])
    solve = lambda a, b: conjugate_gradient(dense_product(a), b, tolerance=1e-11)
    x, info = jax.jit(jax.vmap(solve))(matrices, rhs)
    np.testing.assert_allclose(x, np.linalg.solve(matrices, rhs[..., None])[..., 0], atol=1e-9)
    assert info.converged.all()
    assert int(info.num_steps[1]) == 0
    assert int(info.num_steps[2]) == 1


@pytest.mark.parametrize("size", [4, 4096])
def test_products_of_a_softmax_fisher_matrix(size):
    """The derivative along a constant zero is garbage in XLA on CPU at this size (jaxlib 0.10.2).

    A product with the damped Fisher matrix of a softmax, by jvp and vjp as natural gradients take
    it, inside jit: the closed form of the inverse is independent of both.
    """
    logits = jax.random.normal(jax.random.key(0), (size,))
    rhs = jax.random.normal(jax.random.key(1), (size,))
    damping = 1e-2

    @jax.jit
    def solve(logits, rhs):
        def product(v):
            _, flow = jax.jvp(discrete.softmax, (logits,), (v,))
            return flow + damping * v

        return conjugate_gradient(product, rhs, tolerance=1e-10, max_iterations=300)

    x, info = solve(logits, rhs)
    assert info.converged
    # (D - p p^T)^{-1} with D = diag(p) + damping, by Sherman and Morrison.
    p = np.exp(np.asarray(logits) - np.asarray(logits).max())
    p /= p.sum()
    inverse = 1 / (p + damping)
    expected = inverse * rhs + inverse * p * (p @ (inverse * rhs)) / (1 - p @ (inverse * p))
    np.testing.assert_allclose(x, expected, atol=1e-7 * np.abs(expected).max())
