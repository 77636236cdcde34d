"""Reference quantities of the families built on log-gamma: `name -> function(order, **inputs)`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from igeojax import families, geometry
from igeojax.divergences import exponential
from igeojax.numerics import (
    betaln,
    digamma_inverse,
    dirichlet_log_det_metric,
    dirichlet_mean_logs,
    scaled_trigamma_excess,
)

Quantity = Callable[..., Any]

BETA = families.Beta()


def dirichlet(concentration: Any) -> families.Dirichlet:
    return families.Dirichlet(concentration.shape[-1])


def beta_pair(function: Quantity) -> Quantity:
    return lambda order, a_p, b_p, a_q, b_q: function(
        BETA, BETA.Params(a_p, b_p), BETA.Params(a_q, b_q), order
    )


def dirichlet_pair(function: Quantity) -> Quantity:
    def value(order, conc_p, conc_q):
        family = dirichlet(conc_p)
        return function(family, family.Params(conc_p), family.Params(conc_q), order)

    return value


DIVERGENCES: dict[str, Quantity] = {
    "kl": lambda f, p, q, _: exponential.kl(f, p, q),
    "alpha": lambda f, p, q, a: exponential.alpha_divergence(f, p, q, order=a),
    "renyi": lambda f, p, q, a: exponential.renyi(f, p, q, order=a),
    "hellinger": lambda f, p, q, _: exponential.hellinger(f, p, q),
    "bhattacharyya": lambda f, p, q, _: exponential.bhattacharyya(f, p, q),
}

GAMMA_FAMILIES: dict[str, Quantity] = {
    **{f"beta_{name}": beta_pair(function) for name, function in DIVERGENCES.items()},
    **{f"dirichlet_{name}": dirichlet_pair(function) for name, function in DIVERGENCES.items()},
    "entropy_beta": lambda _, a, b: BETA.entropy(BETA.Params(a, b)),
    "entropy_dirichlet": lambda _, conc: dirichlet(conc).entropy(dirichlet(conc).Params(conc)),
    "fisher_beta": lambda _, a, b: geometry.fisher_matrix(BETA, BETA.natural_from_params(a, b)),
    "logdet_fisher_gamma": lambda _, shape, rate: (
        jnp.log(scaled_trigamma_excess(shape)) - 2 * jnp.log(rate)
    ),
    "logdet_fisher_beta": lambda _, a, b: dirichlet_log_det_metric(jnp.stack([a, b])),
    "logdet_fisher_dirichlet": lambda _, conc: dirichlet_log_det_metric(conc),
    "betaln": lambda _, a, b: betaln(a, b),
    "digamma_inverse": lambda _, y: digamma_inverse(y),
    "dirichlet_mean_logs": lambda _, conc: dirichlet_mean_logs(conc),
}
"""Quantities of Gamma, Beta and Dirichlet, and the special functions that they rest on."""
