"""The Dirichlet family's special functions: log-beta, mean logs, and the remainder of log-beta.

Everything is written with Stirling's remainder and from differences, so that the large terms of
`sum lgamma(a_i) - lgamma(sum a)` cancel on paper. Concentrations lie on the last axis.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from igeojax.numerics.gamma import stirling_bregman
from igeojax.numerics.remainders import log_ratio, ratio_remainder
from igeojax.numerics.stirling import (
    HALF_LOG_TWO_PI,
    digamma_step,
    stirling_remainder,
)


def log_beta(a: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """Log of the multivariate beta function, `sum lgamma(a_i) - lgamma(sum a)`, last axis.

    A few eps relative to its largest part, `sum a_i log(a_i / sum a)`; `betaln` is `classes = 2`.
    The derivative is `dirichlet_mean_logs`, which does not cancel either.

    Args:
      a: positive concentrations.

    Returns:
      Values of the batch shape; nan outside the domain.

    Examples:
      >>> round(float(log_beta(jnp.array([2.0, 3.0]))), 6)
      -2.484907
    """
    return _log_beta(a)


@jax.custom_jvp
def _log_beta(a: Array) -> Array:
    total = jnp.sum(a, axis=-1)
    parts = a * log_shares(a) - 0.5 * jnp.log(a) + stirling_remainder(a)
    whole = 0.5 * jnp.log(total) - stirling_remainder(total)
    return jnp.sum(parts, axis=-1) + whole + (a.shape[-1] - 1) * HALF_LOG_TWO_PI


@_log_beta.defjvp
def _log_beta_jvp(primals, tangents):
    (a,), (da,) = primals, tangents
    return _log_beta(a), jnp.sum(dirichlet_mean_logs(a) * da, axis=-1)


def betaln(a: Float[Array, "*shape"], b: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Log of the beta function, `lgamma(a) + lgamma(b) - lgamma(a + b)`, without cancellation.

    Args:
      a: positive values.
      b: positive values of the same shape.

    Returns:
      The logarithm; its derivatives are `digamma(a) - digamma(a + b)` and the like, exact too.

    Examples:
      >>> round(float(betaln(jnp.asarray(1.0), jnp.asarray(1e8))), 6)
      -18.420681
    """
    return log_beta(jnp.stack(jnp.broadcast_arrays(a, b), axis=-1))


def others(values: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Sum of all other entries of the last axis, without subtracting an entry from the total.

    Args:
      values: any values.

    Returns:
      The sums, of the shape of `values`.

    Examples:
      >>> others(jnp.array([1e9, 1.0, 2.0])).tolist()
      [3.0, 1000000002.0, 1000000001.0]
    """
    zero = jnp.zeros_like(values[..., :1])
    before = jnp.cumsum(jnp.concatenate([zero, values[..., :-1]], axis=-1), axis=-1)
    after = jnp.cumsum(jnp.concatenate([zero, values[..., :0:-1]], axis=-1), axis=-1)
    return before + after[..., ::-1]


def is_largest(a: Float[Array, "*batch classes"]) -> Bool[Array, "*batch classes"]:
    """Mask of the first largest entry of the last axis.

    Args:
      a: any values.

    Returns:
      True at one entry of each row.

    Examples:
      >>> is_largest(jnp.array([1.0, 3.0, 3.0])).tolist()
      [False, True, False]
    """
    index = jnp.arange(a.shape[-1]).reshape((1,) * (a.ndim - 1) + (-1,))
    return index == jnp.argmax(a, axis=-1, keepdims=True)


def log_shares(a: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """`log(a_i / sum a)`, from the sum of the others where one entry dominates.

    Args:
      a: positive values.

    Returns:
      The logarithms, of the shape of `a`.

    Examples:
      >>> round(float(log_shares(jnp.array([1e9, 1.0]))[0]) * 1e9, 6)
      -1.0
    """
    rest = others(a)
    dominant = rest < a
    near = jnp.log1p(jnp.where(dominant, rest, 1.0) / jnp.where(dominant, a, 1.0))
    return jnp.where(dominant, -near, jnp.log(a / (rest + a)))


def dirichlet_mean_logs(a: Float[Array, "*batch classes"]) -> Float[Array, "*batch classes"]:
    """Mean logs `E[log x_i] = digamma(a_i) - digamma(sum a)` of a Dirichlet variable.

    From the sum of the other concentrations, so that a dominant one keeps its digits: each entry
    to a few eps of itself.

    Args:
      a: positive concentrations.

    Returns:
      Negative values, of the shape of `a`.

    Examples:
      >>> round(float(dirichlet_mean_logs(jnp.array([1e9, 2.0]))[0]) * 1e9, 6)
      -2.0
    """
    return -digamma_step(a, others(a))


def dirichlet_bregman(
    a: Float[Array, "*batch classes"],
    other: Float[Array, "*batch classes"],
    step: Float[Array, "*batch classes"],
) -> Float[Array, "*batch"]:
    """Bregman divergence of `log_beta`, `KL(Dirichlet(other) || Dirichlet(a))`, non-negative.

    `lgamma(a) = a log a - a - log(a)/2 + mu(a)`: the first part makes `T KL(a/T || s/S)` with the
    totals T and S, a sum of non-negative terms `a_i rho_i`; of the others those of the largest
    entry and of the total nearly cancel, which is done on paper for `log(a)/2`.

    Args:
      a: positive concentrations.
      other: positive concentrations, the point of tangency.
      step: `a - other`, to as many digits as it is known.

    Returns:
      Values in nats, of the batch shape; 0 where the step is.

    Examples:
      >>> a, s = jnp.array([2.0, 3.0]), jnp.array([1.0, 1.0])
      >>> round(float(dirichlet_bregman(a, s, a - s)), 6)
      0.515093
    """
    other_total = jnp.sum(other, axis=-1, keepdims=True)
    total, total_step = jnp.sum(a, axis=-1), jnp.sum(step, axis=-1)
    # other_i T/S - a_i: from the steps, or from the values where the steps are the larger.
    scaled = other * (total[..., None] / other_total)
    gained, lost = (other / other_total) * others(step), step * (others(other) / other_total)
    stepwise = jnp.abs(gained) + jnp.abs(lost) < scaled + a
    moved = jnp.where(stepwise, gained - lost, scaled - a)
    remainder = ratio_remainder(scaled, a, moved)
    half = 0.5 * ratio_remainder(a, other, step)
    # The largest entry's half and that of the total: their difference is this.
    near = jnp.abs(moved) < a
    close = remainder + jnp.where(near, moved, 0.0) / a * (step / other)
    pair = -0.5 * jnp.where(near, close, moved / other - log_ratio(scaled, a))
    bend = stirling_bregman(a, other, step)
    whole = stirling_bregman(total, other_total[..., 0], total_step)
    value = (
        jnp.sum(a * remainder + jnp.where(is_largest(other), pair, half) + bend, axis=-1) - whole
    )
    # Of rounding alone; not jnp.maximum, which halves derivatives at a tie.
    return jnp.where(value < 0, 0.0, value)


def dirichlet_log_density(
    a: Float[Array, "*batch classes"],
    x: Float[Array, "*batch classes"],
    log_x: Float[Array, "*batch classes"],
    step: Float[Array, "*batch classes"],
) -> Float[Array, "*batch"]:
    """Log-density of a Dirichlet law from the difference to its mean.

    `sum (a_i - 1) log x_i - log_beta(a)` with `a_i log(a_i / sum a)` of the latter taken into the
    sum: nothing of the size of the concentrations is left to cancel.

    Args:
      a: concentrations.
      x: points of the simplex, of the same shape.
      log_x: their logarithms, anything where `x` is 0.
      step: `x - mean`, to as many digits as it is known.

    Returns:
      The log-density, in nats; on the boundary its limit.

    Examples:
      >>> a, x = jnp.array([2.0, 1.0]), jnp.array([0.25, 0.75])
      >>> round(float(dirichlet_log_density(a, x, jnp.log(x), x - a / 3)), 6)
      -0.693147
    """
    total = jnp.sum(a, axis=-1)
    share = a / total[..., None]
    near = jnp.abs(step) < 0.5 * share
    ratio = jnp.where(near, jnp.log1p(jnp.where(near, step / share, 0.0)), log_x - jnp.log(share))
    # Small concentrations bring nothing that cancels, and at x = 0 the two powers must be one.
    power = jnp.where(a < 1, (a - 1) * log_x - a * jnp.log(share), a * ratio - log_x)
    limit = jnp.where(a == 1, -jnp.log(share), jnp.where(a < 1, jnp.inf, -jnp.inf))
    terms = jnp.where(x == 0, limit, power) + 0.5 * jnp.log(a) - stirling_remainder(a)
    whole = stirling_remainder(total) - 0.5 * jnp.log(total)
    return jnp.sum(terms, axis=-1) + whole - (a.shape[-1] - 1) * HALF_LOG_TWO_PI
