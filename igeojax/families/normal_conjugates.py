"""Divergences of conjugate laws of a normal mean and precision, from their source parameters.

A location of `1e4` in natural coordinates, which hold `b + k m^2 / 2`, rounds the scale `b` away;
here locations enter by their difference alone.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.families._pairs import over, selected
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.remainders import ratio_remainder


class NormalConjugate(NamedTuple):
    """`x ~ Normal(loc, 1 / (concentration * y))` where `y` has a gamma or Wishart law `theta`.

    The law of the precision `y` is given by its natural parameter `(a, -b)`.
    """

    loc: Array
    concentration: Array
    theta: Any


def known_conjugate(
    precisions: ExponentialFamily, loc: Array, concentration: Array, theta: Any
) -> NormalConjugate:
    """The law with nan for all its numbers where one of them is outside its domain.

    Args:
      precisions: family of the precision.
      loc: shape `batch` or `batch + (dim,)`.
      concentration: shape `batch`.
      theta: natural parameter of the precision.

    Returns:
      The law.

    Examples:
      >>> from igeojax.families.gamma import Gamma
      >>> one, gamma = jnp.ones(()), Gamma()
      >>> known_conjugate(gamma, one, -one, gamma.Point(one, -one)).loc.item()
      nan
    """
    axes = tuple(range(concentration.ndim, loc.ndim))
    inside = precisions.in_natural_domain(theta) & jnp.isfinite(loc).all(axis=axes)
    inside = inside & (concentration > 0) & (concentration < jnp.inf)
    return NormalConjugate(
        jnp.where(over(inside, axes), loc, jnp.nan),
        jnp.where(inside, concentration, jnp.nan),
        selected(precisions, inside, theta, jax.tree.map(lambda leaf: leaf * jnp.nan, theta)),
    )


def normal_conjugate_parts(
    precisions: ExponentialFamily,
    p: NormalConjugate,
    q: NormalConjugate,
    order: Array,
    *,
    outer: Callable[[Array, Array], Array],
    square: Callable[[Any, Array], Array],
) -> tuple[Array, Array, Array]:
    """`u`, `v` with `-log int p^a q^(1-a) = a u + (1-a) v`, and whether the integral is finite.

    The mixture m has the concentration `k = a k_p + (1-a) k_q`, the mean of the locations by their
    shares of it, and the mixture of the laws of the precision with `J d d^T / 2` added to their
    rates, `J = a (1-a) k_p k_q / k`, d the difference of the locations. `u` is the divergence of m
    from p: that of the precisions, and the mean over them of that of the normal laws.

    Args:
      precisions: family of the precision, natural parameters `(a, -b)`.
      p: a law.
      q: a law of the same batch shape.
      order: the statistical order a, a scalar.
      outer: `w d d^T` of a difference d and a weight w.
      square: the mean `d^T E[y] d` under a natural parameter of the precision.

    Returns:
      The parts; at order 1 `v` is KL(p || q), at order 0 `u` is KL(q || p).

    References:
      [Murphy2007] sections 6 and 9 (the laws).

    Examples:
      >>> from igeojax.families.gamma import Gamma
      >>> one, gamma = jnp.ones(()), Gamma()
      >>> p = NormalConjugate(2e8 * one, one, gamma.Point(one, -one))
      >>> q = p._replace(loc=p.loc - 16)
      >>> _, kl, _ = normal_conjugate_parts(
      ...     gamma, p, q, one, outer=lambda d, w: w * d * d, square=lambda theta, d: d * d
      ... )
      >>> kl.item()
      128.0
    """
    weights = order * p.concentration, (1 - order) * q.concentration
    concentration = weights[0] + weights[1]
    known = concentration > 0
    concentration = jnp.where(known, concentration, q.concentration)
    share_p, share_q = (weight / concentration for weight in weights)
    apart = p.loc - q.loc
    step, change = p.concentration - q.concentration, jax.tree.map(jnp.subtract, p.theta, q.theta)
    added = outer(apart, 0.5 * weights[0] * share_q)
    moved = lambda theta, sign: theta._replace(x=theta.x + sign * added)
    mixed = jax.tree.map(lambda u, v: order * u + (1 - order) * v, p.theta, q.theta)
    mixed = moved(mixed, -1)
    inside = known & precisions.in_natural_domain(mixed)
    mixed = selected(precisions, inside, mixed, q.theta)
    spread = square(mixed, apart)

    def part(law: NormalConjugate, weight: Array, share: Array) -> Array:
        to_law = moved(jax.tree.map(lambda leaf: weight * leaf, change), 1)
        dim = max(apart.shape[concentration.ndim :], default=1)
        normal = dim * ratio_remainder(law.concentration, concentration, weight * step)
        push = law.concentration * share**2 * spread
        return precisions._bregman(law.theta, mixed, to_law) + 0.5 * (normal + push)

    return part(p, 1 - order, share_q), part(q, -order, share_p), inside
