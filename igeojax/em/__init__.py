"""Latent variables: mixtures of any exponential family by expectation-maximization."""

from igeojax.em._data import Chunks
from igeojax.em.expectations import Expectations
from igeojax.em.mixture import Mixture, MixtureFit, MixturePoint

__all__ = ["Chunks", "Expectations", "Mixture", "MixtureFit", "MixturePoint"]
