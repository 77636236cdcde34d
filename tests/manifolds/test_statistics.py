"""Fréchet means and principal directions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.manifolds import (
    Euclidean,
    Lorentz,
    PoincareBall,
    ProductManifold,
    Simplex,
    Sphere,
    SymmetricPositiveDefinite,
    frechet_mean,
    statistics,
    tangent_pca,
)

WEIGHTS = np.array([1.0, 2.0, 0.5, 1.0, 0.0])
MANIFOLDS = [
    Euclidean(2),
    PoincareBall(2, curvature=-2.0),
    Simplex(3),
    SymmetricPositiveDefinite(2),
    ProductManifold((PoincareBall(1), Euclidean(1))),
]


def cloud(manifold, count=5):
    return manifold.random_point(jax.random.key(3), (count,))


def first(tree, index=0):
    return jax.tree.map(lambda leaf: leaf[index], tree)


@pytest.mark.parametrize("manifold", MANIFOLDS, ids=lambda m: type(m).__name__)
def test_the_mean_is_least_and_its_variance_is_in_the_directions(manifold):
    points = cloud(manifold)
    pca = tangent_pca(manifold, points, WEIGHTS)
    assert pca.converged
    squares = jax.jit(lambda x: jnp.sum(WEIGHTS * manifold.distance(x, points) ** 2))
    least = float(squares(pca.mean))
    u = manifold.random_tangent(jax.random.key(5), pca.mean)
    near = lambda step: manifold.exp(pca.mean, jax.tree.map(lambda v: step * v, u))
    assert min(squares(near(1e-3)), squares(near(-1e-3))) > least
    assert pca.variances.sum() == pytest.approx(least / WEIGHTS.sum(), rel=1e-12, abs=0)
    assert (np.diff(pca.variances) <= 0).all()
    # Orthonormal, and with the coordinates they give the points back.
    size = manifold.dimension
    rows = np.repeat(np.arange(size)[:, None], size, axis=1)
    gram = manifold.inner(pca.mean, first(pca.directions, rows), first(pca.directions, rows.T))
    assert np.allclose(gram, np.eye(size), rtol=0, atol=1e-13)
    velocity = jax.tree.map(lambda d: jnp.tensordot(pca.coordinates, d, 1), pca.directions)
    back = manifold.exp(pca.mean, velocity)
    assert np.allclose(manifold.distance(back, points), 0, atol=1e-7)


def test_principal_directions_of_flat_space():
    x = np.random.default_rng(0).standard_normal((20, 2)) @ np.diag([3.0, 0.5])
    pca = tangent_pca(Euclidean(2), x, num_directions=1)
    values, vectors = np.linalg.eigh(np.cov(x.T, bias=True))
    assert pca.variances[0] == pytest.approx(values[-1], rel=1e-12, abs=0)
    assert abs(pca.directions[0] @ vectors[:, -1]) == pytest.approx(1, rel=0, abs=1e-12)
    assert pca.coordinates.shape == (20, 1)


def test_directions_at_a_mean_that_was_not_found_say_so(monkeypatch):
    few = functools.partial(frechet_mean, max_steps=1)
    monkeypatch.setattr(statistics, "frechet_mean", few)
    points = cloud(Sphere(3))
    assert not few(Sphere(3), points).converged
    assert not tangent_pca(Sphere(3), points).converged


def test_known_means():
    # On commuting matrices the geometric mean, on a line of the hyperboloid the mean of lengths.
    spd = SymmetricPositiveDefinite(2)
    diagonals = np.array([[1.0, 8.0], [4.0, 0.5], [2.0, 2.0]])
    mean = frechet_mean(spd, np.stack([np.diag(d) for d in diagonals]), tolerance=1e-12)
    assert np.allclose(
        mean.point, np.diag(np.exp(np.log(diagonals).mean(0))), rtol=1e-12, atol=1e-12
    )
    lengths = np.array([-1.0, 0.5, 20.0])
    points = np.stack([np.cosh(lengths), np.sinh(lengths)], axis=-1)
    mean = frechet_mean(Lorentz(1), points, tolerance=1e-12)
    assert mean.converged
    assert np.arcsinh(mean.point[1]) == pytest.approx(6.5, rel=1e-12, abs=0)


def test_single_precision_does_not_walk_away_from_the_mean():
    """Where the sum of squares has no digits left, a step must not lengthen the mean velocity."""
    rng = np.random.default_rng(3)
    side = rng.normal(size=(30, 3)) * [1, 1, 0]
    angle = 1.4 * np.sqrt(rng.uniform(size=(30, 1)))
    points = np.sin(angle) * side / np.linalg.norm(side, axis=1, keepdims=True)
    points = (points + np.cos(angle) * [0, 0, 1]).astype(np.float32)
    found = frechet_mean(Sphere(3), points, tolerance=1e-9)
    assert found.residual < 1e-5


def test_antipodes_have_a_start():
    points = np.array([[1.0, 0.0, 0.0], [-1.0, 0.0, 0.0]])
    mean = frechet_mean(Sphere(3), points)
    assert np.isfinite(mean.point).all()
    same = frechet_mean(Sphere(3), np.stack(3 * [points[0]]))
    assert same.converged
    assert same.point.tolist() == [1.0, 0.0, 0.0]


def test_derivatives_are_those_of_the_solution():
    sphere = Sphere(3)
    points = sphere.project_point(cloud(sphere) + np.array([[2.0, 0.0, 0.0]]))
    u = sphere.random_tangent(jax.random.key(7), points)
    change = np.array([0.3, -0.1, 0.0, 0.2, 0.0])
    mean = lambda t: (
        frechet_mean(sphere, sphere.exp(points, t * u), WEIGHTS + t * change, tolerance=1e-13).point
    )
    h = 1e-5
    wanted = (mean(h) - mean(-h)) / (2 * h)
    assert np.allclose(jax.jacfwd(mean)(0.0), wanted, rtol=0, atol=1e-9)
    assert np.allclose(jax.jacrev(mean)(0.0), wanted, rtol=0, atol=1e-9)
