"""Connections and transport against derivatives of psi and phi, closed forms and duality."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families, geometry
from igeojax.families.registry import FAMILIES
from igeojax.geometry.statistical_manifold import StatisticalManifold
from tests.geometry import manifolds

each_manifold = manifolds.each_manifold


@each_manifold
def test_first_kind_is_a_share_of_the_third_derivative(name):
    found = manifolds.evaluated(name)
    for alpha, natural, mean in zip(manifolds.ALPHAS, found["natural"], found["mean"], strict=True):
        manifolds.close(found["metric"], natural, (1 - alpha) / 2 * found["third"], 1e-12)
        dual = (1 + alpha) / 2 * found["dual_third"]
        manifolds.close(found["mean_metric"], mean, dual, 1e-10)


@pytest.mark.parametrize("alpha", [-1.0, 0.0, 0.4])
def test_duality(alpha):
    # d_k g_ij = Gamma^(al)_kij + Gamma^(-al)_kji, of a tensor that no family made.
    def metric(x):
        return jnp.diag(jnp.exp(x)) + jnp.outer(jnp.sin(x), jnp.sin(x))

    def skewness(x):
        return jnp.einsum("i,j,k->ijk", *(jnp.cos(x),) * 3)

    manifold, x = StatisticalManifold(metric, skewness), jnp.array([0.3, -0.8])
    symbols = jax.jit(lambda x, a: geometry.connection_first_kind(manifold, x, alpha=a))
    one, other = symbols(x, alpha), symbols(x, -alpha)
    slopes = np.einsum("ijk->kij", jax.jacfwd(metric)(x))
    np.testing.assert_allclose(slopes, one + np.swapaxes(other, 1, 2), rtol=0, atol=1e-14)
    np.testing.assert_allclose(one, np.swapaxes(one, 0, 1), rtol=0, atol=1e-15)
    assert np.abs(slopes).max() > 0.1


def normal_symbols(sigma, alpha):
    """`Gamma_ij^k` of normal laws in `(mu, sigma)`, by hand.

    Levi-Civita: `Gamma_ms^m = -1/s`, `Gamma_mm^s = 1/(2 s)`, `Gamma_ss^s = -1/s`; and
    `C_mms = 2/s^3`, `C_sss = 8/s^3` with `g = diag(1/s^2, 2/s^2)`.
    """
    symbols = np.zeros((2, 2, 2))
    symbols[0, 1, 0] = symbols[1, 0, 0] = -(1 + alpha) / sigma
    symbols[0, 0, 1] = (1 - alpha) / (2 * sigma)
    symbols[1, 1, 1] = -(1 + 2 * alpha) / sigma
    return symbols


def test_symbols_of_normal_laws():
    manifold, x = manifolds.in_deviation(), jnp.array([0.4, 1.7])
    alphas = np.array([0.0, 1.0, -0.3])

    @jax.jit
    def symbols(x):
        # The number 0 takes a way of its own, without the skewness.
        plain = lambda alpha: geometry.connection_second_kind(manifold, x, alpha=alpha)
        return jax.vmap(plain)(alphas), plain(0)

    found, levi_civita = symbols(x)
    expected = [normal_symbols(1.7, alpha) for alpha in alphas]
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-12)
    np.testing.assert_allclose(levi_civita, expected[0], rtol=0, atol=1e-12)


def test_alpha_zero_as_a_number_leaves_the_skewness_alone():
    def refuse(x):
        raise RuntimeError("not needed")

    manifold = manifolds.by_hand()._replace(skewness=refuse)
    x = jnp.array([0.4, 1.7])
    jax.eval_shape(lambda x: geometry.connection_first_kind(manifold, x), x)
    with pytest.raises(RuntimeError, match="not needed"):
        jax.eval_shape(lambda x: geometry.connection_first_kind(manifold, x, alpha=0.1), x)


# Transport: one compiled program for each manifold.


def arc(t):
    """A curve of normal laws in natural coordinates."""
    return jnp.stack([0.5 + jnp.sin(2 * t), -0.6 - 0.3 * t + 0.2 * jnp.cos(3 * t)])


@functools.cache
def transport():
    """`program(u, alpha)`: transport along `arc`, and back, of normal laws."""
    manifold = geometry.family_manifold(families.Normal())

    @jax.jit
    def program(vector, alpha):
        there = geometry.parallel_transport(manifold, arc, vector, alpha=alpha)
        back = lambda t: arc(1 - t)
        return there, geometry.parallel_transport(manifold, back, there, alpha=alpha)

    return program


U, V = jnp.array([0.7, -0.2]), jnp.array([-0.4, 0.5])


def metric(x):
    normal = families.Normal()
    return np.asarray(geometry.fisher_matrix(normal, geometry.unravel(normal, x)))


def test_exponential_transport_keeps_natural_components():
    np.testing.assert_allclose(transport()(U, 1.0)[0], U, rtol=0, atol=1e-12)


def test_mixture_transport_keeps_mean_components():
    moved, _ = transport()(U, -1.0)
    start, end = metric(arc(0.0)) @ np.asarray(U), metric(arc(1.0)) @ np.asarray(moved)
    np.testing.assert_allclose(end, start, rtol=1e-8, atol=0)


@pytest.mark.parametrize("alpha", [0.0, 0.5, -2.0])
def test_dual_transports_preserve_the_inner_product(alpha):
    one, back = transport()(U, alpha)
    other, _ = transport()(V, -alpha)
    before = np.asarray(U) @ metric(arc(0.0)) @ np.asarray(V)
    after = np.asarray(one) @ metric(arc(1.0)) @ np.asarray(other)
    np.testing.assert_allclose(after, before, rtol=1e-8, atol=0)
    np.testing.assert_allclose(back, U, rtol=1e-8, atol=0)
    assert np.abs(np.asarray(one) - U).max() > 0.01


SMALL = [
    name
    for name, entry in FAMILIES.items()
    if entry.family.dimension <= 2 and name not in ("Normal", "Product")
]


@pytest.mark.slow
@pytest.mark.parametrize("name", SMALL)
def test_dual_transports_of_every_small_family(name):
    family = FAMILIES[name].family
    ends = FAMILIES[name].point(jax.random.key(3), (2,))
    first, last = geometry.ravel(family, ends)
    manifold = geometry.family_manifold(family)

    @jax.jit
    @jax.vmap
    def moved(vector, alpha):
        line = lambda t: first + t * (last - first)
        return geometry.parallel_transport(manifold, line, vector, alpha=alpha)

    vectors = jax.random.normal(jax.random.key(4), (2, family.dimension))
    alphas = jnp.array([1.0, -1.0, 0.5, -0.5])
    found = moved(jnp.concatenate([vectors, vectors]), alphas)
    before, after = (
        np.asarray(geometry.fisher_matrix(family, geometry.unravel(family, x)))
        for x in (first, last)
    )
    np.testing.assert_allclose(found[0], vectors[0], rtol=1e-12)
    inner = vectors[0] @ before @ vectors[1]
    for one, other in ((0, 1), (2, 3)):
        np.testing.assert_allclose(found[one] @ after @ found[other], inner, rtol=1e-7)


def test_transport_is_linear_at_any_size():
    unit, _ = transport()(U, 0.5)
    small, _ = transport()(1e-30 * U, 0.5)
    np.testing.assert_allclose(1e30 * np.asarray(small), unit, rtol=1e-12)
    np.testing.assert_array_equal(transport()(0 * U, 0.5)[0], [0.0, 0.0])


@functools.cache
def sideways():
    """`program(mu_speed, u)`: transport of normal laws at sigma 1, along `mu`, in `(mu, sigma)`."""

    def program(speed, vector):
        curve = lambda t: jnp.stack([speed * t, jnp.ones_like(t)])
        return geometry.parallel_transport(manifolds.by_hand(), curve, vector)

    return program


def turned(speed, vector):
    """By hand: `u' = speed w`, `w' = -speed u / 2` turns `(u, sqrt(2) w)` by `speed / sqrt 2`."""
    angle, root = speed / np.sqrt(2), np.sqrt(2)
    cos, sin = np.cos(angle), np.sin(angle)
    return np.array(
        [cos * vector[0] + root * sin * vector[1], cos * vector[1] - sin * vector[0] / root]
    )


def test_transport_along_a_horocycle_turns_by_its_length():
    vector, speeds = jnp.array([0.7, -0.2]), np.array([0.0, 0.5, -2.0])
    mapped = jax.jit(jax.vmap(sideways(), (0, None)))(speeds, vector)
    np.testing.assert_allclose(mapped, [turned(s, vector) for s in speeds], rtol=1e-8, atol=1e-9)


@pytest.mark.slow
def test_transport_has_derivatives_of_both_modes():
    program, vector = sideways(), jnp.array([0.7, -0.2])

    @jax.jit
    def derivatives(speed):
        return jax.jacfwd(program)(speed, vector), jax.jacrev(program)(speed, vector)

    forward, reverse = derivatives(jnp.array(1.3))
    step = 1e-5
    slope = (turned(1.3 + step, vector) - turned(1.3 - step, vector)) / (2 * step)
    np.testing.assert_allclose(forward, slope, rtol=1e-7)
    np.testing.assert_allclose(reverse, slope, rtol=1e-7)


def test_transport_in_single_precision():
    found = jax.jit(sideways())(jnp.float32(1.3), jnp.array([0.7, -0.2], jnp.float32))
    assert found.dtype == jnp.float32
    np.testing.assert_allclose(found, turned(1.3, [0.7, -0.2]), rtol=3e-4)
    symbols = jax.jit(lambda x: geometry.connection_second_kind(manifolds.by_hand(), x, alpha=0.4))(
        jnp.array([0.4, 1.7], jnp.float32)
    )
    assert symbols.dtype == jnp.float32
    np.testing.assert_allclose(symbols, normal_symbols(1.7, 0.4), rtol=0, atol=1e-5)


def test_transport_out_of_the_domain_or_without_steps_is_nan():
    # Exponential laws: psi = -log(-x), so v is a multiple of |x|^(1 - alpha).
    laws = geometry.family_manifold(families.Exponential())

    @jax.jit
    def moved(end):
        line = lambda t: (t * end - (1 - t))[None]
        return geometry.parallel_transport(
            laws, line, jnp.ones(1), alpha=0.5, tolerance=1e-12, max_steps=16
        )

    np.testing.assert_allclose(moved(-2.0), [np.sqrt(2)], rtol=1e-10)
    assert np.isnan(moved(1.0)).all()
    assert np.isnan(moved(-1e12)).all()


@pytest.mark.parametrize("alpha", [0.0, 0.6])
@pytest.mark.slow
def test_holonomy_is_curvature_times_area(alpha):
    # P v - v = -R(d_0, d_1) v * area + O(side^3) for a square walked along d_0 first.
    manifold, x, v = manifolds.by_hand(), jnp.array([0.3, 1.2]), jnp.array([0.7, -0.2])

    @jax.jit
    def around(side):
        corners = jnp.array([[0.0, 0.0], [1.0, 0.0], [1.0, 1.0], [0.0, 1.0], [0.0, 0.0]])
        vector = v
        for begin, end in itertools.pairwise(corners):
            edge = lambda t, a=begin, b=end: x + side * (a + t * (b - a))
            vector = geometry.parallel_transport(manifold, edge, vector, alpha=alpha)
        return vector

    riemann = geometry.riemann_tensor(manifold, x, alpha=alpha)[0, 1]
    turn = -np.einsum("k,kl->l", v, riemann) @ np.linalg.inv(manifold.metric(x))
    sides = np.array([0.04, 0.02, 0.01])
    errors = [np.abs((around(s) - v) / s**2 - turn).max() for s in sides]
    assert errors[-1] < 0.05 * np.abs(turn).max()
    rates = np.log2(np.array(errors[:-1]) / errors[1:])
    np.testing.assert_allclose(rates, 1.0, atol=0.15)


def test_arguments_are_checked():
    normal, manifold = families.Normal(), manifolds.by_hand()
    x = jnp.array([0.4, 1.7])
    with pytest.raises(TypeError, match=r"StatisticalManifold; got Normal\. Make one with"):
        geometry.connection_first_kind(normal, x)
    with pytest.raises(ValueError, match=r"x must be one vector.*\(1, 2\).*vmap"):
        geometry.connection_second_kind(manifold, x[None])
    with pytest.raises(ValueError, match=r"alpha must be a scalar; got shape \(2,\)"):
        geometry.connection_first_kind(manifold, x, alpha=jnp.ones(2))
    small = manifold._replace(metric=lambda x: jnp.eye(2))
    with pytest.raises(ValueError, match=r"metric of a manifold must return shape \(3, 3\)"):
        geometry.connection_first_kind(small, jnp.ones(3))
    scalar = manifold._replace(skewness=lambda x: x)
    with pytest.raises(ValueError, match=r"skewness of a manifold must return shape \(2, 2, 2\)"):
        geometry.connection_first_kind(scalar, x, alpha=1.0)
    line = lambda t: x + t
    for error, message, call in (
        (TypeError, "StatisticalManifold", lambda: geometry.parallel_transport(normal, line, x)),
        (TypeError, "curve must be", lambda: geometry.parallel_transport(manifold, x, x)),
        (
            ValueError,
            r"vector must have the shape of its foot point, \(2,\); got \(3,\)",
            lambda: geometry.parallel_transport(manifold, line, jnp.ones(3)),
        ),
        (
            ValueError,
            "tolerance must be positive; got -1",
            lambda: geometry.parallel_transport(manifold, line, x, tolerance=-1.0),
        ),
        (
            ValueError,
            "max_steps must be at least 1",
            lambda: geometry.parallel_transport(manifold, line, x, max_steps=0),
        ),
    ):
        with pytest.raises(error, match=message):
            call()
