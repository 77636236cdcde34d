"""Sums and norms of rows: written out or not, of any size the dtype holds."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.numerics import norm_at_zero, row_norm, row_sum

SHAPES = [(7,), (5, 7), (4096, 7), (3, 2048, 2), (4096, 16), (4096, 17), (5000, 1), (4096, 0)]
term = lambda x, y, c: x * (y - c * x)


def arrays(shape: tuple[int, ...]) -> tuple[jax.Array, jax.Array, jax.Array]:
    keys = jax.random.split(jax.random.key(len(shape)), 3)
    shapes = (shape, shape, shape[:-1])
    x, y, c = (jax.random.normal(k, s) for k, s in zip(keys, shapes, strict=True))
    return x, y, c


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_sum_is_that_of_numpy_with_its_derivatives(shape):
    x, y, c = arrays(shape)
    a, b, number = (np.asarray(v) for v in (x, y, c[..., None]))
    found, gradients = jax.jit(jax.value_and_grad(lambda *v: row_sum(term, *v).sum(), (0, 1, 2)))(
        x, y, c
    )
    np.testing.assert_allclose(row_sum(term, x, y, c), (a * (b - number * a)).sum(-1), atol=1e-12)
    np.testing.assert_allclose(found, (a * (b - number * a)).sum(), rtol=1e-10)
    np.testing.assert_allclose(gradients[0], b - 2 * number * a, atol=1e-12)
    np.testing.assert_allclose(gradients[1], a, atol=1e-12)
    np.testing.assert_allclose(gradients[2], -(a**2).sum(-1), atol=1e-12)


@pytest.mark.parametrize("rows", [3, 4096])
@pytest.mark.parametrize(
    ("dtype", "sizes"),
    [(jnp.float32, (1e-36, 1e-20, 1e-16, 1.0, 1e18, 1e19, 1e37)),
     (jnp.float64, (1e-300, 1e-160, 1e-140, 1.0, 1e150, 1e300))],
    ids=["float32", "float64"],
)  # fmt: skip
def test_a_norm_neither_overflows_nor_vanishes(rows, dtype, sizes):
    x = jax.random.normal(jax.random.key(0), (rows, 7), dtype)
    # Squares of float64 numbers of one size: in long double they neither overflow nor vanish.
    for size in sizes:
        scaled = (size * x).astype(dtype)
        wide = np.asarray(scaled, np.longdouble)
        expected = np.sqrt((wide**2).sum(-1))
        found = row_norm(lambda x: x, scaled)
        assert found.dtype == dtype
        np.testing.assert_allclose(found, expected, rtol=4 * float(jnp.finfo(dtype).eps))
        slope = jax.grad(lambda v: row_norm(lambda x: x, v).sum())(scaled)
        np.testing.assert_allclose(
            slope, wide / expected[:, None], atol=8 * float(jnp.finfo(dtype).eps)
        )


@pytest.mark.parametrize("rows", [1, 4096])
def test_the_norm_of_nothing_has_derivative_zero(rows):
    zero = jnp.zeros((rows, 3))
    for norm in (lambda v: row_norm(lambda x: x, v), norm_at_zero):
        assert (norm(zero) == 0).all()
        assert (jax.grad(lambda v, norm=norm: norm(v).sum())(zero) == 0).all()


def test_what_is_not_finite_stays_so():
    x = jnp.array([[jnp.inf, 1.0], [jnp.nan, 1.0], [3.0, 4.0]])
    np.testing.assert_array_equal(norm_at_zero(x), [jnp.inf, jnp.nan, 5.0])
