"""Projection of a law onto a curved family in an alpha-divergence, by Fisher scoring."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.divergences.exponential.power import amari_alpha_divergence
from igeojax.families.base import ExponentialFamily
from igeojax.geometry._points import one_point
from igeojax.geometry.metric import pullback
from igeojax.numerics.small_solve import small_solve


class AlphaProjection(NamedTuple):
    """Coordinates of the projection, and how nearly the divergence is stationary there.

    `residual` is the length of the natural gradient in the Fisher metric, `sqrt(g^T G^-1 g)`;
    `converged` says whether it is at most the tolerance.
    """

    xi: Any
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def alpha_projection(
    family: ExponentialFamily,
    natural_from_chart: Callable[[Any], Any],
    p: Any,
    xi: Any,
    *,
    alpha: ArrayLike,
    tolerance: float | None = None,
    max_steps: int = 500,
) -> AlphaProjection:
    """Stationary point of Amari's `D^(alpha)(p || q(xi))` over the laws of a chart.

    `alpha = -1` is the m-projection (`KL(p || q)`, maximum likelihood), `alpha = 1` the
    e-projection (`KL(q || p)`, variational inference), onto a submanifold that may be curved in
    both. Natural-gradient descent with backtracking: a step costs a derivative of the divergence,
    `pullback`, and a solve of the size of xi. The Fisher metric takes the place of the Hessian, so
    that steps contract the faster, the nearer the law is. Call it under `jax.jit`: the chart is
    compiled with it.

    On a curved family the nearest law need not be unique: what comes back depends on the start.
    Differentiable in `p` and `alpha` by the implicit function theorem.

    Args:
      family: the family.
      natural_from_chart: smooth map from `xi` to a natural parameter.
      p: natural or source parameters of one law; batches by `jax.vmap`.
      xi: coordinates to start from, any pytree of floating arrays.
      alpha: Amari's alpha, a scalar; may be traced.
      tolerance: largest `residual` that counts as converged; None for `eps^(2/3)`.
      max_steps: bound of steps.

    Returns:
      An `AlphaProjection`; `converged` is False where the steps end before the tolerance. Where
      the start is outside the natural domain it is given back, with a residual of nan.

    Raises:
      TypeError: `family` is not a family, or the chart does not return a point of it.
      ValueError: shapes do not fit the family, or `p` is concrete and outside the natural domain.

    References:
      [AmariNagaoka2000] chapter 3 (projections).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> chart = lambda m: normal.natural_from_params(m, m)  # deviation equal to the mean
      >>> p = normal.Params(1.0, 1.0)
      >>> found = alpha_projection(normal, chart, p, jnp.array(2.0), alpha=0.0)
      >>> round(float(found.xi), 6), bool(found.converged)
      (1.0, True)
    """
    theta = one_point(family, "p", p)
    checks.require_count("max_steps", max_steps)
    alpha = checks.floating("alpha", alpha)
    start, unravel = jax.flatten_util.ravel_pytree(xi)
    start = checks.floating("xi", start)
    eps = float(jnp.finfo(start.dtype).eps)
    limit = eps ** (2 / 3) if tolerance is None else tolerance
    chart = lambda vector: natural_from_chart(unravel(vector))

    def divergence_of(law: Any, order: Array) -> Callable[[Array], Array]:
        return lambda vector: amari_alpha_divergence(family, law, chart(vector), alpha=order)

    fixed = divergence_of(*jax.lax.stop_gradient((theta, alpha)))
    metric = lambda vector: pullback(family, chart, vector)
    solve = lambda _, first: _descended(fixed, metric, first, limit, max_steps)

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        matrix = jax.vmap(matvec, out_axes=1)(jnp.eye(rhs.size, dtype=rhs.dtype))
        return small_solve(matrix, rhs[:, None])[:, 0]

    slope = jax.grad(divergence_of(theta, alpha))
    best, residual = jax.lax.custom_root(slope, start, solve, tangent_solve, has_aux=True)
    residual = jax.lax.stop_gradient(residual)
    return AlphaProjection(unravel(best), residual, residual <= limit)


class _Iterate(NamedTuple):
    """Coordinates, the residual of the last evaluation, and whether to stop."""

    xi: Array
    residual: Array
    steps: Array
    done: Array


_HALVINGS = 40


def _descended(
    divergence: Callable[[Array], Array],
    metric: Callable[[Array], Array],
    start: Array,
    limit: Any,
    max_steps: int,
) -> tuple[Array, Array]:
    """Where natural-gradient descent ends, and the length of the natural gradient there."""
    eps = float(jnp.finfo(start.dtype).eps)

    def advance(state: _Iterate) -> _Iterate:
        value, slope = jax.value_and_grad(divergence)(state.xi)
        step = -small_solve(metric(state.xi), slope[:, None])[:, 0]
        decrement = -(slope @ step)
        residual = jnp.sqrt(jnp.maximum(decrement, 0.0))
        done = ~(residual > limit) | (state.steps == max_steps)
        slack = 8 * eps * jnp.abs(value)

        def too_long(length: Array) -> Array:
            fallen = divergence(state.xi + length * step) - value
            allowed = slack - 1e-4 * length * decrement
            return ~done & ~(fallen <= allowed) & (length > 0.5**_HALVINGS)

        length = jax.lax.while_loop(too_long, lambda length: 0.5 * length, jnp.ones_like(residual))
        done = done | ~(length > 0.5**_HALVINGS)
        xi = jnp.where(done, state.xi, state.xi + length * step)
        return _Iterate(xi, residual, state.steps + 1, done)

    nothing = jnp.asarray(jnp.nan, start.dtype)
    first = _Iterate(start, nothing, jnp.zeros((), int), jnp.zeros((), bool))
    last = jax.lax.while_loop(lambda state: ~state.done, advance, first)
    return last.xi, last.residual
