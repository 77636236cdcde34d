"""Projections onto flat submanifolds, by Newton's method on one convex function, and Pythagoras."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.families._pairs import known_where
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry._points import aligned, one_point
from igeojax.geometry.coordinates import ravel, unravel


class Projection(NamedTuple):
    """The projection, its coordinates, and how well its moments meet the target.

    `point` is the foot plus `sum_k coordinates_k directions_k`, in natural coordinates. `residual`
    is the largest gap of a moment `<directions_k, eta>`, relative to the size of its terms plus its
    standard deviation; `converged` says whether it is at most the tolerance. It is False where no
    law of the family has these moments: `point` is then the last iterate, and may be far out.
    """

    point: Any
    coordinates: Float[Array, "directions"]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def m_projection(
    family: ExponentialFamily,
    p: Any,
    base: Any,
    directions: Any,
    *,
    tolerance: float | None = None,
    max_steps: int = 100,
) -> Projection:
    """Projection `argmin_q KL(p || q)` onto the e-flat laws `base + sum_k u_k directions_k`.

    Moment matching: the law of the submanifold, straight in natural coordinates, with the moments
    `<directions_k, eta>` of p; the maximum likelihood estimate where p is that of the full family.
    Newton's method with backtracking in coordinates in which the directions are orthonormal;
    redundant ones share their coordinate. A step costs k Fisher products and a solve of size k.
    Differentiable in all points by the implicit function theorem.

    Args:
      family: the family.
      p: natural or source parameters of one law; batches by `jax.vmap`.
      base: natural or source parameters of a law of the submanifold, where the search starts.
      directions: tangents in natural coordinates, a point with a leading axis of length k.
      tolerance: largest `residual` that counts as converged; None for `100 eps`.
      max_steps: bound of Newton steps.

    Returns:
      A `Projection`, its coordinates those of the submanifold.

    Raises:
      TypeError: `family` is not a family, an argument not a point of it, or `max_steps` no integer.
      ValueError: shapes do not fit, or a concrete law is outside the natural domain.

    References:
      [AmariNagaoka2000] chapter 3; [Amari2016] chapter 1 (projection theorem).

    Examples:
      >>> from igeojax import families
      >>> normal = families.MultivariateNormal(2)
      >>> p = normal.Params(jnp.array([1.0, 2.0]), jnp.array([[2.0, 0.8], [0.8, 1.0]]))
      >>> base = normal.Params(jnp.zeros(2), jnp.eye(2))
      >>> diagonal = normal.Point(
      ...     x=jnp.eye(4, 2), xx=jnp.stack([jnp.diag(d) for d in jnp.eye(4, 2, -2)])
      ... )
      >>> marginals = m_projection(normal, p, base, diagonal)
      >>> normal.params_from_natural(marginals.point).covariance.round(6).tolist()
      [[2.0, 0.0], [0.0, 1.0]]
    """
    theta, foot = one_point(family, "p", p), one_point(family, "base", base)
    rows = _rows(family, directions)
    target = rows @ ravel(family, family.mean_from_natural(theta))
    return _projection(family, foot, rows, target, tolerance, max_steps)


def e_projection(
    family: ExponentialFamily,
    p: Any,
    directions: Any,
    target: Float[ArrayLike, "directions"],
    *,
    tolerance: float | None = None,
    max_steps: int = 100,
) -> Projection:
    """Projection `argmin_q KL(q || p)` onto the m-flat laws with `<directions_k, eta> = target_k`.

    The law of maximum entropy relative to `p` under moment constraints: `theta_q = theta_p +
    sum_k lambda_k directions_k`, with the multipliers found as in `m_projection`, of the same cost
    and with the same derivatives.

    Args:
      family: the family.
      p: natural or source parameters of one law; batches by `jax.vmap`.
      directions: cotangents of mean coordinates, a point with a leading axis of length k.
      target: the moments.
      tolerance: largest `residual` that counts as converged; None for `100 eps`.
      max_steps: bound of Newton steps.

    Returns:
      A `Projection`, its coordinates the multipliers. `converged` is False where no law has these
      moments. Moments on the boundary of those that laws have are met in the limit only, with
      `converged` either way; derivatives mean nothing there.

    Raises:
      TypeError: `family` is not a family, an argument not a point of it, `target` not real, or
        `max_steps` no integer.
      ValueError: shapes do not fit, or `p` is concrete and outside the natural domain.

    References:
      [AmariNagaoka2000] chapter 3; [Csiszar1975] section 3 (linear constraints).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> second_moment = normal.Point(x=jnp.zeros(1), xx=jnp.ones(1))
      >>> wide = e_projection(normal, normal.Params(0.0, 1.0), second_moment, [4.0])
      >>> round(float(normal.params_from_natural(wide.point).scale), 6), bool(wide.converged)
      (2.0, True)
    """
    theta = one_point(family, "p", p)
    rows = _rows(family, directions)
    goal = checks.floating("target", target)
    if goal.shape != rows.shape[:1]:
        raise ValueError(
            f"target must have shape {rows.shape[:1]}, one moment for each direction; got "
            f"{goal.shape}. Use jax.vmap for batches."
        )
    # Python numbers take the dtype of the points.
    goal = goal if isinstance(target, (jax.Array, np.ndarray)) else goal.astype(rows.dtype)
    return _projection(family, theta, rows, goal, tolerance, max_steps)


def pythagorean_gap(family: ExponentialFamily, p: Any, q: Any, r: Any) -> Float[Array, "*batch"]:
    """Gap `KL(p || r) - KL(p || q) - KL(q || r)` of the Pythagorean relation.

    Equal to the pairing `<eta_p - eta_q, theta_q - theta_r>`, which loses nothing where the
    divergences nearly cancel: 0 where the m-geodesic from p to q meets the e-geodesic from q to r
    at a right angle, as at projections; positive where the angle of the triangle at q is obtuse.

    Args:
      family: the family.
      p: natural or source parameters; batch axes broadcast.
      q: natural or source parameters, the corner.
      r: natural or source parameters.

    Returns:
      Values in nats; nan where a law is outside the natural domain.

    Raises:
      TypeError: `family` is not a family, or an argument not a point of it.
      ValueError: shapes do not fit the family.

    References:
      [AmariNagaoka2000] chapter 3; [Amari2016] chapter 1 (Pythagorean theorem).

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> p, q, r = (poisson.natural_from_params(rate) for rate in (1.0, 2.0, 2.0 * jnp.e))
      >>> round(float(pythagorean_gap(poisson, p, q, r)), 6)  # (1 - 2) (log 2 - log 2e)
      1.0
    """
    points = aligned(family, p=p, q=q, r=r)
    p, q, r = (known_where(family, family.in_natural_domain(v), v) for v in points)
    eta = jax.tree.map(jnp.subtract, *map(family.mean_from_natural, (p, q)))
    return family.pairing(jax.tree.map(jnp.subtract, q, r), eta)


def _rows(family: ExponentialFamily, directions: Any) -> Array:
    """Directions as rows of minimal vectors.

    Raises:
      ValueError: they have no leading axis, or more than one.
    """
    require_family(family)
    batch = family.batch_shape(directions)
    if len(batch) != 1:
        raise ValueError(
            f"directions must have one leading axis, that of the directions; got {batch}. For a "
            "single one add an axis of length 1; batches by jax.vmap."
        )
    return ravel(family, jax.tree.map(jnp.asarray, directions))


def _projection(
    family: ExponentialFamily,
    foot: Any,
    rows: Array,
    target: Array,
    tolerance: float | None,
    max_steps: int,
) -> Projection:
    """The law `foot + u @ rows` with `rows @ eta = target`."""
    checks.require_count("max_steps", max_steps)
    base = ravel(family, foot)
    dtype = jnp.result_type(base, rows, target)
    base, rows, target = (array.astype(dtype) for array in (base, rows, target))
    vector, coordinates, residual = _root(family, base, rows, target, max_steps)
    limit = 100 * float(jnp.finfo(dtype).eps) if tolerance is None else tolerance
    return Projection(unravel(family, vector), coordinates, residual, residual <= limit)


@functools.partial(jax.jit, static_argnames=("family", "max_steps"))
def _root(
    family: ExponentialFamily, base: Array, rows: Array, target: Array, max_steps: int
) -> tuple[Array, Array, Array]:
    """The point `base + u @ rows` with `rows @ eta = target`, its u, and the residual."""
    dtype = base.dtype
    basis, absent = _orthonormal(jax.lax.stop_gradient(rows))
    frame, goal = basis.T @ rows, basis.T @ target

    def gaps(mu: Array) -> Array:
        theta = unravel(family, base + mu @ frame)
        return frame @ ravel(family, family.mean_from_natural(theta)) - goal

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        matrix = jax.vmap(matvec)(jnp.eye(rhs.size, dtype=dtype)).T
        return _solved(matrix + jnp.diag(absent), rhs)

    def solve(_: Any, start: Array) -> tuple[Array, tuple[Array, Array]]:
        last = _minimum(family, *fixed, absent, start, max_steps)
        # The moments of the directions themselves, of which redundant ones may disagree.
        mixed = fixed_rows @ fixed[1].T
        variances = jnp.sum((mixed @ last.hessian) * mixed, axis=1)
        gap = jnp.abs(fixed_rows @ last.eta - fixed_target)
        sizes = _sizes(fixed_rows, last.eta, fixed_target, variances)
        return last.mu, (last.vector, jnp.max(gap / sizes, initial=0.0))

    fixed = jax.lax.stop_gradient((base, frame, goal))
    fixed_rows, fixed_target = jax.lax.stop_gradient((rows, target))
    start = jnp.zeros(absent.shape, dtype)
    mu, (found, residual) = jax.lax.custom_root(gaps, start, solve, tangent_solve, has_aux=True)
    found, residual = jax.lax.stop_gradient((found, residual))
    # The value to all digits, which the sum of the base and a long way would lose near 0; the
    # derivative of the sum.
    line = base + mu @ frame
    finite = jnp.isfinite(found)
    vector = found + jnp.where(finite, line - jax.lax.stop_gradient(line), 0.0)
    return vector, basis @ mu, residual


def _sizes(rows: Array, eta: Array, target: Array, variances: Array) -> Array:
    """What a gap of each moment is measured by: its terms, and its standard deviation."""
    sizes = jnp.abs(rows) @ jnp.abs(eta) + jnp.abs(target) + jnp.sqrt(jnp.maximum(variances, 0.0))
    return jnp.where(sizes == 0, 1.0, sizes)


def _orthonormal(rows: Array) -> tuple[Array, Array]:
    """A basis in which rows are orthonormal, and 1 where there is no such vector.

    Rows are scaled to length one first: which of them are redundant must not depend on units.
    """
    lengths = jnp.linalg.norm(rows, axis=1)
    inverse = jnp.where(lengths > 0, 1 / jnp.where(lengths > 0, lengths, 1.0), 0.0)
    left, sizes, _ = jnp.linalg.svd(rows * inverse[:, None], full_matrices=False)
    floor = jnp.finfo(rows.dtype).eps * max(rows.shape) * jnp.max(sizes, initial=0.0)
    present = sizes > floor
    over = jnp.where(present, 1 / jnp.where(present, sizes, 1.0), 0.0)
    return inverse[:, None] * left * over[None], (~present).astype(rows.dtype)


def _solved(matrix: Array, rhs: Array) -> Array:
    """Solution of a system of a positive definite matrix, scaled to a diagonal of ones."""
    diagonal = jnp.diagonal(matrix)
    positive = diagonal > 0
    scale = jnp.where(positive, jax.lax.rsqrt(jnp.where(positive, diagonal, 1.0)), 1.0)
    return scale * jnp.linalg.solve(scale[:, None] * matrix * scale[None], scale * rhs)


class _Iterate(NamedTuple):
    """Coordinates and the point there; the mean, Hessian and error of the last evaluation."""

    mu: Array
    vector: Array
    eta: Array
    hessian: Array
    error: Array
    steps: Array
    done: Array


class _Trial(NamedTuple):
    length: Array
    good: Array
    halvings: Array


_HALVINGS = 60


def _minimum(
    family: ExponentialFamily,
    base: Array,
    frame: Array,
    goal: Array,
    absent: Array,
    start: Array,
    max_steps: int,
) -> _Iterate:
    """Minimizer of `psi(base + mu @ frame) - <goal, mu>`."""
    dtype = base.dtype
    eps = float(jnp.finfo(dtype).eps)

    def advance(state: _Iterate) -> _Iterate:
        theta = unravel(family, state.vector)
        eta = ravel(family, family.mean_from_natural(theta))
        image = lambda row: ravel(family, family.fisher_matvec(theta, unravel(family, row)))
        hessian = jax.vmap(image)(frame) @ frame.T
        variances = jnp.diagonal(hessian)
        gap = (frame @ eta - goal) * (1 - absent)
        error = jnp.max(jnp.abs(gap) / _sizes(frame, eta, goal, variances), initial=0.0)
        stalled = (error < 100 * eps) & (error > 0.5 * state.error)
        done = ~(error > 4 * eps) | stalled | (state.steps == max_steps)

        damping = eps * variances + absent + jnp.finfo(dtype).tiny
        step = -_solved(hessian + jnp.diag(damping), gap)
        # Where the curvature has died out (no law has the moments) there is no Newton step.
        step = jnp.where(jnp.isfinite(step).all() & (gap @ step < 0), step, -gap)
        move, slope = step @ frame, gap @ step
        sizes = jnp.abs(state.vector * eta)
        slack = 8 * eps * (1 + jnp.sum(jnp.where(jnp.isfinite(sizes), sizes, 0.0)))

        def shorter(trial: _Trial) -> _Trial:
            length = jnp.where(trial.halvings > 0, 0.5 * trial.length, trial.length)
            there = unravel(family, state.vector + length * move)
            rise = family.bregman(there, theta, step=unravel(family, length * move))
            # The function changes by the rise plus `length * slope`.
            lower = rise <= -(1 - 1e-4) * length * slope + slack
            inside = family.in_natural_domain(there)
            good = lower & inside & jnp.isfinite(state.mu + length * step).all()
            return _Trial(length, good, trial.halvings + 1)

        searching = lambda trial: ~trial.good & (trial.halvings < _HALVINGS)
        first = _Trial(jnp.ones((), dtype), done, jnp.zeros((), int))
        trial = jax.lax.while_loop(searching, shorter, first)
        done = done | ~trial.good
        moved = lambda old, change: jnp.where(done, old, old + trial.length * change)
        mu, vector = moved(state.mu, step), moved(state.vector, move)
        return _Iterate(mu, vector, eta, hessian, error, state.steps + 1, done)

    first = _Iterate(
        start,
        base,
        jnp.full_like(base, jnp.nan),
        jnp.full((start.size, start.size), jnp.nan, dtype),
        jnp.asarray(jnp.inf, dtype),
        jnp.zeros((), int),
        jnp.zeros((), bool),
    )
    return jax.lax.while_loop(lambda state: ~state.done, advance, first)
