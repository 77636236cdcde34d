"""Dual geodesics: straight in their chart, end points, and where they leave the domain."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family_few_by_default, natural

TIMES = np.array([0.0, 0.3, 1.0])


@functools.cache
def compiled(name):
    family = FAMILIES[name].family

    @jax.jit
    def quantities(p, q, t):
        straight = lambda points: geometry.ravel(family, points)
        mean = lambda points: geometry.ravel(family, family.mean_from_natural(points))
        e, m = geometry.e_geodesic(family, p, q, t), geometry.m_geodesic(family, p, q, t)
        return {
            "theta": straight(e),
            "eta": mean(m),
            "ends": tuple((straight(point), mean(point)) for point in (p, q)),
        }

    return quantities


@each_family_few_by_default
def test_each_is_straight_in_its_chart(name):
    p, q = natural(name, 0), natural(name, 1)
    found = compiled(name)(p, q, TIMES)
    (theta_p, eta_p), (theta_q, eta_q) = found["ends"]
    t = TIMES[:, None, None]
    np.testing.assert_allclose(
        found["theta"], (1 - t) * theta_p[None] + t * theta_q[None], rtol=1e-14, atol=1e-14
    )
    expected = (1 - t) * eta_p[None] + t * eta_q[None]
    np.testing.assert_allclose(found["eta"], expected, rtol=1e-9, atol=1e-9)
    np.testing.assert_array_equal(found["theta"][0], theta_p)
    np.testing.assert_array_equal(found["theta"][2], theta_q)


@pytest.mark.slow
def test_the_axes_of_time_stand_in_front_of_the_batch():
    normal = families.Normal()
    p = normal.natural_from_params(jnp.zeros(5), jnp.ones(5))
    q = normal.Params(1.0, 2.0)
    for geodesic in (geometry.e_geodesic, geometry.m_geodesic):
        line = geodesic(normal, p, q, jnp.zeros((2, 3)))
        assert normal.batch_shape(line) == (2, 3, 5)
        assert normal.batch_shape(geodesic(normal, q, q, 0.5)) == ()


@pytest.mark.slow
def test_velocities_pair_by_the_metric():
    # At t = 0 too, where a formula that returns the end point as such would have none.
    gamma = families.Gamma()
    p, q = gamma.natural_from_params(2.0, 1.0), gamma.natural_from_params(3.0, 5.0)
    for t in (0.0, 0.4, 1.0):
        e = jax.jvp(lambda t: geometry.e_geodesic(gamma, p, q, t), (t,), (1.0,))
        m = jax.jvp(lambda t: geometry.m_geodesic(gamma, p, q, t), (t,), (1.0,))
        np.testing.assert_allclose(e[1], np.subtract(q, p), rtol=1e-14)
        push = gamma.fisher_matvec(*m)
        change = np.subtract(gamma.mean_from_natural(q), gamma.mean_from_natural(p))
        np.testing.assert_allclose(push, change, rtol=1e-9)


def test_mixtures_of_classes_are_the_m_geodesic():
    categorical = families.Categorical(3)
    p, q = np.array([0.2, 0.3, 0.5]), np.array([0.6, 0.0, 0.4])
    line = geometry.m_geodesic(categorical, categorical.Params(p), categorical.Params(q), 0.25)
    probs = categorical.params_from_natural(line).probs
    np.testing.assert_allclose(probs, 0.75 * p + 0.25 * q, rtol=1e-14)
    # The class that q has not is gone on all of the e-geodesic but its first end.
    t = np.array([0.0, 0.5, 1.0])
    line = geometry.e_geodesic(categorical, categorical.Params(p), categorical.Params(q), t)
    probs = np.asarray(categorical.params_from_natural(line).probs)
    root = np.sqrt(p * q)
    np.testing.assert_allclose(probs, [p, root / root.sum(), q], rtol=1e-14)
    both = geometry.e_geodesic(categorical, categorical.Params(q), categorical.Params(q), t)
    np.testing.assert_allclose(categorical.params_from_natural(both).probs, [q, q, q], rtol=1e-14)


def test_beyond_the_domain_is_nan():
    exponential = families.Exponential()
    p, q = exponential.Params(1.0), exponential.Params(3.0)
    t = np.array([-0.6, -0.4, 2.0])
    e = geometry.e_geodesic(exponential, p, q, t).x
    np.testing.assert_allclose(e, [np.nan, -0.2, -5.0], rtol=1e-14)
    # Means 1 and 1/3: no mean is left from t = 1.5 on.
    m = geometry.m_geodesic(exponential, p, q, np.array([0.0, 1.4, 1.6])).x
    np.testing.assert_allclose(m, [-1, -1 / (1 - 1.4 * 2 / 3), np.nan], rtol=1e-12)


def test_a_formula_asked_for_no_law_says_so():
    # At t = 2.1 both means are negative, and the closed form gives a law of others.
    inverse = families.InverseGaussian()
    p, q = inverse.Params(2.0, 0.2), inverse.Params(1.0, 1.0)
    line = geometry.m_geodesic(inverse, p, q, np.array([0.5, 2.1]))
    eta = inverse.Point(jnp.array(-0.1), jnp.array(-1.5))
    assert inverse.in_natural_domain(inverse.natural_from_mean(eta))
    for leaf in line:
        assert np.isfinite(leaf[0])
        assert np.isnan(leaf[1])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Gamma", "Beta", "Dirichlet", "VonMisesFisher"])
def test_far_beyond_the_domain_is_nan(name):
    entry = FAMILIES[name]
    p, q = entry.point(jax.random.key(0)), entry.point(jax.random.key(1))
    geodesic = jax.jit(lambda t: geometry.m_geodesic(entry.family, p, q, t))
    for leaf in jax.tree.leaves(geodesic(np.array([-1e4, 0.5, 1e4]))):
        assert np.isnan(np.asarray(leaf)[[0, 2]]).all()
        assert np.isfinite(leaf[1]).all()


@pytest.mark.slow
def test_float32_stays():
    gamma = families.Gamma()
    p, q = (gamma.Point(jnp.float32(a), jnp.float32(-b)) for a, b in ((2, 1), (3, 5)))
    for geodesic in (geometry.e_geodesic, geometry.m_geodesic):
        line = geodesic(gamma, p, q, 0.5)
        assert {leaf.dtype for leaf in line} == {np.dtype("float32")}
        wide = geodesic(gamma, *jax.tree.map(np.float64, (p, q)), 0.5)
        np.testing.assert_allclose(line, wide, rtol=1e-5)


def test_bad_input():
    normal = families.Normal()
    p = normal.natural_from_params(0.0, 1.0)
    pair = normal.natural_from_params(jnp.zeros(2), 1.0)
    triple = normal.natural_from_params(jnp.zeros(3), 1.0)
    for geodesic in (geometry.e_geodesic, geometry.m_geodesic):
        with pytest.raises(TypeError, match="instance of a family"):
            geodesic(families.Normal, p, p, 0.5)
        with pytest.raises(TypeError, match=r"needs a Normal\.Point; got int"):
            geodesic(normal, p, 3, 0.5)
        with pytest.raises(TypeError, match="t must be a number or an array"):
            geodesic(normal, p, p, "half")
        with pytest.raises(ValueError, match=r"batch shapes must broadcast; got \(2,\) of p"):
            geodesic(normal, pair, triple, 0.5)
