"""Quantiles from distribution functions: bracketed Newton steps in both tails, search over counts.

A level is a pair `(lower, upper)` that sums to one, each to its own digits: the smaller of the two
is the tail that is solved for.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero
from jax.scipy.special import ndtri
from jaxtyping import Array, Float

_STEPS = 200


@functools.partial(jax.jit, static_argnums=(0, 1, 2))
def inverse_cdf(
    tails: Callable[[Any, Array], tuple[Array, Array]],
    log_density: Callable[[Any, Array], Array],
    highest: float,
    params: Any,
    lower: Float[Array, "*shape"],
    upper: Float[Array, "*shape"],
    start: Float[Array, "*shape"],
) -> Float[Array, "*shape"]:
    """The `x > 0` with `P(X <= x) = lower` and `P(X > x) = upper`, of a continuous positive law.

    Newton's method for the logarithm of the smaller tail as a function of `log x`. Where the
    density of `log x` is log-concave (gamma, inverse Gaussian, near an end of the beta law) so are
    the tails, and the steps converge monotonically from any start; a bracket, halved where a step
    leaves it, guards the others. Each step evaluates `tails` and `log_density` once; about five are
    needed. Tiny quantiles keep their relative accuracy: the error in x is that of the tail divided
    by `x density / tail`, and a few eps.

    The derivative is that of the implicit function, `(d lower - d tails) / density`, of any order;
    one in the parameters asks for that of `tails`, and fails where that does. It is 0 by convention
    at the levels 0 and 1.

    Args:
      tails: `tails(params, x)` gives `P(X <= x)` and `P(X > x)`, each to its own digits. A function
        of a module or a method, not a new one each time: it is a static argument.
      log_density: `log_density(params, x)`, in nats.
      highest: upper end of the support; may be infinite.
      params: a pytree of arrays of one shape.
      lower: levels in `[0, 1]`, of that shape.
      upper: `1 - lower`, to as many digits as it is known.
      start: a guess, non-negative; nan where the parameters are not valid, and nan comes back.

    Returns:
      The solution, or the smallest normal float where that is below four of them; 0 and `highest`
      where `lower` and `upper` are 0.

    References:
      [PressTeukolskyVetterlingFlannery2007] section 9.4 (Newton steps inside a bracket).

    Examples:
      >>> exponential = lambda rate, x: (-jnp.expm1(-rate * x), jnp.exp(-rate * x))
      >>> density = lambda rate, x: jnp.log(rate) - rate * x
      >>> rate, lower, upper, start = map(jnp.asarray, (2.0, 0.25, 0.75, 1.0))
      >>> x = inverse_cdf(exponential, density, float("inf"), rate, lower, upper, start)
      >>> round(float(x), 6), round(float(-jnp.log(0.75) / 2), 6)
      (0.143841, 0.143841)
    """
    return _inverse_cdf(tails, log_density, highest, params, lower, upper, start)


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1, 2))
def _inverse_cdf(tails, log_density, highest, params, lower, upper, start):
    limits = jnp.finfo(start.dtype)
    near = lower <= upper
    wanted = jnp.where(near, lower, upper)
    eps = float(limits.eps)
    # In terms of the logarithm of a tail a Newton step squares the error.
    close = 0.25 * eps**0.5
    ends = float(limits.tiny), min(highest, float(limits.max))

    def step(x, low, high):
        below, above = tails(params, x)
        tail = jnp.where(near, below, above)
        # How far x is too high, by the logarithm of the tail.
        gap = jnp.where(near, 1.0, -1.0) * jnp.log(tail / wanted)
        low, high = jnp.where(gap <= 0, x, low), jnp.where(gap >= 0, x, high)
        move = gap * tail / (x * jnp.exp(log_density(params, x)))
        newton = x * jnp.exp(-move)
        inside = (newton >= low) & (newton <= high)
        done = (inside & (jnp.abs(gap) <= close)) | (high - low <= 2 * eps * low)
        middle = jnp.sqrt(low) * jnp.sqrt(high)
        return jnp.where(inside, newton, middle), low, high, done

    def advance(state):
        *old, done, count = state
        *new, reached = step(*old)
        kept = (jnp.where(done, *pair) for pair in zip(old, new, strict=True))
        return *kept, done | reached, count + 1

    inside = (lower > 0) & (upper > 0) & (start >= 0)
    low, high = (jnp.full_like(start, end) for end in ends)
    x = jnp.clip(jnp.where(inside, start, 0.5), 2 * low, 0.75 * high)
    state = (x, low, high, ~inside, 0)
    unfinished = lambda state: ~jnp.all(state[3]) & (state[4] < _STEPS)
    x = jax.lax.while_loop(unfinished, advance, state)[0]
    # Next to the smallest float nothing is known of a smaller solution.
    x = jnp.where(x < 4 * ends[0], ends[0], x)
    x = jnp.where(lower <= 0, 0.0, jnp.where(upper <= 0, highest, x))
    return jnp.where(start >= 0, x, jnp.nan)


def _inverse_cdf_jvp(tails, log_density, highest, primals, tangents):
    params, lower, upper, start = primals
    along, d_lower, d_upper, _ = tangents
    x = _inverse_cdf(tails, log_density, highest, params, lower, upper, start)
    inside, near = (lower > 0) & (upper > 0), lower <= upper
    point = jnp.where(inside, x, 0.5)
    change = jnp.where(near, _dense(d_lower, lower), -_dense(d_upper, upper))
    leaves, structure = jax.tree.flatten(params)
    tangent = jax.tree.leaves(along)
    moved = [i for i, leaf in enumerate(tangent) if not isinstance(leaf, SymbolicZero)]
    if moved:

        def tail(*values):
            varied = list(leaves)
            for i, value in zip(moved, values, strict=True):
                varied[i] = value
            below, above = tails(jax.tree.unflatten(structure, varied), point)
            return jnp.where(near, below, -above)

        change = change - jax.jvp(tail, [leaves[i] for i in moved], [tangent[i] for i in moved])[1]
    slope = jnp.exp(-log_density(params, point))
    return x, jnp.where(inside, change * slope, 0.0)


_inverse_cdf.defjvp(_inverse_cdf_jvp, symbolic_zeros=True)


def _dense(tangent: Any, primal: Array) -> Array:
    return jnp.zeros_like(primal) if isinstance(tangent, SymbolicZero) else tangent


class CountShape(NamedTuple):
    """What a search for a count starts from."""

    mean: Float[Array, "*shape"]
    """The mean."""
    deviation: Float[Array, "*shape"]
    """The standard deviation."""
    lean: Float[Array, "*shape"]
    """The deviation times the skewness."""
    size: Float[Array, "*shape"]
    """The largest number in the exponents of the CDF, whose tails are good to `16 size` eps."""


@functools.partial(jax.jit, static_argnums=0)
def least_count(
    cdf: Callable[[Any, Array], Array],
    params: Any,
    level: Float[Array, "*shape"],
    highest: Float[Array, "*shape"],
    shape: CountShape,
) -> Float[Array, "*shape"]:
    """The least integer `k >= 0` with `cdf(params, k) >= level`, by comparing values of `cdf`.

    From the Cornish-Fisher quantile the search doubles its steps until both sides are known, then
    halves: exact for the CDF as it is computed, after a few evaluations. The last digits of a CDF
    differ from one compiled program to the next, so a level counts as reached within them: one unit
    in its last place and `16 size eps` of the smaller tail, less than a tenth of a step of the CDF.

    Args:
      cdf: a distribution function of counts that does not decrease; a static argument.
      params: its parameters; `cdf(params, k)` has the shape of `level` if k has.
      level: values in `[0, 1]`.
      highest: the end of the support, the quantile of level 1; may be infinite.
      shape: moments and size; nan where the parameters are not valid, and nan comes back.

    Returns:
      Whole numbers in the dtype of `level`, without derivative.

    References:
      [AbramowitzStegun1964] equation 26.2.49 (the start).

    Examples:
      >>> die = lambda sides, k: jnp.clip((k + 1) / sides, 0, 1)
      >>> level, highest, *shape = map(jnp.asarray, (0.6, 5.0, 2.5, 1.7, 0.0, 1.0))
      >>> float(least_count(die, 6.0, level, highest, CountShape(*shape)))
      3.0
    """
    stopped = jax.lax.stop_gradient((params, level, highest, shape))
    params, level, highest, shape = stopped
    limits = jnp.finfo(level.dtype)
    eps = float(limits.eps)
    start = _cornish_fisher(level, shape)
    rounding = jnp.minimum(16 * eps * shape.size, 0.1 / (1 + shape.deviation))
    wanted = level - 0.75 * eps * level - rounding * jnp.minimum(level, 1 - level)
    top = jnp.minimum(highest, float(limits.max))
    halfway = lambda low, high: jnp.floor(low + 0.5 * (high - low))

    def between(low, high):
        middle = halfway(low, high)
        return (middle > low) & (middle < high)

    def advance(state):
        low, high, probe, size, count = state
        enough = cdf(params, probe) >= wanted
        below, above = jnp.where(enough, low, probe), jnp.where(enough, probe, high)
        # One side not known yet: away from the probe, twice as far each time.
        ahead = jnp.where(enough, above - size, below + size)
        unknown = jnp.where(enough, below < 0, above >= top) & (ahead > below) & (ahead < above)
        probe = jnp.where(unknown, ahead, halfway(below, above))
        going = between(low, high)
        low, high = jnp.where(going, below, low), jnp.where(going, above, high)
        return low, high, probe, 2 * size, count + 1

    inside = (level > 0) & (level < 1) & ~jnp.isnan(start)
    low, high = jnp.full_like(top, -1.0), jnp.where(inside, top, 0.0)
    probe = jnp.clip(jnp.floor(jnp.where(inside, start, 0.0)), 0.0, jnp.maximum(top - 1, 0.0))
    # Of large counts not every one is a float.
    size = jnp.maximum(1.0, 4 * eps * probe)
    unfinished = lambda state: jnp.any(between(*state[:2])) & (state[4] < _STEPS)
    found = jax.lax.while_loop(unfinished, advance, (low, high, probe, size, 0))[1]
    found = jnp.where(level >= 1, highest, found)
    return jnp.where(jnp.isnan(start), jnp.nan, found)


def _cornish_fisher(level: Array, shape: CountShape) -> Array:
    """`mean + deviation z + lean (z^2 - 1) / 6`, z the normal quantile of the level."""
    limits = jnp.finfo(level.dtype)
    z = ndtri(jnp.clip(level, float(limits.tiny), 1 - float(limits.epsneg)))
    return shape.mean + shape.deviation * z + shape.lean * (z * z - 1) / 6
