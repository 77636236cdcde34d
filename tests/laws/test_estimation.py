"""Samples and maximum likelihood of each family."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.families import FAMILIES
from tests.laws.programs import flat, natural, quantities

SAMPLES = 20_000


def draw(name: str, dtype: str = "float64") -> np.ndarray:
    """Samples of a batch of three points, shape `(SAMPLES, 3, *event)`."""
    family = FAMILIES[name].family
    theta = natural(name, 0, dtype=dtype)
    sampler = jax.jit(lambda key, t: family.sample(key, t, (SAMPLES,)))
    return sampler(jax.random.key(7), theta)


def test_moments_of_samples(name):
    family, found = FAMILIES[name].family, quantities(name)
    x = draw(name)
    assert x.shape == (SAMPLES, 3, *family.event_shape)
    assert family.in_support(x).all()
    statistics = flat(name, family.statistics(x))
    error = statistics.mean(axis=0) - flat(name, found["eta"])
    deviation = np.sqrt(np.diagonal(found["fisher"], 0, -2, -1) / SAMPLES)
    assert (np.abs(error) <= 5 * deviation).all()
    # The second moment too: a sampler of the wrong spread has the right mean.
    centred = statistics - flat(name, found["eta"])
    square = centred**2
    variance_error = square.mean(axis=0) - np.diagonal(found["fisher"], 0, -2, -1)
    assert (np.abs(variance_error) <= 5 * square.std(axis=0) / np.sqrt(SAMPLES)).all()


def test_shapes_and_dtypes_of_samples(name):
    family = FAMILIES[name].family
    theta = natural(name, 0, dtype="float32")
    x = family.sample(jax.random.key(0), theta, (2, 4))
    assert x.shape == (2, 4, 3, *family.event_shape)
    kind = "i" if FAMILIES[name].support in {"finite", "counts"} else "f"
    assert x.dtype.kind == kind
    assert kind == "i" or x.dtype == jnp.float32
    same = family.sample(jax.random.key(0), theta, (2, 4))
    np.testing.assert_array_equal(x, same)
    one = jax.tree.map(lambda leaf: leaf[0], theta)
    assert family.sample(jax.random.key(0), one).shape == family.event_shape


def test_sampling_outside_the_domain_is_an_error(name):
    family = FAMILIES[name].family
    bad = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), natural(name, 0))
    with pytest.raises(ValueError, match=r"natural domain; got .*natural_from_params"):
        family.sample(jax.random.key(0), bad)


def test_fit_recovers_the_point(name):
    family, found = FAMILIES[name].family, quantities(name)
    estimate = family.fit(draw(name))
    assert family.batch_shape(estimate) == (3,)
    gap = flat(name, estimate) - flat(name, natural(name, 0))
    # N (estimate - theta)^T F (estimate - theta) is chi-square of `dimension` degrees.
    size = SAMPLES * np.einsum("bi,bij,bj->b", gap, found["fisher"], gap)
    assert (size <= 5 * family.dimension + 15).all()


def test_fit_matches_moments(name):
    family = FAMILIES[name].family
    x = draw(name)[:50]
    eta = family.mean_from_natural(family.fit(x))
    mean = flat(name, family.statistics(x)).mean(axis=0)
    np.testing.assert_allclose(flat(name, eta), mean, rtol=1e-9, atol=1e-10)


def test_fit_maximizes_the_likelihood(name):
    family = FAMILIES[name].family
    x = draw(name)[:50, 0]
    estimate = family.fit(x)
    slope = jax.grad(lambda t: family.log_density(t, x).mean())(estimate)
    np.testing.assert_allclose(flat(name, slope), np.zeros(family.dimension), atol=1e-9)


def test_weights_count_repetitions(name):
    family = FAMILIES[name].family
    x = draw(name)[:30]
    counts = np.arange(30) % 4
    repeated = family.fit(jnp.repeat(x, counts, axis=0))
    weighted = family.fit(x, weights=counts)
    np.testing.assert_allclose(flat(name, weighted), flat(name, repeated), rtol=1e-9, atol=1e-11)
    scaled = family.fit(x, weights=1e-3 * counts)
    np.testing.assert_allclose(flat(name, scaled), flat(name, weighted), rtol=1e-9, atol=1e-11)
    plain = family.fit(x, weights=np.full(30, 2.0))
    np.testing.assert_allclose(flat(name, plain), flat(name, family.fit(x)), rtol=1e-9, atol=1e-11)


def test_fit_under_jit(name):
    family = FAMILIES[name].family
    x, weights = draw(name)[:30], jnp.arange(1.0, 31.0)
    compiled = jax.jit(lambda x, w: family.fit(x, weights=w))(x, weights)
    eager = family.fit(x, weights=weights)
    np.testing.assert_allclose(flat(name, compiled), flat(name, eager), rtol=1e-9, atol=1e-11)


def test_float32_data_give_a_float32_point(name):
    family = FAMILIES[name].family
    x = draw(name, "float32")[:200]
    estimate = family.fit(x)
    wide = family.fit(x if x.dtype.kind == "i" else x.astype("float64"))
    for leaf in estimate:
        assert leaf.dtype == ("float64" if x.dtype.kind == "i" else "float32")
    np.testing.assert_allclose(flat(name, estimate), flat(name, wide), rtol=2e-4, atol=2e-4)
