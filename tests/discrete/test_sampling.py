"""Filters of logits against brute force on random rows, ties and extremes; frequencies of draws."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax.discrete import keep_min_p, keep_top_k, keep_top_p, sample

INF = np.inf
ROWS = np.array(
    [
        [0.0, 3.0, 1.0, 2.0, -1.0],
        [1.0, 1.0, 1.0, 1.0, 1.0],
        [-INF, 2.0, -INF, 2.0, 0.0],
        [-INF, -INF, 5.0, -INF, -INF],
        [1e30, 0.0, 1e30, -1e30, 3.0],
        [0.5, 0.25, 0.5, 0.25, -3.0],
    ]
)


def by_brute_force(row, *, count=None, mass=None, ratio=None):
    """Labels that stay, from plain sums; the likelier first, ties by label."""
    order = sorted(range(len(row)), key=lambda i: (-row[i], i))
    weights = np.exp(row - max(row))
    p = weights / weights.sum()
    if count is not None:
        kept = order[:count]
    elif ratio is not None:
        kept = [i for i in order if p[i] >= ratio * max(p) * (1 - 1e-12)]
    else:
        sizes = [j for j in range(1, len(row) + 1) if sum(p[order[:j]]) >= mass - 1e-14]
        kept = order if mass == 1 else order[: sizes[0]]
    return [i for i in kept if row[i] > -INF]


def kept_labels(filtered):
    return [np.flatnonzero(np.asarray(row) > -INF).tolist() for row in filtered]


TOP_K, TOP_P, MIN_P = jax.jit(keep_top_k), jax.jit(keep_top_p), jax.jit(keep_min_p)


@pytest.mark.parametrize("count", [1, 2, 3, 5, 9])
def test_top_k(count):
    expected = [sorted(by_brute_force(row, count=count)) for row in ROWS]
    assert kept_labels(TOP_K(ROWS, count)) == expected
    assert kept_labels(keep_top_k(ROWS, count)) == expected


@pytest.mark.parametrize("mass", [0.0, 0.2, 0.4, 0.5, 0.9, 0.999999, 1.0])
def test_top_p(mass):
    rows = np.concatenate([ROWS, np.random.default_rng(0).normal(size=(4, 5))])
    expected = [sorted(by_brute_force(row, mass=mass)) for row in rows]
    assert kept_labels(TOP_P(rows, mass)) == expected


def test_nucleus_reaches_its_mass_despite_rounding():
    p = np.array([[0.5, 0.1, 0.4], [0.7, 0.2, 0.1], [0.1, 0.3, 0.6]])
    for dtype in ("float32", "float64"):
        found = TOP_P(jnp.log(jnp.asarray(p, dtype)), 0.9)
        assert kept_labels(found) == [[0, 2], [0, 1], [1, 2]]


def test_nucleus_of_everything_keeps_rare_classes():
    row = jnp.asarray([0.0, -80.0, -90.0], jnp.float32)
    assert jnp.isfinite(TOP_P(row, 1.0)).all()


@pytest.mark.parametrize("ratio", [0.0, 0.3, np.exp(-1.0), 0.999, 1.0])
def test_min_p(ratio):
    expected = [sorted(by_brute_force(row, ratio=ratio)) for row in ROWS]
    assert kept_labels(MIN_P(ROWS, ratio)) == expected


def test_filters_keep_values_and_dtype():
    for dtype in ("bfloat16", "float16", "float32"):
        row = jnp.asarray([0.0, 3.0, 1.0], dtype)
        for filtered in (keep_top_k(row, 2), keep_top_p(row, 0.95), keep_min_p(row, 0.1)):
            assert filtered.dtype == dtype
            assert filtered.tolist() == [-INF, 3.0, 1.0]


def test_an_infinite_logit_is_certain():
    row = jnp.array([0.0, INF, 1e30])
    for filtered in (TOP_K(row, 1), TOP_P(row, 0.5), MIN_P(row, 0.1)):
        assert filtered.tolist() == [-INF, INF, -INF]


DRAW = jax.jit(sample)


def test_frequencies_of_the_combined_sampler():
    p = np.array([0.4, 0.25, 0.2, 0.1, 0.05])
    rows = np.broadcast_to(np.log(p), (30_000, 5))
    labels = DRAW(jax.random.key(0), rows, temperature=0.8, top_k=4, top_p=0.85, min_p=0.3)
    # The same in plain numbers, step by step.
    law = p ** (1 / 0.8) / np.sum(p ** (1 / 0.8))
    law = np.where(np.arange(5) < 4, law, 0)
    law = law / law.sum()
    reached = np.cumsum(law) - law < 0.85
    law = np.where(reached, law, 0)
    law = np.where(law >= 0.3 * law.max(), law / law.sum(), 0)
    law = law / law.sum()
    counts = np.bincount(labels, minlength=5)
    assert (counts[law == 0] == 0).all()
    assert (law > 0).sum() == 3
    assert scipy.stats.chisquare(counts[law > 0], 30_000 * law[law > 0]).pvalue > 1e-3


@pytest.mark.parametrize("temperature", [1e-45, 1e-20, 1e20])
def test_extreme_temperatures(temperature):
    rows = np.tile(np.array([1.0, 3.0, 2.0], np.float32), (300, 1))
    labels = np.asarray(DRAW(jax.random.key(1), rows, temperature=temperature))
    if temperature < 1:
        assert (labels == 1).all()
    else:
        assert scipy.stats.chisquare(np.bincount(labels, minlength=3)).pvalue > 1e-3


def test_batches_and_keys():
    rows = np.zeros((2, 3, 4))
    assert DRAW(jax.random.key(2), rows).shape == (2, 3)
    keys = jax.random.split(jax.random.key(3), 5)
    labels = jax.vmap(lambda k, t: sample(k, rows, temperature=t, top_k=2))(
        keys, jnp.arange(1.0, 6)
    )
    assert labels.shape == (5, 2, 3)
    assert set(np.unique(labels)) == {0, 1}


def test_greedy_and_impossible_rows():
    assert DRAW(jax.random.key(4), ROWS[[0, 3]], top_k=1).tolist() == [1, 2]
    assert DRAW(jax.random.key(4), ROWS[[0, 3]], top_p=0.0).tolist() == [1, 2]
    assert DRAW(jax.random.key(5), np.full((2, 3), -INF), top_p=0.5, top_k=2).tolist() == [-1, -1]


KEY = jax.random.key(0)
BAD = [
    (lambda: sample(KEY, [0.0, 1.0], temperature=0.0), ValueError, "positive.*got 0.0.*argmax"),
    (lambda: sample(KEY, [0.0, 1.0], top_k=0), ValueError, "top_k.*at least 1; got 0.*None"),
    (lambda: sample(KEY, [0.0, 1.0], top_k=1.5), TypeError, "top_k.*integer.*float"),
    (lambda: sample(KEY, [0.0, 1.0], top_p=1.5), ValueError, r"top_p.*\[0, 1\]; got 1.5"),
    (lambda: sample(KEY, [0.0, 1.0], min_p=-0.1), ValueError, r"min_p.*\[0, 1\]; got -0.1"),
    (lambda: sample(KEY, [0.0, 1.0], min_p=[0.1]), ValueError, "min_p must be a scalar.*vmap"),
    (lambda: sample(KEY, [-INF, -INF]), ValueError, "above -inf.*Unmask"),
    (lambda: sample(KEY, 1.0), ValueError, "at least one axis"),
    (lambda: sample(KEY, [0.0], 2.0), TypeError, "positional"),
    (lambda: sample(KEY, [0.0], topk=2), TypeError, "topk"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_nucleus_of_a_large_vocabulary_in_float32():
    logits = np.random.default_rng(0).normal(size=128_000).astype("float32") * 2
    p = np.sort(np.exp(logits.astype(float)))[::-1]
    reached = np.cumsum(p) / p.sum()
    kept = int(jnp.isfinite(TOP_P(logits, np.float32(0.9999))).sum())
    # The fewest classes, but for the rounding that counts as reaching the mass.
    assert reached[kept - 1] >= 0.9999 - 8 * 1.2e-7
    assert reached[kept - 2] < 0.9999


def test_no_class_is_refused():
    with pytest.raises(ValueError, match="at least one class"):
        sample(KEY, jnp.zeros((3, 0)))


def test_a_nan_goes_through_every_filter():
    row = jnp.array([0.0, np.nan, 1.0])
    for filtered in (TOP_K(row, 3), TOP_P(row, 0.9), MIN_P(row, 0.1)):
        assert np.isnan(filtered).any()
    assert int(DRAW(jax.random.key(0), row, min_p=0.1)) == -1
