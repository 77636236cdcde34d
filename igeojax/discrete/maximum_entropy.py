"""The law of maximum entropy under moment constraints, by Newton's method on its convex dual."""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.discrete.softmax import covariance_matvec, logsumexp, softmax


class MaximumEntropy(NamedTuple):
    """The law, its multipliers, and how well its moments meet the target.

    `residual` is the largest gap of a moment, relative to the range of its feature (absolute for a
    constant one); `converged` says whether it is at most the tolerance. It is False for a target
    that no law has: `probs` is then the last iterate.
    """

    probs: Float[Array, "outcomes"]
    multipliers: Float[Array, "features"]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def maximum_entropy(
    features: Float[ArrayLike, "outcomes features"],
    target: Float[ArrayLike, "features"],
    *,
    tolerance: float | None = None,
    max_steps: int = 100,
) -> MaximumEntropy:
    """Law of maximum entropy with given moments, `p_i ~ exp(<lambda, f_i>)`, `sum_i p_i f_i = t`.

    Minimizes the dual `log sum_i exp <lambda, f_i> - <lambda, t>` by Newton steps with
    backtracking, in coordinates in which the features are orthonormal; redundant features get the
    shortest multipliers (in units of the features' ranges). A step costs `K m^2` for K outcomes
    and m features. Differentiable in both arguments by the implicit function theorem.

    A target on the boundary of the hull of the features is met in the limit of infinite
    multipliers, as far as `tolerance` asks; derivatives mean nothing there.

    Args:
      features: one row for each outcome; batches by `jax.vmap`.
      target: the moments.
      tolerance: largest `residual` that counts as converged; None for `100 eps`.
      max_steps: bound of Newton steps.

    Returns:
      A `MaximumEntropy`.

    Raises:
      TypeError: an argument is not made of real numbers, or `max_steps` is no integer.
      ValueError: shapes do not fit, a concrete entry is not finite, or a concrete moment is outside
        the range of its feature, so that no law has it.

    References:
      [WainwrightJordan2008] section 3.1 and theorem 3.4.

    Examples:
      >>> faces = jnp.arange(1.0, 7.0)[:, None]
      >>> die = maximum_entropy(faces, [4.5])
      >>> [round(p, 4) for p in die.probs.tolist()], bool(die.converged)
      ([0.0544, 0.0788, 0.1142, 0.1654, 0.2398, 0.3475], True)
    """
    features, target = _checked(features, target)
    checks.require_count("max_steps", max_steps)
    dtype = features.dtype
    eps = float(jnp.finfo(dtype).eps)
    spread = jax.lax.stop_gradient(jnp.max(features, axis=0) - jnp.min(features, axis=0))
    spread = jnp.where(spread > 0, spread, 1.0)
    gaps = (features - target[None]) / spread[None]
    basis, absent = _whitening(jax.lax.stop_gradient(gaps))
    whitened = gaps @ basis

    def moments(mu: Array) -> Array:
        return softmax(whitened @ mu) @ whitened

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        matrix = jax.vmap(matvec)(jnp.eye(rhs.size, dtype=dtype)).T
        return jnp.linalg.solve(matrix + jnp.diag(absent), rhs)

    fixed = jax.lax.stop_gradient(whitened)
    solve = lambda _, start: _minimum(fixed, absent, start, max_steps)
    mu = jax.lax.custom_root(moments, jnp.zeros(absent.shape, dtype), solve, tangent_solve)
    probs = softmax(whitened @ mu)
    residual = jnp.max(jnp.abs(probs @ gaps), initial=0.0)
    limit = 100 * eps if tolerance is None else tolerance
    return MaximumEntropy(probs, (basis @ mu) / spread, residual, residual <= limit)


def _checked(features: ArrayLike, target: ArrayLike) -> tuple[Array, Array]:
    features, target = checks.floating_together(features=features, target=target)
    if features.ndim != 2 or target.shape != features.shape[1:]:
        raise ValueError(
            "features must have shape (outcomes, features) and target (features,); got "
            f"{features.shape} and {target.shape}. Add an axis for a single feature, and use "
            "jax.vmap for batches."
        )
    checks.require_finite("features", features)
    checks.require_finite("target", target)
    rows, goal = checks.concrete(features), checks.concrete(target)
    if rows is not None and goal is not None:
        slack = 8 * float(jnp.finfo(features.dtype).eps) * np.abs(rows).max(axis=0)
        low, high = rows.min(axis=0) - slack, rows.max(axis=0) + slack
        outside = np.flatnonzero((goal < low) | (goal > high))
        if outside.size:
            i = int(outside[0])
            raise ValueError(
                f"target must lie in the range of its feature; got {goal[i]} at index {i}, where "
                f"the feature goes from {rows[:, i].min()} to {rows[:, i].max()}. No law has it."
            )
    return features, target


def _whitening(gaps: Array) -> tuple[Array, Array]:
    """A basis in which centered features are orthonormal, and 1 where there is no such vector."""
    _, sizes, rows = jnp.linalg.svd(
        gaps - jnp.mean(gaps, axis=0, keepdims=True), full_matrices=False
    )
    floor = jnp.finfo(gaps.dtype).eps * max(gaps.shape) * jnp.max(sizes, initial=0.0)
    present = sizes > floor
    basis = rows.T * jnp.where(present, 1 / jnp.where(present, sizes, 1.0), 0.0)[None]
    # Lengths of the order of one per outcome: the covariance under uniform weights is the identity.
    return basis * jnp.sqrt(jnp.asarray(gaps.shape[0], gaps.dtype)), (~present).astype(gaps.dtype)


class _Iterate(NamedTuple):
    mu: Array
    slope: Array
    previous: Array
    steps: Array


_LONGEST = 30.0
_HALVINGS = 24


def _minimum(whitened: Array, absent: Array, start: Array, max_steps: int) -> Array:
    """Minimizer of the dual `log sum exp(whitened @ mu)`."""
    dtype = whitened.dtype
    eps = float(jnp.finfo(dtype).eps)
    size = lambda slope: jnp.max(jnp.abs(slope), initial=0.0)
    slope_at = lambda mu: (softmax(whitened @ mu) @ whitened) * (1 - absent)

    def unfinished(state: _Iterate) -> Array:
        error = size(state.slope)
        stalled = (error < 100 * eps) & (error > 0.5 * state.previous)
        return (state.steps < max_steps) & (error > 4 * eps) & ~stalled

    def advance(state: _Iterate) -> _Iterate:
        p = softmax(whitened @ state.mu)
        spread = jax.vmap(lambda v: covariance_matvec(p, v, -1))(whitened.T)
        hessian = spread @ whitened + jnp.diag(absent)
        damping = eps * jnp.trace(hessian) + jnp.finfo(dtype).tiny
        step = -jnp.linalg.solve(hessian + damping * jnp.eye(len(absent), dtype=dtype), state.slope)
        step = jnp.where(jnp.isfinite(step).all(), step, -state.slope)
        # Where no law has the moments the curvature dies out and steps would overflow.
        change = whitened @ step
        width = jnp.max(change) - jnp.min(change)
        step = step * jnp.minimum(1.0, _LONGEST / jnp.maximum(width, 1e-3))
        lengths = 0.5 ** jnp.arange(_HALVINGS, dtype=dtype)
        scores = (whitened @ state.mu)[None] + lengths[:, None] * (whitened @ step)[None]
        now, values = logsumexp(whitened @ state.mu), logsumexp(scores)
        slack = 8 * eps * (1 + jnp.abs(now))
        good = values <= now + 1e-4 * lengths * (state.slope @ step) + slack
        mu = state.mu + lengths[jnp.argmax(good)] * step
        return _Iterate(mu, slope_at(mu), size(state.slope), state.steps + 1)

    first = _Iterate(start, slope_at(start), jnp.asarray(jnp.inf, dtype), jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, advance, first).mu
