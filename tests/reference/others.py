"""Reference quantities that belong to no family, or to several: `name -> function(order, ...)`."""

from collections.abc import Callable
from typing import Any

import jax.numpy as jnp

from igeojax import em, families
from igeojax.divergences import exponential, quadrature, simplex
from igeojax.numerics import cholesky, student_t_log_density
from igeojax.numerics.positive_definite import log_det

Quantity = Callable[..., Any]
NORMAL, EXPONENTIAL, POISSON = families.Normal(), families.Exponential(), families.Poisson()


def mixture_log_density(_, x, weights, means, scales):
    mixture = em.Mixture(NORMAL, weights.shape[-1])
    components = NORMAL.natural_from_params(means, scales)
    return mixture.log_density(em.MixturePoint(jnp.log(weights), components), x)


def log_det_divergence(_, cov_p, cov_q):
    family, origin = families.MultivariateNormal(cov_p.shape[-1]), jnp.zeros_like(cov_p[0])
    return 2 * exponential.kl(family, family.Params(origin, cov_p), family.Params(origin, cov_q))


OTHERS: dict[str, Quantity] = {
    "studentt_logpdf": lambda _, x, dof: student_t_log_density(x, dof),
    "gmm_logpdf_1d": mixture_log_density,
    "normal_js": lambda _, mu_p, sigma_p, mu_q, sigma_q: quadrature.jensen_shannon(
        NORMAL, NORMAL.Params(mu_p, sigma_p), NORMAL.Params(mu_q, sigma_q)
    ),
    "exponential_js": lambda _, rate_p, rate_q: quadrature.jensen_shannon(
        EXPONENTIAL, EXPONENTIAL.Params(rate_p), EXPONENTIAL.Params(rate_q)
    ),
    "poisson_js": lambda _, rate_p, rate_q: quadrature.jensen_shannon(
        POISSON, POISSON.Params(rate_p), POISSON.Params(rate_q)
    ),
    "categorical_logits_js": lambda _, logits_p, logits_q: simplex.jensen_shannon(
        logits_p, logits_q, logits=True
    ),
    "entropy_categorical_probs": lambda _, probs: simplex.entropy(probs),
    "logdet_spd": lambda _, cov: log_det(cholesky(cov)),
    "bregman_logdet": log_det_divergence,
}
