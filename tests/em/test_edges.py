"""Components at the edges of a family or without observations: pure columns, ties, a nan start."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families

KEY = jax.random.key(0)
EPS = np.finfo(float).eps
LABEL = np.arange(60) % 2
X = np.random.default_rng(0).normal(size=60) + 8 * LABEL
PLANE = families.MultivariateNormal(2)
LINE = families.Normal()
PURE = {
    "Bernoulli": families.Bernoulli(),
    "Binomial": families.Binomial(3),
    "Categorical": families.Categorical(2),
    "Multinomial": families.Multinomial(2, 2),
}


@pytest.mark.parametrize(
    ("name", "column"),
    [
        ("Bernoulli", np.ones(60, int)),
        ("Bernoulli", LABEL),
        ("Binomial", 3 * LABEL),
        ("Categorical", LABEL),
        ("Multinomial", 2 * np.stack([LABEL, 1 - LABEL], 1)),
    ],
    ids=["one value", "Bernoulli", "Binomial", "Categorical", "Multinomial"],
)
@pytest.mark.parametrize("guarded", [False, True])
def test_a_column_that_is_pure_in_a_component_adds_nothing(name, column, guarded):
    # Weights round the counts of a pure column above their number.
    weights = 1 + 0.1 * np.arange(60) % 0.7
    mixture, alone = em.Mixture(families.Product((PURE[name], LINE)), 2), em.Mixture(LINE, 2)
    data = (column, X)
    prior = em.data_prior(mixture, data, weights) if guarded else None
    result = mixture.fit(data, key=KEY, weights=weights, prior=prior)
    assert result.converged
    if guarded:
        assert np.isfinite(result.log_likelihood)
        return
    line = alone.fit(X, key=KEY, weights=weights)
    # Of a label that says which component it is no more is to be known.
    assert result.log_likelihood >= line.log_likelihood - 1e-6 * weights.sum()
    np.testing.assert_allclose(result.log_likelihood, line.log_likelihood, rtol=1e-4)


@pytest.mark.parametrize("family", [families.Bernoulli(), families.Binomial(5)], ids=str)
def test_data_at_the_upper_end_have_a_sure_fit(family):
    data = np.full(9, getattr(family, "trials", 1))
    result = em.Mixture(family, 2).fit(data, key=KEY)
    assert result.converged
    np.testing.assert_allclose(result.log_likelihood, 0, atol=1e3 * EPS)
    for mean in (data[0] * (1 + EPS), data[0] * 1.0):
        theta = family.natural_from_mean(family.in_chart(family.Point(jnp.asarray(mean))))
        assert np.isfinite(theta.x)
        np.testing.assert_allclose(family.mean(theta), data[0], rtol=4 * EPS)
    np.testing.assert_array_equal(family.in_chart(family.Point(jnp.array(-EPS))).x, 0)
    weights = 1 + 0.1 * np.arange(9)
    np.testing.assert_array_equal(family.mean(family.fit(data, weights)), data[0])


@pytest.mark.parametrize(
    ("family", "one"),
    [
        (families.Categorical(3), lambda label: label),
        (families.Multinomial(1, 3), lambda label: np.eye(3, dtype=int)[label]),
    ],
    ids=["categorical", "multinomial"],
)
def test_the_last_class_may_be_the_one_that_is_not_seen(family, one):
    mixture, labels = em.Mixture(family, 2), np.array([0, 1, 0, 1, 1])
    values = []
    for data in (one(labels), one(2 - labels)):
        center = family.params_from_natural(family.fit(data)).probs
        np.testing.assert_allclose(np.sort(center), [0, 0.4, 0.6], atol=4 * EPS)
        prior = em.data_prior(mixture, data)
        found = [mixture.fit(data, key=KEY, prior=p, max_iterations=20) for p in (None, prior)]
        values.append([fit.log_likelihood for fit in found])
    np.testing.assert_allclose(values[0], values[1], rtol=1e-9)


def _tied_step(weights, means, covariances, x):
    """One step of EM with one covariance, in numpy."""
    gaps = x[:, None] - means
    squares = np.einsum("nki,kij,nkj->nk", gaps, np.linalg.inv(covariances), gaps)
    joint = weights * np.linalg.det(covariances) ** -0.5 * np.exp(-0.5 * squares)
    r = joint / joint.sum(axis=1, keepdims=True)
    counts = r.sum(axis=0)
    kept = np.where(counts > 0, counts, 1)
    means = np.where(counts[:, None] > 0, r.T @ x / kept[:, None], means)
    gaps = x[:, None] - means
    return counts / len(x), means, np.einsum("nk,nki,nkj->ij", r, gaps, gaps) / len(x)


@pytest.mark.parametrize("far", [3.0, 1e4])
def test_tied_components_have_one_covariance_from_any_start(far):
    # Far apart they have frames of their own, which are as different as the start.
    x = np.random.default_rng(1).normal(size=(80, 2))
    x[:30] += far
    means = np.array([[far, far], [0.0, 0.0], [-50 * far, 0.0]])
    covariances = np.stack([np.eye(2), [[2.0, 0.5], [0.5, 1.0]], 1e-3 * np.eye(2)])
    weights = np.array([0.5, 0.5, 0.0])
    mixture = em.Mixture(PLANE, 3, tied=True)
    start = mixture.point(weights, PLANE.natural_from_params(means, covariances))
    result = mixture.fit(x, initialization=start, max_iterations=1, tolerance=0.0)
    expected = _tied_step(weights, means, covariances, x)
    found = PLANE.params_from_natural(result.params.components)
    np.testing.assert_allclose(np.exp(result.params.log_weights), expected[0], rtol=1e-10)
    np.testing.assert_allclose(found.mean, expected[1], rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(found.covariance, [expected[2]] * 3, rtol=1e-7, atol=1e-9)
    sums = mixture.expectations(start, x)
    again = PLANE.params_from_natural(mixture.maximized(sums, previous=start).components)
    # Moments about the origin of the data round at the squares of the means.
    bound = 16 * EPS * np.max(means**2)
    np.testing.assert_allclose(again.covariance, [expected[2]] * 3, rtol=1e-7, atol=bound)


def test_a_tied_component_is_not_fixed_alone():
    mixture = em.Mixture(LINE, 2, tied=True)
    start = mixture.point([0.5, 0.5], LINE.natural_from_params([0.0, 8.0], 1.0))
    with pytest.raises(ValueError, match=r"where components are tied; got \(0,\).*all of them"):
        mixture.fit(X, initialization=start, fixed=(0,))
    found = mixture.fit(X, initialization=start, fixed=("components",))
    np.testing.assert_allclose(found.params.components.x, start.components.x, atol=16 * EPS)


def test_a_start_without_a_likelihood_is_an_error():
    # In the dtype of the data its deviations are 0.
    mixture = em.Mixture(LINE, 2)
    start = mixture.point([0.5, 0.5], LINE.natural_from_params([0.0, 8.0], 1e-30))
    words = "log-likelihood at the starting point must be a number; got nan.*another init"
    with pytest.raises(ValueError, match=words):
        mixture.fit(X.astype(np.float32), initialization=start)
    model = em.HiddenMarkovModel(LINE, 2)
    start = model.point([0.5, 0.5], np.full((2, 2), 0.5), start.components)
    with pytest.raises(ValueError, match=words):
        model.fit(X.astype(np.float32), initialization=start)


def test_counts_are_taken_in_the_precision_that_jax_has():
    with jax.enable_x64(False):
        counts = np.array([1, 2, 1, 0, 9, 8, 11, 10])  # a warning would fail the test
        mixture = em.Mixture(families.Poisson(), 2)
        result = mixture.fit(counts, key=jax.random.key(0))
        model = em.HiddenMarkovModel(families.Poisson(), 2)
        chain = model.fit(counts, key=jax.random.key(0))
    assert result.log_likelihood.dtype == chain.log_likelihood.dtype == np.float32
