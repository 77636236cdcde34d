"""The beta family."""

import dataclasses
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.dirichlet import simplex_entropy
from igeojax.families.support import Support
from igeojax.numerics.dirichlet import (
    dirichlet_bregman,
    dirichlet_log_density,
    dirichlet_mean_logs,
    log_beta,
)
from igeojax.numerics.dirichlet_metric import dirichlet_mean_logs_inverse
from igeojax.numerics.incomplete import betainc
from igeojax.numerics.incomplete_inverse import betainc_inverse


class BetaPoint(NamedTuple):
    """Leaves: the statistics `log x` and `log(1 - x)`."""

    log_x: Float[Array, "*batch"]
    log_1mx: Float[Array, "*batch"]


class BetaParams(NamedTuple):
    """Concentrations of `x` and of `1 - x`, named as in scipy (TFP: `concentration1`, `0`)."""

    a: Float[Array, "*batch"]
    b: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Beta(ExponentialFamily[BetaPoint, BetaParams]):
    """Shares: `T = (log x, log(1 - x))`, `theta = (a, b)`, `h = 1 / (x (1 - x))`.

    `psi = betaln(theta_1, theta_2)`. The support is `[0, 1]`: at its ends the density is its limit,
    `log b` for `a = 1` at 0. The base measure keeps `a` and `b` exact (no `a - 1` in float32).

    References:
      [Minka2000] (the Dirichlet likelihood and its equations).

    Examples:
      >>> beta = Beta()
      >>> theta = beta.natural_from_params(a=1.0, b=8.0)
      >>> round(float(beta.log_density(theta, 0.0)), 6)
      2.079442
    """

    Point = BetaPoint
    Params = BetaParams
    _support = Support(0.0, 1.0)
    _observation = 0.5

    @property
    def point_shape(self):
        return ((), ())

    def statistics(self, x: ArrayLike) -> BetaPoint:
        x = self._data(x)
        return BetaPoint(jnp.log(x), jnp.log1p(-x))

    def log_base_measure(self, x: ArrayLike) -> Array:
        x = self._data(x)
        return -jnp.log(x) - jnp.log1p(-x)

    def mean_log_base_measure(self, theta: BetaPoint) -> Array:
        return -jnp.sum(dirichlet_mean_logs(_vector(theta)), axis=-1)

    def log_partition(self, theta: BetaPoint) -> Array:
        return log_beta(_vector(theta))

    def mean_from_natural(self, theta: BetaPoint) -> BetaPoint:
        self.batch_shape(theta)
        return _point(dirichlet_mean_logs(_vector(theta)))

    def natural_from_mean(self, eta: BetaPoint) -> BetaPoint:
        return _point(dirichlet_mean_logs_inverse(_vector(eta)))

    def natural_from_params(self, a: ArrayLike, b: ArrayLike) -> BetaPoint:
        """Natural parameter of `a > 0` and `b > 0`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete value is not positive and finite.
        """
        a, b = jnp.broadcast_arrays(*checks.floating_together(a=a, b=b))
        checks.require_positive("a", a)
        checks.require_positive("b", b)
        return BetaPoint(a, b)

    def params_from_natural(self, theta: BetaPoint) -> BetaParams:
        return BetaParams(*theta)

    def in_natural_domain(self, theta: BetaPoint) -> Array:
        a = _vector(theta)
        return (jnp.isfinite(a) & (a > 0)).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x >= 0) & (x <= 1)

    def _entropy(self, theta: BetaPoint) -> Array:
        return simplex_entropy(_vector(theta))

    def _log_density(self, theta: BetaPoint, x: Array) -> Array:
        a, b, x = jnp.broadcast_arrays(*theta, x)
        step = x - a / (a + b)
        # log(1 - x) of x and not of the rounded 1 - x; at the ends anything finite.
        logs = jnp.log(jnp.where(x == 0, 1.0, x)), jnp.log1p(-jnp.where(x == 1, 0.0, x))
        return dirichlet_log_density(*map(_pair, (a, x, logs[0], step), (b, 1 - x, logs[1], -step)))

    def _bregman(self, theta: BetaPoint, other: BetaPoint, step: BetaPoint) -> Array:
        return dirichlet_bregman(_vector(theta), _vector(other), _vector(step))

    def mean(self, theta: BetaPoint) -> Array:
        return theta.log_x / (theta.log_x + theta.log_1mx)

    def variance(self, theta: BetaPoint) -> Array:
        a, b = theta
        return a / (a + b) * (b / (a + b)) / (a + b + 1)

    def mode(self, theta: BetaPoint) -> Array:
        """Mode `(a - 1) / (a + b - 2)`; an end where only one of `a`, `b` is above 1.

        With neither above 1 it is the end of the smaller one, the middle for the uniform law.
        """
        a, b = theta
        left, right = jnp.maximum(a - 1, 0.0), jnp.maximum(b - 1, 0.0)
        peaked = left + right > 0
        edge = jnp.where((a == 1) & (b == 1), 0.5, jnp.where(a > b, 1.0, 0.0)).astype(a.dtype)
        return jnp.where(peaked, left / jnp.where(peaked, left + right, 1.0), edge)

    def _cdf(self, theta: BetaPoint, x: Array) -> Array:
        return betainc(*jnp.broadcast_arrays(*theta, jnp.clip(x, 0, 1)))

    def _quantile(self, theta: BetaPoint, probability: Array) -> Array:
        a, b, level = jnp.broadcast_arrays(*theta, probability)
        return betainc_inverse(a, b, level, 1 - level)

    def _draw(self, key, theta, shape):
        # In log space: small concentrations draw within the smallest float of an end.
        keys = jax.random.split(key)
        draws = (
            jax.random.loggamma(one, leaf, shape, leaf.dtype)
            for one, leaf in zip(keys, theta, strict=True)
        )
        limits = jnp.finfo(theta.log_x.dtype)
        x = jax.nn.sigmoid(jnp.subtract(*draws))
        return jnp.clip(x, limits.tiny, 1 - limits.epsneg)


def _pair(first: Array, second: Array) -> Array:
    return jnp.stack([first, second], axis=-1)


def _vector(point: BetaPoint) -> Array:
    """Both leaves on a last axis, as concentrations of a Dirichlet law of two classes."""
    return _pair(*jnp.broadcast_arrays(*point))


def _point(vector: Array) -> BetaPoint:
    return BetaPoint(vector[..., 0], vector[..., 1])
