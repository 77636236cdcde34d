"""The table of all operations of JAX, by name."""

from kernels_triton.jax import (
    _cross_entropy,
    _diagonal_normal,
    _divergences,
    _information,
    _mixture_e_step,
    _multivariate_normal,
    _normal_log_density,
    _softmax,
    _von_mises_fisher,
)

OPERATIONS = {
    **_softmax.OPERATIONS,
    **_cross_entropy.OPERATIONS,
    **_normal_log_density.OPERATIONS,
    **_diagonal_normal.OPERATIONS,
    **_multivariate_normal.OPERATIONS,
    **_von_mises_fisher.OPERATIONS,
    **_mixture_e_step.OPERATIONS,
    **_divergences.OPERATIONS,
    **_information.OPERATIONS,
}
