"""The estimator: scikit-learn's own checks, and its mixtures of normal laws from the same start."""

import subprocess
import sys
from unittest import SkipTest

import numpy as np
import pytest
from sklearn.base import clone
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.utils.estimator_checks import estimator_checks_generator

from igeojax import families
from igeojax.em.sklearn import ExponentialFamilyMixture


@pytest.fixture(scope="module")
def clouds():
    generator = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    return np.tile(centers, (60, 1)) + generator.normal(size=(180, 2))


@pytest.mark.slow
def test_passes_the_checks_of_scikit_learn():
    # None fails; those of pandas and of other arrays are skipped where those are not installed.
    failed = {}
    for estimator, check in estimator_checks_generator(ExponentialFamilyMixture(max_iter=20)):
        try:
            check(estimator)
        except SkipTest:
            continue
        except Exception as error:
            failed[check.func.__name__] = repr(error)[:300]
    assert not failed


@pytest.mark.parametrize("kind", ["full", "tied", "diag", "spherical"])
def test_normal_laws_reach_the_likelihood_of_scikit_learn(clouds, kind):
    ours = ExponentialFamilyMixture(
        3, covariance_type=kind, prior_count=0.0, n_init=3, random_state=0, tol=1e-10
    ).fit(clouds)
    peer = GaussianMixture(3, covariance_type=kind, reg_covar=0.0, tol=1e-10, random_state=0)
    peer.fit(clouds)
    np.testing.assert_allclose(ours.score(clouds), peer.score(clouds), rtol=1e-8)
    np.testing.assert_allclose(ours.bic(clouds), peer.bic(clouds), rtol=1e-8)
    np.testing.assert_allclose(ours.aic(clouds), peer.aic(clouds), rtol=1e-8)
    np.testing.assert_allclose(np.sort(ours.weights_), np.sort(peer.weights_), rtol=1e-5)
    np.testing.assert_allclose(ours.score_samples(clouds), peer.score_samples(clouds), rtol=1e-4)


def test_mixed_columns_with_missing_entries():
    generator = np.random.default_rng(0)
    labels = np.repeat([0, 1], 100)
    x = np.stack(
        [
            generator.normal(6.0 * labels, 1.0),
            generator.binomial(1, np.where(labels, 0.9, 0.1)),
            generator.poisson(np.where(labels, 12.0, 3.0)),
        ],
        axis=1,
    )
    x[generator.uniform(size=x.shape) < 0.2] = np.nan
    family = families.Product((families.Normal(), families.Categorical(2), families.Poisson()))
    model = ExponentialFamilyMixture(2, family=family, missing=True, random_state=0)
    found = model.fit_predict(x)
    agreement = np.mean(found == labels)
    assert max(agreement, 1 - agreement) > 0.95
    drawn, components = model.sample(50)
    assert drawn.shape == (50, 3)
    assert set(np.unique(drawn[:, 1])) <= {0.0, 1.0}
    near = drawn[:, 0] > 3
    side = components == components[near][0]
    assert np.mean(near == side) > 0.9


def test_a_product_takes_its_columns_in_order():
    family = families.Product((families.MultivariateNormal(2), families.Poisson()))
    rng = np.random.default_rng(3)
    x = np.column_stack([rng.normal(size=(30, 2)), rng.poisson(4.0, 30)])
    model = ExponentialFamilyMixture(1, family=family, prior_count=0.0).fit(x)
    normal, counts = model.params_.components
    np.testing.assert_allclose(
        family.families[0].mean(normal)[0], x[:, :2].mean(axis=0), rtol=1e-10
    )
    np.testing.assert_allclose(np.exp(counts.x), x[:, 2].mean(), rtol=1e-10)


def test_weights_grids_and_clones(clouds):
    model = ExponentialFamilyMixture(2, random_state=0, covariance_type="diag")
    search = GridSearchCV(model, {"n_components": [1, 3]}, cv=3).fit(clouds)
    assert search.best_params_ == {"n_components": 3}
    counts = np.arange(180) % 3
    single = clone(model).set_params(n_components=1)
    weighted = single.fit(clouds, sample_weight=counts).score(clouds, sample_weight=counts)
    repeated = np.repeat(clouds, counts, axis=0)
    np.testing.assert_allclose(weighted, clone(single).fit(repeated).score(repeated), rtol=1e-10)
    fitted = clone(model).fit(clouds)
    assert fitted.lower_bounds_.shape == (fitted.n_iter_ + 1,)
    assert fitted.lower_bound_ == fitted.lower_bounds_[-1]
    assert (np.diff(fitted.lower_bounds_) > -1e-12).all()


def test_bad_input(clouds):
    with pytest.raises(ValueError, match=r"covariance_type must be one of 'full'.*got 'round'"):
        ExponentialFamilyMixture(covariance_type="round").fit(clouds)
    with pytest.raises(ValueError, match=r"X must have 1 features for Poisson\(\); got 2"):
        ExponentialFamilyMixture(family=families.Poisson()).fit(clouds)
    with pytest.raises(ValueError, match="contains NaN"):
        ExponentialFamilyMixture().fit(np.where(clouds > 0, clouds, np.nan))
    labels = ExponentialFamilyMixture(family=families.Categorical(3))
    with pytest.raises(ValueError, match="must lie in its support; got -1"):
        labels.fit(np.array([[0.0], [1.5], [2.0]]))
    with pytest.raises(ValueError, match="n_samples must be at least 1; got 0"):
        ExponentialFamilyMixture().fit(clouds).sample(0)


def test_says_what_is_missing_without_scikit_learn():
    code = (
        "import sys; sys.modules['sklearn.base'] = None\n"
        "import igeojax.em\n"
        "import igeojax.em.sklearn\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert "igeojax.em.sklearn needs scikit-learn 1.6 or later" in done.stderr
