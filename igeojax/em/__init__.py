"""Latent variables: mixtures of any exponential family by expectation-maximization."""

from igeojax.em.mixture import Mixture, MixtureFit, MixturePoint

__all__ = ["Mixture", "MixtureFit", "MixturePoint"]
