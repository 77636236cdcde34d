"""Baum-Welch: monotone in every family, and each of its options against what it must come to."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.em import _hidden_markov_fit, priors
from igeojax.em._transitions import stationary_law
from tests.em.test_hidden_markov import drawn
from tests.laws.programs import each_family_few_by_default

POISSON = em.HiddenMarkovModel(families.Poisson(), 2)
RATES = families.Poisson().natural_from_params(jnp.array([2.0, 7.0]))
START = POISSON.point([0.5, 0.5], [[0.6, 0.4], [0.3, 0.7]], RATES)
LENGTH = np.array([30, 12, 1])


def counts_of(key=0, shape=(3,), steps=30):
    rates = families.Poisson().natural_from_params(jnp.array([1.0, 9.0]))
    truth = POISSON.point(None, [[0.9, 0.1], [0.2, 0.8]], rates)
    return POISSON.sample(jax.random.key(key), truth, steps, shape)[1]


COUNTS = counts_of()


def poisson_fit(x=COUNTS, model=POISSON, **options):
    options = {"length": LENGTH, "initialization": START, "tolerance": 0.0} | options
    return model.fit(x, **{"max_iterations": 10} | options)


def steps_of(result):
    return np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1])


def require_monotone(result):
    values = steps_of(result)
    assert values.size > 2
    assert np.isfinite(values).all()
    assert values[-1] > values[0]
    assert (np.diff(values) >= -1e-12 * np.abs(values[1:])).all()


def require_equal(one, other, rtol=1e-9):
    for a, b in zip(*map(jax.tree.leaves, (one, other)), strict=True):
        np.testing.assert_allclose(a, b, rtol=rtol, atol=1e-12)


@each_family_few_by_default
def test_likelihood_never_falls(name):
    model, params, x = drawn(name, shape=(4,), steps=40)
    even = model.point([0.5, 0.5], [[0.6, 0.4], [0.4, 0.6]], params.emissions)
    length = np.array([40, 25, 1, 0])
    result = model.fit(x, length=length, initialization=even, max_iterations=10, tolerance=0.0)
    require_monotone(result)
    assert steps_of(result).size == 11


def test_one_state_is_a_fit_of_independent_observations():
    family = families.MultivariateNormal(2)
    model = em.HiddenMarkovModel(family, 1)
    x = jax.random.normal(jax.random.key(0), (3, 20, 2)) @ jnp.array([[1.0, 0.4], [0.0, 2.0]])
    length = np.array([20, 7, 2])
    rows = jnp.concatenate([x[i, :n] for i, n in enumerate(length)])
    result = model.fit(x, length=length, key=jax.random.key(1))
    expected = family.fit(rows)
    require_equal(jax.tree.map(lambda leaf: leaf[0], result.params.emissions), expected)
    total = family.log_density(expected, rows).sum()
    np.testing.assert_allclose(result.log_likelihood, total, rtol=1e-12)
    np.testing.assert_allclose(result.bic, 5 * np.log(29) - 2 * total, rtol=1e-12)
    np.testing.assert_allclose(result.aic, 10 - 2 * total, rtol=1e-12)


def test_weights_are_repetitions_and_chunks_change_nothing():
    weighted = poisson_fit(weights=[2.0, 0.0, 3.0])
    rows = np.array([0, 0, 2, 2, 2])
    repeated = poisson_fit(COUNTS[rows], length=LENGTH[rows], chunk_size=2)
    require_equal(weighted, repeated)
    # A mask says the same as a length, and padding counts nothing wherever it stands.
    inside = np.arange(30) < LENGTH[:, None]
    moved = np.where(inside, COUNTS, -7)[:, ::-1]
    mask = inside[:, ::-1]
    flipped = np.stack([np.r_[row[~m], row[m][::-1]] for row, m in zip(moved, mask, strict=True)])
    masked = poisson_fit(flipped, length=None, mask=mask, weights=[2.0, 0.0, 3.0])
    require_equal(weighted, masked)


def test_segments_are_equal_parts_of_what_is_present():
    # Padding in the middle: steps that are absent on either side make no move.
    mask = np.array([[1, 1, 0, 1, 1, 0], [0, 1, 1, 1, 1, 1], [0, 0, 0, 0, 1, 0]], bool)
    x = np.where(mask, np.arange(18).reshape(3, 6), -7)
    weights = np.array([1.0, 2.0, 0.5])
    key = jax.random.key(0)
    found = _hidden_markov_fit.starting_points(
        POISSON, key[None], POISSON._sequences(x, None, mask), weights, None, name="segments"
    )
    parts = np.array([[0, 0, 0, 1, 1, 0], [0, 0, 0, 0, 1, 1], [0, 0, 0, 0, 0, 0]])
    law = 0.9 * np.eye(2)[parts] + 0.05
    mass = law * (weights[:, None] * mask)[..., None]
    first = 1 + mass[0, 0] + mass[1, 1] + mass[2, 4]
    moves = np.ones((2, 2))
    for row, step in zip(*np.nonzero(mask[:, 1:] & mask[:, :-1]), strict=True):
        moves += np.outer(mass[row, step], law[row, step + 1])
    rates = np.einsum("bt,btk->k", x, mass) / mass.sum((0, 1))
    expected = POISSON.point(
        first / first.sum(),
        moves / moves.sum(1, keepdims=True),
        families.Poisson().natural_from_params(rates),
    )
    require_equal(jax.tree.map(lambda leaf: leaf[0], found), expected)


@pytest.mark.slow
def test_the_best_restart_is_kept():
    options = {"initialization": "random", "max_iterations": 4}
    key = jax.random.key(3)
    many = poisson_fit(key=key, num_restarts=3, **options)
    alone = []
    sequences = POISSON._sequences(COUNTS, LENGTH, None)
    starts = _hidden_markov_fit.starting_points(
        POISSON, jax.random.split(key, 3), sequences, jnp.ones(3), None, name="random"
    )
    for i in range(3):
        start = jax.tree.map(lambda leaf, i=i: leaf[i], starts)
        alone.append(poisson_fit(initialization=start, max_iterations=4).log_likelihood)
    np.testing.assert_allclose(many.log_likelihood, max(alone), rtol=1e-12)
    assert max(alone) > min(alone)


@pytest.mark.parametrize("name", ["k-means++", pytest.param("random", marks=pytest.mark.slow)])
def test_recovers_the_model(name):
    x = counts_of(1, (20,), 200)
    result = POISSON.fit(x, key=jax.random.key(0), initialization=name, num_restarts=2)
    assert result.converged
    rates = np.asarray(families.Poisson().mean(result.params.emissions))
    order = np.argsort(rates)
    # About five standard errors of 1300 steps in the rarer state.
    np.testing.assert_allclose(rates[order], [1, 9], atol=0.4)
    moves = np.exp(result.params.log_transition)[order][:, order]
    np.testing.assert_allclose(moves, [[0.9, 0.1], [0.2, 0.8]], atol=0.05)


def test_the_posterior_density_never_falls_and_pseudo_counts_add():
    center = families.Poisson().natural_from_params(3.0)
    prior = em.HiddenMarkovPrior(
        initial=2.0,
        transition=1.0 + 20.0 * jnp.eye(2),
        emissions=priors.mixture_prior(POISSON.mixture, center, 5.0),
    )
    result = poisson_fit(prior=prior)
    require_monotone(result)
    sums = POISSON.expectations(START, COUNTS, length=LENGTH)
    after = POISSON.maximized(sums, prior=prior)
    moves = np.asarray(sums.transitions) + 20 * np.eye(2)
    np.testing.assert_allclose(
        np.exp(after.log_transition), moves / moves.sum(1, keepdims=True), rtol=1e-12
    )
    first = np.asarray(sums.initial) + 1
    np.testing.assert_allclose(np.exp(after.log_initial), first / first.sum(), rtol=1e-12)
    rates = (sums.emissions.statistics.x + 15) / (sums.emissions.counts + 5)
    np.testing.assert_allclose(families.Poisson().mean(after.emissions), rates, rtol=1e-12)
    # What is reported as likelihood is that of the data alone.
    alone = POISSON.log_likelihood(result.params, COUNTS, length=LENGTH).sum()
    np.testing.assert_allclose(result.log_likelihood, alone, rtol=1e-12)
    np.testing.assert_allclose(
        steps_of(result)[-1] * LENGTH.sum(),
        alone + prior.log_density(POISSON, result.params),
        rtol=1e-12,
    )


def test_stationary_law_is_kept_by_the_transitions():
    transition = np.array([[0.5, 0.5, 0.0], [1e-9, 0.5, 0.5 - 1e-9], [0.2, 0.3, 0.5]])
    law = np.asarray(stationary_law(jnp.asarray(transition)))
    np.testing.assert_allclose(law @ transition, law, rtol=1e-14)
    np.testing.assert_allclose(law.sum(), 1, rtol=1e-14)
    # Small probabilities keep their digits: of two states the law is (b, a) / (a + b).
    found = stationary_law(jnp.array([[1 - 1e-30, 1e-30], [0.25, 0.75]]))
    np.testing.assert_allclose(found, [1, 4e-30], rtol=1e-14)


@pytest.mark.slow
def test_a_stationary_start_is_fitted_to_its_maximum():
    model = em.HiddenMarkovModel(families.Poisson(), 2, stationary_start=True)
    x, length = counts_of(2, (60,), 5), np.tile([5, 1, 2], 20)
    start = model.point(None, np.exp(START.log_transition), RATES)
    result = poisson_fit(x, model, length=length, initialization=start, max_iterations=300)
    require_monotone(result)
    transition = np.exp(result.params.log_transition)
    law = np.exp(result.params.log_initial)
    np.testing.assert_allclose(law @ transition, law, rtol=1e-12)

    def value(free):
        moves = jax.nn.log_softmax(jnp.stack([jnp.zeros(2), free], axis=1))
        first = jnp.log(jnp.array([jnp.exp(moves[1, 0]), jnp.exp(moves[0, 1])]))
        params = result.params._replace(log_initial=jax.nn.log_softmax(first), log_transition=moves)
        return model.log_likelihood(params, x, length=length).sum()

    at = result.params.log_transition
    slope = jax.grad(value)(at[:, 1] - at[:, 0])
    np.testing.assert_allclose(value(at[:, 1] - at[:, 0]), result.log_likelihood, rtol=1e-10)
    np.testing.assert_allclose(slope, 0, atol=1e-4)
    # Without the first states' say the transitions would be others.
    free = poisson_fit(x, length=length, initialization=start, max_iterations=300)
    assert np.abs(np.exp(free.params.log_transition) - transition).max() > 1e-3
    assert model.dimension == POISSON.dimension - 1


def test_forbidden_moves_stay_forbidden():
    family = families.Normal()
    mask = em.left_right(3)
    model = em.HiddenMarkovModel(
        family, 3, transition_mask=mask, initial_mask=np.array([True, False, False])
    )
    emissions = family.natural_from_params(jnp.array([0.0, 4.0, -4.0]), 1.0)
    truth = model.point(
        [1.0, 0.0, 0.0], [[0.9, 0.1, 0.0], [0.0, 0.9, 0.1], [0.0, 0.0, 1.0]], emissions
    )
    states, x = model.sample(jax.random.key(0), truth, 30, (20,))
    prior = em.HiddenMarkovPrior(transition=2.0, initial=3.0)
    result = model.fit(x, initialization="segments", prior=prior)
    assert result.converged
    np.testing.assert_array_equal(np.exp(result.params.log_transition)[~mask], 0)
    np.testing.assert_array_equal(np.exp(result.params.log_initial), [1, 0, 0])
    np.testing.assert_allclose(family.mean(result.params.emissions), [0, 4, -4], atol=0.4)
    path = model.predict(result.params, x).states
    assert (np.diff(path, axis=1) >= 0).all()
    assert (path == states).mean() > 0.97
    assert model.dimension == 2 + 6


def test_what_is_fixed_stays():
    result = poisson_fit(fixed=("transition", 1), max_iterations=4)
    np.testing.assert_array_equal(result.params.log_transition, START.log_transition)
    np.testing.assert_array_equal(result.params.emissions.x[1], RATES.x[1])
    assert result.params.emissions.x[0] != RATES.x[0]
    sums = POISSON.expectations(START, COUNTS, length=LENGTH)
    after = POISSON.maximized(sums, previous=START, fixed=("initial", "emissions"))
    np.testing.assert_allclose(after.log_initial, START.log_initial, rtol=1e-15)
    np.testing.assert_array_equal(after.emissions.x, RATES.x)
    assert np.abs(after.log_transition - START.log_transition).min() > 1e-3


def test_a_state_without_mass_keeps_its_parameters():
    lone = POISSON.point([1.0, 0.0], [[1.0, 0.0], [0.5, 0.5]], RATES)
    result = poisson_fit(initialization=lone, max_iterations=3)
    assert np.isfinite(steps_of(result)).all()
    np.testing.assert_allclose(np.exp(result.params.log_transition[1]), 0.5, rtol=1e-15)
    np.testing.assert_array_equal(result.params.emissions.x[1], RATES.x[1])


@pytest.mark.slow
def test_missing_steps_are_in_time_but_unseen():
    model = em.HiddenMarkovModel(families.Poisson(), 2, missing=True)
    x = np.array(COUNTS[:1], float)
    x[0, ::3] = np.nan
    result = poisson_fit(x, model, length=None, max_iterations=200)
    require_monotone(result)
    # At the maximum the likelihood is flat in the rates, by derivatives of the densities.
    total = lambda rates: model.log_likelihood(
        result.params._replace(emissions=families.Poisson.Point(rates)), x
    )[0]
    np.testing.assert_allclose(jax.grad(total)(result.params.emissions.x), 0, atol=1e-5)
    named = model.fit(x, key=jax.random.key(0), max_iterations=2)
    assert np.isfinite(steps_of(named)).all()
    np.testing.assert_allclose(named.bic, 5 * np.log(20) - 2 * named.log_likelihood, rtol=1e-12)


def test_one_batch_online_is_one_step():
    whole = poisson_fit(max_iterations=1).params
    batch = em.SequenceBatch(COUNTS, length=LENGTH)
    once = POISSON.fit_online([batch], START)
    require_equal(once.params, whole)
    before = POISSON.log_likelihood(START, COUNTS, length=LENGTH).sum() / LENGTH.sum()
    np.testing.assert_allclose(once.log_likelihoods, [before], rtol=1e-12)
    # A stream in two parts is the stream.
    together = POISSON.fit_online([batch, batch], START)
    require_equal(POISSON.fit_online([batch], once)[:4], together[:4])
    # The second average: half way by its weight, 2^-0.6.
    sums = [POISSON.expectations(p, COUNTS, length=LENGTH) for p in (START, once.params)]
    share = 2**-0.6
    moves = ((1 - share) * sums[0].transitions + share * sums[1].transitions) / 3
    np.testing.assert_allclose(together.averages.transitions, moves, rtol=1e-9)


def test_a_prior_counts_once_in_a_stream():
    prior = em.HiddenMarkovPrior(initial=3.0, transition=5.0)
    batch = em.SequenceBatch(COUNTS, length=LENGTH)
    twice = POISSON.fit_online([batch, batch], START, prior=prior)
    # The averages are those of a sequence; six have been seen.
    for name, more in (("initial", 2.0), ("transitions", 4.0)):
        counts = 6 * np.asarray(getattr(twice.averages, name)) + more
        found = np.exp(getattr(twice.params, f"log_{name.removesuffix('s')}"))
        np.testing.assert_allclose(found, counts / counts.sum(-1, keepdims=True), rtol=1e-12)


def test_a_stream_leads_to_the_model():
    stream = np.asarray(counts_of(10, (750,), 40)).reshape(150, 5, 40)
    result = POISSON.fit_online(stream, START)
    assert result.num_batches == 150
    assert result.weight == 750
    np.testing.assert_allclose(families.Poisson().mean(result.params.emissions), [1, 9], atol=0.4)
    moves = np.exp(result.params.log_transition)
    np.testing.assert_allclose(moves, [[0.9, 0.1], [0.2, 0.8]], atol=0.05)


@pytest.mark.slow
def test_float32_keeps_its_digits_far_from_zero():
    family = families.DiagonalNormal(2)
    model = em.HiddenMarkovModel(family, 2)
    emissions = family.natural_from_params(jnp.array([[0.0, 1.0], [3.0, -1.0]]), jnp.ones((2, 2)))
    truth = model.point(None, [[0.9, 0.1], [0.1, 0.9]], emissions)
    x = model.sample(jax.random.key(0), truth, 100, (4,))[1]
    options = {"key": jax.random.key(1), "max_iterations": 15, "tolerance": 0.0}
    far = np.float32(x + 1e5)  # rounded to 1/128
    single = model.fit(far, **options)
    double = model.fit(far.astype(float), **options)
    floats = [v for v in jax.tree.leaves(single) if jnp.issubdtype(v.dtype, jnp.floating)]
    assert {v.dtype for v in floats} == {jnp.dtype(jnp.float32)}
    np.testing.assert_allclose(single.log_likelihood, double.log_likelihood, rtol=1e-5)


def test_fit_does_not_retrace():
    _hidden_markov_fit.run.clear_cache()
    for tolerance in (1e-3, 1e-4):
        poisson_fit(tolerance=tolerance)
        poisson_fit(model=em.HiddenMarkovModel(families.Poisson(), 2), tolerance=tolerance)
    assert _hidden_markov_fit.run._cache_size() == 1


@pytest.mark.slow
def test_progress_of_restarts_names_each(capfd):
    options = {"key": jax.random.key(0), "initialization": "k-means++", "max_iterations": 3}
    poisson_fit(num_restarts=2, progress=True, **options)
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("EM ")]
    names = [f"EM start {start}, step    {step}" for start in (1, 2) for step in (1, 2, 3)]
    assert [line.split(":")[0] for line in lines] == names
