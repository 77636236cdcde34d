"""Metrics and skewness tensors against derivatives of psi, sums over outcomes and closed forms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.legendre import leggauss

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from tests.geometry import manifolds

each_manifold = manifolds.each_manifold


@each_manifold
def test_a_family_in_natural_coordinates_has_the_derivatives_of_psi(name):
    found = manifolds.evaluated(name)
    manifolds.close(found["hessian"], found["metric"], found["hessian"], 1e-12)
    manifolds.close(found["hessian"], found["skewness"], found["third"], 1e-12)


@each_manifold
def test_a_family_in_mean_coordinates_has_the_inverse_metric_and_the_raised_tensor(name):
    found = manifolds.evaluated(name)
    inverse = np.linalg.inv(found["hessian"])
    raised = np.einsum("abc,ai,bj,ck->ijk", found["third"], inverse, inverse, inverse)
    manifolds.close(inverse, found["mean_metric"], inverse, 1e-11)
    manifolds.close(inverse, found["mean_skewness"], raised, 1e-11)


def test_a_normal_law_in_mean_and_deviation():
    x = jnp.array([0.3, 1.7])
    metric, skewness = manifolds.tensors(manifolds.in_deviation(), x)
    by_hand = manifolds.by_hand()
    np.testing.assert_allclose(metric, by_hand.metric(x), rtol=0, atol=1e-13)
    np.testing.assert_allclose(skewness, by_hand.skewness(x), rtol=0, atol=1e-13)


def test_a_curved_family_has_the_moments_of_its_score():
    # N(m, m^2): the score is (z^2 + z - 1)/m, of second moment 3/m^2 and third 14/m^3.
    normal, m = families.Normal(), 1.3
    curve = geometry.family_manifold(normal, lambda xi: normal.natural_from_params(xi[0], xi[0]))
    metric, skewness = manifolds.tensors(curve, jnp.array([m]))
    np.testing.assert_allclose(metric, [[3 / m**2]], rtol=1e-12)
    np.testing.assert_allclose(skewness, [[[14 / m**3]]], rtol=1e-12)


def sums(name):
    """A family as a sum over its outcomes or over nodes, in natural coordinates."""
    family = FAMILIES[name].family
    density = lambda xi, x: family.log_density(geometry.unravel(family, xi), x)
    if name == "Categorical":
        return geometry.model_manifold(density, jnp.arange(family.dimension + 1))
    nodes, weights = leggauss(200)
    return geometry.model_manifold(density, jnp.asarray(20 * nodes), jnp.asarray(20 * weights))


@pytest.mark.parametrize(
    ("name", "theta"),
    [pytest.param("Categorical", None, marks=pytest.mark.slow), ("Normal", [0.3, -0.4])],
)
def test_a_model_summed_over_outcomes_is_the_family(name, theta):
    summed, family = sums(name), geometry.family_manifold(FAMILIES[name].family)
    theta = manifolds.point(name)[0] if theta is None else np.array(theta)

    @jax.jit
    def both(x):
        one = lambda m: (
            m.metric(x),
            m.skewness(x),
            geometry.connection_first_kind(m, x, alpha=0.4),
        )
        return one(summed), one(family)

    for found, expected in zip(*both(theta), strict=True):
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def mixture(xi, x):
    """Log-density of half N(xi_0, 1) and half N(xi_1, 1)."""
    logs = -0.5 * (x - xi) ** 2 - 0.5 * jnp.log(2 * jnp.pi)
    return jax.nn.logsumexp(logs) - jnp.log(2.0)


def test_a_mixture_by_quadrature_has_the_metric_of_a_plain_sum():
    nodes, weights = leggauss(400)
    nodes, weights = 12 * nodes, 12 * weights
    xi = np.array([-0.7, 1.1])
    parts = np.exp(-0.5 * (nodes[:, None] - xi) ** 2) / np.sqrt(2 * np.pi) / 2
    density = parts.sum(1)
    scores = parts * (nodes[:, None] - xi) / density[:, None]
    mass = weights * density
    manifold = geometry.model_manifold(mixture, jnp.asarray(nodes), jnp.asarray(weights))
    metric, skewness = manifolds.tensors(manifold, xi)
    np.testing.assert_allclose(metric, np.einsum("m,mi,mj", mass, scores, scores), rtol=1e-10)
    cubes = np.einsum("m,mi,mj,mk", mass, scores, scores, scores)
    np.testing.assert_allclose(skewness, cubes, rtol=1e-10, atol=1e-13)


def test_an_impossible_outcome_counts_nothing():
    # Three even outcomes and one without mass, tilted by xi: log 0 has the derivative nan.
    def density(xi, x):
        masses = jnp.array([1.0, 1.0, 1.0, 0.0]) * jnp.exp(xi[0] * jnp.arange(4.0))
        return jnp.log(masses[x] / masses.sum())

    manifold = geometry.model_manifold(density, jnp.arange(4))
    both = lambda x: (manifold.metric(x), geometry.connection_first_kind(manifold, x))
    metric, symbols = jax.jit(both)(jnp.zeros(1))
    np.testing.assert_allclose(metric, [[2 / 3]], rtol=1e-14)
    np.testing.assert_allclose(symbols, [[[0.0]]], rtol=0, atol=1e-15)


def test_a_sampled_manifold_is_within_its_standard_errors():
    # In (mu, log sigma) of a normal law; the standard errors are those among batches.
    batches, draws = 40, 4000
    x = jnp.array([0.4, 0.2])

    def density(xi, y):
        return -0.5 * ((y - xi[0]) * jnp.exp(-xi[1])) ** 2 - xi[1]

    @jax.jit
    @jax.vmap
    def tensors(key):
        draw = lambda xi: xi[0] + jnp.exp(xi[1]) * jax.random.normal(key, (draws,))
        manifold = geometry.sampled_manifold(density, draw)
        return (
            manifold.metric(x),
            manifold.skewness(x),
            geometry.connection_first_kind(manifold, x),
        )

    found = tensors(jax.random.split(jax.random.key(3), batches))
    normal = families.Normal()
    true = geometry.family_manifold(
        normal, lambda xi: normal.natural_from_params(xi[0], jnp.exp(xi[1]))
    )
    symbols = jax.jit(lambda x: geometry.connection_first_kind(true, x))(x)
    expected = (*manifolds.tensors(true, x), symbols)
    for values, value in zip(found, expected, strict=True):
        error = np.asarray(values).std(0) / np.sqrt(batches)
        assert (np.abs(np.asarray(values).mean(0) - value) < 5 * error + 1e-12).all()
        assert error.max() < 0.3  # and this says something


def test_one_precision_stays():
    x = jnp.array([0.3, 1.7], jnp.float32)
    model = geometry.model_manifold(
        mixture, jnp.linspace(-5.0, 5.0, 100, dtype=jnp.float32), np.full(100, 0.1)
    )
    sampled = geometry.sampled_manifold(
        mixture, lambda xi: jax.random.normal(jax.random.key(0), (10,), xi.dtype)
    )
    for manifold in (manifolds.in_deviation(), model, sampled):
        for tensor in manifold:
            assert jax.eval_shape(tensor, x).dtype == jnp.float32
    metric, skewness = manifolds.tensors(manifolds.in_deviation(), x)
    np.testing.assert_allclose(metric, manifolds.by_hand().metric(x), rtol=0, atol=1e-6)
    np.testing.assert_allclose(skewness, manifolds.by_hand().skewness(x), rtol=0, atol=1e-5)


def test_outside_the_domain_there_is_no_manifold():
    # Not a flat one either, though the derivative of what a predicate chose is 0.
    manifold = geometry.family_manifold(families.Exponential())
    for tensor in manifolds.tensors(manifold, jnp.ones(1)):
        assert np.isnan(tensor).all()
    symbols = jax.jit(lambda x: geometry.connection_first_kind(manifold, x))(jnp.ones(1))
    assert np.isnan(symbols).all()


def test_arguments_are_checked():
    normal = families.Normal()
    density = lambda xi, x: -0.5 * (x - xi[0]) ** 2
    with pytest.raises(TypeError, match=r"family must be an instance.*class Normal"):
        geometry.family_manifold(families.Normal)
    with pytest.raises(ValueError, match=r"must be one of 'natural', 'mean'; got 'dual'"):
        geometry.family_manifold(normal, "dual")
    for chart in ("natural", "mean", lambda xi: normal.natural_from_params(xi[0], xi[1])):
        manifold = geometry.family_manifold(normal, chart)
        for tensor in manifold:
            with pytest.raises(ValueError, match=r"x must be one vector.*\(3, 2\)\. Use jax\.vmap"):
                tensor(jnp.ones((3, 2)))
    with pytest.raises(ValueError, match=r"outcomes must hold at least one.*got shapes \(\)"):
        geometry.model_manifold(density, jnp.array(1.0))
    with pytest.raises(ValueError, match=r"outcomes must hold at least one.*\(0,\)"):
        geometry.model_manifold(density, jnp.zeros(0))
    with pytest.raises(ValueError, match=r"weights must have shape \(3,\).*got \(2,\)"):
        geometry.model_manifold(density, jnp.zeros(3), jnp.ones(2))
    with pytest.raises(TypeError, match=r"log_density must be a function; got ArrayImpl"):
        geometry.model_manifold(jnp.zeros(3), density)
    with pytest.raises(TypeError, match=r"sample must be a function"):
        geometry.sampled_manifold(density, jnp.zeros(3))
    many = geometry.model_manifold(lambda xi, x: xi * x, jnp.zeros(3))
    with pytest.raises(ValueError, match=r"must return a scalar for one outcome; got shape \(2,\)"):
        many.metric(jnp.zeros(2))
