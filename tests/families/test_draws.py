"""Draws of large counts: their deviation, their parity, and what they have at every scale."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax import discrete, families

COUNT = 20_000


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize(
    "rate", [2e7, *(pytest.param(rate, marks=pytest.mark.slow) for rate in (1e3, 3e5, 1e9))]
)
def test_large_poisson_counts(rate, dtype):
    """The deviation of float32 draws is 1.2 times too large at 2e7, and they are even."""
    family = families.Poisson()
    theta = family.natural_from_params(np.asarray(rate, dtype))
    x = np.asarray(family.sample(jax.random.key(3), theta, (COUNT,)))
    assert x.dtype.kind == "i"
    mean = float(family.mean(theta))
    score = (x - mean) / np.sqrt(mean)
    assert abs(score.mean()) < 5 / np.sqrt(COUNT)
    assert abs(score.var() - 1) < 5 * np.sqrt(2 / COUNT)
    assert abs((x % 2).mean() - 0.5) < 5 * 0.5 / np.sqrt(COUNT)
    assert scipy.stats.kstest(score, "norm").pvalue > (1e-4 if rate > 1e5 else 0)


def test_large_and_small_rates_in_one_batch():
    family = families.Poisson()
    rates = np.array([0.0, 0.5, 1e8])
    theta = family.natural_from_params(rates)
    x = np.asarray(jax.jit(lambda key: family.sample(key, theta, (4000,)))(jax.random.key(0)))
    assert (x[:, 0] == 0).all()
    np.testing.assert_allclose(x.mean(0), rates, atol=5 * np.sqrt(rates / 4000).max())
    np.testing.assert_allclose(x[:, 1:].var(0), rates[1:], rtol=0.15)


def test_counts_beyond_the_integers_are_the_largest():
    with jax.enable_x64(False):
        theta = families.Poisson().natural_from_params(np.float32(3e10))
        x = np.asarray(families.Poisson().sample(jax.random.key(0), theta, (100,)))
    assert x.dtype == np.int32
    assert (x == np.iinfo(np.int32).max).all()


def test_what_is_no_key_is_refused():
    theta = families.Poisson().natural_from_params(2.0)
    for draw in (lambda: families.Poisson().sample(0, theta), lambda: discrete.gumbel(0)):
        with pytest.raises(TypeError, match=r"PRNG key; got int 0. Pass jax.random.key\(0\)"):
            draw()


@pytest.mark.slow
def test_large_negative_binomial_counts():
    family = families.NegativeBinomial(1e9)
    theta = family.natural_from_params(jnp.asarray(0.5))
    x = np.asarray(family.sample(jax.random.key(1), theta, (COUNT,)))
    score = (x - float(family.mean(theta))) / np.sqrt(float(family.variance(theta)))
    assert abs(score.mean()) < 5 / np.sqrt(COUNT)
    assert abs(score.var() - 1) < 5 * np.sqrt(2 / COUNT)
