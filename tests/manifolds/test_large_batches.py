"""Batches whose sums of rows are written out have the values and slopes of single points."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.manifolds import Lorentz, PoincareBall, Simplex, Sphere

ROWS = 4096  # from here on, see `igeojax.numerics.rows`
ANGLES = (0.0, 1e-30, 1e-12, 1e-5, 0.3, 1.5, 3.0, np.pi - 1e-4, np.pi - 1e-9, np.pi)
RADII = ((30, 29.5), (30, 10), (30, 0), (5, -30), (20, -1), (2, 1.999), (0.5, 0.4), (1e-20, 2e-20))


def circle() -> tuple[np.ndarray, np.ndarray]:
    """Points of the sphere, coincident to antipodal."""
    x = np.array([[0.6, 0.8, 0.0]] * len(ANGLES))
    y = np.stack([[0.6 * np.cos(a), 0.8 * np.cos(a), np.sin(a)] for a in ANGLES])
    return x, y


def rays() -> tuple[np.ndarray, np.ndarray]:
    """Points of the hyperboloid along an axis, near and far, and some askew."""
    point = lambda r: [np.cosh(r), 0.0, np.sinh(r)]
    askew = lambda r, a: [np.cosh(r), np.sinh(r) * np.cos(a), np.sinh(r) * np.sin(a)]
    x = np.stack([point(r) for r, _ in RADII] + [askew(r, 0.3) for r in (0.1, 2.0, 6.0)])
    y = np.stack([point(s) for _, s in RADII] + [askew(r, 0.7) for r in (0.2, 3.0, 5.0)])
    return x, y


def disk() -> tuple[np.ndarray, np.ndarray]:
    """Points of the ball, near and at its rim."""
    radii = np.tanh(0.5 * np.array([0.0, 1e-20, 0.5, 3.0, 8.0, 12.0]))
    x = np.stack([np.array([0.6, 0.8]) * r for r in radii])
    return x, np.concatenate([x[:1] + 1e-6, -x[1:3], x[3:] * 0.9])


def laws() -> tuple[np.ndarray, np.ndarray]:
    """Points of the simplex, equal, near and at faces."""
    x = np.array([[0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [0.0, 0.4, 0.6], [1.0, 0.0, 0.0]])
    y = np.array([[0.2, 0.3, 0.5], [0.2, 0.3 + 1e-6, 0.5 - 1e-6], [0.3, 0.0, 0.7], [0.0, 0.0, 1.0]])
    return x, y


CASES = {
    "Sphere": (Sphere(3), circle),
    "Lorentz": (Lorentz(2), rays),
    "PoincareBall": (PoincareBall(2), disk),
    "Simplex": (Simplex(3), laws),
}


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
@pytest.mark.parametrize("operation", ["distance", "log"])
@pytest.mark.parametrize("name", CASES)
def test_a_large_batch_is_its_points(name, operation, dtype):
    manifold, points = CASES[name]
    x, y = (jnp.asarray(v, dtype) for v in points())
    repeats = -(-ROWS // len(x))
    call = getattr(manifold, operation)
    value = jax.jit(call)
    slope = jax.jit(jax.grad(lambda x, y: jnp.sum(call(x, y)[..., -1] if operation == "log" else
                                                  call(x, y))))  # fmt: skip
    eps = float(jnp.finfo(dtype).eps)
    for function in (value, slope):
        small = np.asarray(function(x, y))
        large = np.asarray(function(jnp.tile(x, (repeats, 1)), jnp.tile(y, (repeats, 1))))
        large = large.reshape(repeats, *small.shape)
        assert np.isfinite(small).all()
        # Errors of the size that rounding of the points across their rays makes.
        size = np.abs(small).reshape(len(small), -1).max(1).reshape(-1, *[1] * (small.ndim - 1))
        spread = 1 + np.abs(np.asarray(x)).max(1).reshape(size.shape)
        error = np.abs(large - small).max(0)
        bad = ~(error <= 64 * eps * spread * size)
        assert not bad.any(), (small[bad], error[bad])
