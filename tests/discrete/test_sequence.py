"""Likelihood of sequences: sums by hand, ignored labels, impossible classes, shift."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from igeojax.discrete import perplexity, sequence_log_prob, token_log_probs

INF = np.inf
RNG = np.random.default_rng(0)
LOGITS = RNG.normal(size=(3, 5, 4))
LABELS = RNG.integers(0, 4, size=(3, 5))
LABELS[0, 2] = LABELS[1, 0] = LABELS[1, 4] = -100
LABELS[2] = -100


def by_hand(logits, labels, ignored=-100):
    scores = scipy.special.log_softmax(logits, axis=-1)
    rows = []
    for row, tags in zip(scores, labels, strict=True):
        rows.append([0.0 if y == ignored else row[t, y] for t, y in enumerate(tags)])
    return np.array(rows)


def test_token_log_probs():
    expected = by_hand(LOGITS, LABELS)
    np.testing.assert_allclose(token_log_probs(LOGITS, LABELS), expected, rtol=1e-14)
    np.testing.assert_allclose(jax.jit(token_log_probs)(LOGITS, LABELS), expected, rtol=1e-14)
    other = np.where(LABELS == -100, 3, LABELS)
    found = token_log_probs(LOGITS, other, ignore_index=3)
    np.testing.assert_allclose(found, by_hand(LOGITS, other, 3), rtol=1e-14)


def test_sums_counts_and_perplexity():
    tokens = by_hand(LOGITS, LABELS)
    total, count = sequence_log_prob(LOGITS, LABELS)
    np.testing.assert_allclose(total, tokens.sum(axis=-1), rtol=1e-14)
    assert count.tolist() == [4, 3, 0]
    found = perplexity(LOGITS, LABELS)
    np.testing.assert_allclose(found[:2], np.exp(-tokens.sum(-1)[:2] / [4, 3]), rtol=1e-14)
    # Nothing counts: log-probability 0, count 0, perplexity 1; gradients 0.
    assert total[2] == 0
    assert found[2] == 1
    slope = jax.grad(lambda z: perplexity(z, LABELS).sum())(jnp.asarray(LOGITS))
    assert jnp.isfinite(slope).all()
    assert (slope[2] == 0).all()


def test_shift_predicts_the_next_label():
    shifted = token_log_probs(LOGITS, LABELS, shift=True)
    np.testing.assert_allclose(shifted, by_hand(LOGITS[:, :-1], LABELS[:, 1:]), rtol=1e-14)
    total, count = sequence_log_prob(LOGITS, LABELS, shift=True)
    np.testing.assert_allclose(total, shifted.sum(axis=-1), rtol=1e-14)
    assert count.tolist() == [3, 3, 0]
    np.testing.assert_allclose(
        perplexity(LOGITS, LABELS, shift=True)[0], np.exp(-total[0] / 3), rtol=1e-14
    )


@pytest.mark.parametrize("transform", [jax.grad, jax.jacfwd])
def test_impossible_classes_beside_the_label(transform):
    logits = jnp.array([[-INF, 0.0, 0.0], [0.0, -INF, -INF], [-INF, -INF, 1.0]])
    labels = jnp.array([1, 0, -100])
    loss = lambda z: -sequence_log_prob(z, labels).log_prob
    assert loss(logits) == pytest.approx(np.log(2.0))
    slope = transform(loss)(logits)
    expected = [[0, -0.5, 0.5], [0, 0, 0], [0, 0, 0]]
    np.testing.assert_allclose(slope, expected, atol=1e-15)
    product = jax.jvp(jax.grad(loss), (logits,), (jnp.ones_like(logits),))[1]
    np.testing.assert_allclose(product, np.zeros((3, 3)), atol=1e-15)


def test_a_label_that_is_impossible():
    logits, labels = jnp.array([[-INF, 0.0, 0.0]]), jnp.array([0])
    assert sequence_log_prob(logits, labels).log_prob == -INF
    assert perplexity(logits, labels) == INF
    slope = jax.grad(lambda z: sequence_log_prob(z, labels).log_prob)(logits)
    assert not jnp.isnan(slope).any()
    nothing = jnp.full((1, 3), -INF)
    assert sequence_log_prob(nothing, labels).log_prob == -INF
    assert (jax.grad(lambda z: sequence_log_prob(z, labels).log_prob)(nothing) == 0).all()


def test_half_precision_sums_in_float32():
    logits = jnp.zeros((70_000, 2), jnp.float16)
    labels = jnp.zeros(70_000, int)
    assert perplexity(logits, labels) == pytest.approx(2.0, rel=2e-3, abs=0)
    assert perplexity(logits, labels).dtype == jnp.float16
    assert token_log_probs(logits[:2], labels[:2]).dtype == jnp.float16
    assert sequence_log_prob(logits[:8], labels[:8]).log_prob.dtype == jnp.float16
    wide = jnp.zeros((1, 100_000), jnp.bfloat16)
    assert float(token_log_probs(wide, labels[:1])[0]) == pytest.approx(-11.5129, rel=2**-8, abs=0)


def test_a_traced_label_out_of_range_is_nan():
    found = jax.jit(token_log_probs)(jnp.zeros((3, 2)), jnp.array([0, 2, -1]))
    assert np.isnan(found).tolist() == [False, True, True]


BAD = [
    ((LOGITS, LABELS + 4), {}, ValueError, r"labels must be in 0\.\.3, or -100.*got.*vocabulary"),
    ((LOGITS, LABELS), {"ignore_index": 0}, ValueError, "labels must be.*got -100"),
    ((LOGITS, LABELS[:2]), {}, ValueError, r"shape of labels.*\(3, 5, 4\).*\(2, 5\)"),
    ((LOGITS, LABELS.astype(float)), {}, TypeError, "integers; got dtype float64.*argmax"),
    (([1.0, 2.0], 1), {}, ValueError, "one axis of classes.*single token"),
    (("ab", [0]), {}, TypeError, "number.*str"),
    ((LOGITS, LABELS, -100), {}, TypeError, "positional"),
]


@pytest.mark.parametrize("function", [token_log_probs, sequence_log_prob, perplexity])
@pytest.mark.parametrize(("arguments", "options", "error", "message"), BAD)
def test_bad_input(function, arguments, options, error, message):
    with pytest.raises(error) as caught:
        function(*arguments, **options)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_a_nan_at_an_ignored_position_has_no_gradient():
    logits = jnp.array([[0.0, 1.0], [np.nan, 0.0]])
    total = lambda z: jnp.sum(token_log_probs(z, jnp.array([1, -100])))
    gradient = jax.grad(total)(logits)
    assert np.isfinite(total(logits))
    assert np.isfinite(gradient).all()
    assert (gradient[1] == 0).all()
