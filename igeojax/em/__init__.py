"""Latent variables: mixtures of any exponential family by expectation-maximization."""

from igeojax.em._data import Chunks
from igeojax.em.expectations import Expectations
from igeojax.em.factor_analysis import FactorAnalysis, FactorAnalysisFit, FactorAnalysisPoint
from igeojax.em.mixture import Mixture, MixtureFit
from igeojax.em.online import OnlineState, incremental_em, stepwise_em
from igeojax.em.priors import MixturePrior, data_prior, mixture_prior
from igeojax.em.projections import ProjectionGains, projection_gains
from igeojax.em.selection import ModelSelection, model_selection
from igeojax.em.steps import MixturePoint

__all__ = [
    "Chunks",
    "Expectations",
    "FactorAnalysis",
    "FactorAnalysisFit",
    "FactorAnalysisPoint",
    "Mixture",
    "MixtureFit",
    "MixturePoint",
    "MixturePrior",
    "ModelSelection",
    "OnlineState",
    "ProjectionGains",
    "data_prior",
    "incremental_em",
    "mixture_prior",
    "model_selection",
    "projection_gains",
    "stepwise_em",
]
