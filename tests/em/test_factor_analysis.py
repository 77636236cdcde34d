"""Factor analysis: against scikit-learn, scipy's normal density and the optimum of its slope."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats
from sklearn.decomposition import PCA
from sklearn.decomposition import FactorAnalysis as Peer

from igeojax import families
from igeojax.em.factor_analysis import FactorAnalysis

DIM, FACTORS = 8, 2
MODEL = FactorAnalysis(DIM, FACTORS)


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(1)
    loadings, noise = generator.normal(size=(DIM, FACTORS)), 0.6 + generator.uniform(size=DIM)
    x = generator.normal(size=(600, FACTORS)) @ loadings.T + noise * generator.normal(
        size=(600, DIM)
    )
    return 5 + x * 10.0 ** np.linspace(-1, 1, DIM)


@pytest.fixture(scope="module")
def fitted(data):
    return MODEL.fit(data, tolerance=1e-14, max_iterations=3000)


def test_follows_scikit_learn(data, fitted):
    # Its start is unit noise in the units of the data: those of the columns suit both.
    scale = data.std(axis=0)
    peer = Peer(FACTORS, svd_method="lapack", tol=1e-13, max_iter=5000).fit(data / scale)
    params = fitted.params
    assert fitted.converged
    expected = peer.score(data / scale) - np.log(scale).sum()
    np.testing.assert_allclose(fitted.log_likelihood / len(data), expected, rtol=1e-10)
    covariance = peer.get_covariance() * np.outer(scale, scale)
    found = np.asarray(params.loadings @ params.loadings.T + jnp.diag(params.noise))
    np.testing.assert_allclose(found / np.outer(scale, scale), peer.get_covariance(), atol=1e-5)
    assert covariance.shape == found.shape
    turned = np.asarray(MODEL.transform(params, data))
    other = peer.transform(data / scale)
    np.testing.assert_allclose(np.abs(turned), np.abs(other), atol=1e-3)
    values = np.asarray(fitted.log_likelihoods[: int(fitted.num_iterations) + 1])
    assert (np.diff(values) > -1e-13 * np.abs(values[1:])).all()
    np.testing.assert_allclose(values[-1], jnp.mean(MODEL.log_density(params, data)), rtol=1e-12)
    free = DIM + DIM * FACTORS - 1 + DIM
    np.testing.assert_allclose(fitted.aic, 2 * free - 2 * fitted.log_likelihood, rtol=1e-12)
    np.testing.assert_allclose(fitted.bic - fitted.aic, free * (np.log(600) - 2), rtol=1e-9)


def test_the_likelihood_is_stationary(data, fitted):
    x = jnp.asarray(data)
    slope = jax.grad(lambda params: jnp.mean(MODEL.log_density(params, x)))(fitted.params)
    sizes = (
        fitted.params.noise**-0.5,
        fitted.params.noise[:, None] ** -0.5,
        1 / fitted.params.noise,
    )
    for leaf, size in zip(slope, sizes, strict=True):
        np.testing.assert_allclose(leaf / size, np.zeros(leaf.shape), atol=1e-5)


def test_the_density_is_that_of_the_normal_law(data, fitted):
    mean, loadings, noise = map(np.asarray, fitted.params)
    law = scipy.stats.multivariate_normal(mean, loadings @ loadings.T + np.diag(noise))
    found = MODEL.log_density(fitted.params, data.reshape(2, 300, DIM))
    np.testing.assert_allclose(found.ravel(), law.logpdf(data), rtol=1e-10)
    theta = MODEL.natural_from_params(fitted.params)
    full = families.MultivariateNormal(DIM).log_density(theta, data)
    np.testing.assert_allclose(found.ravel(), full, rtol=1e-9)


def test_isotropic_noise_is_principal_components(data):
    x = data / data.std(axis=0)
    model = FactorAnalysis(DIM, FACTORS, isotropic=True)
    result = model.fit(x)
    peer = PCA(FACTORS, svd_solver="full").fit(x)
    # Theirs divides by N - 1.
    ratio = (len(x) - 1) / len(x)
    found = result.params.loadings @ result.params.loadings.T + jnp.diag(result.params.noise)
    np.testing.assert_allclose(found, ratio * peer.get_covariance(), rtol=1e-9, atol=1e-12)
    root = np.sqrt(1 / ratio)
    wide = model.Point(
        result.params.mean, root * result.params.loadings, result.params.noise / ratio
    )
    np.testing.assert_allclose(model.log_density(wide, x), peer.score_samples(x), rtol=1e-9)
    assert result.log_likelihood >= len(x) * peer.score(x)
    assert int(result.num_iterations) == 0
    slope = jax.grad(lambda params: jnp.mean(model.log_density(params, jnp.asarray(x))))(
        result.params
    )
    np.testing.assert_allclose(slope.loadings, np.zeros((DIM, FACTORS)), atol=1e-9)
    np.testing.assert_allclose(jnp.sum(slope.noise), 0, atol=1e-9)


def test_weights_are_repetitions(data):
    counts = np.arange(len(data)) % 3
    options = {"tolerance": 0.0, "max_iterations": 20}
    weighted = MODEL.fit(data, counts, **options)
    repeated = MODEL.fit(np.repeat(data, counts, axis=0), **options)
    np.testing.assert_allclose(weighted.log_likelihood, repeated.log_likelihood, rtol=1e-11)
    np.testing.assert_allclose(weighted.bic, repeated.bic, rtol=1e-11)
    np.testing.assert_allclose(weighted.params.noise, repeated.params.noise, rtol=1e-8)


def test_samples_have_the_moments(fitted):
    x = MODEL.sample(jax.random.key(0), fitted.params, (200, 100))
    assert x.shape == (200, 100, DIM)
    flat = np.asarray(x).reshape(-1, DIM)
    covariance = np.asarray(
        fitted.params.loadings @ fitted.params.loadings.T + jnp.diag(fitted.params.noise)
    )
    deviation = np.sqrt(np.diag(covariance))
    # Five standard errors of a mean and of a covariance.
    np.testing.assert_allclose((flat.mean(0) - fitted.params.mean) / deviation, 0, atol=5 / 141)
    gap = (np.cov(flat.T) - covariance) / np.outer(deviation, deviation)
    np.testing.assert_allclose(gap, 0, atol=5 * np.sqrt(2) / 141)


def test_a_column_that_the_factors_explain_keeps_a_little_noise():
    # Two columns that are equal: the likelihood is largest at no noise of both.
    x = np.random.default_rng(0).normal(size=(60, 3))
    x[:, 1] = x[:, 0]
    result = FactorAnalysis(3, 1).fit(x)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(result.params))
    np.testing.assert_allclose(result.params.noise[:2] / x[:, 0].var(), 2.0**-26, rtol=1e-6)


def test_float32_stays_float32(data, fitted):
    result = MODEL.fit(np.float32(data))
    floats = [leaf for leaf in jax.tree.leaves(result) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    assert {leaf.dtype for leaf in floats} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(result.log_likelihood, fitted.log_likelihood, rtol=1e-5)


def test_bad_input(data, fitted):
    with pytest.raises(ValueError, match="num_factors must be at most 3; got 4"):
        FactorAnalysis(3, 4)
    with pytest.raises(ValueError, match="num_factors must be at most 2; got 3"):
        FactorAnalysis(3, 3, isotropic=True)
    with pytest.raises(
        ValueError, match=r"data must have shape \(N, 8\) with N >= 2; got \(1, 8\)"
    ):
        MODEL.fit(data[:1])
    with pytest.raises(ValueError, match="data must be finite"):
        MODEL.fit(np.where(data > 0, data, np.nan))
    with pytest.raises(ValueError, match="variances of the columns must be positive"):
        MODEL.fit(np.concatenate([data[:, :7], np.ones((600, 1))], axis=1))
    with pytest.raises(ValueError, match="variances of the columns must be positive"):
        FactorAnalysis(2, 1, isotropic=True).fit(np.array([[1.0, 1.0], [2.0, 2.0]]))
    with pytest.raises(ValueError, match=r"loadings must have shape \(8, 2\); got \(8, 1\)"):
        MODEL.transform(fitted.params._replace(loadings=jnp.ones((8, 1))), data)
    with pytest.raises(TypeError, match="params must be a FactorAnalysisPoint; got tuple"):
        MODEL.log_density(tuple(fitted.params), data)
