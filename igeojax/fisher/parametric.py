"""Fisher information of any parametric log-density, and what it bounds."""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jax.scipy.linalg import solve_triangular
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.fisher._arguments import require_examples, require_floating

LogDensity = Callable[[Any, Any], Array]
"""A model: `log_density(params, x)` of one observation, a scalar in nats."""


def _of_vector(
    log_density: LogDensity, params: Any
) -> tuple[Float[Array, "parameters"], LogDensity]:
    """The parameters as a vector, and the log-density as a function of it, checked.

    Raises:
      TypeError: a parameter is not floating.
      ValueError: the log-density of one observation is not a scalar.
    """
    require_floating(params)
    vector, unravel = jax.flatten_util.ravel_pytree(params)

    def of_vector(coordinates: Array, x: Any) -> Array:
        value = log_density(unravel(coordinates), x)
        if jnp.shape(value):
            raise ValueError(
                "log_density must return a scalar for one observation; got shape "
                f"{jnp.shape(value)}. Sum over the entries of an observation; observations lie on "
                "axis 0."
            )
        return value

    return vector, of_vector


def fisher_matrix_from_samples(
    log_density: LogDensity, params: Any, samples: Any
) -> Float[Array, "parameters parameters"]:
    """Fisher matrix `E[s s^T]` of the score `s = grad log p(x; params)`, a mean over samples.

    The samples must come from the model at `params`; with data in their place this is the
    empirical Fisher. The standard error falls like one over the root of their number. One gradient
    a sample; `N P` memory and `N P^2` operations for N samples and P parameters.

    Args:
      log_density: `log_density(params, x)` of one observation, a scalar in nats.
      params: any pytree of floating arrays.
      samples: observations on axis 0.

    Returns:
      The matrix per observation, in the order of `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `params` are not floating.
      ValueError: `samples` are no arrays with at least one observation on axis 0, or `log_density`
        does not return a scalar.

    References:
      [Amari2016] chapter 1 (Fisher information).

    Examples:
      >>> import jax.numpy as jnp
      >>> log_density = lambda m, x: -0.5 * (x - m) ** 2
      >>> fisher_matrix_from_samples(log_density, jnp.array(0.0), jnp.array([1.0, -1.0])).tolist()
      [[1.0]]
    """
    vector, of_vector = _of_vector(log_density, params)
    require_examples("samples", samples)
    if not jnp.shape(jax.tree.leaves(samples)[0])[0]:
        raise ValueError(
            "samples must hold at least one observation on axis 0; got none. Draw some first."
        )
    scores = jax.vmap(jax.grad(of_vector), (None, 0))(vector, samples)
    return scores.T @ scores / scores.shape[0]


def observed_information(
    log_density: LogDensity, params: Any, data: Any
) -> Float[Array, "parameters parameters"]:
    """Observed information `-Hess sum_n log p(x_n; params)`, of all the data together.

    At the maximum of the likelihood its inverse estimates the covariance of the estimate. Unlike
    the Fisher matrix it need not be positive definite elsewhere. One forward derivative of the
    gradient for each parameter, all at once: P times the time and memory of a gradient.

    Args:
      log_density: `log_density(params, x)` of one observation, a scalar in nats.
      params: any pytree of floating arrays.
      data: observations on axis 0.

    Returns:
      The symmetric matrix, in the order of `jax.flatten_util.ravel_pytree(params)`.

    Raises:
      TypeError: `params` are not floating.
      ValueError: `data` are no arrays with the observations on axis 0, or `log_density` does not
        return a scalar.

    References:
      [EfronHinkley1978] section 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> log_density = lambda m, x: -0.5 * (x - m) ** 2
      >>> observed_information(log_density, jnp.array(0.0), jnp.zeros(4)).tolist()
      [[4.0]]
    """
    vector, of_vector = _of_vector(log_density, params)
    require_examples("data", data)

    def loss(coordinates: Array) -> Array:
        return -jnp.sum(jax.vmap(of_vector, (None, 0))(coordinates, data))

    return jax.hessian(loss)(vector)


def cramer_rao_bound(
    information: Float[ArrayLike, "parameters parameters"],
    *,
    num_observations: ArrayLike = 1,
    jacobian: Float[ArrayLike, "targets parameters"] | None = None,
) -> Float[Array, "targets targets"]:
    """Cramer-Rao lower bound `J (n I)^{-1} J^T` on the covariance of an unbiased estimator.

    One Cholesky factor.

    Args:
      information: Fisher matrix I of one observation, symmetric positive definite.
      num_observations: number n of independent observations.
      jacobian: derivative J of the estimated functions in the parameters (delta method); None for
        the parameters themselves.

    Returns:
      The bound; nan where `information` is singular: some direction cannot be estimated at all.

    Raises:
      TypeError: an argument is not real.
      ValueError: `information` is not square, concrete values of it are not symmetric within
        `sqrt(eps)`, or `jacobian` does not fit it.

    References:
      [AmariNagaoka2000] theorem 2.2.

    Examples:
      >>> import jax.numpy as jnp
      >>> cramer_rao_bound(jnp.diag(jnp.array([4.0, 1.0])), num_observations=10).diagonal().tolist()
      [0.025, 0.1]
    """
    information = checks.floating("information", information)
    size = information.shape[-1] if information.ndim == 2 else -1
    if information.shape != (size, size):
        raise ValueError(
            f"information must be a square matrix; got shape {information.shape}. Use jax.vmap "
            "over several."
        )
    _require_symmetric(information)
    matrix = jnp.eye(size, dtype=information.dtype)
    if jacobian is not None:
        matrix = checks.floating("jacobian", jacobian).astype(information.dtype)
        if matrix.ndim != 2 or matrix.shape[1] != size:
            raise ValueError(
                f"jacobian must have shape (targets, {size}); got {matrix.shape}. Its columns are "
                "the parameters of the information matrix."
            )
    checks.require_positive("num_observations", num_observations, "It counts observations.")
    factor = jnp.linalg.cholesky(information)
    half = solve_triangular(factor, matrix.T, lower=True)
    return half.T @ half / jnp.asarray(num_observations, information.dtype)


def _require_symmetric(information: Array) -> None:
    """Check that a concrete matrix is symmetric, in the units of its diagonal.

    Raises:
      ValueError: it is not.
    """
    seen = checks.concrete(information)
    if seen is None:
        return
    sizes = np.sqrt(np.abs(np.diagonal(seen)))
    tolerance = float(jnp.finfo(information.dtype).eps) ** 0.5 * np.outer(sizes, sizes)
    gap = np.abs(seen - seen.T)
    if (gap > tolerance).any():
        raise ValueError(
            f"information must be symmetric; got entries that differ by {gap.max():.3g} from their "
            "mirror image. Pass 0.5 * (A + A.T) of an estimate."
        )
