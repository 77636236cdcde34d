"""Hidden Markov models with known parameters: hmmlearn, dynamax, all paths, Fisher's identity."""

import itertools
import json
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.families import FAMILIES
from tests.laws.programs import each_family_few_by_default

PEERS = json.loads((Path(__file__).parent / "hidden_markov_peers.json").read_text())
LENGTHS = np.array(PEERS["lengths"])
KINDS = ("diagonal", "full", "categorical", "poisson")


def case(kind):
    """The model, its starting point, padded data, and what the peers say."""
    found = PEERS["cases"][kind]
    emissions = {name: jnp.asarray(value) for name, value in found["emissions"].items()}
    if kind == "diagonal":
        family = families.DiagonalNormal(2)
        theta = family.natural_from_params(emissions["means"], emissions["variances"] ** 0.5)
    elif kind == "full":
        family = families.MultivariateNormal(2)
        theta = family.natural_from_params(emissions["means"], emissions["covariances"])
    elif kind == "categorical":
        family = families.Categorical(4)
        theta = family.natural_from_params(emissions["probs"])
    else:
        family = families.Poisson()
        theta = family.natural_from_params(emissions["rates"])
    model = em.HiddenMarkovModel(family, 3)
    params = model.point(PEERS["initial"], PEERS["transition"], theta)
    data = np.array(found["data"])
    parts = np.split(data, np.cumsum(LENGTHS)[:-1])
    padded = np.stack([np.resize(part, (LENGTHS.max(), *part.shape[1:])) for part in parts])
    return model, params, jnp.asarray(padded), found


def spread(kind, model, emissions):
    source = model.family.params_from_natural(emissions)
    names = {"diagonal": "scale", "full": "covariance", "categorical": "probs", "poisson": "rate"}
    value = np.asarray(getattr(source, names[kind]))
    return value**2 if kind == "diagonal" else value


@pytest.mark.parametrize("kind", KINDS)
def test_values_are_those_of_hmmlearn_and_dynamax(kind):
    model, params, x, found = case(kind)
    smoothed = model.smooth(params, x, length=LENGTHS)
    path = model.predict(params, x, length=LENGTHS)
    inside = np.arange(LENGTHS.max()) < LENGTHS[:, None]
    peer = found["hmmlearn"]
    np.testing.assert_allclose(smoothed.log_likelihood.sum(), peer["log_likelihood"], rtol=1e-12)
    np.testing.assert_allclose(smoothed.states[inside], peer["posteriors"], atol=1e-12)
    np.testing.assert_allclose(path.log_density.sum(), peer["viterbi"], rtol=1e-12)
    np.testing.assert_array_equal(path.states[inside], peer["states"])
    np.testing.assert_array_equal(path.states[~inside], -1)
    other, first = found["dynamax"], slice(0, LENGTHS[0])
    np.testing.assert_allclose(smoothed.log_likelihood[0], other["log_likelihood"], rtol=1e-12)
    np.testing.assert_allclose(smoothed.states[0, first], other["posteriors"], atol=1e-12)
    np.testing.assert_array_equal(path.states[0, first], other["states"])


@pytest.mark.parametrize("kind", KINDS)
def test_baum_welch_follows_hmmlearn(kind):
    model, params, x, found = case(kind)
    result = model.fit(
        x,
        length=LENGTHS,
        initialization=params,
        tolerance=0.0,
        max_iterations=PEERS["steps"],
    )
    peer = found["hmmlearn"]
    steps = np.asarray(result.log_likelihoods)[:-1] * LENGTHS.sum()
    np.testing.assert_allclose(steps, peer["trajectory"], rtol=1e-8)
    np.testing.assert_allclose(np.exp(result.params.log_initial), peer["initial"], atol=1e-7)
    np.testing.assert_allclose(np.exp(result.params.log_transition), peer["transition"], atol=1e-7)
    ours = spread(kind, model, result.params.emissions)
    np.testing.assert_allclose(ours, peer["spread"], rtol=1e-6, atol=1e-9)
    if "means" in peer:
        mean = model.family.mean(result.params.emissions)
        np.testing.assert_allclose(mean, peer["means"], rtol=1e-6, atol=1e-9)


@pytest.mark.parametrize("kind", ["categorical", "poisson"])
def test_baum_welch_ends_where_that_of_dynamax_does(kind):
    model, params, x, found = case(kind)
    # The second sequence counts nothing: dynamax saw the first.
    result = model.fit(
        x,
        weights=[1.0, 0.0],
        length=LENGTHS,
        initialization=params,
        tolerance=0.0,
        max_iterations=PEERS["steps"],
    )
    peer = found["dynamax"]
    np.testing.assert_allclose(np.exp(result.params.log_initial), peer["initial"], atol=1e-7)
    np.testing.assert_allclose(np.exp(result.params.log_transition), peer["transition"], atol=1e-7)
    ours = spread(kind, model, result.params.emissions)
    np.testing.assert_allclose(ours, peer["spread"], rtol=1e-6, atol=1e-9)


def test_peers_cannot_take_a_missing_entry_and_we_can():
    assert PEERS["missing"] == {"hmmlearn": "ValueError: Input contains NaN.", "dynamax": "nan"}
    model, params, x, _ = case("diagonal")
    able = em.HiddenMarkovModel(model.family, 3, missing=True)
    x = x[0]
    whole = model.log_likelihood(params, x)
    np.testing.assert_allclose(able.log_likelihood(params, x), whole, rtol=1e-12)
    # Integrate the missing entry out on a grid.
    grid = jnp.linspace(-12.0, 12.0, 2001)
    filled = jnp.broadcast_to(x, (grid.size, *x.shape)).at[:, 7, 0].set(grid)
    values = np.exp(model.log_likelihood(params, filled) - whole)
    expected = whole + np.log(np.trapezoid(values, grid))
    found = able.log_likelihood(params, x.at[7, 0].set(jnp.nan))
    np.testing.assert_allclose(found, expected, rtol=1e-10)


def by_all_paths(initial, transition, density):
    """Sums over all paths of one sequence; `density (T, K)`."""
    steps, size = density.shape
    total, best = 0.0, (-1.0, None)
    states, moves = np.zeros((steps, size)), np.zeros((size, size))
    for path in itertools.product(range(size), repeat=steps):
        weight = 1.0
        for step, state in enumerate(path):
            move = transition[path[step - 1], state] if step else initial[state]
            weight *= move * density[step, state]
        total += weight
        best = max(best, (weight, path))
        for step, state in enumerate(path):
            states[step, state] += weight
            if step:
                moves[path[step - 1], state] += weight
    return total, states / total, moves / total, best


@pytest.mark.parametrize("missing", [False, True])
def test_expectations_are_the_sums_over_all_paths(missing):
    family = families.Poisson()
    rates = np.array([1.0, 4.0, 9.0])
    model = em.HiddenMarkovModel(family, 3, missing=missing)
    initial = np.array([0.6, 0.4, 0.0])
    transition = np.array([[0.7, 0.3, 0.0], [0.1, 0.6, 0.3], [0.2, 0.0, 0.8]])
    params = model.point(initial, transition, family.natural_from_params(jnp.asarray(rates)))
    x = np.array([[0.0, 3, 8, 9, 2], [5, 1, 7, -9, -9], [4, -9, -9, -9, -9], [-9] * 5])
    length, weights = np.array([5, 3, 1, 0]), np.array([1.0, 2.5, 0.5, 3.0])
    if missing:
        x[0, 2] = x[1, 0] = np.nan
    counts, sums, first = np.zeros(3), np.zeros(3), np.zeros(3)
    moves, value, observed = np.zeros((3, 3)), 0.0, 0.0
    path = model.predict(params, x, length=length)
    for row, steps in enumerate(length):
        if steps == 0:
            continue
        seen = x[row, :steps]
        filled = np.where(np.isnan(seen), 1.0, seen)
        density = np.exp(family.log_density(family.natural_from_params(rates), filled[:, None]))
        density = np.where(np.isnan(seen)[:, None], 1.0, density)
        total, states, pairs, best = by_all_paths(initial, transition, density)
        value += weights[row] * np.log(total)
        first += weights[row] * states[0]
        moves += weights[row] * pairs
        mass = weights[row] * np.where(np.isnan(seen)[:, None], 0.0, states)
        counts += mass.sum(0)
        sums += filled @ mass
        observed += weights[row] * np.sum(~np.isnan(seen))
        np.testing.assert_allclose(path.log_density[row], np.log(best[0]), rtol=1e-12)
        np.testing.assert_array_equal(path.states[row, :steps], best[1])
    for chunk_size in (None, 3):
        found = model.expectations(params, x, weights, length=length, chunk_size=chunk_size)
        np.testing.assert_allclose(found.initial, first, rtol=1e-12)
        np.testing.assert_allclose(found.transitions, moves, rtol=1e-12, atol=1e-15)
        np.testing.assert_allclose(found.emissions.counts, counts, rtol=1e-12)
        np.testing.assert_allclose(found.emissions.statistics.x, sums, rtol=1e-12)
        np.testing.assert_allclose(found.emissions.log_likelihood, value, rtol=1e-12)
        np.testing.assert_allclose(found.emissions.weight, observed)


def drawn(name, num_states=2, shape=(3,), steps=8, **options):
    """A model of a registered family, its parameters and data of it."""
    family = FAMILIES[name].family
    model = em.HiddenMarkovModel(family, num_states, **options)
    transition = 0.6 * np.eye(num_states) + 0.4 / num_states
    emissions = FAMILIES[name].point(jax.random.key(1), (num_states,))
    params = model.point(None, transition, emissions)
    return model, params, model.sample(jax.random.key(2), params, steps, shape)[1]


@each_family_few_by_default
def test_sums_are_the_gradient_of_the_likelihood(name):
    # Fisher's identity: d log p / d theta_k = sum_t r_tk (T(x_t) - eta_k).
    model, params, x = drawn(name)
    length = np.array([8, 1, 5])
    total = lambda emissions: jnp.sum(
        model.log_likelihood(params._replace(emissions=emissions), x, length=length)
    )
    gradient = jax.grad(total)(params.emissions)
    found = model.expectations(params, x, length=length).emissions
    eta = model.family.mean_from_natural(params.emissions)
    expected = jax.tree.map(
        lambda s, m: s - found.counts.reshape((-1,) + (1,) * (m.ndim - 1)) * m,
        found.statistics,
        eta,
    )
    for ours, theirs in zip(*map(jax.tree.leaves, (expected, gradient)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-8, atol=1e-8 * np.abs(theirs).max())


def test_partly_missing_sums_are_the_gradient_of_the_likelihood():
    family = families.Product((families.MultivariateNormal(2), families.Categorical(3)))
    model = em.HiddenMarkovModel(family, 2, missing=True)
    params = model.point(
        None,
        [[0.8, 0.2], [0.3, 0.7]],
        family.natural_from_params(
            family.families[0].natural_from_params(
                jnp.array([[0.0, 1.0], [2.0, -1.0]]),
                jnp.array([[[1.0, 0.4], [0.4, 1.0]], [[2.0, -0.5], [-0.5, 1.0]]]),
            ),
            family.families[1].natural_from_params(jnp.array([[0.7, 0.2, 0.1], [0.2, 0.3, 0.5]])),
        ),
    )
    nan = np.nan
    points = np.array([[0.1, nan], [nan, nan], [nan, -1.5], [2.0, 0.3], [nan, nan]])
    labels = np.array([0.0, 2.0, nan, 1.0, nan])
    total = lambda emissions: model.log_likelihood(
        params._replace(emissions=emissions), (points, labels)
    )
    gradient = jax.grad(total)(params.emissions)
    found = model.expectations(params, (points, labels)).emissions
    np.testing.assert_allclose(found.weight, 4)
    eta = family.mean_from_natural(params.emissions)
    for s, m, g in zip(*map(jax.tree.leaves, (found.statistics, eta, gradient)), strict=True):
        expected = s - found.counts.reshape((-1,) + (1,) * (m.ndim - 1)) * m
        np.testing.assert_allclose(expected, g, rtol=1e-9, atol=1e-12)


def test_long_sequences_do_not_underflow():
    model, params, _ = drawn("Normal")
    _, x = model.sample(jax.random.key(3), params, 100_000)
    found = model.smooth(params, x)
    density = np.exp(jax.vmap(model.family.log_density, (0, None), -1)(params.emissions, x))
    law, total = np.exp(params.log_initial), 0.0
    transition = np.exp(params.log_transition)
    for step, row in enumerate(density):
        law = (law @ transition if step else law) * row
        total += np.log(law.sum())
        law /= law.sum()
    np.testing.assert_allclose(found.log_likelihood, total, rtol=1e-11)
    np.testing.assert_allclose(found.states[-1], law, rtol=1e-9)
    np.testing.assert_allclose(found.states.sum(axis=1), 1, rtol=1e-9)


def test_one_step_and_none():
    model, params, x = drawn("Normal")
    one = model.log_likelihood(params, x[0, :1])
    np.testing.assert_allclose(
        one,
        model.mixture.log_density(em.MixturePoint(params.log_initial, params.emissions), x[0, 0]),
    )
    assert model.log_likelihood(params, x[0, :0]) == 0
    assert model.predict(params, x[0, :0]).states.shape == (0,)
    ahead = model.forecast(params, x[0, :0], 1)
    np.testing.assert_allclose(ahead.states[0], np.exp(params.log_initial), rtol=1e-12)


def test_impossible_observations_are_told():
    family = families.Categorical(3)
    model = em.HiddenMarkovModel(family, 2)
    probs = family.natural_from_params(jnp.array([[0.0, 0.5, 0.5], [0.0, 0.2, 0.8]]))
    params = model.point(None, [[0.5, 0.5], [0.5, 0.5]], probs)
    x = jnp.array([[1, 2, 1], [1, 0, 2]])
    assert np.isfinite(model.log_likelihood(params, x)).tolist() == [True, False]
    assert (model.predict(params, x).states[1] == -1).all()
    assert (model.smooth(params, x).states[1] == 0).all()
    with pytest.raises(ValueError, match=r"sequence 1 is not.* step 1"):
        model.fit(x, initialization=params)
    # What counts nothing may be impossible.
    result = model.fit(x, weights=[1.0, 0.0], initialization=params, max_iterations=3)
    assert np.isfinite(result.log_likelihood)


def test_forecasts_are_mixtures_of_the_future():
    model, params, x = drawn("Normal")
    found = model.forecast(params, x, 3, length=np.array([8, 3, 1]))
    transition = np.exp(params.log_transition)
    loc, scale = model.family.params_from_natural(params.emissions)
    for row, steps in enumerate((8, 3, 1)):
        law = np.asarray(model.smooth(params, x[row, :steps]).states[-1])
        for ahead in range(3):
            law = law @ transition
            np.testing.assert_allclose(found.states[row, ahead], law, rtol=1e-10)
            mean = law @ loc
            np.testing.assert_allclose(found.mean[row, ahead], mean, rtol=1e-10)
            second = law @ (scale**2 + loc**2)
            np.testing.assert_allclose(found.variance[row, ahead], second - mean**2, rtol=1e-9)


def test_samples_follow_the_model():
    family = families.Product((families.Poisson(), families.Normal()))
    model = em.HiddenMarkovModel(family, 2)
    emissions = family.natural_from_params(
        families.Poisson().natural_from_params(jnp.array([2.0, 9.0])),
        families.Normal().natural_from_params(jnp.array([-1.0, 3.0]), jnp.array([1.0, 0.5])),
    )
    transition = np.array([[0.9, 0.1], [0.4, 0.6]])
    params = model.point([0.25, 0.75], transition, emissions)
    states, (counts, values) = model.sample(jax.random.key(0), params, 50, (400,))
    assert states.shape == counts.shape == values.shape == (400, 50)
    states, counts, values = map(np.asarray, (states, counts, values))
    # Five standard errors.
    assert abs(states[:, 0].mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 400)
    for state in range(2):
        after = states[:, 1:][states[:, :-1] == state]
        moved, share = transition[state, 1], 5 / np.sqrt(after.size)
        assert abs(after.mean() - moved) < share * np.sqrt(moved * (1 - moved))
        here = states == state
        size = here.sum()
        rate, (loc, scale) = (2.0, 9.0)[state], ((-1.0, 1.0), (3.0, 0.5))[state]
        assert abs(counts[here].mean() - rate) < 5 * np.sqrt(rate / size)
        assert abs(values[here].mean() - loc) < 5 * scale / np.sqrt(size)
