"""Log-densities and entropies against scipy, also far from the center of the law."""

import jax
import numpy as np
import pytest
import scipy.stats

from igeojax import families

INTEGERS = np.arange(0, 60)
POSITIVE = np.array([1e-8, 1e-3, 0.1, 0.5, 1.0, 3.0, 12.0, 80.0])
REAL = np.array([-40.0, -3.0, -0.5, 0.0, 0.7, 2.0, 55.0])
VECTORS = np.array([[0.0, 0.0, 0.0], [1.0, -2.0, 0.5], [-8.0, 9.0, 3.0]])
COVARIANCE = np.array([[2.0, 0.8, -0.3], [0.8, 1.0, 0.1], [-0.3, 0.1, 0.5]])
MEAN = np.array([0.5, -1.0, 2.0])
# Family, source parameters, the law of scipy, observations.
LAWS = {
    "Bernoulli": (families.Bernoulli(), {"probs": 0.3}, scipy.stats.bernoulli(0.3), [0, 1]),
    "Bernoulli-logits": (
        families.Bernoulli(),
        {"logits": -20.0},
        scipy.stats.bernoulli(1 / (1 + np.exp(20.0))),
        [0, 1],
    ),
    "Categorical": (
        families.Categorical(3),
        {"probs": [0.2, 0.0, 0.8]},
        scipy.stats.rv_discrete(values=([0, 2], [0.2, 0.8])),
        [0, 1, 2],
    ),
    "Poisson": (families.Poisson(), {"rate": 7.5}, scipy.stats.poisson(7.5), INTEGERS),
    "Poisson-large": (
        families.Poisson(),
        {"rate": 4000.0},
        scipy.stats.poisson(4000.0),
        [3900, 4000, 4200],
    ),
    "Exponential": (
        families.Exponential(),
        {"rate": 2.5},
        scipy.stats.expon(scale=0.4),
        [0.0, *POSITIVE],
    ),
    "Gamma": (
        families.Gamma(),
        {"shape": 0.6, "rate": 2.0},
        scipy.stats.gamma(0.6, scale=0.5),
        POSITIVE,
    ),
    "Gamma-large": (
        families.Gamma(),
        {"shape": 250.0, "rate": 5.0},
        scipy.stats.gamma(250.0, scale=0.2),
        [30.0, 50.0, 61.0],
    ),
    "Normal": (
        families.Normal(),
        {"loc": 0.3, "scale": 2.0},
        scipy.stats.norm(0.3, 2.0),
        REAL,
    ),
    "NormalKnownScale": (
        families.NormalKnownScale(1.5),
        {"loc": -0.4},
        scipy.stats.norm(-0.4, 1.5),
        REAL,
    ),
    "DiagonalNormal": (
        families.DiagonalNormal(3),
        {"loc": MEAN, "scale": [1.0, 2.0, 0.25]},
        scipy.stats.multivariate_normal(MEAN, np.diag([1.0, 4.0, 0.0625])),
        VECTORS,
    ),
    "MultivariateNormal": (
        families.MultivariateNormal(3),
        {"mean": MEAN, "covariance": COVARIANCE},
        scipy.stats.multivariate_normal(MEAN, COVARIANCE),
        VECTORS,
    ),
}


@pytest.mark.parametrize("name", LAWS)
def test_log_density(name):
    family, params, law, x = LAWS[name]
    expected = law.logpmf(x) if hasattr(law, "logpmf") else law.logpdf(x)
    found = family.log_density(family.natural_from_params(**params), np.asarray(x))
    np.testing.assert_allclose(found, expected, rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("name", LAWS)
def test_entropy(name):
    family, params, law, _ = LAWS[name]
    found = family.entropy(family.natural_from_params(**params))
    np.testing.assert_allclose(found, law.entropy(), rtol=1e-8)


def test_bernoulli_is_a_categorical_of_two():
    coin, pair = families.Bernoulli(), families.Categorical(2)
    # Success is the first class, failure the reference.
    one = coin.natural_from_params(logits=[0.4, -2.0])
    two = pair.natural_from_params(logits=[[0.4, 0.0], [-2.0, 0.0]])
    np.testing.assert_allclose(one.x, two.one_hot[:, 0])
    np.testing.assert_allclose(coin.entropy(one), pair.entropy(two), rtol=1e-14)
    np.testing.assert_allclose(coin.log_density(one, 1), pair.log_density(two, 0), rtol=1e-14)


def test_diagonal_normal_is_a_multivariate_normal():
    diagonal, full = families.DiagonalNormal(2), families.MultivariateNormal(2)
    loc, scale = np.array([1.0, -2.0]), np.array([0.5, 3.0])
    one = diagonal.natural_from_params(loc=loc, scale=scale)
    two = full.natural_from_params(mean=loc, covariance=np.diag(scale**2))
    x = VECTORS[:, :2]
    np.testing.assert_allclose(diagonal.log_density(one, x), full.log_density(two, x), rtol=1e-12)
    np.testing.assert_allclose(diagonal.entropy(one), full.entropy(two), rtol=1e-12)
    np.testing.assert_allclose(np.diagonal(two.xx), one.xx, rtol=1e-12)


def test_a_network_passes_its_logits_unnormalized():
    family = families.Categorical(4)
    logits = np.random.default_rng(0).normal(size=(5, 4))
    theta = family.natural_from_params(logits=logits)
    shifted = family.natural_from_params(logits=logits + 7.0)
    np.testing.assert_allclose(shifted.one_hot, theta.one_hot, atol=1e-14)
    expected = scipy.special.log_softmax(logits, axis=-1)
    for label in range(4):
        np.testing.assert_allclose(family.log_density(theta, label), expected[:, label], rtol=1e-12)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_centred_forms_keep_digits_far_from_the_origin(dtype):
    # <theta, T> - psi would give 0.0 for -1.044 at m/s = 1e4 in float32.
    loc, scale = np.asarray(1e4, dtype), np.asarray(1.0, dtype)
    x = np.asarray(1e4 + 0.5, dtype)
    tolerance = 2e-3 if dtype == "float32" else 1e-11
    normal, diagonal = families.Normal(), families.DiagonalNormal(1)
    expected = scipy.stats.norm.logpdf(0.5)
    theta = normal.natural_from_params(loc=loc, scale=scale)
    assert float(normal.log_density(theta, x)) == pytest.approx(expected, abs=tolerance)
    theta = diagonal.natural_from_params(loc=loc[None], scale=scale)
    assert float(diagonal.log_density(theta, x[None])) == pytest.approx(expected, abs=tolerance)
    # And so does a fit: the variance of data far away.
    data = (1e4 + np.random.default_rng(0).normal(size=500)).astype(dtype)
    found = normal.params_from_natural(normal.fit(data))
    assert float(found.scale) == pytest.approx(np.std(data.astype(float)), rel=1e-3, abs=0)


EXTREMES = [
    # T46 and the boundaries of the natural domain.
    (families.Poisson(), {"rate": 0.0}, 0, 0.0),
    (families.Poisson(), {"rate": 0.0}, 3, -np.inf),
    (families.Bernoulli(), {"probs": 1.0}, 1, 0.0),
    (families.Bernoulli(), {"probs": 1.0}, 0, -np.inf),
    (families.Bernoulli(), {"probs": 0.0}, 0, 0.0),
    (families.Categorical(2), {"probs": [0.0, 1.0]}, 0, -np.inf),
    (families.Categorical(2), {"probs": [0.0, 1.0]}, 1, 0.0),
    (families.Exponential(), {"rate": 1e-300}, 0.0, np.log(1e-300)),
]


@pytest.mark.parametrize(("family", "params", "x", "value"), EXTREMES)
def test_ends_of_the_domain(family, params, x, value):
    theta = family.natural_from_params(**params)
    assert float(family.log_density(theta, x)) == value
    entropy = float(family.entropy(theta))
    assert not np.isnan(entropy)
    if params != {"rate": 1e-300}:
        assert entropy == 0
    assert family.in_natural_domain(theta)


def test_gamma_entropy_of_a_large_shape():
    # 20-digit value; today's error of the difference of log-gamma and digamma is 2e-9.
    gamma = families.Gamma()
    theta = gamma.natural_from_params(shape=1e7, rate=1.0)
    assert float(gamma.entropy(theta)) == pytest.approx(9.4779863253504977, rel=1e-8, abs=0)


def test_gamma_samples_of_a_small_shape_have_a_density():
    gamma = families.Gamma()
    theta = gamma.natural_from_params(shape=1e-3, rate=1.0)
    x = gamma.sample(jax.random.key(0), theta, (10_000,))
    assert np.isfinite(gamma.log_density(theta, x)).all()
