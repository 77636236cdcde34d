"""Frames one after another, and what laws of one covariance share in frames of their own."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import families
from igeojax.families.frames import Frame, composed, inverted

DIM = 3
NORMALS = [
    families.Normal(),
    families.IsotropicNormal(DIM),
    families.DiagonalNormal(DIM),
    families.MultivariateNormal(DIM),
    families.Product((families.MultivariateNormal(DIM), families.Poisson(), families.Normal())),
    families.Poisson(),
]


@pytest.mark.parametrize("family", NORMALS, ids=str)
def test_composed_frames_standardize_one_after_the_other(family):
    def drawn(seed):
        generator = np.random.default_rng(seed)
        draw = lambda shape: jnp.asarray(generator.normal(size=(9, *shape)))
        shapes = (
            family.event_shape if isinstance(family, families.Product) else (family.event_shape,)
        )
        x = tuple(map(draw, shapes))
        return x if isinstance(family, families.Product) else x[0]

    x = drawn(0)
    outer, inner = (family.frame_of(family._fit(drawn(seed), None)) for seed in (1, 2))
    both = composed(outer, inner)
    expected = family.standardized(family.standardized(x, outer), inner)
    same = lambda one, two: np.testing.assert_allclose(one, two, rtol=1e-12, atol=1e-12)
    jax.tree.map(same, family.standardized(x, both), expected)
    jax.tree.map(same, family.standardized(expected, inverted(both)), x)
    volume = family.log_volume(outer) + family.log_volume(inner)
    np.testing.assert_allclose(family.log_volume(both), volume, rtol=1e-12)


@pytest.mark.parametrize("seed", range(3))
def test_a_shared_covariance_of_condition_1e6_keeps_its_digits(seed):
    family, generator = families.MultivariateNormal(DIM), np.random.default_rng(seed)
    axes = np.linalg.qr(generator.normal(size=(DIM, DIM)))[0] * np.array([1.0, 0.5, 1e-3])
    inverse = np.linalg.cholesky(np.linalg.inv(axes @ axes.T)).T
    stacked = lambda leaf: jnp.asarray(np.stack([leaf] * 2), jnp.float32)
    frames = Frame(*map(stacked, (np.zeros(DIM), np.linalg.inv(inverse), inverse)))
    change = generator.normal(size=(2, DIM, DIM))
    inside = np.eye(DIM) + 1e-2 * (change + np.swapaxes(change, 1, 2))
    eta = family.Point(stacked(np.zeros(DIM)), jnp.asarray(inside, jnp.float32))
    found = family.shared(jnp.full(2, 0.5, jnp.float32), eta, frames).xx
    # A frame and its inverse in float32 undo each other to a thousand units in the last place.
    bound = 1000 * np.finfo(np.float32).eps
    np.testing.assert_allclose(found, np.stack([inside.mean(axis=0)] * 2), atol=bound)
