"""Reference quantities of the von Mises-Fisher law: `name -> function(order, **inputs)`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from igeojax import numerics

Quantity = Callable[..., Any]
DIMENSIONS = (2, 3, 8, 64, 768, 4096)


def of_dimension(function: Quantity) -> Quantity:
    """A quantity whose dimension, static for the library, is a number of the case."""

    def value(_, d, **inputs):
        # At a harmless point where the dimension is another one: nan would be a fault there too.
        found = [function(dim, **inputs) for dim in DIMENSIONS]
        return jnp.select([d == dim for dim in DIMENSIONS], found, jnp.nan)

    return value


def kl(dim, kappa_p, kappa_q, cos):
    radial = numerics.vmf_radial_bregman(dim, kappa_q, kappa_p)
    return radial + kappa_q * numerics.vmf_mean_length(dim, kappa_p) * (1 - cos)


VON_MISES_FISHER: dict[str, Quantity] = {
    "vmf_log_C": of_dimension(lambda dim, kappa: -numerics.vmf_log_partition(dim, kappa)),
    "vmf_A": of_dimension(lambda dim, kappa: numerics.vmf_mean_length(dim, kappa)),
    "vmf_dA": of_dimension(lambda dim, kappa: numerics.vmf_mean_slope(dim, kappa)),
    "vmf_A_over_kappa": of_dimension(lambda dim, kappa: numerics.vmf_mean_ratio(dim, kappa)),
    "vmf_A_inverse": of_dimension(lambda dim, r: numerics.vmf_concentration(dim, r)),
    "vmf_entropy": of_dimension(lambda dim, kappa: numerics.vmf_entropy(dim, kappa)),
    "vmf_kl": of_dimension(kl),
    "vmf_logpdf": of_dimension(
        lambda dim, kappa, cos: kappa * cos - numerics.vmf_log_partition(dim, kappa)
    ),
}
