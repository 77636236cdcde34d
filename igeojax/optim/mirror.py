"""Mirror descent: gradient steps taken in the dual coordinates of a convex potential.

`grad Phi(params') = grad Phi(params) - lr g`. With the potential of an exponential family it is
natural-gradient descent in the dual chart: the metric is the Hessian of the potential.
"""

import abc
import dataclasses
from typing import Any, Literal

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.optim._arguments import require_alike


class MirrorMap(abc.ABC):
    """A convex potential, described by what a dual step does to a point."""

    @abc.abstractmethod
    def displacement(self, params: Any, dual_step: Any) -> Any:
        """Additive change of `params` that adds `dual_step` to its dual coordinates."""


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Euclidean(MirrorMap):
    """`Phi = |x|^2 / 2`: the dual coordinates are the point; plain gradient descent.

    Examples:
      >>> Euclidean().displacement(1.0, -0.5)
      -0.5
    """

    def displacement(self, params: Any, dual_step: Any) -> Any:
        del params
        return dual_step


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class NegativeEntropy(MirrorMap):
    """`Phi = sum x log x`: exponentiated gradient, on every leaf.

    Args:
      normalized: leaves hold probability vectors on the last axis and stay such; otherwise leaves
        are positive and free. Zero entries stay zero.

    Examples:
      >>> import jax.numpy as jnp
      >>> p = jnp.array([0.5, 0.5])
      >>> (p + NegativeEntropy().displacement(p, jnp.log(jnp.array([1.0, 3.0])))).tolist()
      [0.25, 0.75]
    """

    normalized: bool = True

    def displacement(self, params: Any, dual_step: Any) -> Any:
        return jax.tree.map(self._leaf, params, dual_step)

    def _leaf(self, p: Array, step: Array) -> Array:
        if not self.normalized:
            checks.require_values(
                "params of NegativeEntropy", p, lambda v: v >= 0, "non-negative", "Check signs."
            )
            return p * jnp.expm1(step)
        if jnp.ndim(p) == 0:
            raise ValueError(
                "NegativeEntropy needs probability vectors on the last axis; got a scalar leaf. "
                "Use NegativeEntropy(normalized=False) for positive numbers."
            )
        checks.require_probabilities("params of NegativeEntropy", p)
        step = jnp.where(p > 0, step, -jnp.inf)
        shifted = step - jnp.max(step, axis=-1, keepdims=True)
        weight = p * jnp.exp(shifted)
        change = weight / jnp.sum(weight, axis=-1, keepdims=True) - p
        # An entry that rounds to 0 could never return: eps of it is always left.
        return jnp.maximum(change, (jnp.finfo(p.dtype).eps - 1) * p)


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


def scale_by_mirror_descent(
    mirror_map: MirrorMap | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Read updates as a step in dual coordinates and return the step of the parameters.

    A mirror step is not linear in its length, so this goes *last* in a chain, after the learning
    rate: `optax.chain(optax.scale_by_learning_rate(lr), scale_by_mirror_descent(mirror_map))`.

    Args:
      mirror_map: the potential; None is `Euclidean()`.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `mirror_map` is not a `MirrorMap`.
      ValueError: `update` is called without `params`, with updates of other shapes, or with
        concrete params outside the domain of the map.

    References:
      [BeckTeboulle2003] equation (3.11).

    Examples:
      >>> import jax.numpy as jnp
      >>> tx = scale_by_mirror_descent(NegativeEntropy(normalized=False))
      >>> params = jnp.array(2.0)
      >>> updates, _ = tx.update(jnp.log(jnp.array(3.0)), tx.init(params), params)
      >>> round(float(params + updates), 6)
      6.0
    """
    mirror = Euclidean() if mirror_map is None else mirror_map
    if not isinstance(mirror, MirrorMap):
        raise TypeError(
            f"mirror_map must be an instance of a MirrorMap; got {mirror!r}. Use Euclidean(), "
            "NegativeEntropy() or FamilyPotential(family)."
        )

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        if params is None:
            raise ValueError(
                "scale_by_mirror_descent needs the current parameters; got params=None. Call "
                "tx.update(grads, state, params)."
            )
        require_alike(updates, params)
        moved = mirror.displacement(params, updates)
        return jax.tree.map(lambda new, old: new.astype(old.dtype), moved, updates), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def mirror_descent(
    learning_rate: optax.ScalarOrSchedule, mirror_map: MirrorMap | None = None
) -> optax.GradientTransformationExtraArgs:
    """Mirror descent `grad Phi(params') = grad Phi(params) - learning_rate g`.

    Args:
      learning_rate: a scalar or an optax schedule.
      mirror_map: the potential `Phi`; None is `Euclidean()`, plain gradient descent.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: as `scale_by_mirror_descent`.

    References:
      [BeckTeboulle2003] equation (3.11).

    Examples:
      >>> import jax.numpy as jnp
      >>> import optax
      >>> tx = mirror_descent(1.0, NegativeEntropy())
      >>> params = jnp.array([0.5, 0.5])
      >>> updates, _ = tx.update(jnp.array([0.0, jnp.log(3.0)]), tx.init(params), params)
      >>> optax.apply_updates(params, updates).tolist()
      [0.75, 0.25]
    """
    return optax.chain(
        optax.scale_by_learning_rate(learning_rate), scale_by_mirror_descent(mirror_map)
    )
