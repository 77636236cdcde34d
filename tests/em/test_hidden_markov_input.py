"""Bad input of a hidden Markov model: what was required, what came and what to do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families

MODEL = em.HiddenMarkovModel(families.Normal(), 2)
STILL = em.HiddenMarkovModel(families.Normal(), 2, stationary_start=True)
FORWARD = em.HiddenMarkovModel(families.Normal(), 2, transition_mask=em.left_right(2))
ABLE = em.HiddenMarkovModel(families.Gamma(), 2, missing=True)
TWO = families.Normal().natural_from_params(jnp.array([0.0, 1.0]), 1.0)
MOVES = [[0.9, 0.1], [0.2, 0.8]]
POINT = MODEL.point(None, MOVES, TWO)
LINE = jnp.linspace(0.0, 1.0, 9)
KEY = jax.random.key(0)


def fit(data=LINE, **options):
    return MODEL.fit(data, **{"key": KEY} | options)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: em.HiddenMarkovModel("normal", 2), TypeError, ("ExponentialFamily", "'normal'")),
        (lambda: em.HiddenMarkovModel(families.Normal(), 0), ValueError, ("at least 1", "got 0")),
        (
            lambda: em.HiddenMarkovModel(families.Normal(), 2, transition_mask=np.ones((2, 2))),
            TypeError,
            ("transition_mask", "boolean", "float64", "0"),
        ),
        (
            lambda: em.HiddenMarkovModel(families.Normal(), 2, initial_mask=np.ones(3, bool)),
            ValueError,
            ("initial_mask", "(2,)", "(3,)"),
        ),
        (
            lambda: em.HiddenMarkovModel(
                families.Normal(), 2, transition_mask=np.array([[True, False], [False, False]])
            ),
            ValueError,
            ("transition_mask", "index (1,)", "stay"),
        ),
        (
            lambda: em.HiddenMarkovModel(
                families.Normal(), 2, transition_mask=em.left_right(2), stationary_start=True
            ),
            ValueError,
            ("stationary_start", "each other", "drop the option"),
        ),
        (lambda: em.left_right(0), ValueError, ("num_states", "at least 1")),
        (
            lambda: MODEL.point([0.5, 0.6], MOVES, TWO),
            ValueError,
            ("initial", "sum to one", "1.1"),
        ),
        (lambda: MODEL.point(None, MOVES[0], TWO), ValueError, ("(2, 2)", "(2,)", "j after i")),
        (lambda: STILL.point([0.5, 0.5], MOVES, TWO), ValueError, ("None", "stationary law")),
        (lambda: FORWARD.point([0.5, 0.5], MOVES, TWO), ValueError, ("mask is False", "0.2")),
        (
            lambda: MODEL.point(None, MOVES, families.Normal().natural_from_params(0.0, 1.0)),
            ValueError,
            ("emissions", "(2,)", "Stack"),
        ),
        (lambda: MODEL.smooth(TWO, LINE), TypeError, ("HiddenMarkovPoint", "NormalPoint")),
        (
            lambda: em.HiddenMarkovModel(families.Normal(), 3).predict(POINT, LINE),
            ValueError,
            ("3 states", "(2,)", "HiddenMarkovModel.point"),
        ),
        (lambda: MODEL.smooth(POINT, 1.0), ValueError, ("(*batch, T)", "()", "steps")),
        (
            lambda: MODEL.smooth(POINT, LINE.at[3].set(jnp.nan)),
            ValueError,
            ("support", "nan at index", "missing=True"),
        ),
        (lambda: ABLE.fit(-LINE - 1, key=KEY), ValueError, ("support", "-1.0", "index")),
        (lambda: MODEL.smooth(POINT, LINE, length=10), ValueError, ("length", "0..9", "10")),
        (
            lambda: MODEL.smooth(POINT, LINE, length=3, mask=LINE > 0),
            ValueError,
            ("length and mask", "both"),
        ),
        (lambda: MODEL.forecast(POINT, LINE, -1), ValueError, ("num_steps", "-1")),
        (lambda: MODEL.sample(3, POINT, 4), TypeError, ("PRNG key", "int 3")),
        (lambda: MODEL.sample(KEY, POINT, 4, 2), TypeError, ("shape", "2", "(2,)")),
        (
            lambda: MODEL.sample(KEY, POINT._replace(emissions=jax.tree.map(abs, TWO)), 4),
            ValueError,
            ("emissions of params", "natural domain", "natural_from_params"),
        ),
        (lambda: MODEL.fit(LINE), TypeError, ("PRNG key", "None", "jax.random.key")),
        (lambda: fit(initialization="kmeans"), ValueError, ("'segments'", "'kmeans'", "spelling")),
        (lambda: fit(initialization=3), TypeError, ("HiddenMarkovPoint", "int")),
        (lambda: fit(initialization=POINT, num_restarts=2), ValueError, ("1", "got 2", "random")),
        (
            lambda: fit(initialization="segments", num_restarts=2),
            ValueError,
            ("segments", "got 2", "k-means++"),
        ),
        (lambda: fit(weights=[1.0]), ValueError, ("weights", "()", "(1,)", "length or mask")),
        (lambda: fit(weights=-1.0), ValueError, ("non-negative", "-1.0", "Drop")),
        (lambda: fit(weights=0.0), ValueError, ("weight of all observations", "positive", "0.0")),
        (lambda: fit(length=0), ValueError, ("weight of all observations", "positive", "0.0")),
        (lambda: fit(jnp.ones(9)), ValueError, ("natural domain", "degenerate", "constant")),
        (lambda: fit(tolerance=-1.0), ValueError, ("tolerance", "non-negative", "1e-6")),
        (lambda: fit(max_iterations=0), ValueError, ("max_iterations", "at least 1")),
        (lambda: fit(chunk_size=0), ValueError, ("chunk_size", "at least 1")),
        (lambda: fit(prior=2.0), TypeError, ("HiddenMarkovPrior", "float", "emissions=")),
        (
            lambda: fit(prior=em.HiddenMarkovPrior(transition=0.5)),
            ValueError,
            ("transition", "at least 1", "0.5", "maximum"),
        ),
        (
            lambda: fit(prior=em.HiddenMarkovPrior(transition=jnp.ones((3, 3)))),
            ValueError,
            ("transition", "(2, 2)", "(3, 3)", "one for all"),
        ),
        (
            lambda: fit(prior=em.HiddenMarkovPrior(emissions="x")),
            TypeError,
            ("MixturePrior", "str", "data_prior"),
        ),
        (
            lambda: fit(
                prior=em.HiddenMarkovPrior(
                    emissions=em.data_prior(em.Mixture(families.Normal(), 3), LINE)
                )
            ),
            ValueError,
            ("centers", "(2,)", "(3,)"),
        ),
        (
            lambda: MODEL.maximized(
                MODEL.expectations(POINT, LINE), prior=em.data_prior(MODEL.mixture, LINE)
            ),
            TypeError,
            ("HiddenMarkovPrior", "MixturePrior", "emissions="),
        ),
        (lambda: MODEL.expectations(POINT, LINE, chunk_size=0), ValueError, ("chunk_size", "0")),
        (lambda: fit(em.Chunks([LINE])), TypeError, ("arrays in memory", "Chunks", "pieces")),
        (lambda: MODEL.predict(POINT, em.Chunks([LINE])), TypeError, ("in memory", "Chunks")),
        (lambda: fit([LINE, LINE[:4]]), ValueError, ("steps", "9, 4", "Pad", "length=")),
        (lambda: MODEL.sample(KEY, POINT, 4, 3), TypeError, ("tuple", "3", "(3,)")),
        (
            lambda: em.HiddenMarkovModel(
                families.Product((families.Normal(), families.Poisson())), 2
            ).fit((LINE, jnp.ones(1)), key=KEY),
            ValueError,
            ("all columns", "(9,) and (1,)", "row"),
        ),
        (lambda: fit(fixed=("initial",)), ValueError, ("keep", "None", "starting point")),
        (
            lambda: fit(fixed=("weights",), initialization=POINT),
            ValueError,
            ("'transition'", "('weights',)", "numbers of states below 2"),
        ),
        (lambda: MODEL.fit_online([LINE], POINT, decay=0.5), ValueError, ("decay", "0.5", "0.6")),
        (lambda: MODEL.fit_online([LINE], TWO), TypeError, ("HiddenMarkovPoint", "NormalPoint")),
    ],
)
def test_bad_input_is_told(call, error, words):
    with pytest.raises(error) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


def test_a_prior_may_be_told_by_lists():
    sums = MODEL.expectations(POINT, LINE)
    moves = [[3.0, 1.0], [1.0, 2.0]]
    found = MODEL.maximized(sums, prior=em.HiddenMarkovPrior([2.0, 1.0], moves))
    counts = np.asarray(sums.transitions) + np.asarray(moves) - 1
    np.testing.assert_allclose(
        np.exp(found.log_transition), counts / counts.sum(axis=1, keepdims=True), rtol=1e-14
    )
    fitted = fit(prior=em.HiddenMarkovPrior(transition=moves), max_iterations=2)
    assert np.isfinite(fitted.log_likelihood)


def test_a_prior_of_float64_leaves_float32_as_it_is():
    x = LINE.astype(jnp.float32)
    found = fit(x, prior=em.HiddenMarkovPrior(transition=np.full((2, 2), 2.0)), max_iterations=2)
    assert found.params.log_transition.dtype == jnp.float32


@pytest.mark.slow
def test_criteria_count_what_is_not_fixed():
    params = fit(max_iterations=2).params
    for fixed, free in (
        (("initial",), 2 + 4),
        (("transition",), 1 + 4),
        (("emissions",), 1 + 2),
        (("emissions", 0), 1 + 2),
        ((0,), 1 + 2 + 2),
    ):
        found = fit(initialization=params, fixed=fixed, max_iterations=1)
        np.testing.assert_allclose(found.aic + 2 * found.log_likelihood, 2 * free, rtol=1e-12)
        np.testing.assert_allclose(
            found.bic + 2 * found.log_likelihood, free * np.log(9), rtol=1e-12
        )
