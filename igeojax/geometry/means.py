"""Means of several laws: averages in the two dual affine charts."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.families.base import ExponentialFamily
from igeojax.families.weighting import normalized_weights, weighted_mean
from igeojax.geometry._points import row_points


def e_mean(
    family: ExponentialFamily, points: Any, weights: Float[ArrayLike, "laws"] | None = None
) -> Any:
    """Exponential mean, `argmin_q sum_i w_i KL(q || p_i)`: the average of natural parameters.

    The normalized geometric mean of the densities; near 0 where one of them is. One pass.

    Args:
      family: the family.
      points: natural or source parameters, the laws along axis 0; more axes are batch.
      weights: non-negative, one for each law; None weighs all alike.

    Returns:
      The natural parameter of the mean.

    Raises:
      TypeError: `family` is not a family, or `points` not points of it.
      ValueError: no axis of laws, or weights of a wrong shape, negative, or all zero.

    References:
      [NielsenNock2009] (sided centroids).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> mean = e_mean(poisson, poisson.Params(jnp.array([1.0, 4.0])))
      >>> round(float(poisson.params_from_natural(mean).rate), 6)
      2.0
    """
    theta, count = row_points(family, "points", points)
    return _average(theta, normalized_weights(weights, count))


def m_mean(
    family: ExponentialFamily, points: Any, weights: Float[ArrayLike, "laws"] | None = None
) -> Any:
    """Mixture mean, `argmin_q sum_i w_i KL(p_i || q)`: the average of mean parameters.

    The member of the family with the moments of the mixture of the laws. One pass, and one
    `natural_from_mean`.

    Args:
      family: the family.
      points: natural or source parameters, the laws along axis 0; more axes are batch.
      weights: non-negative, one for each law; None weighs all alike.

    Returns:
      The natural parameter of the mean.

    Raises:
      TypeError: `family` is not a family, or `points` not points of it.
      ValueError: no axis of laws, or weights of a wrong shape, negative, or all zero.

    References:
      [Banerjee2005] proposition 1; [NielsenNock2009] (sided centroids).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> mean = m_mean(poisson, poisson.Params(jnp.array([1.0, 4.0])))
      >>> round(float(poisson.params_from_natural(mean).rate), 6)
      2.5
    """
    theta, count = row_points(family, "points", points)
    eta = family.mean_from_natural(theta)
    return family.natural_from_mean(_average(eta, normalized_weights(weights, count)))


def _average(points: Any, weights: Array | None) -> Any:
    if weights is None:
        return jax.tree.map(lambda leaf: weighted_mean(leaf, None), points)

    def mean(leaf: Array) -> Array:
        # A law of weight 0 does not count, even one at infinity.
        counted = weights.reshape((-1,) + (1,) * (leaf.ndim - 1)) > 0
        return weighted_mean(jnp.where(counted, leaf, 0.0), weights)

    return jax.tree.map(mean, points)
