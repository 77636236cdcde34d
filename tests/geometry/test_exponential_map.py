"""Geodesics of any alpha: exponential and logarithmic map against each other and closed forms."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from scipy.optimize import brentq

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family_few_by_default

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

ALPHAS = np.array([-1.0, -0.6, -0.3, 0.0, 0.1, 0.4, 0.8, 1.0])


@functools.cache
def evaluated(name):
    """Velocities between two points for all alphas, where they lead, and their lengths."""
    family = FAMILIES[name].family
    points = FAMILIES[name].point(jax.random.key(11), (2,))
    p, q = (jax.tree.map(operator.itemgetter(slice(i, i + 1)), points) for i in (0, 1))
    found = geometry.logarithm_map(family, p, q, alpha=ALPHAS)
    there = geometry.exponential_map(family, p, found.velocity, alpha=ALPHAS)
    feet = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (8, *leaf.shape[1:])), p)
    length = jnp.sqrt(geometry.inner(family, feet, found.velocity, found.velocity))
    return jax.tree.map(np.asarray, (p, q, found, there, length))


@each_family_few_by_default
def test_the_two_maps_are_inverse(name):
    _, q, found, there, length = evaluated(name)
    family = FAMILIES[name].family
    assert found.converged.all()
    assert (found.error <= 1e-3 * length).all()
    # The gap at the end in the metric there, in units of the distance.
    gap = np.asarray(geometry.ravel(family, there) - geometry.ravel(family, q))
    fisher = np.asarray(geometry.fisher_matrix(family, q))[0]
    size = np.sqrt(np.einsum("ai,ij,aj->a", gap, fisher, gap))
    assert (size <= 1e-5 * length).all(), size / length


@each_family_few_by_default
def test_ends_of_alpha_are_straight_in_the_dual_charts(name):
    p, q, found, *_ = evaluated(name)
    family = FAMILIES[name].family
    first, last = (
        jax.tree.map(operator.itemgetter(slice(i, i + 1)), found.velocity) for i in (0, -1 % 8)
    )
    e_step = geometry.ravel(family, q) - geometry.ravel(family, p)
    np.testing.assert_allclose(
        geometry.ravel(family, last), e_step, rtol=0, atol=1e-11 * np.abs(e_step).max()
    )
    means = [geometry.ravel(family, family.mean_from_natural(point)) for point in (p, q)]
    m_step, push = means[1] - means[0], geometry.fisher_matvec(family, p, first)
    np.testing.assert_allclose(
        geometry.ravel(family, push), m_step, rtol=0, atol=1e-9 * np.abs(m_step).max()
    )


@pytest.mark.slow
@pytest.mark.parametrize("name", ["Categorical", "Normal", "Poisson"])
def test_speed_is_the_distance(name):
    p, q, _, _, length = evaluated(name)
    distance = geometry.fisher_rao_distance(FAMILIES[name].family, p, q)
    np.testing.assert_allclose(length[3], distance[0], rtol=1e-8)


def exponential(rate):
    return families.Exponential().natural_from_params(rate=rate)


def test_a_family_of_scales_in_closed_form():
    # theta'' = (1 - a) theta'^2 / theta: straight in rate^a, in its logarithm for a = 0.
    family = families.Exponential()
    times = np.linspace(0.0, 1.0, 5)
    geodesic = jax.jit(
        lambda alpha: geometry.geodesic(
            family, exponential(1.0), exponential(9.0), times, alpha=alpha
        )
    )
    for alpha in (-1.0, -0.4, 0.0, 0.6, 1.0):
        found = family.params_from_natural(geodesic(alpha)).rate
        straight = 1 + times * (9.0**alpha - 1)
        expected = 9.0**times if alpha == 0 else straight ** (1 / alpha)
        np.testing.assert_allclose(found, expected, rtol=1e-7)


def test_at_the_ends_of_alpha_it_is_the_straight_line():
    family = families.Gamma()
    p, q = family.Params(2.0, 1.0), family.Params(5.0, 3.0)
    times = jnp.array([-0.1, 0.3, 1.0])
    for alpha, line in ((1.0, geometry.e_geodesic), (-1, geometry.m_geodesic)):
        found = geometry.geodesic(family, p, q, times, alpha=alpha)
        for one, other in zip(found, line(family, p, q, times), strict=True):
            np.testing.assert_array_equal(one, other)
        # Traced, it is integrated, and the same.
        traced = jax.jit(lambda a: geometry.geodesic(family, p, q, times, alpha=a))(float(alpha))
        for one, other in zip(found, traced, strict=True):
            np.testing.assert_allclose(other, one, rtol=1e-7)


def test_the_logarithm_finds_the_velocity_again():
    family = families.Gamma()
    theta = family.natural_from_params(jnp.array([2.0, 5.0]), jnp.array([1.0, 3.0]))
    velocity = family.Point(jnp.array([0.8, -1.0]), jnp.array([-0.3, 1.0]))
    there = geometry.exponential_map(family, theta, velocity, alpha=0.4)
    found = geometry.logarithm_map(family, theta, there, alpha=0.4)
    assert found.converged.all()
    for one, other in zip(found.velocity, velocity, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-6)


@pytest.mark.slow
def test_middle_of_a_normal_geodesic():
    # A half circle around a point of the axis, in (loc / sqrt 2, scale).
    family = families.Normal()
    p, q = family.Params(0.0, 1.0), family.Params(1.0, 2.0)
    times = jnp.array([0.25, 0.5, 1.5])
    loc, scale = family.params_from_natural(geometry.geodesic(family, p, q, times))
    x, y = (
        np.append(np.asarray(loc), [0.0, 1.0]) / np.sqrt(2),
        np.append(np.asarray(scale), [1.0, 2.0]),
    )
    center = brentq(lambda c: (x[-2] - c) ** 2 + 1.0 - (x[-1] - c) ** 2 - 4.0, -50.0, 50.0)
    np.testing.assert_allclose((x - center) ** 2 + y**2, center**2 + 1.0, rtol=1e-8)
    there = family.Params(loc, scale)
    whole = geometry.fisher_rao_distance(family, p, q)
    np.testing.assert_allclose(
        geometry.fisher_rao_distance(family, p, there), times * whole, rtol=1e-7
    )


def test_leaving_the_domain_is_nan():
    # theta = -1 + v t is past 0, where there is no law, at time 1.
    family = families.Exponential()
    velocity = family.Point(jnp.array([0.5, 1.5, 2.0]))
    found = geometry.exponential_map(family, exponential(1.0), velocity, alpha=1.0).x
    np.testing.assert_allclose(found[0], -0.5, rtol=1e-9)
    assert np.isnan(found[1:]).all()
    # The formulas of the normal law are finite beyond its domain too.
    normal = families.Normal()
    starts = normal.natural_from_params(jnp.zeros(2), jnp.ones(2))
    steps = normal.Point(jnp.zeros(2), jnp.array([0.25, 1.0]))
    found = geometry.exponential_map(normal, starts, steps, alpha=1.0).xx
    np.testing.assert_allclose(found[0], -0.25, rtol=1e-9)
    assert np.isnan(found[1])
    # The Levi-Civita geodesic of the same velocities stays inside forever.
    assert np.isfinite(geometry.exponential_map(family, exponential(1.0), velocity).x).all()


@pytest.mark.slow
def test_derivatives():
    family = families.Normal()
    p, q = (family.natural_from_params(*law) for law in ((0.0, 1.0), (1.0, 2.0)))

    def there_and_back(q, alpha):
        found = geometry.logarithm_map(family, p, q, alpha=alpha)
        end = geometry.exponential_map(family, p, found.velocity, alpha=alpha)
        return geometry.ravel(family, end)

    # d exp(log q) / dq is the identity, and nothing depends on alpha.
    to_q, to_alpha = jax.jit(jax.jacfwd(there_and_back, (0, 1)))(q, 0.3)
    np.testing.assert_allclose(geometry.ravel(family, to_q), np.eye(2), atol=2e-6)
    np.testing.assert_allclose(to_alpha, np.zeros(2), atol=2e-6)
    reverse = jax.jit(jax.grad(lambda q: there_and_back(q, 0.3)[0]))(q)
    np.testing.assert_allclose(geometry.ravel(family, reverse), [1.0, 0.0], atol=2e-6)
    # The velocity is minus the gradient of half the squared distance.
    half = lambda p: 0.5 * geometry.fisher_rao_distance(family, p, q) ** 2
    slope = -geometry.ravel(family, jax.grad(half)(p))
    velocity = geometry.logarithm_map(family, p, q).velocity
    push = geometry.ravel(family, geometry.fisher_matvec(family, p, velocity))
    np.testing.assert_allclose(push, slope, rtol=1e-8)


@pytest.mark.slow
def test_batches_and_float32():
    family = families.Normal()
    p = family.natural_from_params(jnp.float32([0.0, 0.0, 1.0]), jnp.float32([1.0, 1.0, 2.0]))
    q = family.natural_from_params(jnp.float32(1.0), jnp.float32(2.0))
    found = jax.jit(lambda p, q: geometry.logarithm_map(family, p, q))(p, q)
    assert {leaf.dtype for leaf in jax.tree.leaves(found[:3])} == {jnp.dtype("float32")}
    assert found.converged.shape == (3,)
    there = geometry.exponential_map(family, p, found.velocity)
    assert there.x.dtype == jnp.float32
    np.testing.assert_allclose(there.x, np.full(3, q.x), rtol=1e-4)
    np.testing.assert_allclose(there.xx, np.full(3, q.xx), rtol=1e-4)
    # Equal points: no velocity, and found.
    assert found.converged[2]
    assert (geometry.ravel(family, found.velocity)[2] == 0).all()


@pytest.mark.slow
def test_geodesics_of_batches_have_the_times_in_front():
    family = families.Normal()
    p = family.natural_from_params(0.0, 1.0)
    q = family.natural_from_params(jnp.array([1.0, 2.0, 3.0]), jnp.array([1.0, 2.0, 3.0]))
    times = jnp.array([[0.0, 0.2], [0.7, 1.0]])
    found = geometry.geodesic(family, p, q, times)
    assert family.batch_shape(found) == (2, 2, 3)
    alone = geometry.geodesic(family, p, jax.tree.map(operator.itemgetter(1), q), 0.7)
    np.testing.assert_allclose(found.xx[1, 0, 1], alone.xx, rtol=1e-8)


def test_bad_input():
    family = families.Normal()
    p = family.natural_from_params(0.0, 1.0)
    with pytest.raises(TypeError, match="Point"):
        geometry.exponential_map(family, p, jnp.zeros(2))
    with pytest.raises(ValueError, match="power of 2"):
        geometry.logarithm_map(family, p, p, segments=10)
    with pytest.raises(TypeError, match="t must be a number"):
        geometry.geodesic(family, p, p, "half")


@pytest.mark.slow
def test_accuracy_does_not_depend_on_units():
    # A law of other units: theta = -rate, and the geodesic multiplies the rate.
    family = families.Exponential()
    for rate in (1e-14, 1.0, 1e14):
        step = family.Point(jnp.asarray(-rate))
        found = geometry.exponential_map(family, exponential(rate), step)
        np.testing.assert_allclose(found.x, -rate * np.e, rtol=1e-8)
    family = families.Normal()
    # The geodesic of a velocity (1, 1) of mean and variance is a matrix exponential.
    end = expm(np.array([[-1.0, 1.0, 0.0], [1.0, 0.0, -1.0], [0.0, -1.0, 1.0]]))
    loc, deviation = end[0, 1] / end[0, 0], end[0, 0] ** -0.5
    for scale in (1.0, 3e4):
        start = family.natural_from_params(jnp.float32(0.0), jnp.float32(scale))
        step = family.Point(jnp.float32(1 / scale), jnp.float32(0.5 / scale**2))
        end = family.params_from_natural(geometry.exponential_map(family, start, step))
        np.testing.assert_allclose(end.loc / scale, loc, rtol=1e-4)
        np.testing.assert_allclose(end.scale / scale, deviation, rtol=1e-4)


def test_the_error_of_a_velocity_knows_of_rounding():
    family = families.Exponential()
    rates = jnp.float32(1.0), jnp.float32(1.0001)
    found = geometry.logarithm_map(family, *(family.Params(rate) for rate in rates))
    # In units of the distance: the velocity is -log of the ratio.
    truth = -np.log(float(rates[1]) / float(rates[0]))
    assert abs(float(found.velocity.x) - truth) <= float(found.error)
