"""Discrete geodesics between two points of a family, solved as a boundary-value problem.

A geodesic of Amari's alpha-connection obeys `(1 + a)/2 F theta'' + (1 - a)/2 eta'' = 0`, in which
both dual charts appear but no connection coefficients. With second differences over a path of
equal time steps this is a block-tridiagonal system. For `a = 0` it is the condition for the least
sum of Jeffreys divergences `<theta_{k+1} - theta_k, eta_{k+1} - eta_k>` along the path, so the
discrete path does not depend on coordinates either. Its error is even in the time step: paths of
2, 4, 8, ... segments can be extrapolated.

New points start at the Gauss-Bregman mean of their neighbors. It never leaves the domain, and is
the midpoint itself for scale families, however far apart the ends are.
"""

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry.coordinates import ravel, unravel
from igeojax.geometry.metric import fisher_matrix
from igeojax.numerics.small_solve import block_tridiagonal_solve, small_solve
from igeojax.numerics.triangular import MOST_UNROLLED

_MEAN_STEPS = 40
_ROUGHLY = 1e-4
_NEWTON_STEPS = 60
_LEAST_DAMPING, _MOST_DAMPING = 1e-3, 1e8


class Paths(NamedTuple):
    """Discrete geodesics of 2, 4, 8, ... segments, padded with the end point.

    `points` has shape `(levels, segments + 1, n)`; `residual` is the size of the last Newton step
    of each path, in units of its length.
    """

    points: Array
    residual: Array

    @property
    def found(self) -> Array:
        """Whether the finest path of each pair was found: Newton squares the size of its steps."""
        return self.residual[..., -1] < float(jnp.finfo(self.points.dtype).eps) ** 0.25


# One program for all calls, also outside of jit: it costs seconds to compile.
@functools.partial(jax.jit, static_argnums=(0, 4))
def discrete_geodesics(
    family: ExponentialFamily, alpha: Array, p: Array, q: Array, levels: int
) -> Paths:
    """Paths of 2, 4, ..., `2^levels` segments between natural vectors p and q.

    All arrays have one batch axis in front. First derivatives with respect to p, q and alpha are
    those of the solution.
    """
    return jax.vmap(lambda a, u, v: _geodesics(family, a, u, v, levels))(alpha, p, q)


def _geodesics(family: ExponentialFamily, alpha: Array, p: Array, q: Array, levels: int) -> Paths:
    frozen, first, last = jax.lax.stop_gradient((alpha, p, q))
    segments = 2**levels
    position = jnp.arange(1, segments)

    def refine(points: Array, level: Array) -> tuple[Array, Array]:
        # All levels have arrays of one size, so that one program serves them all.
        half = points[: segments // 2 + 1]
        middle = jax.vmap(lambda a, b: _middle(family, frozen, a, b))(half[:-1], half[1:])
        pairs = jnp.stack([half[:-1], middle], axis=1).reshape(-1, points.shape[1])
        start = jnp.concatenate([pairs, points[-1:]])
        points = _solved(family, frozen, start, position < 2**level)
        return points, points

    start = jnp.broadcast_to(last, (segments + 1, last.size)).at[0].set(first)
    _, found = jax.lax.scan(refine, start, jnp.arange(1, levels + 1))

    def polish(points: Array, level: Array) -> Paths:
        # One more step, with a constant Jacobian: its derivative is that of the solution.
        free = position < 2**level
        inner = jnp.where(free[:, None], points[1:-1], q[None])
        path = jnp.concatenate([p[None], inner, q[None]])
        system = _system(family, frozen, points, free)
        step, size = system.solve(_residual(family, alpha, path), 0.0)
        squared = 2 ** level.astype(p.dtype) * energy(family, points)
        # Between nearly equal points there is little but the rounding of their coordinates.
        rounding = jnp.einsum("ki,kii,ki->", inner, system.metric, inner) / (segments - 1)
        squared = squared + float(jnp.finfo(p.dtype).eps) * rounding
        return Paths(path.at[1:-1].add(step), jnp.sqrt(size / (2**level * squared)))

    return jax.vmap(polish)(found, jnp.arange(1, levels + 1))


def mean_vector(family: ExponentialFamily, theta: Array) -> Array:
    """Mean coordinates of a natural vector, both in the minimal vector chart."""
    return ravel(family, family.mean_from_natural(unravel(family, theta)))


def fisher(family: ExponentialFamily, theta: Array) -> Array:
    """Fisher matrix at a natural vector."""
    return fisher_matrix(family, unravel(family, theta))


def energy(family: ExponentialFamily, points: Array) -> Array:
    """Sum of the Jeffreys divergences of the segments of a path."""
    return jnp.sum(_jeffreys(family, points[:-1], points[1:]))


def _jeffreys(family: ExponentialFamily, a: Array, b: Array) -> Array:
    """`<b - a, eta_b - eta_a>`, from Bregman divergences, which keep the digits of near points."""
    one, two, step, back = (unravel(family, v) for v in (a, b, b - a, a - b))
    return family.bregman(two, one, step=step) + family.bregman(one, two, step=back)


def _middle(family: ExponentialFamily, alpha: Any, a: Array, b: Array) -> Array:
    """Where Newton starts between two neighbors: exact for alpha = 1 and -1.

    The Gauss-Bregman mean for 0, the common limit of averages in the natural and the mean chart.
    """
    natural = lambda eta: ravel(family, family.natural_from_mean(unravel(family, eta)))
    whole = _jeffreys(family, a, b)

    def averages(first: Array, second: Array) -> tuple[Array, Array]:
        mean = 0.5 * (mean_vector(family, first) + mean_vector(family, second))
        return 0.5 * (first + second), natural(mean)

    def apart(state: tuple[Array, Array, Array]) -> Array:
        first, second, steps = state
        return (steps < _MEAN_STEPS) & (_jeffreys(family, first, second) > _ROUGHLY * whole)

    def advance(state: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return *averages(*state[:2]), state[2] + 1

    e_mean, m_mean = averages(a, b)
    first, second, _ = jax.lax.while_loop(apart, advance, (e_mean, m_mean, jnp.zeros((), int)))
    center = 0.5 * (first + second)
    side = jnp.where(alpha > 0, e_mean, m_mean)
    return center + jnp.minimum(jnp.abs(alpha), 1.0) * (side - center)


def _second_difference(values: Array) -> Array:
    return (values[1:-1] - values[:-2]) - (values[2:] - values[1:-1])


def _residual(family: ExponentialFamily, alpha: Any, points: Array) -> Array:
    """What is left of the discrete equation at the inner points."""
    mean = lambda v: mean_vector(family, v)
    push = lambda v, d: jax.jvp(mean, (v,), (d,))[1]
    e_part = jax.vmap(push)(points[1:-1], _second_difference(points))
    m_part = _second_difference(jax.vmap(mean)(points))
    return 0.5 * (1 + alpha) * e_part + 0.5 * (1 - alpha) * m_part


class _System(NamedTuple):
    """Jacobian of the discrete equation, by blocks of its rows, and the metric at inner points."""

    lower: Array
    diagonal: Array
    upper: Array
    metric: Array
    free: Array

    def solve(self, residual: Array, damping: ArrayLike) -> tuple[Array, Array]:
        """Damped Newton step of a residual, and its square in the metric."""
        diagonal = self.diagonal + damping * self.metric
        residual = jnp.where(self.free[:, None], residual, 0.0)
        step = -block_tridiagonal_solve(self.lower, diagonal, self.upper, residual)
        return step, jnp.einsum("ki,kij,kj->", step, self.metric, step)

    def square(self, residual: Array) -> Array:
        """Square of a residual in the inverse metric."""
        free = jnp.where(self.free[:, None], residual, 0.0)
        return jnp.sum(free * jax.vmap(small_solve)(self.metric, free[..., None])[..., 0])


def _system(family: ExponentialFamily, alpha: Any, points: Array, free: Array) -> _System:
    at = lambda v: fisher(family, v)
    metric, inner = jax.vmap(at)(points), points[1:-1]
    bend = lambda v, d: jax.jvp(at, (v,), (d,))[1]
    skew = jax.vmap(bend)(inner, _second_difference(points))
    e_part, m_part = 0.5 * (1 + alpha), 0.5 * (1 - alpha)
    middle, moves = metric[1:-1], free[:, None, None]
    # Rows of points that stay are those of the metric alone.
    lower = jnp.where(moves, -e_part * middle - m_part * metric[:-2], 0.0)
    upper = jnp.where(moves, -e_part * middle - m_part * metric[2:], 0.0)
    diagonal = jnp.where(moves, 2 * middle + e_part * skew, middle)
    return _System(lower, diagonal, upper, middle, free)


def require_small_matrices(family: ExponentialFamily) -> None:
    """Refuse families of large matrices: LAPACK's triangular solves in loops can wait for ever.

    Raises:
      NotImplementedError: a statistic is a matrix of more than eight rows.
    """
    require_family(family)
    if any(len(shape) == 2 and shape[0] > MOST_UNROLLED for shape in family.point_shape):
        raise NotImplementedError(
            f"numerical geodesics of {family} need triangular solves of more than {MOST_UNROLLED} "
            "rows in loops, which can stop for ever in jaxlib's threads on a CPU of few cores. Use "
            "geometry.distance_bounds, or fisher_rao_distance with `fixed=` where it has a form."
        )


class _Iterate(NamedTuple):
    points: Array
    energy: Array
    size: Array
    damping: Array
    steps: Array


def _solved(family: ExponentialFamily, alpha: Any, points: Array, free: Array) -> Array:
    """Points at which the discrete equation holds, those that are not free kept.

    Newton steps, damped as Levenberg and Marquardt do, with the metric for a unit: while they do
    not lower the sum of divergences or, where the equation is not that of a minimum, its residual.
    """
    eps = float(jnp.finfo(points.dtype).eps)
    whole = energy(family, points)

    def unfinished(state: _Iterate) -> Array:
        # Newton squares the relative size of its steps.
        coarse = state.size > eps * whole
        return (state.steps < _NEWTON_STEPS) & coarse & (state.damping < _MOST_DAMPING)

    def advance(state: _Iterate) -> _Iterate:
        system = _system(family, alpha, state.points, free)
        residual = _residual(family, alpha, state.points)
        step, size = system.solve(residual, state.damping)
        moved = state.points.at[1:-1].add(step)
        inside = family.in_natural_domain(unravel(family, moved)).all()
        sum_after = energy(family, moved)
        lower = sum_after <= state.energy * (1 + 4 * eps)
        closer = system.square(_residual(family, alpha, moved)) <= system.square(residual)
        good = inside & jnp.isfinite(sum_after) & jnp.where(alpha == 0, lower, closer)
        smaller = jnp.where(state.damping <= _LEAST_DAMPING, 0.0, 0.1 * state.damping)
        larger = jnp.maximum(10 * state.damping, _LEAST_DAMPING)
        return _Iterate(
            jnp.where(good, moved, state.points),
            jnp.where(good, sum_after, state.energy),
            jnp.where(good, size, state.size),
            jnp.where(good, smaller, larger),
            state.steps + 1,
        )

    unknown, zero = jnp.asarray(jnp.inf, points.dtype), jnp.zeros((), points.dtype)
    start = _Iterate(points, whole, unknown, zero, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, advance, start).points


def flat_vectors(
    family: ExponentialFamily, *points: Any, batch: tuple[int, ...] = ()
) -> tuple[list[Array], tuple[int, ...]]:
    """Vectors `(size, n)` of one dtype over all batch axes and those asked for, and their shape."""
    vectors = [ravel(family, point) for point in points]
    shapes = {f"point {i}": vector.shape[:-1] for i, vector in enumerate(vectors)}
    checks.require_broadcastable(**shapes, alpha=batch)
    batch = jnp.broadcast_shapes(batch, *shapes.values())
    size, dtype = math.prod(batch), jnp.result_type(*vectors)
    wide = [jnp.broadcast_to(v.astype(dtype), (*batch, family.dimension)) for v in vectors]
    return [v.reshape(size, family.dimension) for v in wide], batch


def from_flat_vectors(family: ExponentialFamily, vectors: Array, batch: tuple[int, ...]) -> Any:
    """Points of `flat_vectors`."""
    return unravel(family, vectors.reshape(*batch, family.dimension))


def checked_levels(segments: int) -> int:
    """Number of halvings that make a path of that many segments.

    Raises:
      TypeError: it is no integer.
      ValueError: it is not a power of 2 from 2 on.
    """
    checks.require_count("segments", segments, 2)
    if segments & (segments - 1):
        raise ValueError(f"segments must be a power of 2, as paths are halved; got {segments}.")
    return segments.bit_length() - 1
