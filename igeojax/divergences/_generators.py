"""Terms of f-divergences as functions of the log-ratio of two densities."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.numerics.remainders import log1p_remainder


def require_function(name: str, value: Any, remedy: str) -> None:
    """Check that an argument can be called.

    Raises:
      TypeError: it cannot.
    """
    if not callable(value):
        raise TypeError(f"{name} must be a function; got {type(value).__name__}. {remedy}")


@jax.custom_jvp
def coin_gap(log_odds: Array) -> Array:
    """`log 2` minus the entropy of a coin of these log-odds: even, non-negative, 0 at 0.

    With `s = p + q` and `d = log p - log q`, the Jensen-Shannon divergence is
    `int s coin_gap(d) / 2`.
    """
    size = jnp.abs(log_odds)
    near = size < 1
    t = jnp.tanh(0.5 * jnp.where(near, size, 0.0))
    small = t * t - 0.5 * ((1 + t) * log1p_remainder(t) + (1 - t) * log1p_remainder(-t))
    far = jnp.where(near | jnp.isinf(size), 1.0, size)
    entropy = far * jax.nn.sigmoid(-far) + jnp.log1p(jnp.exp(-far))
    large = jnp.where(jnp.isinf(size), jnp.log(2.0), jnp.log(2.0) - entropy)
    return jnp.where(near, small, large.astype(size.dtype))


@coin_gap.defjvp
def _coin_gap_jvp(primals, tangents):
    (d,), (step,) = primals, tangents
    slope = jnp.where(jnp.isinf(d), 0.0, d) * jax.nn.sigmoid(d) * jax.nn.sigmoid(-d)
    return coin_gap(d), slope * jnp.where(jnp.isinf(d), 0.0, step)


def absolute_tilt(log_ratio: Array) -> Array:
    """`|p - q| / (p + q) = |tanh(d/2)|`, with derivative 0 where the densities are equal."""
    tilt = jnp.tanh(0.5 * log_ratio)
    return jnp.where(tilt == 0, 0.0, jnp.abs(tilt))


def generator_terms(
    generator: Callable[[Array], Array],
    log_ratio: Array,
    slope_at_infinity: Array,
) -> tuple[Array, Array]:
    """`f(t)` for `t = p/q <= 1` and `f(t)/t` above: what to multiply by q, and by p.

    Ratios beyond the range of the dtype count as its ends; 0 and inf stand for a law that is
    impossible there.
    """
    limit = 0.9 * jnp.log(jnp.finfo(log_ratio.dtype).max)
    zero, infinite = log_ratio == -jnp.inf, log_ratio == jnp.inf
    d = jnp.clip(jnp.where(zero | infinite, 0.0, log_ratio), -limit, limit)
    ratio = jnp.exp(d)
    value = generator(ratio)
    of_q = jnp.where(d <= 0, value, 0.0)
    of_p = jnp.where(d > 0, value / jnp.where(d > 0, ratio, 1.0), 0.0)
    at_zero = generator(jnp.zeros((), log_ratio.dtype))
    return (
        jnp.where(zero, at_zero, jnp.where(infinite, 0.0, of_q)),
        jnp.where(infinite, slope_at_infinity, jnp.where(zero, 0.0, of_p)),
    )
