"""What each iteration of EM gains, as the divergences of its two projections.

In the complete-data model `p(x, z)` the E-step projects the model onto the laws that have the data
as marginal (an e-projection, the responsibilities r), the M-step projects back (an m-projection).
The log-likelihood gains exactly what both leave behind, `sum_i KL(r_i || r_i') + N KL(p' || p)`.
"""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.softmax import log_softmax, logsumexp
from igeojax.divergences.exponential.relative_entropy import kl as member_kl
from igeojax.em._data import checked_rows, checked_weights, require_weight
from igeojax.em._passes import data_frame
from igeojax.em.expectations import shared_out
from igeojax.em.priors import require_prior


class ProjectionGains(NamedTuple):
    """Result of `projection_gains`; nats, as totals over the (weighted) data.

    `log_likelihoods`, `log_priors`: before each iteration and after the last. `latent_kls`:
    `sum_i w_i KL(r_i || r_i')` of each iteration. `model_kls`: `N KL(p' || p)` of the complete-data
    model, in which the observations of a prior count. The gain in log-likelihood and log-prior is
    the sum of the two. `params`: where the last iteration ended.
    """

    log_likelihoods: Float[Array, "steps_and_one"]
    log_priors: Float[Array, "steps_and_one"]
    latent_kls: Float[Array, "steps"]
    model_kls: Float[Array, "steps"]
    params: Any

    @property
    def gains(self) -> Float[Array, "steps"]:
        """Gain of each iteration in log-likelihood plus log-prior."""
        return jnp.diff(self.log_likelihoods) + jnp.diff(self.log_priors)

    def table(self) -> str:
        """The iterations as lines of text, with how far the gain is from the two divergences.

        Returns:
          A header and a line an iteration.

        Examples:
          >>> zero, one = jnp.zeros(2), jnp.ones(1)
          >>> print(ProjectionGains(jnp.array([-9.0, -7.0]), zero, one, one, None).table())
          step  log-likelihood          gain     latent KL      model KL    difference
             1       -7.000000  2.000000e+00  1.000000e+00  1.000000e+00       0.0e+00
        """
        lines = [
            f"{'step':>4}  {'log-likelihood':>14}  {'gain':>12}  {'latent KL':>12}  "
            f"{'model KL':>12}  {'difference':>12}"
        ]
        rows = zip(
            self.log_likelihoods[1:], self.gains, self.latent_kls, self.model_kls, strict=True
        )
        for step, (value, gain, latent, model) in enumerate(rows, 1):
            lines.append(
                f"{step:4d}  {value:14.6f}  {gain:12.6e}  {latent:12.6e}  {model:12.6e}  "
                f"{gain - latent - model:12.1e}"
            )
        return "\n".join(lines)


def projection_gains(
    mixture: Any,
    data: Any,
    start: Any,
    *,
    weights: ArrayLike | None = None,
    prior: Any = None,
    num_iterations: int = 20,
) -> ProjectionGains:
    """Run EM and account for the gain of each iteration by its two divergences.

    `ll' - ll = sum_i KL(r_i || r_i') + N KL(p' || p)` with `p(x, z)` the complete-data model; with
    a prior the gain is that of the log-posterior, and the model's divergence counts its
    observations, `sum_k (n_k + nu_k) KL(theta_k' || theta_k)` and alike for the weights. Equal to
    rounding, but where a component is pruned. One E-step an iteration, with all responsibilities in
    memory: a report, not a way to fit.

    Args:
      mixture: the `Mixture`.
      data: observations of shape `(N,) + event_shape`, none missing.
      start: a `MixturePoint` to start at.
      weights: non-negative, shape `(N,)`; None weighs all alike.
      prior: an `em.MixturePrior`, or None.
      num_iterations: number of iterations.

    Returns:
      The `ProjectionGains`.

    Raises:
      TypeError: data, a start or a prior of a wrong kind.
      ValueError: data off the support, bad weights, or a mixture of data with missing entries,
        whose responsibilities are not all that is latent.

    References:
      [Amari2016] section 8.1 (alternating projections); [Csiszar1975] (their divergences).

    Examples:
      >>> from igeojax import em, families
      >>> mixture = em.Mixture(families.Poisson(), 2)
      >>> start = mixture.point([0.5, 0.5], families.Poisson().natural_from_params([2.0, 9.0]))
      >>> gains = projection_gains(mixture, jnp.array([1, 2, 8, 12]), start, num_iterations=3)
      >>> bool(jnp.allclose(gains.gains, gains.latent_kls + gains.model_kls))
      True
    """
    checks.require_count("num_iterations", num_iterations)
    mixture._require_params(start)
    if mixture.missing:
        raise ValueError(
            "data must be complete; got a mixture with missing=True. Drop rows with missing "
            "entries, and use a mixture without."
        )
    x, count = checked_rows(mixture, data)
    require_prior(mixture, prior)
    weights = checked_weights(weights, count, start.log_weights.dtype)
    require_weight(count, jnp.sum(weights))
    return _gains(mixture, x, start, weights, prior, num_iterations)


@partial(jax.jit, static_argnames=("mixture", "num_iterations"))
def _gains(
    mixture: Any, x: Any, start: Any, weights: Array, prior: Any, num_iterations: int
) -> ProjectionGains:
    """The iterations, in the frame of the data: no digit is lost, and divergences are the same."""
    family = mixture.family
    frame = data_frame(family, x, weights, None)
    z = family.standardized(x, frame)
    volume = jnp.sum(weights) * family.log_volume(frame)
    prior = None if prior is None else prior.in_frame(family, frame)

    def e_step(params: Any) -> tuple[Array, Array, Array]:
        joint = mixture.joint_log_density(params, z)
        value = jnp.sum(jnp.where(weights > 0, weights * logsumexp(joint), 0.0)) - volume
        known = jnp.zeros(()) if prior is None else prior.log_density(mixture, params)
        return log_softmax(joint), value, known.astype(value.dtype)

    def iterate(carry: Any, _: None) -> tuple[Any, Any]:
        params, (before, value, known) = carry
        mass = jnp.exp(before) * weights[:, None]
        sums = shared_out(family, mass, z)
        found = mixture.maximized(sums, previous=params, prior=prior)
        after = e_step(found)
        latent = jnp.sum(jnp.where(mass > 0, mass * (before - after[0]), 0.0))
        counts = total = sums.counts
        if prior is not None:
            counts = counts + prior.counts.astype(counts.dtype)
            total = jnp.maximum(total + prior.concentration.astype(counts.dtype) - 1, 0.0)
        gap = member_kl(family, found.components, params.components)
        ratio = found.log_weights - params.log_weights
        model = jnp.sum(jnp.where(counts > 0, counts * gap, 0.0))
        model = model + jnp.sum(jnp.where(total > 0, total * ratio, 0.0))
        return (found, after), (value, known, latent, model)

    moved = lambda change, point: point._replace(
        components=jax.vmap(change, (0, None))(point.components, frame)
    )
    begin = moved(family.in_frame, start)
    (params, (_, value, known)), steps = jax.lax.scan(
        iterate, (begin, e_step(begin)), length=num_iterations
    )
    values, priors, latent, model = steps
    return ProjectionGains(
        jnp.append(values, value),
        jnp.append(priors, known),
        latent,
        model,
        moved(family.from_frame, params),
    )
