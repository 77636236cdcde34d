"""How good an estimator is: bias, variance beside the Cramer-Rao bound, coverage of intervals."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from igeojax._core import checks
from igeojax.fisher.parametric import LogDensity, cramer_rao_bound, observed_information


class EfficiencyStudy(NamedTuple):
    """Result of `efficiency_study`, parameters in the order of `jax.flatten_util.ravel_pytree`.

    `bias`: mean estimate less the truth; `bias_error`: its standard error. `covariance`: of the
    estimates. `bound`: Cramer-Rao bound `(n I)^{-1}` on it. `efficiency`: diagonal of `bound` over
    that of `covariance`, 1 for the best unbiased estimator, above it only for biased ones or by
    chance. `efficiency_error`: its standard error, as of normal estimates. `coverage_expected`,
    `coverage_observed`: shares of replicates whose interval from the expected, or observed,
    information at the estimate holds the truth. `coverage_error`: the standard error of a share
    that is right. `variance_error_expected`, `variance_error_observed`: root mean square of the
    variance that the interval assumes over that of the estimates, less 1.
    """

    bias: Float[Array, "parameters"]
    bias_error: Float[Array, "parameters"]
    covariance: Float[Array, "parameters parameters"]
    bound: Float[Array, "parameters parameters"]
    efficiency: Float[Array, "parameters"]
    efficiency_error: Float[Array, "parameters"]
    coverage_expected: Float[Array, "parameters"]
    coverage_observed: Float[Array, "parameters"]
    coverage_error: Float[Array, ""]
    variance_error_expected: Float[Array, "parameters"]
    variance_error_observed: Float[Array, "parameters"]


def efficiency_study(
    key: Key[Array, ""],
    sample: Callable[[Any, Any, int], Any],
    estimator: Callable[[Any], Any],
    log_density: LogDensity,
    information: Callable[[Any], Array],
    params: Any,
    *,
    num_observations: int,
    num_replicates: int = 2000,
    level: float = 0.95,
) -> EfficiencyStudy:
    """Simulate an estimator and hold it against the Cramer-Rao bound.

    `num_replicates` data sets of `num_observations` from the model at `params`, each estimated and
    given two intervals, `estimate +- z sqrt(diag(J^{-1}))`, with J the expected information
    `n I(estimate)` and the observed one, `-Hess` of the log-likelihood there. An interval whose
    variance is negative or nan covers nothing. All replicates at once, under `jit` and `vmap`.

    Args:
      key: a PRNG key.
      sample: `sample(key, params, n)`, n observations on axis 0; must be traceable.
      estimator: `estimator(data)`, a pytree like `params`; must be traceable.
      log_density: `log_density(params, x)` of one observation, in nats.
      information: `information(params)`, the Fisher matrix of one observation.
      params: the truth, a pytree of floating arrays.
      num_observations: n.
      num_replicates: number of data sets, at least 2.
      level: of the intervals, in (0, 1).

    Returns:
      An `EfficiencyStudy`.

    Raises:
      TypeError: `key` is no PRNG key, or a count is no integer.
      ValueError: a count or level out of range, estimates unlike `params`, an information matrix
        of another size.

    References:
      [AmariNagaoka2000] theorem 2.2 (the bound); [EfronHinkley1978] (observed information is
      better given the data); [CaoSpall2012] (the expected one is better on average).

    Examples:
      >>> log_density = lambda m, x: -0.5 * (x - m) ** 2
      >>> draw = lambda key, m, n: m + jax.random.normal(key, (n,))
      >>> study = efficiency_study(
      ...     jax.random.key(0), draw, jnp.mean, log_density, lambda m: jnp.eye(1),
      ...     jnp.array(0.0), num_observations=10, num_replicates=500,
      ... )
      >>> bool(abs(study.efficiency[0] - 1) < 4 * study.efficiency_error[0])
      True
    """
    checks.require_key(key)
    checks.require_count("num_observations", num_observations)
    checks.require_count("num_replicates", num_replicates, 2)
    checks.require_number("level", level, "it sets the width of all intervals")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1); got {level}. Try 0.95.")
    truth, _ = jax.flatten_util.ravel_pytree(params)
    size = truth.shape[0]
    matrix = jnp.asarray(information(params))
    if matrix.shape != (size, size):
        raise ValueError(
            f"information must return a matrix of shape {(size, size)}; got {matrix.shape}. It is "
            "the Fisher matrix of one observation."
        )

    def replicate(key: Array) -> tuple[Array, Array, Array]:
        data = sample(key, params, num_observations)
        found = estimator(data)
        if jax.tree.map(jnp.shape, found) != jax.tree.map(jnp.shape, params):
            raise ValueError(
                f"estimator must return a pytree like params; got {found}. Use the same structure "
                "and shapes."
            )
        estimate, _ = jax.flatten_util.ravel_pytree(found)
        expected = num_observations * jnp.asarray(information(found))
        observed = observed_information(log_density, found, data)
        variance = lambda matrix: jnp.diagonal(jnp.linalg.inv(matrix))
        return estimate, variance(expected), variance(observed)

    keys = jax.random.split(key, num_replicates)
    estimates, expected, observed = jax.jit(jax.vmap(replicate))(keys)
    mean = jnp.mean(estimates, axis=0)
    covariance = jnp.atleast_2d(jnp.cov(estimates, rowvar=False))
    bound = cramer_rao_bound(matrix, num_observations=num_observations)
    half_width = jax.scipy.stats.norm.ppf(0.5 + 0.5 * level)

    def coverage(variance: Array) -> Array:
        reach = half_width * jnp.sqrt(jnp.where(variance > 0, variance, jnp.nan))
        covered = jnp.abs(estimates - truth[None]) <= reach
        return jnp.mean(covered, axis=0, dtype=estimates.dtype)

    spread = jnp.diagonal(covariance)

    def variance_error(variance: Array) -> Array:
        return jnp.sqrt(jnp.mean((variance / spread[None] - 1) ** 2, axis=0))

    count = jnp.asarray(num_replicates, estimates.dtype)
    return EfficiencyStudy(
        mean - truth,
        jnp.sqrt(spread / count),
        covariance,
        bound,
        jnp.diagonal(bound) / spread,
        jnp.diagonal(bound) / spread * jnp.sqrt(2 / (count - 1)),
        coverage(expected),
        coverage(observed),
        jnp.sqrt(level * (1 - level) / count),
        variance_error(expected),
        variance_error(observed),
    )
