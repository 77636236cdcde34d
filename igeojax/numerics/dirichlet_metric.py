"""The Fisher metric of the Dirichlet family: determinant, solve, and the inverse of mean logs."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.numerics.dirichlet import dirichlet_mean_logs, is_largest, others
from igeojax.numerics.gamma import digamma_inverse
from igeojax.numerics.stirling import digamma, scaled_trigamma_excess, trigamma, trigamma_drop

_MOST_STEPS, _SETTLED = 24, 1e-6
"""Newton's steps for the total; after a change of a millionth other steps bring the last digits."""


@jax.custom_jvp
def dirichlet_mean_logs_inverse(
    mean_logs: Float[Array, "*batch classes"],
) -> Float[Array, "*batch classes"]:
    """Concentrations `a` with `digamma(a_i) - digamma(sum a) = mean_logs_i`: maximum likelihood.

    The total solves one equation, `sum digamma_inverse(mean_logs + digamma(total)) = total`, by
    Newton's method in `1 / total` inside a bracket; Newton steps for all concentrations at once
    with the diagonal-plus-rank-one solve then bring the last digits. The derivative is that of the
    implicit function.

    Args:
      mean_logs: negative values with `sum exp(mean_logs) < 1`; else the result is inf or nan.

    Returns:
      The concentrations, of the shape of `mean_logs`.

    References:
      [Minka2000] section 1 (the likelihood, the fixed point and the Newton step).

    Examples:
      >>> a = jnp.array([0.5, 3.0, 20.0])
      >>> [round(v, 4) for v in dirichlet_mean_logs_inverse(dirichlet_mean_logs(a)).tolist()]
      [0.5, 3.0, 20.0]
    """
    deficit = -_log_sum_exp(mean_logs)
    # The total of constant data has no finite value; rounding leaves a deficit of this size.
    noise = 2 * jnp.finfo(mean_logs.dtype).eps
    constant = jnp.abs(deficit) <= noise
    valid = (mean_logs < 0).all(axis=-1) & jnp.isfinite(mean_logs).all(axis=-1) & (deficit > noise)
    stand_in = -jnp.log(2.0 * mean_logs.shape[-1])
    safe = jnp.where(valid[..., None], mean_logs, stand_in.astype(mean_logs.dtype))
    a = digamma_inverse(safe + digamma(_total(safe))[..., None])
    for _ in range(3):
        step = dirichlet_metric_solve(a, safe - dirichlet_mean_logs(a))
        a = jnp.clip(a + step, 0.5 * a, 2 * a)
    outside = jnp.where(constant, jnp.inf, jnp.nan)[..., None]
    return jnp.where(valid[..., None], a, outside)


@dirichlet_mean_logs_inverse.defjvp
def _dirichlet_mean_logs_inverse_jvp(primals, tangents):
    (mean_logs,), (change,) = primals, tangents
    a = dirichlet_mean_logs_inverse(mean_logs)
    return a, dirichlet_metric_solve(a, change)


def _log_sum_exp(values: Array) -> Array:
    """Log-sum-exp that keeps its digits near 0, where one entry is near 0 and all others far."""
    largest = jnp.max(values, axis=-1, keepdims=True)
    rest = jnp.sum(jnp.where(is_largest(values), 0.0, jnp.exp(values - largest)), axis=-1)
    return largest[..., 0] + jnp.log1p(rest)


def _total(mean_logs: Array) -> Array:
    """Sum of the concentrations, to what the equation for it gives."""
    more = mean_logs.shape[-1] - 1
    deficit = -_log_sum_exp(mean_logs)
    low = 1e-3 * more / jnp.max(-mean_logs, axis=-1)
    high = 1e2 * more / deficit

    def unsettled(carry):
        total, before, *_, steps = carry
        return (steps < _MOST_STEPS) & (jnp.abs(total - before) > _SETTLED * total).any()

    def advance(carry):
        total, _, low, high, steps = carry
        a = digamma_inverse(mean_logs + digamma(total)[..., None])
        mass = jnp.sum(a, axis=-1)
        excess = jnp.log(mass) - jnp.log(total)
        slope = trigamma(total) * jnp.sum(1 / trigamma(a), axis=-1) / mass - 1 / total
        low, high = jnp.where(excess > 0, total, low), jnp.where(excess < 0, total, high)
        # In 1/total the equation is nearly straight for large totals.
        inverse = 1 / total + excess / (slope * total * total)
        inside = (inverse * high > 1) & (inverse * low < 1)
        middle = jnp.sqrt(low) * jnp.sqrt(high)
        after = jnp.where(inside, 1 / jnp.where(inside, inverse, 1.0), middle)
        return after, total, low, high, steps + 1

    start = jnp.clip(0.5 * more / deficit, low, high)
    unknown = jnp.full_like(start, jnp.inf)
    return jax.lax.while_loop(unsettled, advance, (start, unknown, low, high, 0))[0]


def _curvature_gap(a: Array) -> Array:
    """`1 / trigamma(sum a) - sum 1 / trigamma(a_i)`, positive: the determinant's last factor.

    With `r(a) = a - 1 / trigamma(a)`, between 0 and 1/2, it is `sum r(a_i) - r(sum a)`. Where one
    entry outweighs a small rest, its difference to the total is taken first instead.
    """
    top, total = is_largest(a), jnp.sum(a, axis=-1)
    curvature, whole = trigamma(a), trigamma(total)
    rest = jnp.sum(jnp.where(top, 0.0, a), axis=-1)
    dominated = rest < 1
    drop = jnp.where(top, trigamma_drop(a, others(a)) / curvature, 0.0) / whole[..., None]
    near = jnp.sum(drop - jnp.where(top, 0.0, 1 / curvature), axis=-1)

    def shortfall(x: Array) -> Array:
        excess = scaled_trigamma_excess(x)
        return x * (excess / (1 + excess))

    return jnp.where(dominated, near, jnp.sum(shortfall(a), axis=-1) - shortfall(total))


def dirichlet_metric_solve(
    a: Float[Array, "*batch classes"], cotangent: Float[Array, "*batch classes"]
) -> Float[Array, "*batch classes"]:
    """Solve `F v = c` with the Fisher metric `F = diag(trigamma(a)) - trigamma(sum a) 1 1^T`.

    Diagonal plus rank one: linear cost.

    Args:
      a: positive concentrations.
      cotangent: right-hand side.

    Returns:
      The solution, of the shape of `a`; relative error a few eps times
      `1 / (1 - trigamma(sum a) sum 1 / trigamma(a))`, the condition of the rank-one step.

    References:
      [Minka2000] section 1 (the Newton step in linear time).

    Examples:
      >>> v = dirichlet_metric_solve(jnp.array([1.0, 2.0]), jnp.array([1.0, 0.0]))
      >>> round(float(v[0]), 4)
      1.5972
    """
    plain = cotangent / trigamma(a)
    shared = jnp.sum(plain, axis=-1) / _curvature_gap(a)
    return plain + shared[..., None] / trigamma(a)


def dirichlet_log_det_metric(a: Float[Array, "*batch classes"]) -> Float[Array, "*batch"]:
    """Log-determinant of the Fisher metric `diag(trigamma(a)) - trigamma(sum a) 1 1^T`.

    `sum log trigamma(a_i) + log trigamma(sum a)` and the log of
    `1 / trigamma(sum a) - sum 1 / trigamma(a_i)`, which is rewritten so that it keeps its digits.

    Args:
      a: positive concentrations.

    Returns:
      The log-determinant, of the batch shape.

    Examples:
      >>> round(float(dirichlet_log_det_metric(jnp.array([1.0, 1.0]))), 6)
      -0.537751
    """
    total = jnp.sum(a, axis=-1)
    logs = jnp.sum(jnp.log(trigamma(a)), axis=-1) + jnp.log(trigamma(total))
    return logs + jnp.log(_curvature_gap(a))
