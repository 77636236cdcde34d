"""Natural-gradient steps as long as a bound on the Kullback-Leibler divergence allows."""

import functools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks
from igeojax.divergences.exponential.relative_entropy import kl
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.fisher.model import Predict, weights_of
from igeojax.fisher.output import widened
from igeojax.optim._arguments import named_arguments, real_scalar
from igeojax.optim._model import completed, model_of
from igeojax.optim.metric import MetricState
from igeojax.optim.natural_gradient import scale_by_natural_gradient
from igeojax.optim.solvers import ConjugateGradient

# The first step aims this much below the bound: where the divergence is quadratic, as in a linear
# Gaussian model, it would else meet the bound to rounding, and be refused by chance.
_MARGIN = 1e-5


class TrustRegionState(NamedTuple):
    """What the last update did.

    `step`: updates so far; `residual` and `num_steps`: of the last solve; `kl`: mean divergence of
    the step taken, in nats, 0 where none was; `num_backtracks`: candidates refused; `accepted`:
    whether a step was taken.
    """

    step: Int[Array, ""]
    residual: Float[Array, ""]
    num_steps: Int[Array, ""]
    kl: Float[Array, ""]
    num_backtracks: Int[Array, ""]
    accepted: Bool[Array, ""]


def trust_region(
    predict: Predict,
    family: ExponentialFamily,
    *,
    max_kl: ArrayLike,
    damping: ArrayLike = 1e-2,
    max_iterations: int = 10,
    tolerance: float = 1e-4,
    backtrack: ArrayLike = 0.5,
    max_backtracks: int = 10,
) -> optax.GradientTransformationExtraArgs:
    """Trust-region steps of TRPO: the natural gradient, as long as `max_kl` allows.

    The direction is `d = (F + damping I)^{-1} g` by conjugate gradients. The first candidate is
    `-s d` with `s^2 d^T (F + damping I) d / 2 = max_kl`: the damping counts, as in TRPO, so the
    quadratic model of the divergence never exceeds `max_kl` and the step stays bounded where F
    vanishes. It is shortened by `backtrack` until the true mean divergence
    `KL(predict(params) || predict(new params))` over the inputs is at most `max_kl` and the true
    objective is lower; where no candidate is, the update is 0 and the state says so. The length of
    the gradient does not matter. Nan counts as refused; one in the gradient gives the update 0.

    Call `tx.update(grads, state, params, inputs=x, value=loss, value_fn=loss_fn)` as optax's line
    searches: `value_fn(params)` is the objective, given those extra arguments that it names, and
    `value` is it at `params`, computed where left out. Without `value_fn` only the divergence is
    looked at. Each candidate costs one call of `predict` and one of `value_fn`. Extra arguments
    `weights` (of the divergence too) and `full_params` are as in `scale_by_natural_gradient`;
    under a mask `value_fn` is given all parameters.

    The updates are the step itself: there is no learning rate, and it goes last in a chain, for
    what changes the step afterwards voids the bound. `optax.MultiSteps` hands over only the last
    micro-batch: Fisher matrix, divergence and objective are then of that one. Under
    `optax.inject_hyperparams` pass `static_args=("predict", "family", "max_iterations",
    "tolerance", "max_backtracks")`.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family. An `OutputMetric` has no divergence to bound, and is refused.
      max_kl: bound on the mean divergence, in nats; a scalar, may be traced.
      damping: Tikhonov damping, a scalar; may be traced.
      max_iterations: most Fisher products of one solve.
      tolerance: relative residual of the solve.
      backtrack: factor between candidates, in (0, 1); may be traced.
      max_backtracks: how often a step is shortened before none is taken.

    Returns:
      An optax transform with state `TrustRegionState`.

    Raises:
      TypeError: an argument of a wrong kind, such as an `OutputMetric`.
      ValueError: a hyperparameter outside its domain; in `update`, missing `params` or `inputs`,
        or a `value_fn` that gives no scalar.

    References:
      [Schulman2015] appendix C.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tx = trust_region(predict, family, max_kl=0.5, damping=0.0)
      >>> params, x = jnp.zeros(1), jnp.ones((4, 1))
      >>> loss = lambda w: jnp.sum((w - 0.3) ** 2)
      >>> updates, state = tx.update(
      ...     jnp.array([-0.6]), tx.init(params), params, inputs=x, value_fn=loss
      ... )
      >>> updates.round(3).tolist(), int(state.num_backtracks)
      ([0.5], 1)
    """
    require_family(family)
    for name, value in (("max_kl", max_kl), ("backtrack", backtrack)):
        real_scalar(name, value, "It holds for all parameters together.")
    checks.require_positive("max_kl", max_kl, "It is a divergence in nats; try 0.01.")
    checks.require_values(
        "backtrack", backtrack, lambda v: (v > 0) & (v < 1), "in (0, 1)", "Try 0.5."
    )
    checks.require_count("max_backtracks", max_backtracks, 0)
    solver = ConjugateGradient(tolerance, max_iterations)
    natural = scale_by_natural_gradient(predict, family, solver=solver, damping=damping)
    natural = cast(Any, natural)  # optax types every state as a tree of arrays

    def init(params: Any) -> TrustRegionState:
        solved = natural.init(params)
        return TrustRegionState(
            *solved,
            kl=jnp.zeros_like(solved.residual),
            num_backtracks=jnp.zeros((), int),
            accepted=jnp.zeros((), bool),
        )

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        value: ArrayLike | None = None,
        value_fn: Callable[..., Any] | None = None,
        **extra: Any,
    ) -> tuple[Any, TrustRegionState]:
        solved = MetricState(state.step, state.residual, state.num_steps)
        direction, solved = natural.update(updates, solved, params, **extra)
        if not jax.tree.leaves(updates):  # optax.multi_transform with a label that no leaf has
            return updates, state._replace(step=solved.step)
        dtype = solved.residual.dtype
        bound = checks.floating("max_kl", max_kl).astype(dtype)
        factor = checks.floating("backtrack", backtrack).astype(dtype)
        divergence = _mean_divergence(predict, family, params, extra)
        is_lower = _descent(value_fn, value, params, extra)
        direction, square = _direction_and_square(direction, updates, dtype)
        ascends = square > 0  # neither 0 nor nan
        length = jnp.sqrt(2 * (1 - _MARGIN) * bound / jnp.where(ascends, square, 1))

        def candidate(length: Array) -> Any:
            return jax.tree.map(lambda d, g: (-length * d).astype(g.dtype), direction, updates)

        def undecided(carry: tuple[Array, ...]) -> Array:
            _, refused, _, accepted = carry
            return ascends & ~accepted & (refused <= max_backtracks)

        def attempt(carry: tuple[Array, ...]) -> tuple[Array, ...]:
            length, refused, _, _ = carry
            point = optax.apply_updates(params, candidate(length))
            found = divergence(point).astype(dtype)
            accepted = (found <= bound) & is_lower(point)
            length = jnp.where(accepted, length, factor * length)
            return length, refused + ~accepted, found, accepted

        start = length, jnp.zeros((), int), jnp.zeros((), dtype), jnp.zeros((), bool)
        length, refused, found, accepted = jax.lax.while_loop(undecided, attempt, start)
        step = jax.tree.map(lambda leaf: jnp.where(accepted, leaf, 0), candidate(length))
        found = jnp.where(accepted, found, 0)
        state = TrustRegionState(*solved, kl=found, num_backtracks=refused, accepted=accepted)
        return step, state

    return optax.GradientTransformationExtraArgs(init, update)


def _mean_divergence(
    predict: Predict, family: ExponentialFamily, params: Any, extra: Mapping[str, Any]
) -> Callable[[Any], Array]:
    """The mean of `KL(predict(params) || predict(point))` over the inputs, of a point."""
    inputs = extra.get("inputs")
    model = model_of(predict, inputs, extra.get("full_params"))
    theta = widened(model(params, inputs))
    weights = weights_of(family, theta, extra.get("weights"))
    return lambda point: jnp.sum(weights * kl(family, theta, widened(model(point, inputs))))


def _descent(
    value_fn: Callable[..., Any] | None,
    value: ArrayLike | None,
    params: Any,
    extra: Mapping[str, Any],
) -> Callable[[Any], Array]:
    """Whether the objective is lower at a point than at `params`; True where there is none.

    Raises:
      TypeError: `value_fn` is not a function.
    """
    if value_fn is None:
        return lambda _: jnp.ones((), bool)
    if not callable(value_fn):
        raise TypeError(
            f"value_fn must be a function of the parameters; got {value_fn!r}. Pass the objective "
            "whose gradient is updated."
        )
    # Bound first, so that no extra argument goes where the parameters do, whatever their name.
    named = named_arguments(functools.partial(value_fn, params), extra)

    def objective(point: Any) -> Array:
        found = value_fn(completed(point, extra.get("full_params")), **named)
        return real_scalar("value_fn(params)", found, "Return the mean loss alone.")

    before = real_scalar(
        "value", objective(params) if value is None else value, "It is the objective at params."
    )
    return lambda point: objective(point) < before


def _direction_and_square(direction: Any, gradient: Any, dtype: Any) -> tuple[Any, Array]:
    """Direction of conjugate gradients, and the square of its length in the damped metric.

    Both in units of the largest entry of the gradient, whose square may under- or overflow. The
    residual of conjugate gradients is orthogonal to their solution, converged or not: so the square
    is the product of direction and gradient.
    """
    entries = [jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(gradient)]
    largest = functools.reduce(jnp.maximum, entries).astype(dtype)
    unit = lambda leaf: leaf.astype(dtype) / jnp.where(largest == 0, 1, largest)
    direction, gradient = (jax.tree.map(unit, tree) for tree in (direction, gradient))
    return direction, jnp.asarray(optax.tree.vdot(direction, gradient), dtype)
