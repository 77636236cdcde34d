"""Conjugate updates: natural parameters add; the evidence is a difference of log-partitions.

A likelihood `exp(<theta, T(x)> - psi(theta)) h(x)` with a named conjugate prior, see
`conjugate_prior`. Priors come as a `Point` (natural parameters, which add) or as `Params`. Both
say the same law; for normal likelihoods `Params` keep the digits of data far from 0, since the
update then is made of sums about their mean.
"""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.bayes._pairs import pair_of
from igeojax.bayes._updates import log_ratio, update_of
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.weighting import checked_weights


def conjugate_prior(family: ExponentialFamily) -> ExponentialFamily:
    """The family that is conjugate to a likelihood.

    Beta for the probability of Bernoulli, binomial, geometric and negative binomial laws; Dirichlet
    for the probabilities of categorical and multinomial ones; gamma for the rate of Poisson and
    exponential laws, for `scale^-k` of Weibull, `1 / (2 scale^2)` of Rayleigh, `1 / scale` of
    Laplace and `shape` of Pareto laws; normal for a mean of known variance; normal inverse gamma,
    or Wishart, for means and (co)variances of normal laws; products for products and for diagonal
    normal laws.

    Args:
      family: the likelihood.

    Returns:
      The family of the prior.

    Raises:
      TypeError: `family` is not a family.
      ValueError: it has no conjugate prior among the families.

    References:
      [DiaconisYlvisaker1979] section 2; [Murphy2007] (the normal laws).

    Examples:
      >>> from igeojax import families
      >>> conjugate_prior(families.Poisson())
      Gamma()
    """
    return pair_of(family).prior


def conjugate_increment(family: ExponentialFamily, sums: Any, count: ArrayLike) -> Any:
    """What observations add to the natural parameter of the conjugate prior; linear in both.

    For sums that are made elsewhere: over chunks, or over devices with `jax.lax.psum`.

    Args:
      family: the likelihood.
      sums: sums of the statistics `T(x)`, a `Point` of the likelihood.
      count: number of observations, or sum of their weights; shape `batch`.

    Returns:
      A `Point` of the prior, to be added leaf by leaf.

    Raises:
      TypeError: `family` is not a family, or `sums` not a point of it.
      ValueError: the family has no conjugate prior, or the shapes do not fit.

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> tuple(map(float, conjugate_increment(family, family.Point(jnp.asarray(3.0)), 10)))
      (3.0, 7.0)
    """
    pair = pair_of(family)
    sums = jax.tree.map(lambda leaf: checks.floating("sums", leaf), sums)
    batch = family.batch_shape(sums)
    count = checks.floating("count", count).astype(jax.tree.leaves(sums)[0].dtype)
    checks.require_broadcastable(sums=batch, count=count.shape)
    return pair.increment(sums, jnp.broadcast_to(count, batch))


def natural_from_draw(family: ExponentialFamily, draw: Any) -> Any:
    """Natural parameter of the likelihood for an observation of its conjugate prior.

    What turns samples, means or modes of a posterior into members: a rate, a probability, or a mean
    with its variance.

    Args:
      family: the likelihood.
      draw: what `conjugate_prior(family).sample` gives, shape `batch + event_shape` of the prior.

    Returns:
      A `Point` of the likelihood.

    Raises:
      TypeError: `family` is not a family.
      ValueError: it has no conjugate prior, or a concrete draw lies outside its support.

    Examples:
      >>> from igeojax import families
      >>> family = families.Exponential()
      >>> float(family.mean(natural_from_draw(family, jnp.asarray(4.0))))
      0.25
    """
    pair = pair_of(family)
    pair.prior.require_support(draw)
    return pair.natural(pair.prior._data(draw))


def _observations(
    family: ExponentialFamily, prior: Any, x: Any, weights: ArrayLike | None
) -> tuple[Any, Array]:
    """Checked observations on axis 0, and their weights.

    Raises:
      ValueError: no axis of observations, one off the support, or bad weights.
    """
    dtype = jnp.result_type(float, *jax.tree.leaves(prior))
    x = family._data(x, dtype)
    batch = family._data_batch_shape(x)
    if not batch:
        raise ValueError(
            f"x must have observations of {family} along axis 0; got shape "
            f"{jax.tree.map(jnp.shape, x)}. Pass x[None] for a single one."
        )
    family.require_support(x)
    # Labels have no dtype of their own to give: that of the prior decides.
    kinds = [leaf.dtype for leaf in jax.tree.leaves(x) if jnp.issubdtype(leaf.dtype, jnp.floating)]
    kind = jnp.result_type(*kinds or [dtype])
    if weights is None:
        return x, jnp.ones(batch[0], kind)
    return x, checked_weights(weights, batch[0]).astype(kind)


def posterior(
    family: ExponentialFamily, prior: Any, x: ArrayLike, weights: ArrayLike | None = None
) -> Any:
    """Posterior of a conjugate prior: natural parameters of the prior plus sums over the data.

    A posterior is a prior for the next data: observations at once, one by one or in chunks (a
    `jax.lax.scan` that carries it) give the same. One pass over the data.

    Args:
      family: the likelihood.
      prior: `Point` or `Params` of `conjugate_prior(family)`. A `Point` may lie outside the natural
        domain, an improper prior: all 0, say. Whether the posterior is proper then
        `in_natural_domain` tells.
      x: observations of shape `(N, *batch) + event_shape`; N may be 0.
      weights: non-negative, shape `(N,)`; counts, powers of the likelihood, or 0 to leave one out.

    Returns:
      The posterior, in the chart of `prior`. Of traced data off the support, which
      `family.in_support` tells, it means nothing.

    Raises:
      TypeError: `family` is not a family, `prior` not of its conjugate prior, or `x` not numeric.
      ValueError: no conjugate prior, no axis of observations, a concrete value off the support, or
        bad weights.

    References:
      [DiaconisYlvisaker1979] section 2; [Murphy2007] sections 2, 6 and 9.

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> prior = conjugate_prior(family).natural_from_params(a=1.0, b=1.0)
      >>> tuple(map(float, posterior(family, prior, jnp.array([1, 1, 0]))))
      (3.0, 2.0)
    """
    pair_of(family)
    x, weights = _observations(family, prior, x, weights)
    return update_of(family, prior, x, weights).posterior


def log_evidence(
    family: ExponentialFamily, prior: Any, x: ArrayLike, weights: ArrayLike | None = None
) -> Float[Array, "*batch"]:
    """Log marginal likelihood `log int prod_n p(x_n | theta)^(w_n) dprior(theta)`, exact.

    `psi(posterior) - psi(prior) + sum_n w_n (log h(x_n) + c)` with `psi` of the prior's family. Of
    the difference the form with the smaller terms is taken: also as `<step, E[S]>` plus a Bregman
    divergence, which keeps its digits where the prior counts for much more than the data.

    Args:
      family: the likelihood.
      prior: `Point` or `Params` of `conjugate_prior(family)`.
      x: observations of shape `(N, *batch) + event_shape`.
      weights: non-negative, shape `(N,)`; None weighs all alike.

    Returns:
      Nats; nan for an improper prior; traced data off the support give -inf or nan.

    Raises:
      TypeError: as `posterior`.
      ValueError: as `posterior`.

    References:
      [Murphy2007] section 3.5 (marginal likelihood).
      [KassRaftery1995] section 3.1.

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> prior = conjugate_prior(family).natural_from_params(a=1.0, b=1.0)
      >>> round(float(jnp.exp(log_evidence(family, prior, jnp.array([1, 1, 0])))), 6)
      0.083333
    """
    pair = pair_of(family)
    x, weights = _observations(family, prior, x, weights)
    update = update_of(family, prior, x, weights)
    ratio = log_ratio(pair.prior, update.theta, update.step)
    value = ratio + jnp.broadcast_to(update.log_base, ratio.shape)
    possible = _possible(family, x, value.shape)
    return jnp.where(possible | jnp.isnan(value), value, -jnp.inf)


def _possible(family: ExponentialFamily, x: ArrayLike, shape: tuple[int, ...]) -> Array:
    """Whether all observations lie in the support."""
    return jnp.broadcast_to(jnp.all(family.in_support(x), axis=0), shape)


def log_bayes_factor(
    family: ExponentialFamily,
    prior: Any,
    other: Any,
    x: ArrayLike,
    weights: ArrayLike | None = None,
) -> Float[Array, "*batch"]:
    """Log Bayes factor of two priors, `log p(x | prior) - log p(x | other)`.

    Positive where the data speak for the first; above `log 10` strongly, above `log 100` decisively
    in Jeffreys' words. The base measure, which may be the largest term, cancels and is not
    computed. Of different likelihoods it is the difference of their `log_evidence`.

    Args:
      family: the likelihood.
      prior: `Point` or `Params` of `conjugate_prior(family)`.
      other: likewise.
      x: observations of shape `(N, *batch) + event_shape`.
      weights: non-negative, shape `(N,)`; None weighs all alike.

    Returns:
      Nats; nan for an improper prior, and of traced data off the support.

    Raises:
      TypeError: as `posterior`.
      ValueError: as `posterior`.

    References:
      [KassRaftery1995] section 3.2.

    Examples:
      >>> from igeojax import families
      >>> family = families.Bernoulli()
      >>> fair, flat = (conjugate_prior(family).natural_from_params(a, a) for a in (1e6, 1.0))
      >>> round(float(log_bayes_factor(family, fair, flat, jnp.array([1, 0] * 8))), 2)
      1.21
    """
    pair = pair_of(family)
    x, weights = _observations(family, prior, x, weights)
    updates = [update_of(family, law, x, weights) for law in (prior, other)]
    first, second = (log_ratio(pair.prior, update.theta, update.step) for update in updates)
    value = jnp.subtract(*jnp.broadcast_arrays(first, second))
    return jnp.where(_possible(family, x, value.shape), value, jnp.nan)
