"""Fisher information of a model: of a network through its output family, or of a log-density."""

from igeojax.fisher.diagonal import (
    fisher_block_diagonal,
    fisher_diagonal,
    fisher_diagonal_from_samples,
    fisher_trace,
)
from igeojax.fisher.eigenvalues import effective_dimension, fisher_eigenvalues
from igeojax.fisher.kronecker import (
    DenseFactor,
    DiagonalFactor,
    KroneckerFactor,
    eigenbasis_moments,
    kronecker_factors,
    kronecker_layout,
)
from igeojax.fisher.labels import empirical_fisher_matrix, sampled_fisher_matrix
from igeojax.fisher.model import (
    fisher_inner_products,
    fisher_matrix,
    fisher_matvec,
    output_jacobian,
)
from igeojax.fisher.output_metric import OutputMetric
from igeojax.fisher.parametric import (
    cramer_rao_bound,
    fisher_matrix_from_samples,
    observed_information,
)
from igeojax.fisher.sample_space import (
    RootOperator,
    fisher_log_det,
    fisher_root,
    fisher_root_operator,
    sample_space_gram,
)
from igeojax.fisher.spectrum import (
    FisherEigenpairs,
    SpectralDensity,
    fisher_eigenpairs,
    fisher_solve,
    fisher_spectral_density,
)

__all__ = [
    "DenseFactor",
    "DiagonalFactor",
    "FisherEigenpairs",
    "KroneckerFactor",
    "OutputMetric",
    "RootOperator",
    "SpectralDensity",
    "cramer_rao_bound",
    "effective_dimension",
    "eigenbasis_moments",
    "empirical_fisher_matrix",
    "fisher_block_diagonal",
    "fisher_diagonal",
    "fisher_diagonal_from_samples",
    "fisher_eigenpairs",
    "fisher_eigenvalues",
    "fisher_inner_products",
    "fisher_log_det",
    "fisher_matrix",
    "fisher_matrix_from_samples",
    "fisher_matvec",
    "fisher_root",
    "fisher_root_operator",
    "fisher_solve",
    "fisher_spectral_density",
    "fisher_trace",
    "kronecker_factors",
    "kronecker_layout",
    "observed_information",
    "output_jacobian",
    "sample_space_gram",
    "sampled_fisher_matrix",
]
