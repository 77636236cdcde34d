"""The natural gradient of a model, as an optax transform."""

from typing import Any

import optax
from jaxtyping import Array, ArrayLike

from igeojax.fisher.model import Predict, fisher_matvec, output_jacobian
from igeojax.fisher.output import Output, require_output
from igeojax.optim._model import model_of, require_predict
from igeojax.optim.metric import Metric, scale_by_metric
from igeojax.optim.solvers import Model, Solver


def scale_by_natural_gradient(
    predict: Predict,
    family: Output,
    *,
    solver: Solver | None = None,
    damping: ArrayLike = 1e-2,
) -> optax.GradientTransformationExtraArgs:
    """Replace the gradient g by the natural gradient `(F + damping I)^{-1} g` of a model.

    F is the exact Fisher matrix of `predict` on the `inputs` of the call: the direction does not
    depend, to first order, on how the model is parameterized. One jvp and one vjp of `predict` for
    each step of the default solver.

    Call `tx.update(grads, state, params, inputs=x)`. Further extra arguments: `weights`, replacing
    the `1/N` of the mean over examples (as in `fisher.fisher_matvec`); `full_params`, all
    parameters, under `optax.masked` or `optax.multi_transform`. Under `optax.inject_hyperparams`
    pass `static_args=("predict", "family", "solver")`. `optax.MultiSteps` hands over only the
    last micro-batch: the Fisher matrix is then of that one.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0; for K
        logits `families.Categorical(K).natural_from_params(logits=...)`.
      family: the output family: its negative log-likelihood is the loss. Or a
        `fisher.OutputMetric`, of another convex loss of raw outputs.
      solver: how the system is solved; None is `ConjugateGradient()`.
      damping: Tikhonov damping, a scalar; may be traced. Where a classifier saturates its Fisher
        matrix vanishes and steps grow: raise the damping or lower the learning rate if the loss
        jumps.

    Returns:
      An optax transform with state `MetricState`.

    Raises:
      TypeError: `predict`, `family`, `solver` or `damping` of a wrong kind.
      ValueError: a negative `damping`; in `update`, missing `params` or `inputs`.

    References:
      [Amari1998] theorem 1; [Martens2020] section 6.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> x = jnp.array([[1.0, 0.0], [0.0, 4.0]])
      >>> tx = scale_by_natural_gradient(predict, family, damping=0.0)
      >>> params = jnp.zeros(2)
      >>> gradient = jnp.array([0.5, 8.0])
      >>> tx.update(gradient, tx.init(params), params, inputs=x)[0].round(4).tolist()
      [1.0, 1.0]
    """
    require_output(family)
    require_predict(predict)

    def matvec(
        params: Any, tangent: Any, inputs: Any = None, weights: Any = None, full_params: Any = None
    ) -> Any:
        whole = model_of(predict, inputs, full_params)
        return fisher_matvec(whole, family, params, tangent, inputs, weights=weights)

    def jacobian(
        params: Any, inputs: Any = None, weights: Any = None, full_params: Any = None
    ) -> tuple[Array, Array]:
        whole = model_of(predict, inputs, full_params)
        return output_jacobian(whole, family, params, inputs, weights=weights)

    def model(
        params: Any, inputs: Any = None, weights: Any = None, full_params: Any = None
    ) -> Model:
        return Model(model_of(predict, inputs, full_params), family, params, inputs, weights)

    return scale_by_metric(Metric(matvec, jacobian, model), solver=solver, damping=damping)


def natural_gradient(
    learning_rate: optax.ScalarOrSchedule,
    predict: Predict,
    family: Output,
    *,
    solver: Solver | None = None,
    damping: ArrayLike = 1e-2,
) -> optax.GradientTransformationExtraArgs:
    """Natural-gradient descent: `scale_by_natural_gradient`, then the learning rate.

    Args:
      learning_rate: a scalar or an optax schedule.
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or a `fisher.OutputMetric`.
      solver: how the system is solved; None is `ConjugateGradient()`.
      damping: Tikhonov damping, a scalar; may be traced.

    Returns:
      An optax transform; call `tx.update(grads, state, params, inputs=x)`.

    Raises:
      TypeError: as `scale_by_natural_gradient`.
      ValueError: as `scale_by_natural_gradient`.

    References:
      [Amari1998] theorem 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tx = natural_gradient(0.5, predict, family, damping=0.0)
      >>> params, x = jnp.zeros(1), jnp.array([[2.0]])
      >>> updates, _ = tx.update(jnp.array([4.0]), tx.init(params), params, inputs=x)
      >>> updates.tolist()
      [-0.5]
    """
    return optax.chain(
        scale_by_natural_gradient(predict, family, solver=solver, damping=damping),
        optax.scale_by_learning_rate(learning_rate),
    )
