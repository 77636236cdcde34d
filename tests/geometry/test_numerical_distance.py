"""Numerical distances against closed forms, bounds and metric axioms."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg
import scipy.stats
from scipy.integrate import quad
from scipy.special import polygamma

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.geometry.manifolds import NO_CLOSED_FORM
from tests.laws.programs import each_family_few_by_default

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

FIRST, SECOND = np.array([0, 1, 2, 1, 2, 0, 0, 1]), np.array([1, 2, 0, 0, 1, 2, 0, 1])
"""Three pairs, the same in reverse, and two of equal points."""


@functools.cache
def evaluated(name):
    """Points of all pairs, their distances, and bounds of these."""
    family = FAMILIES[name].family
    points = FAMILIES[name].point(jax.random.key(5), (3,))
    p, q = (jax.tree.map(operator.itemgetter(index), points) for index in (FIRST, SECOND))
    found = geometry.numerical_distance(family, p, q), geometry.distance_bounds(family, p, q)
    return p, q, *jax.tree.map(np.asarray, found)


@each_family_few_by_default
def test_it_is_a_metric_between_its_bounds_and_the_closed_form(name):
    p, q, found, bounds = evaluated(name)
    assert found.converged.all()
    assert (found.residual[:6] < 1e-8).all()
    assert (found.error <= 1e-3 * found.value + 1e-12).all()
    there, back, same = found.value[:3], found.value[3:6], found.value[6:]
    np.testing.assert_allclose(there, back, rtol=1e-10)
    assert (same == 0).all()
    assert (2 * there.max() <= there.sum() + found.error.sum()).all()
    assert (bounds.lower[:6] <= found.value[:6] + found.error[:6]).all()
    assert (found.value[:6] <= bounds.upper[:6] + found.error[:6]).all()
    assert (found.value[:6] > 0).all()
    if name not in NO_CLOSED_FORM:
        exact = geometry.fisher_rao_distance(FAMILIES[name].family, p, q)
        np.testing.assert_allclose(found.value, exact, rtol=1e-6)
        # The estimate is no bound; it was at least the error in all that was tried.
        assert (np.abs(found.value - exact) <= found.error + 1e-12 * exact).all()


def test_bhattacharyya_angle():
    # Of probability vectors half the distance on the sphere of their roots; else by quadrature.
    die, normal = families.Categorical(4), families.Normal()
    p, q = (FAMILIES["Categorical"].point(jax.random.key(seed), (5,)) for seed in (0, 1))
    found = geometry.bhattacharyya_angle(die, p, q)
    np.testing.assert_allclose(found, geometry.fisher_rao_distance(die, p, q) / 2, rtol=1e-13)
    p, q = normal.Params(0.3, 1.0), normal.Params(-1.0, 2.5)
    root = lambda x: np.exp(0.5 * sum(scipy.stats.norm(*law).logpdf(x) for law in (p, q)))
    expected = np.arccos(quad(root, -40, 40)[0])
    assert float(geometry.bhattacharyya_angle(normal, p, q)) == pytest.approx(
        expected, rel=1e-8, abs=0
    )
    slope = jax.grad(lambda loc: geometry.bhattacharyya_angle(normal, normal.Params(loc, 1.0), p))
    assert slope(0.3) == 0


def normal(loc, scale, dtype=None):
    return families.Normal().Params(jnp.asarray(loc, dtype), jnp.asarray(scale, dtype))


FAR = normal([0.0, -3.0, 0.0], [1.0, 0.1, 1e-3]), normal([5.0, 3.0, 10.0], [0.5, 0.2, 1e-3])


@pytest.mark.slow
def test_far_normal_laws():
    family = families.Normal()
    exact = geometry.fisher_rao_distance(family, *FAR)
    found = jax.jit(lambda p, q: geometry.numerical_distance(family, p, q))(*FAR)
    assert found.converged.all()
    # Distances 4.7, 9.6 and 25.
    assert (np.abs(found.value - exact) <= np.array([1e-9, 1e-6, 1e-5]) * exact).all()
    assert (np.abs(found.value - exact) <= found.error).all()


@pytest.mark.slow
def test_more_segments_are_more_exact():
    family = families.Normal()
    p, q = (jax.tree.map(lambda leaf: leaf[0], law) for law in FAR)
    exact = geometry.fisher_rao_distance(family, p, q)
    errors = [
        abs(geometry.numerical_distance(family, p, q, segments=n).value - exact)
        for n in (8, 16, 32)
    ]
    # Far faster than the square of the step, 1/4.
    assert errors[1] < errors[0] / 10
    assert errors[2] < errors[1] / 10


@pytest.mark.slow
def test_far_beta_laws():
    # A step-by-step integration of the geodesic equation finds 27162 one way and 32.9 the other;
    # the path that is straight in the logarithms of the parameters has length 15.09.
    family = families.Beta()
    p = family.Params(jnp.array([0.01, 100.0]), jnp.array([50.0, 2.0]))
    q = jax.tree.map(lambda leaf: leaf[::-1], p)
    found = geometry.numerical_distance(family, p, q)
    assert found.converged.all()
    np.testing.assert_allclose(found.value[0], found.value[1], rtol=1e-12)
    # The value of 512 segments, whose error estimate is 2e-6.
    assert (np.abs(found.value - 7.101968) <= found.error).all()
    assert (found.error < 0.02).all()


@pytest.mark.slow
def test_gamma_against_an_integral():
    # In (mean, shape) the metric is diag(shape / mean^2, trigamma(shape) - 1/shape): along a common
    # mean is the shortest path, for moving the mean only adds.
    family = families.Gamma()
    a, b, mean = 0.5, 8.0, 3.0
    p, q = family.Params(a, a / mean), family.Params(b, b / mean)
    found = geometry.numerical_distance(family, p, q)
    exact = quad(lambda v: np.sqrt(polygamma(1, v) - 1 / v), a, b, epsabs=1e-13)[0]
    np.testing.assert_allclose(found.value, exact, rtol=1e-9)


@pytest.mark.slow
def test_derivatives_are_those_of_the_closed_form():
    family = families.Normal()
    p, q = normal(0.0, 1.0), normal(1.0, 2.0)
    ours = lambda p, q: geometry.numerical_distance(family, p, q).value
    exact = lambda p, q: geometry.fisher_rao_distance(family, p, q)
    for mode in (jax.grad, jax.jacfwd):
        found, expected = (jax.jit(mode(f, (0, 1)))(p, q) for f in (ours, exact))
        np.testing.assert_allclose(*map(jax.tree.leaves, (found, expected)), rtol=1e-7)
    found, expected = (jax.jit(jax.hessian(f, (0, 1)))(p, q) for f in (ours, exact))
    np.testing.assert_allclose(*map(jax.tree.leaves, (found, expected)), rtol=1e-6)
    still = jax.jit(jax.grad(ours, (0, 1)))(p, p)
    np.testing.assert_array_equal(jax.tree.leaves(still), np.zeros(4))


@pytest.mark.slow
def test_float32():
    family = families.Normal()
    p, q = (
        normal([0.0, -3.0, 1.0], [1.0, 0.1, 2.0], "float32"),
        normal([1.0, 3.0, 1.0], [2.0, 0.2, 2.0], "float32"),
    )
    found = jax.jit(lambda p, q: geometry.numerical_distance(family, p, q))(p, q)
    assert all(leaf.dtype == jnp.float32 for leaf in found[:3])
    assert found.converged.all()
    exact = geometry.fisher_rao_distance(family, p, q)
    np.testing.assert_allclose(found.value, exact, rtol=5e-6)


@pytest.mark.slow
@pytest.mark.parametrize("dim", [2, 3])
def test_multivariate_normal_laws_on_geodesics_from_the_standard_one(dim):
    # The geodesic of a velocity (x, B) of mean and covariance is a matrix exponential.
    family, rng = families.MultivariateNormal(dim), np.random.default_rng(dim)
    x, half = rng.normal(size=(4, dim)), rng.normal(size=(4, dim, dim))
    b = 0.5 * (half + half.swapaxes(-1, -2))
    means, covariances = np.zeros((4, dim)), np.zeros((4, dim, dim))
    for i in range(4):
        column, nothing = x[i, :, None], np.zeros((dim, dim))
        generator = np.block(
            [
                [-b[i], column, nothing],
                [column.T, np.zeros((1, 1)), -column.T],
                [nothing, -column, b[i]],
            ]
        )
        end = scipy.linalg.expm(generator)
        precision = 0.5 * (end[:dim, :dim] + end[:dim, :dim].T)
        covariances[i] = np.linalg.inv(precision)
        means[i] = covariances[i] @ end[:dim, dim]
    covariances = 0.5 * (covariances + covariances.swapaxes(-1, -2))
    standard = family.natural_from_params(mean=jnp.zeros(dim), covariance=jnp.eye(dim))
    there = family.natural_from_params(mean=means, covariance=covariances)
    speed = np.sqrt(np.sum(x**2, axis=1) + 0.5 * np.sum(b**2, axis=(1, 2)))
    found = geometry.numerical_distance(family, standard, there)
    assert found.converged.all()
    np.testing.assert_allclose(found.value, speed, rtol=1e-6)
    assert (np.abs(found.value - speed) <= found.error + 1e-12 * speed).all()
    # In natural parameters the velocity is (x, B / 2); the feet are one for all.
    feet = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (4, *leaf.shape)), standard)
    end = geometry.exponential_map(family, feet, family.Point(jnp.asarray(x), jnp.asarray(0.5 * b)))
    for one, other in zip(end, there, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-7, atol=1e-8)


@pytest.mark.slow
def test_multivariate_normal_laws_of_one_mean():
    # Laws of one mean are a totally geodesic submanifold, with a closed form.
    family = families.MultivariateNormal(3)
    source = FAMILIES["MultivariateNormal"].params(jax.random.key(3), (2, 4))
    mean = jnp.ones((4, 3))
    p, q = (
        family.natural_from_params(mean=mean, covariance=source["covariance"][i]) for i in range(2)
    )
    found = geometry.fisher_rao_distance(family, p, q)
    np.testing.assert_allclose(
        found, geometry.fisher_rao_distance(family, p, q, fixed="mean"), rtol=1e-8
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["MultivariateNormal", "Wishart", "NormalInverseWishart"])
def test_small_matrices_take_nothing_of_lapack(name):
    # Its triangular solves in loops can stop for ever on a CPU of few cores.
    family, p = FAMILIES[name].family, FAMILIES[name].point(jax.random.key(0), (2,))
    for function in (geometry.numerical_distance, geometry.logarithm_map, geometry.exponential_map):
        assert (
            "custom_call" not in jax.jit(functools.partial(function, family)).lower(p, p).as_text()
        )


def test_families_of_large_matrices_are_refused():
    family = families.MultivariateNormal(9)
    p = family.natural_from_params(mean=jnp.zeros(9), covariance=jnp.eye(9))
    for function in (geometry.numerical_distance, geometry.fisher_rao_distance):
        with pytest.raises(NotImplementedError, match="distance_bounds"):
            function(family, p, p)
    with pytest.raises(NotImplementedError, match="more than 8"):
        geometry.exponential_map(family, p, p)


def test_empty_batches_and_mixed_precision():
    family = families.Exponential()
    none = family.Params(jnp.ones((0,)))
    assert geometry.numerical_distance(family, none, none).value.shape == (0,)
    assert geometry.logarithm_map(family, none, none).velocity.x.shape == (0,)
    # As elsewhere the wider of two precisions is that of the result.
    p, q = family.Params(jnp.float32([2.0])), family.Params(jnp.array([2.0 * np.e]))
    found = geometry.numerical_distance(family, p, q)
    assert found.value.dtype == jnp.float64
    np.testing.assert_allclose(found.value, 1.0, rtol=1e-9)


@pytest.mark.slow
def test_what_is_not_found_is_said():
    family = families.Gamma()
    p, q = family.Params(1e-3, 1e3), family.Params(1e4, 1e-4)
    found = geometry.numerical_distance(family, p, q)
    assert not found.converged
    assert jnp.isnan(geometry.fisher_rao_distance(family, p, q))
    outside = geometry.numerical_distance(family, family.Point(-1.0, -1.0), family.Point(1.0, -1.0))
    assert jnp.isnan(outside.value)
    assert not outside.converged


@pytest.mark.parametrize("segments", [0, 1, 3, 24])
def test_bad_segments(segments):
    family = families.Normal()
    with pytest.raises(ValueError, match="segments must"):
        geometry.numerical_distance(family, normal(0.0, 1.0), normal(1.0, 1.0), segments=segments)


def test_bad_points():
    family = families.Normal()
    with pytest.raises(TypeError, match="segments"):
        geometry.numerical_distance(family, normal(0.0, 1.0), normal(1.0, 1.0), segments=8.0)
    with pytest.raises(TypeError, match="needs a Normal"):
        geometry.numerical_distance(family, normal(0.0, 1.0), families.Poisson().Params(1.0))
    with pytest.raises(ValueError, match="broadcast"):
        geometry.numerical_distance(
            family, normal(jnp.zeros(2), jnp.ones(2)), normal(jnp.zeros(3), jnp.ones(3))
        )
