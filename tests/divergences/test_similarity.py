"""The similarity-sensitive divergence against its definition, KL, high precision and zeros."""

import re

import jax
import jax.numpy as jnp
import mpmath
import numpy as np
import pytest

from igeojax.divergences import simplex
from igeojax.divergences.similarity import similarity_sensitive_divergence as divergence
from tests.divergences.programs import vectors

INF = np.inf
POINTS = np.array([0.0, 0.3, 1.0, 2.5])
KERNEL = np.exp(-np.abs(POINTS[:, None] - POINTS[None, :]))
P, Q = vectors(0, 30), vectors(1, 30)
DIVERGENCE = jax.jit(divergence)


def test_definition_and_kl():
    ratio = (P @ KERNEL) / (Q @ KERNEL)
    expected = 1 + np.sum(P * np.log(ratio), axis=-1) - np.sum(Q * ratio, axis=-1)
    found = DIVERGENCE(P, Q, KERNEL)
    np.testing.assert_allclose(found, expected, rtol=1e-10)
    assert (found > 0).all()
    np.testing.assert_allclose(DIVERGENCE(P, Q, np.eye(4)), simplex.kl(P, Q), rtol=1e-12)
    # Where all outcomes are the same there is nothing to tell apart.
    np.testing.assert_allclose(DIVERGENCE(P, Q, np.ones((4, 4))), np.zeros(30), atol=1e-15)


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_near_laws_keep_their_digits(dtype):
    kernel = np.array([[1, 0.5, 0.25], [0.5, 1, 0.5], [0.25, 0.5, 1]], dtype)
    p = np.array([0.25, 0.25, 0.5], dtype)
    q = p + np.array([2.0**-18, -(2.0**-19), -(2.0**-19)], dtype)
    with mpmath.workdps(50):
        a, b = ([mpmath.mpf(float(v)) for v in row] for row in (p, q))
        near = lambda row: [
            mpmath.fsum(float(kernel[i, j]) * row[j] for j in range(3)) for i in range(3)
        ]
        ratio = [x / y for x, y in zip(near(a), near(b), strict=True)]
        exact = 1 + mpmath.fsum(
            x * mpmath.log(r) - y * r for x, y, r in zip(a, b, ratio, strict=True)
        )
    np.testing.assert_allclose(
        divergence(p, q, kernel), float(exact), rtol=64 * np.finfo(dtype).eps
    )
    assert divergence(p, p, kernel) == 0


def test_zeros():
    one_hot, half = [1.0, 0.0, 0.0], [0.5, 0.5, 0.0]
    identity = np.eye(3)
    assert float(divergence(one_hot, half, identity)) == pytest.approx(np.log(2))
    assert divergence(half, one_hot, identity) == INF
    # With overlap the same pair is finite.
    kernel = np.where(np.eye(3) == 1, 1.0, 0.5)
    assert 0 < divergence(half, one_hot, kernel) < INF
    for matrix in (identity, kernel):
        slopes = jax.jacrev(divergence, (0, 1))(
            jnp.array(one_hot), jnp.array(half), jnp.asarray(matrix)
        )
        assert all(jnp.isfinite(slope).all() for slope in slopes)


def test_gradient_and_batches():
    p, q, kernel = jnp.asarray(P[0]), jnp.asarray(Q[0]), jnp.asarray(KERNEL)
    push = jnp.array([0.3, -0.1, -0.3, 0.1])
    slope = jax.jit(jax.grad(divergence, (0, 1)))(p, q, kernel)
    for argument in (0, 1):
        value = lambda t, k=argument: DIVERGENCE(
            p + t * push * (k == 0), q + t * push * (k == 1), kernel
        )
        change = (value(1e-6) - value(-1e-6)) / 2e-6
        assert float(slope[argument] @ push) == pytest.approx(float(change), rel=1e-6, abs=0)
    assert divergence(P[:, None], Q[None, :3], KERNEL).shape == (30, 3)


def test_logits():
    logits = [jnp.log(v[:3]) + shift for v, shift in ((P, 3.0), (Q, -40.0))]
    value = jax.jit(lambda p, q: divergence(p, q, KERNEL, logits=True))
    np.testing.assert_allclose(value(*logits), DIVERGENCE(P[:3], Q[:3], KERNEL), rtol=1e-12)
    laws = lambda *logits: DIVERGENCE(*map(jax.nn.softmax, logits), KERNEL).sum()
    slopes = [jax.jit(jax.grad(f, (0, 1))) for f in (lambda p, q: value(p, q).sum(), laws)]
    found, expected = (slope(*logits) for slope in slopes)
    np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-14)
    # A step of 1e-12 keeps its digits: with K = I it is KL, half the variance of the step.
    step = 1e-12 * jnp.array([1.0, -2.0, 0.5, 0.0])
    p = jnp.array([0.25, 0.25, 0.125, 0.375])
    expected = 0.5 * float(p @ step**2 - (p @ step) ** 2)
    found = divergence(jnp.log(p), jnp.log(p) + step, jnp.eye(4), logits=True)
    assert float(found) == pytest.approx(expected, rel=1e-3, abs=0)
    impossible = divergence([0.0, -INF], [0.0, 0.0], jnp.eye(2), logits=True)
    assert float(impossible) == pytest.approx(np.log(2), rel=1e-15, abs=0)
    assert divergence([0.0, 0.0], [0.0, -INF], jnp.eye(2), logits=True) == INF
    with pytest.raises(ValueError, match="largest logit of q must be above -inf"):
        divergence([0.0, 0.0], [-INF, -INF], jnp.eye(2), logits=True)


BAD = [
    ((P[0], Q[0], KERNEL[:3]), ValueError, r"\(K, K\).*\(3, 4\)"),
    ((P[0], Q[0], 2 * KERNEL), ValueError, r"similarity.*\[0, 1\]; got 2.0"),
    ((P[0], Q[0], KERNEL - 0.01 * np.eye(4)), ValueError, "ones on its diagonal; got 0.99"),
    ((P[0], Q[0], np.tril(KERNEL)), ValueError, "symmetric.*mirror"),
    ((P[0], 2 * Q[0], KERNEL), ValueError, "q must sum to one"),
    (("ab", Q[0], KERNEL), TypeError, "number.*str"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), BAD)
def test_bad_input(arguments, error, message):
    with pytest.raises(error) as caught:
        divergence(*arguments)
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
