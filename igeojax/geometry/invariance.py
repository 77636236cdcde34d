"""How much an optimizer's step depends on the chart it is taken in."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.divergences.exponential.relative_entropy import jeffreys
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.numerics.safe import sqrt_at_zero


def reparameterisation_gap(
    family: ExponentialFamily,
    step: Callable[[Callable[[Any], Any], Any, Float[Array, ""]], Any],
    first: tuple[Callable[[Any], Any], Any],
    second: tuple[Callable[[Any], Any], Any],
    step_sizes: Float[Array, " m"],
) -> Float[Array, " m"]:
    """Distance of the laws that one optimizer step reaches in two charts, `sqrt(Jeffreys)`.

    Of first order in the step size for plain gradient descent, which means another thing in every
    chart; of second order for the natural gradient, whose flow knows no chart; 0 for a step along
    a geodesic. Two steps and a divergence for each step size.

    Args:
      family: the family.
      step: `step(natural_from_chart, xi, step_size)`, the new coordinates; it closes over its loss.
      first: `(natural_from_chart, xi)`, a chart and coordinates of the start, any tree of arrays.
      second: another chart, and the coordinates of the same law in it.
      step_sizes: a vector of step sizes.

    Returns:
      A distance for each step size, in square roots of nats: the Fisher-Rao distance to leading
      order. nan where a step leaves the natural domain.

    Raises:
      TypeError: `family` is not a family, an argument not of its form, or a chart returns no point.
      ValueError: `step_sizes` is no vector, or concrete starts are not the same law.

    References:
      [Martens2020] section 12 (invariance of the natural gradient).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> natural, rate = poisson.Point, poisson.natural_from_params
      >>> def descent(chart, xi, step_size):  # of KL(x=2 || .) up to a constant
      ...     return xi - step_size * jax.grad(lambda v: jnp.exp(chart(v).x) - 2 * chart(v).x)(xi)
      >>> sizes = jnp.array([0.01, 0.02])
      >>> gap = reparameterisation_gap(poisson, descent, (natural, 1.0), (rate, jnp.e), sizes)
      >>> round(float(gap[1] / gap[0]), 1)
      2.0
    """
    require_family(family)
    step_sizes = checks.floating("step_sizes", step_sizes)
    if step_sizes.ndim != 1:
        raise ValueError(
            f"step_sizes must be a vector; got shape {step_sizes.shape}. Pass jnp.array([h])."
        )
    for name, pair in (("first", first), ("second", second)):
        if not (isinstance(pair, tuple) and len(pair) == 2 and callable(pair[0])):
            raise TypeError(
                f"{name} must be a pair of a chart and coordinates; got {type(pair).__name__}. "
                "Pass (natural_from_chart, xi)."
            )

    def distance(chart: Any, xi: Any, other_chart: Any, other_xi: Any) -> Array:
        return sqrt_at_zero(jeffreys(family, chart(xi), other_chart(other_xi)))

    start = distance(*first, *second)
    tolerance = float(jnp.finfo(start.dtype).eps) ** 0.25
    checks.require_values(
        "the distance of the two starts",
        start,
        lambda d: d <= tolerance,
        f"at most {tolerance:.1e}",
        "Give the coordinates of one law in both charts.",
    )

    def gap(step_size: Array) -> Array:
        moved = [(chart, step(chart, xi, step_size)) for chart, xi in (first, second)]
        return distance(*moved[0], *moved[1])

    return jax.vmap(gap)(step_sizes)
