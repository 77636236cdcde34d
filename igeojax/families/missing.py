"""Observations with missing entries, marked by nan: exact marginals and expected statistics.

A missing entry is integrated out. Of `MultivariateNormal`, `DiagonalNormal` and `IsotropicNormal`
any entry may be missing, of a `Product` any entry of a factor that allows it and any factor; of
the other families an observation is missing as a whole or not at all. This is right where *that* an
entry is missing tells nothing of its value beyond what is observed (missing at random).
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family


def observed_log_density(family: ExponentialFamily, theta: Any, x: Any) -> Float[Array, "*batch"]:
    """Log-density `log int p(x; theta) dx_missing` of the observed entries, in nats.

    Of a multivariate normal law one Cholesky factorization of `dim` rows an observation, whatever
    is missing: the missing rows of the covariance are those of the identity.

    Args:
      family: the family.
      theta: natural parameter; its batch axes broadcast against those of `x`.
      x: observations of shape `batch + event_shape`, nan where missing; of a product a tuple.

    Returns:
      Log-densities over the broadcast batch axes; 0 where nothing is observed, -inf off the
      support, nan where an entry is missing that the family cannot integrate out.

    Raises:
      TypeError: `theta` is not a point of the family or `x` is not numeric.
      ValueError: `x` lacks the event axes.

    References:
      [LittleRubin2002] section 11.2.

    Examples:
      >>> from igeojax import families
      >>> family = families.MultivariateNormal(2)
      >>> theta = family.natural_from_params(mean=jnp.zeros(2), covariance=jnp.eye(2))
      >>> round(float(observed_log_density(family, theta, jnp.array([0.0, jnp.nan]))), 6)
      -0.918939
    """
    require_family(family)
    return family._observed_log_density(theta, x)


def expected_statistics(family: ExponentialFamily, theta: Any, x: Any) -> Any:
    """Expected statistics `E[T(x) | observed entries; theta]`: the E-step of missing entries.

    `T(x)` where all is observed, the mean parameter where nothing is. Costs what
    `observed_log_density` does, and an inverse for a multivariate normal law.

    Args:
      family: the family.
      theta: natural parameter; its batch axes broadcast against those of `x`.
      x: observations of shape `batch + event_shape`, nan where missing; of a product a tuple.

    Returns:
      A point with the broadcast batch axes.

    Raises:
      TypeError: `theta` is not a point of the family or `x` is not numeric.
      ValueError: `x` lacks the event axes.

    References:
      [LittleRubin2002] section 11.2 (the normal law), 8.4.1 (exponential families).

    Examples:
      >>> from igeojax import families
      >>> family = families.MultivariateNormal(2)
      >>> theta = family.natural_from_params(
      ...     mean=jnp.array([1.0, -2.0]), covariance=jnp.array([[2.0, 0.8], [0.8, 1.0]])
      ... )
      >>> point = expected_statistics(family, theta, jnp.array([jnp.nan, -1.0]))
      >>> [round(v, 6) for v in point.x.tolist()], round(float(point.xx[0, 0] - 1.8**2), 6)
      ([1.8, -1.0], 1.36)
    """
    require_family(family)
    return family._expected_statistics(theta, x)


def require_observed_support(family: ExponentialFamily, x: Any) -> None:
    """Check that what is observed lies in the support, and that the family can do without the rest.

    Args:
      family: the family.
      x: observations of shape `batch + event_shape`, nan where missing; of a product a tuple.

    Raises:
      TypeError: `x` is not numeric.
      ValueError: a concrete observation is off the support, or misses a part of what the family
        observes only as a whole.

    Examples:
      >>> from igeojax import families
      >>> require_observed_support(families.Gamma(), [1.0, jnp.nan])
    """
    require_family(family)
    filled = family._filled(x)
    for leaf in jax.tree.leaves(filled):
        checks.require_values(
            f"data of {family}",
            leaf,
            lambda values: ~np.isnan(values),
            "missing as whole observations",
            "Its marginals have no closed form: set all entries of such a row to nan, or drop it.",
        )
    family.require_support(filled)


def completed(family: ExponentialFamily, x: Any) -> Any:
    """Data in which each missing entry is that of the nearest row above that has one.

    Rows above the first that has one take the last of all. Each column keeps about its own law, and
    columns that miss entries together keep their dependence: a place to start EM from, not an
    estimate.

    Args:
      family: the family.
      x: observations of shape `(N, ...) + event_shape`, nan where missing; of a product a tuple.

    Returns:
      The same without nan.

    Raises:
      TypeError: `x` is not numeric.
      ValueError: a concrete column has no observed entry.

    Examples:
      >>> from igeojax import families
      >>> completed(families.Normal(), jnp.array([jnp.nan, 1.0, jnp.nan, 2.0])).tolist()
      [2.0, 1.0, 1.0, 2.0]
    """
    require_family(family)
    return family._filled(jax.tree.map(_carried_forward, x))


def _carried_forward(x: Any) -> Array:
    x = checks.as_array("data", x)
    seen = ~jnp.isnan(x)
    rows = jnp.arange(x.shape[0]).reshape((-1,) + (1,) * (x.ndim - 1))
    nearest = jax.lax.cummax(jnp.where(seen, rows, -1), axis=0)
    checks.require_values(
        "observed entries of each column",
        jnp.sum(seen, axis=0),
        lambda count: count > 0,
        "one or more",
        "Drop columns without any.",
    )
    return jnp.take_along_axis(x, jnp.where(nearest < 0, nearest[-1:], nearest), axis=0)
