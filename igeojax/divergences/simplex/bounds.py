"""Sharp inequalities between divergences."""

import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.numerics.remainders import log1p_remainder

_STEPS = 64


def kl_lower_bound_from_jensen_shannon(
    jensen_shannon: Float[ArrayLike, "*batch"],
) -> Float[Array, "*batch"]:
    """Least `KL(p || q)` of any two laws with a given Jensen-Shannon divergence.

    The joint range of two f-divergences is that of laws on two outcomes; its lower edge is attained
    by a certain outcome, `p = (1, 0)` against `q = (s, 1 - s)`. So the bound is `-log s` where
    `log 2 - ((1 + s) log(1 + s) - s log s) / 2` is the given value. By symmetry it bounds
    `KL(q || p)` too.

    Args:
      jensen_shannon: values in `[0, log 2]`, in nats.

    Returns:
      Values in `[0, inf]`, in nats, with slope `2 / log 2` at 0; inf at `log 2`, nan outside.

    Raises:
      TypeError: the argument is not real.
      ValueError: a concrete value lies outside `[0, log 2]`.

    References:
      [HarremoesVajda2011] theorem 4.

    Examples:
      >>> round(float(kl_lower_bound_from_jensen_shannon(0.2157615543)), 6)
      0.693147
    """
    value = checks.floating("jensen_shannon", jensen_shannon)
    top = math.log(2) * (1 + 4 * float(jnp.finfo(value.dtype).eps))
    checks.require_values(
        "jensen_shannon",
        value,
        lambda v: (v >= 0) & (v <= top),
        "in [0, log 2]",
        "It is a divergence in nats, not its square root, and not in bits.",
    )
    return _bound(value)


def _jensen_shannon_at(k: Array) -> tuple[Array, Array]:
    """Jensen-Shannon divergence of `(1, 0)` and `(s, 1-s)`, `s = exp(-k)`, and log 2 minus it."""
    s, e = jnp.exp(-k), -jnp.expm1(-k)
    near = e < 0.5
    small = jnp.where(near, e, 0.0)
    remainder = log1p_remainder(-small / 2) + (1 - small) * log1p_remainder(
        small / (2 * (1 - small))
    )
    gap = 0.5 * ((1 + s) * jnp.log1p(s) + s * k)
    return jnp.where(near, 0.5 * (remainder + small * math.log(2)), math.log(2) - gap), gap


def _slope(k: Array) -> Array:
    """Derivative of the Jensen-Shannon divergence in `k`."""
    s = jnp.exp(-k)
    return 0.5 * s * (jnp.log1p(s) + k)


@jax.custom_jvp
def _bound(value: Array) -> Array:
    inside = (value > 0) & (value < math.log(2))
    target = jnp.where(inside, value, 0.25)
    low = target < 0.3
    gap = math.log(2) - target

    # Newton from below: in the value itself, which is concave in k, while it is small; else in the
    # logarithm of what is left to log 2, which is nearly linear.
    def advance(_: int, k: Array) -> Array:
        reached, left = _jensen_shannon_at(k)
        slope = _slope(k)
        concave = (target - reached) / slope
        nearly_linear = left / slope * jnp.log(left / gap)
        return jnp.maximum(k + jnp.where(low, concave, nearly_linear), 0.0)

    k = jax.lax.fori_loop(0, _STEPS, advance, 2 / math.log(2) * target)
    edge = jnp.where(value == 0, 0.0, jnp.where(value >= math.log(2), jnp.inf, jnp.nan))
    return jnp.where(inside, k, edge)


@_bound.defjvp
def _bound_jvp(primals, tangents):
    (value,), (step,) = primals, tangents
    k = _bound(value)
    return k, step / _slope(k)
