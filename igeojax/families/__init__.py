"""Exponential families: what a distribution *is*; one family a file."""

from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.normal import Normal
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.poisson import Poisson
from igeojax.families.registry import FAMILIES

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Categorical",
    "DiagonalNormal",
    "Exponential",
    "ExponentialFamily",
    "Gamma",
    "MultivariateNormal",
    "Normal",
    "NormalKnownScale",
    "Poisson",
]
