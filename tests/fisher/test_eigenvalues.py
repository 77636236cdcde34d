"""All eigenvalues and the effective dimension, against dense algebra and by their laws."""

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, fisher
from tests.fisher.models import CASES, draw_inputs

CASE, INPUTS = CASES["Categorical"], draw_inputs(6)
LINEAR = families.NormalKnownScale()
linear = lambda w, x: LINEAR.natural_from_params(loc=x @ w)


@jax.jit
def eigenvalues(params, inputs=INPUTS):
    return fisher.fisher_eigenvalues(CASE.predict, CASE.family, params, inputs)


def test_they_do_not_see_the_order_of_hidden_units_nor_of_examples():
    params = CASE.params
    swapped = params | {"inner": params["inner"][:, ::-1], "outer": params["outer"][::-1]}
    expected = eigenvalues(params)
    np.testing.assert_allclose(eigenvalues(swapped), expected, rtol=1e-10, atol=1e-28)
    np.testing.assert_allclose(eigenvalues(params, INPUTS[::-1]), expected, rtol=1e-10, atol=1e-28)
    # Every example twice is the same mean.
    twice = eigenvalues(params, jnp.concatenate([INPUTS, INPUTS]))
    np.testing.assert_allclose(twice, expected, rtol=1e-10, atol=1e-28)


def test_they_do_not_see_the_chart_of_the_outputs():
    # The same laws, and metric, told as raw logits and their softmax covariance.
    def covariance(logits, tangent):
        probs = jax.nn.softmax(logits)
        return probs * (tangent - jnp.sum(probs * tangent, axis=-1, keepdims=True))

    logits = lambda w, x: CASE.family.logits(CASE.predict(w, x))
    metric = fisher.OutputMetric(covariance)
    found = fisher.fisher_eigenvalues(logits, metric, CASE.params, INPUTS)
    np.testing.assert_allclose(found, eigenvalues(CASE.params), rtol=1e-10, atol=1e-28)


def test_their_sum_is_that_of_the_traces_of_the_leaves():
    diagonal = fisher.fisher_diagonal(CASE.predict, CASE.family, CASE.params, INPUTS)
    traces = [float(jnp.sum(leaf)) for leaf in jax.tree.leaves(diagonal)]
    matrix = np.asarray(jax.jit(CASE.fisher_matrix)(CASE.params, INPUTS))
    sizes = np.cumsum([leaf.size for leaf in jax.tree.leaves(CASE.params)])[:-1]
    expected = [part.sum() for part in np.split(np.diag(matrix), sizes)]
    np.testing.assert_allclose(traces, expected, rtol=1e-10)
    np.testing.assert_allclose(eigenvalues(CASE.params).sum(), sum(expected), rtol=1e-12)


def test_weights_replace_the_mean():
    x, weights = draw_inputs(4), jnp.array([0.5, 0.0, 2.0, 1.0])
    found = fisher.fisher_eigenvalues(linear, LINEAR, jnp.ones(2), x, weights=weights)
    expected = np.linalg.eigvalsh(np.asarray((x.T * weights[None]) @ x))[::-1]
    np.testing.assert_allclose(found, expected, rtol=1e-12)


def test_in_a_unit_twice_as_large_they_are_four_times_as_large():
    x = draw_inputs(4)
    scaled = lambda w, x: linear(2 * w, x)
    of = lambda predict: fisher.fisher_eigenvalues(predict, LINEAR, jnp.ones(2), x)
    np.testing.assert_allclose(of(scaled), 4 * of(linear), rtol=1e-13)


def test_small_ones_are_resolved_in_float32():
    # Eigenvalues of 1e-8 of the largest: a matrix of products in float32 knows nothing of them.
    generator = np.random.default_rng(0)
    left, right = (np.linalg.qr(generator.normal(size=(8, 3)))[0] for _ in range(2))
    x = (left * [1.0, 1e-2, 1e-4] @ right.T * 8**0.5).astype(np.float32)
    expected = np.linalg.svd(x.astype(np.float64), compute_uv=False)[:3] ** 2 / 8
    with jax.enable_x64(False):
        found = fisher.fisher_eigenvalues(linear, LINEAR, jnp.zeros(8), jnp.asarray(x))
        products = jnp.linalg.eigvalsh(
            fisher.fisher_matrix(linear, LINEAR, jnp.zeros(8), jnp.asarray(x))
        )[::-1]
    assert found.dtype == jnp.float32
    error = 2 * 8 * np.finfo(np.float32).eps * np.sqrt(expected[0] / expected)
    assert (np.abs(found[:3] / expected - 1) < error).all()
    assert np.abs(products[2] / expected[2] - 1) > error[2]


def test_nan_is_seen():
    assert np.isnan(eigenvalues(CASE.params | {"bias": jnp.full(3, jnp.nan)})).all()


def test_the_effective_dimension_is_a_trace():
    matrix = np.asarray(jax.jit(CASE.fisher_matrix)(CASE.params, INPUTS))
    size = len(matrix)
    for damping in (1e-3, 1e-1, 10.0):
        expected = np.trace(matrix @ np.linalg.inv(matrix + damping * np.eye(size)))
        found = fisher.effective_dimension(eigenvalues(CASE.params), damping=damping)
        np.testing.assert_allclose(found, expected, rtol=1e-10)


def test_the_effective_dimension_is_a_slope_of_the_log_determinant():
    def log_det(log_damping):
        arguments = CASE.predict, CASE.family, CASE.params, INPUTS
        return fisher.fisher_log_det(*arguments, damping=jnp.exp(log_damping))

    size = sum(leaf.size for leaf in jax.tree.leaves(CASE.params))
    slope = jax.jit(jax.grad(log_det))(np.log(0.05))
    found = fisher.effective_dimension(eigenvalues(CASE.params), damping=0.05)
    np.testing.assert_allclose(size - slope, found, rtol=1e-10)


def test_the_effective_dimension_counts_from_none_to_all():
    values = jnp.array([[4.0, 1.0, 0.0], [1.0, 1.0, 1.0]])
    np.testing.assert_allclose(fisher.effective_dimension(values, damping=1e-12), [2.0, 3.0])
    found = fisher.effective_dimension(values, damping=1e12)
    np.testing.assert_allclose(found * 1e12, [5.0, 3.0], rtol=1e-11)
    np.testing.assert_allclose(fisher.effective_dimension(values, damping=1.0), [1.3, 1.5])
    both = jax.vmap(lambda c: fisher.effective_dimension(values[0], damping=c))
    np.testing.assert_allclose(both(jnp.array([1.0, 4.0])), [1.3, 0.7])
    single = fisher.effective_dimension(values.astype(jnp.float32), damping=np.float64(1.0))
    assert single.dtype == jnp.float32


def test_gradients_are_differences():
    # Through repeated and zero singular values: more rows than the rank, a head of the same kind.
    vector, unravel = jax.flatten_util.ravel_pytree(CASE.params)
    count = jax.jit(lambda v: fisher.effective_dimension(eigenvalues(unravel(v)), damping=0.1))
    slope = np.asarray(jax.jit(jax.grad(count))(vector))
    step = 1e-6
    found = [float(count(vector + step * e) - count(vector - step * e)) for e in np.eye(13)]
    assert np.abs(slope).max() > 0.1
    np.testing.assert_allclose(slope, np.array(found) / (2 * step), atol=1e-7)


@pytest.mark.parametrize(
    ("values", "damping", "error", "match"),
    [
        ([1.0], 0.0, ValueError, "damping must be positive and finite; got 0.0"),
        ([1.0], -1.0, ValueError, "damping must be positive and finite; got -1.0"),
        ([1.0], [1.0, 2.0], ValueError, "damping must be a scalar"),
        (1.0, 1.0, ValueError, "eigenvalues must have a last axis"),
        ("no", 1.0, TypeError, "eigenvalues must be"),
        ([1.0], "no", TypeError, "damping must be"),
    ],
)
def test_errors(values, damping, error, match):
    with pytest.raises(error, match=match):
        fisher.effective_dimension(values, damping=damping)
