"""Divergences between probability vectors and between members of one exponential family."""

from igeojax.divergences import exponential, simplex

__all__ = ["exponential", "simplex"]
