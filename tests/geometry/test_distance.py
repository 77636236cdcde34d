"""Fisher-Rao distances: the eikonal equation, the metric nearby, and what a distance must be."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.geometry.manifolds import NO_CLOSED_FORM
from tests.laws.programs import CORE

CLOSED = [
    pytest.param(name, marks=[] if name in CORE else [pytest.mark.slow])
    for name in FAMILIES
    if name not in NO_CLOSED_FORM
]
each_closed = pytest.mark.parametrize("name", CLOSED)


@functools.cache
def programs(name):
    family = FAMILIES[name].family

    def distance(p, q):
        return geometry.fisher_rao_distance(family, p, q)

    def quantities(p, q, v):
        gradient = geometry.ravel(family, jax.grad(distance)(p, q))
        metric = geometry.fisher_matrix(family, p)
        eikonal = gradient @ jnp.linalg.solve(metric, gradient)
        step = geometry.unravel(family, v)
        near = jax.tree.map(lambda a, b: a + 1e-6 * b, p, step)
        speed = distance(p, near) / 1e-6 / jnp.sqrt(geometry.inner(family, p, step, step))
        return eikonal, speed

    return jax.jit(jax.vmap(distance)), jax.jit(jax.vmap(quantities))


def points(name, seed, count=6):
    return FAMILIES[name].point(jax.random.key(seed), (count,))


@pytest.mark.slow
@each_closed
def test_gradient_has_unit_length_in_the_metric(name):
    # |grad d| = 1 and the metric nearby make d the length of the shortest path.
    family = FAMILIES[name].family
    v = jax.random.normal(jax.random.key(9), (6, family.dimension))
    eikonal, speed = programs(name)[1](points(name, 0), points(name, 1), v)
    np.testing.assert_allclose(eikonal, 1, rtol=1e-9)
    np.testing.assert_allclose(speed, 1, rtol=1e-4)


@each_closed
def test_is_a_distance(name):
    distance, p, q, r = programs(name)[0], *(points(name, seed) for seed in range(3))
    np.testing.assert_allclose(distance(p, q), distance(q, p), rtol=1e-13)
    assert (np.asarray(distance(p, p)) == 0).all()
    assert (np.asarray(distance(p, q)) > 0).all()
    assert (distance(p, r) <= distance(p, q) + distance(q, r) + 1e-12).all()


@each_closed
def test_source_parameters_and_float32_agree(name):
    entry = FAMILIES[name]
    sources = [entry.params(jax.random.key(seed), (6,)) for seed in (0, 1)]
    make = lambda s: entry.family.Params(**s) if isinstance(s, dict) else entry.family.Params(*s)
    params = [make(source) for source in sources]
    expected = programs(name)[0](points(name, 0), points(name, 1))
    np.testing.assert_allclose(programs(name)[0](*params), expected, rtol=1e-10)
    narrow = [jax.tree.map(lambda leaf: leaf.astype(jnp.float32), p) for p in params]
    found = programs(name)[0](*narrow)
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@each_closed
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_gradient_at_equal_points_is_zero(name, dtype):
    # The peers return -inf: torture case T25.
    entry = FAMILIES[name]
    source = entry.params(jax.random.key(0), ())
    make = entry.family.Params
    params = make(**source) if isinstance(source, dict) else make(*source)
    distance = lambda p, q: geometry.fisher_rao_distance(entry.family, p, q)
    derivatives = jax.jit(lambda p, q: (jax.grad(distance, 1)(p, q), jax.jacfwd(distance)(p, q)))
    for point in (entry.point(jax.random.key(0)), params):
        p = jax.tree.map(lambda leaf: leaf.astype(dtype), point)
        assert all((np.asarray(leaf) == 0).all() for leaf in jax.tree.leaves(derivatives(p, p)))


def test_known_values():
    normal, uniform = families.Normal(), [1 / 3] * 3
    half = geometry.fisher_rao_distance(normal, normal.Params(0.0, 1.0), normal.Params(0.0, 2.0))
    assert float(half) == pytest.approx(np.sqrt(2) * np.log(2), rel=1e-15, abs=0)
    die = families.Categorical(3)
    corner = geometry.fisher_rao_distance(
        die, die.Params(jnp.array([1.0, 0.0, 0.0])), die.Params(jnp.array(uniform))
    )
    assert float(corner) == pytest.approx(2 * np.arccos(1 / np.sqrt(3)), rel=1e-15, abs=0)
    opposite = [die.Params(jnp.eye(3)[i]) for i in (0, 2)]
    assert float(geometry.fisher_rao_distance(die, *opposite)) == pytest.approx(
        np.pi, rel=1e-15, abs=0
    )


def test_far_normal_laws_in_float32():
    normal = families.Normal()
    p = normal.Params(np.float32(0), np.float32(1e-20))
    q = normal.Params(np.float32(1e20), np.float32(1e-20))
    expected = 2 * np.sqrt(2) * np.arcsinh(1e40 / np.sqrt(8))
    assert float(geometry.fisher_rao_distance(normal, p, q)) == pytest.approx(
        expected, rel=1e-6, abs=0
    )
    # Far out it is 2 sqrt(2) log(gap) less the logarithms of both scales, times sqrt(2).
    slope = jax.grad(lambda q: geometry.fisher_rao_distance(normal, p, q))(q)
    np.testing.assert_allclose(slope.loc, 2 * np.sqrt(2) / 1e20, rtol=1e-6)
    np.testing.assert_allclose(slope.scale, -np.sqrt(2) / 1e-20, rtol=1e-6)


def test_shared_parameters():
    key = jax.random.key(3)
    family = families.MultivariateNormal(3)
    source = FAMILIES["MultivariateNormal"].params(key, (2,))
    mean, covariance = source["mean"], source["covariance"]
    same = [family.Params(mean[i], covariance[0]) for i in (0, 1)]
    gap = np.asarray(mean[0] - mean[1])
    mahalanobis = np.sqrt(gap @ np.linalg.solve(covariance[0], gap))
    found = geometry.fisher_rao_distance(family, *same, fixed="covariance")
    assert float(found) == pytest.approx(mahalanobis, rel=1e-12, abs=0)
    centered = [family.Params(mean[0], covariance[i]) for i in (0, 1)]
    values = np.linalg.eigvals(np.linalg.solve(covariance[0], covariance[1])).real
    affine = np.sqrt(0.5 * np.sum(np.log(values) ** 2))
    found = geometry.fisher_rao_distance(family, *centered, fixed="mean")
    assert float(found) == pytest.approx(affine, rel=1e-12, abs=0)
    directions = families.VonMisesFisher(3)
    u, v = jnp.array([1.0, 0.0, 0.0]), jnp.array([0.0, 1.0, 0.0])
    turned = [directions.Params(w, 2.0) for w in (u, v)]
    found = geometry.fisher_rao_distance(directions, *turned, fixed="concentration")
    information = 2 * (1 / np.tanh(2) - 1 / 2)  # kappa A(kappa) on the sphere
    # Angles are directions of the plane.
    angles, plane = families.VonMises(), families.VonMisesFisher(2)
    locs = jnp.array([3.0, -3.0])
    around = [angles.Params(loc, 2.0) for loc in locs]
    turns = [plane.Params(jnp.array([jnp.cos(loc), jnp.sin(loc)]), 2.0) for loc in locs]
    np.testing.assert_allclose(
        geometry.fisher_rao_distance(angles, *around, fixed="concentration"),
        geometry.fisher_rao_distance(plane, *turns, fixed="concentration"),
        rtol=1e-13,
    )
    # In the lines of a normal law and of an inverse gamma law, by their one coordinate.
    normal, inverse = families.Normal(), families.InverseGamma()
    scales = [normal.Params(1.0, scale) for scale in (1.0, 3.0)]
    along = geometry.fisher_rao_distance(normal, *scales, fixed="loc")
    assert float(along) == pytest.approx(np.sqrt(2) * np.log(3), rel=1e-14, abs=0)
    scales = [inverse.Params(4.0, scale) for scale in (1.0, 3.0)]
    along = geometry.fisher_rao_distance(inverse, *scales, fixed="shape")
    assert float(along) == pytest.approx(2 * np.log(3), rel=1e-14, abs=0)
    # What is shared may be 0 but for rounding.
    means = 1e-17 * jnp.ones(3), jnp.zeros(3)
    near = [family.Params(*law) for law in zip(means, covariance, strict=True)]
    found_near = geometry.fisher_rao_distance(family, *near, fixed="mean")
    assert float(found_near) == pytest.approx(affine, rel=1e-12, abs=0)
    assert float(found) == pytest.approx(np.sqrt(information) * np.pi / 2, rel=1e-13, abs=0)


def test_within_a_subfamily_it_is_longer():
    normal = families.Normal()
    p, q = normal.Params(0.0, 1.0), normal.Params(3.0, 1.0)
    whole = geometry.fisher_rao_distance(normal, p, q)
    assert float(whole) < float(geometry.fisher_rao_distance(normal, p, q, fixed="scale")) == 3.0


def test_covariances_that_coincide_have_a_finite_gradient():
    family = families.MultivariateNormal(2)
    mean = jnp.zeros(2)

    def distance(covariance, other):
        p, q = family.Params(mean, covariance), family.Params(mean, other)
        return geometry.fisher_rao_distance(family, p, q, fixed="mean")

    assert (np.asarray(jax.grad(distance)(jnp.eye(2), jnp.eye(2))) == 0).all()
    # Equal eigenvalues: derivatives of eigenvectors would be nan.
    gradient = jax.grad(distance, 1)(jnp.eye(2), 3.0 * jnp.eye(2))
    np.testing.assert_allclose(gradient, np.eye(2) / 6, rtol=1e-14)


def test_bad_input_is_refused():
    normal, poisson = families.Normal(), families.Poisson()
    p, q = normal.Params(0.0, 1.0), normal.Params(1.0, 2.0)
    with pytest.raises(TypeError, match="needs a Normal"):
        geometry.fisher_rao_distance(normal, p, poisson.Params(1.0))
    with pytest.raises(ValueError, match=r"one of.*'scale'"):
        geometry.fisher_rao_distance(normal, p, q, fixed="rate")
    with pytest.raises(ValueError, match="both laws must share it"):
        geometry.fisher_rao_distance(normal, p, q, fixed="scale")
    outside = normal.Point(jnp.array(0.0), jnp.array(1.0))
    assert np.isnan(geometry.fisher_rao_distance(normal, outside, outside))
