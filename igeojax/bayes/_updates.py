"""What data do to a conjugate prior, in the chart that the prior is written in.

Natural parameters add. Where the prior of a normal law comes as source parameters, its location and
the mean of the data enter by their difference alone: `b + k m^2 / 2` of a far location m would
round the scale b away.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.bayes._pairs import Pair, pair_of
from igeojax.families.base import ExponentialFamily
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.log_normal import LogNormal
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.normal import Normal, NormalParams, NormalPoint
from igeojax.families.normal_inverse_gamma import (
    NormalInverseGamma,
    NormalInverseGammaParams,
    NormalInverseGammaPoint,
)
from igeojax.families.normal_inverse_wishart import (
    NormalInverseWishart,
    NormalInverseWishartParams,
    NormalInverseWishartPoint,
)
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.product import Product, ProductParams, ProductPoint


class Update(NamedTuple):
    """A posterior, and what its evidence is made of.

    `posterior`: in the chart of the prior. `theta` and `step`: natural parameters of the prior and
    what the data add, in a frame in which neither is far from 0. `log_base`: the sum of the logs of
    the base measure in that frame, and of the constants of the pair.
    """

    posterior: Any
    theta: Any
    step: Any
    log_base: Array


def added(family: ExponentialFamily, theta: Any, step: Any) -> Any:
    """Sum of two points, their batch axes broadcast."""
    batch = jnp.broadcast_shapes(family.batch_shape(theta), family.batch_shape(step))
    leaves = zip(jax.tree.leaves(theta), jax.tree.leaves(step), family.point_shape, strict=True)
    over = lambda leaf, shape: jnp.broadcast_to(leaf, (*batch, *shape))
    return family.from_leaves([over(a, shape) + over(b, shape) for a, b, shape in leaves])


def update_of(family: ExponentialFamily, prior: Any, x: Any, weights: Array) -> Update:
    """The update by observations on axis 0, checked, of a prior in either chart.

    Raises:
      TypeError: `prior` is of another family than the conjugate prior of `family`.
    """
    pair = pair_of(family)
    if isinstance(family, Product) and isinstance(prior, ProductParams | ProductPoint):
        parts = zip(family.families, prior, x, strict=True)
        return _together([update_of(*part, weights) for part in parts], type(prior))
    if isinstance(family, DiagonalNormal) and isinstance(prior, ProductParams):
        parts = [update_of(Normal(), part, x[..., i], weights) for i, part in enumerate(prior)]
        return _together(parts, ProductParams)
    if isinstance(prior, pair.prior.Params):
        return _from_params(family, pair, prior, x, weights)
    if not isinstance(prior, pair.prior.Point):
        raise TypeError(
            f"the prior of {family} must be a Point or Params of {pair.prior}; got "
            f"{type(prior).__name__}. Make one with bayes.conjugate_prior(family)."
            "natural_from_params(...)."
        )
    return _from_point(family, pair, prior, x, weights)


def _together(parts: list[Update], kind: type) -> Update:
    posterior, theta, step, log_base = zip(*parts, strict=True)
    return Update(
        kind(*posterior),
        ProductPoint(*theta),
        ProductPoint(*step),
        jnp.asarray(sum(jnp.broadcast_arrays(*log_base))),
    )


def _from_point(
    family: ExponentialFamily, pair: Pair, theta: Any, x: Any, weights: Array
) -> Update:
    theta = pair.prior._point(theta)
    sums = family.statistics_sum(x, weights)
    batch = family.batch_shape(sums)
    step = pair.increment(sums, jnp.broadcast_to(jnp.sum(weights), batch))
    log_base = _log_base(family, pair, x, weights)
    return Update(added(pair.prior, theta, step), theta, step, log_base)


def _log_base(family: ExponentialFamily, pair: Pair, x: Any, weights: Array) -> Array:
    values = family.log_base_measure(x)
    return jnp.tensordot(weights.astype(values.dtype), values + pair.constant, axes=1)


def _from_params(
    family: ExponentialFamily, pair: Pair, prior: Any, x: Any, weights: Array
) -> Update:
    if isinstance(family, NormalKnownScale):
        return _known_scale(family, pair, prior, x, weights)
    if isinstance(family, Normal | LogNormal):
        z = jnp.log(x) if isinstance(family, LogNormal) else x
        return _unknown_variance(prior, z, weights, _log_base(family, pair, x, weights))
    if isinstance(family, MultivariateNormal):
        return _unknown_covariance(family, pair, prior, x, weights)
    update = _from_point(family, pair, pair.prior.natural_from_params(*prior), x, weights)
    return update._replace(posterior=pair.prior.params_from_natural(update.posterior))


def _moments(z: Array, weights: Array, batch: tuple[int, ...]) -> tuple[Array, Array, Array]:
    """Sum of the weights, mean of the data, and what is left of them."""
    weights = weights.astype(z.dtype)
    count = jnp.sum(weights)
    mean = jnp.tensordot(weights, z, axes=1) / jnp.where(count > 0, count, 1.0)
    return count, jnp.broadcast_to(mean, batch), z - mean[None]


def _known_scale(
    family: NormalKnownScale, pair: Pair, prior: Any, x: Array, weights: Array
) -> Update:
    # In the frame of the mean of the data: the base measure, a normal density at 0, stays large.
    theta = Normal().natural_from_params(*prior)
    loc, scale = (jnp.broadcast_to(leaf, theta.x.shape) for leaf in prior)
    batch = jnp.broadcast_shapes(loc.shape, x.shape[1:])
    count, mean, apart = _moments(x, weights, x.shape[1:])
    loc, scale, mean = (jnp.broadcast_to(leaf, batch) for leaf in (loc, scale, mean))
    own, given = scale**-2, jnp.broadcast_to(count / family.scale**2, batch)
    share = given / (own + given)
    posterior = NormalParams(loc + share * (mean - loc), (own + given) ** -0.5)
    theta = NormalPoint(own * (loc - mean), -0.5 * own)
    step = NormalPoint(jnp.zeros_like(given), -0.5 * given)
    return Update(posterior, theta, step, _log_base(family, pair, apart, weights))


def _unknown_variance(prior: Any, z: Array, weights: Array, log_base: Array) -> Update:
    law = NormalInverseGamma()
    batch = jnp.broadcast_shapes(*(jnp.shape(leaf) for leaf in prior), z.shape[1:])
    loc, concentration, shape, scale = (jnp.broadcast_to(leaf, batch) for leaf in prior)
    count, mean, apart = _moments(z, weights, batch)
    count = jnp.broadcast_to(count, batch)
    whole = concentration + count
    share, step = count / whole, mean - loc
    scatter = jnp.tensordot(weights.astype(z.dtype), apart**2, axes=1)
    more = 0.5 * (jnp.broadcast_to(scatter, batch) + concentration * share * step * step)
    posterior = NormalInverseGammaParams(
        loc + share * step, whole, shape + 0.5 * count, scale + more
    )
    # psi does not depend on the location: at 0 no chart holds it.
    nothing = jnp.zeros_like(loc)
    theta = law.natural_from_params(nothing, concentration, shape, scale)
    step = NormalInverseGammaPoint(-0.5 * count, -more, nothing, -0.5 * count)
    return Update(posterior, theta, step, log_base)


def _unknown_covariance(
    family: MultivariateNormal, pair: Pair, prior: Any, x: Array, weights: Array
) -> Update:
    law = NormalInverseWishart(family.dim)
    mean, concentration, dof, scale = law._checked(*prior)
    batch = jnp.broadcast_shapes(concentration.shape, x.shape[1:-1])
    mean = jnp.broadcast_to(mean, (*batch, family.dim))
    concentration, dof = (jnp.broadcast_to(leaf, batch) for leaf in (concentration, dof))
    scale = jnp.broadcast_to(scale, (*batch, family.dim, family.dim))
    count, center, apart = _moments(x, weights, (*batch, family.dim))
    count = jnp.broadcast_to(count, batch)
    whole = concentration + count
    share, step = count / whole, center - mean
    scatter = jnp.einsum("n,n...i,n...j->...ij", weights.astype(x.dtype), apart, apart)
    outer = (concentration * share)[..., None, None] * step[..., :, None] * step[..., None, :]
    more = jnp.broadcast_to(scatter, outer.shape) + outer
    posterior = NormalInverseWishartParams(
        mean + share[..., None] * step, whole, dof + count, scale + more
    )
    nothing = jnp.zeros_like(mean)
    theta = law.natural_from_params(nothing, concentration, dof, scale)
    change = NormalInverseWishartPoint(-0.5 * count, -0.5 * more, nothing, -0.5 * count)
    return Update(posterior, theta, change, _log_base(family, pair, x, weights))


def log_ratio(family: ExponentialFamily, theta: Any, step: Any) -> Array:
    """`psi(theta + step) - psi(theta)`, of two exact forms the one with the smaller terms.

    Of few data against much prior the difference loses every digit, and `<step, E[S]>` plus a
    Bregman divergence none; of much data against a vague prior it is the other way about.
    """
    whole = added(family, theta, step)
    batch = family.batch_shape(whole)
    theta, step = (
        family.from_leaves(
            [
                jnp.broadcast_to(leaf, (*batch, *shape))
                for leaf, shape in zip(jax.tree.leaves(point), family.point_shape, strict=True)
            ]
        )
        for point in (theta, step)
    )
    before, after = family.log_partition(theta), family.log_partition(whole)
    slope = family.mean_from_natural(theta)
    gap = family.bregman(whole, theta, step=step)
    size = family.pairing(jax.tree.map(jnp.abs, step), jax.tree.map(jnp.abs, slope)) + gap
    value = jnp.where(
        size < jnp.abs(before) + jnp.abs(after),
        family.pairing(step, slope) + gap,
        after - before,
    )
    known = family.in_natural_domain(theta) & family.in_natural_domain(whole)
    return jnp.where(known, value, jnp.nan)
