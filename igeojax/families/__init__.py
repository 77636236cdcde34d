"""Exponential families: what a distribution *is*; one family a file."""

from igeojax.families import cumulants, directional_statistics, missing
from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.beta import Beta
from igeojax.families.binomial import Binomial
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.dirichlet import Dirichlet
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma
from igeojax.families.geometric import Geometric
from igeojax.families.inverse_gamma import InverseGamma
from igeojax.families.inverse_gaussian import InverseGaussian
from igeojax.families.inverse_wishart import InverseWishart
from igeojax.families.isotropic_normal import IsotropicNormal
from igeojax.families.laplace import Laplace
from igeojax.families.log_normal import LogNormal
from igeojax.families.multinomial import Multinomial
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.negative_binomial import NegativeBinomial
from igeojax.families.normal import Normal
from igeojax.families.normal_inverse_gamma import NormalInverseGamma
from igeojax.families.normal_inverse_wishart import NormalInverseWishart
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.pareto import Pareto
from igeojax.families.poisson import Poisson
from igeojax.families.product import Product
from igeojax.families.rayleigh import Rayleigh
from igeojax.families.registry import FAMILIES
from igeojax.families.von_mises import VonMises
from igeojax.families.von_mises_fisher import VonMisesFisher
from igeojax.families.weibull import Weibull
from igeojax.families.wishart import Wishart

__all__ = [
    "FAMILIES",
    "Bernoulli",
    "Beta",
    "Binomial",
    "Categorical",
    "DiagonalNormal",
    "Dirichlet",
    "Exponential",
    "ExponentialFamily",
    "Gamma",
    "Geometric",
    "InverseGamma",
    "InverseGaussian",
    "InverseWishart",
    "IsotropicNormal",
    "Laplace",
    "LogNormal",
    "Multinomial",
    "MultivariateNormal",
    "NegativeBinomial",
    "Normal",
    "NormalInverseGamma",
    "NormalInverseWishart",
    "NormalKnownScale",
    "Pareto",
    "Poisson",
    "Product",
    "Rayleigh",
    "VonMises",
    "VonMisesFisher",
    "Weibull",
    "Wishart",
    "cumulants",
    "directional_statistics",
    "missing",
]
