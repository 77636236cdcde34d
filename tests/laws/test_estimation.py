"""Samples and maximum likelihood of each family."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.families import FAMILIES
from tests.laws.examples import EXAMPLES
from tests.laws.programs import cast, flat, natural, quantities

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

SAMPLES = 20_000
FEW = 40


def same_shapes(x: Any, batch: tuple[int, ...], event: Any) -> bool:
    """Whether the observations have these leading axes and the shapes of an event."""
    events = event if isinstance(x, tuple) else (event,)
    return [leaf.shape for leaf in jax.tree.leaves(x)] == [(*batch, *shape) for shape in events]


@functools.cache
def draw(name: str) -> Any:
    """Samples of a batch of three points, shape `(SAMPLES, 3, *event)`."""
    family = FAMILIES[name].family
    sampler = jax.jit(lambda key, t: family.sample(key, t, (SAMPLES,)))
    return jax.tree.map(np.asarray, sampler(jax.random.key(7), natural(name, 0)))


def few(name: str) -> Any:
    """The first of them."""
    return jax.tree.map(lambda leaf: leaf[:FEW], draw(name))


def test_moments_of_samples(name):
    family, found = FAMILIES[name].family, quantities(name)
    x = draw(name)
    assert same_shapes(x, (SAMPLES, 3), family.event_shape)
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
    assert same_shapes(x, (2, 4, 3), family.event_shape)
    again, fresh = (sample(jax.random.key(seed), theta, (2, 4)) for seed in (0, 1))
    rows = zip(*map(jax.tree.leaves, (x, again, fresh, EXAMPLES[name].valid)), strict=True)
    for leaf, same, other, example in rows:
        assert leaf.dtype.kind == "i" if example.dtype.kind == "i" else leaf.dtype == jnp.float32
        np.testing.assert_array_equal(leaf, same)
        assert (np.asarray(leaf) != np.asarray(other)).any()
    one = jax.tree.map(lambda leaf: leaf[0], theta)
    alone = jax.eval_shape(family.sample, jax.random.key(0), one)
    assert same_shapes(alone, (), family.event_shape)


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
    return FAMILIES[name].family.fit(few(name))


def test_fit_matches_moments(name):
    family = FAMILIES[name].family
    eta = family.mean_from_natural(fitted(name))
    mean = flat(name, family.statistics(few(name))).mean(axis=0)
    np.testing.assert_allclose(flat(name, eta), mean, rtol=1e-9, atol=1e-10)


def test_fit_maximizes_the_likelihood(name):
    family = FAMILIES[name].family
    x = few(name)
    slope = jax.jit(jax.grad(lambda t: family.log_density(t, x).mean(axis=0).sum()))(fitted(name))
    np.testing.assert_allclose(flat(name, slope), np.zeros((3, family.dimension)), atol=1e-9)


def test_weights_count_repetitions(name):
    family = FAMILIES[name].family
    x = few(name)
    counts = np.tile([0, 1, 2, 1], FEW // 4)
    repeated = family.fit(jax.tree.map(lambda leaf: np.repeat(leaf, counts, axis=0), x))
    weighted = family.fit(x, weights=counts)
    np.testing.assert_allclose(flat(name, weighted), flat(name, repeated), rtol=1e-9, atol=1e-11)
    scaled = family.fit(x, weights=1e-3 * counts)
    np.testing.assert_allclose(flat(name, scaled), flat(name, weighted), rtol=1e-9, atol=1e-11)
    plain = family.fit(x, weights=np.full(FEW, 2.0))
    np.testing.assert_allclose(flat(name, plain), flat(name, fitted(name)), rtol=1e-9, atol=1e-11)


def test_fit_under_jit_and_in_float32(name):
    family = FAMILIES[name].family
    x, weights = few(name), np.arange(1.0, FEW + 1)
    compiled = jax.jit(lambda x, w: family.fit(x, weights=w))
    eager = flat(name, family.fit(x, weights=weights))
    np.testing.assert_allclose(flat(name, compiled(x, weights)), eager, rtol=1e-9, atol=1e-11)
    x = cast(x, "float32")
    narrow = compiled(x, weights)
    # Weights do not widen the data; labels and counts take the default dtype.
    found = {leaf.dtype.name for leaf in jax.tree.leaves(narrow)}
    expected = {"float64" if leaf.dtype.kind == "i" else "float32" for leaf in jax.tree.leaves(x)}
    assert found == expected
    np.testing.assert_allclose(flat(name, narrow), eager, rtol=2e-4, atol=2e-4)
