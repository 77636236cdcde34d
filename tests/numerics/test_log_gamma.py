"""Log-gamma, its derivatives, inverses and remainders against mpmath, over the whole range."""

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax import numerics
from igeojax.numerics import multivariate_gamma as multivariate

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

DTYPES = ("float64", "float32")
POINTS = np.concatenate(
    [np.logspace(-9, 9, 37), np.linspace(0.3, 9, 30), [1, 2, 1 + 1e-6, 2 - 1e-6]]
)
TRUE = {
    "log_gamma": mpmath.loggamma,
    "digamma": mpmath.digamma,
    "trigamma": lambda x: mpmath.psi(1, x),
    "log_minus_digamma": lambda x: mpmath.log(x) - mpmath.digamma(x),
    "scaled_trigamma_excess": lambda x: x * mpmath.psi(1, x) - 1,
    "stirling_remainder": lambda x: (
        mpmath.loggamma(x) - (x - 0.5) * mpmath.log(x) + x - mpmath.log(2 * mpmath.pi) / 2
    ),
}


def exact(value) -> mpmath.mpf:
    return mpmath.mpf(float(value))


def worst(got, true) -> float:
    """Largest relative error; absolute where the truth is 0."""
    pairs = zip(np.ravel(got), true, strict=True)
    return max(float(abs(exact(g) - t) / (abs(t) if t != 0 else 1)) for g, t in pairs)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("name", sorted(TRUE))
def test_one_argument(name, dtype):
    x = POINTS.astype(dtype)
    if name == "digamma":
        # Relative to its parts near its zero.
        x = x[(x < 1.3) | (x > 1.6)]
    got = jax.jit(getattr(numerics, name))(x)
    assert got.dtype == dtype
    with mpmath.workdps(60):
        assert worst(got, [TRUE[name](exact(v)) for v in x]) <= 16 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_differences(dtype):
    x = POINTS[::3].astype(dtype)
    bound = 16 * np.finfo(dtype).eps
    for step in np.array([1e-9, 1e-3, 1, 1e6], dtype):
        steps = np.full_like(x, step)
        with mpmath.workdps(60):
            ends = [(exact(v), exact(v) + exact(step)) for v in x]
            change = [mpmath.digamma(high) - mpmath.digamma(low) for low, high in ends]
            drop = [mpmath.psi(1, low) - mpmath.psi(1, high) for low, high in ends]
            assert worst(jax.jit(numerics.digamma_step)(x, steps), change) <= bound
            assert worst(jax.jit(numerics.trigamma_drop)(x, steps), drop) <= bound


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("factor", [1 + 1e-6, 1.01, 0.7, 10, 1e-4, 1e8])
def test_remainder_of_the_shape(factor, dtype):
    a, b = POINTS[:37].astype(dtype), (POINTS[:37] * factor).astype(dtype)
    rest = lambda x: mpmath.loggamma(x) - x * mpmath.log(x) + x
    slope = lambda x: mpmath.digamma(x) - mpmath.log(x)
    with mpmath.workdps(80):
        pairs = [(exact(x), exact(y)) for x, y in zip(a, b, strict=True)]
        true = [rest(x) - rest(y) - (x - y) * slope(y) for x, y in pairs]
        assert worst(jax.jit(numerics.shape_bregman)(a, b), true) <= 40 * np.finfo(dtype).eps


@pytest.mark.parametrize("dtype", DTYPES)
def test_digamma_inverse(dtype):
    y = np.concatenate([-np.logspace(-3, 9, 40), np.logspace(-3, 1.9, 40)]).astype(dtype)
    x = jax.jit(numerics.digamma_inverse)(y)
    with mpmath.workdps(60):
        # One Newton step of high precision is the error.
        error = [
            abs((mpmath.digamma(exact(v)) - exact(u)) / mpmath.psi(1, exact(v)) / exact(v))
            for u, v in zip(y, x, strict=True)
        ]
    assert float(max(error)) <= 4 * np.finfo(dtype).eps
    ends = numerics.digamma_inverse(jnp.array([-jnp.inf, jnp.inf, jnp.nan], dtype))
    np.testing.assert_array_equal(ends, [0, np.inf, np.nan])
    slope = jax.grad(numerics.digamma_inverse)(np.asarray(1.0, dtype))
    root = numerics.digamma_inverse(np.asarray(1.0, dtype))
    np.testing.assert_allclose(slope * numerics.trigamma(root), 1, rtol=4 * np.finfo(dtype).eps)


@pytest.mark.parametrize(
    "a", [[1e-6, 3.0], [0.2, 1e-4, 50.0], [1e6, 1e-3], [8.0, 9.0, 10.0], [300.0, 200.0]]
)
def test_dirichlet_mean_logs_and_their_inverse(a):
    a = np.array(a)
    logs = numerics.dirichlet_mean_logs(a)
    with mpmath.workdps(60):
        total = mpmath.fsum(map(exact, a))
        true = [mpmath.digamma(exact(v)) - mpmath.digamma(total) for v in a]
        assert worst(logs, true) <= 1e-15
    back = jax.jit(numerics.dirichlet_mean_logs_inverse)(logs)
    np.testing.assert_allclose(back, a, rtol=1e-15 * (100 + a.sum()))
    # The derivative of the inverse is the inverse of the derivative.
    metric = jax.jacfwd(numerics.dirichlet_mean_logs)(a)
    slope = jax.jacrev(numerics.dirichlet_mean_logs_inverse)(logs)
    np.testing.assert_allclose(slope @ metric, np.eye(a.size), atol=1e-9 * a.max())
    solved = numerics.dirichlet_metric_solve(a, metric[0])
    # The right-hand side itself is rounded, which the condition number of the metric multiplies.
    rounding = 8 * 2.3e-16 * np.linalg.cond(metric)
    np.testing.assert_allclose(solved, np.eye(a.size)[0], atol=1e-9 * a.max() + rounding)


def test_mean_logs_of_no_law():
    degenerate = jnp.array([[jnp.log(0.25), jnp.log(0.75)], [-1.0, 0.5], [-jnp.inf, -1.0]])
    found = np.asarray(numerics.dirichlet_mean_logs_inverse(degenerate))
    assert np.isinf(found[0]).all()
    assert np.isnan(found[1:]).all()


def test_dirichlet_bregman_of_a_tiny_entry():
    """Where one concentration dominates, the rest must not drown in its rounding."""
    cases = [([2e6, 1e-3], [1e6, 1.001e-3]), ([1e-9, 1.5], [1.001e-9, 1.7]), ([1e-6, 7e3], [6, 5])]
    for a, b in cases:
        a, b = np.array(a, float), np.array(b, float)
        with mpmath.workdps(80):
            p, q = list(map(exact, a)), list(map(exact, b))
            potential = lambda v: mpmath.fsum(map(mpmath.loggamma, v)) - mpmath.loggamma(sum(v))
            logs = [mpmath.digamma(v) - mpmath.digamma(sum(q)) for v in q]
            slope = mpmath.fsum(g * (x - y) for g, x, y in zip(logs, p, q, strict=True))
            true = potential(p) - potential(q) - slope
        assert worst(numerics.dirichlet_bregman(a, b, a - b), [true]) <= 1e-11
    one = jnp.array([2.0, 3.0])
    assert numerics.dirichlet_bregman(one, one, one - one) == 0
    # The Hessian at equal points is the metric, not half of it.
    curvature = jax.hessian(lambda v: numerics.dirichlet_bregman(v, one, v - one))(one)
    np.testing.assert_allclose(curvature, jax.jacfwd(numerics.dirichlet_mean_logs)(one), rtol=1e-12)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("dim", [1, 2, 5])
def test_multivariate_gamma(dim, dtype):
    eps, edge = np.finfo(dtype).eps, (dim - 1) / 2
    a = (edge + np.array([1e-3, 0.1, 0.5, 1, 3, 100, 1e4, 1e7])).astype(dtype)
    sums = lambda f, x: mpmath.fsum(f(x - mpmath.mpf(j) / 2) for j in range(dim))
    with mpmath.workdps(60):
        gap = [dim * mpmath.log(exact(v)) - sums(mpmath.digamma, exact(v)) for v in a]
        found = multivariate.multivariate_log_minus_digamma(a, dim)
        assert worst(found, gap) <= 16 * eps
        back = multivariate.multivariate_log_minus_digamma_inverse(found, dim)
        np.testing.assert_allclose(back, a, rtol=16 * eps)
        rest = lambda x: sums(mpmath.loggamma, x) - dim * (x * mpmath.log(x) - x)
        slope = lambda x: sums(mpmath.digamma, x) - dim * mpmath.log(x)
        for factor in (1.0001, 1.7, 0.3, 30):
            b = (edge + (a - edge) * factor).astype(dtype)
            pairs = [(exact(x), exact(y)) for x, y in zip(a, b, strict=True)]
            true = [rest(x) - rest(y) - (x - y) * slope(y) for x, y in pairs]
            got = multivariate.multivariate_shape_bregman(a, b, a - b, dim)
            assert worst(got, true) <= 40 * eps
