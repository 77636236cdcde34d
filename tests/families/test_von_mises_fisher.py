"""Directions and angles: values, the uniform law, high dimensions, and what is refused."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special
import scipy.stats

from igeojax import numerics
from igeojax.divergences import exponential
from igeojax.families import VonMises, VonMisesFisher

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

ANGLES = VonMises()
DTYPES = ("float64", "float32")


def axis(dim, index=0, dtype="float64"):
    return np.eye(1, dim, index, dtype=dtype)[0]


# Values.


@pytest.mark.parametrize("dim", [2, 3, 7])
def test_against_scipy(dim, key):
    family = VonMisesFisher(dim)
    mu = np.ones(dim) / np.sqrt(dim)
    kappas = np.array([0.01, 2.0, 60.0, 1e4])
    theta = family.natural_from_params(np.broadcast_to(mu, (4, dim)), kappas)
    x = np.asarray(family.sample(key, theta, (5,)))
    density, entropy = family.log_density(theta, x), family.entropy(theta)
    for row, kappa in enumerate(kappas):
        law = scipy.stats.vonmises_fisher(mu, kappa)
        np.testing.assert_allclose(density[:, row], law.logpdf(x[:, row]), rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(entropy[row], law.entropy(), rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("kappa", [0.01, 2.0, 60.0, 1e4])
def test_angles_against_scipy(kappa):
    theta = ANGLES.natural_from_params(0.4, kappa)
    x = np.array([0.4, 0.5, 0.38, 0.4 + 2 * np.pi])
    law = scipy.stats.vonmises(kappa, 0.4)
    np.testing.assert_allclose(ANGLES.log_density(theta, x), law.logpdf(x), rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(ANGLES.entropy(theta), law.entropy(), rtol=1e-9, atol=1e-9)
    expected = np.log(2 * np.pi * scipy.special.ive(0, kappa)) + kappa
    np.testing.assert_allclose(ANGLES.log_partition(theta), expected, rtol=1e-13)


def test_where_peers_overflow():
    """T14: densities at the mode in high dimensions, infinite in scipy."""
    for dim, kappa, expected in ((4096, 1000.0, 12100.532), (768, 1.0, 1459.72)):
        family = VonMisesFisher(dim)
        theta = family.natural_from_params(axis(dim), kappa)
        np.testing.assert_allclose(family.log_density(theta, axis(dim)), expected, atol=0.005)
        np.testing.assert_allclose(kappa - family.log_partition(theta), expected, atol=0.005)


@pytest.mark.parametrize("dtype", DTYPES)
def test_density_at_large_concentration_keeps_its_digits(dtype):
    """Near the mode the law is normal in the tangent plane."""
    family, kappa = VonMisesFisher(3), 1e8
    theta = family.natural_from_params(axis(3, dtype=dtype), np.asarray(kappa, dtype))
    tangent = np.array([0.0, 5e-5, -1e-4])
    x = (axis(3) + tangent).astype(dtype)
    expected = np.log(kappa / (2 * np.pi)) - 0.5 * kappa * np.sum(tangent**2)
    tolerance = {"float64": 1e-7, "float32": 2e-6}[dtype]
    np.testing.assert_allclose(family.log_density(theta, x), expected, rtol=tolerance)
    angle = ANGLES.natural_from_params(np.asarray(0.0, dtype), np.asarray(kappa, dtype))
    expected = 0.5 * np.log(kappa / (2 * np.pi)) - 0.5
    found = ANGLES.log_density(angle, np.asarray(1e-4, dtype))
    np.testing.assert_allclose(found, expected, rtol=tolerance)


@pytest.mark.parametrize("dim", [2, 3, 20, 1000])
def test_moments_of_an_observation(dim):
    family, kappa = VonMisesFisher(dim), 7.0
    theta = family.natural_from_params(np.ones(dim) / np.sqrt(dim), kappa)
    mean, variance = family.mean(theta), family.variance(theta)
    length = float(numerics.vmf_mean_length(dim, jnp.asarray(kappa)))
    np.testing.assert_allclose(np.linalg.norm(mean), length, rtol=1e-13)
    # x is a unit vector: its second moments sum to one.
    np.testing.assert_allclose(variance.sum() + length**2, 1, rtol=1e-13)
    np.testing.assert_allclose(family.mode(theta), np.ones(dim) / np.sqrt(dim), rtol=1e-13)
    sharp = family.natural_from_params(axis(dim), 1e8)
    slope = float(numerics.vmf_mean_slope(dim, jnp.asarray(1e8)))
    np.testing.assert_allclose(family.variance(sharp)[0], slope, rtol=1e-12)


def test_two_dimensions_are_angles():
    family, angle = VonMisesFisher(2), 0.7
    theta = family.natural_from_params([np.cos(angle), np.sin(angle)], 3.0)
    point = ANGLES.natural_from_params(angle, 3.0)
    np.testing.assert_allclose(family.entropy(theta), ANGLES.entropy(point), rtol=1e-14)
    x = np.array([0.1, 3.0])
    rows = np.stack([np.cos(x), np.sin(x)], -1)
    np.testing.assert_allclose(
        family.log_density(theta, rows), ANGLES.log_density(point, x), rtol=1e-13
    )
    np.testing.assert_allclose(ANGLES.mean(point), angle, rtol=1e-14)
    gap = 1 - scipy.special.ive(1, 3.0) / scipy.special.ive(0, 3.0)
    np.testing.assert_allclose(ANGLES.variance(point), gap, rtol=1e-13)


@pytest.mark.parametrize("dtype", DTYPES)
def test_divergence_from_source_parameters(dtype):
    """`KL = radial part + kappa_q A(kappa_p) (1 - cos)`, also where naturals round."""
    family, tilt = VonMisesFisher(3), 1e-4
    tolerance = {"float64": 1e-9, "float32": 2e-6}[dtype]
    near = axis(3) + tilt * axis(3, 1)
    first, second = axis(3, dtype=dtype), (near / np.linalg.norm(near)).astype(dtype)
    for kappa_p, kappa_q in ((1e-3, 2e-3), (2.0, 2.0), (50.0, 3.0), (1e6, 1e6 + 16), (1e8, 1e8)):
        p = family.Params(first, np.asarray(kappa_p, dtype))
        q = family.Params(second, np.asarray(kappa_q, dtype))
        wide = jnp.asarray([kappa_q, kappa_p])
        radial = float(numerics.vmf_radial_bregman(3, wide[0], wide[1]))
        chord = np.sum((first.astype(float) - second.astype(float)) ** 2) / 2
        turn = kappa_q * float(numerics.vmf_mean_length(3, wide[1])) * chord
        np.testing.assert_allclose(exponential.kl(family, p, q), radial + turn, rtol=tolerance)
        assert exponential.kl(family, p, p) == 0
        assert exponential.kl(family, q, q) == 0
        np.testing.assert_allclose(
            family.entropy(q), family.entropy(family.natural_from_params(*q)), rtol=2e-6
        )


def test_divergence_of_angles_from_source_parameters():
    p, q = ANGLES.Params(3.0, 1e6), ANGLES.Params(3.0 + 2 * np.pi + 1e-5, 1e6 + 8)
    radial = float(numerics.vmf_radial_bregman(2, jnp.asarray(1e6 + 8), jnp.asarray(1e6)))
    length = float(numerics.vmf_mean_length(2, jnp.asarray(1e6)))
    expected = radial + (1e6 + 8) * length * 2 * np.sin(0.5e-5) ** 2
    np.testing.assert_allclose(exponential.kl(ANGLES, p, q), expected, rtol=1e-9)


# The uniform law.


@pytest.mark.parametrize("family", [VonMisesFisher(2), VonMisesFisher(20)])
def test_the_uniform_law(family):
    dim = family.dim
    theta = family.natural_from_params(axis(dim, dim - 1), 0.0)
    np.testing.assert_array_equal(theta.x, np.zeros(dim))
    params = family.params_from_natural(theta)
    np.testing.assert_array_equal(params.mean_direction, axis(dim))
    assert params.concentration == 0
    surface = numerics.log_sphere(dim)
    np.testing.assert_allclose(family.entropy(theta), surface, rtol=1e-15)
    np.testing.assert_allclose(family.log_density(theta, axis(dim)), -surface, rtol=1e-15)
    np.testing.assert_allclose(family.variance(theta), np.full(dim, 1 / dim), rtol=1e-14)
    score = jax.grad(lambda t: family.log_density(t, axis(dim, 1)))(theta)
    np.testing.assert_allclose(score.x, axis(dim, 1), atol=1e-15)
    fisher = jax.jacfwd(family.mean_from_natural)(theta).x.x
    np.testing.assert_allclose(fisher, np.eye(dim) / dim, atol=1e-15)
    back = family.natural_from_mean(family.mean_from_natural(theta))
    np.testing.assert_array_equal(back.x, np.zeros(dim))
    for function in (family.entropy, lambda t: exponential.kl(family, t, t)):
        slope = jax.grad(function)(theta)
        np.testing.assert_array_equal(slope.x, np.zeros(dim))


def test_uniform_angles():
    theta = ANGLES.natural_from_params(1.0, 0.0)
    assert ANGLES.params_from_natural(theta) == (0.0, 0.0)
    np.testing.assert_allclose(ANGLES.variance(theta), 1.0, rtol=1e-15)
    np.testing.assert_allclose(ANGLES.entropy(theta), np.log(2 * np.pi), rtol=1e-15)
    for function in (ANGLES.mean, ANGLES.variance, ANGLES.entropy):
        assert all(np.isfinite(leaf) for leaf in jax.grad(function)(theta))


def test_high_dimensions_round_trip():
    dim = 100_000
    family = VonMisesFisher(dim)
    for dtype, tolerance in (("float64", 1e-12), ("float32", 1e-4)):
        mu = (np.ones(dim) / np.sqrt(dim)).astype(dtype)
        kappa = np.asarray([0.0, 10.0, 1e5, 1e7], dtype)
        theta = family.natural_from_params(np.broadcast_to(mu, (4, dim)), kappa)
        back = family.natural_from_mean(family.mean_from_natural(theta))
        np.testing.assert_allclose(back.x, theta.x, rtol=tolerance)
        assert np.isfinite(family.entropy(theta)).all()
        divergence = exponential.kl(family, theta, jax.tree.map(lambda v: v[::-1], theta))
        assert (divergence > 0).all()


# What is refused.


REFUSED = [
    (lambda: VonMisesFisher(1), ValueError, "dim must be at least 2; got 1"),
    (lambda: VonMisesFisher(3.0), TypeError, "dim must be a Python integer; got float"),
    (
        lambda: VonMisesFisher(2).natural_from_params([1.0, 1.0], 1.0),
        ValueError,
        r"length of mean_direction must be 1 within 1\.5e-08; got 1\.414.*Divide",
    ),
    (
        lambda: VonMisesFisher(2).natural_from_params([0.0, 0.0], 1.0),
        ValueError,
        "length of mean_direction.*got 0",
    ),
    (
        lambda: VonMisesFisher(2).natural_from_params([np.nan, 0.0], 1.0),
        ValueError,
        "length of mean_direction.*got nan",
    ),
    (
        lambda: VonMisesFisher(3).natural_from_params([1.0, 0.0], 1.0),
        ValueError,
        r"mean_direction must have trailing axes \(3,\); got shape \(2,\)",
    ),
    (
        lambda: VonMisesFisher(2).natural_from_params([1.0, 0.0], -1.0),
        ValueError,
        r"concentration must be non-negative.*got -1\.0.*negate",
    ),
    (
        lambda: VonMisesFisher(2).natural_from_params([1.0, 0.0], np.inf),
        ValueError,
        "concentration must be.*got inf",
    ),
    (
        lambda: VonMisesFisher(2).natural_from_params(np.eye(2), np.ones(3)),
        ValueError,
        r"broadcast; got \(2,\) of mean_direction and \(3,\) of concentration",
    ),
    (
        lambda: VonMisesFisher(2).natural_from_params("x", 1.0),
        TypeError,
        "mean_direction must be a number or an array.*got str",
    ),
    (
        lambda: VonMisesFisher(3).fit(np.array([[1.0, 0, 0], [1.0, 1.0, 0]])),
        ValueError,
        r"support; got \[1\. 1\. 0\.\] at index \(1,\)",
    ),
    (
        lambda: VonMisesFisher(3).fit(np.array([[0.0, 0.6, 0.8]] * 4)),
        ValueError,
        "All observations agree.*Add",
    ),
    (
        lambda: VonMises().natural_from_params(np.nan, 1.0),
        ValueError,
        "loc must be finite; got nan",
    ),
    (
        lambda: VonMises().natural_from_params(0.0, -2.0),
        ValueError,
        r"concentration must be non-negative.*got -2\.0.*pi",
    ),
    (
        lambda: VonMises().fit(np.array([0.3, np.inf])),
        ValueError,
        r"support; got inf at index \(1,\)",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), REFUSED)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_under_jit_bad_parameters_are_nan():
    family = VonMisesFisher(2)
    make = jax.jit(lambda mu, kappa: family.natural_from_params(mu, kappa).x)
    assert np.isnan(make(np.array([1.0, 1.0]), 1.0)).all()
    assert np.isnan(make(np.array([1.0, 0.0]), -1.0)).any()
    np.testing.assert_array_equal(make(np.array([1.0, 0.0]), 2.0), [2.0, 0.0])
    assert np.isnan(jax.jit(ANGLES.natural_from_params)(0.0, -1.0).cos_x)


def test_the_tolerance_of_unit_vectors():
    family = VonMisesFisher(2)
    assert family.in_support(np.array([1 + 1e-8, 0.0]))
    assert not family.in_support(np.array([1 + 1e-7, 0.0]))
    assert family.in_support(np.array([1 + 1e-4, 0.0], "float32"))
    # The length that the tolerance allows is divided out.
    theta = family.natural_from_params(np.array([1 + 1e-8, 0.0]), 2.0)
    np.testing.assert_allclose(theta.x, [2.0, 0.0], rtol=1e-15)
