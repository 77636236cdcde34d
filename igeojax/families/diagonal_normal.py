"""The multivariate normal family of diagonal covariance."""

import dataclasses
from typing import NamedTuple

import jax
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.covariance import loc_scale_parts
from igeojax.families.frames import ScaleFrames
from igeojax.families.normal import Normal, NormalParams, NormalPoint

_NORMAL = Normal()


class DiagonalNormalPoint(NamedTuple):
    """Leaves: the statistics `x` and `x^2`, coordinate by coordinate."""

    x: Float[Array, "*batch dim"]
    xx: Float[Array, "*batch dim"]


class DiagonalNormalParams(NamedTuple):
    """Means and standard deviations."""

    loc: Float[Array, "*batch dim"]
    scale: Float[Array, "*batch dim"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class DiagonalNormal(ScaleFrames, ExponentialFamily[DiagonalNormalPoint, DiagonalNormalParams]):
    """`dim` independent normal coordinates: every formula is that of `Normal`, summed.

    Args:
      dim: number of coordinates.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 1`.

    Examples:
      >>> family = DiagonalNormal(2)
      >>> theta = family.natural_from_params(loc=[0.0, 1.0], scale=1.0)
      >>> family.params_from_natural(theta).loc.tolist()
      [0.0, 1.0]
    """

    dim: int

    Point = DiagonalNormalPoint
    Params = DiagonalNormalParams
    conjugate_prior = "Product of NormalInverseGamma"
    is_linear = True

    def __post_init__(self):
        checks.require_count("dim", self.dim)

    @property
    def point_shape(self):
        return ((self.dim,), (self.dim,))

    @property
    def event_shape(self):
        return (self.dim,)

    def statistics(self, x: ArrayLike) -> DiagonalNormalPoint:
        return DiagonalNormalPoint(*_NORMAL.statistics(self._data(x)))

    def log_partition(self, theta: DiagonalNormalPoint) -> Array:
        return _NORMAL.log_partition(NormalPoint(*theta)).sum(axis=-1)

    def mean_from_natural(self, theta: DiagonalNormalPoint) -> DiagonalNormalPoint:
        self.batch_shape(theta)
        return DiagonalNormalPoint(*_NORMAL.mean_from_natural(NormalPoint(*theta)))

    def natural_from_mean(self, eta: DiagonalNormalPoint) -> DiagonalNormalPoint:
        return DiagonalNormalPoint(*_NORMAL.natural_from_mean(NormalPoint(*eta)))

    def natural_from_params(self, loc: ArrayLike, scale: ArrayLike) -> DiagonalNormalPoint:
        """Natural parameter of means `loc` and standard deviations `scale`, shape `(..., dim)`.

        A scalar `scale` serves all coordinates.

        Raises:
          TypeError: an argument is not real.
          ValueError: a wrong number of coordinates, a concrete `loc` that is not finite or a
            `scale` that is not positive and finite.
        """
        loc, scale = checks.floating_together(loc=loc, scale=scale)
        checks.require_trailing_shape("loc", loc, (self.dim,))
        if scale.ndim:
            checks.require_trailing_shape("scale", scale, (self.dim,))
        return DiagonalNormalPoint(*_NORMAL.natural_from_params(loc, scale))

    def params_from_natural(self, theta: DiagonalNormalPoint) -> DiagonalNormalParams:
        return DiagonalNormalParams(*_NORMAL.params_from_natural(NormalPoint(*theta)))

    def in_natural_domain(self, theta: DiagonalNormalPoint) -> Array:
        return _NORMAL.in_natural_domain(NormalPoint(*theta)).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        return _NORMAL.in_support(x).all(axis=-1)

    def _entropy(self, theta: DiagonalNormalPoint) -> Array:
        return _NORMAL._entropy(NormalPoint(*theta)).sum(axis=-1)

    def _bregman(
        self, theta: DiagonalNormalPoint, other: DiagonalNormalPoint, step: DiagonalNormalPoint
    ) -> Array:
        return _NORMAL._bregman(NormalPoint(*theta), NormalPoint(*other), NormalPoint(*step)).sum(
            axis=-1
        )

    def _source_parts(self, p: DiagonalNormalParams, q: DiagonalNormalParams, order: Array):
        first, second, finite = loc_scale_parts(p, q, order)
        return first.sum(axis=-1), second.sum(axis=-1), finite.all(axis=-1)

    def _source_entropy(self, params: DiagonalNormalParams) -> Array:
        return _NORMAL._source_entropy(NormalParams(*params)).sum(axis=-1)

    def mean(self, theta: DiagonalNormalPoint) -> Array:
        return _NORMAL.mean(NormalPoint(*theta))

    def variance(self, theta: DiagonalNormalPoint) -> Array:
        return _NORMAL.variance(NormalPoint(*theta))

    def mode(self, theta: DiagonalNormalPoint) -> Array:
        return self.mean(theta)

    def _log_density(self, theta: DiagonalNormalPoint, x: Array) -> Array:
        return _NORMAL._log_density(NormalPoint(*theta), x).sum(axis=-1)

    def _filled(self, x: ArrayLike) -> Array:
        return _NORMAL._filled(x)

    def _observed_log_density(self, theta: DiagonalNormalPoint, x: ArrayLike) -> Array:
        theta, x = self._aligned(theta, x)
        return _NORMAL._observed_log_density(NormalPoint(*theta), x).sum(axis=-1)

    def _expected_statistics(self, theta: DiagonalNormalPoint, x: ArrayLike) -> DiagonalNormalPoint:
        theta, x = self._aligned(theta, x)
        return DiagonalNormalPoint(*_NORMAL._expected_statistics(NormalPoint(*theta), x))

    def _fit(self, x: Array, weights: Array | None) -> DiagonalNormalPoint:
        return DiagonalNormalPoint(*_NORMAL._fit(x, weights))

    def _draw(self, key, theta, shape):
        return _NORMAL._draw(key, NormalPoint(*theta), (*shape, self.dim))
