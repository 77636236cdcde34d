"""Model selection and criteria: against scikit-learn and the definitions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from igeojax import em, families

FAMILY = families.DiagonalNormal(2)


@pytest.fixture(scope="module")
def clouds():
    generator = np.random.default_rng(0)
    centers = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    return np.concatenate([c + generator.normal(size=(60, 2)) for c in centers])


@pytest.fixture(scope="module")
def found(clouds):
    prior = lambda mixture: em.data_prior(mixture, clouds)
    options = {"key": jax.random.key(0), "num_restarts": 3, "prior": prior}
    return em.model_selection(FAMILY, clouds, (2, 3, 4), criterion="icl", **options)


def test_finds_the_clusters_and_accounts_for_each_model(clouds, found):
    assert found.mixture.num_components == 3
    assert [mixture.num_components for mixture in found.mixtures] == [2, 3, 4]
    single = FAMILY.log_density(FAMILY.fit(clouds), clouds).sum()
    for i, (mixture, fit) in enumerate(zip(found.mixtures, found.fits, strict=True)):
        total = jnp.sum(mixture.log_density(fit.params, clouds))
        free = 5 * mixture.num_components - 1
        np.testing.assert_allclose(found.log_likelihood[i], total, rtol=1e-10)
        np.testing.assert_allclose(found.bic[i], free * np.log(180) - 2 * total, rtol=1e-10)
        np.testing.assert_allclose(found.aic[i], 2 * free - 2 * total, rtol=1e-10)
        r = np.asarray(mixture.predict_proba(fit.params, clouds))
        entropy = -np.sum(r * np.log(np.maximum(r, 1e-300)))
        np.testing.assert_allclose(found.icl[i], found.bic[i] + 2 * entropy, rtol=1e-10)
        # One component under the weak prior is a little below its maximum.
        np.testing.assert_allclose(found.gap[i], (total - single) / 180, rtol=1e-6)
    assert (np.diff(found.gap) > 0).all()


def test_labels_and_scores_are_those_of_scikit_learn(clouds, found):
    mixture, params = found.mixture, found.fit.params
    loc, scale = FAMILY.params_from_natural(params.components)
    peer = GaussianMixture(3, covariance_type="diag")
    peer.weights_, peer.means_ = np.exp(params.log_weights), np.asarray(loc)
    peer.covariances_, peer.precisions_cholesky_ = np.asarray(scale) ** 2, 1 / np.asarray(scale)
    np.testing.assert_array_equal(mixture.predict(params, clouds), peer.predict(clouds))
    np.testing.assert_allclose(
        mixture.predict_proba(params, clouds), peer.predict_proba(clouds), atol=1e-12
    )
    np.testing.assert_allclose(mixture.score(params, clouds), peer.score(clouds), rtol=1e-12)
    np.testing.assert_allclose(mixture.bic(params, clouds), peer.bic(clouds), rtol=1e-12)
    np.testing.assert_allclose(mixture.aic(params, clouds), peer.aic(clouds), rtol=1e-12)


def test_weights_are_repetitions(clouds, found):
    mixture, params = found.mixture, found.fit.params
    counts = np.arange(180) % 3
    repeated = np.repeat(clouds, counts, axis=0)
    for name in ("score", "aic", "bic", "icl"):
        one = getattr(mixture, name)(params, clouds, counts)
        np.testing.assert_allclose(one, getattr(mixture, name)(params, repeated), rtol=1e-10)


def test_a_row_of_no_weight_and_no_density_does_not_count():
    family = families.Normal()
    mixture = em.Mixture(family, 1)
    params = mixture.point([1.0], family.natural_from_params([0.0], [1.0]))
    x, weights = jnp.array([0.5, 1e200]), jnp.array([2.0, 0.0])
    assert mixture.log_density(params, x)[1] == -jnp.inf
    np.testing.assert_allclose(
        mixture.score(params, x, weights), mixture.score(params, x[:1]), rtol=1e-14
    )


def test_the_table_marks_the_least(found):
    header, *lines = found.table().splitlines()
    assert header.split() == ["K", "log-likelihood", "gap", "bic", "aic", "icl", "iterations"]
    assert len(lines) == 3
    assert "*" in lines[1].split()[5]
    assert lines[1].split()[1] == f"{found.log_likelihood[1]:.2f}"


def test_a_fit_that_collapsed_is_left_out():
    x = jnp.concatenate([jnp.linspace(-1.0, 1.0, 30), jnp.array([50.0, 50.0])])
    found = em.model_selection(families.Normal(), x, (1, 2), key=jax.random.key(0))
    assert np.isnan(found.bic[1])
    assert found.mixture.num_components == 1


def test_the_gap_is_of_a_unit_of_weight():
    x, weights = jnp.array([1, 2, 1, 2, 30, 32]), jnp.array([1.0, 2.0, 3.0, 0.5, 1.0, 0.0])
    found = em.model_selection(
        families.Poisson(), x, (1, 2), key=jax.random.key(0), weights=weights
    )
    one, two = found.log_likelihood
    np.testing.assert_allclose(found.gap, [0, (two - one) / 7.5], rtol=1e-12)
    scores = [
        mixture.score(fit.params, x, weights)
        for mixture, fit in zip(found.mixtures, found.fits, strict=True)
    ]
    np.testing.assert_allclose(found.gap[1], scores[1] - scores[0], rtol=1e-9)


def test_bad_input(clouds):
    key = jax.random.key(0)
    with pytest.raises(ValueError, match="num_components must name numbers to try"):
        em.model_selection(FAMILY, clouds, (), key=key)
    with pytest.raises(ValueError, match="criterion must be one of 'bic', 'aic', 'icl'; got 'dic'"):
        em.model_selection(FAMILY, clouds, key=key, criterion="dic")
    with pytest.raises(ValueError, match="num_components must be at least 1; got 0"):
        em.model_selection(FAMILY, clouds, (0, 1), key=key)


SCALAR = em.Mixture(families.Poisson(), 3)
X = jnp.array([0, 1, 1, 2, 9, 11, 12, 30])
START = SCALAR.point([0.5, 0.5, 0.0], SCALAR.family.natural_from_params([1.0, 9.0, 30.0]))


@pytest.mark.parametrize(
    ("fixed", "free"),
    # Two components have weight: one free weight and two rates.
    [((), 1 + 2), (("weights",), 2), (("components",), 1), ((0,), 1 + 1), ((2,), 1 + 2)],
)
def test_criteria_count_what_is_left_to_learn(fixed, free):
    fit = SCALAR.fit(X, initialization=START, fixed=fixed, max_iterations=3)
    np.testing.assert_allclose(fit.aic + 2 * fit.log_likelihood, 2 * free, rtol=1e-12)
    np.testing.assert_allclose(fit.bic + 2 * fit.log_likelihood, free * np.log(8), rtol=1e-12)
    for name in ("aic", "bic"):
        again = getattr(SCALAR, name)(fit.params, X, fixed=fixed)
        np.testing.assert_allclose(again, getattr(fit, name), rtol=1e-12)
    icl, bic = (getattr(SCALAR, name)(fit.params, X, fixed=fixed) for name in ("icl", "bic"))
    r = np.asarray(SCALAR.predict_proba(fit.params, X))
    np.testing.assert_allclose(
        icl - bic, -2 * np.sum(r * np.log(np.maximum(r, 1e-300))), atol=1e-12
    )


def test_a_covariance_in_common_is_counted_once():
    mixture = em.Mixture(families.MultivariateNormal(2), 3, tied=True)
    assert mixture.dimension == 2 + 3 * 2 + 3
    theta = mixture.family.natural_from_params(jnp.zeros((3, 2)), jnp.eye(2))
    params = mixture.point([0.5, 0.5, 0.0], theta)
    x = jnp.eye(2)
    excess = mixture.aic(params, x) + 2 * 2 * mixture.score(params, x)
    np.testing.assert_allclose(excess, 2 * (1 + 2 * 2 + 3), rtol=1e-12)


def test_a_list_of_numbers_is_data_and_each_number_has_its_checkpoint(tmp_path):
    pytest.importorskip("orbax.checkpoint")
    options = {"key": jax.random.key(0), "max_iterations": 3}
    family = families.Poisson()
    plain = em.model_selection(family, X.tolist(), (1, 2), weights=[1.0] * 8, **options)
    saved = em.model_selection(family, X, (1, 2), checkpoint=tmp_path, **options)
    np.testing.assert_allclose(saved.bic, plain.bic, rtol=1e-12)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["components-1", "components-2"]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda **o: em.model_selection(families.Poisson(), X, 3, **o), r"got 3. Pass \(3,\)"),
        (
            lambda **o: em.model_selection(
                families.Poisson(), X, (3,), prior=em.data_prior(SCALAR, X), **o
            ),
            "function that makes the prior.*got MixturePrior.*lambda mixture: em.data_prior",
        ),
        (
            lambda **o: em.model_selection(families.Poisson(), em.Chunks([X]), (3,), **o),
            "arrays in memory; got Chunks",
        ),
    ],
)
def test_a_wrong_selection_says_what_it_takes_before_any_fit(call, words):
    with pytest.raises(TypeError, match=words):
        call(key=jax.random.key(0))
