"""Bad input of a mixture: what was required, what came and what to do."""

import jax
import jax.numpy as jnp
import pytest

from igeojax import em, families

NORMAL = em.Mixture(families.Normal(), 2)
PLANE = em.Mixture(families.MultivariateNormal(2), 2)
LINE = jnp.linspace(0.0, 1.0, 9)
TWO = families.Normal().natural_from_params([0.0, 1.0], 1.0)
SOLE = families.Normal().natural_from_params([0.0], 1.0)
KEY = jax.random.key(0)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: em.Mixture("normal", 2), TypeError, ("ExponentialFamily", "'normal'", "instance")),
        (lambda: em.Mixture(families.Normal(), 0), ValueError, ("at least 1", "got 0", "larger")),
        (lambda: em.Mixture(families.Normal(), 2.0), TypeError, ("integer", "float", "traced")),
        (lambda: NORMAL.fit(LINE), TypeError, ("PRNG key", "None", "jax.random.key")),
        (
            lambda: NORMAL.fit(LINE.at[3].set(jnp.nan), key=KEY),
            ValueError,
            ("support", "nan at index", "Drop"),
        ),
        (lambda: NORMAL.fit(LINE[:1], key=KEY), ValueError, ("N >= 2", "N = 1", "fewer")),
        (lambda: NORMAL.fit(LINE[None], key=KEY), ValueError, ("(N,)", "(1, 9)", "Flatten")),
        (
            lambda: PLANE.fit(jnp.eye(2), key=KEY),
            ValueError,
            ("more than 2", "got 2", "covariance_regularization"),
        ),
        (
            lambda: NORMAL.fit(LINE, key=KEY, initialization="kmeans"),
            ValueError,
            ("'k-means++', 'random'", "'kmeans'", "spelling"),
        ),
        (
            lambda: NORMAL.fit(LINE, key=KEY, weights=-jnp.ones(9)),
            ValueError,
            ("non-negative", "-1.0", "Drop"),
        ),
        (
            lambda: NORMAL.fit(LINE, key=KEY, weights=jnp.ones(8)),
            ValueError,
            ("(9,)", "(8,)", "None"),
        ),
        (
            lambda: NORMAL.fit(LINE, key=KEY, max_iterations=0),
            ValueError,
            ("at least 1", "got 0", "larger"),
        ),
        (
            lambda: NORMAL.fit(LINE, key=KEY, tolerance=-1.0),
            ValueError,
            ("non-negative", "-1.0", "Try"),
        ),
        (lambda: NORMAL.fit(LINE, key=KEY, tol=1e-3), TypeError, ("tol",)),
        (lambda: NORMAL.fit(LINE, key=KEY, tolerance="a"), TypeError, ("tolerance", "str")),
        (lambda: NORMAL.fit(LINE, key=0), TypeError, ("PRNG key", "int 0", "jax.random.key(0)")),
        (
            lambda: NORMAL.sample(7, NORMAL.point([0.5, 0.5], TWO)),
            TypeError,
            ("PRNG key", "int 7", "jax.random.key(0)"),
        ),
        (lambda: NORMAL.e_step(TWO, LINE), TypeError, ("MixturePoint", "NormalPoint", "point")),
        (
            lambda: NORMAL.e_step(em.Mixture(families.Normal(), 1).point([1.0], SOLE), LINE),
            ValueError,
            ("2 components", "(1,)", "Mixture.point"),
        ),
        (
            lambda: NORMAL.m_step(jnp.ones((9, 3)), LINE),
            ValueError,
            ("(N, 2)", "(9, 3)", "m_step(responsibilities, x)"),
        ),
        (
            lambda: NORMAL.m_step(jnp.ones((8, 2)), LINE),
            ValueError,
            ("(N, 2)", "(8, 2) and (9,)", "first: m_step"),
        ),
        (
            lambda: NORMAL.m_step(jnp.ones((9, 2)), LINE, weights=jnp.ones(3)),
            ValueError,
            ("(9,)", "(3,)", "each row"),
        ),
        (
            lambda: NORMAL.point([0.5, 0.6], TWO),
            ValueError,
            ("sum to one", "1.1", "Divide"),
        ),
        (
            lambda: NORMAL.point([0.5, 0.5], families.Normal().natural_from_params(0.0, 1.0)),
            ValueError,
            ("batch shape (2,)", "got ()", "Stack"),
        ),
        (lambda: NORMAL.point([0.5, 0.5], (LINE, LINE)), TypeError, ("Normal.Point", "tuple")),
    ],
)
def test_bad_input_says_what_was_required_what_came_and_what_to_do(call, error, words):
    with pytest.raises(error) as caught:
        call()
    missing = [word for word in words if word not in str(caught.value)]
    assert not missing, f"{missing} not in: {caught.value}"


COUNTS = em.Mixture(families.Poisson(), 2)
RATES = COUNTS.point([0.5, 0.5], COUNTS.family.natural_from_params([1.0, 5.0]))
POINT = NORMAL.point([0.5, 0.5], TWO)
ONE = em.mixture_prior(em.Mixture(families.Normal(), 1), SOLE, 1.0)
SUMS = NORMAL.expectations(POINT, LINE)
PAIR = em.Mixture(families.Product((families.Normal(), families.Poisson())), 2)
READ = {
    name: getattr(NORMAL, name)
    for name in ("predict", "predict_proba", "score", "aic", "bic", "icl")
}


@pytest.mark.parametrize("name", READ)
@pytest.mark.parametrize(
    ("x", "error", "words"),
    [
        (LINE[:, None], ValueError, r"shape \(N,\) \+ \(\); got \(9, 1\). Flatten"),
        (LINE.at[0].set(jnp.nan), ValueError, "must lie in its support; got nan"),
        (em.Chunks([LINE]), TypeError, "arrays in memory; got Chunks.*go through their pieces"),
    ],
)
def test_what_reads_a_fit_takes_the_rows_that_a_fit_takes(name, x, error, words):
    with pytest.raises(error, match=words):
        READ[name](POINT, x)


@pytest.mark.parametrize("name", ["score", "aic", "bic", "icl"])
def test_criteria_need_an_observation_that_counts(name):
    with pytest.raises(ValueError, match="must have observations; got none"):
        READ[name](POINT, LINE[:0])
    with pytest.raises(ValueError, match=r"sum of weights must be positive.*got 0\.0"):
        READ[name](POINT, LINE, jnp.zeros(9))
    assert NORMAL.predict(POINT, LINE[:0]).shape == (0,)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: COUNTS.predict(RATES, jnp.array([-1])), ValueError, "support; got -1"),
        (lambda: COUNTS.expectations(RATES, jnp.array([-1])), ValueError, "support; got -1"),
        (lambda: NORMAL.fit(LINE, key=KEY, prior=2.0), TypeError, "em.MixturePrior; got float"),
        (
            lambda: NORMAL.fit(LINE, key=KEY, prior=em.HiddenMarkovPrior()),
            TypeError,
            "em.MixturePrior; got HiddenMarkovPrior. Make it with em.data_prior",
        ),
        (lambda: NORMAL.fit(LINE, key=KEY, prior=ONE), ValueError, r"shape \(2,\).*got \(1,\)"),
        (lambda: NORMAL.maximized(SUMS, prior=ONE), ValueError, r"shape \(2,\).*got \(1,\)"),
        (
            lambda: em.projection_gains(NORMAL, LINE, POINT, prior=ONE, num_iterations=1),
            ValueError,
            r"shape \(2,\).*got \(1,\)",
        ),
        (
            lambda: em.projection_gains(NORMAL, LINE[:, None], POINT, num_iterations=1),
            ValueError,
            "Flatten",
        ),
        (lambda: NORMAL.expectations(POINT, LINE, chunk_size=0), ValueError, "chunk_size must be"),
        (lambda: NORMAL.sample(KEY, POINT, 3), TypeError, r"tuple; got 3. Write \(3,\)"),
        (
            lambda: PAIR.fit((LINE, jnp.ones(1)), key=KEY),
            ValueError,
            r"one shape of observations in all columns; got \(9,\) and \(1,\)",
        ),
        (
            lambda: em.data_prior(NORMAL, jnp.stack([LINE, LINE])),
            ValueError,
            r"\(N,\) \+ \(\); got \(2, 9\). Flatten",
        ),
        (
            lambda: em.Chunks([LINE], weighted=True).__iter__().__next__(),
            TypeError,
            "pair of observations and weights; got ArrayImpl",
        ),
    ],
)
def test_wrong_calls_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call()


def test_chunks_of_one_iterator_are_told_on_the_second_pass():
    iterator = iter([LINE])
    with pytest.raises(ValueError, match="same observations on each pass; got 0 after 9"):
        NORMAL.fit(em.Chunks(lambda: iterator), initialization=POINT)


def test_restarts_from_one_point_are_refused():
    start = NORMAL.point([0.5, 0.5], TWO)
    with pytest.raises(ValueError, match=r"num_restarts must be 1 .* got 3"):
        NORMAL.fit(LINE, initialization=start, num_restarts=3)


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"tol": 1e-3}, TypeError, "tol"),
        ({"covariance_regularization": -1.0}, ValueError, "covariance_regularization must be >= 0"),
        ({"fixed": ("weights",)}, ValueError, "needs the parameters to keep"),
        ({"fixed": (2,)}, ValueError, "numbers of components below 2"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
    ],
)
def test_options_say_what_they_may_be(options, error, words):
    with pytest.raises(error, match=words):
        NORMAL.fit(LINE, key=KEY, **options)


def test_only_normal_laws_have_a_variance_to_raise_or_to_share():
    counts = em.Mixture(families.Poisson(), 2)
    with pytest.raises(ValueError, match="must be 0 for Poisson"):
        counts.fit(jnp.arange(5), key=KEY, covariance_regularization=0.1)
    with pytest.raises(ValueError, match="tied must be False for Poisson"):
        em.Mixture(families.Poisson(), 2, tied=True)


def test_a_start_outside_the_domain_is_refused():
    outside = families.Normal.Point(jnp.zeros(2), jnp.ones(2))
    with pytest.raises(ValueError, match="starting point must be inside the natural domain"):
        NORMAL.fit(LINE, initialization=em.MixturePoint(jnp.log(jnp.array([0.5, 0.5])), outside))
