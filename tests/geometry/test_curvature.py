"""Curvature against spaces of constant curvature, symmetries, Efron's values by quadrature."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpy.polynomial.hermite_e import hermegauss

from igeojax import families, geometry
from igeojax.geometry.statistical_manifold import StatisticalManifold
from tests.geometry import manifolds

each_manifold = manifolds.each_manifold


@each_manifold
def test_curvature_of_alpha_is_a_share_of_that_of_zero(name):
    # Hence flat at 1 and -1: natural and mean coordinates are affine.
    metric, tensors = manifolds.curvatures(name)
    (zero,) = tensors[manifolds.ALPHAS == 0]
    for alpha, tensor in zip(manifolds.ALPHAS, tensors, strict=True):
        manifolds.close(metric, tensor, (1 - alpha**2) * zero, 1e-11)


@each_manifold
def test_symmetries_of_the_riemann_tensor(name):
    metric, tensors = manifolds.curvatures(name)
    for tensor in tensors:
        manifolds.close(metric, tensor, -np.einsum("jikl->ijkl", tensor), 1e-12)
        cycle = tensor + np.einsum("jkil->ijkl", tensor) + np.einsum("kijl->ijkl", tensor)
        manifolds.close(metric, cycle, 0 * cycle, 1e-11)
    (zero,) = tensors[manifolds.ALPHAS == 0]
    manifolds.close(metric, zero, np.einsum("klij->ijkl", zero), 1e-11)
    manifolds.close(metric, zero, -np.einsum("ijlk->ijkl", zero), 1e-11)


@pytest.mark.parametrize(
    ("name", "curvature"),
    [("Normal", -0.5), pytest.param("Categorical", 0.25, marks=pytest.mark.slow)],
)
def test_spaces_of_constant_curvature(name, curvature):
    # R_ijkl = K (g_il g_jk - g_ik g_jl).
    metric, tensors = manifolds.curvatures(name)
    product = np.einsum("il,jk->ijkl", metric, metric)
    expected = curvature * (product - np.einsum("jikl->ijkl", product))
    manifolds.close(metric, tensors[manifolds.ALPHAS == 0][0], expected, 1e-12)


def test_normal_laws_in_a_chart_that_is_not_affine():
    # There the Levi-Civita symbols are no multiple of the skewness, and the dual connection counts.
    manifold, x = manifolds.by_hand(), jnp.array([0.4, 1.7])
    riemann = lambda alpha: geometry.riemann_tensor(manifold, x, alpha=alpha)
    found = jax.jit(jax.vmap(riemann))(manifolds.ALPHAS)
    product = np.einsum("il,jk->ijkl", *(manifold.metric(x),) * 2)
    zero = -0.5 * (product - np.einsum("jikl->ijkl", product))
    expected = (1 - manifolds.ALPHAS**2)[:, None, None, None, None] * zero
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-13)


def test_contractions_on_normal_laws_in_mean_and_deviation():
    manifold, x = manifolds.by_hand(), jnp.array([0.4, 1.7])

    @jax.jit
    def found(x, u, v):
        return {
            "sectional": geometry.sectional_curvature(manifold, x, u, v),
            "ricci": geometry.ricci_tensor(manifold, x),
            "scalar": geometry.scalar_curvature(manifold, x),
            "flat": geometry.scalar_curvature(manifold, x, alpha=1.0),
        }

    at = found(x, jnp.array([0.3, -2.0]), jnp.array([1.0, 0.5]))
    assert float(at["sectional"]) == pytest.approx(-0.5, abs=1e-12)
    assert float(at["scalar"]) == pytest.approx(-1.0, abs=1e-12)
    assert float(at["flat"]) == pytest.approx(0.0, abs=1e-12)
    np.testing.assert_allclose(at["ricci"], -0.5 * manifold.metric(x), rtol=1e-10, atol=1e-13)
    single = found(*(jnp.asarray(v, jnp.float32) for v in (x, [0.3, -2.0], [1.0, 0.5])))
    assert {leaf.dtype for leaf in jax.tree.leaves(single)} == {np.dtype("float32")}
    assert float(single["sectional"]) == pytest.approx(-0.5, abs=1e-5)
    for parallel in ([2.0, 0.6], [0.0, 0.0]):
        assert np.isnan(found(x, jnp.array([1.0, 0.3]), jnp.array(parallel))["sectional"])


def test_outside_the_domain_there_is_no_curvature():
    manifold = geometry.family_manifold(families.Exponential())
    found = jax.jit(lambda x, a: geometry.riemann_tensor(manifold, x, alpha=a))(jnp.ones(1), 0.3)
    assert np.isnan(found).all()


def test_a_skewness_that_no_family_has_bends_by_its_commutator():
    # Euclidean metric, constant C: R^(al)_ijkl = al^2/4 (C_jkm C_ilm - C_ikm C_jlm).
    tensor = np.einsum("i,j,k->ijk", *(np.array([1.0, 2.0]),) * 3)
    tensor[0, 0, 0] += 1.5
    manifold = StatisticalManifold(lambda x: jnp.eye(2), lambda x: jnp.asarray(tensor))
    found = jax.jit(lambda x: geometry.riemann_tensor(manifold, x, alpha=0.6))(jnp.zeros(2))
    half = np.einsum("jkm,ilm->ijkl", tensor, tensor)
    np.testing.assert_allclose(found, 0.09 * (half - np.swapaxes(half, 0, 1)), rtol=1e-13)
    assert np.abs(found).max() > 0.1


def test_a_sphere_is_positive():
    manifold = StatisticalManifold(
        lambda x: jnp.diag(jnp.stack([jnp.ones_like(x[0]), jnp.sin(x[0]) ** 2])),
        lambda x: jnp.zeros((2, 2, 2)),
    )
    points = jnp.array([[0.5, 0.0], [1.2, 2.0]])
    found = jax.jit(jax.vmap(lambda x: geometry.scalar_curvature(manifold, x)))(points)
    np.testing.assert_allclose(found, [2.0, 2.0], rtol=1e-12)


def test_jeffreys_priors():
    # Beta(1/2, 1/2) of a probability, 1/s^2 of mean and deviation; the same measure in any chart.
    bernoulli, x = families.Bernoulli(), jnp.array([0.4, 1.7])
    of_probability = geometry.family_manifold(
        bernoulli, lambda p: bernoulli.natural_from_params(p[0])
    )
    found = jax.jit(lambda x: geometry.log_jeffreys_prior(of_probability, x))(jnp.array([0.2]))
    assert float(found) == pytest.approx(-0.5 * np.log(0.2 * 0.8), rel=1e-13, abs=0)
    deviation = jax.jit(
        jax.value_and_grad(lambda x: geometry.log_jeffreys_prior(manifolds.in_deviation(), x))
    )
    value, slope = deviation(x)
    assert float(value) == pytest.approx(np.log(np.sqrt(2) / 1.7**2), rel=1e-12, abs=0)
    np.testing.assert_allclose(slope, [0.0, -2 / 1.7], rtol=1e-12, atol=1e-13)
    assert np.isnan(deviation(-x)[0])


# Efron's curvature by the covariance of the first two derivatives of the log-likelihood.


def quadrature(curve, log_density, t):
    """Efron (1975), (3.4): `gamma^2 = (nu_20 nu_02 - nu_11^2) / nu_20^3`, in plain numpy."""
    step = 1e-3
    nodes, weights = hermegauss(60)
    mean, scale = curve(t)
    x, mass = mean + scale * nodes, weights / weights.sum()
    below, here, above = (log_density(*curve(t + k * step), x) for k in (-1, 0, 1))
    first, second = (above - below) / (2 * step), (above - 2 * here + below) / step**2
    first, second = first - mass @ first, second - mass @ second
    squares, mixed, bends = mass @ first**2, mass @ (first * second), mass @ second**2
    return np.sqrt((squares * bends - mixed**2) / squares**3)


def normal_log_density(mean, scale, x):
    return -0.5 * ((x - mean) / scale) ** 2 - np.log(scale)


@pytest.mark.parametrize("c", [1.0, 0.3])
def test_normal_laws_of_constant_coefficient_of_variation(c):
    # theta = (1/(c^2 m), -1/(2 c^2 m^2)): by hand gamma^2 = 2 c^4 / (1 + 2 c^2)^3, at every m.
    normal = families.Normal()
    chart = lambda m: normal.natural_from_params(m, c * m)
    points = jnp.array([0.7, 3.0])
    found = jax.jit(jax.vmap(lambda m: geometry.statistical_curvature(normal, chart, m)))(points)
    np.testing.assert_allclose(found, np.sqrt(2 * c**4 / (1 + 2 * c**2) ** 3), rtol=1e-11)
    by_nodes = quadrature(lambda m: (m, c * m), normal_log_density, 0.7)
    np.testing.assert_allclose(found[0], by_nodes, rtol=1e-4)


def test_statistical_curvature_has_no_chart():
    normal = families.Normal()
    chart = lambda t: normal.natural_from_params(jnp.sin(t), 1 + t**2)
    at = jax.jit(lambda t: geometry.statistical_curvature(normal, chart, t))(0.4)
    bent = lambda u: chart(jnp.log(u))
    there = jax.jit(lambda u: geometry.statistical_curvature(normal, bent, u))(np.exp(0.4))
    np.testing.assert_allclose(at, there, rtol=1e-11)


def test_straight_curves():
    # Straight in theta at alpha 1, in eta at alpha -1, a geodesic of normal laws at alpha 0.
    normal = families.Normal()
    theta, other = normal.natural_from_params(0.3, 1.2), normal.natural_from_params(-1.0, 0.8)
    mix = lambda t, p, q: jax.tree.map(lambda a, b: (1 - t) * a + t * b, p, q)
    ends = normal.mean_from_natural(theta), normal.mean_from_natural(other)
    curves = {
        1.0: lambda t: mix(t, theta, other),
        -1.0: lambda t: normal.natural_from_mean(mix(t, *ends)),
        # A half circle of the half-plane (mu / sqrt 2, sigma).
        0.0: lambda t: normal.natural_from_params(np.sqrt(2) * jnp.cos(t), jnp.sin(t)),
    }

    @jax.jit
    def table(t):
        one = lambda curve, alpha: geometry.statistical_curvature(normal, curve, t, alpha=alpha)
        return [[one(curve, alpha) for alpha in curves] for curve in curves.values()]

    found = np.array(table(0.4))
    np.testing.assert_allclose(np.diagonal(found), 0.0, rtol=0, atol=1e-11)
    assert (found[~np.eye(3, dtype=bool)] > 0.01).all()


def test_arguments_are_checked():
    normal, manifold = families.Normal(), manifolds.by_hand()
    x = jnp.array([0.4, 1.7])
    for function in (
        geometry.riemann_tensor,
        geometry.ricci_tensor,
        geometry.scalar_curvature,
        geometry.log_jeffreys_prior,
        lambda m, x: geometry.sectional_curvature(m, x, jnp.ones(2), jnp.ones(2)),
    ):
        with pytest.raises(TypeError, match="StatisticalManifold; got Normal"):
            function(normal, x)
        with pytest.raises(ValueError, match=r"x must be one vector.*\(1, 2\)"):
            function(manifold, x[None])
    with pytest.raises(ValueError, match=r"other must have the shape of its foot point, \(2,\)"):
        geometry.sectional_curvature(manifold, x, x, jnp.ones(3))
    chart = lambda m: normal.natural_from_params(m, m)
    with pytest.raises(TypeError, match="family must be an instance"):
        geometry.statistical_curvature(manifold, chart, 1.0)
    with pytest.raises(ValueError, match=r"xi must be a scalar; got shape \(2,\)"):
        geometry.statistical_curvature(normal, chart, jnp.ones(2))
    many = lambda m: normal.natural_from_params(m * jnp.ones(3), 1.0)
    with pytest.raises(ValueError, match=r"must return one point; got batch shape \(3,\)"):
        geometry.statistical_curvature(normal, many, 1.0)
