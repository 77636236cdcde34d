"""Passes over the data in blocks against sums of NumPy over all of them."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.estimation._unmixing_steps import Rows, moments_of, sum_of_blocks
from igeojax.estimation.ica import _mean_and_covariance


@pytest.mark.parametrize("count", [7, 32_768, 50_001])
def test_sums_of_blocks_that_do_and_do_not_fit(count):
    """50,001 rows of two make two blocks that share fifteen rows."""
    rng = np.random.default_rng(0)
    values = rng.laplace(size=(count, 2)) + 3
    total, cross = sum_of_blocks(
        lambda rows: (jnp.sum(rows, axis=0), rows.T @ rows), jnp.asarray(values), jnp.ones(2)
    )
    np.testing.assert_allclose(total, (values - 1).sum(0), rtol=1e-12)
    np.testing.assert_allclose(cross, (values - 1).T @ (values - 1), rtol=1e-12)
    whitening, matrix = rng.normal(size=(2, 2, 2)) / 2
    found = moments_of(Rows(*map(jnp.asarray, (values, np.ones(2), whitening))), matrix)
    y = (values - 1) @ whitening.T @ matrix.T
    tanh = np.tanh(y)
    np.testing.assert_allclose(found.product, tanh.T @ y / count, rtol=1e-12)
    np.testing.assert_allclose(found.slope, 1 - (tanh**2).mean(0), rtol=1e-10)
    np.testing.assert_allclose(found.log_cosh, np.log(np.cosh(y)).mean(0), rtol=1e-12)


def test_mean_and_covariance_of_data_far_from_zero():
    """In float32, to the last digit of the mean: the second pass is about it."""
    x = np.random.default_rng(1).normal(size=(200_000, 2)).astype(np.float32) + np.float32(1000)
    mean, covariance = jax.jit(_mean_and_covariance)(jnp.asarray(x))
    eps = np.finfo(np.float32).eps
    exact = x.astype(float)
    np.testing.assert_allclose(mean, exact.mean(0), rtol=eps)
    np.testing.assert_allclose(covariance, np.cov(exact.T, bias=True), atol=1e-4)
