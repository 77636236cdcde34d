"""Normal posteriors of networks as optimizers: IVON and variational online Gauss-Newton.

The approximation is `N(m, diag 1 / (ess (h + weight_decay)))` with m the parameters and h a running
estimate of the diagonal curvature of the mean loss, so that it costs what Adam costs. The target is
the posterior `exp(-ess loss(x)) N(x; 0, 1 / (ess weight_decay))`: `loss` is the mean negative
log-likelihood in nats, without regularization, and `ess` the number of examples. Every step takes
gradients at parameters that are drawn from the approximation.
"""

from typing import Any

import jax
import optax
from jaxtyping import ArrayLike

from igeojax.fisher.diagonal import fisher_diagonal
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.optim._arguments import require_alike
from igeojax.optim._mean_field import mean_field
from igeojax.optim._model import masked_as, model_of, require_predict
from igeojax.optim.mean_field_posterior import sampled_curvature

_DRAW = "Pass sample_posterior(key, state, params)."


def scale_by_ivon(
    *,
    ess: ArrayLike,
    weight_decay: ArrayLike = 1e-4,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99999,
    curvature_init: ArrayLike = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """Improved variational online Newton: `(mean g + weight_decay m) / (h + weight_decay)`.

    A step: draw `x = sample_posterior(key, state, params)`, take the gradient of the mean loss of a
    batch at x, and call `tx.update(grads, state, params, sample=x)`. The curvature then is
    `g (x - m) / variance`; instead of `sample` it may be given as `curvature`: that of
    `sampled_curvature`, or the diagonal of a Hessian (variational online Newton). Its average has a
    second-order term by which `h + weight_decay` stays positive for every estimate:

        h' = h + r (curvature - h) + r^2 (curvature - h)^2 / (2 (h + weight_decay)),  r = 1 - b2.

    For noisy estimates this term is a bias of order r. Memory of two trees like the parameters.

    Args:
      ess: effective number of examples, N; smaller for a posterior that is wider. May be traced.
      weight_decay: precision of the prior divided by `ess`. May be traced.
      b1: what is kept of the mean of the gradients; may be traced.
      b2: what is kept of the curvature; may be traced. Of few steps it is to be smaller, such as
        0.999.
      curvature_init: h at the start, positive.

    Returns:
      An optax transform with state `MeanFieldState`; its `update` needs `params` and one of
      `sample` and `curvature`.

    Raises:
      TypeError: a hyperparameter is not real.
      ValueError: a hyperparameter outside its domain; in `update`, missing `params`, both or none
        of `sample` and `curvature`, or trees that are not alike.

    References:
      [Shen2024] algorithm 1; [Lin2020] (the second-order term).

    Examples:
      >>> import jax.numpy as jnp
      >>> tx, params = scale_by_ivon(ess=1.0, weight_decay=1.0, b2=0.5), jnp.ones(1)
      >>> state = tx.init(params)
      >>> step, state = tx.update(jnp.ones(1), state, params, curvature=jnp.ones(1))
      >>> step.tolist(), state.curvature.tolist()
      ([1.0], [1.0])
    """

    def curvature_of(state: Any, params: Any, grads: Any, extra: dict[str, Any]) -> Any:
        sample, curvature = extra.get("sample"), extra.get("curvature")
        if (sample is None) == (curvature is None):
            raise ValueError(
                "scale_by_ivon needs exactly one of sample and curvature in update; got "
                f"{'none' if sample is None else 'both'}. Pass the parameters at which the "
                "gradient was taken: sample=sample_posterior(key, state, params)."
            )
        if curvature is not None:
            curvature = masked_as(curvature, params)
            require_alike(curvature, params, name="curvature", remedy="It is diagonal.")
            return curvature
        sample = masked_as(sample, params)
        require_alike(sample, params, name="sample", remedy=_DRAW)
        rows = lambda tree: jax.tree.map(lambda leaf: leaf[None], tree)
        return sampled_curvature(state, params, rows(sample), rows(grads))

    hyperparams = {
        "ess": ess,
        "weight_decay": weight_decay,
        "b1": b1,
        "b2": b2,
        "curvature_init": curvature_init,
    }
    return mean_field("scale_by_ivon", curvature_of, hyperparams, second_order=True)


def ivon(
    learning_rate: optax.ScalarOrSchedule,
    *,
    ess: ArrayLike,
    weight_decay: ArrayLike = 1e-4,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.99999,
    curvature_init: ArrayLike = 1.0,
) -> optax.GradientTransformationExtraArgs:
    """IVON: `scale_by_ivon` and the learning rate.

    Args:
      learning_rate: a scalar or an optax schedule.
      ess: effective number of examples.
      weight_decay: precision of the prior divided by `ess`.
      b1: what is kept of the mean of the gradients.
      b2: what is kept of the curvature.
      curvature_init: h at the start, positive.

    Returns:
      An optax transform; call `tx.update(grads, state, params, sample=x)`.

    Raises:
      TypeError: as `scale_by_ivon`.
      ValueError: as `scale_by_ivon`.

    References:
      [Shen2024] algorithm 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax.optim.mean_field_posterior import sample_posterior
      >>> tx, params = ivon(0.5, ess=100.0, weight_decay=0.0), jnp.zeros(1)
      >>> state = tx.init(params)
      >>> x = sample_posterior(jax.random.key(0), state, params)
      >>> updates, state = tx.update(jnp.ones(1), state, params, sample=x)
      >>> updates.round(3).tolist()
      [-0.5]
    """
    scaled = scale_by_ivon(
        ess=ess, weight_decay=weight_decay, b1=b1, b2=b2, curvature_init=curvature_init
    )
    return optax.chain(scaled, optax.scale_by_learning_rate(learning_rate))


def scale_by_vogn(
    predict: Predict,
    family: Output,
    *,
    ess: ArrayLike,
    weight_decay: ArrayLike = 1e-4,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    curvature_init: ArrayLike = 1.0,
    chunk_size: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """Variational online Gauss-Newton: as `scale_by_ivon`, with the exact curvature of the batch.

    The curvature is the diagonal of the Gauss-Newton matrix, which is the Fisher matrix of the
    model, at the drawn parameters: it is never negative and less noisy than that of one sample, and
    costs `fisher.fisher_diagonal`. Call `tx.update(grads, state, params, inputs=x, sample=draw)`;
    without `sample` it is taken at the mean. Further extra arguments: `weights` of the examples,
    which replace `1/N`, and `full_params` under `optax.masked`.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or a `fisher.OutputMetric`.
      ess: effective number of examples; may be traced.
      weight_decay: precision of the prior divided by `ess`; may be traced.
      b1: what is kept of the mean of the gradients; may be traced.
      b2: what is kept of the curvature; may be traced.
      curvature_init: h at the start, positive.
      chunk_size: examples at a time for the curvature; None takes all at once.

    Returns:
      An optax transform with state `MeanFieldState`.

    Raises:
      TypeError: `predict`, `family` or a hyperparameter of a wrong kind.
      ValueError: a hyperparameter outside its domain; in `update`, missing `params` or `inputs`, or
        trees that are not alike.

    References:
      [Khan2018] (VOGN); [Osawa2019] (momentum).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tx = scale_by_vogn(predict, family, ess=1.0, weight_decay=0.0, b1=0.0, b2=0.0)
      >>> params, x = jnp.zeros(1), jnp.array([[2.0]])
      >>> tx.update(jnp.array([-4.0]), tx.init(params), params, inputs=x)[0].tolist()
      [-1.0]
    """
    require_predict(predict)

    def curvature_of(state: Any, params: Any, grads: Any, extra: dict[str, Any]) -> Any:
        del state, grads
        inputs, sample = extra.get("inputs"), extra.get("sample")
        model = model_of(predict, inputs, extra.get("full_params"))
        if sample is not None:
            sample = masked_as(sample, params)
            require_alike(sample, params, name="sample", remedy=_DRAW)
        return fisher_diagonal(
            model,
            family,
            params if sample is None else sample,
            inputs,
            weights=extra.get("weights"),
            chunk_size=chunk_size,
        )

    hyperparams = {
        "ess": ess,
        "weight_decay": weight_decay,
        "b1": b1,
        "b2": b2,
        "curvature_init": curvature_init,
    }
    return mean_field("scale_by_vogn", curvature_of, hyperparams, second_order=False)


def vogn(
    learning_rate: optax.ScalarOrSchedule,
    predict: Predict,
    family: Output,
    *,
    ess: ArrayLike,
    weight_decay: ArrayLike = 1e-4,
    b1: ArrayLike = 0.9,
    b2: ArrayLike = 0.999,
    curvature_init: ArrayLike = 1.0,
    chunk_size: int | None = None,
) -> optax.GradientTransformationExtraArgs:
    """VOGN: `scale_by_vogn` and the learning rate.

    Args:
      learning_rate: a scalar or an optax schedule.
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or a `fisher.OutputMetric`.
      ess: effective number of examples.
      weight_decay: precision of the prior divided by `ess`.
      b1: what is kept of the mean of the gradients.
      b2: what is kept of the curvature.
      curvature_init: h at the start, positive.
      chunk_size: examples at a time for the curvature; None takes all at once.

    Returns:
      An optax transform; call `tx.update(grads, state, params, inputs=x, sample=draw)`.

    Raises:
      TypeError: as `scale_by_vogn`.
      ValueError: as `scale_by_vogn`.

    References:
      [Khan2018] (VOGN).

    Examples:
      >>> import jax.numpy as jnp
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=x @ w)
      >>> tx = vogn(0.5, predict, family, ess=1.0, weight_decay=0.0, b1=0.0, b2=0.0)
      >>> params, x = jnp.zeros(1), jnp.array([[2.0]])
      >>> tx.update(jnp.array([-4.0]), tx.init(params), params, inputs=x)[0].tolist()
      [0.5]
    """
    scaled = scale_by_vogn(
        predict,
        family,
        ess=ess,
        weight_decay=weight_decay,
        b1=b1,
        b2=b2,
        curvature_init=curvature_init,
        chunk_size=chunk_size,
    )
    return optax.chain(scaled, optax.scale_by_learning_rate(learning_rate))
