"""Charts: `ravel` against numpy, and as an isometry of the pairing."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.laws.programs import each_family

DIMENSIONS = {
    "Bernoulli": 1,
    "Categorical": 3,
    "Poisson": 1,
    "Exponential": 1,
    "Gamma": 2,
    "InverseGamma": 2,
    "NormalInverseGamma": 4,
    "Wishart": 3 + 1,
    "InverseWishart": 3 + 1,
    "NormalInverseWishart": 4,
    "Beta": 2,
    "Dirichlet": 3,
    "Normal": 2,
    "NormalKnownScale": 1,
    "DiagonalNormal": 4,
    "IsotropicNormal": 2 + 1,
    "Binomial": 1,
    "Multinomial": 2,
    "Geometric": 1,
    "NegativeBinomial": 1,
    "LogNormal": 2,
    "InverseGaussian": 2,
    "Weibull": 1,
    "Rayleigh": 1,
    "Pareto": 1,
    "Laplace": 1,
    "Product": 2 + 2,
    "VonMises": 2,
    "VonMisesFisher": 3,
    "MultivariateNormal": 3 + 6,
}


def test_every_family_has_a_known_dimension():
    assert {name: entry.family.dimension for name, entry in FAMILIES.items()} == DIMENSIONS


@functools.cache
def round_trip(name):
    """There and back, compiled once."""
    family = FAMILIES[name].family

    @jax.jit
    def there_and_back(point):
        vector = geometry.ravel(family, point)
        return vector, geometry.unravel(family, vector)

    return there_and_back


@each_family
@pytest.mark.parametrize("batch", [(), (2, 3)])
def test_unravel_inverts_ravel(name, batch, key):
    entry = FAMILIES[name]
    theta = entry.point(key, batch)
    vector, back = round_trip(name)(theta)
    assert vector.shape == (*batch, DIMENSIONS[name])
    assert type(back) is type(theta)
    for leaf, other in zip(back, theta, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=4e-16, atol=0)


@each_family
def test_ravel_inverts_unravel(name, key):
    family = FAMILIES[name].family
    vector = jax.random.normal(key, (4, family.dimension))
    back = jax.jit(lambda v: geometry.ravel(family, geometry.unravel(family, v)))(vector)
    np.testing.assert_allclose(back, vector, rtol=4e-16)


@each_family
def test_pairing_is_the_dot_product(name, key):
    entry = FAMILIES[name]
    theta = entry.point(key, (5,))

    @jax.jit
    def both(theta):
        eta = entry.family.mean_from_natural(theta)
        vectors = geometry.ravel(entry.family, theta), geometry.ravel(entry.family, eta)
        return entry.family.pairing(theta, eta), *vectors

    pairing, left, right = map(np.asarray, both(theta))
    np.testing.assert_allclose(pairing, np.sum(left * right, axis=-1), rtol=1e-13, atol=1e-14)


def test_symmetric_matrices_keep_the_upper_triangle():
    family = families.MultivariateNormal(3)
    matrix = np.array([[1.0, 2.0, 3.0], [2.0, 4.0, 5.0], [3.0, 5.0, 6.0]])
    vector = geometry.ravel(family, family.Point(jnp.arange(3.0), jnp.asarray(matrix)))
    root = np.sqrt(2)
    expected = [0, 1, 2, 1, 2 * root, 3 * root, 4, 5 * root, 6]
    np.testing.assert_allclose(vector, expected, rtol=1e-15)


@each_family
def test_float32_stays(name, key):
    entry = FAMILIES[name]
    theta = jax.tree.map(lambda leaf: leaf.astype(jnp.float32), entry.point(key))
    vector, back = round_trip(name)(theta)
    assert vector.dtype == jnp.float32
    assert {leaf.dtype for leaf in jax.tree.leaves(back)} == {vector.dtype}


def test_ravel_under_jit_and_vmap(key):
    entry = FAMILIES["MultivariateNormal"]
    theta = entry.point(key, (4,))
    plain = geometry.ravel(entry.family, theta)
    mapped = jax.jit(jax.vmap(lambda point: geometry.ravel(entry.family, point)))(theta)
    np.testing.assert_array_equal(mapped, plain)


@each_family
def test_the_two_affine_charts_are_inverse(name, key):
    entry = FAMILIES[name]
    theta = entry.point(key, (3,))
    there = functools.partial(geometry.mean_from_natural, entry.family)
    back = jax.jit(lambda t: geometry.natural_from_mean(entry.family, there(t)))(theta)
    for leaf, other in zip(back, theta, strict=True):
        np.testing.assert_allclose(leaf, other, rtol=1e-10, atol=1e-12)


def test_a_point_of_another_family_is_refused():
    poisson = families.Poisson().Point(jnp.array(1.0))
    normal = families.Normal()
    for function in (geometry.ravel, geometry.natural_from_mean, geometry.mean_from_natural):
        with pytest.raises(TypeError, match=r"needs a Normal\.Point; got PoissonPoint\. Make one"):
            function(normal, poisson)


def test_a_vector_of_another_length_is_refused():
    with pytest.raises(
        ValueError, match=r"vector must have trailing axes \(2,\); got shape \(3,\)"
    ):
        geometry.unravel(families.Normal(), jnp.ones(3))
    with pytest.raises(TypeError, match="real"):
        geometry.unravel(families.Normal(), jnp.ones(2, complex))


@pytest.mark.parametrize("chart", ["natural", "mean"])
def test_gradients_of_points_and_of_vectors_are_the_same_cotangent(chart, key):
    # Also for a function that looks at one triangle only, whose gradient is not symmetric.
    family = families.MultivariateNormal(3)
    theta = FAMILIES["MultivariateNormal"].point(key)
    point = theta if chart == "natural" else family.mean_from_natural(theta)
    for function in (
        lambda p: p.xx[0, 1] ** 2 + p.xx[2, 0] * p.x[1],
        lambda p: jnp.sum(jnp.linalg.cholesky(-p.xx if chart == "natural" else p.xx) ** 3),
    ):

        @jax.jit
        def gradients(point, function=function):
            by_point = geometry.ravel(family, jax.grad(function)(point))
            vector = geometry.ravel(family, point)
            return by_point, jax.grad(lambda v: function(geometry.unravel(family, v)))(vector)

        by_point, by_vector = gradients(point)
        np.testing.assert_allclose(by_point, by_vector, rtol=1e-12, atol=1e-14)


def test_a_family_is_an_instance():
    point = families.Poisson().Point(jnp.array(1.0))
    for function in (
        geometry.mean_from_natural,
        geometry.natural_from_mean,
        geometry.ravel,
        geometry.unravel,
    ):
        with pytest.raises(TypeError, match=r"instance of a family.*; got class Poisson\. Call"):
            function(families.Poisson, point)
        with pytest.raises(TypeError, match=r"got PoissonPoint\. .* order of the arguments"):
            function(point, families.Poisson())
