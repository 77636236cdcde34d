"""Scores of a family: derivatives of its log-density in the parameter and in the observation."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.families.product import Product


def parameter_score(family: ExponentialFamily, theta: Any, x: ArrayLike) -> Any:
    """Score `grad_theta log p(x; theta) = T(x) - eta`, of mean 0 and covariance the Fisher matrix.

    Args:
      family: the family.
      theta: a single natural parameter.
      x: observations of shape `batch + event_shape`.

    Returns:
      A point of the family with leaves of shape `batch + point_shape`; nan off the support.

    Raises:
      TypeError: `family` is no family, or `theta` no point of it.
      ValueError: `theta` is a batch; use `jax.vmap`.

    References:
      [AmariNagaoka2000] section 2.2.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> score = parameter_score(poisson, poisson.natural_from_params(3.0), jnp.array([3, 5]))
      >>> score.x.round(6).tolist()
      [0.0, 2.0]
    """
    _require_single(family, theta)
    inside = family.in_support(x)
    statistics, eta = family.statistics(x), family.mean_from_natural(theta)

    def difference(statistic: Array, mean: Array) -> Array:
        lead = (1,) * (statistic.ndim - mean.ndim)
        known = inside.reshape(inside.shape + (1,) * mean.ndim)
        return jnp.where(known, statistic - mean.reshape(lead + mean.shape), jnp.nan)

    return jax.tree.map(difference, statistics, eta)


def data_score(family: ExponentialFamily, theta: Any, x: ArrayLike) -> Array:
    """Score `grad_x log p(x; theta)` of a density, in which the normalizer plays no part.

    Of directions and of laws on the simplex it is that of the density's formula in the coordinates
    of the space around, not along the manifold.

    Args:
      family: a family of densities, not of counts or labels.
      theta: a single natural parameter.
      x: observations of shape `batch + event_shape`.

    Returns:
      Derivatives of the shape of `x`; nan off the support.

    Raises:
      TypeError: `family` is no family, `theta` no point of it, or `x` not real.
      ValueError: `theta` is a batch, or observations are integers or a tuple.

    References:
      [Hyvarinen2005] section 2.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> theta = normal.natural_from_params(loc=1.0, scale=2.0)
      >>> data_score(normal, theta, jnp.array([3.0, 5.0])).tolist()
      [-0.5, -1.0]
    """
    _require_single(family, theta)
    if family._discrete:
        raise ValueError(
            f"observations must be real; got those of {family}. A law of counts or labels has no "
            "derivative in them: take ratios of its probabilities."
        )
    if isinstance(family, Product):
        raise ValueError(
            f"observations must be one array; those of {family} are a tuple. Its factors are "
            "independent: take the score of each of its families."
        )
    x = checks.floating("x", x)
    checks.require_trailing_shape("x", x, family.event_shape)
    flat = x.reshape((-1, *family.event_shape))
    slope = jax.vmap(jax.grad(lambda row: family.log_density(theta, row)))(flat)
    slope = slope.reshape(x.shape)
    inside = family.in_support(x)
    return jnp.where(inside.reshape(inside.shape + (1,) * len(family.event_shape)), slope, jnp.nan)


def _require_single(family: ExponentialFamily, theta: Any) -> None:
    """Check that `theta` is one point of the family.

    Raises:
      ValueError: it is a batch.
    """
    require_family(family)
    if batch := family.batch_shape(theta):
        raise ValueError(f"theta must be a single point; got batch shape {batch}. Use jax.vmap.")
