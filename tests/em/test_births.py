"""Births: an empty component takes a part of another, the objective never falls."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families

FAMILY = families.Normal()
MIXTURE = em.Mixture(FAMILY, 2)
X = np.concatenate([np.linspace(-6.0, -4.0, 30), np.linspace(4.0, 6.0, 50)])
# One component holds all data, the other is where there are none.
FAR = MIXTURE.point([0.5, 0.5], FAMILY.natural_from_params([0.0, 1e6], [1.0, 1e-3]))
OPTIONS = {"initialization": FAR, "births": 3, "tolerance": 1e-12}


@pytest.fixture(scope="module")
def born():
    return MIXTURE.fit(X, **OPTIONS)


def _steps(result):
    return np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1])


def require_two_clouds(result):
    """The optimum of two clouds that nothing of one knows of the other."""
    order = np.argsort(result.params.log_weights)
    loc, scale = (leaf[order] for leaf in FAMILY.params_from_natural(result.params.components))
    low, high = X[:30], X[30:]
    np.testing.assert_allclose(loc, [low.mean(), high.mean()], rtol=1e-9)
    np.testing.assert_allclose(scale, [low.std(), high.std()], rtol=1e-9)
    np.testing.assert_allclose(np.exp(result.params.log_weights)[order], [3 / 8, 5 / 8], rtol=1e-9)
    values = _steps(result)
    assert result.converged
    assert (np.diff(values) >= -1e-13).all()
    assert np.isnan(result.log_likelihoods[len(values) :]).all()
    np.testing.assert_allclose(80 * values[-1], result.log_likelihood, rtol=1e-12)


def test_an_empty_component_takes_one_of_two_clouds(born):
    left = MIXTURE.fit(X, **OPTIONS | {"births": 0})
    np.testing.assert_allclose(FAMILY.mean(left.params.components), [X.mean(), 1e6], rtol=1e-9)
    require_two_clouds(born)
    # The steps before the birth are those without.
    before = _steps(left)
    np.testing.assert_array_equal(born.log_likelihoods[: len(before)], before)
    assert _steps(born)[len(before)] > before[-1] + 1


def test_under_jit_and_vmap():
    fit = jax.jit(jax.vmap(lambda x: MIXTURE.fit(x, **OPTIONS)))
    found = fit(jnp.stack([X, X[::-1]]))
    for i in range(2):
        require_two_clouds(jax.tree.map(lambda leaf, i=i: leaf[i], found))


def test_in_chunks_with_a_checkpoint_and_weights(tmp_path, born):
    pytest.importorskip("orbax.checkpoint")
    weights = np.full(80, 3.0)
    options = OPTIONS | {"checkpoint": tmp_path / "fit"}
    chunks = em.Chunks([(X[:25], weights[:25]), (X[25:], weights[25:])], weighted=True)
    first = MIXTURE.fit(chunks, **options)
    again = MIXTURE.fit(chunks, **options)
    np.testing.assert_array_equal(again.log_likelihoods, first.log_likelihoods)
    require_two_clouds(first._replace(log_likelihood=first.log_likelihood / 3))
    np.testing.assert_allclose(first.log_likelihood, 3 * born.log_likelihood, rtol=1e-12)


def test_counts_and_columns():
    family = families.Product((families.Poisson(), families.Categorical(3)))
    mixture = em.Mixture(family, 3)
    # The counts tell the groups apart; each has its own share of the labels.
    counts, labels = np.repeat([2, 40, 400], 10), np.tile([0, 1, 2, 2, 1, 2], 5)
    start = mixture.point(
        [1.0, 0.0, 0.0],
        family.natural_from_params(
            families.Poisson().natural_from_params([100.0, 5e4, 5e5]),
            families.Categorical(3).natural_from_params(np.full((3, 3), 1 / 3)),
        ),
    )
    result = mixture.fit((counts, labels), initialization=start, births=4)
    assert (np.diff(_steps(result)) >= -1e-13).all()
    count, label = family.params_from_natural(result.params.components)
    order = np.argsort(count.rate)
    np.testing.assert_allclose(count.rate[order], [2, 40, 400], rtol=1e-6)
    shares = [np.bincount(part, minlength=3) / 10 for part in labels.reshape(3, 10)]
    np.testing.assert_allclose(label.probs[order], shares, rtol=1e-6)
    np.testing.assert_allclose(np.exp(result.params.log_weights), 1 / 3, rtol=1e-6)


@pytest.mark.slow
def test_what_gains_nothing_is_not_taken_and_what_is_fixed_stays():
    # A component too many: equal observations of a count have one maximum.
    family = families.Poisson()
    mixture = em.Mixture(family, 2)
    start = mixture.point([1.0, 0.0], family.natural_from_params([2.0, 1e5]))
    x = np.full(20, 4)
    left = mixture.fit(x, initialization=start)
    born = mixture.fit(x, initialization=start, births=5)
    np.testing.assert_allclose(born.log_likelihood, left.log_likelihood, rtol=1e-14)
    assert (np.diff(_steps(born)) >= 0).all()
    for fixed in ((0,), (1,)):
        kept = MIXTURE.fit(X, **OPTIONS, fixed=fixed)
        for leaf, old in zip(kept.params.components, FAR.components, strict=True):
            np.testing.assert_allclose(leaf[fixed[0]], old[fixed[0]], rtol=1e-12, atol=1e-12)


@pytest.mark.slow
def test_tied_components_under_a_prior():
    family = families.MultivariateNormal(2)
    mixture = em.Mixture(family, 3, tied=True)
    centers = np.array([[0.0, 0.0], [9.0, 0.0], [0.0, 9.0]])
    x = np.repeat(centers, 40, axis=0) + np.random.default_rng(0).normal(size=(120, 2))
    far = np.array([[3.0, 3.0], [1e6, 0.0], [0.0, 1e6]])
    start = mixture.point([1.0, 0.0, 0.0], family.natural_from_params(far, np.eye(2)))
    prior = em.data_prior(mixture, x, count=0.1)
    result = mixture.fit(x, initialization=start, prior=prior, births=4)
    assert result.converged
    assert (np.diff(_steps(result)) >= -1e-13).all()
    means = family.mean(result.params.components)
    nearest = np.linalg.norm(means[:, None] - centers[None], axis=2)
    assert sorted(nearest.argmin(axis=1)) == [0, 1, 2]
    assert nearest.min(axis=1).max() < 0.5


def test_where_the_heaviest_does_not_gain_the_next_is_split():
    family = families.Poisson()
    mixture = em.Mixture(family, 3)
    x = np.repeat([50, 1, 9], [60, 15, 15])
    start = mixture.point([0.6, 0.3, 0.1], family.natural_from_params([50.0, 5.0, 1e6]))
    # Equal counts gain nothing by a second component, which the prior draws away from them.
    prior = em.mixture_prior(mixture, family.natural_from_params(5.0), 1.0)
    options = {"initialization": start, "prior": prior, "tolerance": 1e-10}
    heaviest = mixture.fit(x, **options, births=1)
    assert np.exp(heaviest.params.log_weights).min() < 1e-9
    born = mixture.fit(x, **options, births=3)
    np.testing.assert_allclose(np.sort(family.mean(born.params.components)), [1, 9, 49], atol=1.5)
    assert born.log_likelihood > heaviest.log_likelihood + 10


def test_a_component_of_almost_no_observation_is_empty():
    family = families.Poisson()
    mixture = em.Mixture(family, 2)
    x, weights = np.repeat([2, 20, 5000], [30, 50, 1]), np.repeat([1.0, 1e-6], [80, 1])
    start = mixture.point([0.5, 0.5], family.natural_from_params([13.0, 5000.0]))
    born = mixture.fit(x, weights=weights, initialization=start, births=1, tolerance=1e-10)
    np.testing.assert_allclose(np.sort(family.mean(born.params.components)), [2, 20], rtol=1e-3)


def test_fewer_steps_than_it_takes():
    short = MIXTURE.fit(X, **OPTIONS, max_iterations=3)
    assert int(short.num_iterations) == 3
    assert np.isfinite(short.log_likelihoods).all()


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"births": -1}, ValueError, "births must be at least 1"),
        ({"births": 1.5}, TypeError, "births must be a Python integer"),
        ({"births": 1, "fixed": ("weights",)}, ValueError, "births must be 0 where weights are"),
    ],
)
def test_bad_input(options, error, words):
    with pytest.raises(error, match=words):
        MIXTURE.fit(X, **OPTIONS | options)
