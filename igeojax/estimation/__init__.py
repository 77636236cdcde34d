"""Estimators beyond maximum likelihood of a family, and how good an estimator is."""

from igeojax.estimation.efficiency import EfficiencyStudy, efficiency_study
from igeojax.estimation.family_scores import data_score, parameter_score
from igeojax.estimation.ica import (
    IndependentComponents,
    amari_index,
    independent_components,
    sources,
    unmixing_loss,
)
from igeojax.estimation.limit_theorems import (
    NormalApproximation,
    berry_esseen_bound,
    kolmogorov_distance,
    normal_approximation,
)
from igeojax.estimation.score_matching import (
    denoising_score_matching_loss,
    score_matching_estimate,
    score_matching_loss,
    sliced_score_matching_loss,
)
from igeojax.estimation.source_densities import source_log_density, source_score, source_signs

__all__ = [
    "EfficiencyStudy",
    "IndependentComponents",
    "NormalApproximation",
    "amari_index",
    "berry_esseen_bound",
    "data_score",
    "denoising_score_matching_loss",
    "efficiency_study",
    "independent_components",
    "kolmogorov_distance",
    "normal_approximation",
    "parameter_score",
    "score_matching_estimate",
    "score_matching_loss",
    "sliced_score_matching_loss",
    "source_log_density",
    "source_score",
    "source_signs",
    "sources",
    "unmixing_loss",
]
