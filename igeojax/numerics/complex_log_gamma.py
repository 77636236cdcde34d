"""Log-gamma in the right half-plane."""

import math

import jax.numpy as jnp
from jaxtyping import Array, Complex

_SHIFT = 9
# log Gamma(z) = (z - 1/2) log z - z + log(2 pi)/2 + sum_k c_k / z^(2k-1).
_SERIES = (1 / 12, -1 / 360, 1 / 1260, -1 / 1680, 1 / 1188, -691 / 360360, 1 / 156, -3617 / 122400)


def complex_log_gamma(z: Complex[Array, "*shape"]) -> Complex[Array, "*shape"]:
    """Analytic `log Gamma(z)` for `Re z > 0`, real on the real line.

    Stirling's series at `z + 9`, less the logarithms of the factors between.

    Args:
      z: complex values of positive real part.

    Returns:
      The continuous branch, of the shape of `z`; relative error of `exp` of it a few eps times the
      modulus of the result.

    References:
      [DLMF2024] equations 5.5.1 and 5.11.1.

    Examples:
      >>> round(float(complex_log_gamma(jnp.asarray(5.0 + 0.0j)).real), 6)  # log 24
      3.178054
    """
    high = z + _SHIFT
    inverse = 1 / high
    series = jnp.zeros_like(z)
    for coefficient in reversed(_SERIES):
        series = series * inverse * inverse + coefficient
    stirling = (high - 0.5) * jnp.log(high) - high + 0.5 * math.log(2 * math.pi)
    steps = sum(jnp.log(z + k) for k in range(_SHIFT))
    return stirling + series * inverse - steps
