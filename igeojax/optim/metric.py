"""The core transform: updates preconditioned by any metric given as a callable."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.optim._arguments import named_arguments, real_scalar, require_alike, require_params
from igeojax.optim.solvers import ConjugateGradient, Model, Solver, System

MetricMatvec = Callable[..., Any]
"""A metric: `metric_matvec(params, tangent, **extra)`, linear in the tangent."""


class Metric(NamedTuple):
    """A metric that offers more than products.

    `matvec(params, tangent, **extra)` is the product with the metric; `jacobian(params, **extra)`
    gives `(J, W J)` with metric `J^T W J`, as `fisher.output_jacobian` does; `model(params,
    **extra)` gives the model whose Fisher matrix the metric is.
    """

    matvec: MetricMatvec
    jacobian: Callable[..., tuple[Array, Array]] | None = None
    model: Callable[..., Model] | None = None


class MetricState(NamedTuple):
    """`step`: updates so far; `residual` and `num_steps`: of the last solve."""

    step: Int[Array, ""]
    residual: Float[Array, ""]
    num_steps: Int[Array, ""]


def scale_by_metric(
    metric_matvec: MetricMatvec | Metric,
    *,
    solver: Solver | None = None,
    damping: ArrayLike = 1e-3,
) -> optax.GradientTransformationExtraArgs:
    """Replace updates `g` by `(G(params) + damping I)^{-1} g`: steepest descent in the metric G.

    One transform serves a family and a network: the metric is a callable. It keeps the sign of g
    and has no learning rate: chain with `optax.scale_by_learning_rate`.

    Args:
      metric_matvec: `metric_matvec(params, tangent, **extra)`, linear, symmetric and positive
        semi-definite in `tangent`; it receives those extra arguments of `update` that it names.
        Or a `Metric`, which some solvers need.
      solver: how the system is solved; None is `ConjugateGradient()`.
      damping: Tikhonov damping, a scalar in units of the metric; may be traced, so it works as a
        hyperparameter of `optax.inject_hyperparams`. Below `eps` of the largest eigenvalue of G it
        is not resolved.

    Returns:
      An optax transform; its `update` needs `params`. State is a `MetricState`. A gradient of nan
      gives a direction of nan: guard with `optax.apply_if_finite`.

    Raises:
      TypeError: `solver` is not a `Solver` or `damping` is not a real scalar.
      ValueError: `damping` is negative, not finite, not a scalar, or 0 for a solver that divides by
        it; or `update` is called without `params`, or with updates of other shapes.

    References:
      [Amari1998] theorem 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> tx = scale_by_metric(lambda params, v: 4.0 * v, damping=0.0)
      >>> params = jnp.ones(2)
      >>> direction, state = tx.update(jnp.array([4.0, 8.0]), tx.init(params), params)
      >>> direction.tolist()
      [1.0, 2.0]
    """
    metric = metric_matvec if isinstance(metric_matvec, Metric) else Metric(metric_matvec)
    if not callable(metric.matvec):
        raise TypeError(
            f"metric_matvec must be a function (params, tangent, **extra); got {metric_matvec!r}."
            " Pass geometry.fisher_matvec of a family, say."
        )
    chosen = ConjugateGradient() if solver is None else solver
    if not isinstance(chosen, Solver):
        raise TypeError(
            f"solver must be an instance of a Solver; got {chosen!r}. Use Dense(), "
            "ConjugateGradient(), SampleSpace() or Diagonal()."
        )
    real_scalar("damping", damping, "Scale the parameters instead to damp them differently.")
    checks.require_values(
        "damping", damping, lambda v: (v >= 0) & (v < math.inf), "non-negative", "Try 1e-3."
    )
    if chosen.requires_damping:
        remedy = f"{chosen} divides by it; for zero damping use Dense(pseudo_inverse=True)."
        checks.require_positive("damping", damping, remedy)

    def init(params: Any) -> MetricState:
        # At least float32; and float32 where every leaf is masked.
        dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(params))
        return MetricState(jnp.zeros((), int), jnp.zeros((), dtype), jnp.zeros((), int))

    def update(
        updates: Any, state: Any, params: Any = None, **extra: Any
    ) -> tuple[Any, MetricState]:
        require_params("scale_by_metric", params)
        require_alike(updates, params)
        if not jax.tree.leaves(updates):  # optax.multi_transform with a label that no leaf has
            return updates, state._replace(step=state.step + 1)
        matvec_extra = named_arguments(metric.matvec, extra)
        jacobian, model = metric.jacobian, metric.model
        system = System(
            matvec=lambda v: metric.matvec(params, v, **matvec_extra),
            jacobian=None
            if jacobian is None
            else lambda: jacobian(params, **named_arguments(jacobian, extra)),
            model=None if model is None else lambda: model(params, **named_arguments(model, extra)),
        )
        level = checks.floating("damping", damping)
        direction, info = chosen.solve(system, updates, level)
        direction = jax.tree.map(lambda d, g: d.astype(g.dtype), direction, updates)
        residual = info.residual.astype(state.residual.dtype)
        return direction, MetricState(state.step + 1, residual, info.num_steps)

    return optax.GradientTransformationExtraArgs(init, update)
