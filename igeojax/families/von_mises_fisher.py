"""The von Mises-Fisher family of directions."""

import dataclasses
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
from igeojax.manifolds.base import relative_tolerance
from igeojax.numerics.bessel import log_sphere
from igeojax.numerics.bessel_bregman import (
    vmf_bregman,
    vmf_dual_excess,
    vmf_natural_from_mean,
    vmf_potential,
    vmf_ratio_of_square,
)
from igeojax.numerics.bessel_ratio import vmf_entropy, vmf_mean_slope


class VonMisesFisherPoint(NamedTuple):
    """One leaf: the direction itself."""

    x: Float[Array, "*batch dim"]


class VonMisesFisherParams(NamedTuple):
    """Unit mean direction and concentration."""

    mean_direction: Float[Array, "*batch dim"]
    concentration: Float[Array, "*batch"]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VonMisesFisher(ExponentialFamily[VonMisesFisherPoint, VonMisesFisherParams]):
    """Unit vectors around a mean direction: `T = x`, `theta = kappa mu`, `psi = -log C_dim(kappa)`.

    The density `C_dim(kappa) exp(kappa <mu, x>)` is with respect to the surface measure of the unit
    sphere in `dim` dimensions; `theta = 0` is the uniform law, an ordinary interior point. Made for
    dimensions up to 100 000 and concentrations up to 1e8, in float32 too. Observations are unit
    vectors: their length may be off one by the square root of the machine epsilon.

    Args:
      dim: dimension of the space, at least 2.

    Raises:
      TypeError: `dim` is not an integer.
      ValueError: `dim < 2`.

    References:
      [BanerjeeDhillon2005] section 2.2 (the law), 2.3 (maximum likelihood).

    Examples:
      >>> family = VonMisesFisher(3)
      >>> theta = family.natural_from_params(mean_direction=[0.0, 0.0, 1.0], concentration=2.0)
      >>> [round(v, 6) for v in family.mean_from_natural(theta).x.tolist()]
      [0.0, 0.0, 0.537315]
    """

    dim: int

    Point = VonMisesFisherPoint
    Params = VonMisesFisherParams
    _degenerate: ClassVar[str] = (
        "All observations agree, so the likelihood grows with the concentration for ever. Add "
        "observations."
    )

    def __post_init__(self):
        checks.require_count("dim", self.dim, 2)

    @property
    def point_shape(self):
        return ((self.dim,),)

    @property
    def event_shape(self):
        return (self.dim,)

    @property
    def _inside(self):
        return (1.0,) + (0.0,) * (self.dim - 1)

    def statistics(self, x: ArrayLike) -> VonMisesFisherPoint:
        return VonMisesFisherPoint(self._data(x))

    def log_partition(self, theta: VonMisesFisherPoint) -> Array:
        return vmf_potential(theta.x)

    def mean_from_natural(self, theta: VonMisesFisherPoint) -> VonMisesFisherPoint:
        return VonMisesFisherPoint(mean_vector(theta.x))

    def natural_from_mean(self, eta: VonMisesFisherPoint) -> VonMisesFisherPoint:
        return VonMisesFisherPoint(vmf_natural_from_mean(eta.x))

    def natural_from_params(
        self, mean_direction: ArrayLike, concentration: ArrayLike
    ) -> VonMisesFisherPoint:
        """Natural parameter of a unit `mean_direction` and a `concentration >= 0`.

        The length of the direction may be off one by the square root of the machine epsilon, which
        is divided out; batch axes broadcast. scipy calls them `mu` and `kappa`.

        Raises:
          TypeError: an argument is not real.
          ValueError: the direction has not `dim` entries; a concrete one is not a unit vector, or a
            concrete concentration is negative or not finite; batch shapes do not broadcast.
        """
        direction, concentration = self._checked(mean_direction, concentration)
        return VonMisesFisherPoint(concentration[..., None] * direction)

    def _checked(self, mean_direction: ArrayLike, concentration: ArrayLike) -> tuple[Array, Array]:
        """Unit directions and concentrations of one batch shape, nan where they are not valid."""
        direction, concentration = checks.floating_together(
            mean_direction=mean_direction, concentration=concentration
        )
        checks.require_trailing_shape("mean_direction", direction, (self.dim,))
        length = jnp.sqrt(jnp.sum(direction * direction, axis=-1))
        tolerance = relative_tolerance(None, direction.dtype)
        unit = jnp.abs(length - 1) <= tolerance
        checks.require_values(
            "the length of mean_direction",
            length,
            lambda _: np.asarray(unit),
            f"1 within {tolerance:.1e}",
            "Divide the vector by its length; that length may belong into concentration.",
        )
        checks.require_values(
            "concentration",
            concentration,
            lambda k: np.isfinite(k) & (k >= 0),
            "non-negative and finite",
            "For the opposite direction negate mean_direction.",
        )
        shapes = {"mean_direction": length.shape, "concentration": concentration.shape}
        checks.require_broadcastable(**shapes)
        batch = jnp.broadcast_shapes(*shapes.values())
        unit = unit[..., None]
        direction = jnp.where(unit, direction / jnp.where(unit, length[..., None], 1.0), jnp.nan)
        concentration = jnp.where(concentration >= 0, concentration, jnp.nan)
        return jnp.broadcast_to(direction, (*batch, self.dim)), jnp.broadcast_to(
            concentration, batch
        )

    def params_from_natural(self, theta: VonMisesFisherPoint) -> VonMisesFisherParams:
        """Mean direction and concentration; the first axis and 0 where the law is uniform."""
        return VonMisesFisherParams(*direction_and_length(theta.x))

    def in_natural_domain(self, theta: VonMisesFisherPoint) -> Array:
        return jnp.isfinite(theta.x).all(axis=-1)

    def in_support(self, x: ArrayLike) -> Array:
        x = self._data(x)
        return jnp.abs(jnp.sqrt(jnp.sum(x * x, axis=-1)) - 1) <= relative_tolerance(None, x.dtype)

    def _entropy(self, theta: VonMisesFisherPoint) -> Array:
        return log_sphere(self.dim) - vmf_dual_excess(theta.x)

    def _source_entropy(self, params: VonMisesFisherParams) -> Array:
        return vmf_entropy(self.dim, self._checked(*params)[1])

    def _bregman(
        self, theta: VonMisesFisherPoint, other: VonMisesFisherPoint, step: VonMisesFisherPoint
    ) -> Array:
        return vmf_bregman(*jnp.broadcast_arrays(theta.x, other.x, step.x))

    def _natural_step(
        self, params: VonMisesFisherParams, other: VonMisesFisherParams
    ) -> VonMisesFisherPoint:
        # The difference of the directions as they are given, with that of their lengths apart.
        first, concentration = self._checked(*params)
        second, tangency = self._checked(*other)
        given = jnp.broadcast_arrays(*checks.floating_together(p=params[0], q=other[0]))
        length, base = (jnp.sqrt(jnp.sum(v * v, axis=-1, keepdims=True)) for v in given)
        # |q| - |p| from the difference of the vectors.
        gap = given[1] - given[0]
        excess = jnp.sum(gap * (given[0] + given[1]), axis=-1, keepdims=True) / (length + base)
        turn = -gap / length + second * (excess / length)
        return VonMisesFisherPoint(
            concentration[..., None] * jnp.broadcast_to(turn, first.shape)
            + (concentration - tangency)[..., None] * second
        )

    def mean(self, theta: VonMisesFisherPoint) -> Array:
        return mean_vector(theta.x)

    def variance(self, theta: VonMisesFisherPoint) -> Array:
        direction, concentration = direction_and_length(theta.x)
        along = (direction * direction) * vmf_mean_slope(self.dim, concentration)[..., None]
        ratio = vmf_ratio_of_square(self.dim, concentration**2)[..., None]
        return along + (1 - direction) * (1 + direction) * ratio

    def mode(self, theta: VonMisesFisherPoint) -> Array:
        return direction_and_length(theta.x)[0]

    def _log_density(self, theta: VonMisesFisherPoint, x: Array) -> Array:
        return directional_log_density(theta.x, x)

    def _fit(self, x: Array, weights: Array | None) -> VonMisesFisherPoint:
        return VonMisesFisherPoint(directional_fit(x, weights))

    shared_dimension: ClassVar[int] = 1

    def shared(self, shares: Array, eta: VonMisesFisherPoint, frames: Any) -> VonMisesFisherPoint:
        """Mean statistics of laws of one common concentration, on axis 0."""
        return VonMisesFisherPoint(of_common_length(shares, eta.x))

    def _draw(self, key, theta, shape):
        key, side = jax.random.split(key)
        direction, concentration = direction_and_length(theta.x)
        dtype = theta.x.dtype
        below, above = draw_cosine_gaps(
            key, self.dim, jnp.broadcast_to(concentration, shape).astype(dtype)
        )
        # A tangent at +-e_1, carried to the mean direction by a reflection: |u|^2 = 2 (1 + |mu_1|).
        tangent = jax.random.normal(side, (*shape, self.dim - 1), dtype)
        tangent = tangent / jnp.sqrt(jnp.sum(tangent * tangent, axis=-1, keepdims=True))
        first, rest = direction[..., :1], direction[..., 1:]
        sign = jnp.where(first < 0, -1.0, 1.0).astype(dtype)
        share = jnp.sum(rest * tangent, axis=-1, keepdims=True) / (1 + jnp.abs(first))
        turned = jnp.concatenate([-share * (first + sign), tangent - share * rest], axis=-1)
        sine = jnp.sqrt(below * above)[..., None]
        return (1 - below)[..., None] * direction + sine * turned
