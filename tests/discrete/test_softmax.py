"""Softmax, log-softmax and log-sum-exp at infinities, extremes and in half precision."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from igeojax.discrete import log_softmax, logsumexp, softmax

INF = np.inf
FUNCTIONS = (softmax, log_softmax, logsumexp)
SCIPY = {
    softmax: scipy.special.softmax,
    log_softmax: scipy.special.log_softmax,
    logsumexp: scipy.special.logsumexp,
}
LOG2 = float(np.log(2.0))

# A row, its softmax, its log-softmax and its log-sum-exp, by the conventions of the module.
CONVENTIONS = [
    ([-INF, -INF], [0, 0], [-INF, -INF], -INF),
    ([INF, 1.0], [1, 0], [0, -INF], INF),
    ([INF, INF], [0.5, 0.5], [-LOG2, -LOG2], INF),
    ([INF, -INF], [1, 0], [0, -INF], INF),
    ([-INF, 3.0], [0, 1], [-INF, 0], 3.0),
    ([5.0, 5.0], [0.5, 0.5], [-LOG2, -LOG2], 5 + LOG2),
    ([1e308, 0.0], [1, 0], [0, -1e308], 1e308),
    ([-1e308, -1e308], [0.5, 0.5], [-LOG2, -LOG2], -1e308),
]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_agrees_with_scipy(function, axis):
    logits = np.random.default_rng(0).normal(scale=30, size=(6, 7))
    expected = SCIPY[function](logits / 0.7, axis=axis)
    np.testing.assert_allclose(function(logits, 0.7, axis=axis), expected, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize(("row", "probabilities", "logs", "total"), CONVENTIONS)
def test_conventions_at_infinities_and_ties(row, probabilities, logs, total):
    row = jnp.asarray(row)
    np.testing.assert_allclose(softmax(row), probabilities, rtol=1e-15)
    np.testing.assert_allclose(log_softmax(row), logs, rtol=1e-15)
    np.testing.assert_allclose(logsumexp(row), total, rtol=1e-15)


DERIVATIVES = {
    (name, function): jax.jit(jax.vmap(transform(function)))
    for name, transform in (("forward", jax.jacfwd), ("reverse", jax.jacrev))
    for function in FUNCTIONS
}
HESSIAN = jax.jit(jax.vmap(jax.hessian(logsumexp)))


@pytest.mark.parametrize("transform", ["forward", "reverse"])
def test_gradients_at_infinities_and_ties(transform):
    rows = jnp.asarray([case[0] for case in CONVENTIONS])
    p = np.asarray([case[1] for case in CONVENTIONS], float)
    np.testing.assert_allclose(DERIVATIVES[transform, logsumexp](rows), p, atol=1e-15)
    covariance = p[:, :, None] * np.eye(2) - p[:, :, None] * p[:, None, :]
    np.testing.assert_allclose(DERIVATIVES[transform, softmax](rows), covariance, atol=1e-15)
    np.testing.assert_allclose(HESSIAN(rows), covariance, atol=1e-15)
    # Of a log-probability: identity minus p, and 0 for an impossible row.
    possible = p.sum(axis=1) > 0
    expected = np.where(possible[:, None, None], np.eye(2) - p[:, None, :], 0.0)
    np.testing.assert_allclose(DERIVATIVES[transform, log_softmax](rows), expected, atol=1e-15)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
def test_gradients_agree_with_finite_differences(function):
    logits = np.random.default_rng(1).normal(size=5)
    step = 1e-6
    loss = jax.jit(lambda z, t: jnp.sum(jnp.sin(function(z, t) * jnp.arange(1.0, 6.0))))
    in_logits, in_temperature = jax.jit(jax.grad(loss, argnums=(0, 1)))(jnp.asarray(logits), 0.8)
    for i in range(5):
        shift = step * np.eye(5)[i]
        difference = (loss(logits + shift, 0.8) - loss(logits - shift, 0.8)) / (2 * step)
        np.testing.assert_allclose(in_logits[i], difference, rtol=1e-6, atol=1e-8)
    difference = (loss(logits, 0.8 + step) - loss(logits, 0.8 - step)) / (2 * step)
    np.testing.assert_allclose(in_temperature, difference, rtol=1e-6, atol=1e-8)


def test_an_infinite_tangent_of_an_impossible_class_does_not_count():
    # The logits log p of a probability 0 move infinitely fast; softmax(log p) is p normalized.
    p, step = jnp.array([0.0, 0.25, 0.75]), jnp.array([0.5, 0.5, -1.0])
    through = lambda function: jax.jvp(lambda v: function(jnp.log(v)), (p,), (step,))
    np.testing.assert_allclose(through(logsumexp), (0, -0.5), atol=1e-15)
    value, slope = through(softmax)
    np.testing.assert_allclose(value, p, rtol=1e-15)
    np.testing.assert_allclose(slope, [0, 0.5 + 0.125, -1 + 0.375], rtol=1e-14)
    assert np.isfinite(through(log_softmax)[1][1:]).all()


def test_a_nan_stays_in_its_row():
    rows = jnp.array([[0.0, 1.0], [jnp.nan, 1.0], [jnp.nan, jnp.inf], [2.0, 2.0]])
    for function in FUNCTIONS:
        bad = np.isnan(np.asarray(function(rows)).reshape(4, -1))
        assert bad.any(axis=1).tolist() == [False, True, True, False]
    slope = jax.grad(lambda z: logsumexp(z)[jnp.array([0, 3])].sum())(rows)
    assert jnp.isfinite(slope[jnp.array([0, 3])]).all()


def test_gauge_invariance_and_bounds():
    logits = jnp.asarray(np.random.default_rng(2).normal(scale=5, size=(50, 9)))
    np.testing.assert_allclose(softmax(logits + 100.0), softmax(logits), rtol=1e-12)
    total, top = logsumexp(logits), logits.max(axis=-1)
    assert ((total >= top) & (total <= top + np.log(9))).all()
    flow = jax.grad(lambda z: jnp.sum(log_softmax(z)[:, 0]))(logits)
    np.testing.assert_allclose(flow.sum(axis=-1), np.zeros(50), atol=1e-14)
    # diag(p) - p p^T has no eigenvalue above one half.
    largest = np.linalg.eigvalsh(HESSIAN(logits)).max()
    assert largest <= 0.5 + 1e-12


def test_near_zero_log_sum_exp_keeps_its_digits():
    # log(1 - p + p) with the logits of (1 - e, e): log1p(exp(-40)).
    assert logsumexp(jnp.array([0.0, -40.0])) == pytest.approx(np.exp(-40.0), rel=1e-14, abs=0)
    large = jnp.array([1e9, 1e9 - 3.0])
    np.testing.assert_allclose(log_softmax(large)[0], -np.log1p(np.exp(-3.0)), rtol=1e-14)


@pytest.mark.parametrize("temperature", [1e-30, 1e-3, 1.0, 1e3, 1e30])
def test_extreme_temperatures(temperature):
    logits = jnp.array([1.0, 3.0, 3.0, -jnp.inf])
    p, slope = jax.jit(jax.value_and_grad(lambda t: softmax(logits, t)[1]))(temperature)
    if temperature <= 1e-3:
        assert p == 0.5
    if temperature >= 1e3:
        assert p == pytest.approx(1 / 3, rel=1e-2, abs=0)
    assert jnp.isfinite(slope)
    assert not jnp.isnan(softmax(logits, temperature)).any()
    assert softmax(logits, temperature)[3] == 0


@pytest.mark.parametrize("temperature", [1e-38, 1e-44, 1e-30])
def test_temperatures_at_the_edge_of_the_dtype(temperature):
    """The maximum leaves before the division, or both quotients would overflow and tie."""
    logits = jnp.asarray([10.0, 20.0, 20.0, -jnp.inf], jnp.float32)
    assert softmax(logits, temperature).tolist() == [0, 0.5, 0.5, 0]
    assert log_softmax(logits, temperature)[0] == (
        -np.float32(1e31) if temperature == 1e-30 else -INF
    )
    for function in (softmax, log_softmax, logsumexp):
        masked = lambda z, t, f=function: jnp.sum(jnp.where(jnp.isinf(f(z, t)), 0.0, f(z, t)))
        for slope in jax.jit(jax.grad(masked, argnums=(0, 1)))(logits, jnp.float32(temperature)):
            assert not jnp.isnan(slope).any()
    double = softmax(jnp.array([10.0, 20.0]), 1e-320)
    assert double.tolist() == [0, 1]


def test_a_traced_temperature_outside_its_domain():
    traced = jax.jit(softmax)
    assert traced(jnp.array([10.0, 20.0]), 0.0).tolist() == [0, 1]
    assert jnp.isnan(traced(jnp.array([10.0, 20.0]), -1.0)).all()
    assert jnp.isnan(traced(jnp.array([10.0, 20.0]), jnp.nan)).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("transform", [jax.jacfwd, jax.jacrev])
def test_derivative_of_a_class_that_is_all_but_certain(transform, dtype):
    # p_2 = 2^-50 / (1 + 2^-50): the derivative of log p_1 and of p_1 is a number of that size.
    z = jnp.asarray([0.0, np.log(2.0**-50)], dtype)
    small = 2.0**-50 / (1 + 2.0**-50)
    tolerance = 64 * np.finfo(dtype).eps
    jacobian = transform(softmax)(z)
    np.testing.assert_allclose(jacobian, small * np.array([[1, -1], [-1, 1]]), rtol=tolerance)
    logs = transform(log_softmax)(z)
    np.testing.assert_allclose(logs, [[small, -small], [-1, 1]], rtol=tolerance)


def test_temperature_may_be_traced_and_mapped():
    logits = jnp.array([0.5, -1.0, 2.0])
    temperatures = jnp.array([0.5, 1.0, 4.0])
    rows = jax.jit(jax.vmap(lambda t: log_softmax(logits, t)))(temperatures)
    expected = np.stack([scipy.special.log_softmax(logits / t) for t in (0.5, 1.0, 4.0)])
    np.testing.assert_allclose(rows, expected, rtol=1e-13)


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_dtype_is_kept_and_half_precision_accumulates_in_float32(dtype):
    zeros = jnp.zeros(100_000, dtype)
    total = logsumexp(zeros)
    eps = float(jnp.finfo(dtype).eps)
    assert total.dtype == dtype
    assert float(total) == pytest.approx(11.512925464970229, rel=eps, abs=0)
    p = softmax(zeros)
    assert p.dtype == dtype
    assert float(p[0]) == pytest.approx(1e-5, rel=max(4 * eps, 2**-24 / 1e-5), abs=0)
    assert log_softmax(zeros).dtype == dtype
    assert jax.grad(lambda z: logsumexp(z))(zeros).dtype == dtype


def test_float16_at_its_largest_logits():
    row = jnp.array([65504.0, 65504.0, -65504.0], jnp.float16)
    assert softmax(row).tolist() == [0.5, 0.5, 0.0]
    assert logsumexp(row) == 65504.0  # log 2 is below the rounding there
    assert log_softmax(row)[2] == -jnp.inf  # -131008.7 is beyond float16


def test_cross_entropy_of_an_impossible_class_without_label():
    logits, labels = jnp.array([-jnp.inf, 0.0, 0.0]), jnp.array([0.0, 0.5, 0.5])
    loss = lambda z: -jnp.sum(jnp.where(labels == 0, 0.0, labels * log_softmax(z)))
    value, slope = jax.value_and_grad(loss)(logits)
    assert value == pytest.approx(LOG2)
    np.testing.assert_allclose(slope, [0, 0, 0], atol=1e-15)


def test_masked_rows_of_attention():
    scores = jnp.array([[1e30, 1.0, 2.0], [1.0, 2.0, 3.0]])
    mask = jnp.array([[False, True, True], [False, False, False]])
    weights = lambda s: softmax(jnp.where(mask, s, -jnp.inf))
    np.testing.assert_allclose(
        weights(scores), [[0, *scipy.special.softmax([1.0, 2.0])], [0, 0, 0]], rtol=1e-15
    )
    slope = jax.jacrev(weights)(scores)
    assert jnp.isfinite(slope).all()
    assert (slope[..., 0] == 0).all()


def test_integers_and_lists_become_floating():
    np.testing.assert_allclose(softmax([0, 0]), [0.5, 0.5])
    assert softmax(np.array([1, 2])).dtype == jnp.float64


def test_batches_need_no_rank_promotion():
    logits = jnp.zeros((2, 3, 4))
    assert softmax(logits, axis=1).shape == (2, 3, 4)
    assert logsumexp(logits, axis=1).shape == (2, 4)
    assert log_softmax(logits, jnp.asarray(2.0), axis=0).shape == (2, 3, 4)


BAD = [
    (lambda f: f(3.0), ValueError, "at least one axis.*got a scalar.*Pass an array"),
    (lambda f: f([1.0], 0.0), ValueError, "temperature must be positive.*got 0.0.*argmax"),
    (lambda f: f([1.0], -2), ValueError, "temperature must be positive.*got -2.*argmax"),
    (lambda f: f([1.0], np.nan), ValueError, "temperature must be positive.*got nan.*argmax"),
    (lambda f: f([1.0, 2.0], [1.0, 2.0]), ValueError, r"scalar.*got shape \(2,\).*[Vv]map"),
    (lambda f: f(jnp.array([1j])), TypeError, "real.*got dtype complex.*Cast"),
    (lambda f: f(jnp.array([True])), TypeError, "real.*got dtype bool.*Cast"),
    (lambda f: f("ab"), TypeError, "number.*got str.*asarray"),
    (lambda f: f([1.0], temprature=2.0), TypeError, "unexpected keyword"),
]


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(function, call, error, message):
    with pytest.raises(error) as caught:
        call(function)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
