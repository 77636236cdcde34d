"""Hidden Markov models against the list of all paths, and how their answers hang together."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from igeojax.chains import hmm
from tests.chains.enumeration import listed

LENGTH, STATES = 4, 3
MASKS = np.array([[1, 1, 1, 1], [1, 0, 1, 1], [0, 0, 1, 0], [0, 0, 0, 0]], bool)
BATCH = len(MASKS)


def model(*steps, seed=0, forbid=False):
    draws = np.random.default_rng(seed)
    law = lambda *shape: draws.dirichlet(np.ones(STATES), shape)
    moves = law(*steps, STATES)
    if forbid:
        moves[..., 0, 1] = moves[..., 2, 0] = 0
        moves = moves / moves.sum(-1, keepdims=True)
    with np.errstate(divide="ignore"):
        return np.log(law()), np.log(moves), 2 * draws.normal(size=(BATCH, LENGTH, STATES))


@jax.jit
def answers(initial, transition, emission):
    given = initial, transition, emission
    total = lambda *given: jnp.sum(hmm.log_likelihood(*given, mask=MASKS))
    return {
        "filter": hmm.filter(*given, mask=MASKS),
        "smooth": hmm.smooth(*given, mask=MASKS),
        "viterbi": hmm.viterbi(*given, mask=MASKS),
        "gradient": jax.grad(total, argnums=(0, 1, 2))(*given),
    }


@pytest.mark.parametrize("scale", [1.0, 300.0])
@pytest.mark.parametrize("forbid", [False, True])
@pytest.mark.parametrize("steps", [(), (LENGTH - 1,)], ids=["constant", "varying"])
def test_against_all_paths(steps, forbid, scale):
    initial, transition, emission = model(*steps, forbid=forbid)
    emission = scale * emission
    found = answers(initial, transition, emission)
    exact = 1e-13 * scale
    close = lambda mine, true: np.testing.assert_allclose(mine, true, rtol=0, atol=exact)
    pairs = np.zeros((BATCH, LENGTH - 1, STATES, STATES))
    for b, mask in enumerate(MASKS):
        law = listed(emission[b], transition, mask=mask, start=initial)
        marginals = law.marginals(LENGTH, STATES)
        pairs[b] = law.pairs(LENGTH, STATES)
        smoothed = jax.tree.map(lambda leaf, b=b: leaf[b], found["smooth"])
        close(smoothed.log_likelihood, law.log_partition)
        close(smoothed.states, marginals)
        close(smoothed.transitions, pairs[b] if steps else pairs[b].sum(0))
        close(smoothed.initial, marginals[mask.argmax()])
        close(found["filter"].log_likelihood[b], law.log_partition)
        for t in np.flatnonzero(mask):
            so_far = mask & (np.arange(LENGTH) <= t)
            prefix = listed(emission[b], transition, mask=so_far, start=initial)
            close(found["filter"].states[b, t], prefix.marginals(LENGTH, STATES)[t])
        assert (found["filter"].states[b, ~mask] == 0).all()
        states = found["viterbi"].states[b]
        assert (states[~mask] == -1).all()
        close(law.score_of(states), law.scores.max())
        close(found["viterbi"].log_density[b], law.scores.max())
    close(found["gradient"][0], found["smooth"].initial.sum(0))
    close(found["gradient"][1], pairs.sum(0) if steps else pairs.sum((0, 1)))
    close(found["gradient"][2], found["smooth"].states)


def test_missing_observations_are_summed_out():
    initial, transition, _ = model()
    # Emissions of a categorical variable: the sum over what was not seen is the row of zeros.
    symbols = np.log(np.random.default_rng(3).dirichlet(np.ones(4), STATES))
    seen = np.array([1, 0, 3, 2])
    rows = symbols[:, seen].T
    unseen = np.where(np.arange(LENGTH)[:, None] == 1, 0.0, rows)
    alternatives = np.stack(
        [np.where(np.arange(LENGTH)[:, None] == 1, symbols[:, k], rows) for k in range(4)]
    )
    each = hmm.log_likelihood(initial, transition, alternatives)
    total = hmm.log_likelihood(initial, transition, unseen)
    assert float(total) == pytest.approx(np.logaddexp.reduce(each), rel=1e-14, abs=0)
    absent = hmm.log_likelihood(initial, transition, rows, mask=np.arange(LENGTH) != 1)
    assert abs(float(total - absent)) > 1e-3, "a missing observation is not a missing step"


@pytest.mark.slow
def test_forecast_is_a_filter_that_sees_nothing_more():
    initial, transition, emission = model(forbid=True)
    found = hmm.forecast(initial, transition, emission, 3, mask=MASKS)
    assert found.shape == (BATCH, 3, STATES)
    assert hmm.forecast(initial, transition, emission, 0, mask=MASKS).shape == (BATCH, 0, STATES)
    for b, mask in enumerate(MASKS):
        longer = np.concatenate([emission[b, mask], np.zeros((3, STATES))])
        ahead = hmm.filter(initial, transition, longer).states[-3:]
        np.testing.assert_allclose(found[b], ahead, rtol=0, atol=1e-15 * 8)


def test_draws_have_the_law_of_the_states(key):
    initial, transition, emission = model(forbid=True)
    count = 20_000
    paths = np.asarray(hmm.sample(key, initial, transition, emission[0], count))
    law = listed(emission[0], transition, start=initial)
    seen = np.array([np.sum((paths == path).all(1)) for path in law.paths])
    assert seen[law.probs == 0].sum() == 0
    expected = count * law.probs
    large = expected > 5
    rest = np.array([seen[~large].sum(), expected[~large].sum()])
    statistic = (
        np.sum((seen - expected)[large] ** 2 / expected[large]) + (rest[0] - rest[1]) ** 2 / rest[1]
    )
    # One in a million right samplers fails this.
    assert statistic < stats.chi2.isf(1e-6, large.sum())


def test_an_impossible_observation_leaves_no_nan():
    initial, transition, emission = model()
    emission[:, 2] = -np.inf
    found = answers(initial, transition, emission)
    dead = MASKS[:, 2]
    for name in ("filter", "smooth"):
        assert (found[name].log_likelihood[dead] == -np.inf).all()
        assert (found[name].states[dead, 2:] == 0).all()
    assert (found["smooth"].states[dead] == 0).all()
    assert (found["smooth"].transitions[dead] == 0).all()
    assert (found["viterbi"].states[dead] == -1).all()
    assert (found["viterbi"].log_density[dead] == -np.inf).all()
    assert all(np.isfinite(leaf).all() for leaf in found["gradient"])
    np.testing.assert_allclose(found["filter"].states[0, :2].sum(-1), 1, rtol=1e-15)


def test_models_that_are_no_laws_are_refused():
    initial, transition, emission = model()
    with pytest.raises(ValueError, match=r"exp\(log_transition\).*log_softmax"):
        hmm.filter(initial, np.exp(transition), emission)
    with pytest.raises(ValueError, match=r"exp\(log_initial\)"):
        hmm.viterbi(initial + 0.1, transition, emission)
    with pytest.raises(ValueError, match="one matrix to forecast"):
        hmm.forecast(initial, model(LENGTH - 1)[1], emission, 1)
    with pytest.raises(TypeError, match="num_steps"):
        hmm.forecast(initial, transition, emission, 1.5)
    with pytest.raises(TypeError, match="PRNG key"):
        hmm.sample(0, initial, transition, emission)
    with pytest.raises(ValueError, match="log_emission must be finite or -inf"):
        hmm.smooth(initial, transition, np.where(emission > 0, np.nan, emission))
    with pytest.raises(ValueError, match="log_initial must have one score a state"):
        hmm.smooth(np.log([0.5, 0.5]), transition, emission)


def test_laws_that_were_rounded_to_float32_are_laws_in_float64():
    rounded = [np.log(np.full(shape, 1 / 3, np.float32)).astype(float) for shape in ((3,), (3, 3))]
    assert abs(np.exp(rounded[0]).sum() - 1) > np.finfo(float).eps ** 0.5
    np.testing.assert_allclose(hmm.log_likelihood(*rounded, np.zeros((4, 3))), 0, atol=1e-6)
    with pytest.raises(ValueError, match=r"exp\(log_initial\).*1 within 3\.5e-04"):
        hmm.log_likelihood(rounded[0] + 1e-3, rounded[1], np.zeros((4, 3)))
