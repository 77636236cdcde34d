"""Families that are an invertible map of another: `x = g(y)` with `y` of a base family."""

import abc
from typing import Any, ClassVar

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax.families.base import ExponentialFamily, ParamsT, PointT
from igeojax.families.support import POSITIVES


class Pushforward(ExponentialFamily[PointT, ParamsT]):
    """A law of `x = g(y)`: divergences, entropies and charts are those of `y`.

    Natural parameters agree with those of the base family leaf by leaf up to `_signs`; `log h` is
    the base's plus the log-Jacobian `log |dy/dx|`, up to the constant `_constant` that the usual
    form of `psi` keeps.

    References:
      [Amari2016] section 2.1 (a change of variables changes no geometry).
    """

    _base: ClassVar[Any]
    """The family of `y`."""
    _signs: ClassVar[tuple[int, ...] | None] = None
    """Signs of the base's natural parameters; None: all positive."""
    _increasing: ClassVar[bool] = True
    """Whether `g` increases."""
    _constant: ClassVar[float] = 0.0
    """What `psi` and `-log h` have beyond the base's."""
    _support = POSITIVES

    @abc.abstractmethod
    def _pull(self, x: Array) -> Array:
        """`y` of x."""

    @abc.abstractmethod
    def _push(self, y: Array) -> Array:
        """`g(y)`."""

    @abc.abstractmethod
    def _log_jacobian(self, x: Array) -> Array:
        """`log |dy/dx|`."""

    @abc.abstractmethod
    def _mean_log_jacobian(self, theta: PointT) -> Array:
        """Its expectation."""

    def _to_base(self, point: PointT) -> Any:
        signs = self._signs or (1,) * len(point)
        return self._base.Point(*(s * leaf for s, leaf in zip(signs, point, strict=True)))

    def _from_base(self, point: Any) -> PointT:
        signs = self._signs or (1,) * len(point)
        return self.Point(*(s * leaf for s, leaf in zip(signs, point, strict=True)))

    @property
    def point_shape(self):
        return self._base.point_shape

    def statistics(self, x: ArrayLike) -> PointT:
        return self._from_base(self._base.statistics(self._pull(self._data(x))))

    def log_base_measure(self, x: ArrayLike) -> Array:
        x = self._data(x)
        base = self._base.log_base_measure(self._pull(x))
        return base + self._log_jacobian(x) + self._constant

    def mean_log_base_measure(self, theta: PointT) -> Array:
        base = self._base.mean_log_base_measure(self._to_base(theta))
        return base + self._mean_log_jacobian(theta) + self._constant

    def log_partition(self, theta: PointT) -> Array:
        return self._base.log_partition(self._to_base(theta)) + self._constant

    def mean_from_natural(self, theta: PointT) -> PointT:
        self.batch_shape(theta)
        return self._from_base(self._base.mean_from_natural(self._to_base(theta)))

    def natural_from_mean(self, eta: PointT) -> PointT:
        return self._from_base(self._base.natural_from_mean(self._to_base(eta)))

    def in_natural_domain(self, theta: PointT) -> Array:
        return self._base.in_natural_domain(self._to_base(theta))

    def in_support(self, x: ArrayLike) -> Array:
        x = jnp.asarray(x)
        return (x > 0) & (x < jnp.inf)

    def _bregman(self, theta: PointT, other: PointT, step: PointT) -> Array:
        return self._base._bregman(*map(self._to_base, (theta, other, step)))

    def _entropy(self, theta: PointT) -> Array:
        return self._base._entropy(self._to_base(theta)) - self._mean_log_jacobian(theta)

    def _log_density(self, theta: PointT, x: Array) -> Array:
        base = self._base._log_density(self._to_base(theta), self._pull(x))
        return base + self._log_jacobian(x)

    def _cdf(self, theta: PointT, x: Array) -> Array:
        inside = self.in_support(x)
        below = self._base._cdf(
            self._to_base(theta), self._pull(jnp.where(inside, x, self._inside))
        )
        value = below if self._increasing else 1 - below
        return jnp.where(inside, value, jnp.where(x == jnp.inf, 1.0, 0.0))

    def _quantile(self, theta: PointT, probability: Array) -> Array:
        level = probability if self._increasing else 1 - probability
        return self._push(self._base._quantile(self._to_base(theta), level))

    def _fit(self, x: Array, weights: Array | None) -> PointT:
        return self._from_base(self._base._fit(self._pull(x), weights))

    def _draw(self, key, theta, shape):
        return self._push(self._base._draw(key, self._to_base(theta), shape))
