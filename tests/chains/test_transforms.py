"""jit, vmap, forward and reverse mode, second derivatives, precision, and draws."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from igeojax.chains import crf
from tests.chains.enumeration import listed

LENGTH, STATES = 3, 2
DRAWS = np.random.default_rng(5)
UNARY = DRAWS.normal(size=(LENGTH, STATES))
FREE = DRAWS.normal(size=(STATES, STATES))
FORBIDDEN = FREE + np.array([[0.0, -np.inf], [0.0, 0.0]])
TAGS = np.array([1, 0, 0])
total = lambda u, a: crf.log_partition(u, a)
second = {
    "forward over reverse": jax.jit(jax.jacfwd(jax.jacrev(total))),
    "reverse over reverse": jax.jit(jax.jacrev(jax.jacrev(total))),
    "reverse over forward": jax.jit(jax.jacrev(jax.jacfwd(total))),
}


@pytest.mark.parametrize("order", second)
@pytest.mark.parametrize("scale", [1.0, 900.0])
@pytest.mark.parametrize("transition", [FREE, FORBIDDEN], ids=["free", "forbidden"])
def test_second_derivatives_are_covariances(order, scale, transition):
    # The large scale leaves the range of probabilities, and goes by logarithms.
    moves = scale * transition
    law = listed(UNARY, moves)
    indicator = np.zeros((len(law.paths), LENGTH, STATES))
    for row, path in enumerate(law.paths):
        indicator[row, np.arange(LENGTH), path] = 1.0
    centered = indicator - law.marginals(LENGTH, STATES)
    true = np.einsum("n,nij,nkl->ijkl", law.probs, centered, centered)
    found = second[order](UNARY, moves)
    np.testing.assert_allclose(found, true, rtol=0, atol=4e-16 * (1 + 9 * scale))


def test_forward_mode_is_reverse_mode():
    given = UNARY, FREE
    loss = lambda u, a: crf.log_likelihood(u, a, TAGS)
    forward = jax.jit(jax.jacfwd(loss, (0, 1)))(*given)
    reverse = jax.jit(jax.jacrev(loss, (0, 1)))(*given)
    for one, other in zip(forward, reverse, strict=True):
        np.testing.assert_allclose(one, other, rtol=0, atol=4e-16)
    law = listed(*given)
    step = np.array([[0.5, -1.0], [2.0, 0.25]])
    moved = (law.log_probs + 0)[(law.paths == TAGS).all(1)][0]
    h = 1e-5
    ahead, back = (listed(UNARY, FREE + s * h * step) for s in (1, -1))
    at = (law.paths == TAGS).all(1)
    slope = (ahead.log_probs[at] - back.log_probs[at])[0] / (2 * h)
    assert float(loss(*given)) == pytest.approx(moved, rel=1e-14, abs=0)
    assert np.sum(forward[1] * step) == pytest.approx(slope, rel=1e-8, abs=0)


@pytest.mark.parametrize(
    "asked",
    [
        lambda u, a: crf.entropy(u, a),
        lambda u, a: crf.kl(u, a, 0.5 * u, a),
        lambda u, a: crf.viterbi(u, a).score,
        lambda u, a: crf.k_best(u, a, 2).score[1],
        lambda u, a: crf.marginals(u, a)[1, 0],
    ],
    ids=["entropy", "kl", "viterbi", "k_best", "marginals"],
)
def test_gradients_by_differences(asked):
    gradient = jax.jit(jax.grad(asked, (0, 1)))(UNARY, FREE)
    step = DRAWS.normal(size=UNARY.shape), DRAWS.normal(size=FREE.shape)
    value, h = jax.jit(asked), 1e-5
    ahead, back = (value(UNARY + s * step[0], FREE + s * step[1]) for s in (h, -h))
    slope = sum(np.sum(g * s) for g, s in zip(gradient, step, strict=True))
    assert slope == pytest.approx(float(ahead - back) / (2 * h), rel=1e-7, abs=1e-9)


def test_mapping_is_batching():
    unary = DRAWS.normal(size=(4, LENGTH, STATES))
    moves = DRAWS.normal(size=(4, STATES, STATES)) * np.array([1, 1, 300, 1])[:, None, None]
    moves[1, 0, 1] = -np.inf
    loss = lambda u, a: crf.log_likelihood(u, a, TAGS, length=2)
    mapped, gradient = jax.jit(jax.vmap(jax.value_and_grad(loss, 1)))(unary, moves)
    for row in range(4):
        law = listed(unary[row, :2], moves[row])
        true = law.score_of(TAGS[:2]) - law.log_partition
        assert float(mapped[row]) == pytest.approx(true, rel=1e-12, abs=1e-13)
    assert np.isfinite(gradient).all()
    # Leading axes of any number are batch, and lengths go with them.
    nested = crf.log_partition(unary.reshape(2, 2, LENGTH, STATES), FREE, length=[[1, 2], [3, 0]])
    lengths = [1, 2, 3, 0]
    true = [listed(u[:n], FREE).log_partition for u, n in zip(unary, lengths, strict=True)]
    np.testing.assert_allclose(nested.ravel(), true, rtol=0, atol=1e-15 * 8)


def test_scores_of_padding_are_not_read():
    padded = np.concatenate([np.full((2, STATES), np.nan), UNARY, np.full((1, STATES), np.inf)])
    mask = np.array([False, False, True, True, True, False])
    loss = lambda u: crf.log_partition(u, FREE, mask=mask)
    value, gradient = jax.value_and_grad(loss)(padded)
    assert float(value) == pytest.approx(listed(UNARY, FREE).log_partition, rel=1e-15, abs=0)
    assert (gradient[~mask] == 0).all()


@pytest.mark.slow
def test_a_chain_of_no_steps_at_all():
    unary = np.zeros((2, 0, STATES))
    assert crf.log_partition(unary, FREE).tolist() == [0.0, 0.0]
    assert crf.marginals(unary, FREE).shape == (2, 0, STATES)
    assert crf.pair_marginals(unary, FREE).shape == (2, 0, STATES, STATES)
    assert crf.viterbi(unary, FREE).tags.shape == (2, 0)
    assert crf.log_likelihood(unary, FREE, np.zeros((2, 0), int)).tolist() == [0.0, 0.0]
    assert crf.log_partition(unary, np.zeros((2, 0, STATES, STATES))).tolist() == [0.0, 0.0]
    assert crf.marginals(np.zeros((0, 3, STATES)), FREE).shape == (0, 3, STATES)


def test_half_precision_is_computed_in_float32():
    unary, moves = jnp.asarray(UNARY, jnp.bfloat16), jnp.asarray(FREE, jnp.bfloat16)
    found = crf.log_partition(unary, moves)
    assert found.dtype == jnp.float32
    assert float(found) == pytest.approx(listed(unary, moves).log_partition, rel=1e-6, abs=0)


@pytest.mark.parametrize("transition", [FREE, FORBIDDEN], ids=["free", "forbidden"])
def test_draws_have_the_law_of_the_chain(transition, key):
    mask = np.array([True, False, True, True])
    unary = np.insert(UNARY, 1, 0.0, axis=0)
    count = 20_000
    paths = np.asarray(crf.sample(key, unary, transition, count, mask=mask))
    assert (paths[:, 1] == -1).all()
    law = listed(unary, transition, mask=mask)
    seen = [np.sum((paths[:, mask] == path).all(1)) for path in law.paths]
    possible = law.probs > 0
    assert sum(seen) == sum(itertools.compress(seen, possible)) == count
    expected = count * law.probs[possible]
    statistic = np.sum((np.array(seen)[possible] - expected) ** 2 / expected)
    # One in a million right samplers fails this.
    assert statistic < stats.chi2.isf(1e-6, possible.sum() - 1)


def test_draws_of_an_impossible_chain_say_so(key):
    paths = crf.sample(key, np.full((2, STATES), -np.inf), FREE, 3)
    assert (paths == -1).all()
    assert crf.sample(key, UNARY, FREE, 0).shape == (0, LENGTH)
