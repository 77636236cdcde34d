"""Functions of the concentration of a von Mises-Fisher law, with derivatives to third order.

`psi` is its log-partition, `A = psi'` its mean resultant length `I_{dim/2} / I_{dim/2-1}`. All take
the static dimension first and concentrations from 0 to 1e8 and beyond (the square must stay in the
range of the dtype); a negative one gives nan. Errors are stated for dimensions 2 to 100 000.
"""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.bessel import RadialLaw, log_sphere, radial_law

_of_concentration = functools.partial(jax.custom_jvp, nondiff_argnums=(0,))


def _law(dim: int, kappa: Array) -> RadialLaw:
    kappa = jnp.where(kappa >= 0, kappa, jnp.nan)
    return radial_law(dim, kappa, kappa * kappa)


@_of_concentration
def vmf_log_partition(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log-partition `psi = (dim/2) log(2 pi) - (dim/2-1) log(kappa) + log I_{dim/2-1}(kappa)`.

    Minus the log of the normalizer `C_dim(kappa)`; at 0 the log of the surface of the sphere. Error
    a few eps of the largest term.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Values in nats, of the shape of `kappa`; derivative `vmf_mean_length`.

    References:
      [BanerjeeDhillon2005] equation (2.2) (the normalizer).

    Examples:
      >>> round(float(vmf_log_partition(3, jnp.asarray(0.0))), 6)
      2.531024
    """
    return log_sphere(dim) + _law(dim, kappa).excess


@vmf_log_partition.defjvp
def _vmf_log_partition_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    return vmf_log_partition(dim, kappa), vmf_mean_length(dim, kappa) * step


@_of_concentration
def vmf_log_partition_offset(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log-partition less the concentration, `psi(kappa) - psi(0) - kappa`: the part that is small.

    At large concentrations `psi` is nearly `kappa`, and differences with it leave this.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Values of at most 0, of the shape of `kappa`, to some 10 eps; derivative minus
      `vmf_mean_gap`.

    Examples:
      >>> float(vmf_log_partition_offset(3, jnp.asarray(1e8))) > -40
      True
    """
    return _law(dim, kappa).offset


@vmf_log_partition_offset.defjvp
def _vmf_log_partition_offset_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    return vmf_log_partition_offset(dim, kappa), -vmf_mean_gap(dim, kappa) * step


@_of_concentration
def vmf_mean_length(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Mean resultant length `A = I_{dim/2}(kappa) / I_{dim/2-1}(kappa)`, in `[0, 1]`.

    Relative error below 1e-15 in float64, 4e-7 in float32.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Values of the shape of `kappa`; derivative `vmf_mean_slope`.

    References:
      [BanerjeeDhillon2005] section 2.2 (the mean resultant length).

    Examples:
      >>> round(float(vmf_mean_length(3, jnp.asarray(2.0))), 6)
      0.537315
    """
    return kappa * _law(dim, kappa).ratio


@vmf_mean_length.defjvp
def _vmf_mean_length_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    return vmf_mean_length(dim, kappa), vmf_mean_slope(dim, kappa) * step


@_of_concentration
def vmf_mean_gap(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Gap `1 - A` of the mean resultant length, to its own digits where A is nearly 1.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Values in `(0, 1]`, of the shape of `kappa`; derivative minus `vmf_mean_slope`.

    Examples:
      >>> round(float(vmf_mean_gap(3, jnp.asarray(1e8))) * 1e8, 6)
      1.0
    """
    return _law(dim, kappa).gap


@vmf_mean_gap.defjvp
def _vmf_mean_gap_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    return vmf_mean_gap(dim, kappa), -vmf_mean_slope(dim, kappa) * step


@_of_concentration
def vmf_mean_slope(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Derivative `A' = 1 - A^2 - (dim-1) A / kappa`: the Fisher information of the concentration.

    Never by that formula, which loses all digits at large concentrations: relative error below
    1e-13 in float64, 4e-6 in float32.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Positive values, of the shape of `kappa`; `1 / dim` at 0.

    Examples:
      >>> float(vmf_mean_slope(4, jnp.asarray(0.0)))
      0.25
    """
    return _law(dim, kappa).slope


@vmf_mean_slope.defjvp
def _vmf_mean_slope_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    law = _law(dim, kappa)
    return law.slope, -kappa * law.bend * step


@_of_concentration
def vmf_mean_ratio(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Ratio `A / kappa`: the Fisher information of a natural coordinate across the mean direction.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Positive values, of the shape of `kappa`; `1 / dim` at 0. Relative error as `vmf_mean_length`.

    Examples:
      >>> float(vmf_mean_ratio(4, jnp.asarray(0.0)))
      0.25
    """
    return _law(dim, kappa).ratio


@vmf_mean_ratio.defjvp
def _vmf_mean_ratio_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    return vmf_mean_ratio(dim, kappa), -kappa * _ratio_drop(dim, kappa) * step


@_of_concentration
def _ratio_drop(dim: int, kappa: Array) -> Array:
    return _law(dim, kappa).drop


@_ratio_drop.defjvp
def _ratio_drop_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    law = _law(dim, kappa)
    return law.drop, 2 * kappa * law.drop_rate * law.drop * step


@_of_concentration
def vmf_entropy(dim: int, kappa: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Differential entropy `psi - kappa A` on the sphere, in nats.

    Falls without bound, like `-(dim-1)/2 log(kappa)`; error a few eps of the largest term of that
    size, not of `kappa`.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      kappa: non-negative concentrations.

    Returns:
      Values of the shape of `kappa`; derivative `-kappa A'`.

    Examples:
      >>> round(float(vmf_entropy(3, jnp.asarray(1e8))), 5)
      -15.5828
    """
    law = _law(dim, kappa)
    low = law.excess - kappa * kappa * law.ratio
    high = law.offset + kappa * law.gap
    return log_sphere(dim) + jnp.where(kappa < dim, low, high)


@vmf_entropy.defjvp
def _vmf_entropy_jvp(dim, primals, tangents):
    (kappa,), (step,) = primals, tangents
    return vmf_entropy(dim, kappa), -kappa * vmf_mean_slope(dim, kappa) * step


def vmf_concentration(
    dim: int, length: Float[Array, "*shape"], gap: Float[Array, "*shape"] | None = None
) -> Float[Array, "*shape"]:
    """Concentration whose mean resultant length is `length`: inverse of `vmf_mean_length`.

    Four Newton steps from the approximation of the literature, on the gap `1 - length` where that
    is the smaller. The derivative is that of the implicit function.

    Args:
      dim: dimension of the space, a Python integer of at least 2.
      length: mean resultant lengths in `[0, 1)`; 1 gives inf, anything outside nan.
      gap: `1 - length` where it is known to more digits than the subtraction gives.

    Returns:
      Concentrations, of the shape of `length`; relative error below 1e-13 in float64.

    References:
      [BanerjeeDhillon2005] equation (4.4) (the start).

    Examples:
      >>> round(float(vmf_concentration(3, vmf_mean_length(3, jnp.asarray(2.0)))), 5)
      2.0
    """
    return _concentration(dim, length, 1 - length if gap is None else gap)


@_of_concentration
def _concentration(dim: int, length: Array, gap: Array) -> Array:
    inside = (length >= 0) & (gap > 0)
    known, distance = jnp.where(inside, length, 0.0), jnp.where(inside, gap, 1.0)
    start = known * (dim - known * known) / (distance * (1 + known))

    def newton(_, kappa):
        law = _law(dim, kappa)
        excess = jnp.where(known < 0.5, kappa * law.ratio - known, distance - law.gap)
        return jnp.clip(kappa - excess / law.slope, 0.5 * kappa, 2 * kappa)

    kappa = jax.lax.fori_loop(0, 4, newton, start)
    kappa = jnp.where(inside, kappa, jnp.nan)
    return jnp.where((gap == 0) & (length > 0), jnp.inf, kappa)


@_concentration.defjvp
def _concentration_jvp(dim, primals, tangents):
    # The gap moves with the length; the tangent of the length would count the same motion twice.
    (length, gap), (_, step) = primals, tangents
    kappa = _concentration(dim, length, gap)
    return kappa, -step / vmf_mean_slope(dim, kappa)
