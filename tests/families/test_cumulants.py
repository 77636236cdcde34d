"""Generating functions against closed forms and scipy."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special
import scipy.stats

from igeojax import families
from igeojax.families import cumulants
from igeojax.numerics.complex_log_gamma import complex_log_gamma


def test_normal_moments():
    normal = families.Normal()
    m, s = 0.7, 1.3
    theta = normal.natural_from_params(m, s)
    # Cumulants of x: m, s^2, 0, 0. Raw moments follow from them.
    found = [
        float(cumulants.cumulant(normal, theta, normal.Point(1.0, 0.0), order=k))
        for k in (1, 2, 3, 4)
    ]
    np.testing.assert_allclose(found, [m, s**2, 0, 0], atol=1e-13)
    square = float(cumulants.cumulant(normal, theta, normal.Point(0.0, 1.0), order=1))
    assert square == pytest.approx(m**2 + s**2, rel=1e-14, abs=0)
    variance = float(cumulants.cumulant(normal, theta, normal.Point(0.0, 1.0), order=2))
    fourth = m**4 + 6 * m**2 * s**2 + 3 * s**4
    assert variance == pytest.approx(fourth - (m**2 + s**2) ** 2, rel=1e-13, abs=0)


def test_small_arguments_keep_their_digits():
    # log E exp(t x) - t E[x] is t^2 Var / 2 to first order, far below rounding of psi.
    poisson = families.Poisson()
    theta = poisson.natural_from_params(1e6)
    value = cumulants.cumulant_generating_function(poisson, theta, poisson.Point(1e-9))
    assert float(value) == pytest.approx(1e6 * np.expm1(1e-9), rel=1e-15, abs=0)


def test_outside_the_domain_the_generating_function_is_infinite():
    exponential = families.Exponential()
    theta = exponential.natural_from_params(2.0)
    for function in (
        cumulants.cumulant_generating_function,
        cumulants.moment_generating_function,
    ):
        assert function(exponential, theta, exponential.Point(2.0)) == np.inf
    # The characteristic function is not.
    value = cumulants.characteristic_function(exponential, theta, exponential.Point(2.0))
    np.testing.assert_allclose(value, 2 / (2 - 2j), rtol=1e-15)


def test_cauchy():
    t = np.array([-2.0, 0.0, 0.5, 3.0])
    rng = scipy.stats.cauchy(1.0, 2.0)
    found = cumulants.cauchy_characteristic_function(t, loc=1.0, scale=2.0)
    np.testing.assert_allclose(found, np.exp(1j * t - 2 * np.abs(t)), rtol=1e-14)
    # By quadrature of the density, far out where it falls like x^-2.
    x = np.tan(np.linspace(-np.pi / 2, np.pi / 2, 2_000_001)[1:-1])
    weights = rng.pdf(x) * (1 + x**2) * np.pi / 2_000_000
    expected = [np.sum(weights * np.exp(1j * s * x)) for s in t]
    np.testing.assert_allclose(found, expected, atol=2e-3)
    with pytest.raises(ValueError, match="scale must be positive"):
        cumulants.cauchy_characteristic_function(1.0, scale=-1.0)


def test_complex_log_gamma():
    z = np.array([0.01, 1.0, 2.5, 30.0])[:, None] + 1j * np.array([-40.0, -1.0, 0.0, 3.0, 200.0])
    np.testing.assert_allclose(
        complex_log_gamma(z), scipy.special.loggamma(z), rtol=1e-13, atol=1e-13
    )


# Of `exp(i <u, x>)` with u along and across the mean direction.
@pytest.mark.parametrize(
    "dim", [3, *(pytest.param(dim, marks=pytest.mark.slow) for dim in (2, 10, 33, 768))]
)
def test_directions(dim):
    concentrations = np.array([0.0, 0.0, 1.0, 30.0, 1000.0, 0.1])
    along = np.array([0.0, 1.0, 0.3, 5.0, 100.0, 300.0])
    across = np.array([0.0, 0.5, 2.0, -40.0, 30.0, 3.0])
    half = mpmath.mpf(dim) / 2
    with mpmath.workdps(30):
        expected = [
            complex(
                mpmath.hyp0f1(half, (mpmath.mpc(k, u) ** 2 - mpmath.mpf(v) ** 2) / 4)
                / mpmath.hyp0f1(half, mpmath.mpf(k) ** 2 / 4)
            )
            for k, u, v in zip(concentrations, along, across, strict=True)
        ]
    wide = lambda first, second: np.stack([first, second] + [0 * first] * (dim - 2), axis=-1)
    family = families.VonMisesFisher(dim)
    theta, t = wide(concentrations, 0 * along), wide(along, across)
    found = cumulants.characteristic_function(family, family.Point(theta), family.Point(t))
    assert (np.abs(found - np.array(expected)) <= 1e-12 + 1e-14 * concentrations).all()
    assert found[0] == 1
    if dim == 2:
        circle = families.VonMises()
        points = [circle.Point(*v.T) for v in (theta, t)]
        found = cumulants.characteristic_function(circle, *points)
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    # Minus the second derivative at 0 is the second moment, 1/d of the uniform law; and nan, not a
    # wrong number, where the nodes are too far apart.
    ray = lambda s: (
        cumulants.characteristic_function(
            family, family.Point(jnp.zeros(dim)), family.Point(s * jnp.eye(dim)[0])
        ).real
    )
    assert float(-jax.grad(jax.grad(ray))(0.0)) == pytest.approx(1 / dim, rel=1e-12, abs=0)
    assert np.isnan(ray(3000.0))


def test_directions_in_float32():
    family, row = families.VonMisesFisher(3), np.array([[2.0, 0, 0], [300.0, 0, 0]])
    t = np.array([[1.0, 1, 0], [9.0, 0, 20]])
    found, narrow = (
        cumulants.characteristic_function(family, family.Point(a), family.Point(b))
        for a, b in ((row, t), (np.float32(row), np.float32(t)))
    )
    assert narrow.dtype == np.complex64
    np.testing.assert_allclose(narrow, found, rtol=0, atol=1e-4)


def test_bad_orders():
    poisson = families.Poisson()
    theta, one = poisson.natural_from_params(1.0), poisson.Point(1.0)
    with pytest.raises(ValueError, match="order must be at least 1; got 0"):
        cumulants.cumulant(poisson, theta, one, order=0)
    with pytest.raises(TypeError, match="order must be a Python integer; got float"):
        cumulants.cumulant(poisson, theta, one, order=2.0)
