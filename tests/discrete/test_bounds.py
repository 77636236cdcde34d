"""Bounds and Hessian of log-sum-exp against dense algebra in exact or high precision."""

import re
from fractions import Fraction

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.special

from igeojax.discrete import (
    logsumexp,
    logsumexp_bounds,
    logsumexp_hessian_matrix,
    logsumexp_hessian_matvec,
)

INF = np.inf


def test_bounds_hold_and_are_attained():
    z = np.random.default_rng(0).normal(scale=4, size=(200, 7))
    z[::3, :3] = -INF
    lower, upper = logsumexp_bounds(z)
    total = scipy.special.logsumexp(z, axis=-1)
    assert (lower <= total).all()
    assert (total <= upper + 1e-12).all()
    tie = logsumexp_bounds([2.0, 2.0, 2.0, -INF])
    assert float(tie.upper) == pytest.approx(
        float(logsumexp(jnp.array([2.0] * 3))), rel=1e-15, abs=0
    )
    lone = logsumexp_bounds([5.0, -INF])
    assert lone.lower == lone.upper == 5
    assert logsumexp_bounds([-INF, -INF]) == (-INF, -INF)
    assert logsumexp_bounds(np.zeros((2, 3)), axis=0).upper.shape == (3,)


def test_hessian_is_that_of_autodiff_and_of_matvec():
    z = np.random.default_rng(1).normal(scale=3, size=(5, 6))
    z[0, 1] = -INF
    p = scipy.special.softmax(z, axis=-1)
    expected = p[:, :, None] * np.eye(6) - p[:, :, None] * p[:, None, :]
    matrix = logsumexp_hessian_matrix(z)
    np.testing.assert_allclose(matrix, expected, atol=1e-15)
    found = jax.jit(jax.vmap(jax.hessian(logsumexp)))(z)
    np.testing.assert_allclose(matrix, found, atol=1e-15)
    v = np.random.default_rng(2).normal(size=(5, 6))
    product = logsumexp_hessian_matvec(z, v)
    np.testing.assert_allclose(product, np.einsum("bij,bj->bi", expected, v), atol=1e-15)
    np.testing.assert_allclose(product.sum(axis=-1), np.zeros(5), atol=1e-15)
    assert (logsumexp_hessian_matrix([-INF, -INF]) == 0).all()


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_a_class_that_is_all_but_certain_keeps_its_digits(dtype):
    # Odds 2^-60 and 2^-70: exact rational numbers against logits that are exact multiples of log 2.
    odds = [Fraction(1), Fraction(1, 2**60), Fraction(1, 2**70)]
    total = sum(odds)
    p = [float(odd / total) for odd in odds]
    exact = [
        [float(odds[i] / total * ((i == j) - odds[j] / total)) for j in range(3)] for i in range(3)
    ]
    z = jnp.asarray(np.log([1.0, 2.0**-60, 2.0**-70]), dtype)
    for found in (
        logsumexp_hessian_matrix(z),
        jax.jit(jax.hessian(logsumexp))(z),
        jax.jit(jax.jacrev(jax.grad(logsumexp)))(z),
        jnp.stack([logsumexp_hessian_matvec(z, row) for row in jnp.eye(3, dtype=dtype)]),
    ):
        # The logits themselves round: 48 log 2^-70 eps.
        tiny = np.finfo(dtype).tiny
        np.testing.assert_allclose(found, exact, rtol=120 * np.finfo(dtype).eps, atol=tiny)
    assert p[0] == 1.0


def test_common_motion_is_not_seen():
    z = jnp.array([0.0, -40.0, -50.0])
    moved = logsumexp_hessian_matvec(z, jnp.array([1e6, 1e6, 1e6 + 1]))
    assert float(moved[2]) == pytest.approx(np.exp(-50.0), rel=1e-9, abs=0)


def test_many_even_classes():
    z = jnp.zeros(10_000, jnp.float32)
    v = jnp.asarray(np.random.default_rng(3).normal(size=10_000) + 100, jnp.float32)
    exact = (np.asarray(v, float) - np.asarray(v, float).mean()) / 10_000
    found = np.asarray(logsumexp_hessian_matvec(z, v), float)
    assert np.abs(found - exact).max() <= 2e-5 * np.abs(exact).max()


BAD = [
    (lambda: logsumexp_bounds(1.0), ValueError, "at least one axis"),
    (lambda: logsumexp_hessian_matrix("a"), TypeError, "number.*str"),
    (
        lambda: logsumexp_hessian_matvec([0.0, 1.0], [1.0]),
        ValueError,
        r"shape.*\(1,\).*\(2,\).*Broad",
    ),
]


@pytest.mark.parametrize(("call", "error", "message"), BAD)
def test_bad_input(call, error, message):
    with pytest.raises(error) as caught:
        call()
    assert re.search(message, str(caught.value), re.DOTALL), str(caught.value)
