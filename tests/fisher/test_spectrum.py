"""Eigenpairs, spectral density and solves by products, against dense algebra."""

import functools

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher
from igeojax.numerics.conjugate_gradient import conjugate_gradient
from tests.fisher.models import CASES, draw_inputs

CASE, INPUTS = CASES["Categorical"], draw_inputs(30)
ARGUMENTS = CASE.predict, CASE.family, CASE.params, INPUTS
LINEAR = families.NormalKnownScale()
linear = lambda w, x: LINEAR.natural_from_params(loc=x @ w)


@functools.cache
def matrix():
    weights = jnp.full(INPUTS.shape[0], 1 / INPUTS.shape[0])
    return np.asarray(jax.jit(CASE.fisher_matrix)(CASE.params, INPUTS, weights))


def test_eigenpairs_are_those_of_the_matrix():
    values, vectors = np.linalg.eigh(matrix())
    found = fisher.fisher_eigenpairs(jax.random.key(0), *ARGUMENTS, rank=3, chunk_size=7)
    np.testing.assert_allclose(found.values, values[::-1][:3], rtol=1e-9)
    overlap = np.abs(np.asarray(found.vectors).T @ vectors[:, ::-1][:, :3])
    np.testing.assert_allclose(overlap, np.eye(3), atol=1e-6)


def test_repeated_eigenvalues_are_all_found():
    # Two equal heads: each eigenvalue twice, which the Krylov space of one vector cannot see.
    family = families.Product((LINEAR, LINEAR))
    x = draw_inputs(5)
    predict = lambda w, x: family.Point(linear(w[0], x), linear(w[1], x))
    arguments = predict, family, jnp.zeros((2, 2)), x
    found = fisher.fisher_eigenpairs(jax.random.key(0), *arguments, rank=4)
    expected = np.repeat(np.linalg.eigvalsh(np.asarray(x.T @ x) / 5)[::-1], 2)
    np.testing.assert_allclose(found.values, expected, rtol=1e-10)
    np.testing.assert_allclose(found.vectors.T @ found.vectors, np.eye(4), atol=1e-12)


def test_a_low_rank_is_exact():
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, 40)))
    found = fisher.fisher_eigenpairs(jax.random.key(0), linear, LINEAR, jnp.zeros(40), x, rank=3)
    low = found.vectors * found.values[None] @ found.vectors.T
    np.testing.assert_allclose(low, x.T @ x / 2, atol=1e-12)
    assert float(found.values[2]) < 1e-12


@pytest.mark.parametrize("damping", [1e-3, 1.0])
def test_the_spectral_density_integrates_functions(damping):
    density = fisher.fisher_spectral_density(jax.random.key(1), *ARGUMENTS, num_samples=300)
    size = len(matrix())
    np.testing.assert_allclose(density.weights.sum(), 1.0, rtol=1e-12)
    for function in (lambda v: v, lambda v: np.log(v + damping), lambda v: v / (v + damping)):
        samples = size * 300 * (np.asarray(density.weights) * function(density.nodes)).sum(1)
        expected = function(np.maximum(np.linalg.eigvalsh(matrix()), 0)).sum()
        assert abs(samples.mean() - expected) < 5 * samples.std() / np.sqrt(300)
        assert samples.std() > 0


@pytest.mark.parametrize("rank", [1, 2])
def test_the_density_of_a_low_rank_has_no_noise(rank):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(rank, 12)))
    density = fisher.fisher_spectral_density(jax.random.key(0), linear, LINEAR, jnp.zeros(12), x)
    values = np.append(np.linalg.eigvalsh(np.asarray(x @ x.T) / rank), 0)
    kept = np.asarray(density.nodes)[np.asarray(density.weights) > 1e-10]
    distance = np.abs(kept[:, None] - values[None]).min(1)
    assert distance.max() < 1e-9
    assert np.isfinite(density.nodes).all()
    flat = fisher.fisher_spectral_density(
        jax.random.key(0), linear, LINEAR, jnp.zeros(3), jnp.zeros((1, 3))
    )
    assert not np.asarray(flat.nodes).any()
    np.testing.assert_allclose(flat.weights.sum(), 1, rtol=1e-12)


@pytest.mark.parametrize("chunk_size", [None, 7])
def test_solve(chunk_size):
    right = jax.tree.map(jnp.ones_like, CASE.params)
    solve = jax.jit(
        lambda right: fisher.fisher_solve(
            *ARGUMENTS[:3], right, INPUTS, damping=0.1, tolerance=1e-12, chunk_size=chunk_size
        )
    )
    found, info = solve(right)
    expected = np.linalg.solve(matrix() + 0.1 * np.eye(len(matrix())), np.ones(len(matrix())))
    np.testing.assert_allclose(jax.flatten_util.ravel_pytree(found)[0], expected, rtol=1e-9)
    assert bool(info.converged)


def test_nan_is_seen():
    bad = CASE.params | {"bias": jnp.full(3, jnp.nan)}
    arguments = *ARGUMENTS[:2], bad, INPUTS
    density = fisher.fisher_spectral_density(jax.random.key(0), *arguments)
    assert np.isnan(density.nodes).any()
    assert np.isnan(fisher.fisher_eigenpairs(jax.random.key(0), *arguments, rank=2).values).all()


# XLA on CPU (jaxlib 0.10.2) returned garbage for derivatives along a constant zero there.


@functools.cache
def many_rows(size):
    """Both forms of the product, and a solve with it, for a net of `size` examples."""
    family = families.Categorical(3)
    generator = np.random.default_rng(size)
    x = jnp.asarray(generator.normal(size=(size, 4)), jnp.float32)
    params = {
        "a": jnp.asarray(generator.normal(size=(4, 6)), jnp.float32),
        "b": jnp.asarray(generator.normal(size=(6, 3)), jnp.float32),
    }
    raw = lambda w: jnp.tanh(x @ w["a"]) @ w["b"]
    predict = lambda w, x: family.natural_from_params(logits=jnp.tanh(x @ w["a"]) @ w["b"])
    vector, unravel = jax.flatten_util.ravel_pytree(params)

    @jax.jit
    def by_reverse_mode(flat):
        # The gradient of <stop(p), log p> in the shifts of the logits, twice in reverse: no jvp.
        def slope(v):
            logits, pull = jax.vjp(lambda u: raw(unravel(u)), v)
            probs = jax.lax.stop_gradient(jax.nn.softmax(raw(unravel(vector))))
            return pull((jax.nn.softmax(logits) - probs) / size)[0]

        return jax.grad(lambda v: slope(v) @ flat)(vector)

    product = lambda w, v, k: fisher.fisher_matvec(predict, family, w, v, x, chunk_size=k)

    @jax.jit
    def quantities(params, tangent):
        damped = lambda v: jax.tree.map(lambda a, b: a + 0.01 * b, product(params, v, None), v)
        return {
            "whole": product(params, tangent, None),
            "chunked": product(params, tangent, 1000),
            "solve": conjugate_gradient(damped, tangent, tolerance=1e-6)[0],
        }

    tangent = unravel(jnp.asarray(generator.normal(size=vector.size), jnp.float32))
    return by_reverse_mode, quantities(params, tangent), tangent


@pytest.mark.parametrize("size", [4096, 8192])
def test_products_and_solves_of_many_rows_are_those_of_reverse_mode(size):
    product, found, tangent = many_rows(size)
    flat = lambda tree: np.asarray(jax.flatten_util.ravel_pytree(tree)[0])
    expected = np.asarray(product(flat(tangent)))
    scale = np.abs(expected).max()
    np.testing.assert_allclose(flat(found["whole"]), expected, rtol=0, atol=2e-5 * scale)
    np.testing.assert_allclose(flat(found["chunked"]), expected, rtol=0, atol=2e-5 * scale)
    direction = flat(found["solve"])
    right = np.asarray(product(direction)) + 0.01 * direction
    np.testing.assert_allclose(
        right, flat(tangent), rtol=0, atol=1e-4 * np.abs(flat(tangent)).max()
    )


@pytest.mark.parametrize(
    ("call", "error", "match"),
    [
        (lambda: fisher.fisher_log_det(*ARGUMENTS, damping=0.0), ValueError, "damping must be pos"),
        (lambda: fisher.fisher_log_det(*ARGUMENTS, damping=[1.0]), ValueError, "must be a scalar"),
        (
            lambda: fisher.fisher_eigenpairs(jax.random.key(0), *ARGUMENTS, rank=99),
            ValueError,
            "rank must be at most the dimension 13; got 99",
        ),
        (
            lambda: fisher.fisher_eigenpairs(jax.random.key(0), *ARGUMENTS, rank=0),
            ValueError,
            "rank must be at least 1",
        ),
        (
            lambda: fisher.fisher_spectral_density(0, *ARGUMENTS),
            TypeError,
            "key",
        ),
        (
            lambda: fisher.fisher_spectral_density(jax.random.key(0), *ARGUMENTS, num_matvecs=0),
            ValueError,
            "num_matvecs must be at least 1",
        ),
        (
            lambda: fisher.fisher_solve(*ARGUMENTS[:3], CASE.params, INPUTS, damping=-1.0),
            ValueError,
            "damping must be non-negative",
        ),
        (
            lambda: fisher.fisher_solve(*ARGUMENTS[:3], CASE.params, INPUTS, damping=[1.0]),
            ValueError,
            "must be a scalar",
        ),
        (
            lambda: fisher.sampled_fisher_matrix(jax.random.key(0), *ARGUMENTS, num_samples=0),
            ValueError,
            "num_samples must be at least 1",
        ),
        (
            lambda: fisher.fisher_root(*ARGUMENTS, weights=jnp.ones(3)),
            ValueError,
            "weights must have shape",
        ),
    ],
)
def test_errors(call, error, match):
    with pytest.raises(error, match=match):
        call()
