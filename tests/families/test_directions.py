"""Directions and angles: samples with the moments of their law, and fits that recover it."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from igeojax import numerics
from igeojax.families import VonMises, VonMisesFisher

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

ANGLES = VonMises()
DTYPES = ("float64", "float32")


def axis(dim, index=0):
    return np.eye(1, dim, index)[0]


# Samples.


@functools.cache
def drawn(family, dtype, count):
    """A compiled sampler: every concentration and direction of one family compiles once."""
    return jax.jit(lambda key, theta: family.sample(key, theta, (count,)))


CONCENTRATIONS = (0.0, 1e-8, 1.0, 30.0, 1e4, 1e8)


@pytest.mark.parametrize(
    ("dim", "dtype"),
    [
        (2, "float64"),
        (2, "float32"),
        (3, "float64"),
        (3, "float32"),
        (10, "float32"),
        (500, "float32"),
    ],
)
def test_samples_have_the_moments_of_the_law(dim, dtype, key):
    """T13 and G8: any mean direction, mean and variance of the cosine within 5 standard errors."""
    family, count = VonMisesFisher(dim), 8000 if dim <= 10 else 1000
    tilted = np.concatenate([[1.0], np.full(dim - 1, 1e-6)])
    directions = [axis(dim), -axis(dim), tilted, np.linspace(-1, 0.7, dim)]
    centers = np.array([v / np.linalg.norm(v) for v in directions] * 3)[: 2 * len(CONCENTRATIONS)]
    kappas = np.repeat(CONCENTRATIONS, 2)
    theta = family.Point((kappas[:, None] * centers).astype(dtype))
    draws = np.asarray(drawn(family, dtype, count)(key, theta))
    assert draws.dtype == dtype
    assert family.in_support(draws).all()
    modes = np.asarray(family.mode(theta), float)
    for kappa, center, x in zip(kappas, modes, np.moveaxis(draws.astype(float), 1, 0), strict=True):
        # The gap 1 - cos from the chord: the cosine itself rounds to 1 in float32.
        gap = np.sum((x - center) ** 2, axis=-1) / 2
        expected, slope = cumulants(dim, kappa)
        assert abs(gap.mean() - expected) <= 5 * np.sqrt(slope / count), (kappa, center)
        square = (gap - expected) ** 2
        assert abs(square.mean() - slope) <= 6 * square.std() / np.sqrt(count), (kappa, center)
        across = (x - np.outer(x @ center, center)).mean(axis=0)
        spread = np.sqrt(max(2 * expected - slope - expected**2, 0) / (dim - 1) / count)
        assert np.abs(across).max() <= 6 * spread + np.finfo(dtype).eps, (kappa, center)


@functools.cache
def cumulants(dim, kappa):
    """Mean of `1 - cos` and variance of `cos`."""
    k = jnp.asarray(kappa)
    return float(numerics.vmf_mean_gap(dim, k)), float(numerics.vmf_mean_slope(dim, k))


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_in_a_hundred_thousand_dimensions(dtype, key):
    dim, count = 100_000, 64
    family = VonMisesFisher(dim)
    mu = np.ones(dim) / np.sqrt(dim)
    for kappa in (0.0, 5e4, 1e8):
        theta = family.Point(jnp.asarray(kappa * mu, dtype))
        x = np.asarray(drawn(family, dtype, count)(key, theta), float)
        assert family.in_support(x.astype(dtype)).all()
        gap = np.sum((x - mu) ** 2, axis=-1) / 2
        expected, slope = cumulants(dim, kappa)
        assert abs(gap.mean() - expected) <= 5 * np.sqrt(slope / count) + 1e-6 * expected


@pytest.mark.parametrize("dtype", DTYPES)
def test_samples_of_angles(dtype, key):
    """T16: the deviation is 1e-4 at a concentration of 1e8, and the law uniform at 1e-9."""
    count = 10000
    kappas = np.array([1e-9, 1e-9, 0.5, 20.0, 1e4, 1e8, 1e8, 1e8])
    locs = np.array([0.0, 3.0, -2.0, 3.1415, -np.pi, 0.0, 1.0, np.pi])
    theta = ANGLES.natural_from_params(locs.astype(dtype), kappas.astype(dtype))
    draws = np.asarray(drawn(ANGLES, dtype, count)(key, theta))
    assert draws.dtype == dtype
    assert ((draws > np.asarray(-np.pi, dtype)) & (draws <= np.asarray(np.pi, dtype))).all()
    for kappa, loc, x in zip(kappas, locs, draws.T.astype(float), strict=True):
        turn = (x - loc + np.pi) % (2 * np.pi) - np.pi
        variance = scipy.stats.vonmises(kappa).var() if kappa < 1e4 else 1 / kappa
        assert abs(turn.mean()) <= 5 * np.sqrt(variance / count) + 1e-6
        assert abs(np.mean(turn**2) / variance - 1) <= 5 * np.sqrt(2 / count)
        gap, slope = cumulants(2, kappa)
        cosine_gap = 2 * np.sin(turn / 2) ** 2
        assert abs(cosine_gap.mean() - gap) <= 5 * np.sqrt(slope / count) + 1e-6 * gap + 1e-13
        if kappa < 1e-8:
            assert scipy.stats.kstest(x, "uniform", (-np.pi, 2 * np.pi)).pvalue > 1e-4


def test_batches_of_samples(key):
    family = VonMisesFisher(3)
    theta = family.natural_from_params(np.eye(3), [0.0, 5.0, 1e6])
    assert family.sample(key, theta, (4, 2)).shape == (4, 2, 3, 3)
    assert family.sample(key, theta).shape == (3, 3)
    with pytest.raises(ValueError, match="natural domain"):
        family.sample(key, family.Point(np.array([np.nan, 0.0, 0.0])))


# Fits.


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [2, 10])
def test_fit_recovers_the_law(dim, dtype, key):
    family, count, kappas = VonMisesFisher(dim), 3000, np.array([5.0, 1e4, 1e8])
    mu = np.ones(dim) / np.sqrt(dim)
    theta = family.Point(np.outer(kappas, mu).astype(dtype))
    estimate = jax.jit(lambda x: family.params_from_natural(family.fit(x)))
    found = estimate(drawn(family, dtype, count)(key, theta))
    assert found.mean_direction.dtype == dtype
    for kappa, got, direction in zip(kappas, *found[::-1], strict=True):
        # The information of kappa is A', per observation.
        error = 5 / np.sqrt(count * cumulants(dim, kappa)[1])
        assert abs(float(got) - kappa) <= error
        np.testing.assert_allclose(np.asarray(direction, float) @ mu, 1, atol=0.1)


def test_fit_of_nearly_equal_data_keeps_the_digits_of_their_spread():
    family = VonMisesFisher(3)
    tilt = 1e-7
    x = np.array([[1.0, tilt, 0.0], [1.0, -tilt, 0.0], [1.0, 0.0, tilt], [1.0, 0.0, -tilt]])
    found = family.params_from_natural(family.fit(x)).concentration
    # 1 - A = (d - 1) / (2 kappa) up to order two, and 1 - |mean| = tilt^2 / 2.
    np.testing.assert_allclose(found, 2 / tilt**2, rtol=1e-6)
    angles = ANGLES.params_from_natural(ANGLES.fit(np.array([0.3 + tilt, 0.3 - tilt])))
    np.testing.assert_allclose(angles.loc, 0.3, rtol=1e-12)
    np.testing.assert_allclose(angles.concentration, 1 / tilt**2, rtol=1e-6)


def test_fit_of_balanced_data_is_the_uniform_law():
    family = VonMisesFisher(3)
    x = np.concatenate([np.eye(3), -np.eye(3)])
    np.testing.assert_array_equal(family.fit(x).x, np.zeros(3))
    np.testing.assert_allclose(family.fit(x, weights=[1, 0, 0, 1, 0, 0]).x, np.zeros(3), atol=1e-15)
