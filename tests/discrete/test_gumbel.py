"""Gumbel noise in both tails; frequencies, gradients and densities of draws made of it."""

import math
import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax.discrete import (
    gumbel,
    gumbel_log_softmax,
    gumbel_max,
    gumbel_softmax,
    relaxed_log_density,
    softmax,
)
from igeojax.discrete.gumbel import gumbel_from_bits

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

INF = np.inf
LOGITS = np.log([0.05, 0.15, 0.3, 0.5])


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_quantiles_keep_their_digits_in_both_tails(dtype):
    # u = (64 bits + 1/2) / 2^64 from integers; the noise is -log(-log(1 - u)), in float64 by logs.
    words = [0, 1, 7, 2**16, 2**20 + 1, 2**31 - 1]
    high = np.array(words + [2**32 - 1 - word for word in words], np.uint32)
    low = np.full(high.shape, 12345, np.uint32)
    found = gumbel_from_bits(jnp.asarray(high), jnp.asarray(low), jnp.dtype(dtype))
    assert found.dtype == dtype
    expected = []
    for word, rest in zip(high.tolist(), low.tolist(), strict=True):
        share = (word * 2**32 + rest + 0.5) / 2**64 if word < 2**31 else None
        rest_of_one = ((2**32 - 1 - word) * 2**32 + 2**32 - 1 - rest + 0.5) / 2**64
        exponential = -math.log1p(-share) if share is not None else -math.log(rest_of_one)
        expected.append(-math.log(exponential))
    np.testing.assert_allclose(found, expected, rtol=8 * np.finfo(dtype).eps, atol=1e-7)
    assert found.max() > 30
    assert found.min() < -2.8


def test_tails_in_float32():
    """Beyond 15.94 the usual float32 noise has nothing; its minimum is an atom at -4.47."""
    chunks, size = 16, 2**20
    counts = jax.jit(
        lambda key: jax.lax.map(
            lambda k: (
                lambda g: jnp.stack(
                    [(g > 12).sum(), (g > 15).sum(), (g < -2.5).sum(), (g < -2).sum()]
                )
            )(gumbel(k, (size,), jnp.float32)),
            jax.random.split(key, chunks),
        ).sum(axis=0)
    )(jax.random.key(1))
    total = chunks * size
    upper = lambda x: -math.expm1(-math.exp(-x))
    lower = lambda x: math.exp(-math.exp(-x))
    expected = total * np.array([upper(12), upper(15), lower(-2.5), lower(-2)])
    for count, mean in zip(counts, expected, strict=True):
        assert 1e-5 < scipy.stats.poisson.cdf(int(count), mean) < 1 - 1e-5


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_distribution(dtype):
    draws = np.asarray(gumbel(jax.random.key(2), (20_000,), dtype), float)
    assert scipy.stats.kstest(draws, scipy.stats.gumbel_r.cdf).pvalue > 1e-3
    assert gumbel(jax.random.key(0), (3,), jnp.bfloat16).dtype == jnp.bfloat16


def frequencies(labels, classes):
    return np.bincount(np.asarray(labels).ravel(), minlength=classes)


def test_gumbel_max_is_exact():
    rows = np.broadcast_to(LOGITS + 7, (40_000, 4))
    labels = jax.jit(gumbel_max)(jax.random.key(3), rows)
    assert labels.shape == (40_000,)
    counts = frequencies(labels, 4)
    assert scipy.stats.chisquare(counts, 40_000 * np.exp(LOGITS)).pvalue > 1e-3


def test_gumbel_max_at_extremes():
    draw = jax.jit(gumbel_max)
    impossible = np.tile([-INF, 1e30, -INF, 0.0], (100, 1))
    assert (draw(jax.random.key(4), impossible) == 1).all()
    certain = np.tile([INF, 1e300, INF, -INF], (2000, 1))
    counts = frequencies(draw(jax.random.key(5), certain), 4)
    assert counts[1] == counts[3] == 0
    assert scipy.stats.binomtest(int(counts[0]), 2000).pvalue > 1e-3
    # Where nothing can be drawn a label would be a lie.
    nothing = jnp.array([[-INF, -INF], [np.nan, 0.0], [-INF, 0.0]])
    assert draw(jax.random.key(6), nothing).tolist() == [-1, -1, 1]
    # Large logits: the noise is not rounded away.
    large = np.broadcast_to(np.float32(1e8) + np.zeros(2, np.float32), (2000, 2))
    assert 800 < int(draw(jax.random.key(7), large).sum()) < 1200


RELAX = jax.jit(jax.vmap(gumbel_softmax, in_axes=(0, None, None)))
HARD = jax.jit(
    jax.vmap(
        lambda k, z, t: gumbel_softmax(k, z, t, straight_through=True), in_axes=(0, None, None)
    )
)


@pytest.mark.parametrize("temperature", [0.1, 1.0, 10.0])
def test_the_largest_entry_has_the_law_at_every_temperature(temperature):
    draws = RELAX(jax.random.split(jax.random.key(8), 20_000), LOGITS, temperature)
    np.testing.assert_allclose(draws.sum(axis=-1), np.ones(20_000), rtol=1e-12)
    counts = frequencies(draws.argmax(axis=-1), 4)
    assert scipy.stats.chisquare(counts, 20_000 * np.exp(LOGITS)).pvalue > 1e-3


def test_classes_at_infinity_share_relaxed_draws():
    keys = jax.random.split(jax.random.key(12), 2000)
    logits = np.array([np.inf, 0.0, np.inf, -np.inf])
    hard, soft = HARD(keys, logits, 0.7), RELAX(keys, logits, 0.7)
    counts = frequencies(hard.argmax(axis=-1), 4)
    assert counts[1] == counts[3] == 0
    assert 850 < counts[0] < 1150
    np.testing.assert_array_equal(hard.argmax(axis=-1), soft.argmax(axis=-1))


def test_straight_through_is_exactly_one_hot():
    keys = jax.random.split(jax.random.key(9), 500)
    hard, soft = HARD(keys, LOGITS, 0.7), RELAX(keys, LOGITS, 0.7)
    assert set(np.unique(hard).tolist()) == {0.0, 1.0}
    np.testing.assert_array_equal(hard.argmax(axis=-1), soft.argmax(axis=-1))
    np.testing.assert_array_equal(hard.sum(axis=-1), np.ones(500))


def test_gradient_of_relaxed_draws_is_that_of_their_mean():
    """Pathwise and score-function estimators of one derivative agree within standard errors."""
    cost, temperature, size = jnp.array([1.0, -2.0, 0.5, 3.0]), 0.5, 40_000
    keys = jax.random.split(jax.random.key(10), size)

    def loss(z, key):
        return jnp.sin(gumbel_softmax(key, z, temperature) @ cost)

    def score(z, key):
        y = gumbel_log_softmax(key, z, temperature)
        slope = jax.grad(lambda v: relaxed_log_density(jax.lax.stop_gradient(y), v, temperature))(z)
        return jnp.sin(jnp.exp(y) @ cost) * slope

    z = jnp.asarray(LOGITS)
    path = jax.jit(jax.vmap(jax.grad(loss), in_axes=(None, 0)))(z, keys)
    likelihood = jax.jit(jax.vmap(score, in_axes=(None, 0)))(z, keys)
    error = np.sqrt((path.var(axis=0) + likelihood.var(axis=0)) / size)
    assert (np.abs(path.mean(axis=0) - likelihood.mean(axis=0)) < 4.5 * error).all()
    np.testing.assert_allclose(path.sum(axis=-1), np.zeros(size), atol=1e-12)


def test_straight_through_has_the_derivative_of_the_relaxed_draw():
    key, cost = jax.random.key(11), jnp.array([1.0, -2.0, 0.5, 3.0])
    slopes = [
        jax.grad(lambda z, hard=hard: gumbel_softmax(key, z, 0.5, straight_through=hard) @ cost)(
            jnp.asarray(LOGITS)
        )
        for hard in (True, False)
    ]
    np.testing.assert_allclose(*slopes, rtol=1e-14)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("temperature", [1e-40, 1e-10, 0.005, 0.01])
def test_small_temperatures(dtype, temperature):
    """Where peers give nan, or an infinite density of their own draw."""
    z = jnp.asarray(LOGITS, dtype)
    key = jax.random.key(12)

    @jax.jit
    def program(z):
        draw = lambda z: gumbel_softmax(key, z, temperature)
        y = gumbel_log_softmax(key, z, temperature)
        return draw(z), jax.jacrev(draw)(z), y, relaxed_log_density(y, z, temperature)

    relaxed, slope, y, density = program(z)
    assert jnp.isfinite(relaxed).all()
    assert jnp.isfinite(slope).all()
    np.testing.assert_allclose(relaxed.max(), 1.0, rtol=1e-5)
    if temperature > 1e-38:
        assert jnp.isfinite(y).all()
        assert jnp.isfinite(density)


def test_relaxed_density_integrates_to_one():
    z, t = jnp.array([0.3, -0.4]), 0.7
    odds = jnp.linspace(-60, 60, 20_001)
    y = jax.nn.log_sigmoid(jnp.stack([odds, -odds], axis=-1))
    density = jax.jit(jax.vmap(lambda v: jnp.exp(relaxed_log_density(v, z, t))))(y)
    mass = jnp.sum(density) * (odds[1] - odds[0])
    np.testing.assert_allclose(mass, 1.0, rtol=1e-6)


def test_temperature_tends_to_the_limits():
    key = jax.random.key(13)
    np.testing.assert_allclose(gumbel_softmax(key, LOGITS, 1e12), np.full(4, 0.25), rtol=1e-9)
    assert float(gumbel_softmax(key, LOGITS, 1e-6).max()) == 1.0
    np.testing.assert_allclose(softmax(LOGITS), np.exp(LOGITS), rtol=1e-14)


KEY = jax.random.key(0)
BAD = [
    (lambda: gumbel_softmax(KEY, [0.0, 1.0], 0.0), ValueError, "positive.*got 0.0.*argmax"),
    (lambda: gumbel_softmax(KEY, [0.0, 1.0], -1.0), ValueError, "positive.*got -1.0.*argmax"),
    (lambda: gumbel_softmax(KEY, 3.0), ValueError, "at least one axis.*scalar.*array"),
    (lambda: gumbel_max(KEY, [[0.0, 1.0], [-INF, -INF]]), ValueError, r"row.*-inf.*\(1,\).*Unmask"),
    (lambda: gumbel_max(KEY, [0.0, np.nan]), ValueError, "largest logit.*nan.*drop the row"),
    (lambda: gumbel_max(KEY, "ab"), TypeError, "number.*got str"),
    (lambda: gumbel(KEY, (2,), jnp.int32), ValueError, "floating; got int32.*float32"),
    (lambda: relaxed_log_density([0.0, 0.0], [0.0] * 3), ValueError, "one number.*2 and 3.*axis"),
    (lambda: relaxed_log_density([0.0, 0.0], [0.0] * 2, 0), ValueError, "positive.*got 0"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_rows_without_a_possible_class():
    logits = jnp.array([[-np.inf, -np.inf], [np.nan, 0.0]])
    for straight_through in (False, True):
        draw = jax.jit(
            lambda z, hard=straight_through: gumbel_softmax(
                jax.random.key(0), z, straight_through=hard
            )
        )(logits)
        assert draw[0].tolist() == [0.0, 0.0]
        assert np.isnan(draw[1]).all()


def test_relaxed_density_refuses_impossible_classes():
    with pytest.raises(ValueError, match="logits must be finite"):
        relaxed_log_density(jnp.log(jnp.array([0.5, 0.5])), jnp.array([0.0, -np.inf]))
