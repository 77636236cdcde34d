"""Samples and maximum likelihood of each family."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.families import FAMILIES
from tests.laws.programs import flat, natural, quantities

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

SAMPLES = 20_000
FEW = 40


@functools.cache
def draw(name: str) -> np.ndarray:
    """Samples of a batch of three points, shape `(SAMPLES, 3, *event)`."""
    family = FAMILIES[name].family
    sampler = jax.jit(lambda key, t: family.sample(key, t, (SAMPLES,)))
    return np.asarray(sampler(jax.random.key(7), natural(name, 0)))


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
    sample = jax.jit(family.sample, static_argnums=2)
    theta = jax.tree.map(lambda leaf: leaf.astype("float32"), natural(name, 0))
    x = sample(jax.random.key(0), theta, (2, 4))
    assert x.shape == (2, 4, 3, *family.event_shape)
    counted = FAMILIES[name].support in {"finite", "counts"}
    assert x.dtype.kind == "i" if counted else x.dtype == jnp.float32
    np.testing.assert_array_equal(x, sample(jax.random.key(0), theta, (2, 4)))
    assert (np.asarray(x) != np.asarray(sample(jax.random.key(1), theta, (2, 4)))).any()
    one = jax.tree.map(lambda leaf: leaf[0], theta)
    alone = jax.eval_shape(family.sample, jax.random.key(0), one)
    assert alone.shape == family.event_shape


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


@functools.cache
def fitted(name: str):
    """The estimate of the first observations of each point."""
    return FAMILIES[name].family.fit(draw(name)[:FEW])


def test_fit_matches_moments(name):
    family = FAMILIES[name].family
    eta = family.mean_from_natural(fitted(name))
    mean = flat(name, family.statistics(draw(name)[:FEW])).mean(axis=0)
    np.testing.assert_allclose(flat(name, eta), mean, rtol=1e-9, atol=1e-10)


def test_fit_maximizes_the_likelihood(name):
    family = FAMILIES[name].family
    x = draw(name)[:FEW]
    slope = jax.jit(jax.grad(lambda t: family.log_density(t, x).mean(axis=0).sum()))(fitted(name))
    np.testing.assert_allclose(flat(name, slope), np.zeros((3, family.dimension)), atol=1e-9)


def test_weights_count_repetitions(name):
    family = FAMILIES[name].family
    x = draw(name)[:FEW]
    counts = np.tile([0, 1, 2, 1], FEW // 4)
    repeated = family.fit(np.repeat(x, counts, axis=0))
    weighted = family.fit(x, weights=counts)
    np.testing.assert_allclose(flat(name, weighted), flat(name, repeated), rtol=1e-9, atol=1e-11)
    scaled = family.fit(x, weights=1e-3 * counts)
    np.testing.assert_allclose(flat(name, scaled), flat(name, weighted), rtol=1e-9, atol=1e-11)
    plain = family.fit(x, weights=np.full(FEW, 2.0))
    np.testing.assert_allclose(flat(name, plain), flat(name, fitted(name)), rtol=1e-9, atol=1e-11)


def test_fit_under_jit_and_in_float32(name):
    family = FAMILIES[name].family
    x, weights = draw(name)[:FEW], np.arange(1.0, FEW + 1)
    compiled = jax.jit(lambda x, w: family.fit(x, weights=w))
    eager = flat(name, family.fit(x, weights=weights))
    np.testing.assert_allclose(flat(name, compiled(x, weights)), eager, rtol=1e-9, atol=1e-11)
    narrow = compiled(x if x.dtype.kind == "i" else x.astype("float32"), weights)
    for leaf in narrow:
        # Weights do not widen the data; labels and counts take the default dtype.
        assert leaf.dtype == ("float64" if x.dtype.kind == "i" else "float32")
    np.testing.assert_allclose(flat(name, narrow), eager, rtol=2e-4, atol=2e-4)
