"""Entropy, its Bregman divergence and the distillation loss: high precision, boundaries, limits."""

import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax.discrete import distillation_loss, entropy_from_logits, log_sum_exp_bregman
from igeojax.discrete.relative_entropy import aligned_logits

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

INF = np.inf
RNG = np.random.default_rng(0)
PAIRS = [
    (np.array([0.0, 1.0, -2.0]), np.array([0.5, 0.5, 0.25])),
    (np.array([0.0, -40.0, -60.0]), np.array([0.0, -41.0, -59.0])),
    (np.array([300.0, 0.0, -300.0]), np.array([0.0, 200.0, 0.0])),
    (np.array([0.5, 0.25, 0.0]), np.array([0.5, 0.25 + 2.0**-20, 2.0**-22])),
    (np.array([1e4, 0.0, 0.0]), np.array([1e4, 0.5, -0.5])),
    (np.array([80.0, 0.0, -3.0]), np.array([0.0, 0.0, 80.0])),
]


def exact_law(logits):
    weights = [mpmath.exp(mpmath.mpf(float(z))) for z in logits]
    return [w / mpmath.fsum(weights) for w in weights]


def exact_kl(p, q):
    p, q = exact_law(p), exact_law(q)
    return mpmath.fsum(a * mpmath.log(a / b) for a, b in zip(p, q, strict=True))


def exact_gradients(p, q):
    a, b = exact_law(p), exact_law(q)
    value = exact_kl(p, q)
    in_p = [x * (mpmath.log(x / y) - value) for x, y in zip(a, b, strict=True)]
    return in_p, [y - x for x, y in zip(a, b, strict=True)]


def kl(p, q):
    return log_sum_exp_bregman(q, p, q - p)


KL = jax.jit(jax.vmap(jax.value_and_grad(kl, argnums=(0, 1))))
KL_FORWARD = jax.jit(jax.vmap(jax.jacfwd(kl, argnums=(0, 1))))


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_divergence_and_gradients_in_high_precision(dtype):
    # exp(-300) is no float32.
    pairs = [pair for pair in PAIRS if dtype == "float64" or pair[0][0] != 300]
    p, q = (jnp.asarray([pair[i] for pair in pairs], dtype) for i in (0, 1))
    value, slopes = KL(p, q)
    forward = KL_FORWARD(p, q)
    tolerance = 200 * np.finfo(dtype).eps
    with mpmath.workdps(600):
        for i, (first, second) in enumerate(pairs):
            np.testing.assert_allclose(float(value[i]), float(exact_kl(first, second)), tolerance)
            for exact, reverse, ahead in zip(
                exact_gradients(first, second), slopes, forward, strict=True
            ):
                exact = np.array([float(v) for v in exact])
                size = np.abs(exact).max()
                assert np.abs(reverse[i] - exact).max() <= tolerance * size
                assert np.abs(ahead[i] - exact).max() <= tolerance * size


def test_hessian_at_equal_points_is_the_covariance():
    z = jnp.array([0.3, -1.0, 0.7, -INF])
    p = np.asarray(jax.nn.softmax(z))
    covariance = np.diag(p) - np.outer(p, p)
    in_p, in_q = (jax.hessian(kl, argnums=i)(z, z) for i in (0, 1))
    np.testing.assert_allclose(in_q, covariance, atol=1e-15)
    np.testing.assert_allclose(in_p, covariance, atol=1e-15)
    mixed = jax.jacfwd(jax.grad(kl, argnums=0), argnums=1)(z, z)
    np.testing.assert_allclose(mixed, -covariance, atol=1e-15)


BOUNDARY = [
    ([0.0, 0.0, -INF], [0.0, 1.0, -INF]),
    ([0.0, 0.0, -INF], [0.0, 1.0, 2.0]),
    ([0.0, -INF, -INF], [0.0, 1.0, 2.0]),
    ([0.0, -INF, -INF], [0.0, -INF, -INF]),
    ([700.0, -700.0, 0.0], [0.0, 0.0, -INF]),
]


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_boundary_cases_have_finite_derivatives(dtype):
    p, q = (jnp.asarray([pair[i] for pair in BOUNDARY], dtype) for i in (0, 1))
    value, slopes = KL(p, q)
    assert np.isinf(value).tolist() == [False] * 4 + [dtype == "float64"]
    product = jax.jit(
        jax.vmap(
            lambda p, q: jax.jvp(
                jax.grad(kl, argnums=(0, 1)),
                (p, q),
                (jnp.ones(3, dtype), jnp.arange(3, dtype=dtype)),
            )[1]
        )
    )(p, q)
    for leaf in jax.tree.leaves((slopes, KL_FORWARD(p, q), product)):
        assert jnp.isfinite(leaf[:4]).all()
    np.testing.assert_allclose(
        value[:4],
        [0.12011451, np.log(0.5 + np.e / 2 + np.e**2 / 2) - 0.5, np.log(1 + np.e + np.e**2), 0.0],
        rtol=1e-6,
    )


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_entropy_in_high_precision(dtype):
    rows = [[0.0, 0.0, 0.0], [0.0, -40.0, -60.0], [5.0, 1.0, -3.0], [0.0, -70.0, -80.0]]
    value, slope = jax.jit(jax.vmap(jax.value_and_grad(entropy_from_logits)))(
        jnp.asarray(rows, dtype)
    )
    tolerance = 200 * np.finfo(dtype).eps
    with mpmath.workdps(80):
        for i, row in enumerate(rows):
            p = exact_law(row)
            exact = -mpmath.fsum(v * mpmath.log(v) for v in p)
            np.testing.assert_allclose(float(value[i]), float(exact), rtol=tolerance)
            gradient = np.array([float(-v * (mpmath.log(v) + exact)) for v in p])
            size = max(np.abs(gradient).max(), 0.1 if i == 0 else 0)
            assert np.abs(slope[i] - gradient).max() <= tolerance * size


def test_entropy_of_a_certain_class():
    z = jnp.array([[0.0, -INF], [-INF, 3.0], [0.0, -1e4]])
    value, slope = jax.vmap(jax.value_and_grad(entropy_from_logits))(z)
    np.testing.assert_array_equal(value, np.zeros(3))
    np.testing.assert_array_equal(slope, np.zeros((3, 2)))
    hessian = jax.vmap(jax.hessian(entropy_from_logits))(z)
    np.testing.assert_array_equal(hessian, np.zeros((3, 2, 2)))


LOSS = jax.jit(distillation_loss)


def test_distillation_by_definition():
    student, teacher = RNG.normal(size=(2, 6, 5))
    for t in (0.5, 1.0, 4.0):
        p, q = (jax.nn.softmax(z / t, axis=-1) for z in (teacher, student))
        expected = t**2 * np.sum(p * np.log(p / q), axis=-1)
        np.testing.assert_allclose(LOSS(student, teacher, t), expected, rtol=1e-12)
        slope = jax.grad(lambda z, t=t: LOSS(z, teacher, t).sum())(student)
        np.testing.assert_allclose(slope, t * (q - p), rtol=1e-10, atol=1e-13)


def test_distillation_keeps_its_digits():
    student = jnp.asarray([1.0, 2.0, 0.5], jnp.float32)
    step = 2.0**-12 * np.array([1.0, -1.0, 2.0])
    teacher = student + jnp.asarray(step, jnp.float32)
    # As t grows it is half the variance of the difference under uniform weights.
    limit = 0.5 * np.var(step)
    assert float(LOSS(student, teacher, 1e4)) == pytest.approx(limit, rel=1e-3, abs=0)
    assert float(LOSS(student, student, 3.0)) == 0
    for t in (1e-40, 1e-3, 1e15):
        value, slope = jax.value_and_grad(LOSS)(student, teacher, t)
        assert 0 <= value < INF
        assert jnp.isfinite(slope).all()


def test_distillation_at_impossible_classes():
    student, teacher = jnp.array([0.0, 1.0, -INF]), jnp.array([1.0, 0.0, -INF])
    value, slopes = jax.value_and_grad(LOSS, argnums=(0, 1))(student, teacher, 2.0)
    short, _ = jax.value_and_grad(LOSS, argnums=(0, 1))(student[:2], teacher[:2], 2.0)
    assert float(value) == pytest.approx(float(short), rel=1e-14, abs=0)
    assert jnp.isfinite(jnp.stack(slopes)).all()
    assert LOSS(student, jnp.zeros(3), 1.0) == INF


BAD = [
    (lambda: distillation_loss([0.0, 1.0], [0.0] * 3), ValueError, "one number.*2 and 3.*Select"),
    (lambda: distillation_loss([0.0], [0.0], 0), ValueError, "positive.*got 0"),
    (lambda: distillation_loss(0.0, [0.0]), ValueError, "student_logits.*at least one axis"),
    (lambda: distillation_loss("ab", [0.0]), TypeError, "student_logits.*number.*str"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_an_offset_and_an_irrelevant_class_cost_no_digits(dtype):
    generator, eps = np.random.default_rng(4), np.finfo(dtype).eps
    divergence = jax.jit(lambda z, w: log_sum_exp_bregman(*aligned_logits(w, z)))
    z, w = np.array([0.3, 1.2, -0.7], dtype), np.array([0.1, 1.5, -0.2], dtype)
    pairs = [(z + offset, w - offset) for offset in np.array([0, 1e2, 1e6], dtype)]
    # The third class is far likelier under w, and next to nothing under both.
    pairs.append((np.array([20, 5, -40], dtype), np.array([21, 5.5, 4], dtype)))
    for _ in range(40):
        z = (25 * generator.normal(size=3)).astype(dtype)
        pairs.append((z, (z + 15 * generator.normal(size=3)).astype(dtype)))
    with mpmath.workdps(200):
        for z, w in pairs:
            true = exact_kl(z, w)
            if true < np.finfo(dtype).tiny * 1e4:
                continue
            # exp of a step of size s multiplies its rounding by s.
            bound = 4 * eps * (1 + np.abs(z).max() + np.abs(w).max())
            assert abs(mpmath.mpf(float(divergence(z, w))) - true) <= bound * true, (z, w)
