"""Scores of families against differences of scipy's log-densities."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from igeojax import families
from igeojax.estimation import data_score, parameter_score

GAMMA, NORMALS = families.Gamma(), families.MultivariateNormal(2)


def test_scores_of_a_gamma_law():
    a, b, x, step = 2.5, 1.3, np.array([0.2, 1.0, 4.0]), 1e-6
    theta = GAMMA.natural_from_params(a, b)
    value = lambda x, a, b: stats.gamma.logpdf(x, a, scale=1 / b)
    slope = lambda f: (f(step) - f(-step)) / (2 * step)
    # Differences of values up to 5: eps * 5 / step.
    np.testing.assert_allclose(
        data_score(GAMMA, theta, x), slope(lambda s: value(x + s, a, b)), atol=1e-7
    )
    found = parameter_score(GAMMA, theta, x)  # theta = (a, -b)
    first, second = found
    np.testing.assert_allclose(first, slope(lambda s: value(x, a + s, b)), atol=1e-7)
    np.testing.assert_allclose(second, slope(lambda s: value(x, a, b - s)), atol=1e-7)


def test_scores_of_normal_vectors():
    mean, covariance = np.array([1.0, -1.0]), np.array([[2.0, 0.5], [0.5, 1.0]])
    theta = NORMALS.natural_from_params(mean, covariance)
    x = np.random.default_rng(0).normal(size=(5, 2))
    expected = -(x - mean) @ np.linalg.inv(covariance)
    np.testing.assert_allclose(data_score(NORMALS, theta, x), expected, rtol=1e-10)
    second = np.einsum("ni,nj->nij", x, x) - covariance - np.outer(mean, mean)
    found = parameter_score(NORMALS, theta, x)
    np.testing.assert_allclose(found[0], x - mean, rtol=1e-10)
    np.testing.assert_allclose(found[1], second, rtol=1e-10, atol=1e-12)


def test_off_the_support_nothing_is_known():
    theta = GAMMA.natural_from_params(2.0, 1.0)
    assert jnp.isnan(data_score(GAMMA, theta, jnp.asarray([-1.0, 1.0]))).tolist() == [True, False]
    assert jnp.isnan(parameter_score(GAMMA, theta, jnp.asarray(-1.0))[0])


def test_bad_input_is_told():
    poisson = families.Poisson()
    with pytest.raises(ValueError, match="counts or labels"):
        data_score(poisson, poisson.natural_from_params(2.0), 1.0)
    many = families.Multinomial(trials=10**6, num_classes=3)  # too many outcomes to list
    with pytest.raises(ValueError, match="counts or labels"):
        data_score(many, many.natural_from_params(jnp.ones(3) / 3), jnp.array([1e6, 0.0, 0.0]))
    pair = families.Product((families.Normal(), families.Exponential()))
    first, second = pair.families
    law = pair.Point(first.natural_from_params(0.0, 1.0), second.natural_from_params(2.0))
    with pytest.raises(ValueError, match="take the score of each of its families"):
        data_score(pair, law, (jnp.ones(3), jnp.ones(3)))
    with pytest.raises(ValueError, match=r"jax\.vmap"):
        parameter_score(poisson, poisson.natural_from_params(jnp.ones(2)), 1)
    with pytest.raises(TypeError):
        data_score("normal", None, 1.0)
