"""Divergences: of probability vectors, of members of a family, of any convex potential."""

from igeojax.divergences import (
    bregman,
    exponential,
    montecarlo,
    quadrature,
    similarity,
    simplex,
)

__all__ = ["bregman", "exponential", "montecarlo", "quadrature", "similarity", "simplex"]
