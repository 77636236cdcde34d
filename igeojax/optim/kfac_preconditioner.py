"""The preconditioner of K-FAC and EKFAC, for chains of one's own."""

from typing import Any

import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import ArrayLike

from igeojax.fisher._statistics import Sharing
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.optim._arguments import require_alike, require_params
from igeojax.optim._kronecker_inverse import InverseMethod
from igeojax.optim._kronecker_state import (
    Kronecker,
    KroneckerState,
    all_finite,
    chosen,
    shapes_of,
)
from igeojax.optim.damping import LevenbergMarquardt, damping_at, require_damping


def scale_by_kfac(
    predict: Predict,
    family: Output,
    *,
    example_inputs: Any,
    example_params: Any = None,
    damping: ArrayLike | Any = 1e-2,
    update_every: int = 5,
    decay: float = 0.95,
    sharing: Sharing = "expand",
    inverse: InverseMethod = "cholesky",
    eigenvalue_correction: bool = False,
    chunk_size: int | None = None,
    dense_limit: int = 256,
    factor_limit: int = 4096,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """Replace the gradient by its product with the inverse of Kronecker-factored Fisher blocks.

    The preconditioner of K-FAC, or with `eigenvalue_correction` of EKFAC, without step size: for
    chains of one's own. `kfac` has step size, momentum and damping that adapt.

    Call `tx.update(grads, state, params, inputs=x)`. Further extra arguments: `key`, for the labels
    that are sampled from the model (without one it follows from `seed` and the step); `weights`
    and `full_params` as for `scale_by_natural_gradient`.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0, examples
        independent. What is random in it takes keys from `inputs`, one for each example.
      family: the output family, or a `fisher.OutputMetric`.
      example_inputs: inputs of the kind that `update` will get, or their shapes; any number of
        examples.
      example_params: all parameters, or their shapes, under `optax.masked` or `multi_transform`,
        where `init` gets masked ones only.
      damping: Tikhonov damping: a positive scalar, which may be traced, or a schedule of the step.
      update_every: steps between new factors and inverses.
      decay: of the averages of the factors, per step.
      sharing: how positions that share parameters are summed over, as in
        `fisher.kronecker_factors`.
      inverse: "cholesky"; "eigen", whose damping is not split between the factors and counts at
        each step; "newton_schulz", products alone.
      eigenvalue_correction: the curvature along the eigenvectors of the factors is measured; the
        damping is split between the factors and counts at each step.
      chunk_size: examples at a time for the factors; None takes all at once.
      dense_limit: entries of a leaf up to which a block without factors is dense, not diagonal.
      factor_limit: rows up to which a factor is dense, not diagonal.
      seed: of the sampled labels.

    Returns:
      An optax transform. Factors or directions that are not finite never enter the state: the
      update is 0 then, and `num_skipped` counts it.

    Raises:
      TypeError: `predict`, `family` or `damping` of a wrong kind.
      ValueError: an option out of range; in `update`, missing `params` or `inputs`, or parameters
        of another structure than at `init`.

    References:
      [MartensGrosse2015] sections 3, 5 and 6; [George2018] section 3.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=(x @ w)[:, 0])
      >>> params, x = jnp.zeros((1, 1)), jnp.array([[2.0]])
      >>> tx = scale_by_kfac(predict, family, example_inputs=x, damping=1e-6, sharing="expand")
      >>> state = tx.init(params)
      >>> update, state = tx.update(jnp.array([[4.0]]), state, params, inputs=x)
      >>> update.shape, int(state.step)
      ((1, 1), 1)
    """
    require_damping(damping)
    if isinstance(damping, LevenbergMarquardt):
        raise TypeError(
            "scale_by_kfac must have a fixed or scheduled damping; got LevenbergMarquardt, which "
            "needs to know the step that is taken. Use kfac(predict, family, damping=...)."
        )
    kronecker = Kronecker(
        predict=predict,
        family=family,
        update_every=update_every,
        decay=decay,
        sharing=sharing,
        inverse=inverse,
        corrected=eigenvalue_correction,
        chunk_size=chunk_size,
        dense_limit=dense_limit,
        factor_limit=factor_limit,
    )
    inputs_shapes = shapes_of(example_inputs)

    def init(params: Any) -> KroneckerState:
        return kronecker.init(params, inputs_shapes, example_params)

    def update(
        updates: Any,
        state: Any,
        params: Any = None,
        *,
        inputs: Any = None,
        weights: Any = None,
        key: Any = None,
        full_params: Any = None,
        **_: Any,
    ) -> tuple[Any, KroneckerState]:
        require_params("scale_by_kfac", params)
        require_alike(updates, params)
        batch = kronecker.batch(state.step, seed, inputs, weights, key, full_params)
        level = damping_at(damping, state.step, state.weight.dtype)
        direction, new, sound = kronecker.direction(state, params, updates, batch, level)
        finite = all_finite((direction, updates))
        direction = chosen(finite, direction, optax.tree.zeros_like(direction))
        skipped = state.num_skipped + jnp.where(finite & sound, 0, 1)
        return direction, new._replace(step=state.step + 1, num_skipped=skipped)

    return optax.GradientTransformationExtraArgs(init, update)
