"""The von Mises family of angles."""

import dataclasses
import math
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.directions import (
    direction_and_length,
    directional_fit,
    directional_log_density,
    draw_cosine_gaps,
    mean_vector,
    of_common_length,
)
from igeojax.families.support import Support
from igeojax.numerics.bessel import log_sphere
from igeojax.numerics.bessel_bregman import (
    vmf_bregman,
    vmf_dual_excess,
    vmf_natural_from_mean,
    vmf_potential,
)
from igeojax.numerics.bessel_ratio import (
    vmf_entropy,
    vmf_mean_gap,
)


class VonMisesPoint(NamedTuple):
    """Leaves: cosine and sine of the angle."""

    cos_x: Float[Array, "*batch"]
    sin_x: Float[Array, "*batch"]


class VonMisesParams(NamedTuple):
    """Mean angle in radians, and concentration."""

    loc: Float[Array, "*batch"]
    concentration: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VonMises(ExponentialFamily[VonMisesPoint, VonMisesParams]):
    """Angles around a mean angle: `T = (cos x, sin x)`, `theta = kappa (cos m, sin m)`.

    `psi = log(2 pi I_0(kappa))`; the density is with respect to the angle over one turn, and any
    real number of radians is an observation. `theta = 0` is the uniform law. `mean` is the circular
    mean direction in `(-pi, pi]`, `variance` the circular variance `1 - A(kappa)`. The law of
    `(cos x, sin x)` is `VonMisesFisher(2)`.

    References:
      [BanerjeeDhillon2005] section 2.2 (with two dimensions).

    Examples:
      >>> family = VonMises()
      >>> theta = family.natural_from_params(loc=0.5, concentration=2.0)
      >>> round(float(family.mean(theta)), 6), round(float(family.variance(theta)), 6)
      (0.5, 0.302225)
    """

    Point = VonMisesPoint
    Params = VonMisesParams
    _support = Support(-math.pi, math.pi)

    @property
    def point_shape(self):
        return ((), ())

    def statistics(self, x: ArrayLike) -> VonMisesPoint:
        x = self._data(x)
        return VonMisesPoint(jnp.cos(x), jnp.sin(x))

    def log_partition(self, theta: VonMisesPoint) -> Array:
        return vmf_potential(_vector(theta))

    def mean_from_natural(self, theta: VonMisesPoint) -> VonMisesPoint:
        return _point(mean_vector(_vector(theta)))

    def natural_from_mean(self, eta: VonMisesPoint) -> VonMisesPoint:
        return _point(vmf_natural_from_mean(_vector(eta)))

    def natural_from_params(self, loc: ArrayLike, concentration: ArrayLike) -> VonMisesPoint:
        """Natural parameter of a mean angle `loc` (radians) and a `concentration >= 0`.

        scipy calls the concentration `kappa`.

        Raises:
          TypeError: an argument is not real.
          ValueError: a concrete `loc` is not finite, or a concrete concentration negative or not
            finite.
        """
        loc, concentration = self._checked(loc, concentration)
        return VonMisesPoint(concentration * jnp.cos(loc), concentration * jnp.sin(loc))

    def _checked(self, loc: ArrayLike, concentration: ArrayLike) -> tuple[Array, Array]:
        loc, concentration = jnp.broadcast_arrays(
            *checks.floating_together(loc=loc, concentration=concentration)
        )
        checks.require_finite("loc", loc)
        checks.require_values(
            "concentration",
            concentration,
            lambda k: np.isfinite(k) & (k >= 0),
            "non-negative and finite",
            "For the opposite direction add pi to loc.",
        )
        return loc, jnp.where(concentration >= 0, concentration, jnp.nan)

    def params_from_natural(self, theta: VonMisesPoint) -> VonMisesParams:
        """Mean angle in `(-pi, pi]` and concentration; both 0 where the law is uniform."""
        direction, length = direction_and_length(_vector(theta))
        return VonMisesParams(_angle(direction), length)

    def in_natural_domain(self, theta: VonMisesPoint) -> Array:
        return jnp.isfinite(theta.cos_x) & jnp.isfinite(theta.sin_x)

    def in_support(self, x: ArrayLike) -> Array:
        return jnp.isfinite(jnp.asarray(x))

    def _entropy(self, theta: VonMisesPoint) -> Array:
        return log_sphere(2) - vmf_dual_excess(_vector(theta))

    def _source_entropy(self, params: VonMisesParams) -> Array:
        return vmf_entropy(2, self._checked(*params)[1])

    def _bregman(self, theta: VonMisesPoint, other: VonMisesPoint, step: VonMisesPoint) -> Array:
        return vmf_bregman(*jnp.broadcast_arrays(*map(_vector, (theta, other, step))))

    def _natural_step(self, params: VonMisesParams, other: VonMisesParams) -> VonMisesPoint:
        loc, concentration = self._checked(*params)
        base, tangency = self._checked(*other)
        change, chord = concentration - tangency, 2 * jnp.sin(0.5 * (loc - base))
        # Halves apart: their sum could leave the range of the dtype.
        middle = 0.5 * loc + 0.5 * base
        return VonMisesPoint(
            change * jnp.cos(base) - concentration * chord * jnp.sin(middle),
            change * jnp.sin(base) + concentration * chord * jnp.cos(middle),
        )

    def mean(self, theta: VonMisesPoint) -> Array:
        """Circular mean direction, an angle in `(-pi, pi]`; 0 where the law is uniform."""
        return self.params_from_natural(theta).loc

    def variance(self, theta: VonMisesPoint) -> Array:
        """Circular variance `1 - A(kappa)`, in `(0, 1]`."""
        return vmf_mean_gap(2, self.params_from_natural(theta).concentration)

    def mode(self, theta: VonMisesPoint) -> Array:
        return self.mean(theta)

    def _log_density(self, theta: VonMisesPoint, x: Array) -> Array:
        return directional_log_density(_vector(theta), _vector(self.statistics(x)))

    def _fit(self, x: Array, weights: Array | None) -> VonMisesPoint:
        return _point(directional_fit(_vector(self.statistics(x)), weights))

    shared_dimension: ClassVar[int] = 1

    def shared(self, shares: Array, eta: VonMisesPoint, frames: Any) -> VonMisesPoint:
        """Mean statistics of laws of one common concentration, on axis 0."""
        return _point(of_common_length(shares, _vector(eta)))

    def _draw(self, key, theta, shape):
        key, side = jax.random.split(key)
        loc, concentration = self.params_from_natural(theta)
        below, above = draw_cosine_gaps(key, 2, jnp.broadcast_to(concentration, shape))
        turn = 2 * jnp.arctan2(jnp.sqrt(below), jnp.sqrt(above))
        x = loc + jnp.where(jax.random.bernoulli(side, 0.5, shape), turn, -turn)
        x = jnp.where(x > math.pi, x - 2 * math.pi, x)
        return jnp.where(x <= -math.pi, x + 2 * math.pi, x)


def _vector(point: VonMisesPoint) -> Array:
    return jnp.stack([point.cos_x, point.sin_x], axis=-1)


def _point(vector: Array) -> VonMisesPoint:
    return VonMisesPoint(vector[..., 0], vector[..., 1])


def _angle(direction: Array) -> Array:
    angle = jnp.arctan2(direction[..., 1], direction[..., 0])
    # atan2 gives -pi for a sine of -0.
    return jnp.where(angle <= -math.pi, math.pi, angle).astype(direction.dtype)
