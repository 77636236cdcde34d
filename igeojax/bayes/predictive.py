"""Posterior predictive laws: what one more observation is expected to be.

`p(x | data) = int p(x | theta) dposterior(theta)`: Student-t for normal laws, beta-binomial and
negative binomial for counts, Lomax for waiting times, and so on: one formula for all, the evidence
of one observation. Some are members of a family: `predictive_member`.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Key

from igeojax._core import checks
from igeojax.bayes._pairs import pair_of
from igeojax.bayes._updates import log_ratio, update_of
from igeojax.bayes.conjugate import natural_from_draw
from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.categorical import Categorical
from igeojax.families.negative_binomial import NegativeBinomial
from igeojax.families.normal import Normal
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.poisson import Poisson


def log_predictive(
    family: ExponentialFamily, posterior: Any, x: ArrayLike
) -> Float[Array, "*batch"]:
    """Log-density of one more observation, `log int p(x | theta) dposterior(theta)`.

    `<T(x), E[theta]> - E[psi(theta)] + log h(x)`, the mean log-likelihood, plus the Bregman
    divergence that Jensen's inequality drops; or a difference of log-partitions, see
    `log_evidence`. Exact, and to rounding also after millions of observations.

    Args:
      family: the likelihood.
      posterior: `Point` or `Params` of `conjugate_prior(family)`; its batch axes broadcast against
        those of `x`. `Params` keep the digits of normal laws far from 0.
      x: observations of shape `batch + event_shape`.

    Returns:
      Nats, one for each observation (each is the first after the data); -inf off the support, nan
      for an improper posterior.

    Raises:
      TypeError: `family` is not a family, `posterior` not of its conjugate prior, or `x` not
        numeric.
      ValueError: no conjugate prior, or shapes that do not fit.

    References:
      [Murphy2007] section 3.6 (Student-t).

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> posterior = families.Beta().natural_from_params(a=3.0, b=1.0)
      >>> jnp.exp(log_predictive(family, posterior, jnp.array([1, 0]))).round(6).tolist()
      [0.75, 0.25]
    """
    pair = pair_of(family)
    dtype = jnp.result_type(float, *jax.tree.leaves(posterior))
    x = family._data(x, dtype)
    batch = family._data_batch_shape(x)
    point = posterior
    if not isinstance(point, pair.prior.Point):
        point = pair.prior.natural_from_params(*posterior)
    own = pair.prior.batch_shape(point)
    checks.require_broadcastable(posterior=own, x=batch)
    inside = family.in_support(x)

    def stand_in(part: Array, like: Any) -> Array:
        over = inside.reshape(inside.shape + (1,) * (part.ndim - inside.ndim))
        return jnp.where(over, part, jnp.asarray(like, part.dtype))

    # A point inside stands in for one outside, whose statistics would poison the gradient.
    safe = jax.tree.map(stand_in, x, family._inside)
    update = update_of(
        family, posterior, jax.tree.map(lambda part: part[None], safe), jnp.ones(1, dtype)
    )
    value = log_ratio(pair.prior, update.theta, update.step)
    value = value + jnp.broadcast_to(update.log_base, value.shape)
    unknown = jax.tree.reduce(
        jnp.logical_or,
        jax.tree.map(lambda part: jnp.isnan(part).any(axis=tuple(range(len(batch), part.ndim))), x),
    )
    outside = jnp.where(unknown, jnp.nan, -jnp.inf).astype(value.dtype)
    return jnp.where(jnp.broadcast_to(inside, value.shape), value, outside)


def sample_predictive(
    key: Key[Array, ""], family: ExponentialFamily, posterior: Any, shape: tuple[int, ...] = ()
) -> Any:
    """Independent exact samples of the posterior predictive law: a member, then an observation.

    Args:
      key: a PRNG key.
      family: the likelihood.
      posterior: `Point` or `Params` of `conjugate_prior(family)`.
      shape: leading shape of the draws for each posterior.

    Returns:
      Draws of shape `shape + batch_shape + event_shape`.

    Raises:
      TypeError: `key` is no PRNG key, or `posterior` not of the conjugate prior.
      ValueError: no conjugate prior, or a concrete posterior that is improper.

    Examples:
      >>> from igeojax import families
      >>> posterior = families.Gamma().natural_from_params(shape=3.0, rate=1.0)
      >>> sample_predictive(jax.random.key(0), families.Poisson(), posterior, (5,)).shape
      (5,)
    """
    prior = pair_of(family).prior
    checks.require_key(key)
    if not isinstance(posterior, prior.Point):
        posterior = prior.natural_from_params(*posterior)
    first, second = jax.random.split(key)
    draws = prior.sample(first, posterior, shape)
    return family.sample(second, natural_from_draw(family, draws))


def predictive_member(family: ExponentialFamily, posterior: Any) -> tuple[ExponentialFamily, Any]:
    """The posterior predictive law as a member of a family, where it is one.

    Of Bernoulli and categorical laws the same family, at the mean of the posterior; of a normal law
    with known scale a normal one, of variance `scale^2` plus that of the mean; of a Poisson law the
    negative binomial with as many successes as the shape of the posterior, which has to be concrete
    then. The others are no exponential families (Student-t, beta-binomial, Lomax): they have
    `log_predictive` and `sample_predictive`.

    Args:
      family: the likelihood.
      posterior: `Point` or `Params` of `conjugate_prior(family)`.

    Returns:
      A family and a `Point` of it.

    Raises:
      TypeError: `posterior` is not of the conjugate prior.
      ValueError: the law is no member of a family, or the shape for a Poisson law is traced or not
        a single number.

    Examples:
      >>> from igeojax import families
      >>> posterior = families.Gamma().natural_from_params(shape=3.0, rate=1.0)
      >>> family, theta = predictive_member(families.Poisson(), posterior)
      >>> family, float(family.mean(theta))
      (NegativeBinomial(successes=3.0), 3.0)
    """
    prior = pair_of(family).prior
    params = posterior
    if not isinstance(posterior, prior.Params):
        params = prior.params_from_natural(posterior)
    if isinstance(family, Bernoulli):
        logit = jnp.log(params.a) - jnp.log(params.b)
        return family, family.Point(*jnp.broadcast_arrays(logit))
    if isinstance(family, Categorical):
        share = jnp.asarray(params.concentration)
        return family, family.natural_from_params(logits=jnp.log(share))
    if isinstance(family, NormalKnownScale):
        scale = jnp.hypot(params.scale, family.scale)
        return Normal(), Normal().natural_from_params(params.loc, scale)
    if isinstance(family, Poisson):
        shape = checks.concrete(params.shape)
        if shape is None or shape.size != 1:
            raise ValueError(
                "the shape of the posterior must be one concrete number, as it becomes part of the "
                f"description NegativeBinomial; got {params.shape}. Use log_predictive under jit "
                "and for batches."
            )
        law = NegativeBinomial(float(shape.reshape(())))
        rate = jnp.asarray(params.rate)
        return law, law.Point(-jnp.log1p(rate))
    raise ValueError(
        f"the predictive law of {family} is no member of a family. Use log_predictive for its "
        "density and sample_predictive for draws."
    )
