"""Geodesics of a family: straight lines of its two dual affine charts."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.families._pairs import known_where
from igeojax.families.base import ExponentialFamily
from igeojax.geometry._points import aligned, natural_of_mean


def e_geodesic(family: ExponentialFamily, p: Any, q: Any, t: ArrayLike) -> Any:
    """Exponential geodesic `theta_t = (1-t) theta_p + t theta_q`, straight in natural coordinates.

    Its laws are the normalized geometric mixtures `p^(1-t) q^t`.

    Args:
      family: the family.
      p: natural or source parameters, where t is 0.
      q: natural or source parameters, where t is 1; batch axes broadcast.
      t: real times, any shape; also outside `[0, 1]`.

    Returns:
      Natural parameters of batch shape `t.shape + batch`; nan where the line has left the domain.

    Raises:
      TypeError: `family` is not a family, a point not of it, or `t` not real.
      ValueError: shapes do not fit the family.

    References:
      [Amari2016] chapter 2 (e- and m-geodesics).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> middle = e_geodesic(poisson, poisson.Params(1.0), poisson.Params(4.0), 0.5)
      >>> round(float(poisson.params_from_natural(middle).rate), 6)
      2.0
    """
    p, q = aligned(family, p=p, q=q)
    theta = _line(family, p, q, t)
    return known_where(family, family.in_natural_domain(theta), theta)


def m_geodesic(family: ExponentialFamily, p: Any, q: Any, t: ArrayLike) -> Any:
    """Mixture geodesic `eta_t = (1-t) eta_p + t eta_q`, straight in mean coordinates.

    Of categorical laws it is the mixture; of others the member of the family with the moments of
    the mixture. The cost is that of `natural_from_mean`, and of a check that its result is the law
    asked for.

    Args:
      family: the family.
      p: natural or source parameters, where t is 0.
      q: natural or source parameters, where t is 1; batch axes broadcast.
      t: real times, any shape; also outside `[0, 1]`.

    Returns:
      Natural parameters of batch shape `t.shape + batch`; nan where the line has left the domain.

    Raises:
      TypeError: `family` is not a family, a point not of it, or `t` not real.
      ValueError: shapes do not fit the family.

    References:
      [Amari2016] chapter 2 (e- and m-geodesics).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> middle = m_geodesic(poisson, poisson.Params(1.0), poisson.Params(4.0), 0.5)
      >>> round(float(poisson.params_from_natural(middle).rate), 6)
      2.5
    """
    p, q = aligned(family, p=p, q=q)
    eta = _line(family, family.mean_from_natural(p), family.mean_from_natural(q), t)
    return natural_of_mean(family, eta)


def _line(family: ExponentialFamily, p: Any, q: Any, t: ArrayLike) -> Any:
    """`(1-t) p + t q` of two points of one rank, the axes of t in front."""
    time = checks.floating("t", t)
    rank = len(family.batch_shape(p))
    leaves = zip(jax.tree.leaves(p), jax.tree.leaves(q), family.point_shape, strict=True)
    return family.from_leaves([_between(u, v, time, rank + len(event)) for u, v, event in leaves])


def _between(u: Array, v: Array, time: Array, axes: int) -> Array:
    dtype = jnp.result_type(u, v)
    t = time.astype(dtype).reshape(time.shape + (1,) * axes)
    u, v = (leaf.astype(dtype).reshape((1,) * time.ndim + leaf.shape) for leaf in (u, v))
    # At an infinite end 0 * inf, and inf - inf of a class that neither law has, would be nan.
    finite = jnp.isfinite(u) & jnp.isfinite(v)
    line = (1 - t) * jnp.where(finite, u, 0.0) + t * jnp.where(finite, v, 0.0)
    inner = (1 - jnp.where(t == 1, 0.5, t)) * u + jnp.where(t == 0, 0.5, t) * v
    far = jnp.where((t == 0) | (u == v), u, jnp.where(t == 1, v, inner))
    return jnp.where(finite, line, far)
