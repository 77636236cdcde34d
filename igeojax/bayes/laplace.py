"""Laplace's approximation of a posterior density: a normal law with its mode and its curvature."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.numerics.positive_definite import symmetrized


class LaplaceApproximation(NamedTuple):
    """A normal law in the place of a posterior.

    `mode`: its mean, a pytree. `theta`: the law, a `Point` of `MultivariateNormal(P)` over the P
    entries in the order of `jax.flatten_util.ravel_pytree`. `log_evidence`: of the data, in nats.
    """

    mode: Any
    theta: Any
    log_evidence: Float[Array, ""]


def laplace_approximation(log_joint: Callable[[Any], Array], mode: Any) -> LaplaceApproximation:
    """Normal law at the mode of a posterior, with its exact Hessian.

    `N(mode, H^{-1})`, `H = -Hess log p(data, params)` and
    `log p(data) ~ log_joint(mode) + P/2 log 2 pi - 1/2 log det H`: exact where the posterior is
    normal, else with an error of order 1/N. Costs P Hessian-vector products and `P^3`. It depends
    on the chart of the parameters: in that where the posterior is nearest to a normal law it is
    best (logs of rates, logits of probabilities).

    Args:
      log_joint: log prior plus log-likelihood of a pytree of parameters, with all constants if the
        evidence is wanted.
      mode: where it is largest, found by any optimizer.

    Returns:
      The approximation.

    Raises:
      ValueError: `mode` is concrete and no maximum: the gradient is far from 0, or the Hessian not
        negative definite.

    References:
      [TierneyKadane1986] section 2.
      [MacKay2003] chapter 27.

    Examples:
      >>> law = laplace_approximation(lambda x: -2.0 * jnp.sum((x - 1) ** 2), jnp.ones(1))
      >>> MultivariateNormal(1).variance(law.theta).tolist()
      [0.25]
      >>> round(float(jnp.exp(2 * law.log_evidence)), 4)
      1.5708
    """
    vector, unravel = jax.flatten_util.ravel_pytree(mode)
    density = lambda v: log_joint(unravel(v))
    # Compiled: one by one the operations of a second derivative take longer to build than to run.
    value, gradient, hessian = jax.jit(
        lambda v: (*jax.value_and_grad(density)(v), jax.hessian(density)(v))
    )(vector)
    precision = -symmetrized(hessian)
    roots, basis = jnp.linalg.eigh(precision)
    checks.require_values(
        "the precision at the mode",
        roots,
        lambda v: v > 0,
        "positive definite",
        "It is the negative Hessian of log_joint: check that mode is its maximum, inside the "
        "domain, and that the prior holds every parameter.",
    )
    # Newton's step in units of the deviation: beyond the mode the approximation is of another law.
    step = jnp.sqrt(jnp.sum((basis.T @ gradient) ** 2 / roots))
    limit = 0.05 * vector.size**0.5
    checks.require_values(
        "the distance to the mode, in standard deviations",
        step,
        lambda v: v < limit,
        f"below {limit:.2g}",
        "Run the optimizer further.",
    )
    size = vector.size
    log_det = jnp.sum(jnp.log(roots))
    evidence = value + 0.5 * size * float(np.log(2 * np.pi)) - 0.5 * log_det
    family = MultivariateNormal(size)
    theta = family.Point(precision @ vector, -0.5 * precision)
    return LaplaceApproximation(mode, theta, evidence)
