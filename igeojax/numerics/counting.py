"""Densities and entropies of counts without the cancellation of `log x!` and `x log(mean)`."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax.numerics.remainders import ratio_remainder
from igeojax.numerics.stirling import stirling_remainder


def poisson_log_density(
    x: Float[Array, "*shape"],
    mean: Float[Array, "*shape"],
    excess: Float[Array, "*shape"] | None = None,
    less: Float[Array, "*shape"] | float = 0.0,
) -> Float[Array, "*shape"]:
    """Log-density `x log(mean) - mean - log x!` of a Poisson count, in nats.

    Written as Stirling's remainder and a deviance, both positive: at a mean of 1e6 the usual form
    keeps no digit in float32. Densities of binomial, multinomial and negative binomial counts are
    sums of it.

    Args:
      x: counts, or any non-negative reals.
      mean: non-negative values.
      excess: `x - mean` where it is known to more digits than the subtraction gives.
      less: another log-density to subtract before the deviance, which may be all that is left.

    Returns:
      Log-densities, of the common shape; -inf where the mean is 0 and `x` is not.

    References:
      [Loader2000] section 2 (the deviance form).

    Examples:
      >>> round(float(poisson_log_density(jnp.asarray(1e6), jnp.asarray(1e6))), 6)
      -7.826694
    """
    x, mean, excess = jnp.broadcast_arrays(x, mean, x - mean if excess is None else excess)
    counted, possible = x > 0, mean > 0
    both = counted & possible
    count, rate = jnp.where(both, x, 1.0), jnp.where(both, mean, 1.0)
    deviance = count * ratio_remainder(rate, count, jnp.where(both, -excess, 0.0))
    peak = -stirling_remainder(count) - 0.5 * jnp.log(2 * math.pi * count)
    return jnp.where(both, peak - less - deviance, jnp.where(counted, -jnp.inf, -mean - less))


def count_entropy(
    log_density: Callable[[Array, Array], Array],
    mean: Float[Array, "*batch"],
    deviation: Float[Array, "*batch"],
    log_zero: Float[Array, "*batch"],
    last: float = math.inf,
) -> Float[Array, "*batch"]:
    """Entropy `-sum_x f log f` of a bell-shaped law of counts, by 256 terms for any mean.

    While the count 0 has weight the terms are the counts 0 to 255 themselves. Beyond, the sum is an
    integral of an analytic function to `exp(-2 pi^2 var)`, and the trapezoidal rule with steps of
    an eighth of the deviation gives that to rounding. All terms have one sign.

    Args:
      log_density: `log f` of counts, integers or reals between, and their excess over the mean,
        which the subtraction of a large mean would round.
      mean: mean of the counts. A heavy tail, or a mean above 70 while 0 has weight, is left out.
      deviation: their standard deviation.
      log_zero: log-probability of the count 0.
      last: the largest count.

    Returns:
      Entropies in nats, of the shape of `mean`.

    References:
      [TrefethenWeideman2014] theorem 5.1 (the trapezoidal rule on the line).

    Examples:
      >>> poisson = lambda x, excess: poisson_log_density(x, x - excess, excess)
      >>> rate = jnp.asarray(1e6)
      >>> round(float(count_entropy(poisson, rate, jnp.sqrt(rate), -rate)), 5)
      8.32669
    """
    few = (log_zero > _RARE)[..., None]
    index = jnp.arange(_TERMS, dtype=mean.dtype).reshape((1,) * mean.ndim + (-1,))
    centre, fixed = mean[..., None], jax.lax.stop_gradient(mean)[..., None]
    width = jnp.where(few, 1.0, jax.lax.stop_gradient(deviation)[..., None] / 8)
    away = (index - _BELOW) * width
    count = jnp.where(few, index, fixed + away)
    # The nodes stay where they are while the mean moves.
    excess = jnp.where(few, index - centre, away - (centre - fixed))
    inside = (count >= 0) & (count <= last)
    log_f = log_density(jnp.where(inside, count, 0.0), jnp.where(inside, excess, -centre))
    some = inside & (log_f > -jnp.inf)
    log_f = jnp.where(some, log_f, 0.0)
    return -jnp.sum(width * jnp.where(some, jnp.exp(log_f) * log_f, 0.0), axis=-1)


_TERMS = 256
_BELOW = 112.0  # nodes below the mean: 14 deviations; 18 above, where a skew law has its mass
_RARE = -40.0  # the log of a probability that counts for nothing in float64
_NODES = np.arange(512.0)


def mean_log_multiplicity(mean: Float[Array, "*batch"], successes: float) -> Float[Array, "*batch"]:
    """Mean of `log Gamma(x + r) / (x! Gamma(r))` for a negative binomial count of a given mean.

    By Malmsten's integral of log-gamma, under which the count enters by its generating function G
    alone: `int (1 - G(e^-t)) (e^-t - e^-(r t)) / (1 - e^-t) dt / t`, all of one sign, by the
    trapezoidal rule in `log t`. Relative error a few tens of eps for every r and means to 1e60;
    1e-10 at 1e100, where the nodes are far apart.

    Args:
      mean: positive values.
      successes: the number r of successes.

    Returns:
      The mean, of the shape of `mean`; it has the sign of `r - 1`.

    References:
      [Knessl1998] section 1 (integral representations of entropies).

    Examples:
      >>> float(mean_log_multiplicity(jnp.asarray(3.0), 1.0))
      0.0
    """
    slower = min(successes, 1.0)
    info = jnp.finfo(mean.dtype)
    fixed = jax.lax.stop_gradient(mean)[..., None]
    low = math.log(info.eps) - 2 - jnp.log(jnp.maximum(fixed / slower, 1.0))
    low = jnp.maximum(low, math.log(info.tiny) + 1)
    step = (math.log(40 / slower) - low) / len(_NODES)
    index = jnp.asarray(_NODES, mean.dtype).reshape((1,) * mean.ndim + (-1,))
    t = jnp.exp(low + index * step)
    fall = -jnp.expm1(-t)
    # G at exp(-t) is (p / (1 - q exp(-t)))^r, with q/p = mean / r.
    risen = -jnp.expm1(-successes * jnp.log1p(mean[..., None] / successes * fall))
    apart = jnp.exp(-slower * t) * -jnp.expm1(-abs(successes - 1) * t)
    return math.copysign(1.0, successes - 1) * jnp.sum(step * risen * apart / fall, axis=-1)
