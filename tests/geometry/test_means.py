"""Means: averages in their chart, and minimizers of the sums of divergences and of distances."""

import functools
import operator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.divergences import exponential
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family_few_by_default, natural

WEIGHTS = np.array([0.5, 0.2, 0.3])


@functools.cache
def compiled(name):
    """The means, and the sums of divergences around them."""
    family = FAMILIES[name].family

    @jax.jit
    def quantities(points, tangent):
        means = {
            "e": geometry.e_mean(family, points, WEIGHTS),
            "m": geometry.m_mean(family, points, WEIGHTS),
        }
        left = lambda q: jnp.sum(WEIGHTS * exponential.kl(family, q, points))
        right = lambda q: jnp.sum(WEIGHTS * exponential.kl(family, points, q))
        moved = lambda q, s: jax.tree.map(lambda a, v: a + s * v, q, tangent)
        steps = jnp.array([0.0, -1e-2, 1e-2])
        around = lambda f, q: jax.vmap(lambda s: f(moved(q, s)))(steps)
        vector = lambda point: geometry.ravel(family, point)
        return {
            "theta": vector(means["e"]),
            "eta": vector(family.mean_from_natural(means["m"])),
            "thetas": vector(points),
            "etas": vector(family.mean_from_natural(points)),
            "left": around(left, means["e"]),
            "right": around(right, means["m"]),
        }

    return quantities


@each_family_few_by_default
def test_each_mean_averages_its_chart_and_minimizes_its_divergence(name):
    points = natural(name, 0)
    tangent = jax.tree.map(lambda a, b: a[0] - b[0], natural(name, 1), points)
    found = compiled(name)(points, tangent)
    np.testing.assert_allclose(found["theta"], WEIGHTS @ found["thetas"], rtol=1e-13, atol=1e-14)
    np.testing.assert_allclose(found["eta"], WEIGHTS @ found["etas"], rtol=1e-9, atol=1e-9)
    for side in ("left", "right"):
        here, *there = np.asarray(found[side])
        assert (here < there).all()
        # A minimum, not a slope: both sides rise by the same to first order.
        low, high = np.sort(np.subtract(there, here))
        assert high < 1.5 * low


def test_laws_of_no_weight_do_not_count():
    categorical = families.Categorical(3)
    points = categorical.Params(np.array([[0.2, 0.3, 0.5], [0.6, 0.0, 0.4], [0.3, 0.3, 0.4]]))
    for mean in (geometry.e_mean, geometry.m_mean):
        found = mean(categorical, points, [1.0, 0.0, 3.0])
        expected = mean(categorical, categorical.Params(points.probs[[0, 2, 2, 2]]))
        np.testing.assert_allclose(found.one_hot, expected.one_hot, rtol=1e-14)
    # A class that one of them has not: gone from the geometric mean, in the mixture not.
    gone = categorical.params_from_natural(geometry.e_mean(categorical, points)).probs
    mixed = categorical.params_from_natural(geometry.m_mean(categorical, points)).probs
    root = np.prod(points.probs, axis=0) ** (1 / 3)
    np.testing.assert_allclose(gone, root / root.sum(), rtol=1e-13)
    np.testing.assert_allclose(mixed, points.probs.mean(0), rtol=1e-13)


def test_batches_are_kept():
    normal = families.Normal()
    points = normal.natural_from_params(jnp.arange(6.0).reshape(3, 2), 2.0)
    for mean in (geometry.e_mean, geometry.m_mean):
        assert normal.batch_shape(mean(normal, points)) == (2,)
    loc, scale = normal.params_from_natural(geometry.m_mean(normal, points))
    np.testing.assert_allclose(loc, [2, 3])
    np.testing.assert_allclose(scale**2, 4 + 8 / 3)  # within and between


def test_float32_stays():
    poisson = families.Poisson()
    points = poisson.Point(jnp.zeros(3, jnp.float32))
    for mean in (geometry.e_mean, geometry.m_mean):
        assert mean(poisson, points, WEIGHTS).x.dtype == np.float32


def test_gradients_are_those_of_the_average():
    poisson = families.Poisson()
    rates = jnp.array([1.0, 2.0, 5.0])

    def rate(mean, rates):
        return poisson.params_from_natural(mean(poisson, poisson.Params(rates), WEIGHTS)).rate

    mixed = jax.grad(functools.partial(rate, geometry.m_mean))(rates)
    np.testing.assert_allclose(mixed, WEIGHTS, rtol=1e-14)
    value, geometric = jax.value_and_grad(functools.partial(rate, geometry.e_mean))(rates)
    np.testing.assert_allclose(geometric, value * WEIGHTS / rates, rtol=1e-14)


def test_bad_input():
    poisson = families.Poisson()
    points = poisson.Point(jnp.zeros(3))
    for mean in (geometry.e_mean, geometry.m_mean):
        with pytest.raises(TypeError, match="instance of a family"):
            mean(families.Poisson, points)
        with pytest.raises(
            ValueError, match=r"points must have a leading axis.*got batch shape \(\)"
        ):
            mean(poisson, poisson.Point(0.0))
        with pytest.raises(ValueError, match=r"weights must have shape \(3,\)"):
            mean(poisson, points, [1.0, 2.0])
        with pytest.raises(ValueError, match="weights must be finite and non-negative"):
            mean(poisson, points, [1.0, -2.0, 3.0])


def squared_distances(family, points, weights, vector):
    """Half the weighted sum of squared Fisher-Rao distances, by their closed form."""
    here = jax.tree.map(lambda leaf: leaf[None], geometry.unravel(family, vector))
    return 0.5 * jnp.sum(weights * geometry.fisher_rao_distance(family, here, points) ** 2)


def test_frechet_mean_of_rates_is_geometric():
    # The line of logarithms; a law of no weight does not count, not even one outside the domain.
    exponential = families.Exponential()
    points = exponential.natural_from_params(np.array([1.0, 5.0, 0.2]))
    found = geometry.frechet_mean(exponential, points, WEIGHTS)
    rate = exponential.params_from_natural(found.point).rate
    np.testing.assert_allclose(np.log(rate), WEIGHTS @ np.log([1.0, 5.0, 0.2]), rtol=1e-7)
    assert found.converged
    outside = exponential.Point(points.x.at[1].set(1.0))
    found = geometry.frechet_mean(exponential, outside, [1.0, 0.0, 3.0])
    rate = exponential.params_from_natural(found.point).rate
    np.testing.assert_allclose(rate, 0.2**0.75, rtol=1e-7)
    # Laws that are all the same are their mean, to the last digits, which no spread can measure.
    same = jax.tree.map(lambda leaf: jnp.full_like(leaf, leaf[0]), points)
    found = geometry.frechet_mean(exponential, same, WEIGHTS)
    np.testing.assert_allclose(found.point.x, -1, rtol=1e-14)
    assert found.converged
    assert not geometry.frechet_mean(exponential, points, WEIGHTS, tolerance=0.0).converged
    with pytest.raises(ValueError, match=r"points must be inside the natural domain.*index \(1,\)"):
        geometry.frechet_mean(exponential, outside, WEIGHTS)


@pytest.mark.slow
@pytest.mark.parametrize("width", [1.0, 10.0])
def test_frechet_mean_of_normal_laws(width):
    # Far apart the steps have to be halved, in a space of negative curvature.
    normal = families.Normal()
    scales = jnp.array([1.0, 2.0, 0.5]) ** np.sqrt(width)
    points = normal.natural_from_params(width * jnp.array([0.0, 1.0, -1.0]), scales)
    found = geometry.frechet_mean(normal, points, WEIGHTS)
    assert found.converged
    here = geometry.ravel(normal, found.point)
    slope = jax.grad(lambda v: squared_distances(normal, points, WEIGHTS, v))(here)
    fisher = geometry.fisher_matrix(normal, found.point)
    whole = squared_distances(normal, points, WEIGHTS, here)
    length = jnp.sqrt(slope @ jnp.linalg.solve(fisher, slope) / whole)
    assert length < 1e-6
    # Of two laws it is the midpoint, half-way to both.
    found = geometry.frechet_mean(normal, points, [1.0, 1.0, 0.0])
    ends = [jax.tree.map(operator.itemgetter(i), points) for i in (0, 1)]
    whole = geometry.fisher_rao_distance(normal, *ends)
    halves = [geometry.fisher_rao_distance(normal, found.point, end) for end in ends]
    np.testing.assert_allclose(halves, [whole / 2] * 2, rtol=1e-6)


@pytest.mark.slow
def test_frechet_mean_of_two_is_in_the_middle_of_their_geodesic():
    normal = families.Normal()
    points = normal.natural_from_params(jnp.array([0.0, 2.0]), jnp.array([1.0, 3.0]))
    first, last = (jax.tree.map(operator.itemgetter(i), points) for i in (0, 1))
    for weight in (0.5, 0.8):
        found = geometry.frechet_mean(normal, points, [weight, 1 - weight])
        expected = geometry.geodesic(normal, first, last, 1 - weight)
        np.testing.assert_allclose(found.point, expected, rtol=1e-6)


@pytest.mark.slow
def test_frechet_mean_of_classes_is_that_of_the_sphere():
    categorical = families.Categorical(4)
    probs = np.array([[0.7, 0.1, 0.1, 0.1], [0.05, 0.8, 0.1, 0.05], [0.1, 0.2, 0.1, 0.6]])
    found = geometry.frechet_mean(categorical, categorical.Params(probs), WEIGHTS)
    assert found.converged
    roots = np.sqrt(probs)
    center = np.sqrt(np.asarray(categorical.params_from_natural(found.point).probs))
    cosine = roots @ center
    toward = (roots - cosine[:, None] * center) / np.sqrt(1 - cosine**2)[:, None]
    np.testing.assert_allclose((WEIGHTS * np.arccos(cosine)) @ toward, 0, atol=1e-7)


@pytest.mark.slow
def test_frechet_mean_without_a_closed_form():
    gamma = families.Gamma()
    points = gamma.natural_from_params(jnp.array([1.0, 4.0, 2.0]), jnp.array([1.0, 0.5, 8.0]))
    found = geometry.frechet_mean(gamma, points, WEIGHTS)
    assert found.converged
    # The numerical distances to all three are least there, alike on both sides of each coordinate.
    around = np.vstack([np.zeros(2), np.eye(2), -np.eye(2)]) * 1e-2
    vectors = np.asarray(geometry.ravel(gamma, found.point)) * (1 + around)
    centers = geometry.unravel(gamma, jnp.asarray(vectors[:, None]))
    distances = geometry.numerical_distance(gamma, centers, points, segments=16).value
    here, *there = np.asarray(distances**2 @ WEIGHTS)
    rises = np.subtract(there, here)
    assert (rises > 0).all()
    np.testing.assert_allclose(rises[:2], rises[2:], rtol=0.1)


@each_family_few_by_default
def test_chernoff_point_is_as_far_from_both(name):
    family, p, q = FAMILIES[name].family, natural(name, 0), natural(name, 1)

    @jax.jit
    def quantities(p, q):
        point = geometry.chernoff_point(family, p, q)
        to = lambda law: exponential.kl(family, point, law)
        return to(p), to(q), exponential.chernoff_information(family, p, q)

    to_p, to_q, information = quantities(p, q)
    np.testing.assert_allclose(to_p, to_q, rtol=1e-8)
    np.testing.assert_allclose(to_p, information, rtol=1e-8)
    assert (np.asarray(information) > 0).all()


@pytest.mark.slow
def test_chernoff_point_in_closed_form():
    # Of Poisson rates a and b: (b - a) / log(b / a), with its derivative.
    family = families.Poisson()

    def rate(a, b):
        point = geometry.chernoff_point(family, family.Params(a), family.Params(b))
        return family.params_from_natural(point).rate

    a, b = np.array([[2.0], [1e-3], [3.0]]), np.array([5.0, 3.0])
    ratio, same = np.log(b / a), a == b
    expected = np.where(same, a, (b - a) / np.where(same, 1.0, ratio))
    np.testing.assert_allclose(jax.jit(rate)(a, b), expected, rtol=1e-12)
    slope = (5 / 2 - 1 - np.log(5 / 2)) / np.log(5 / 2) ** 2
    np.testing.assert_allclose(jax.grad(rate)(2.0, 5.0), slope, rtol=1e-9)


@pytest.mark.slow
def test_frechet_mean_is_batched_by_vmap_and_keeps_float32():
    normal = families.Normal()
    points = normal.natural_from_params(jnp.arange(8.0).reshape(2, 4), 2.0)
    found = jax.vmap(functools.partial(geometry.frechet_mean, normal))(points)
    for row in range(2):
        alone = geometry.frechet_mean(normal, jax.tree.map(operator.itemgetter(row), points))
        for one, other in zip(alone.point, found.point, strict=True):
            np.testing.assert_allclose(one, other[row], rtol=1e-9)
    single = jax.tree.map(lambda leaf: leaf[0].astype(jnp.float32), points)
    low = geometry.frechet_mean(normal, single)
    assert low.converged
    assert {leaf.dtype for leaf in jax.tree.leaves(low.point)} == {jnp.dtype("float32")}
    for one, other in zip(low.point, found.point, strict=True):
        np.testing.assert_allclose(one, other[0], rtol=2e-3)  # within the tolerance


@pytest.mark.slow
@pytest.mark.parametrize("derivative", [jax.jacfwd, jax.jacrev])
def test_derivatives_of_the_frechet_mean(derivative):
    # Of exponential laws it is the weighted geometric mean of the rates.
    family = families.Exponential()
    weights, rates = jnp.array([0.2, 0.3, 0.5]), jnp.array([1.0, 2.0, 5.0])

    def log_rate(weights, rates):
        found = geometry.frechet_mean(family, family.Params(rates), weights, segments=8)
        return jnp.log(family.params_from_natural(found.point).rate)

    by_weight, by_rate = jax.jit(derivative(log_rate, (0, 1)))(weights, rates)
    np.testing.assert_allclose(by_rate, weights / rates, rtol=1e-7)
    # Weights are divided by their sum.
    logs = np.log(np.asarray(rates))
    np.testing.assert_allclose(by_weight, logs - np.asarray(weights) @ logs, rtol=1e-7)


def test_frechet_mean_of_bad_input():
    poisson = families.Poisson()
    points = poisson.Point(jnp.zeros(3))
    with pytest.raises(TypeError, match="instance of a family"):
        geometry.frechet_mean(families.Poisson, points)
    with pytest.raises(ValueError, match=r"one leading axis; got batch shape \(3, 1\)"):
        geometry.frechet_mean(poisson, poisson.Point(jnp.zeros((3, 1))))
    with pytest.raises(ValueError, match=r"weights must have shape \(3,\)"):
        geometry.frechet_mean(poisson, points, [1.0, 2.0])
    with pytest.raises(ValueError, match="power of 2"):
        geometry.frechet_mean(poisson, points, segments=10)
    with pytest.raises(TypeError, match="max_steps must be a Python integer"):
        geometry.frechet_mean(poisson, points, max_steps=2.0)
    matrices = families.MultivariateNormal(9)
    laws = matrices.Params(jnp.zeros((2, 9)), jnp.stack([jnp.eye(9)] * 2))
    with pytest.raises(NotImplementedError, match="more than 8 rows"):
        geometry.frechet_mean(matrices, laws)
