"""Bregman and skew-Jensen divergences of potentials, and conjugates, against closed forms."""

import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest
import scipy.special

from igeojax.divergences import bregman as module
from igeojax.divergences import exponential, simplex
from igeojax.divergences.bregman import bregman, legendre_conjugate, skew_jensen
from igeojax.families.gamma import Gamma

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

INF = np.inf


def negentropy(v):
    return jnp.sum(jax.scipy.special.xlogy(v, v))


def log_sum_exp(v):
    return jax.scipy.special.logsumexp(v)


@pytest.mark.parametrize("gap", [1.0, 1e-3, 1e-7, 1e-12])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_near_points_keep_their_digits(gap, dtype):
    y = np.array([0.5, 2.0, 8.0])
    x = np.asarray(y * (1 + gap * np.array([0.5, -0.25, 0.125])), dtype).astype(float)
    with mpmath.workdps(60):
        pairs = [(mpmath.mpf(float(a)), mpmath.mpf(float(b))) for a, b in zip(x, y, strict=True)]
        kl = float(mpmath.fsum(a * mpmath.log(a / b) - a + b for a, b in pairs))
        itakura = float(mpmath.fsum(a / b - 1 - mpmath.log(a / b) for a, b in pairs))
    args = jnp.asarray(x, dtype), jnp.asarray(y, dtype)
    for potential, expected in ((negentropy, kl), (lambda v: -jnp.sum(jnp.log(v)), itakura)):
        found = jax.jit(lambda a, b, f=potential: bregman(f, a, b))(*args)
        np.testing.assert_allclose(found, expected, rtol=64 * np.finfo(dtype).eps)


def test_a_potential_with_a_kink_keeps_the_difference():
    absolute = lambda v: jnp.sum(jnp.abs(v))
    assert float(bregman(absolute, jnp.array([1.0]), jnp.array([-1.0]))) == 2.0
    # Far along log-sum-exp, the curvature is a narrow bump that no quadrature sees.
    x, y = jnp.array([500.0, 505.0]), jnp.array([500.0, 0.0])
    expected = np.log1p(np.exp(-5.0)) + 505 - 500
    assert float(bregman(log_sum_exp, x, y)) == pytest.approx(expected, rel=1e-13, abs=0)


def test_trees_and_simplex():
    x, y = (
        {"a": jnp.array([0.2, 0.3]), "b": jnp.array(0.5)},
        {"a": jnp.array([0.1, 0.6]), "b": jnp.array(0.3)},
    )
    potential = lambda tree: negentropy(tree["a"]) + negentropy(tree["b"])
    expected = simplex.kl([0.2, 0.3, 0.5], [0.1, 0.6, 0.3])
    assert float(bregman(potential, x, y)) == pytest.approx(float(expected), rel=1e-13, abs=0)


def test_exponential_family_divergences():
    family = Gamma()
    p, q = family.natural_from_params(3.0, 2.0), family.natural_from_params(1.5, 0.5)
    psi = family.log_partition
    kl = exponential.kl(family, p, q)
    assert float(bregman(psi, q, p)) == pytest.approx(float(kl), rel=1e-12, abs=0)
    for order in (0.25, 0.5):
        expected = (1 - order) * exponential.renyi(family, p, q, order=order)
        assert float(skew_jensen(psi, p, q, order=order)) == pytest.approx(
            float(expected), rel=1e-12, abs=0
        )


def test_skew_jensen_limits():
    x, y = jnp.array([0.5, 2.0]), jnp.array([0.25, 3.0])
    program = jax.jit(lambda a: skew_jensen(negentropy, x, y, order=a))
    assert program(0.0) == program(1.0) == 0
    for a in (1e-3, 0.5, 0.9):
        with mpmath.workdps(40):
            exact = lambda v: v * mpmath.log(v)
            direct = sum(
                a * exact(u)
                + (1 - mpmath.mpf(a)) * exact(v)
                - exact(a * u + (1 - mpmath.mpf(a)) * v)
                for u, v in zip(
                    map(mpmath.mpf, (0.5, 2.0)), map(mpmath.mpf, (0.25, 3.0)), strict=True
                )
            )
        assert float(program(a)) == pytest.approx(float(direct), rel=1e-12, abs=0)
    # Towards an end it is (1 - a) times a Bregman divergence.
    assert float(program(1e-9)) == pytest.approx(
        1e-9 * float(bregman(negentropy, x, y)), rel=1e-8, abs=0
    )


def test_derivatives():
    x, y = jnp.array([0.5, 2.0]), jnp.array([0.25, 3.0])
    value = lambda a, b: bregman(negentropy, a, b)
    in_x, in_y = jax.grad(value, (0, 1))(x, y)
    np.testing.assert_allclose(in_x, np.log(x / y), rtol=1e-12)
    np.testing.assert_allclose(in_y, (y - x) / y, rtol=1e-12)
    np.testing.assert_allclose(jax.hessian(value)(x, y), np.diag(1 / x), rtol=1e-12)
    zero, slope = jax.value_and_grad(value)(y, y)
    assert zero == 0
    np.testing.assert_allclose(slope, np.zeros(2), atol=1e-15)
    # Through what the potential closes over.
    scaled = jax.grad(lambda c: bregman(lambda v: c * negentropy(v), x, y))(2.0)
    assert float(scaled) == pytest.approx(float(value(x, y)), rel=1e-12, abs=0)


CONJUGATES = [
    (lambda v: jnp.sum(jnp.exp(v)), lambda e: np.sum(scipy.special.xlogy(e, e) - e), np.log, 0.0),
    (lambda v: -jnp.sum(jnp.log(-v)), lambda e: np.sum(-1 - np.log(e)), lambda e: -1 / e, -1.0),
    (lambda v: jnp.sum(v**4) / 4 + jnp.sum(v**2), None, None, 0.0),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("case", range(3))
def test_legendre_conjugate(case, dtype):
    potential, value, maximizer, start = CONJUGATES[case]
    program = jax.jit(lambda e: legendre_conjugate(potential, e, jnp.full(3, start, dtype)))
    eta = np.array([0.01, 1.0, 40.0])
    result = program(jnp.asarray(eta, dtype))
    assert result.converged
    eps = np.finfo(dtype).eps
    if value is not None:
        np.testing.assert_allclose(result.value, value(eta), rtol=100 * eps)
        np.testing.assert_allclose(result.maximizer, maximizer(eta), rtol=2e3 * eps)
    slope = jax.grad(lambda e: program(e).value)(jnp.asarray(eta, dtype))
    np.testing.assert_allclose(slope, result.maximizer, rtol=1e-5 if dtype == "float32" else 1e-12)


# Along an exponential tail Newton's steps are of length one: a slow start is no standstill.
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_conjugate_far_along_a_tail(dtype):
    eps = np.finfo(dtype).eps
    eta = np.array([0.9, 0.999, 0.999999], dtype).astype(float)
    softplus = lambda v: jnp.logaddexp(0.0, v)
    one = lambda e: legendre_conjugate(softplus, e, jnp.zeros((), dtype))
    result = jax.jit(jax.vmap(one))(jnp.asarray(eta, dtype))
    assert result.converged.all()
    # A slope that is rounded by an eps moves the maximizer by that over the curvature.
    atol = 8 * eps / (eta * (1 - eta))
    assert (np.abs(result.maximizer - scipy.special.logit(eta)) < atol).all()
    entropy = scipy.special.xlogy(eta, eta) + scipy.special.xlogy(1 - eta, 1 - eta)
    np.testing.assert_allclose(result.value, entropy, atol=16 * eps)
    pair = np.array([0.7, 0.2999], dtype)
    rest = 1 - pair.astype(float).sum()
    potential = lambda v: log_sum_exp(jnp.append(v, jnp.zeros((), dtype)))
    result = legendre_conjugate(potential, pair, jnp.zeros(2, dtype))
    assert result.converged
    np.testing.assert_allclose(
        result.maximizer, np.log(pair.astype(float) / rest), atol=8 * eps / rest
    )


def test_conjugate_derivatives_of_higher_order_and_trees():
    potential = lambda tree: jnp.exp(tree["a"]) + jnp.sum(jnp.cosh(tree["b"]))
    start = {"a": jnp.array(0.0), "b": jnp.zeros(2)}
    eta = {"a": jnp.array(2.0), "b": jnp.array([0.5, -1.5])}
    value = jax.jit(lambda a: legendre_conjugate(potential, eta | {"a": a}, start).value)
    # a log a - a: derivatives log a, 1/a, -1/a^2, 2/a^3.
    third = jax.grad(jax.grad(jax.grad(value)))
    assert float(jax.grad(value)(2.0)) == pytest.approx(np.log(2), rel=1e-12, abs=0)
    assert float(jax.grad(jax.grad(value))(2.0)) == pytest.approx(0.5, rel=1e-10, abs=0)
    assert float(third(2.0)) == pytest.approx(-0.25, rel=1e-9, abs=0)
    best = legendre_conjugate(potential, eta, start).maximizer
    np.testing.assert_allclose(best["b"], np.arcsinh([0.5, -1.5]), rtol=1e-12)
    # In a parameter of the potential: sup t e - c exp(t) = e log(e/c) - e.
    scaled = lambda c: legendre_conjugate(lambda t: c * jnp.exp(t), 2.0, 0.0)
    assert float(jax.grad(lambda c: scaled(c).value)(3.0)) == pytest.approx(
        -2 / 3, rel=1e-12, abs=0
    )
    assert float(jax.grad(lambda c: scaled(c).maximizer)(3.0)) == pytest.approx(
        -1 / 3, rel=1e-12, abs=0
    )


def test_conjugate_outside_its_domain_is_reported():
    result = jax.jit(lambda e: legendre_conjugate(lambda t: jnp.exp(t), e, 0.0))(-1.0)
    assert not result.converged
    assert not jnp.isnan(result.maximizer)


BAD = [
    (
        lambda: bregman(negentropy, jnp.ones(2), (jnp.ones(2),)),
        TypeError,
        "one structure.*tree.map",
    ),
    (
        lambda: bregman(negentropy, jnp.ones(2), jnp.ones(3)),
        ValueError,
        r"one shape.*\(2,\).*\(3,\)",
    ),
    (
        lambda: bregman(jnp.log, jnp.ones(2), jnp.ones(2)),
        ValueError,
        r"return a scalar.*\(2,\).*vmap",
    ),
    (lambda: bregman(negentropy, "a", "b"), TypeError, "number.*str"),
    (lambda: skew_jensen(negentropy, 1.0, 2.0, order=1.5), ValueError, r"order.*\[0, 1\]; got 1.5"),
    (
        lambda: legendre_conjugate(jnp.log, 1.0, -1.0),
        ValueError,
        "potential at start must be finite",
    ),
    (
        lambda: legendre_conjugate(jnp.exp, 1.0, 0.0, max_steps=0),
        ValueError,
        "max_steps.*at least 1",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_module_is_offered():
    assert module.bregman is bregman
