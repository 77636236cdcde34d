"""Reference Fisher-Rao distances: `name -> function(order, **inputs)`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from igeojax import families, geometry

Quantity = Callable[..., Any]
NORMAL, POISSON, EXPONENTIAL, GAMMA = (
    families.Normal(),
    families.Poisson(),
    families.Exponential(),
    families.Gamma(),
)


def normal(mu_p, sigma_p, mu_q, sigma_q):
    p, q = NORMAL.Params(mu_p, sigma_p), NORMAL.Params(mu_q, sigma_q)
    return geometry.fisher_rao_distance(NORMAL, p, q)


def normal_square_gradient(_, mu_p, sigma_p, mu_q, sigma_q):
    square = lambda mu, sigma: normal(mu, sigma, mu_q, sigma_q) ** 2
    return jnp.stack(jax.grad(square, (0, 1))(mu_p, sigma_p))


def gamma_fixed_shape(_, shape, rate_p, rate_q):
    p, q = GAMMA.Params(shape, rate_p), GAMMA.Params(shape, rate_q)
    return geometry.fisher_rao_distance(GAMMA, p, q, fixed="shape")


def categorical_probs(_, probs_p, probs_q):
    family = families.Categorical(probs_p.shape[-1])
    return geometry.fisher_rao_distance(family, family.Params(probs_p), family.Params(probs_q))


def categorical_logits(_, logits_p, logits_q):
    family = families.Categorical(logits_p.shape[-1])
    p, q = (family.natural_from_params(logits=logits) for logits in (logits_p, logits_q))
    return geometry.fisher_rao_distance(family, p, q)


def fixed_mean(_, cov_p, cov_q):
    family, mean = families.MultivariateNormal(cov_p.shape[-1]), jnp.zeros_like(cov_p[0])
    p, q = family.Params(mean, cov_p), family.Params(mean, cov_q)
    return geometry.fisher_rao_distance(family, p, q, fixed="mean")


def fixed_covariance(_, mu_p, mu_q, cov):
    family = families.MultivariateNormal(cov.shape[-1])
    p, q = family.Params(mu_p, cov), family.Params(mu_q, cov)
    return geometry.fisher_rao_distance(family, p, q, fixed="covariance")


DISTANCES: dict[str, Quantity] = {
    "fr_normal": lambda _, **inputs: normal(**inputs),
    "grad_fr_normal_sq": normal_square_gradient,
    "fr_exponential": lambda _, rate_p, rate_q: geometry.fisher_rao_distance(
        EXPONENTIAL, EXPONENTIAL.Params(rate_p), EXPONENTIAL.Params(rate_q)
    ),
    "fr_poisson": lambda _, rate_p, rate_q: geometry.fisher_rao_distance(
        POISSON, POISSON.Params(rate_p), POISSON.Params(rate_q)
    ),
    "fr_gamma_fixed_shape": gamma_fixed_shape,
    "fr_categorical_probs": categorical_probs,
    "fr_categorical_logits": categorical_logits,
    "fr_mvn_fixed_mean": fixed_mean,
    "fr_mvn_fixed_cov": fixed_covariance,
}
