"""Each reference quantity as the library computes it: `name -> function(order, **inputs)`."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from igeojax import discrete, families, geometry
from igeojax.divergences import exponential, simplex
from igeojax.numerics import log_minus_digamma_inverse, ratio_remainder
from tests.reference.distances import DISTANCES
from tests.reference.gamma_families import GAMMA_FAMILIES
from tests.reference.others import OTHERS
from tests.reference.von_mises_fisher import VON_MISES_FISHER

Quantity = Callable[..., Any]

NORMAL, EXPONENTIAL, POISSON, GAMMA = (
    families.Normal(),
    families.Exponential(),
    families.Poisson(),
    families.Gamma(),
)


def divergences(prefix: str, family: families.ExponentialFamily, pair: Quantity) -> dict:
    """The closed forms of one family; `pair(**inputs)` gives the two points."""
    return {
        f"{prefix}_kl": lambda _, **v: exponential.kl(family, *pair(**v)),
        f"{prefix}_alpha": lambda a, **v: exponential.alpha_divergence(family, *pair(**v), order=a),
        f"{prefix}_renyi": lambda a, **v: exponential.renyi(family, *pair(**v), order=a),
        f"{prefix}_hellinger": lambda _, **v: exponential.hellinger(family, *pair(**v)),
        f"{prefix}_bhattacharyya": lambda _, **v: exponential.bhattacharyya(family, *pair(**v)),
    }


def stacked_gradient(function: Quantity, names: tuple[str, ...]) -> Quantity:
    """Gradient in the named scalars, as one vector in their order."""

    def gradient(_, **inputs):
        values = tuple(inputs[name] for name in names)
        return jnp.stack(jax.grad(function, argnums=tuple(range(len(names))))(*values))

    return gradient


def normal_kl(mu_p, sigma_p, mu_q, sigma_q):
    return exponential.kl(NORMAL, NORMAL.Params(mu_p, sigma_p), NORMAL.Params(mu_q, sigma_q))


def gamma_kl(shape_p, rate_p, shape_q, rate_q):
    return exponential.kl(GAMMA, GAMMA.Params(shape_p, rate_p), GAMMA.Params(shape_q, rate_q))


def pulled_back(family: families.ExponentialFamily, *coordinates: Any) -> Any:
    """Fisher matrix in source coordinates."""
    return geometry.source_fisher_matrix(family, family.Params(*coordinates))


def normal_expectation_metric(_, mu, sigma):
    eta = NORMAL.mean_from_natural(NORMAL.natural_from_params(mu, sigma))
    return geometry.pullback(NORMAL, NORMAL.natural_from_mean, eta)


# Quantities of Normal, Exponential, Poisson and Gamma, from source parameters.
SCALAR_FAMILIES: dict[str, Quantity] = {
    **divergences(
        "normal",
        NORMAL,
        lambda mu_p, sigma_p, mu_q, sigma_q: (
            NORMAL.Params(mu_p, sigma_p),
            NORMAL.Params(mu_q, sigma_q),
        ),
    ),
    **divergences(
        "exponential",
        EXPONENTIAL,
        lambda rate_p, rate_q: (EXPONENTIAL.Params(rate_p), EXPONENTIAL.Params(rate_q)),
    ),
    **divergences(
        "poisson", POISSON, lambda rate_p, rate_q: (POISSON.Params(rate_p), POISSON.Params(rate_q))
    ),
    **divergences(
        "gamma",
        GAMMA,
        lambda shape_p, rate_p, shape_q, rate_q: (
            GAMMA.Params(shape_p, rate_p),
            GAMMA.Params(shape_q, rate_q),
        ),
    ),
    "entropy_normal": lambda _, sigma: NORMAL.entropy(NORMAL.natural_from_params(0.0, sigma)),
    "entropy_exponential": lambda _, rate: EXPONENTIAL.entropy(
        EXPONENTIAL.natural_from_params(rate)
    ),
    "entropy_poisson": lambda _, rate: POISSON.entropy(POISSON.natural_from_params(rate)),
    "entropy_gamma": lambda _, shape, rate: GAMMA.entropy(GAMMA.natural_from_params(shape, rate)),
    "grad_normal_kl": stacked_gradient(normal_kl, ("mu_p", "sigma_p", "mu_q", "sigma_q")),
    "grad_gamma_kl": stacked_gradient(gamma_kl, ("shape_p", "rate_p", "shape_q", "rate_q")),
    "fisher_normal_mu_sigma": lambda _, mu, sigma: pulled_back(NORMAL, mu, sigma),
    "fisher_normal_natural": lambda _, mu, sigma: geometry.fisher_matrix(
        NORMAL, NORMAL.natural_from_params(mu, sigma)
    ),
    "fisher_normal_expectation": normal_expectation_metric,
    "fisher_exponential_rate": lambda _, rate: pulled_back(EXPONENTIAL, rate)[0, 0],
    "fisher_poisson_rate": lambda _, rate: pulled_back(POISSON, rate)[0, 0],
    "fisher_gamma_shape_rate": lambda _, shape, rate: pulled_back(GAMMA, shape, rate),
    "gamma_shape_from_s": lambda _, s: log_minus_digamma_inverse(s),
    "bregman_itakura_saito": lambda _, x, y: ratio_remainder(x, y).sum(),
    "bregman_negentropy": lambda _, x, y: exponential.kl(
        POISSON, POISSON.Params(x), POISSON.Params(y)
    ).sum(),
}


def _categorical(logits: Any) -> tuple[families.Categorical, Any]:
    family = families.Categorical(logits.shape[-1])
    return family, family.natural_from_params(logits=logits)


def from_logits(function: Quantity) -> Quantity:
    def value(order, logits_p, logits_q):
        family, p = _categorical(logits_p)
        return function(family, p, _categorical(logits_q)[1], order)

    return value


def categorical_entropy(logits):
    family, theta = _categorical(logits)
    return family.entropy(theta)


def categorical_kl(logits_p, logits_q):
    family, p = _categorical(logits_p)
    return exponential.kl(family, p, _categorical(logits_q)[1])


def categorical_metric(_, logits):
    family = families.Categorical(logits.shape[-1])
    return geometry.pullback(family, lambda z: family.natural_from_params(logits=z), logits)


# Quantities of the categorical family, from logits.
CATEGORICAL_LOGITS: dict[str, Quantity] = {
    "categorical_logits_kl": from_logits(lambda f, p, q, _: exponential.kl(f, p, q)),
    "categorical_logits_alpha": from_logits(
        lambda f, p, q, a: exponential.alpha_divergence(f, p, q, order=a)
    ),
    "categorical_logits_renyi": from_logits(lambda f, p, q, a: exponential.renyi(f, p, q, order=a)),
    "categorical_logits_hellinger": from_logits(lambda f, p, q, _: exponential.hellinger(f, p, q)),
    "categorical_logits_bhattacharyya": from_logits(
        lambda f, p, q, _: exponential.bhattacharyya(f, p, q)
    ),
    "entropy_categorical_logits": lambda _, logits: categorical_entropy(logits),
    "grad_entropy_logits": lambda _, logits: jax.grad(categorical_entropy)(logits),
    "grad_categorical_kl_logits_p": lambda _, logits_p, logits_q: jax.grad(categorical_kl, 0)(
        logits_p, logits_q
    ),
    "grad_categorical_kl_logits_q": lambda _, logits_p, logits_q: jax.grad(categorical_kl, 1)(
        logits_p, logits_q
    ),
    "fisher_categorical_logits": categorical_metric,
}

# Quantities of probability vectors and of logits.
SIMPLEX: dict[str, Quantity] = {
    "categorical_probs_kl": lambda _, probs_p, probs_q: simplex.kl(probs_p, probs_q),
    "categorical_probs_alpha": lambda a, probs_p, probs_q: simplex.alpha_divergence(
        probs_p, probs_q, order=a
    ),
    "categorical_probs_renyi": lambda a, probs_p, probs_q: simplex.renyi(probs_p, probs_q, order=a),
    "categorical_probs_hellinger": lambda _, probs_p, probs_q: simplex.hellinger(probs_p, probs_q),
    "categorical_probs_bhattacharyya": lambda _, probs_p, probs_q: simplex.bhattacharyya(
        probs_p, probs_q
    ),
    "categorical_probs_js": lambda _, probs_p, probs_q: simplex.jensen_shannon(probs_p, probs_q),
    "logsumexp": lambda _, x: discrete.logsumexp(x),
    "softmax": lambda _, x: discrete.softmax(x),
    "log_softmax": lambda _, x: discrete.log_softmax(x),
}


def from_covariances(function: Quantity) -> Quantity:
    def value(order, mu_p, cov_p, mu_q, cov_q):
        family = families.MultivariateNormal(cov_p.shape[-1])
        return function(family, family.Params(mu_p, cov_p), family.Params(mu_q, cov_q), order)

    return value


def multivariate_normal_entropy(_, cov):
    family = families.MultivariateNormal(cov.shape[-1])
    return family.entropy(family.Params(jnp.zeros(cov.shape[-1], cov.dtype), cov))


# Quantities of the multivariate normal family, from means and covariances.
MULTIVARIATE_NORMAL: dict[str, Quantity] = {
    "mvn_kl": from_covariances(lambda f, p, q, _: exponential.kl(f, p, q)),
    "mvn_alpha": from_covariances(
        lambda f, p, q, a: exponential.alpha_divergence(f, p, q, order=a)
    ),
    "mvn_renyi": from_covariances(lambda f, p, q, a: exponential.renyi(f, p, q, order=a)),
    "mvn_hellinger": from_covariances(lambda f, p, q, _: exponential.hellinger(f, p, q)),
    "mvn_bhattacharyya": from_covariances(lambda f, p, q, _: exponential.bhattacharyya(f, p, q)),
    "entropy_mvn": multivariate_normal_entropy,
}

# Every quantity by the file that holds its true values.
FILES: dict[str, dict[str, Quantity]] = {
    "scalar_families": SCALAR_FAMILIES,
    "categorical": {**CATEGORICAL_LOGITS, **SIMPLEX},
    "multivariate_normal": MULTIVARIATE_NORMAL,
    "gamma_families": GAMMA_FAMILIES,
    "von_mises_fisher": VON_MISES_FISHER,
    "others": OTHERS,
    "distances": DISTANCES,
}
SLOW = {"gamma_families", "multivariate_normal", "von_mises_fisher", "others", "distances"}
"""Files whose quantities take long to compile."""
