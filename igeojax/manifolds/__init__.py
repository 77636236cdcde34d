"""Curved spaces of points: spheres, hyperbolic space, the simplex, matrices, and their products."""

from igeojax.manifolds.base import Manifold
from igeojax.manifolds.euclidean import Euclidean
from igeojax.manifolds.hyperbolic import lorentz_from_poincare, poincare_from_lorentz
from igeojax.manifolds.lorentz import Lorentz
from igeojax.manifolds.oblique import Oblique
from igeojax.manifolds.poincare_ball import PoincareBall
from igeojax.manifolds.product import ProductManifold
from igeojax.manifolds.similarity import (
    cosine_scores,
    cosine_similarity,
    dot_similarity,
    scaled_dot_scores,
)
from igeojax.manifolds.simplex import Simplex
from igeojax.manifolds.sphere import Sphere
from igeojax.manifolds.statistics import TangentPCA, frechet_mean, tangent_pca
from igeojax.manifolds.symmetric_positive_definite import SymmetricPositiveDefinite
from igeojax.numerics.center_of_mass import FrechetMean

__all__ = [
    "Euclidean",
    "FrechetMean",
    "Lorentz",
    "Manifold",
    "Oblique",
    "PoincareBall",
    "ProductManifold",
    "Simplex",
    "Sphere",
    "SymmetricPositiveDefinite",
    "TangentPCA",
    "cosine_scores",
    "cosine_similarity",
    "dot_similarity",
    "frechet_mean",
    "lorentz_from_poincare",
    "poincare_from_lorentz",
    "scaled_dot_scores",
    "tangent_pca",
]
