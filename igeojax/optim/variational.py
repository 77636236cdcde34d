"""The Bayesian learning rule: natural-gradient steps of a variational posterior.

The approximation `q` is a member of an exponential family, its natural parameter `theta` is what
optax steps. With a prior of the same family, of natural parameter `prior`, the evidence lower bound
is `E_q[log p(data | x)] - KL(q || prior)`, and its natural gradient is the plain gradient in the
mean parameter `eta`,

    F^-1 grad_theta ELBO = grad_eta ELBO = prior + grad_eta E_q[log p(data | x)] - theta.

So a step is an average of natural parameters, `(1 - rho) theta + rho (prior + grad_eta E_q[...])`:
Bayes' theorem where the model is conjugate and `rho = 1`. The gradient comes from a closed form by
`jax.grad` in the mean parameter, or from samples by `variational_gradient`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.optim._arguments import real_scalar, require_alike, require_params


class DomainState(NamedTuple):
    """What the last update did, for every point of the batch.

    `step`: updates so far. `scale`: what the update was multiplied by to stay in the domain: 1
    where it stayed by itself, 0 where no step was taken. `num_backtracks`: candidates refused.
    """

    step: Int[Array, ""]
    scale: Float[Array, "*batch"]
    num_backtracks: Int[Array, "*batch"]


def within_domain(
    family: ExponentialFamily, *, backtrack: ArrayLike = 0.5, max_backtracks: int = 30
) -> optax.GradientTransformationExtraArgs:
    """Shorten updates of natural parameters until they lead to a point of the natural domain.

    Each point of a batch on its own. The domain is convex, so that from within it a short enough
    step stays within; where even the last candidate does not, or the update is nan, the update is 0
    and the state says so. Costs one look at the domain a candidate (a Cholesky factor, where leaves
    are matrices). It goes last in a chain: what changes the step afterwards voids it.

    Args:
      family: the family of which `params` are natural parameters.
      backtrack: factor between candidates, in (0, 1); may be traced.
      max_backtracks: how often a step is shortened before none is taken.

    Returns:
      An optax transform with state `DomainState`; its `update` needs `params`.

    Raises:
      TypeError: `family` is not a family; parameters or updates are not points of it.
      ValueError: a hyperparameter outside its domain, missing `params`, or updates of another batch
        shape.

    Examples:
      >>> from igeojax import families
      >>> gamma = families.Gamma()
      >>> tx, theta = within_domain(gamma), gamma.natural_from_params(shape=1.0, rate=1.0)
      >>> updates, state = tx.update(gamma.Point(-1.5, 0.0), tx.init(theta), theta)
      >>> float(updates.log_x), int(state.num_backtracks)
      (-0.75, 1)
    """
    require_family(family)
    real_scalar("backtrack", backtrack, "It holds for all points of a batch.")
    checks.require_values(
        "backtrack", backtrack, lambda v: (v > 0) & (v < 1), "in (0, 1)", "Try 0.5."
    )
    checks.require_count("max_backtracks", max_backtracks, 0)

    def init(params: Any) -> DomainState:
        theta = family._point(params)
        batch, dtype = family.batch_shape(theta), jax.tree.leaves(theta)[0].dtype
        return DomainState(jnp.zeros((), int), jnp.ones(batch, dtype), jnp.zeros(batch, int))

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, DomainState]:
        del extra
        require_params("within_domain", params)
        theta, step = family._point(params), family._point(updates)
        require_alike(step, theta)
        dtype = state.scale.dtype
        factor = checks.floating("backtrack", backtrack).astype(dtype)

        def over(scale: Array, leaf: Array) -> Array:
            aligned = scale.reshape(scale.shape + (1,) * (leaf.ndim - scale.ndim))
            # Nan times 0 would be nan.
            return jnp.where(aligned == 0, 0, aligned.astype(leaf.dtype) * leaf)

        def inside(scale: Array) -> Array:
            moved = jax.tree.map(lambda leaf, change: leaf + over(scale, change), theta, step)
            return family.in_natural_domain(moved)

        def unfinished(carry: tuple[Array, ...]) -> Array:
            _, refused, accepted = carry
            return jnp.any(~accepted & (refused <= max_backtracks))

        def shorten(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            scale, refused, accepted = carry
            scale = jnp.where(accepted, scale, factor * scale)
            accepted = inside(scale)
            return scale, refused + ~accepted, accepted

        whole = jnp.ones_like(state.scale)
        accepted = inside(whole)
        start = whole, (~accepted).astype(state.num_backtracks.dtype), accepted
        scale, refused, accepted = jax.lax.while_loop(unfinished, shorten, start)
        scale = jnp.where(accepted, scale, 0)
        found = jax.tree.map(lambda leaf: over(scale, leaf), step)
        return found, DomainState(state.step + 1, scale, refused)

    return optax.GradientTransformationExtraArgs(init, update)


def add_prior(family: ExponentialFamily, prior: Any) -> optax.GradientTransformationExtraArgs:
    """Add `theta - prior` to the updates: `grad_eta KL(q_theta || prior)`.

    What weight decay is to a point estimate.

    Args:
      family: the family of which `params` are natural parameters.
      prior: natural parameter of the prior, a single point or one for each of the batch. It may lie
        outside the natural domain, an improper prior, such as all 0.

    Returns:
      A stateless optax transform; its `update` needs `params`.

    Raises:
      TypeError: `family` is not a family, or `prior` not a point of it.
      ValueError: missing `params`, or updates or a prior of another batch shape.

    Examples:
      >>> from igeojax import families
      >>> gamma = families.Gamma()
      >>> tx = add_prior(gamma, gamma.Point(1.0, -1.0))
      >>> theta = gamma.Point(3.0, -2.0)
      >>> updates, _ = tx.update(gamma.Point(0.0, 0.0), tx.init(theta), theta)
      >>> float(updates.log_x), float(updates.x)
      (2.0, -1.0)
    """
    require_family(family)
    centre = family._point(prior)
    axes = len(family.batch_shape(centre))

    def update(updates: Any, state: Any, params: Any = None, **extra: Any) -> tuple[Any, Any]:
        del extra
        require_params("add_prior", params)
        theta, gradient = family._point(params), family._point(updates)
        require_alike(gradient, theta)
        batch = family.batch_shape(theta)
        if axes and family.batch_shape(centre) != batch:
            raise ValueError(
                f"prior must be a single point or have the batch shape of params, {batch}; got "
                f"{family.batch_shape(centre)}. Broadcast it first."
            )

        def added(change: Array, leaf: Array, known: Array) -> Array:
            return change + (leaf - jnp.broadcast_to(known, leaf.shape)).astype(change.dtype)

        return jax.tree.map(added, gradient, theta, centre), state

    return optax.GradientTransformationExtraArgs(optax.init_empty_state, update)


def bayesian_learning_rule(
    learning_rate: optax.ScalarOrSchedule,
    family: ExponentialFamily,
    prior: Any,
    *,
    backtrack: ArrayLike = 0.5,
    max_backtracks: int = 30,
) -> optax.GradientTransformationExtraArgs:
    """Natural-gradient variational inference, `theta' = (1 - rho) theta + rho (prior - gradient)`.

    `params` are natural parameters of the approximation; `updates` the gradient of the expected
    loss `E_q[-log p(data | x)]` in its mean parameters: of a closed form by `jax.grad`, of samples
    by `variational_gradient`, of a function of `theta` by `geometry.sharp` of its gradient. A model
    is conjugate where that gradient is constant; then a step with `rho = 1` is Bayes' theorem,
    whatever `theta` is. Steps that would leave the natural domain are shortened, see
    `within_domain`, whose `DomainState` is the last of the chain.

    Of a quadratic loss a full normal law converges for every `rho < 2`. A mean field of d coupled
    coordinates steps each as if the others stood still: below `2 / d` its mean always converges.
    The transforms of the chain may be combined otherwise: with `optax.ema` between for momentum, or
    with a schedule of Robbins and Monro for noisy gradients.

    Args:
      learning_rate: `rho`, a scalar or an optax schedule.
      family: the family of the approximation; a product of families is a mean field.
      prior: natural parameter of the prior, as in `add_prior`. A prior outside the family belongs
        into the likelihood, and all 0 here: then `log h(x)`, the base measure, is in the target.
      backtrack: factor between candidates, in (0, 1); may be traced.
      max_backtracks: how often a step is shortened before none is taken.

    Returns:
      An optax transform; its `update` needs `params`.

    Raises:
      TypeError: as `add_prior`.
      ValueError: as `add_prior` and `within_domain`.

    References:
      [KhanRue2023] (the rule in natural parameters); [KhanLin2017] (conjugate computations).

    Examples:
      >>> from igeojax import families
      >>> beta = families.Beta()
      >>> prior = theta = beta.natural_from_params(1.0, 1.0)
      >>> loss = lambda eta: -(3 * eta.log_x + 7 * eta.log_1mx)  # 3 heads, 7 tails
      >>> tx = bayesian_learning_rule(1.0, beta, prior)
      >>> gradient = jax.grad(loss)(beta.mean_from_natural(theta))
      >>> updates, state = tx.update(gradient, tx.init(theta), theta)
      >>> tuple(map(float, optax.apply_updates(theta, updates)))
      (4.0, 8.0)
    """
    return optax.chain(
        add_prior(family, prior),
        optax.scale_by_learning_rate(learning_rate),
        within_domain(family, backtrack=backtrack, max_backtracks=max_backtracks),
    )
