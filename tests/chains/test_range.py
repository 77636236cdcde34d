"""Scores far beyond the range of exponentials, and paths that underflow would lose, in float32."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from igeojax.chains import _scaled, crf
from igeojax.chains._chain import chain_of
from tests.chains.enumeration import listed

INF = np.inf


def of_sum(unary, transition):
    return jnp.sum(crf.log_partition(unary, transition))


value_and_grad = jax.jit(jax.value_and_grad(of_sum, (0, 1)))
log_likelihood = jax.jit(crf.log_likelihood)


def require_right(unary, transition):
    unary, transition = np.float32(unary), np.float32(transition)
    law = listed(unary, transition)
    value, (states, counts) = value_and_grad(unary, transition)
    finite = np.abs(np.concatenate([unary.ravel(), transition.ravel()]))
    largest = finite[np.isfinite(finite)].max(initial=1.0)
    exact = 8 * len(unary) * float(np.finfo(np.float32).eps) * max(1.0, largest)
    np.testing.assert_allclose(value, law.log_partition, rtol=0, atol=exact)
    np.testing.assert_allclose(states, law.marginals(*unary.shape), rtol=0, atol=exact)
    np.testing.assert_allclose(
        counts, law.pairs(*unary.shape).sum(0), rtol=0, atol=len(unary) * exact
    )


# Outside, beginning, inside: a span must begin before it goes on.
SPANS = [[0, 0, -INF], [0, 0, 0], [0, 0, 0]]


@pytest.mark.parametrize(
    ("unary", "transition"),
    [
        # The state that is lost at first is the only one that leads on.
        ([[0, -120, -INF], [0, 0, 300], [0, 0, 0]], SPANS),
        ([[0, -50, -INF], [0, -50, -50], [0, -500, 0]], [[0, -INF, -INF], [-INF, 0, 0], [0, 0, 0]]),
        # A state without any path to it, which alone would win by far afterwards.
        ([[0, 0, -INF], [0, 0, 88], [0, 0, 88]], [[0, 0, -INF], [0, 0, -INF], [-INF, -INF, 0]]),
        # Transitions beyond the range, so that what is lost comes back.
        ([[0, -100, -200], [0, 0, 0], [0, 0, 0]], [[-400, -400, -400], [0, 0, 0], [300, 0, -300]]),
        ([[0, 1, 2], [2, 1, 0], [1, 1, 1]], [[3000, -2000, 0], [0, 500, -3000], [-999, 3000, 0]]),
        # Free transitions of a moderate span hold any unary scores.
        ([[0, 9000, -9000], [-9000, 0, 300], [1e6, 1e6, 0]], [[0, 20, -20], [5, 0, 0], [0, 0, 20]]),
        # Nothing is possible, by the transitions or at a step.
        ([[0, 0, -INF]] * 3, [[-INF] * 3] * 3),
        ([[0, 0, 0], [-INF, -INF, -INF], [0, 0, 0]], np.zeros((3, 3))),
        ([[0, -INF, -INF], [0, 1, 2], [-INF, -INF, 5]], [[0, -INF, -INF]] * 3),
    ],
)
def test_no_path_is_lost(unary, transition):
    require_right(unary, transition)


scores = st.one_of(
    st.sampled_from([0.0, -INF, -INF, 60.0, -60.0, 90.0, -90.0]),
    st.floats(-3, 3, width=32),
    st.floats(-500, 500, width=32),
)


@given(
    hnp.arrays(np.float32, (3, 3), elements=scores), hnp.arrays(np.float32, (3, 3), elements=scores)
)
def test_no_path_is_lost_by_any_scores(unary, transition):
    require_right(unary, transition)


def safe(unary, transition):
    chain, _ = chain_of(np.float32(unary), np.float32(transition))[0].shifted()
    return bool(_scaled.is_safe(chain, _scaled.forward(chain)))


def test_usual_scores_take_the_fast_way():
    draws = np.random.default_rng(0)
    unary, transition = 5 * draws.normal(size=(64, 3)), draws.normal(size=(3, 3))
    assert safe(unary, transition)
    assert safe(1000 * unary, transition)
    assert safe(unary, transition + np.array(SPANS))
    assert not safe(unary, 40 * transition)
    assert not safe(100 * unary, transition + np.array(SPANS))


def test_a_lone_state_that_explodes_backward_leaves_no_nan():
    unary = np.zeros((400, 2), np.float32)
    unary[:, 1], unary[0, 1] = 10.0, -INF
    transition = np.float32([[0, -INF], [0, 0]])
    value, (states, counts) = value_and_grad(unary, transition)
    assert float(value) == 0
    assert (states == jnp.array([[1.0, 0.0]])).all()
    assert counts.tolist() == [[399.0, 0.0], [0.0, 0.0]]


@pytest.mark.parametrize("gap", [1.0, 5.0, 15.0, 40.0, 60.0])
def test_likelihood_near_certainty_keeps_all_digits(gap):
    # Independent steps: log p = -T log1p(exp(-gap)), far below the spacing of floats at the score.
    unary = np.float32([[gap, 0.0]] * 6)
    found = log_likelihood(unary, np.zeros((2, 2), np.float32), np.zeros(6, int))
    assert float(found) == pytest.approx(-6 * np.log1p(np.exp(-gap)), rel=1e-6, abs=0)


def test_likelihood_of_unlikely_tags_is_finite():
    unary = np.float32([[400.0, 0.0]] * 6)
    found = log_likelihood(unary, np.zeros((2, 2), np.float32), np.ones(6, int))
    assert float(found) == -2400.0


@pytest.mark.parametrize("offset", [0.0, 1e6])
def test_likelihood_does_not_feel_a_common_offset(offset):
    # Multiples of 1/2 stay exact beside 1e6, which log Z and the score would round to 0.06 each.
    draws = np.random.default_rng(4)
    unary = np.float32(draws.integers(-4, 5, (6, 3)) / 2)
    transition, tags = np.float32(draws.normal(size=(3, 3))), draws.integers(0, 3, 6)
    law = listed(unary, transition)
    found = log_likelihood(unary + np.float32(offset), transition, tags)
    assert float(found) == pytest.approx(law.score_of(tags) - law.log_partition, rel=2e-6, abs=0)


@pytest.mark.parametrize("each", [False, True])
@pytest.mark.parametrize(("batch", "size"), [(2, 3), (100, 6), (70, 8), (1, 40)])
def test_products_are_those_of_matrices_at_any_size(batch, size, each):
    draws = np.random.default_rng(size)
    rows = draws.random((batch, size))
    matrix = draws.random((batch, size, size) if each else (size, size))
    expected = np.einsum("bi,bij->bj" if each else "bi,ij->bj", rows, matrix)
    np.testing.assert_allclose(_scaled.product(rows, matrix), expected, rtol=1e-14)


@pytest.mark.slow
def test_few_and_many_chains_have_the_same_posterior():
    # Together they are too many for sums, and go by matrix products.
    draws = np.random.default_rng(0)
    unary, moves = draws.normal(size=(70, 5, 8)), draws.normal(size=(8, 8))
    found = jax.grad(lambda unary: crf.log_partition(unary, moves).sum())
    np.testing.assert_allclose(found(unary)[:2], found(unary[:2]), rtol=1e-12)


@pytest.mark.parametrize("sign", [1, -1])
def test_a_log_partition_beyond_the_largest_float_is_infinite(sign):
    scores = np.full((2, 2), sign * 3e38, np.float32)
    value, (states, _) = value_and_grad(scores, np.zeros((2, 2), np.float32))
    assert float(value) == sign * np.inf
    assert (states == 0.5).all()
