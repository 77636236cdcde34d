"""Fisher information of a model: of a network through its output family, or of a log-density."""

from igeojax.fisher.diagonal import (
    fisher_block_diagonal,
    fisher_diagonal,
    fisher_diagonal_from_samples,
    fisher_trace,
)
from igeojax.fisher.labels import empirical_fisher_matrix, sampled_fisher_matrix
from igeojax.fisher.model import fisher_matrix, fisher_matvec, output_jacobian
from igeojax.fisher.output_metric import OutputMetric
from igeojax.fisher.parametric import (
    cramer_rao_bound,
    fisher_matrix_from_samples,
    observed_information,
)

__all__ = [
    "OutputMetric",
    "cramer_rao_bound",
    "empirical_fisher_matrix",
    "fisher_block_diagonal",
    "fisher_diagonal",
    "fisher_diagonal_from_samples",
    "fisher_matrix",
    "fisher_matrix_from_samples",
    "fisher_matvec",
    "fisher_trace",
    "observed_information",
    "output_jacobian",
    "sampled_fisher_matrix",
]
