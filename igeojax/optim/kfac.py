"""K-FAC and EKFAC: natural gradients by Kronecker-factored Fisher blocks, for any model."""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
import optax.tree
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.fisher._statistics import Sharing
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.optim._arguments import real_scalar, require_alike, require_params
from igeojax.optim._kronecker_inverse import InverseMethod
from igeojax.optim._kronecker_state import (
    Kronecker,
    KroneckerState,
    all_finite,
    chosen,
    shapes_of,
)
from igeojax.optim._quadratic_model import quadratic_model, step_coefficients
from igeojax.optim.damping import Damping, LevenbergMarquardt, damping_at, require_damping

_GROWTH = 4.0


class KfacState(NamedTuple):
    """State of `kfac` and `ekfac`.

    `curvature`: the factors; `momentum`: the last update; `damping`: of the last step;
    `learning_rate` and `momentum_rate`: coefficients of the last step; `slope` and
    `predicted_change`: of the loss along it and by it, in the quadratic model; `reduction_ratio`:
    change of the loss by the step before over its prediction; `agreement`: curvature along the last
    direction as the factors have it over the exact one; `radius`: what updates may grow from, the
    largest `v^T F v` of late.
    """

    curvature: KroneckerState
    momentum: Any
    damping: Float[Array, ""]
    learning_rate: Float[Array, ""]
    momentum_rate: Float[Array, ""]
    slope: Float[Array, ""]
    predicted_change: Float[Array, ""]
    reduction_ratio: Float[Array, ""]
    agreement: Float[Array, ""]
    radius: Float[Array, ""]

    @property
    def step(self) -> Int[Array, ""]:
        """Updates so far."""
        return self.curvature.step

    @property
    def num_skipped(self) -> Int[Array, ""]:
        """How many of them were left out because something was not finite."""
        return self.curvature.num_skipped


def _require_momentum_of(momentum: Any, params: Any) -> None:
    found, expected = (
        (jax.tree.structure(tree), [jnp.shape(leaf) for leaf in jax.tree.leaves(tree)])
        for tree in (momentum, params)
    )
    if found != expected:
        raise ValueError(
            f"the state must be laid out for these params, {expected}; got a momentum of {found}. "
            "The parameters changed since init: call tx.init again."
        )


def kfac(
    predict: Predict,
    family: Output,
    *,
    example_inputs: Any,
    example_params: Any = None,
    learning_rate: optax.ScalarOrSchedule | None = None,
    momentum: ArrayLike | None = None,
    damping: Damping | None = None,
    max_kl: ArrayLike | None = None,
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
    """K-FAC for any model, as an optax transform: nothing is registered, nothing needs tuning.

    The direction d is the gradient times the inverse of Kronecker-factored Fisher blocks; the
    update `-alpha d + mu m`, with m the last update, minimizes the quadratic model of the loss with
    the *exact* Fisher matrix of the batch; the damping adapts to how well that model predicts. A
    step costs one forward pass and two jvps beyond the gradient, every `update_every` steps a
    backward pass, the factors and their inverses.

    Put it last in a chain: the rule of the damping takes the update as the step that was made, and
    the gradient as that of the loss. Where the learning rate is left to the model, updates more
    than 4 times as long as those of late are scaled down.

    Call `tx.update(grads, state, params, inputs=x)` with the inputs of the batch that the gradient
    is of; further extra arguments as for `scale_by_kfac`. `optim.describe` prints how each
    parameter is treated. The loss is the mean over examples of `-log_density`, summed over the
    outputs of an example, plus whatever; other scales need another `damping`.

    Args:
      predict: as for `scale_by_kfac`.
      family: as for `scale_by_kfac`.
      example_inputs: as for `scale_by_kfac`.
      example_params: as for `scale_by_kfac`.
      learning_rate: alpha, a scalar or a schedule; None takes the best in the quadratic model.
      momentum: mu; None takes the best in the quadratic model.
      damping: a positive scalar, a schedule of the step, or a rule; None is
        `LevenbergMarquardt()`.
      max_kl: most `v^T F v / 2` of an update v, about the KL divergence that it makes, in nats;
        longer ones are scaled down.
      update_every: as for `scale_by_kfac`; the damping is adapted as often.
      decay: as for `scale_by_kfac`.
      sharing: as for `scale_by_kfac`.
      inverse: as for `scale_by_kfac`.
      eigenvalue_correction: as for `scale_by_kfac`; `ekfac` sets it.
      chunk_size: as for `scale_by_kfac`.
      dense_limit: as for `scale_by_kfac`.
      factor_limit: as for `scale_by_kfac`.
      seed: as for `scale_by_kfac`.

    Returns:
      An optax transform with state `KfacState`. Where something is not finite the update is 0, the
      momentum is forgotten, the damping grows if it is adapted, and `num_skipped` counts it.

    Raises:
      TypeError: as `scale_by_kfac`.
      ValueError: as `scale_by_kfac`; or `learning_rate`, `momentum` or `max_kl` is not a scalar.

    References:
      [MartensGrosse2015] sections 6 and 7.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=(x @ w)[:, 0])
      >>> params, x = jnp.zeros((1, 1)), jnp.array([[2.0]])
      >>> tx = kfac(predict, family, example_inputs=x)
      >>> update, state = tx.update(jnp.array([[4.0]]), tx.init(params), params, inputs=x)
      >>> update.round(1).tolist()
      [[-1.0]]
    """
    damping = LevenbergMarquardt() if damping is None else damping
    require_damping(damping)
    if momentum is not None:
        real_scalar("momentum", momentum, "Try 0.9.")
        within = lambda v: (v >= 0) & (v < 1)
        checks.require_values("momentum", momentum, within, "at least 0 and below 1", "Try 0.9.")
    if max_kl is not None:
        real_scalar("max_kl", max_kl, "Try 1e-2.")
        checks.require_positive("max_kl", max_kl, "It bounds the length of updates, in nats.")
    if learning_rate is not None and not callable(learning_rate):
        real_scalar("learning_rate", learning_rate, "Scale the gradient instead.")
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
    adaptive = isinstance(damping, LevenbergMarquardt)
    modelled = adaptive or learning_rate is None or momentum is None or max_kl is not None

    def init(params: Any) -> KfacState:
        curvature = kronecker.init(params, inputs_shapes, example_params)
        zero = jnp.zeros_like(curvature.weight)
        first = damping_at(damping, curvature.step, zero.dtype)
        still = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape, leaf.dtype), params)
        one = jnp.ones_like(zero)
        return KfacState(curvature, still, first, zero, zero, zero, zero, zero, one, zero)

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
    ) -> tuple[Any, KfacState]:
        require_params("kfac", params)
        require_alike(updates, params)
        _require_momentum_of(state.momentum, params)
        batch = kronecker.batch(state.step, seed, inputs, weights, key, full_params)
        dtype = state.damping.dtype
        change = 0.5 * (state.slope + jnp.asarray(optax.tree.vdot(updates, state.momentum), dtype))
        known = state.predicted_change < 0
        ratio = jnp.where(known, change / jnp.where(known, state.predicted_change, 1.0), 0.5)
        # A nan says nothing of the last step: it is this one that is left out.
        ratio = jnp.where(jnp.isfinite(ratio), ratio, 0.5)
        failed = ratio < -1
        if isinstance(damping, LevenbergMarquardt):
            due = kronecker.is_due(state.curvature) & (state.predicted_change != 0)
            level = damping.adapted(state.damping, ratio, update_every, state.agreement)
            level = jnp.where(due | failed, level, state.damping)
        else:
            level = damping_at(damping, state.step, dtype)
        direction, curvature, kept = kronecker.direction(
            state.curvature, params, updates, batch, level
        )
        rates = [
            None
            if rate is None
            else jnp.asarray(rate(state.step) if callable(rate) else rate, dtype)
            for rate in (learning_rate, momentum)
        ]
        slope = predicted = radius = jnp.zeros((), dtype)
        agreement = state.agreement
        alpha, mu = rates
        model = None
        if modelled:
            model = quadratic_model(
                batch.predict,
                family,
                params,
                updates,
                direction,
                state.momentum,
                batch.inputs,
                batch.weights,
                level,
            )
            # The direction d solves (factors + damping) d = gradient: d^T (factors + damping) d is
            # the slope along it.
            told, exact = model.slopes[0], model.damped[0, 0]
            agreement = jnp.where(exact > 0, told / jnp.where(exact > 0, exact, 1.0), 1.0)
            alpha, mu = step_coefficients(model, *rates)
            step = jnp.stack([-alpha, mu])
            length = step @ model.fisher @ step
            # Where the curvature all but vanishes the model trusts in any step: none may be more
            # than _GROWTH times as long as those of late, and after a rise of the loss as far
            # below them.
            growth = jnp.where(failed, 1 / _GROWTH, _GROWTH)
            bound = jnp.where(state.radius > 0, growth**2 * state.radius, jnp.inf)
            bound = jnp.full((), jnp.inf, dtype) if learning_rate is not None else bound
            if max_kl is not None:
                bound = jnp.minimum(bound, 2 * jnp.asarray(max_kl, dtype))
            shrink = jnp.where(length > bound, jnp.sqrt(bound / length), 1.0)
            alpha, mu, step = shrink * alpha, shrink * mu, shrink * step
            radius = jnp.maximum(0.8 * state.radius, shrink**2 * length)
            slope = step @ model.slopes
            predicted = slope + 0.5 * step @ model.damped @ step
        new = jax.tree.map(
            lambda d, m: (mu * m - alpha * d).astype(m.dtype), direction, state.momentum
        )
        # An entry that is not finite makes the products with itself and the gradient so.
        half = [leaf for leaf in jax.tree.leaves(new) if leaf.dtype.itemsize < 4]
        sound = all_finite((new, updates) if model is None else (slope, predicted, model, half))
        new = chosen(sound, new, optax.tree.zeros_like(new))
        if isinstance(damping, LevenbergMarquardt):
            grown = damping.adapted(level, jnp.zeros((), dtype), update_every)
            level = jnp.where(sound, level, grown)
        curvature = curvature._replace(
            step=state.step + 1, num_skipped=state.num_skipped + jnp.where(sound & kept, 0, 1)
        )
        zero = jnp.zeros((), dtype)
        alpha, mu, slope, predicted = chosen(sound, (alpha, mu, slope, predicted), (zero,) * 4)
        agreement, radius = chosen(sound, (agreement, radius), (state.agreement, state.radius))
        return new, KfacState(
            curvature, new, level, alpha, mu, slope, predicted, ratio, agreement, radius
        )

    return optax.GradientTransformationExtraArgs(init, update)


def ekfac(
    predict: Predict,
    family: Output,
    *,
    example_inputs: Any,
    example_params: Any = None,
    learning_rate: optax.ScalarOrSchedule | None = None,
    momentum: ArrayLike | None = None,
    damping: Damping | None = None,
    max_kl: ArrayLike | None = None,
    update_every: int = 5,
    decay: float = 0.95,
    sharing: Sharing = "expand",
    chunk_size: int | None = None,
    dense_limit: int = 256,
    factor_limit: int = 4096,
    seed: int = 0,
) -> optax.GradientTransformationExtraArgs:
    """EKFAC: `kfac` with the curvature along the eigenvectors of its factors measured.

    The diagonal of the Fisher matrix in the Kronecker-factored eigenbasis, `diag(U^T F U)`, is the
    nearest there is in that basis; beyond K-FAC it costs the eigenvectors and the gradients of each
    example in the basis every `update_every` steps. The damping is split between the factors as
    that of `kfac`: added whole it would leave directions that no example of late has moved in with
    the damping alone.

    Args:
      predict: as for `scale_by_kfac`.
      family: as for `scale_by_kfac`.
      example_inputs: as for `scale_by_kfac`.
      example_params: as for `kfac`.
      learning_rate: as for `kfac`.
      momentum: as for `kfac`.
      damping: as for `kfac`.
      max_kl: as for `kfac`.
      update_every: as for `kfac`.
      decay: as for `kfac`.
      sharing: as for `kfac`.
      chunk_size: as for `kfac`.
      dense_limit: as for `kfac`.
      factor_limit: as for `kfac`.
      seed: as for `kfac`.

    Returns:
      An optax transform with state `KfacState`.

    Raises:
      TypeError: as `kfac`.
      ValueError: as `kfac`.

    References:
      [George2018] section 3.

    Examples:
      >>> from igeojax import families
      >>> family = families.NormalKnownScale()
      >>> predict = lambda w, x: family.natural_from_params(loc=(x @ w)[:, 0])
      >>> params, x = jnp.zeros((1, 1)), jnp.array([[2.0]])
      >>> tx = ekfac(predict, family, example_inputs=x)
      >>> update, state = tx.update(jnp.array([[4.0]]), tx.init(params), params, inputs=x)
      >>> update.round(1).tolist()
      [[-1.0]]
    """
    return kfac(
        predict,
        family,
        example_inputs=example_inputs,
        example_params=example_params,
        learning_rate=learning_rate,
        momentum=momentum,
        damping=damping,
        max_kl=max_kl,
        update_every=update_every,
        decay=decay,
        sharing=sharing,
        eigenvalue_correction=True,
        chunk_size=chunk_size,
        dense_limit=dense_limit,
        factor_limit=factor_limit,
        seed=seed,
    )
