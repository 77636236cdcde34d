"""Remainders, gamma gap and Poisson entropy against 20-digit values on wide grids."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import families, numerics
from tests.reference.compare import evaluate, load, relative_error

POISSON = families.Poisson()
FUNCTIONS = {
    "log1p_remainder": lambda _, x: numerics.log1p_remainder(x),
    "expm1_remainder": lambda _, x: numerics.expm1_remainder(x),
    "exprel2": lambda _, x: numerics.exprel2(x),
    "ratio_remainder": lambda _, a, b: numerics.ratio_remainder(a, b),
    "log_minus_digamma": lambda _, a: numerics.log_minus_digamma(a),
    "log_minus_digamma_slope": lambda _, a: jax.grad(numerics.log_minus_digamma)(a),
    "log_minus_digamma_inverse": lambda _, s: numerics.log_minus_digamma_inverse(s),
    "poisson_entropy": lambda _, rate: POISSON.entropy(POISSON.natural_from_params(rate)),
}
# Units of eps in float64 and float32. Below 8 the gap is a difference of log and digamma, thirty
# times as large as itself; an entropy of counts sums terms of size rate.
EPS_ALLOWED = {
    "log1p_remainder": (3, 4),
    "expm1_remainder": (4, 4),
    "exprel2": (4, 4),
    "ratio_remainder": (3, 4),
    "log_minus_digamma": (70, 80),
    "log_minus_digamma_slope": (130, 230),
    "log_minus_digamma_inverse": (28, 50),
    "poisson_entropy": (130, 60),
}


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_value(name, dtype):
    cases = load("numerics", name, dtype)
    results = evaluate(FUNCTIONS[name], cases, dtype)
    signed = name == "log_minus_digamma_slope"
    worst, where = max(
        (relative_error(case, got, dtype, not signed) / np.finfo(dtype).eps, str(case.inputs))
        for case, got in zip(cases, results, strict=True)
    )
    assert worst <= EPS_ALLOWED[name][dtype == "float32"], f"{worst:.3g} eps at {where}"


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_series_and_formula_meet_above_the_switch(dtype):
    # The asymptotic series starts at 8 and must not lose to the subtraction there.
    cases = [case for case in load("numerics", "log_minus_digamma", dtype) if case.inputs["a"] >= 8]
    results = evaluate(FUNCTIONS["log_minus_digamma"], cases, dtype)
    worst = max(
        relative_error(case, got, dtype, True) for case, got in zip(cases, results, strict=True)
    )
    assert len(cases) > 20
    assert worst <= 4 * np.finfo(dtype).eps


# First and second derivatives in closed form; inputs on both sides of every switch.
DERIVATIVES = [
    ("log1p_remainder", lambda x: x / (1 + x), lambda x: 1 / (1 + x) ** 2),
    ("expm1_remainder", jnp.expm1, jnp.exp),
]
POINTS = np.array([-0.9, -0.6, -0.59, -0.3, -1e-9, 0.0, 1e-12, 0.3, 0.69, 0.7, 1.0, 1.01, 5.0])


@pytest.mark.parametrize(("name", "slope", "curvature"), DERIVATIVES)
def test_derivatives_of_remainders(name, slope, curvature):
    function = getattr(numerics, name)
    x = jnp.asarray(POINTS)
    np.testing.assert_allclose(jax.jit(jax.vmap(jax.grad(function)))(x), slope(x), rtol=1e-14)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(jax.hessian(function)))(x), curvature(x), rtol=1e-13
    )


def test_derivatives_of_exprel2():
    x = np.array([-30.0, -1.01, -0.99, -1e-3, 0.0, 1e-3, 0.99, 1.01, 30.0])
    # From (exp x - 1 - x)/x^2: f' = (1 - 2 (x-1) f) ... solved for f' = (f (x-2) + 1) / x.
    series = lambda t: sum(
        k * t ** (k - 1) / float(np.prod(np.arange(1.0, k + 3))) for k in range(1, 19)
    )
    value = np.asarray(numerics.exprel2(jnp.asarray(x)))
    direct = ((x - 2) * value + 1) / np.where(x == 0, 1, x)
    expected = np.where(np.abs(x) < 1, series(x), direct)
    np.testing.assert_allclose(
        jax.jit(jax.vmap(jax.grad(numerics.exprel2)))(jnp.asarray(x)), expected, rtol=1e-12
    )


def test_derivatives_of_ratio_remainder():
    a = jnp.array([1.0, 1e-30, 3.0, -2.0, 2.0, 1.7, 0.4])
    b = jnp.array([1.0, 1e10, 1.0, -5.0, 2.0, 1.0, 1.0])
    in_a, in_b = jax.jit(jax.vmap(jax.grad(numerics.ratio_remainder, argnums=(0, 1))))(a, b)
    np.testing.assert_allclose(in_a, 1 / b - 1 / a, rtol=1e-14)
    np.testing.assert_allclose(in_b, -(a / b - 1) / b, rtol=1e-14)
    second = jax.jit(jax.vmap(jax.hessian(numerics.ratio_remainder)))(a, b)
    np.testing.assert_allclose(second, 1 / a**2, rtol=1e-13)


def test_ends_of_the_domain():
    assert numerics.log1p_remainder(jnp.array(-1.0)) == jnp.inf
    assert jnp.isnan(numerics.log1p_remainder(jnp.array(-1.5)))
    assert numerics.expm1_remainder(jnp.array(-jnp.inf)) == jnp.inf
    np.testing.assert_array_equal(numerics.exprel2(jnp.array([-jnp.inf, jnp.inf])), [0, jnp.inf])
    found = numerics.log_minus_digamma_inverse(jnp.array([0.0, -1.0]))
    np.testing.assert_array_equal(found, [jnp.inf, jnp.nan])


def test_inverse_of_the_gap():
    a = jnp.geomspace(1e-6, 1e9, 40)
    gap, slope = jax.jit(jax.vmap(jax.value_and_grad(numerics.log_minus_digamma)))(a)
    inverse = jax.jit(jax.vmap(jax.value_and_grad(numerics.log_minus_digamma_inverse)))
    found, inverse_slope = inverse(gap)
    np.testing.assert_allclose(found, a, rtol=2e-14)
    np.testing.assert_allclose(inverse_slope, 1 / slope, rtol=1e-12)


def test_digamma_near_zero_in_float32():
    x = np.float32([2e-38, 1e-30, 1e-10])
    np.testing.assert_allclose(jax.jit(numerics.digamma)(x), -1 / x, rtol=1e-6)
    # 1e-38 is subnormal, and may be taken for 0.
    assert jax.jit(numerics.digamma)(np.float32(1e-38)) <= np.float32(-9e37)
    assert jax.jit(numerics.digamma)(np.float32(0.0)) == -np.inf


@pytest.mark.parametrize("size", [3, 9])  # by elimination, and by eigenvalues
def test_log_det_remainder_against_numpy(size):
    random = np.random.default_rng(0)
    root = random.normal(size=(4, size, size))
    step = root + root.swapaxes(-1, -2)
    step *= 0.5 / np.abs(np.linalg.eigvalsh(step)).max()
    expected = np.trace(step, axis1=-2, axis2=-1) - np.linalg.slogdet(np.eye(size) + step)[1]
    value = jax.jit(numerics.log_det_remainder)(jnp.asarray(step))
    np.testing.assert_allclose(value, expected, rtol=1e-12)
    # No cancellation: for small C it is tr(C^2)/2 - tr(C^3)/3.
    small = 1e-9 * step
    leading = np.trace(small @ small, axis1=-2, axis2=-1) / 2
    np.testing.assert_allclose(numerics.log_det_remainder(jnp.asarray(small)), leading, rtol=1e-8)
    assert jnp.isnan(numerics.log_det_remainder(-2 * jnp.eye(size)))
    # Nearly singular, in coordinates that are not those of the eigenvalues.
    turn = np.linalg.qr(random.normal(size=(size, size)))[0]
    values = np.append(np.linspace(-0.5, 2.0, size - 1), -1 + 1e-6)
    edge = numerics.log_det_remainder(jnp.asarray((turn * values) @ turn.T))
    np.testing.assert_allclose(edge, np.sum(values - np.log1p(values)), rtol=1e-9)


def test_log_det_remainder_derivatives_where_eigenvalues_coincide():
    total = lambda matrix: numerics.log_det_remainder(matrix)
    at = 0.25 * jnp.eye(3)
    np.testing.assert_allclose(jax.grad(total)(at), 0.2 * np.eye(3), rtol=1e-14)
    # d^2/dt^2 along a direction: tr(S V S V) with S = inverse(I + C).
    direction = jnp.array([[0.0, 1.0, 0.0], [1.0, 0.0, 0.0], [0.0, 0.0, 2.0]])
    along = lambda t: total(at + t * direction)
    expected = float(jnp.sum(direction**2)) / 1.25**2
    np.testing.assert_allclose(jax.grad(jax.grad(along))(0.0), expected, rtol=1e-13)


def test_square_root_at_zero():
    x = jnp.array([0.0, 4.0])
    np.testing.assert_array_equal(numerics.sqrt_at_zero(x), [0, 2])
    np.testing.assert_array_equal(jax.vmap(jax.grad(numerics.sqrt_at_zero))(x), [0, 0.25])
    # A distance at coincident points.
    distance = lambda v: numerics.sqrt_at_zero(jnp.sum(v * v))
    np.testing.assert_array_equal(jax.grad(distance)(jnp.zeros(2)), [0, 0])
    assert jnp.isnan(numerics.sqrt_at_zero(-1.0))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_logs_of_ratios_keep_their_digits(dtype):
    generator = np.random.default_rng(5)
    size = 10 ** generator.uniform(-30, 30, 2000)
    other = size * (
        1 + 0.9 * generator.choice([-1, 1], 2000) * 10 ** generator.uniform(-7, 0, 2000)
    )
    share = generator.uniform(size=(2, 2000))
    pairs = [(size, other), (other / size, np.ones(2000)), tuple(share)]
    a, b = (np.concatenate(column).astype(dtype) for column in zip(*pairs, strict=True))
    p, q = share.astype(dtype)
    with mpmath.workdps(30):
        exact = lambda v: [mpmath.mpf(float(x)) for x in v]
        ratios = [float(mpmath.log(x / y)) for x, y in zip(exact(a), exact(b), strict=True)]
        rests = [
            float(mpmath.log((1 - x) / (1 - y))) for x, y in zip(exact(p), exact(q), strict=True)
        ]
    eps = np.finfo(dtype).eps
    np.testing.assert_allclose(numerics.log_ratio(a, b), ratios, rtol=4 * eps)
    np.testing.assert_allclose(numerics.log_complement_ratio(p, q), rests, rtol=16 * eps)
