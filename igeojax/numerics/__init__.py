"""Special functions and safe primitives that neither JAX nor a dependency has."""

from igeojax.numerics.conjugate_gradient import ConjugateGradientInfo, conjugate_gradient
from igeojax.numerics.gamma import log_minus_digamma, log_minus_digamma_inverse, shape_bregman
from igeojax.numerics.remainders import (
    expm1_remainder,
    exprel2,
    log1p_remainder,
    log_det_remainder,
    ratio_remainder,
)
from igeojax.numerics.safe import sqrt_at_zero

__all__ = [
    "ConjugateGradientInfo",
    "conjugate_gradient",
    "expm1_remainder",
    "exprel2",
    "log1p_remainder",
    "log_det_remainder",
    "log_minus_digamma",
    "log_minus_digamma_inverse",
    "ratio_remainder",
    "shape_bregman",
    "sqrt_at_zero",
]
