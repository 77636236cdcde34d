"""Mean, variance and mode of the data of each family, by sums and quadrature."""

import functools
from typing import Any

import jax
import numpy as np
import pytest

from igeojax.families import FAMILIES
from tests.laws.programs import natural, nodes, quantities
from tests.laws.test_density import mass

# Compile time: the default lane stays under ten minutes on two cores.
pytestmark = pytest.mark.slow

# Squares of a heavy tail, of which the nodes leave out a part.
TOLERANCE = dict.fromkeys(("InverseWishart", "NormalInverseGamma", "NormalInverseWishart"), 1e-5)


@functools.cache
def summary(name: str) -> dict[str, Any]:
    """Mean, variance and mode of the batch of points."""
    family = FAMILIES[name].family
    compiled = jax.jit(
        lambda theta: {
            "mean": family.mean(theta),
            "variance": family.variance(theta),
            "mode": family.mode(theta),
        }
    )
    return jax.tree.map(np.asarray, compiled(natural(name, 0)))


def average(name: str, values: np.ndarray) -> np.ndarray:
    """The mean over the law of values at the nodes, axes of the event last."""
    return np.einsum("bm,bm...->b...", mass(name), values)


def test_mean_and_variance(name):
    found, x = summary(name), nodes(name)[0]
    if name == "VonMises":
        cosine, sine = average(name, np.cos(x)), average(name, np.sin(x))
        np.testing.assert_allclose(found["mean"], np.arctan2(sine, cosine), rtol=1e-10)
        np.testing.assert_allclose(found["variance"], 1 - np.hypot(cosine, sine), rtol=1e-10)
        return
    rows = zip(*map(jax.tree.leaves, (x, found["mean"], found["variance"])), strict=True)
    for leaf, mean, variance in rows:
        expected = average(name, leaf)
        square = average(name, (leaf - expected[:, None]) ** 2)
        size = np.sqrt(square.max())
        np.testing.assert_allclose(mean, expected, rtol=1e-9, atol=1e-9 * size)
        np.testing.assert_allclose(variance, square, rtol=TOLERANCE.get(name, 1e-9))


def test_mode_is_the_likeliest_observation(name):
    """Of all nodes, and of points a thousandth of the way to them."""
    family, theta, x = FAMILIES[name].family, natural(name, 0), nodes(name)[0]
    mode = summary(name)["mode"]
    density = jax.jit(jax.vmap(family.log_density))
    as_data = lambda leaf, row: leaf.astype(row.dtype) if row.dtype.kind == "i" else leaf
    mode = jax.tree.map(as_data, mode, x)
    inside = np.asarray(jax.vmap(family.in_support)(mode))
    # At an end that is not in the support the density has its limit: a point close by.
    if not inside.all():
        mode = np.where(inside, mode, mode + 1e-12)
    near = jax.tree.map(functools.partial(towards, name), mode, x)
    every = jax.tree.map(lambda m, row: np.concatenate([m[:, None], row], 1), mode, near)
    values = np.asarray(density(theta, every))
    peak, close = values[:, :1], values[:, 1:]
    slack = 1e-12 * (1 + np.abs(peak))
    assert np.isfinite(peak).all()
    assert (close <= peak + slack).all()
    far = quantities(name)["log_density"]
    if not inside.all():
        far = np.where(x > 1e-12, far, -np.inf)
    assert (far <= peak + slack).all()


def towards(name: str, mode: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Observations between the mode and each node; supports are convex but for the sphere."""
    if x.dtype.kind == "i":
        return x
    step = mode[:, None] + 1e-3 * (x - mode[:, None])
    if name == "VonMisesFisher":
        return step / np.sqrt(np.sum(step**2, axis=-1, keepdims=True))
    return step
