"""Divergences of conjugate laws of a normal mean and precision, from their source parameters.

A location of `1e4` in natural coordinates, which hold `b + k m^2 / 2`, rounds the scale `b` away;
here locations enter by their difference alone.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.families._pairs import over, selected
from igeojax.families.base import ExponentialFamily
from igeojax.families.gamma import Gamma, GammaPoint
from igeojax.families.wishart import Wishart, WishartPoint
from igeojax.numerics.positive_definite import log_det_ratio, symmetrized, whitened
from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.triangular import cholesky, solve_triangular

_GAMMA = Gamma()
_Precisions = Callable[[Any, Any, Array, Array, Array], tuple[Array, Array, Array, Array]]


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
    """The law, with nan for all its numbers where one of them is outside its domain.

    Args:
      precisions: family of the precision.
      loc: shape `batch` or `batch + (dim,)`.
      concentration: shape `batch`.
      theta: natural parameter of the precision.

    Returns:
      The law.

    Examples:
      >>> one = jnp.ones(())
      >>> known_conjugate(_GAMMA, one, -one, GammaPoint(one, -one)).loc.item()
      nan
    """
    event = loc.shape[concentration.ndim :]
    axes = tuple(range(-len(event), 0))
    inside = precisions.in_natural_domain(theta) & jnp.isfinite(loc).all(axis=axes)
    inside = inside & (concentration > 0) & (concentration < jnp.inf)
    nothing = jax.tree.map(lambda leaf: jnp.full_like(leaf, jnp.nan), theta)
    return NormalConjugate(
        jnp.where(over(inside, event), loc, jnp.nan),
        jnp.where(inside, concentration, jnp.nan),
        selected(precisions, inside, theta, nothing),
    )


def normal_conjugate_parts(
    precision_parts: _Precisions, p: NormalConjugate, q: NormalConjugate, order: Array
) -> tuple[Array, Array, Array]:
    """`u`, `v` with `-log int p^a q^(1-a) = a u + (1-a) v`, and whether the integral is finite.

    The mixture m has the concentration `k = a k_p + (1-a) k_q`, the mean of the locations by their
    shares of it, and the mixture of the laws of the precision with `w d d^T` added to their rates,
    `w = a (1-a) k_p k_q / (2 k)`, d the difference of the locations. `u` is the divergence of m
    from p: that of the precisions, and the mean over them of that of the normal laws.

    Args:
      precision_parts: `gamma_precision_parts` or `wishart_precision_parts`.
      p: a law.
      q: a law of the same batch shape.
      order: the statistical order a, a scalar.

    Returns:
      The parts; at order 1 `v` is KL(p || q), at order 0 `u` is KL(q || p).

    References:
      [Murphy2007] sections 6 and 9 (the laws).

    Examples:
      >>> one = jnp.ones(())
      >>> p = NormalConjugate(2e8 * one, one, GammaPoint(one, -one))
      >>> q = p._replace(loc=p.loc - 16)
      >>> _, kl, _ = normal_conjugate_parts(gamma_precision_parts, p, q, one)
      >>> kl.item()
      128.0
    """
    weights = order * p.concentration, (1 - order) * q.concentration
    concentration = weights[0] + weights[1]
    positive = concentration > 0
    concentration = jnp.where(positive, concentration, q.concentration)
    share_p, share_q = (weight / concentration for weight in weights)
    apart, step = p.loc - q.loc, p.concentration - q.concentration
    dim = math.prod(apart.shape[concentration.ndim :])
    added = 0.5 * weights[0] * share_q
    of_p, of_q, square, inside = precision_parts(p.theta, q.theta, order, apart, added)

    def normal(one: Array, step: Array, share: Array) -> Array:
        return 0.5 * (dim * ratio_remainder(one, concentration, step) + one * share**2 * square)

    first = of_p + normal(p.concentration, (1 - order) * step, share_q)
    second = of_q + normal(q.concentration, -order * step, share_p)
    # Without a law at all the parts are nan, and not those of a divergent integral.
    return first, second, positive & inside | jnp.isnan(first + second)


def gamma_precision_parts(
    p: GammaPoint, q: GammaPoint, order: Array, apart: Array, added: Array
) -> tuple[Array, Array, Array, Array]:
    """What laws of the precision bring to `normal_conjugate_parts`, for one dimension.

    Args:
      p: natural parameter of a precision.
      q: likewise.
      order: the statistical order a, a scalar.
      apart: the difference d of the locations.
      added: the weight w.

    Returns:
      The divergences from p and q of the precision under the mixture m, the mean there of
      `d^T y d`, and whether m is a law.

    Examples:
      >>> one = jnp.ones(())
      >>> p = GammaPoint(one, -one)
      >>> gamma_precision_parts(p, p, one, 3 * one, 0 * one)[2].item()
      9.0
    """
    extra = apart * (added * apart)
    step = jax.tree.map(jnp.subtract, p, q)
    mixed = jax.tree.map(lambda u, v: order * u + (1 - order) * v, p, q)
    mixed = mixed._replace(x=mixed.x - extra)
    inside = _GAMMA.in_natural_domain(mixed)
    mixed = selected(_GAMMA, inside, mixed, q)

    def of(law: GammaPoint, weight: Array) -> Array:
        to_law = GammaPoint(weight * step.log_x, weight * step.x + extra)
        return _GAMMA._bregman(law, mixed, to_law)

    square = apart * (-mixed.log_x / mixed.x * apart)
    return of(p, 1 - order), of(q, -order), square, inside


def wishart_precision_parts(
    p: WishartPoint, q: WishartPoint, order: Array, apart: Array, added: Array
) -> tuple[Array, Array, Array, Array]:
    """As `gamma_precision_parts`, for Wishart laws; d is a vector.

    The rate of m is `M + w d d^T` with the mixture M of the rates. Far locations would round M
    away: with e the difference d whitened by a factor of M, the symmetric inverse root of
    `I + w e e^T` is applied in closed form.

    Args:
      p: natural parameter of a precision.
      q: likewise.
      order: the statistical order a, a scalar.
      apart: the difference d of the locations, shape `batch + (dim,)`.
      added: the weight w, shape `batch`.

    Returns:
      As `gamma_precision_parts`.

    Examples:
      >>> p = WishartPoint(jnp.ones(()), -jnp.eye(1))
      >>> wishart_precision_parts(p, p, jnp.ones(()), 3 * jnp.ones(1), jnp.zeros(()))[2].item()
      9.0
    """
    family = Wishart(apart.shape[-1])
    step = jax.tree.map(jnp.subtract, p, q)
    mixed = jax.tree.map(lambda u, v: order * u + (1 - order) * v, p, q)
    inside = family.in_natural_domain(mixed)
    mixed = selected(family, inside, mixed, q)
    factor = cholesky(-mixed.x)
    white = solve_triangular(factor, apart[..., None])[..., 0]
    length = jnp.sum(white**2, axis=-1)
    inside = inside & (1 + added * length > 0)
    excess = jnp.where(inside, added, 0.0) * length
    root = jnp.sqrt(1 + excess)
    slope = jnp.where(inside, added, 0.0) / root
    change = whitened(factor, -step.x)

    def of(law: WishartPoint, weight: Array) -> Array:
        # S (I + C) S - I for S = I - w e e^T / (r (1 + r)), r^2 = 1 + w |e|^2.
        own = _shrunk(weight * change, white, slope / (1 + root))
        own = own - (slope / root)[..., None, None] * _outer(white, white)
        far = log_det_ratio(cholesky(-law.x), factor) - jnp.log1p(excess)
        return family._mean_bregman(law.log_det_x, mixed.log_det_x, weight * step[0], own, far)

    return of(p, 1 - order), of(q, -order), mixed.log_det_x * length / (1 + excess), inside


def _outer(u: Array, v: Array) -> Array:
    return u[..., :, None] * v[..., None, :]


def _shrunk(matrix: Array, e: Array, share: Array) -> Array:
    """`S A S` for a symmetric A and `S = I - c e e^T`."""
    scaled = share[..., None] * e
    image = jnp.einsum("...ij,...j->...i", matrix, scaled)
    square = jnp.sum(image * scaled, axis=-1)[..., None, None] * _outer(e, e)
    return symmetrized(matrix - 2 * _outer(e, image) + square)
