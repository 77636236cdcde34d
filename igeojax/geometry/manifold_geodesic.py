"""Geodesics and distances of any model, in the chart of its statistical manifold.

For families `geometry.exponential_map`, `logarithm_map` and `fisher_rao_distance` are faster and
reach further: they need no connection coefficients. These serve curved families, mixtures,
networks: whatever has a metric and a skewness tensor.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import lineax
import optimistix
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.geometry._arguments import one_scalar, one_vector, tangents
from igeojax.geometry._integration import at_time_one
from igeojax.geometry.connection import connection_second_kind
from igeojax.geometry.statistical_manifold import StatisticalManifold, require_manifold
from igeojax.numerics.safe import sqrt_at_zero
from igeojax.numerics.small_solve import small_solve

_STAGES = 4
"""Aims of the shooting, on the straight line in the chart."""


def manifold_exponential_map(
    manifold: StatisticalManifold,
    x: Float[Array, " n"],
    velocity: Float[Array, " n"],
    *,
    alpha: ArrayLike = 0.0,
    max_steps: int = 4096,
) -> Float[Array, " n"]:
    """Point at time 1 of the geodesic that leaves x with a velocity.

    Solves `x''^k = -Gamma_ij^k x'^i x'^j` for the alpha-connection by an adaptive Runge-Kutta
    method of order 8 (tolerance 1e-10, 3e-5 in float32, relative to the size of the coordinates and
    of the velocity); each of its stages costs `connection_second_kind`. For time t scale the
    velocity. Derivatives of both modes pass through the steps.

    Args:
      manifold: the manifold.
      x: coordinates of the foot point.
      velocity: tangent at x, components in the same chart.
      alpha: Amari's alpha, a scalar; may be traced.
      max_steps: bound on the number of steps.

    Returns:
      Coordinates; nan where the steps do not suffice or the geodesic leaves the domain.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: x and the velocity are not vectors of one shape, alpha is no scalar, or
        `max_steps < 1`.

    References:
      [AmariNagaoka2000] section 1.7 (geodesics); [Kidger2022] (the solver).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> poisson = family_manifold(families.Poisson(), "mean")  # the metric is 1 / rate
      >>> there = manifold_exponential_map(poisson, jnp.array([1.0]), jnp.array([2.0]))
      >>> round(there.item(), 6)  # (1 + 2/2)^2: a line in the square root of the rate
      4.0
    """
    require_manifold(manifold)
    x = one_vector("x", x)
    (velocity,) = tangents(x, velocity=velocity)
    manifold, alpha = _connection(manifold, alpha, x.dtype)
    checks.require_count("max_steps", max_steps)
    return _flow(manifold, x, velocity, alpha, max_steps=max_steps, reverse=True)[0]


def _connection(
    manifold: StatisticalManifold, alpha: ArrayLike, dtype: Any
) -> tuple[StatisticalManifold, Array]:
    """The manifold, without the skewness that alpha = 0 has no use for, and alpha."""
    if isinstance(alpha, int | float) and alpha == 0:
        manifold = manifold._replace(skewness=_no_skewness)
    return manifold, one_scalar("alpha", alpha, dtype)


def _no_skewness(x: Array) -> Array:
    return jnp.zeros((x.size,) * 3, x.dtype)


def _flow(
    manifold: StatisticalManifold,
    x: Array,
    velocity: Array,
    alpha: Array,
    *,
    max_steps: int = 4096,
    reverse: bool = False,
) -> tuple[Array, Array]:
    """Point and velocity at time 1."""
    error = float(jnp.finfo(x.dtype).eps) ** 0.65

    def field(_, state, alpha):
        point, speed = state
        symbols = connection_second_kind(manifold, point, alpha=alpha)
        return speed, -jnp.einsum("i,j,ijk->k", speed, speed, symbols)

    size = jax.lax.stop_gradient(jnp.max(jnp.abs(velocity)))
    size = jnp.where(size > 0, size, 1.0)
    tolerance = {"rtol": error, "atol": error * size}
    (end, speed), arrived = at_time_one(
        field, (x, velocity), alpha, **tolerance, max_steps=max_steps, reverse=reverse
    )
    return jnp.where(arrived, end, jnp.nan), jnp.where(arrived, speed, jnp.nan)


class ManifoldLogarithm(NamedTuple):
    """The velocity that leads from one point to another, and how well it was found.

    `residual` is the distance at time 1 from the aim, in the metric there, relative to the length
    of the velocity; `converged` says that it is below `eps^(1/2)`.
    """

    velocity: Float[Array, " n"]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def manifold_logarithm_map(
    manifold: StatisticalManifold,
    p: Float[Array, " n"],
    q: Float[Array, " n"],
    *,
    alpha: ArrayLike = 0.0,
    max_steps: int = 64,
) -> ManifoldLogarithm:
    """Velocity at p of the geodesic that is at q at time 1, inverse of `manifold_exponential_map`.

    Shooting: a root of `exp_p(v) - q` by Powell's dogleg, each step a derivative of the map in `n`
    directions; from the direction `q - p` and the length of the straight line, by four aims on it.
    Derivatives in p, q and alpha are those of the implicit function, to first order; one in a value
    that the functions of the manifold close over is refused by JAX (`UnexpectedTracerError`).

    Args:
      manifold: the manifold.
      p: coordinates of the foot point.
      q: coordinates of the aim.
      alpha: Amari's alpha, a scalar; may be traced.
      max_steps: bound on the steps of the root finder.

    Returns:
      A `ManifoldLogarithm`; not converged where no such geodesic was found: the pair is too far
      apart in this chart, or a path on the way left the domain. Go by points between then.

    Raises:
      TypeError: as `manifold_exponential_map`.
      ValueError: as `manifold_exponential_map`.

    References:
      [AmariNagaoka2000] section 1.7 (geodesics).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> poisson = family_manifold(families.Poisson(), "mean")
      >>> found = manifold_logarithm_map(poisson, jnp.array([1.0]), jnp.array([4.0]))
      >>> round(found.velocity.item(), 6), bool(found.converged)
      (2.0, True)
    """
    p, q = _ends(manifold, p, q)
    manifold, alpha = _connection(manifold, alpha, p.dtype)
    checks.require_count("max_steps", max_steps)
    velocity = _shooting(manifold, max_steps, p, q, alpha)
    return _judged(manifold, velocity, p, q, alpha)[0]


def _ends(manifold: StatisticalManifold, p: Array, q: Array) -> tuple[Array, Array]:
    require_manifold(manifold)
    p, q = one_vector("p", p), one_vector("q", q)
    if p.shape != q.shape:
        raise ValueError(
            f"q must have the shape of p, {p.shape}; got {q.shape}. Both are coordinates in the "
            "same chart."
        )
    dtype = jnp.result_type(p, q)
    return p.astype(dtype), q.astype(dtype)


def _judged(
    manifold: StatisticalManifold, velocity: Array, p: Array, q: Array, alpha: Array
) -> tuple[ManifoldLogarithm, Array]:
    """The velocity with its residual, which has no derivative, and the velocity at time 1."""
    fixed = map(jax.lax.stop_gradient, (p, velocity, alpha))
    end, arrival = _flow(manifold, *fixed)
    gap, length = _length(manifold, q, end - q), _length(manifold, p, velocity)
    residual = jax.lax.stop_gradient(gap / jnp.where(length > 0, length, 1.0))
    converged = residual <= float(jnp.finfo(p.dtype).eps) ** 0.5
    return ManifoldLogarithm(velocity, residual, converged), arrival


@functools.partial(jax.custom_jvp, nondiff_argnums=(0, 1))
def _shooting(
    manifold: StatisticalManifold, max_steps: int, p: Array, q: Array, alpha: Array
) -> Array:
    # The solver mixes dtypes where the problem is in float32 and x64 is on (optimistix 0.1.0).
    given, (p, q, alpha) = p.dtype, (v.astype(float) for v in (p, q, alpha))
    tolerance = float(jnp.finfo(given).eps) ** 0.6

    def stage(start: Array, share: Array) -> tuple[Array, None]:
        aim = p + share * (q - p)
        # In standard errors of the aim, so that no coordinate counts by its unit.
        unit = jnp.sqrt(jnp.abs(jnp.diagonal(manifold.metric(aim))))

        def miss(velocity: Array) -> Array:
            end, _ = _flow(manifold, p, velocity, alpha)
            # A path that leaves the domain is a worse one, not the end of the search.
            return jnp.where(jnp.isnan(end), 1e3 * (1 + jnp.abs(q - p)), end - aim) * unit

        # The solver transposes the derivative: a matrix can be, the steps of the flow can not.
        linear = jax.custom_jvp(miss)
        linear.defjvp(lambda v, push: (miss(*v), jax.jacfwd(miss)(*v) @ push[0]))
        solution = optimistix.root_find(
            lambda velocity, _: linear(velocity),
            optimistix.Dogleg(tolerance, tolerance, linear_solver=_SmallSolve()),
            start,
            max_steps=max_steps,
            throw=False,
        )
        found = solution.result == optimistix.RESULTS.successful
        ahead = p + (share + 1 / _STAGES) * (q - p)
        on = jnp.where(
            found, (1 + 1 / (_STAGES * share)) * solution.value, _straight(manifold, p, ahead)
        )
        return jnp.where(share < 1, on, solution.value), None

    shares = (jnp.arange(_STAGES, dtype=p.dtype) + 1) / _STAGES
    velocity, _ = jax.lax.scan(stage, _straight(manifold, p, p + shares[0] * (q - p)), shares)
    return velocity.astype(given)


class _SmallSolve(lineax.AbstractLinearSolver):
    """Without LAPACK, whose batched solves in a loop can wait for ever on few cores."""

    def init(self, operator, options):
        del options
        return operator.as_matrix()

    def compute(self, state, vector, options):
        del options
        return small_solve(state, vector[:, None])[:, 0], lineax.RESULTS.successful, {}

    def transpose(self, state, options):
        return state.T, options

    def conj(self, state, options):
        return state.conj(), options

    def assume_full_rank(self):
        return True


def _straight(manifold: StatisticalManifold, p: Array, q: Array) -> Array:
    """The velocity `q - p`, but no longer than the straight line is in the metric along it."""
    share = (jnp.arange(32, dtype=p.dtype) + 0.5) / 32
    lengths = jax.vmap(lambda t: _length(manifold, p + t * (q - p), q - p))(share)
    first = _length(manifold, p, q - p)
    far = first > jnp.mean(lengths)  # nan on the way changes nothing
    return jnp.where(far, jnp.mean(lengths) / jnp.where(far, first, 1.0), 1.0) * (q - p)


@_shooting.defjvp
def _shooting_jvp(manifold, max_steps, primals, tangents):
    (p, q, alpha), (dp, dq, d_alpha) = primals, tangents
    velocity = _shooting(manifold, max_steps, p, q, alpha)
    # The implicit function, by matrices for the same reason.
    end = lambda velocity, p, alpha: _flow(manifold, p, velocity, alpha)[0]
    by_velocity, by_p, by_alpha = jax.jacfwd(end, (0, 1, 2))(velocity, p, alpha)
    missed = dq - by_p @ dp - by_alpha * d_alpha
    return velocity, small_solve(by_velocity, missed[:, None])[:, 0]


def _length(manifold: StatisticalManifold, x: Array, velocity: Array) -> Array:
    return sqrt_at_zero(velocity @ manifold.metric(x) @ velocity)


class ManifoldDistance(NamedTuple):
    """A Fisher-Rao distance, and how well its geodesic was found (see `ManifoldLogarithm`)."""

    value: Float[Array, ""]
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def manifold_distance(
    manifold: StatisticalManifold,
    p: Float[Array, " n"],
    q: Float[Array, " n"],
    *,
    max_steps: int = 64,
) -> ManifoldDistance:
    """Fisher-Rao distance: length of the Levi-Civita geodesic that `manifold_logarithm_map` finds.

    Its derivative is that of the first variation of length, `<x'(1), dq> - <x'(0), dp>` with unit
    velocities: no solver is differentiated. It is right to first derivatives, not beyond; at equal
    points 0 by convention; in values that the functions of the manifold close over there is none.

    Args:
      manifold: the manifold.
      p: coordinates of one point.
      q: coordinates of another.
      max_steps: bound on the steps of the root finder.

    Returns:
      A `ManifoldDistance`; its value is nan where no geodesic was found.

    Raises:
      TypeError: as `manifold_exponential_map`.
      ValueError: as `manifold_exponential_map`.

    References:
      [AmariNagaoka2000] section 2.2 (the metric).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> poisson = family_manifold(families.Poisson(), "mean")
      >>> value = manifold_distance(poisson, jnp.array([1.0]), jnp.array([4.0])).value
      >>> round(value.item(), 6)  # 2 |sqrt 1 - sqrt 4|
      2.0
    """
    p, q = _ends(manifold, p, q)
    checks.require_count("max_steps", max_steps)
    manifold, zero = _connection(manifold, 0, p.dtype)
    first, other = jax.lax.stop_gradient((p, q))
    velocity = _shooting(manifold, max_steps, first, other, zero)
    found, arrival = _judged(manifold, velocity, first, other, zero)
    length = _length(manifold, first, velocity)
    inverse = jnp.where(length > 0, 1 / jnp.where(length > 0, length, 1.0), 0.0)
    push, pull = manifold.metric(other) @ arrival, manifold.metric(first) @ velocity
    # Adds 0, and carries the derivative.
    moved = jax.lax.stop_gradient(inverse) * _change(push, pull, p, q)
    value = jnp.where(found.converged, jax.lax.stop_gradient(length) + moved, jnp.nan)
    return ManifoldDistance(value, found.residual, found.converged)


def _change(push: Array, pull: Array, p: Array, q: Array) -> Array:
    push, pull = jax.lax.stop_gradient((push, pull))
    return push @ (q - jax.lax.stop_gradient(q)) - pull @ (p - jax.lax.stop_gradient(p))
