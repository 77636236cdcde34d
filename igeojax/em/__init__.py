"""Latent variables: mixtures and hidden Markov models of any exponential family, fitted by EM."""

from igeojax.em._data import Chunks
from igeojax.em._hidden_markov_inference import Forecast
from igeojax.em._transitions import left_right
from igeojax.em.expectations import Expectations
from igeojax.em.factor_analysis import FactorAnalysis, FactorAnalysisFit, FactorAnalysisPoint
from igeojax.em.hidden_markov import HiddenMarkovModel
from igeojax.em.hidden_markov_parameters import (
    HiddenMarkovExpectations,
    HiddenMarkovFit,
    HiddenMarkovPoint,
    HiddenMarkovPrior,
    OnlineFit,
    SequenceBatch,
)
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
    "Forecast",
    "HiddenMarkovExpectations",
    "HiddenMarkovFit",
    "HiddenMarkovModel",
    "HiddenMarkovPoint",
    "HiddenMarkovPrior",
    "Mixture",
    "MixtureFit",
    "MixturePoint",
    "MixturePrior",
    "ModelSelection",
    "OnlineFit",
    "OnlineState",
    "ProjectionGains",
    "SequenceBatch",
    "data_prior",
    "incremental_em",
    "left_right",
    "mixture_prior",
    "model_selection",
    "projection_gains",
    "stepwise_em",
]
