"""Natural gradients that keep what earlier batches have told: SPRING."""

from typing import Any, NamedTuple, cast

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.optim._arguments import real_scalar, require_alike, require_params
from igeojax.optim.metric import MetricState
from igeojax.optim.natural_gradient import scale_by_natural_gradient
from igeojax.optim.solvers import Solver
from igeojax.optim.solvers_sample_space import SampleSpace


class SpringState(NamedTuple):
    """`step`: updates so far; `residual`, `num_steps`: of the last solve; `direction`: the last."""

    step: Int[Array, ""]
    residual: Float[Array, ""]
    num_steps: Int[Array, ""]
    direction: Any


def _zeros(leaf: Array) -> Array:
    return jnp.zeros(leaf.shape, leaf.dtype)  # zeros_like keeps a weak type


def scale_by_spring(
    predict: Predict,
    family: Output,
    *,
    momentum: ArrayLike = 0.99,
    damping: ArrayLike = 1e-3,
    solver: Solver | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Replace the gradient g by `d = (F + damping I)^{-1} (g + damping momentum d_before)`.

    The direction of least squares on the current batch that stays near the last one: where
    `F = J^T J` and `g = J^T e`, it minimizes `|J d - e|^2 + damping |d - momentum d_before|^2`, and
    equals `momentum d_before + (F + damping I)^{-1} (g - momentum F d_before)`. So what a batch of
    few examples says nothing about is kept from the batches before. For small batches of large
    models; with `momentum=0` it is `scale_by_natural_gradient`. One vector of memory more, and
    no more products. Where the damping is below rounding of F (`eps` of its largest eigenvalue) the
    momentum fades.

    Extra arguments of `update` (`inputs`, `weights`, `full_params`), `optax.inject_hyperparams` and
    `optax.MultiSteps` are as in `scale_by_natural_gradient`.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or a `fisher.OutputMetric`.
      momentum: share of the last direction, in [0, 1); a scalar, may be traced.
      damping: Tikhonov damping, a scalar; may be traced. Momentum acts only where it is not 0.
      solver: how the system is solved; None is `SampleSpace()`.

    Returns:
      An optax transform with state `SpringState`. A gradient of nan gives a direction of nan, and
      the state keeps the last finite one.

    Raises:
      TypeError: as `scale_by_natural_gradient`, or `momentum` is not a real number.
      ValueError: as `scale_by_natural_gradient`, or `momentum` is outside [0, 1) or not a scalar.

    References:
      [Goldshlager2024] (the SPRING update).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tx = scale_by_spring(predict, family, momentum=0.5, damping=1.0)
      >>> params = jnp.zeros(2)
      >>> first, second = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])
      >>> _, state = tx.update(first[0], tx.init(params), params, inputs=first)
      >>> tx.update(second[0], state, params, inputs=second)[0].round(6).tolist()
      [0.25, 0.5]
    """
    real_scalar("momentum", momentum, "It holds for all parameters together.")
    checks.require_values(
        "momentum", momentum, lambda v: (v >= 0) & (v < 1), "in [0, 1)", "Try 0.99."
    )
    chosen = SampleSpace() if solver is None else solver
    natural = scale_by_natural_gradient(predict, family, solver=chosen, damping=damping)
    natural = cast(Any, natural)  # optax types every state as a tree of arrays

    def init(params: Any) -> SpringState:
        return SpringState(*natural.init(params), direction=jax.tree.map(_zeros, params))

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, SpringState]:
        require_params("scale_by_spring", params)
        require_alike(updates, params)
        # This form, not that with the product F d_before: rounding of the product is divided by the
        # damping, and solvers of a part of F would not converge with the whole of it.
        pull = checks.floating("damping", damping) * checks.floating("momentum", momentum)
        pulled = jax.tree.map(
            lambda g, d: g + (pull.astype(d.dtype) * d).astype(g.dtype), updates, state.direction
        )
        solved = MetricState(state.step, state.residual, state.num_steps)
        direction, solved = natural.update(pulled, solved, params, **extra)
        finite = jnp.array([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(direction)]).all()
        kept = jax.tree.map(
            lambda new, old: jnp.where(finite, new.astype(old.dtype), old),
            direction,
            state.direction,
        )
        return direction, SpringState(*solved, direction=kept)

    return optax.GradientTransformationExtraArgs(init, update)


def spring(
    learning_rate: optax.ScalarOrSchedule,
    predict: Predict,
    family: Output,
    *,
    momentum: ArrayLike = 0.99,
    damping: ArrayLike = 1e-3,
    solver: Solver | None = None,
    max_norm: ArrayLike | None = None,
) -> optax.GradientTransformationExtraArgs:
    """SPRING: `scale_by_spring`, the learning rate, then a bound on the length of the step.

    Args:
      learning_rate: a scalar or an optax schedule.
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or a `fisher.OutputMetric`.
      momentum: share of the last direction, in [0, 1); a scalar, may be traced.
      damping: Tikhonov damping, a scalar; may be traced.
      solver: how the system is solved; None is `SampleSpace()`.
      max_norm: bound on the Euclidean norm of the update, the root of the constant C of the paper;
        may be traced. None is no bound.

    Returns:
      An optax transform; call `tx.update(grads, state, params, inputs=x)`.

    Raises:
      TypeError: as `scale_by_spring`.
      ValueError: as `scale_by_spring`, or `max_norm` is not positive or not a scalar.

    References:
      [Goldshlager2024] (the SPRING update and its norm constraint).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tx = spring(0.5, predict, family, damping=1.0, max_norm=0.125)
      >>> params, x = jnp.zeros(1), jnp.ones((1, 1))
      >>> updates, _ = tx.update(jnp.ones(1), tx.init(params), params, inputs=x)
      >>> updates.round(6).tolist()
      [-0.125]
    """
    steps = [
        scale_by_spring(predict, family, momentum=momentum, damping=damping, solver=solver),
        optax.scale_by_learning_rate(learning_rate),
    ]
    if max_norm is not None:
        real_scalar("max_norm", max_norm, "It is the norm of all parameters together.")
        checks.require_positive("max_norm", max_norm, "Leave it out for no bound.")
        steps.append(optax.clip_by_global_norm(max_norm))
    return optax.chain(*steps)
