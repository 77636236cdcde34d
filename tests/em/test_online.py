"""Online EM: priors against all that was seen, unsound steps, batches that are refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families

COUNTS = em.Mixture(families.Poisson(), 1)
LOW = COUNTS.point([1.0], COUNTS.family.natural_from_params([1.0]))
PRIOR = em.mixture_prior(COUNTS, COUNTS.family.natural_from_params(1.0), 1.0)
TWO = em.Mixture(families.Poisson(), 2)
START = TWO.point([0.3, 0.7], TWO.family.natural_from_params([1.0, 5.0]))
LINE = em.Mixture(families.Normal(), 2)
WIDE = LINE.point([0.5, 0.5], LINE.family.natural_from_params([-1.0, 1.0], 1.0))
X = jnp.asarray(np.random.default_rng(0).poisson(3.0, size=40))


def rate(params):
    return float(jnp.exp(params.components.x[0]))


def same(one, two):
    for a, b in zip(*map(jax.tree.leaves, (one, two)), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_prior_counts_once_against_all_that_was_seen():
    batches, options = [jnp.full(20, 8)] * 20, {"step_options": {"prior": PRIOR}}
    # 400 observations of 8 and one of 1.
    mean = (400 * 8 + 1) / 401
    state = em.stepwise_em(COUNTS, LOW, batches, **options)
    np.testing.assert_allclose(rate(state.params), mean, rtol=1e-13)
    assert float(state.weight) == 400
    half = em.stepwise_em(COUNTS, LOW, batches[:7], **options)
    same(em.stepwise_em(COUNTS, LOW, batches[7:], state=half, **options), state)
    params, _ = em.incremental_em(COUNTS, LOW, batches, num_passes=1, **options)
    np.testing.assert_allclose(rate(params), mean, rtol=1e-13)


def test_the_second_batch_moves_by_the_rate():
    state = em.stepwise_em(COUNTS, LOW, [jnp.array([4]), jnp.array([8])], offset=2.0, decay=0.6)
    np.testing.assert_allclose(rate(state.params), 4 + 4 * 3**-0.6, rtol=1e-14)
    assert int(state.step) == 2


def test_what_is_fixed_stays():
    options = {"step_options": {"fixed": ("weights", 1)}}
    for params in (
        em.stepwise_em(TWO, START, [X] * 3, **options).params,
        em.incremental_em(TWO, START, [X, X + 1], num_passes=2, **options)[0],
    ):
        np.testing.assert_array_equal(params.log_weights, START.log_weights)
        np.testing.assert_array_equal(params.components.x[1], START.components.x[1])
        assert params.components.x[0] != START.components.x[0]


def test_a_collapse_is_not_taken_and_the_next_batch_goes_on():
    alone, spread = jnp.full(5, 3.0), jnp.array([-2.0, -1.0, 0.0, 1.0, 2.0])
    state = em.stepwise_em(LINE, WIDE, [alone, alone])
    same(state.params, WIDE)
    state = em.stepwise_em(LINE, WIDE, [spread * 10], state=state)
    assert LINE.family.in_natural_domain(state.params.components).all()
    assert not jnp.array_equal(state.params.components.x, WIDE.components.x)
    params, values = em.incremental_em(LINE, WIDE, [alone], num_passes=2)
    same(params, WIDE)
    assert jnp.isfinite(values).all()


def test_a_batch_whose_sums_overflow_is_passed_over():
    state = em.stepwise_em(LINE, WIDE, [jnp.arange(4.0)] * 3)
    same(em.stepwise_em(LINE, WIDE, [jnp.array([1e200, 0.0])], state=state), state)


def test_batches_of_nothing_are_passed_over():
    plain = em.stepwise_em(TWO, START, [X, X + 1])
    same(em.stepwise_em(TWO, START, [X[:0], X, (X, jnp.zeros(40)), X + 1, X[:0]]), plain)
    params, _ = em.incremental_em(TWO, START, [X, X + 1], num_passes=2)
    same(em.incremental_em(TWO, START, [X, X[:0], X + 1], num_passes=2)[0], params)


def test_batches_may_be_chunks_with_weights():
    pairs = [(X, jnp.ones(40)), (X + 1, jnp.full(40, 2.0))]
    chunks = em.Chunks(lambda: iter(pairs), weighted=True)
    same(em.stepwise_em(TWO, START, chunks), em.stepwise_em(TWO, START, pairs))
    same(
        em.incremental_em(TWO, START, chunks, num_passes=2),
        em.incremental_em(TWO, START, pairs, num_passes=2),
    )
    product = em.Mixture(families.Product((TWO.family, TWO.family)), 1)
    start = product.point([1.0], product.family.natural_from_params(LOW.components, LOW.components))
    both = em.Chunks([((X, X + 1), jnp.ones(40))], weighted=True)
    params, _ = em.incremental_em(product, start, both, num_passes=1)
    np.testing.assert_allclose(rate(params._replace(components=params.components[1])), X.mean() + 1)


def once(batches):
    """Chunks of a function that returns the same iterator each time."""
    iterator = iter(batches)
    return em.Chunks(lambda: iterator)


@pytest.mark.parametrize(
    ("call", "error", "words"),
    [
        (lambda: em.stepwise_em(LINE, WIDE, [jnp.array([jnp.nan, 1])]), ValueError, "support; got"),
        (lambda: em.stepwise_em(TWO, START, [X, -X - 1]), ValueError, "must lie in its support"),
        (lambda: em.stepwise_em(TWO, START, [X[:0]]), ValueError, "at least one batch with obs"),
        (
            lambda: em.stepwise_em(TWO, START, [X], step_options={"fixed": ("mean",)}),
            ValueError,
            "fixed must be a tuple of 'weights', 'components'",
        ),
        (
            lambda: em.stepwise_em(TWO, START, [X], step_options={"prior": PRIOR}),
            ValueError,
            r"centers of the prior must have shape \(2,\).*got \(1,\)",
        ),
        (lambda: em.stepwise_em(TWO, LOW, [X]), ValueError, "params must hold 2 components"),
        (
            lambda: em.incremental_em(TWO, START, (X for _ in range(2)), num_passes=2),
            TypeError,
            "passed many times; got generator. Pass a list, or em.Chunks",
        ),
        (
            lambda: em.incremental_em(TWO, START, once([X, X]), num_passes=2),
            ValueError,
            "same on each pass; got 0 after 2",
        ),
        (
            lambda: em.incremental_em(TWO, START, [(X, jnp.zeros(40))], num_passes=1),
            ValueError,
            "sum of weights must be positive",
        ),
        (
            lambda: em.incremental_em(TWO, START, [-X - 1], num_passes=1),
            ValueError,
            "must lie in its support",
        ),
    ],
)
def test_bad_batches_say_what_to_do(call, error, words):
    with pytest.raises(error, match=words):
        call()
