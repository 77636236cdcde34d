"""Hidden Markov models at the edges: rare classes, few observations, none at all, no path."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families

EPS = np.finfo(float).eps
LABELS = em.HiddenMarkovModel(families.Categorical(3), 2)
COUNTS = em.HiddenMarkovModel(families.Poisson(), 3, missing=True)
RATES = np.array([1.0, 4.0, 9.0])
MOVES = np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.2, 0.2, 0.6]])
POINT = COUNTS.point([0.5, 0.3, 0.2], MOVES, families.Poisson().natural_from_params(RATES))


def rows(order):
    """Two regimes, of which one never shows the class 2; the classes renamed."""
    draws = np.random.default_rng(0)
    first = draws.choice(2, size=(4, 15), p=[0.7, 0.3])
    second = draws.choice(3, size=(4, 10), p=[0.05, 0.05, 0.9])
    x = np.concatenate([first, second], axis=1)
    probs = np.array([[0.5, 0.5 - 1e-15, 1e-15], [0.1, 0.1, 0.8]])
    return np.asarray(order)[x], probs[:, np.argsort(order)]


@pytest.fixture(scope="module")
def renamed():
    """Fits to the same data, the lost class first in the one and last in the other."""
    found = []
    for order in ([2, 1, 0], [0, 1, 2]):
        x, probs = rows(order)
        start = LABELS.point(
            [0.9, 0.1], [[0.9, 0.1], [0.0, 1.0]], LABELS.family.natural_from_params(probs)
        )
        found.append(LABELS.fit(x, initialization=start, max_iterations=200, tolerance=1e-9))
    return found


def test_a_class_that_a_state_loses_may_be_the_last(renamed):
    inner, last = renamed
    assert inner.converged
    assert last.converged
    np.testing.assert_allclose(last.log_likelihood, inner.log_likelihood, rtol=1e-9)
    values = np.asarray(last.log_likelihoods)
    assert (np.diff(values[~np.isnan(values)]) >= -1e-13).all()
    probs = [LABELS.family.params_from_natural(fit.params.emissions).probs for fit in renamed]
    np.testing.assert_allclose(probs[1], probs[0][:, ::-1], atol=1e-6)
    assert 0 < probs[1][0, 2] <= 1e-14


@pytest.mark.parametrize("total", [1.0, 1 - EPS, 1 + EPS, 0.75])
def test_what_is_lost_is_no_less_than_rounding(total):
    single, several = families.Categorical(3), families.Multinomial(2, 3)
    shares = jnp.array([0.25, total - 0.25])
    found = single.in_chart(single.Point(shares)).one_hot
    pair = several.in_chart(several.Point(2 * shares)).counts
    both = families.Product((single, several))
    together = both.in_chart(both.Point(single.Point(shares), several.Point(2 * shares)))
    np.testing.assert_array_equal(together[0].one_hot, found)
    np.testing.assert_array_equal(together[1].counts, pair)
    np.testing.assert_allclose(pair, 2 * found, rtol=EPS)
    np.testing.assert_allclose(found, shares, rtol=8 * EPS)
    if total < 1 - EPS:
        np.testing.assert_array_equal(found, shares)
    else:
        assert 2 * EPS < 1 - jnp.sum(found) <= 4 * EPS


def test_an_empty_last_class_is_a_step_that_is_taken():
    sums = LABELS.expectations(
        LABELS.point(
            [1.0, 0.0], np.eye(2), LABELS.family.natural_from_params(np.full((2, 3), 1 / 3))
        ),
        np.array([0, 1, 0, 1]),
    )
    found = LABELS.maximized(sums)
    assert LABELS.family.in_natural_domain(found.emissions).all()
    probs = LABELS.family.params_from_natural(found.emissions).probs
    np.testing.assert_allclose(probs[0], [0.5, 0.5, 0], atol=4 * EPS)


def test_an_online_fit_keeps_the_last_class_too():
    x, _ = rows([0, 1, 2])
    probs = jnp.array([[0.6, 0.4, 1e-300], [0.05, 0.05, 0.9]])
    emissions = LABELS.family.natural_from_params(probs)
    start = LABELS.point([1.0, 0.0], [[0.9, 0.1], [0.0, 1.0]], emissions)
    found = LABELS.fit_online([x, x], start)
    assert LABELS.family.in_natural_domain(found.params.emissions).all()
    moved = LABELS.family.params_from_natural(found.params.emissions).probs
    assert np.abs(moved - probs).max() > 1e-3, "the step was taken"


def test_a_sequence_of_which_nothing_is_seen_is_a_prior():
    x = np.full((2, 4), np.nan)
    x[1] = [1.0, np.nan, 8.0, 9.0]
    np.testing.assert_allclose(COUNTS.log_likelihood(POINT, x)[0], 0, atol=4 * EPS)
    law, laws = np.array([0.5, 0.3, 0.2]), []
    for _ in range(6):
        laws.append(law)
        law = law @ MOVES
    smoothed = COUNTS.smooth(POINT, x)
    np.testing.assert_allclose(smoothed.states[0], laws[:4], rtol=1e-14)
    ahead = COUNTS.forecast(POINT, x, 2)
    np.testing.assert_allclose(ahead.states[0], laws[4:], rtol=1e-14)
    np.testing.assert_allclose(ahead.mean[0], np.stack(laws[4:]) @ RATES, rtol=1e-14)
    # It says nothing of the emissions, and is not counted in their weight.
    both, alone = COUNTS.expectations(POINT, x), COUNTS.expectations(POINT, x[1:])
    np.testing.assert_allclose(both.emissions.counts, alone.emissions.counts, rtol=1e-14)
    assert both.emissions.weight == alone.emissions.weight == 3
    np.testing.assert_allclose(both.initial - alone.initial, laws[0], rtol=1e-13)
    with pytest.raises(ValueError, match=r"weight of all observations.*positive"):
        COUNTS.fit(x[:1], initialization=POINT)


@pytest.mark.parametrize("x", [[4.0], [3.0, 5.0], [np.nan, 4.0, np.nan]])
def test_fewer_observations_than_states(x):
    found = COUNTS.fit(np.asarray(x), initialization=POINT, max_iterations=40)
    values = np.asarray(found.log_likelihoods)
    values = values[~np.isnan(values)]
    assert (np.diff(values) >= -1e-13).all()
    # No model gives counts more than one law of its own for each.
    seen = np.asarray(x)[~np.isnan(x)]
    best = families.Poisson().log_density(families.Poisson().natural_from_params(seen), seen).sum()
    assert values[-1] * seen.size <= best + 1e-12
    assert values[-1] * seen.size > COUNTS.log_likelihood(POINT, np.asarray(x))
    assert np.isfinite(np.asarray(COUNTS.smooth(found.params, np.asarray(x)).states)).all()


@pytest.mark.parametrize("name", ["k-means++", "segments"])
def test_named_starts_of_fewer_observations_than_states(name):
    found = COUNTS.fit(
        np.array([[2.0, 6.0]]), key=jax.random.key(0), initialization=name, max_iterations=5
    )
    assert np.isfinite(found.log_likelihood)


def test_no_path_is_told_without_nan():
    forward = em.HiddenMarkovModel(families.Categorical(3), 2, transition_mask=em.left_right(2))
    probs = jnp.array([[0.5, 0.0, 0.5], [0.0, 0.5, 0.5]])
    emissions = forward.family.natural_from_params(probs)
    params = forward.point([1.0, 0.0], [[0.5, 0.5], [0.0, 1.0]], emissions)
    x = jnp.array([[0, 1, 2], [1, 0, 2], [0, 1, 0]])  # only the first can go forward

    value, gradient = jax.value_and_grad(
        lambda params: jnp.sum(jnp.where(jnp.arange(3) == 0, forward.log_likelihood(params, x), 0))
    )(params)
    np.testing.assert_allclose(np.exp(value), 0.5 * 0.5 * 0.5 * 0.5, rtol=1e-14)
    assert forward.log_likelihood(params, x).tolist()[1:] == [-np.inf, -np.inf]
    assert all(not np.isnan(leaf).any() for leaf in jax.tree.leaves(gradient))
    whole = jax.grad(lambda params: jnp.sum(forward.log_likelihood(params, x)))(params)
    assert all(not np.isnan(leaf).any() for leaf in jax.tree.leaves(whole))
    path = forward.predict(params, x)
    assert path.states.tolist() == [[0, 1, 1], [-1] * 3, [-1] * 3]
    assert path.log_density.tolist()[1:] == [-np.inf, -np.inf]
    sums = forward.expectations(params, x)
    assert sums.emissions.log_likelihood == -np.inf
    np.testing.assert_allclose(sums.transitions, [[0, 1], [0, 1]], atol=EPS)
    np.testing.assert_allclose(sums.emissions.counts, [1, 2], rtol=4 * EPS)
    # From the first impossible step on nothing is known, of what comes after neither.
    assert (forward.forecast(params, x, 2).states[1:] == 0).all()


def test_sequences_that_are_all_empty():
    x = np.zeros((2, 3))
    found = COUNTS.smooth(POINT, x, length=np.array([0, 0]))
    assert found.log_likelihood.tolist() == [0, 0]
    assert (found.states == 0).all()
    assert (found.initial == 0).all()
    with pytest.raises(ValueError, match=r"weight of all observations.*positive"):
        COUNTS.fit(x, length=np.array([0, 0]), initialization=POINT)


@pytest.mark.parametrize(("offset", "dtype"), [(1e4, np.float32), (1e8, float)])
def test_missing_entries_cost_no_digits_at_an_offset(offset, dtype):
    # Multiples of an eighth: both dtypes hold them at the offset.
    x = np.round(8 * np.random.default_rng(1).normal(size=120)) / 8 + 5.0 * (
        np.arange(120) // 20 % 2
    )
    x[::7] = np.nan
    model = em.HiddenMarkovModel(families.Normal(), 2, missing=True)
    options = {"key": jax.random.key(0), "max_iterations": 20}
    plain = model.fit(x, **options)
    moved = model.fit((x + offset).astype(dtype), **options)
    assert moved.converged
    assert moved.log_likelihood.dtype == dtype
    np.testing.assert_allclose(moved.log_likelihood, plain.log_likelihood, rtol=1e-5)
    scaled = model.fit((1024 * x).astype(dtype), **options)
    shift = np.log(1024) * np.sum(~np.isnan(x))
    np.testing.assert_allclose(scaled.log_likelihood + shift, plain.log_likelihood, rtol=1e-5)
