"""Latent variables: mixtures and hidden Markov models of any exponential family, fitted by EM."""

from igeojax.em._data import Chunks
from igeojax.em._hidden_markov_inference import Forecast
from igeojax.em._transitions import left_right
from igeojax.em.expectations import Expectations
from igeojax.em.hidden_markov import HiddenMarkovModel
from igeojax.em.hidden_markov_parameters import (
    HiddenMarkovExpectations,
    HiddenMarkovFit,
    HiddenMarkovPoint,
    HiddenMarkovPrior,
    OnlineFit,
    SequenceBatch,
)
from igeojax.em.mixture import Mixture, MixtureFit, MixturePoint

__all__ = [
    "Chunks",
    "Expectations",
    "Forecast",
    "HiddenMarkovExpectations",
    "HiddenMarkovFit",
    "HiddenMarkovModel",
    "HiddenMarkovPoint",
    "HiddenMarkovPrior",
    "Mixture",
    "MixtureFit",
    "MixturePoint",
    "OnlineFit",
    "SequenceBatch",
    "left_right",
]
