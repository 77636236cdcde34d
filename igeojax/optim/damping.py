"""How much damping: fixed, scheduled, or adapted to how well the quadratic model predicts."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.optim._arguments import real_scalar


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LevenbergMarquardt:
    """Damping that falls while the quadratic model predicts well, and grows while it does not.

    The reduction ratio of the last step, its change of the loss over the predicted change, decides:
    above 3/4 the damping is divided by `rate` per step, below 1/4 (or nan) it is multiplied. The
    change of the loss is the trapezoid `(g + g')^T delta / 2` of the gradients before and after: no
    value of the loss is asked for, and on minibatches the noise of its level does not enter.

    The ratio trusts the quadratic model, not the direction. Factors of few examples leave
    directions out, which a small damping makes long: the exact curvature is then many times what
    they tell, and steps along them are short and of noise. So the damping does not fall where the
    curvature told is less than 1/20 of the exact one, and grows where it is less than 1/40; with
    batches of hundreds it is mostly 1/10 to 1.

    Args:
      initial: damping of the first step, in units of the curvature of the loss.
      rate: factor per step, above 1.
      minimum: the damping never falls below it: where all examples are fitted the curvature
        vanishes, and a smaller damping has been seen to let steps explode.
      maximum: nor rises above it.

    Raises:
      TypeError: an argument is not a number.
      ValueError: `rate <= 1`, or not `0 < minimum <= initial <= maximum`.

    References:
      [MartensGrosse2015] section 6.5.

    Examples:
      >>> LevenbergMarquardt().initial
      0.1
    """

    initial: float = 0.1
    rate: float = 1.15
    minimum: float = 1e-5
    maximum: float = 1e8

    def __post_init__(self):
        for field in dataclasses.fields(self):
            checks.require_number(field.name, getattr(self, field.name), "It is a factor.")
        if not (self.rate > 1 and 0 < self.minimum <= self.initial <= self.maximum):
            raise ValueError(
                "LevenbergMarquardt needs rate > 1 and 0 < minimum <= initial <= maximum; got "
                f"{self}. Try LevenbergMarquardt(initial=0.1)."
            )

    def adapted(
        self, damping: Array, ratio: Array, num_steps: int, agreement: ArrayLike = 1.0
    ) -> Array:
        """The damping after `num_steps` steps, the last with the given reduction ratio.

        Args:
          damping: scalar.
          ratio: change of the loss over the predicted one; nan counts as poor.
          num_steps: since it was adapted last.
          agreement: curvature along the last direction by the factors over the exact one.

        Returns:
          The new damping, a scalar.

        Examples:
          >>> rule = LevenbergMarquardt(rate=2.0)
          >>> [float(rule.adapted(jnp.ones(()), jnp.asarray(r), 1)) for r in (0.9, 0.5, 0.1)]
          [0.5, 1.0, 2.0]
        """
        factor = self.rate**num_steps
        agreement = jnp.asarray(agreement)
        well = (ratio > 0.75) & (agreement > 0.05)
        poorly = ~((ratio > 0.25) & (agreement > 0.025))
        scaled = jnp.where(well, damping / factor, jnp.where(poorly, damping * factor, damping))
        return jnp.clip(scaled, self.minimum, self.maximum)


Damping = ArrayLike | Callable[[Array], Any] | LevenbergMarquardt
"""A scalar, a schedule of the step, or a rule."""


def require_damping(damping: Any) -> None:
    """Check a damping that Kronecker factors are inverted with.

    Args:
      damping: what came.

    Raises:
      TypeError: it is no real scalar, schedule or rule.
      ValueError: it is not a scalar, or not positive and finite.

    Examples:
      >>> require_damping(0.1)
    """
    if callable(damping) or isinstance(damping, LevenbergMarquardt):
        return
    real_scalar("damping", damping, "Scale the parameters instead to damp them differently.")
    checks.require_values(
        "damping", damping, lambda v: (v > 0) & (v < math.inf), "positive", "Try 1e-2."
    )


def damping_at(damping: Damping, step: Array, dtype: Any) -> Array:
    """The damping of a step, where no rule adapts it; the first one where a rule does.

    Args:
      damping: a scalar, a schedule, or a rule.
      step: count of the step.
      dtype: of the result.

    Returns:
      A scalar.

    Examples:
      >>> float(damping_at(lambda step: 0.5**step, jnp.asarray(2), float))
      0.25
    """
    if isinstance(damping, LevenbergMarquardt):
        return jnp.asarray(damping.initial, dtype)
    return jnp.asarray(damping(step) if callable(damping) else damping, dtype)
