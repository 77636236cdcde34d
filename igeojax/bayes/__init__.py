"""Bayesian updates: conjugate priors, predictions and evidence, grids, Laplace's approximation."""

from igeojax.bayes.conjugate import (
    conjugate_increment,
    conjugate_prior,
    log_bayes_factor,
    log_evidence,
    natural_from_draw,
    posterior,
)
from igeojax.bayes.gaussian_prior import ModelLaplace, model_laplace
from igeojax.bayes.grid import GridPosterior, grid_posterior
from igeojax.bayes.laplace import LaplaceApproximation, laplace_approximation
from igeojax.bayes.linearized import LinearizedOutputs, linearized_outputs, restricted
from igeojax.bayes.predictive import log_predictive, predictive_member, sample_predictive

__all__ = [
    "GridPosterior",
    "LaplaceApproximation",
    "LinearizedOutputs",
    "ModelLaplace",
    "conjugate_increment",
    "conjugate_prior",
    "grid_posterior",
    "laplace_approximation",
    "linearized_outputs",
    "log_bayes_factor",
    "log_evidence",
    "log_predictive",
    "model_laplace",
    "natural_from_draw",
    "posterior",
    "predictive_member",
    "restricted",
    "sample_predictive",
]
