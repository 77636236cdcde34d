"""Score matching against closed forms, brute force, and laws whose normalizer is not told."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.optimize import minimize
from scipy.stats import gamma

from igeojax.estimation import (
    denoising_score_matching_loss,
    score_matching_estimate,
    score_matching_loss,
    sliced_score_matching_loss,
)

RNG = np.random.default_rng(0)
X = RNG.normal(size=(40, 3)) @ RNG.normal(size=(3, 3)) + np.array([1.0, -2.0, 0.5])
MATRIX = np.array([[2.0, 0.3, 0.0], [0.3, 1.0, -0.5], [0.0, -0.5, 1.5]])


def quartic(x):
    """`log p` up to a constant, with a full second derivative."""
    return -0.5 * x @ jnp.asarray(MATRIX) @ x - 0.1 * jnp.sum(x) ** 4


def loss_by_differences(x, step=1e-4):
    """The loss of `quartic` by finite differences of its values alone."""
    value = lambda z: -0.5 * z @ MATRIX @ z - 0.1 * np.sum(z) ** 4
    total = 0.0
    for row in x:
        for e in np.eye(3):
            plus, here, minus = value(row + step * e), value(row), value(row - step * e)
            total += 0.5 * ((plus - minus) / (2 * step)) ** 2 + (plus - 2 * here + minus) / step**2
    return total / len(x)


def test_the_loss_is_that_of_finite_differences():
    found = score_matching_loss(jax.grad(quartic), X)
    # Values up to 1e3 over step^2 leave eps * 1e3 / 1e-8.
    np.testing.assert_allclose(found, loss_by_differences(X), rtol=1e-4)


def test_slices_are_unbiased():
    exact = score_matching_loss(jax.grad(quartic), X)
    draw = lambda key: sliced_score_matching_loss(key, jax.grad(quartic), X)
    values = jax.vmap(draw)(jax.random.split(jax.random.key(0), 400))
    # Five standard errors: wrong by chance once in 1.7 million.
    assert abs(jnp.mean(values) - exact) < 5 * jnp.std(values) / 20
    assert jnp.std(values) > 0


def test_denoising_finds_the_blurred_score():
    """Of normal data: the best linear score has slope `-1 / (var + scale^2)`."""
    x = jnp.asarray(2.0 * RNG.normal(size=(20_000, 1)))
    key, scale = jax.random.key(1), 0.7
    loss = lambda slope: denoising_score_matching_loss(key, lambda y: slope * y, x, scale=scale)
    # The loss is quadratic in the slope: one Newton step is exact.
    slope, curvature = jax.grad(loss)(0.0), jax.grad(jax.grad(loss))(0.0)
    blurred = float(jnp.mean(x**2)) + scale**2
    # The slope's deviation is 1 / (scale sqrt(N blurred)), at most; five of them.
    assert abs(-slope / curvature + 1 / blurred) < 5 / (scale * (len(x) * blurred) ** 0.5)


def test_of_normal_laws_it_is_maximum_likelihood():
    """[Hyvarinen2005] section 3.1: the inverse of the sample covariance."""
    statistics = lambda x: {"x": x, "xx": jnp.outer(x, x)[jnp.triu_indices(3)]}
    theta = score_matching_estimate(statistics, X)
    precision = np.linalg.inv(np.cov(X, rowvar=False, bias=True))
    expected = (-precision + 0.5 * np.diag(np.diag(precision)))[np.triu_indices(3)]
    np.testing.assert_allclose(theta["xx"], expected, rtol=1e-8, atol=1e-10)
    np.testing.assert_allclose(theta["x"], precision @ X.mean(0), rtol=1e-8)


def test_weights_are_repetitions():
    statistics = lambda x: jnp.stack([x[0], x[0] ** 2])
    weights = np.array([3.0, 1.0, 2.0, 1.0])
    x = X[:4, :1]
    repeated = np.repeat(x, weights.astype(int), axis=0)
    np.testing.assert_allclose(
        score_matching_estimate(statistics, x, weights),
        score_matching_estimate(statistics, repeated),
        rtol=1e-8,
    )


def test_positive_data_against_brute_force():
    x = gamma(3.0, scale=0.5).rvs(200, random_state=1)
    found = score_matching_estimate(
        lambda x: jnp.stack([jnp.log(x[0]), x[0]]),
        x[:, None],
        log_base_measure=lambda x: -jnp.log(x[0]),
        boundary=lambda x: x**2,
    )

    def loss(theta):
        """Mean of `x^2 s^2 / 2 + (x^2 s)'` with `s = (a - 1) / x - b`."""
        a, b = theta
        score, slope = (a - 1) / x - b, -(a - 1) / x**2
        return np.mean(0.5 * x**2 * score**2 + 2 * x * score + x**2 * slope)

    best = minimize(loss, [1.0, 1.0], method="Nelder-Mead", options={"xatol": 1e-9, "fatol": 1e-13})
    np.testing.assert_allclose(found, [best.x[0], -best.x[1]], rtol=1e-5)


def test_parameters_come_back_without_the_normalizer():
    """`p(x) ~ exp(a x^2 - b x^4)`, two wells: no normalizer in closed form is told."""
    truth = np.array([1.0, -0.5])
    grid = np.linspace(-4, 4, 40_001)
    density = np.exp(truth[0] * grid**2 + truth[1] * grid**4)
    cumulated = np.cumsum(density) / np.sum(density)
    draws = np.interp(np.random.default_rng(2).random((50, 2000)), cumulated, grid)
    fit = jax.jit(
        jax.vmap(lambda x: score_matching_estimate(lambda x: jnp.stack([x[0] ** 2, x[0] ** 4]), x))
    )
    estimates = np.asarray(fit(jnp.asarray(draws)[..., None]))
    error = estimates.std(axis=0, ddof=1) / 50**0.5
    # Student's t of 49: beyond 6 with probability 2e-7; bias of order 1 / 2000 is a tenth of it.
    assert (np.abs(estimates.mean(axis=0) - truth) < 6 * error).all()
    assert (error < 0.02).all()


def test_float32_stays():
    theta = score_matching_estimate(lambda x: x[0] ** 2, jnp.asarray(X[:, :1], jnp.float32))
    assert theta.dtype == jnp.float32
    np.testing.assert_allclose(theta, -0.5 / np.mean(X[:, 0] ** 2), rtol=1e-5)


def test_float32_answers_to_a_few_percent_or_not_at_all():
    """The further from 0, the more x and x^2 are alike."""
    x = np.random.default_rng(3).normal(size=(500, 1))
    fit = jax.jit(lambda x: score_matching_estimate(lambda x: jnp.stack([x[0], x[0] ** 2]), x))
    found = [float(fit(jnp.asarray(x + far, jnp.float32))[1]) for far in (30, 100, 1000, 3000)]
    np.testing.assert_allclose(found[:2], -0.5 / np.var(x), rtol=0.03)
    assert np.isnan(found[2:]).all()


def test_bad_input_is_told():
    score = jax.grad(quartic)
    with pytest.raises(ValueError, match="one observation in each row"):
        score_matching_loss(score, X[0])
    with pytest.raises(ValueError, match=r"jax\.grad of a log-density"):
        score_matching_loss(quartic, X)
    with pytest.raises(ValueError, match="finite"):
        score_matching_loss(score, np.full((2, 3), np.nan))
    with pytest.raises(ValueError, match="num_slices"):
        sliced_score_matching_loss(jax.random.key(0), score, X, num_slices=0)
    with pytest.raises(ValueError, match="scale"):
        denoising_score_matching_loss(jax.random.key(0), score, X, scale=-1.0)
    with pytest.raises(ValueError, match="combinations"):
        score_matching_estimate(lambda x: jnp.stack([x[0], 2 * x[0]]), X)
    with pytest.raises(ValueError, match="one weight a coordinate"):
        score_matching_estimate(lambda x: x[0] ** 2, X, boundary=jnp.sum)
