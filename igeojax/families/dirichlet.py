"""The Dirichlet family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.dirichlet import (
    dirichlet_bregman,
    dirichlet_log_density,
    dirichlet_mean_logs,
    log_beta,
)
from igeojax.numerics.dirichlet_metric import dirichlet_mean_logs_inverse
from igeojax.numerics.gamma import log_gamma


class DirichletPoint(NamedTuple):
    """One leaf: the statistic `log x` of all classes."""

    log_x: Float[Array, "*batch classes"]


class DirichletParams(NamedTuple):
    """Concentration of each class."""

    concentration: Float[Array, "*batch classes"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Dirichlet(ExponentialFamily[DirichletPoint, DirichletParams]):
    """Probability vectors: `T = log x`, `theta = concentration`, `h = prod 1/x_i`.

    `psi = sum lgamma(theta_i) - lgamma(sum theta)`; the density is with respect to the first
    `num_classes - 1` coordinates. Observations have all `num_classes` entries, summing to one
    within `sqrt(eps)`; on the boundary the density is its limit.

    Args:
      num_classes: number of classes `K >= 2`.

    Raises:
      TypeError: `num_classes` is not an integer.
      ValueError: `num_classes < 2`.

    References:
      [Minka2000] (the likelihood and its equations).

    Examples:
      >>> family = Dirichlet(3)
      >>> theta = family.natural_from_params(concentration=[1.0, 1.0, 1.0])
      >>> round(float(family.log_density(theta, jnp.array([0.2, 0.3, 0.5]))), 6)
      0.693147
    """

    num_classes: int

    Point = DirichletPoint
    Params = DirichletParams

    def __post_init__(self):
        checks.require_count("num_classes", self.num_classes, 2)

    @property
    def point_shape(self):
        return ((self.num_classes,),)

    @property
    def event_shape(self):
        return (self.num_classes,)

    @property
    def _inside(self):
        return 1 / self.num_classes

    def statistics(self, x: ArrayLike) -> DirichletPoint:
        return DirichletPoint(jnp.log(self._data(x)))

    def log_base_measure(self, x: ArrayLike) -> Array:
        return -jnp.sum(jnp.log(self._data(x)), axis=-1)

    def mean_log_base_measure(self, theta: DirichletPoint) -> Array:
        return -jnp.sum(dirichlet_mean_logs(theta.log_x), axis=-1)

    def log_partition(self, theta: DirichletPoint) -> Array:
        return log_beta(theta.log_x)

    def mean_from_natural(self, theta: DirichletPoint) -> DirichletPoint:
        self.batch_shape(theta)
        return DirichletPoint(dirichlet_mean_logs(theta.log_x))

    def natural_from_mean(self, eta: DirichletPoint) -> DirichletPoint:
        return DirichletPoint(dirichlet_mean_logs_inverse(eta.log_x))

    def natural_from_params(self, concentration: ArrayLike) -> DirichletPoint:
        """Natural parameter of a positive `concentration` of shape `batch + (num_classes,)`.

        Raises:
          TypeError: `concentration` is not real.
          ValueError: a wrong number of classes, or a concrete value not positive and finite.
        """
        concentration = checks.floating("concentration", concentration)
        checks.require_trailing_shape("concentration", concentration, (self.num_classes,))
        checks.require_positive("concentration", concentration)
        return DirichletPoint(concentration)

    def params_from_natural(self, theta: DirichletPoint) -> DirichletParams:
        return DirichletParams(theta.log_x)

    def in_natural_domain(self, theta: DirichletPoint) -> Array:
        return (jnp.isfinite(theta.log_x) & (theta.log_x > 0)).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else jnp.zeros(()).dtype
        whole = jnp.abs(jnp.sum(x, axis=-1) - 1) <= jnp.finfo(dtype).eps ** 0.5
        return (x >= 0).all(axis=-1) & whole

    def _entropy(self, theta: DirichletPoint) -> Array:
        return simplex_entropy(theta.log_x)

    def _log_density(self, theta: DirichletPoint, x: Array) -> Array:
        a, x = jnp.broadcast_arrays(theta.log_x, x)
        share = a / jnp.sum(a, axis=-1, keepdims=True)
        return dirichlet_log_density(a, x, _log_inside(x), x - share)

    def _bregman(self, theta: DirichletPoint, other: DirichletPoint, step: DirichletPoint) -> Array:
        return dirichlet_bregman(theta.log_x, other.log_x, step.log_x)

    def mean(self, theta: DirichletPoint) -> Array:
        return theta.log_x / jnp.sum(theta.log_x, axis=-1, keepdims=True)

    def variance(self, theta: DirichletPoint) -> Array:
        share = self.mean(theta)
        return share * (1 - share) / (1 + jnp.sum(theta.log_x, axis=-1, keepdims=True))

    def mode(self, theta: DirichletPoint) -> Array:
        """Mode, proportional to `concentration - 1` where that is positive.

        With no concentration above 1 it is the vertex of the smallest, or the center where all
        are 1.
        """
        above = jnp.maximum(theta.log_x - 1, 0.0)
        total = jnp.sum(above, axis=-1, keepdims=True)
        vertex = jax.nn.one_hot(
            jnp.argmin(theta.log_x, axis=-1), self.num_classes, dtype=above.dtype
        )
        flat = (theta.log_x == 1).all(axis=-1, keepdims=True)
        edge = jnp.where(flat, 1 / self.num_classes, vertex)
        return jnp.where(total > 0, above / jnp.where(total > 0, total, 1.0), edge)

    def _draw(self, key, theta, shape):
        # In log space: small concentrations draw below the smallest float.
        a = jnp.broadcast_to(theta.log_x, (*shape, self.num_classes))
        x = jax.nn.softmax(jax.random.loggamma(key, a, dtype=a.dtype), axis=-1)
        return jnp.maximum(x, jnp.finfo(a.dtype).tiny)


def simplex_entropy(a: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """Entropy of a Dirichlet law: minus its divergence from the uniform law and log (K-1)!.

    Neither term is positive, so nothing cancels: `psi - <theta, eta>` loses nine digits at
    concentrations of 1e8.

    Args:
      a: concentrations on the last axis.

    Returns:
      The entropy, in nats.

    Examples:
      >>> round(float(simplex_entropy(jnp.array([2.0, 2.0]))), 6)
      -0.125093
    """
    divergence = dirichlet_bregman(jnp.ones_like(a), a, 1 - a)
    return -divergence - log_gamma(jnp.asarray(a.shape[-1], a.dtype))


def _log_inside(x: Array) -> Array:
    """`log x`, 0 where x is 0."""
    return jnp.log(jnp.where(x == 0, 1.0, x))
