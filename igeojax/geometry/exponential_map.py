"""Geodesics of any alpha-connection: from a point and a velocity, or between two points."""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.families._pairs import over, pair_of
from igeojax.families.base import ExponentialFamily
from igeojax.geometry._discrete_geodesic import (
    Paths,
    checked_levels,
    discrete_geodesics,
    fisher,
    flat_vectors,
    from_flat_vectors,
    mean_vector,
    require_small_matrices,
)
from igeojax.geometry._integration import at_time_one
from igeojax.geometry.closed_geodesic import closed_geodesic
from igeojax.geometry.coordinates import unravel
from igeojax.geometry.dual_geodesic import e_geodesic, m_geodesic
from igeojax.numerics.extrapolation import richardson_limit
from igeojax.numerics.small_solve import small_solve


def exponential_map(
    family: ExponentialFamily, theta: Any, velocity: Any, *, alpha: ArrayLike = 0.0
) -> Any:
    """Point at time 1 of the geodesic that leaves `theta` with a velocity.

    A geodesic of the alpha-connection solves `theta'' = -(1 - alpha)/2 F^-1 C(theta', theta')` in
    natural coordinates, with the metric F and the Amari-Chentsov tensor C. By an adaptive
    Runge-Kutta method of order 8 (tolerance 1e-10, 1e-5 in float32); a stage costs a Fisher matrix
    and its solve. For time t scale the velocity. Differentiable in both modes.

    Args:
      family: the family.
      theta: natural parameter, the foot point.
      velocity: tangent at `theta` in natural coordinates, a point of the same shapes; batch axes
        broadcast.
      alpha: Amari's alpha; 0 is the Levi-Civita connection, 1 the exponential, -1 the mixture one.
        An array broadcasts to the batch axes.

    Returns:
      The natural parameter; nan where the geodesic leaves the domain before time 1.

    Raises:
      NotImplementedError: a statistic of the family is a matrix of more than eight rows.
      TypeError: `family` is not a family, or an argument not a point of it.
      ValueError: shapes do not fit the family.

    References:
      [Amari2016] chapter 6 (alpha-geodesics).

    Examples:
      >>> from igeojax import families
      >>> exponential = families.Exponential()
      >>> theta = exponential.natural_from_params(rate=1.0)
      >>> there = exponential_map(exponential, theta, exponential.Point(-1.0))
      >>> round(float(exponential.params_from_natural(there).rate), 5)  # e
      2.71828
    """
    require_small_matrices(family)
    family.batch_shape(theta)
    family.batch_shape(velocity)
    alpha = checks.floating("alpha", alpha)
    (feet, tangents), batch = flat_vectors(family, theta, velocity, batch=alpha.shape)
    found = _shots(family, _flat(alpha, batch, feet), feet, tangents)
    return from_flat_vectors(family, found, batch)


def _flat(alpha: Array, batch: tuple[int, ...], like: Array) -> Array:
    """One alpha for each entry of a flattened batch."""
    return jnp.broadcast_to(alpha.astype(like.dtype), batch).reshape(-1)


@functools.partial(jax.jit, static_argnums=0)
def _shots(family: ExponentialFamily, alpha: Array, theta: Array, velocity: Array) -> Array:
    return jax.vmap(lambda *start: _shot(family, *start))(alpha, theta, velocity)


def _shot(family: ExponentialFamily, alpha: Array, theta: Array, velocity: Array) -> Array:
    # In units of the standard errors at the foot, so that no accuracy depends on those of the data.
    metric = fisher(family, theta)
    eye = jnp.eye(theta.size, dtype=theta.dtype)
    unit = jnp.sqrt(jax.lax.stop_gradient(jnp.diagonal(small_solve(metric, eye))))
    mean = lambda v: mean_vector(family, unit * v)

    def field(_: Any, state: tuple[Array, Array], alpha: Array) -> tuple[Array, Array]:
        point, speed = state
        push = lambda v: jax.jvp(mean, (v,), (speed,))[1]
        bend = jax.jvp(push, (point,), (speed,))[1]
        fall = small_solve(fisher(family, unit * point), bend[:, None])[:, 0]
        return speed, -0.5 * (1 - alpha) * fall / unit

    accuracy = 1e-10 if theta.dtype == jnp.float64 else 1e-5
    start = theta / unit, velocity / unit
    (end, _), arrived = at_time_one(field, start, alpha, rtol=accuracy, atol=1e-2 * accuracy)
    end = unit * end
    arrived = arrived & family.in_natural_domain(unravel(family, end))
    return jnp.where(arrived, end, jnp.nan)


class LogarithmMap(NamedTuple):
    """The velocity that leads from one point to another, and how well it was found.

    `error` estimates that of the velocity in the Fisher metric, `residual` is the last Newton step
    of the path in units of its length; `converged` says that both are small: the residual below
    `eps^(1/4)` (Newton squares it), the error below a hundredth of the velocity.
    """

    velocity: Any
    error: Float[Array, "*batch"]
    residual: Float[Array, "*batch"]
    converged: Bool[Array, "*batch"]


def logarithm_map(
    family: ExponentialFamily, p: Any, q: Any, *, alpha: ArrayLike = 0.0, segments: int = 64
) -> LogarithmMap:
    """Velocity at p of the geodesic that is at q at time 1, the inverse of `exponential_map`.

    The boundary-value problem is solved on paths of 2, 4, ..., `segments` segments, in both dual
    charts at once and without connection coefficients; the velocities are extrapolated. Right to
    first derivatives in p, q and alpha, not beyond.

    Args:
      family: the family.
      p: natural parameter, the foot point; source parameters are taken too.
      q: natural or source parameters; batch axes broadcast.
      alpha: Amari's alpha.
      segments: of the finest path, a power of 2 from 2 on.

    Returns:
      A `LogarithmMap`, its velocity a tangent at p in natural coordinates.

    Raises:
      NotImplementedError: a statistic of the family is a matrix of more than eight rows.
      TypeError: an argument is not a point of the family.
      ValueError: shapes do not fit, or `segments` is not a power of 2.

    References:
      [Amari2016] chapter 6 (alpha-geodesics).

    Examples:
      >>> from igeojax import families
      >>> exponential = families.Exponential()
      >>> p, q = exponential.Params(1.0), exponential.Params(jnp.e)
      >>> round(float(logarithm_map(exponential, p, q).velocity.x), 4)
      -1.0
    """
    require_small_matrices(family)
    levels = checked_levels(segments)
    pair = pair_of(family, p, q)
    alpha = checks.floating("alpha", alpha)
    ends, batch = flat_vectors(family, pair.p, pair.q, batch=alpha.shape)
    alpha = _flat(alpha, batch, ends[0])
    paths = discrete_geodesics(family, alpha, *ends, levels)
    velocity, *rest = _velocities(family, paths, alpha, *ends)
    rest = (leaf.reshape(batch) for leaf in rest)
    return LogarithmMap(from_flat_vectors(family, velocity, batch), *rest)


@functools.partial(jax.jit, static_argnums=0)
def _velocities(
    family: ExponentialFamily, paths: Paths, alpha: Array, p: Array, q: Array
) -> tuple[Array, Array, Array, Array]:
    return jax.vmap(lambda *parts: _velocity(family, *parts))(paths, alpha, p, q)


def _velocity(
    family: ExponentialFamily, paths: Paths, alpha: Array, p: Array, q: Array
) -> tuple[Array, Array, Array, Array]:
    """Velocity at p, its error in the metric, and how well the paths were found."""
    levels = len(paths.residual)
    straight = jnp.broadcast_to(q, paths.points.shape[1:]).at[0].set(p)
    starts = jnp.concatenate([straight[None], paths.points])[:, :2]

    def momentum(pair: Array, level: Array) -> Array:
        # Of the flow of the discrete equation: it is that of the geodesic up to even powers.
        push = jax.jvp(lambda v: mean_vector(family, v), (pair[0],), (pair[1] - pair[0],))[1]
        change = mean_vector(family, pair[1]) - mean_vector(family, pair[0])
        return 2 ** level.astype(p.dtype) * (0.5 * (1 + alpha) * push + 0.5 * (1 - alpha) * change)

    cotangent, change = richardson_limit(jax.vmap(momentum)(starts, jnp.arange(levels + 1)))
    # A difference of means of the finest path has lost digits that no other path shows.
    rounding = float(jnp.finfo(p.dtype).eps) * 2**levels * jnp.abs(mean_vector(family, p))
    lost = 0.5 * jnp.abs(1 - alpha) * rounding
    columns = jnp.column_stack([cotangent, change, jnp.diag(lost)])
    solved = small_solve(fisher(family, p), columns)
    size, error = jnp.sqrt(cotangent @ solved[:, 0]), jnp.sqrt(jnp.abs(change @ solved[:, 1]))
    # Between equal points there is nothing to lose.
    floor = jnp.sqrt(jnp.sum(lost * jnp.diagonal(solved[:, 2:])))
    error = error + jax.lax.stop_gradient(jnp.where((cotangent != 0).any(), floor, 0.0))
    return solved[:, 0], error, paths.residual[-1], paths.found & (error <= 0.01 * size)


def geodesic(
    family: ExponentialFamily,
    p: Any,
    q: Any,
    t: ArrayLike,
    *,
    alpha: ArrayLike = 0.0,
    segments: int = 64,
) -> Any:
    """Points of the alpha-geodesic from p at time 0 to q at time 1.

    Where alpha is the number 1 or -1 `e_geodesic` and `m_geodesic`; where it is 0 the closed form
    of normal (also diagonal and log-normal) and categorical laws; else `exponential_map` of a part
    of the velocity of `logarithm_map`. For alpha = 0 shares of t are shares of the length.

    Args:
      family: the family.
      p: natural or source parameters.
      q: natural or source parameters; batch axes broadcast.
      t: real times, any shape; beyond [0, 1] the geodesic is continued.
      alpha: Amari's alpha.
      segments: of the finest path of `logarithm_map`.

    Returns:
      Natural parameters, the axes of `t` before the batch axes; nan where the geodesic leaves
      the domain, or no velocity was found.

    Raises:
      NotImplementedError: as `logarithm_map`.
      TypeError: as `logarithm_map`.
      ValueError: as `logarithm_map`.

    Examples:
      >>> from igeojax import families
      >>> exponential = families.Exponential()
      >>> p, q = exponential.Params(1.0), exponential.Params(4.0)
      >>> middle = geodesic(exponential, p, q, 0.5)
      >>> round(float(exponential.params_from_natural(middle).rate), 4)
      2.0
    """
    checked_levels(segments)
    times = checks.floating("t", t)
    if isinstance(alpha, int | float) and abs(alpha) == 1:
        return (e_geodesic if alpha == 1 else m_geodesic)(family, p, q, times)
    if isinstance(alpha, int | float) and alpha == 0:
        exact = closed_geodesic(family, p, q, times)
        if exact is not None:
            return exact
    found = logarithm_map(family, p, q, alpha=alpha, segments=segments)
    foot = pair_of(family, p, q).p

    def scaled(leaf: Array, event: tuple[int, ...]) -> Array:
        known = jnp.where(over(found.converged, event), leaf, jnp.nan)
        known = known.reshape((1,) * times.ndim + known.shape)
        return times.reshape(times.shape + (1,) * leaf.ndim).astype(leaf.dtype) * known

    leaves = zip(jax.tree.leaves(found.velocity), family.point_shape, strict=True)
    velocity = family.from_leaves([scaled(*pair) for pair in leaves])
    return exponential_map(family, foot, velocity, alpha=alpha)
