"""Charts of the simplex: round trips, isometries, dense algebra, boundaries, bad input."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from igeojax import discrete

P = np.random.default_rng(0).dirichlet(np.full(6, 0.6), 50)
CHARTS = ("logits", "minimal", "centered_log_ratio", "isometric_log_ratio", "sphere")


def chart(name):
    return getattr(discrete, f"{name}_from_probs"), getattr(discrete, f"probs_from_{name}")


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("name", CHARTS)
def test_round_trip(name, dtype):
    forward, backward = chart(name)
    p = jnp.asarray(P, dtype)
    back = jax.jit(lambda v: backward(forward(v)))(p)
    assert back.dtype == dtype
    np.testing.assert_allclose(
        back, p, rtol=2e2 * np.finfo(dtype).eps, atol=4 * np.finfo(dtype).eps
    )
    np.testing.assert_allclose(np.asarray(back, float).sum(axis=-1), np.ones(50), rtol=1e-6)


def test_log_ratios_by_dense_algebra():
    logs = np.log(P)
    centered = logs - logs.mean(axis=-1, keepdims=True)
    np.testing.assert_allclose(discrete.centered_log_ratio_from_probs(P), centered, rtol=1e-12)
    # scipy's Helmert rows are (1, .., 1, -k, 0, ..) / sqrt(k (k + 1)).
    basis = scipy.linalg.helmert(6)
    isometric = discrete.isometric_log_ratio_from_probs(P)
    np.testing.assert_allclose(isometric, logs @ basis.T, rtol=1e-11, atol=1e-12)
    y = np.random.default_rng(1).normal(size=(4, 5))
    expected = np.exp(y @ basis)
    expected /= expected.sum(axis=-1, keepdims=True)
    np.testing.assert_allclose(discrete.probs_from_isometric_log_ratio(y), expected, rtol=1e-13)


def fisher(p):
    """The metric in minimal coordinates."""
    return np.diag(1 / p[:-1]) + 1 / p[-1]


@pytest.mark.parametrize("name", ["sphere", "logits", "centered_log_ratio"])
def test_metric_is_the_pullback(name):
    p = np.array([0.1, 0.2, 0.3, 0.4])
    embed = lambda m: chart(name)[0](discrete.probs_from_minimal(m))
    jacobian = np.asarray(jax.jacfwd(embed)(jnp.asarray(p[:-1])))
    # On the sphere it is Euclidean, in logits the covariance diag(p) - p p^T.
    metric = np.eye(4) if name == "sphere" else np.diag(p) - np.outer(p, p)
    np.testing.assert_allclose(jacobian.T @ metric @ jacobian, fisher(p), rtol=1e-12)


def test_boundary():
    corner = np.array([1.0, 0.0, 0.0])
    for name in ("logits", "minimal", "sphere"):
        forward, backward = chart(name)
        np.testing.assert_array_equal(backward(forward(corner)), corner)
    slope = jax.jacrev(discrete.sphere_from_probs)(jnp.array(corner))
    np.testing.assert_array_equal(slope, np.diag([1.0, 0.0, 0.0]))
    product = jax.jvp(
        jax.grad(lambda v: jnp.sum(discrete.sphere_from_probs(v) ** 3)),
        (jnp.array(corner),),
        (jnp.array([0.0, 1.0, -1.0]),),
    )[1]
    assert jnp.isfinite(product).all()


def test_sphere_takes_any_radius():
    x = jnp.array([3e200, -4e200])
    np.testing.assert_allclose(discrete.probs_from_sphere(x), [9 / 25, 16 / 25], rtol=1e-15)
    slope = jax.jacfwd(discrete.probs_from_sphere)(jnp.array([3.0, 4.0]))
    expected = np.array([[96, -72], [-96, 72]]) / 625
    np.testing.assert_allclose(slope, expected, rtol=1e-13)


BAD = [
    (lambda: discrete.logits_from_probs([0.5, 0.6]), ValueError, "sum to one.*got a sum of 1.1"),
    (lambda: discrete.minimal_from_probs([1.5, -0.5]), ValueError, "non-negative; got -0.5"),
    (
        lambda: discrete.probs_from_minimal([0.7, 0.6]),
        ValueError,
        r"non-negative; got -0\.29.*last",
    ),
    (
        lambda: discrete.centered_log_ratio_from_probs([1.0, 0.0]),
        ValueError,
        r"positive.*got 0.0 at index \(1,\).*Log-ratios",
    ),
    (
        lambda: discrete.isometric_log_ratio_from_probs([1.0, 0.0]),
        ValueError,
        "positive.*add counts",
    ),
    (lambda: discrete.probs_from_sphere([0.0, 0.0]), ValueError, "nonzero; got 0.0.*origin"),
    (lambda: discrete.probs_from_logits(1.0), ValueError, "at least one axis"),
    (lambda: discrete.sphere_from_probs([True, False]), TypeError, "real.*bool"),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)


def test_logits_of_an_impossible_class_have_a_finite_derivative():
    jacobian = jax.jacrev(discrete.logits_from_probs)(jnp.array([0.25, 0.75, 0.0]))
    np.testing.assert_allclose(jacobian, np.diag([4, 4 / 3, 0]), rtol=1e-15)
