"""What is refused, and with which words."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax.manifolds import (
    Euclidean,
    Lorentz,
    Oblique,
    PoincareBall,
    ProductManifold,
    Simplex,
    Sphere,
    SymmetricPositiveDefinite,
    cosine_scores,
    cosine_similarity,
    dot_similarity,
    frechet_mean,
    lorentz_from_poincare,
    poincare_from_lorentz,
    scaled_dot_scores,
    tangent_pca,
)

E3 = np.array([1.0, 0.0, 0.0])
PAIR = ProductManifold((Sphere(3), Euclidean(1)))


@pytest.mark.parametrize(
    ("call", "kind", "words"),
    [
        (lambda: Sphere(1), ValueError, "dim must be at least 2; got 1"),
        (lambda: Sphere(2.0), TypeError, "dim must be a Python integer"),  # pyright: ignore[reportArgumentType]
        (lambda: Sphere(3, 0.0), ValueError, "radius must be positive and finite; got 0.0"),
        (lambda: Sphere(3, jnp.ones(())), TypeError, "radius must be a Python number"),
        (lambda: PoincareBall(2, 1.0), ValueError, "minus the curvature must be positive"),
        (lambda: Lorentz(2, 0.0), ValueError, "minus the curvature must be positive"),
        (lambda: Oblique(2, 1), ValueError, "length of the unit vectors must be at least 2"),
        (lambda: Oblique(2, 2, axis=0), ValueError, "axis must be -1"),
        (lambda: Simplex(1), ValueError, "num_classes must be at least 2"),
        (lambda: ProductManifold(()), ValueError, "number of manifolds must be at least 1"),
        (lambda: ProductManifold((3,)), TypeError, "manifold must be a Manifold; got 3"),
        (lambda: Sphere(3).distance(2 * E3, E3), ValueError, "x must be on the manifold Sphere"),
        (lambda: Sphere(3).distance(E3, E3[:2]), ValueError, "y must have trailing axes (3,)"),
        (lambda: Sphere(3).distance(E3, 1j * E3), TypeError, "y must hold real numbers"),
        (lambda: Sphere(3).distance(E3, np.nan * E3), ValueError, "y must be on the manifold"),
        (lambda: Sphere(3).project_point(0 * E3), ValueError, "must be positive; got 0.0"),
        (
            lambda: Sphere(3).exp(np.stack([E3, E3]), np.zeros((3, 3))),
            ValueError,
            "batch shapes must broadcast",
        ),
        (lambda: PoincareBall(3).norm(E3, E3), ValueError, "Pull it there by project_point"),
        (lambda: Lorentz(2).log(E3, 2 * E3), ValueError, "y must be on the manifold Lorentz"),
        (lambda: Simplex(3).norm(-E3, E3), ValueError, "x must be on the manifold Simplex"),
        (lambda: Simplex(3).project_point(-E3), ValueError, "positive and finite; got 0.0"),
        (
            lambda: SymmetricPositiveDefinite(2).norm(-np.eye(2), np.eye(2)),
            ValueError,
            "x must be on the manifold SymmetricPositiveDefinite",
        ),
        (
            lambda: SymmetricPositiveDefinite(2).project_point(-np.eye(2)),
            ValueError,
            "largest eigenvalue of each matrix must be positive",
        ),
        (lambda: PAIR.norm(E3, E3), ValueError, "x must be a tuple of 2 parts"),
        (lambda: PAIR.norm((E3,), (E3,)), ValueError, "got 1 parts"),
        (
            lambda: PAIR.distance((E3, [0.0]), (2 * E3, [0.0])),
            ValueError,
            "y[0] must be on the manifold Sphere",
        ),
        (lambda: Sphere(3).random_point(0), TypeError, "key must be a PRNG key"),  # pyright: ignore[reportArgumentType]
        (lambda: frechet_mean(Sphere(3), E3), ValueError, "must have one axis of points"),
        (lambda: frechet_mean(3, E3), TypeError, "manifold must be a Manifold"),  # pyright: ignore[reportArgumentType]
        (
            lambda: frechet_mean(Sphere(3), E3[None], [-1.0]),
            ValueError,
            "weights must be finite and non-negative",
        ),
        (
            lambda: tangent_pca(Sphere(3), np.stack([E3, E3]), num_directions=3),
            ValueError,
            "num_directions must be at most 2",
        ),
        (lambda: PoincareBall(2).gyro_midpoint([0.0, 0.0]), ValueError, "axis of points in front"),
        (
            lambda: PoincareBall(2).mobius_matvec(np.eye(3), [0.0, 0.0]),
            ValueError,
            "matrix must have shape (rows, 2); got (3, 3)",
        ),
        (
            lambda: lorentz_from_poincare(Lorentz(2), [0.0, 0.0]),  # pyright: ignore[reportArgumentType]
            TypeError,
            "ball must be a PoincareBall",
        ),
        (
            lambda: poincare_from_lorentz(PoincareBall(2), E3),  # pyright: ignore[reportArgumentType]
            TypeError,
            "lorentz must be a Lorentz",
        ),
        (lambda: dot_similarity(E3, E3[:2]), ValueError, "x and y must have shapes (..., dim)"),
        (lambda: scaled_dot_scores(E3, E3), ValueError, "shapes (..., number, dim)"),
        (lambda: cosine_scores(E3[None], E3[None], [1.0]), ValueError, "scale must be a scalar"),
    ],
)
def test_errors_say_what_was_required(call, kind, words):
    with pytest.raises(kind, match=re.escape(words)):
        call()


def test_traced_points_outside_give_nan():
    ball, sphere = PoincareBall(2), Sphere(2)
    outside = jnp.array([2.0, 0.0])
    assert np.isnan(jax.jit(ball.distance)(outside, 2 * outside))
    assert np.isnan(jax.jit(sphere.project_point)(jnp.zeros(2))).all()


def test_similarities():
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2, 4, 3))
    assert np.allclose(dot_similarity(x, y), [a @ b for a, b in zip(x, y, strict=True)], rtol=1e-15)
    lengths = np.linalg.norm(x, axis=-1), np.linalg.norm(y, axis=-1)
    cosines = (x @ y.T) / np.outer(*lengths)
    assert np.allclose(cosine_similarity(x, y), np.diag(cosines), rtol=1e-14)
    assert np.allclose(scaled_dot_scores(x, y), x @ y.T / np.sqrt(3), rtol=1e-14)
    assert np.allclose(cosine_scores(x, y, 5.0), 5 * cosines, rtol=1e-14)
    # Lengths do not count, however large or small, and a zero vector is like none.
    assert np.allclose(cosine_similarity(1e200 * x, 1e-200 * y), np.diag(cosines), rtol=1e-14)
    value, slope = jax.value_and_grad(cosine_similarity)(np.zeros(3), y[0])
    assert value == 0
    assert (slope == 0).all()
    assert cosine_scores(np.zeros((1, 3)), y).tolist() == [[0.0] * 4]
    assert cosine_scores(x.astype(np.float32), y.astype(np.float32), 2.0).dtype == np.float32
    assert scaled_dot_scores(x[None], np.stack([y, y])).shape == (2, 4, 4)
