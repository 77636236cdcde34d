"""The convex potentials of an exponential family as mirror maps."""

import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.optim.mirror_maps import MirrorMap


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class FamilyPotential(MirrorMap):
    """A potential of an exponential family, for `params` that are a point of it.

    Args:
      family: the family.
      chart: the chart of `params`. `"mean"`: the potential is `phi`, its dual coordinates are
        natural; `"natural"`: the potential is `psi`, its dual coordinates are mean parameters. Too
        long a step leaves the domain; the point is then nan.

    Raises:
      TypeError: `family` is not an instance of a family.
      ValueError: an unknown chart.

    References:
      [RaskuttiMukherjee2015] theorem 1.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> mirror = FamilyPotential(poisson, "mean")
      >>> step = mirror.displacement(poisson.Point(jnp.array(2.0)), poisson.Point(jnp.log(1.5)))
      >>> round(float(step.x), 6)
      1.0
    """

    family: ExponentialFamily
    chart: Literal["mean", "natural"] = "mean"

    def __post_init__(self):
        if not isinstance(self.family, ExponentialFamily):
            raise TypeError(
                f"family must be an ExponentialFamily; got {self.family!r}. Pass an instance such "
                "as families.Categorical(10)."
            )
        checks.require_option("chart", self.chart, ("mean", "natural"))

    def displacement(self, params: Any, dual_step: Any) -> Any:
        batch = self.family.batch_shape(params)
        to_dual, from_dual = self.family.natural_from_mean, self.family.mean_from_natural
        if self.chart == "natural":
            to_dual, from_dual = from_dual, to_dual
        dual = jax.tree.map(jnp.add, to_dual(params), dual_step)
        moved = from_dual(dual)
        # Formulas may go on beyond the domain; the point does not.
        inside = self.family.in_natural_domain(moved if self.chart == "natural" else dual)
        return jax.tree.map(
            lambda new, old: jnp.where(
                inside.reshape(batch + (1,) * (new.ndim - len(batch))), new - old, jnp.nan
            ),
            moved,
            params,
        )
