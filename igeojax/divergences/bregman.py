"""Bregman and skew-Jensen divergences of any convex potential on pytrees, and its conjugate.

Where a closed form exists prefer it: `divergences.exponential` for log-partitions of families,
`divergences.simplex` for the negative entropy.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks

Potential = Callable[[Any], Array]
"""A convex function of a pytree of arrays, with a scalar value."""

# Gauss-Legendre on [0, 1]: exact for polynomials of degree 15.
_NODES, _WEIGHTS = (0.5 * v for v in np.polynomial.legendre.leggauss(8))  # on [-1/2, 1/2]


class LegendreConjugate(NamedTuple):
    """Value of the conjugate, the point that attains it, and how far its gradient is from `eta`.

    `residual` is the largest entry of `grad potential(maximizer) - eta`, relative to `1 + |eta|`;
    `converged` says whether it is at most the tolerance.
    """

    value: Float[Array, ""]
    maximizer: Any
    residual: Float[Array, ""]
    converged: Bool[Array, ""]


def bregman(potential: Potential, x: Any, y: Any) -> Float[Array, ""]:
    """Bregman divergence `F(x) - F(y) - <x - y, grad F(y)>`, non-negative for a convex `F`.

    For near points the difference cancels; there the value is the integral of the second derivative
    along the segment, `int_0^1 (1 - t) <d, F''(y + t d) d> dt` with `d = x - y`, whose terms are
    non-negative. It is taken where the two agree to rounding, so that a potential with kinks keeps
    the difference. Derivatives are those of the difference. Costs one gradient and 8
    Hessian-vector products; batches by `jax.vmap`.

    Args:
      potential: `F`, a convex function of a pytree.
      x: the point.
      y: the point of tangency, where `F` must be differentiable; of the structure of `x`.

    Returns:
      The divergence, a scalar.

    Raises:
      TypeError: the trees differ in structure, or a leaf is not real.
      ValueError: leaves differ in shape, or the potential is not scalar.

    References:
      [Banerjee2005] definition 1.

    Examples:
      >>> squares = lambda v: jnp.sum(v**2)
      >>> round(float(bregman(squares, jnp.array([1.0, 3.0]), jnp.array([1.0, 1.0]))), 9)
      4.0
    """
    x, y = _pair(x, y)
    step = jax.tree.map(jnp.subtract, x, y)
    return _bregman(potential, x, y, step)


def _bregman(potential: Potential, x: Any, y: Any, step: Any) -> Array:
    end = _value(potential, x)
    start, slope = jax.jvp(lambda v: _value(potential, v), (y,), (step,))
    difference = end - start - slope
    size = jnp.abs(end) + jnp.abs(start) + jnp.abs(slope)
    smooth = _remainder(potential, *jax.lax.stop_gradient((y, step)))
    fixed = jax.lax.stop_gradient(difference)
    rounding = 16 * jnp.finfo(difference.dtype).eps * jax.lax.stop_gradient(size)
    near = (jnp.abs(smooth - fixed) <= rounding) & jnp.isfinite(fixed)
    # The value of the integral, the derivative of the difference.
    moved = jnp.where(near, difference, 0.0) - jnp.where(near, fixed, 0.0)
    return jnp.where(near, smooth + moved, difference)


def _remainder(potential: Potential, y: Any, step: Any) -> Array:
    """`int_0^1 (1 - t) <step, F''(y + t step) step> dt`."""

    def curvature(t: Array) -> Array:
        along = lambda s: _value(potential, jax.tree.map(lambda v, d: v + s * d, y, step))
        slope = lambda s: jax.jvp(along, (s,), (jnp.ones_like(s),))[1]
        return jax.jvp(slope, (t,), (jnp.ones_like(t),))[1]

    dtype = jnp.result_type(*jax.tree.leaves(step))
    nodes, weights = jnp.asarray(0.5 + _NODES, dtype), jnp.asarray(_WEIGHTS, dtype)
    return jnp.sum(weights * (1 - nodes) * jax.lax.map(curvature, nodes))


def skew_jensen(potential: Potential, x: Any, y: Any, *, order: ArrayLike) -> Float[Array, ""]:
    """Skew-Jensen divergence `a F(x) + (1-a) F(y) - F(a x + (1-a) y)`, for `0 <= a <= 1`.

    For a log-partition it is `-log int p^a q^(1-a)`. Computed as `a B(x, m) + (1-a) B(y, m)` at the
    mean `m`, with Bregman divergences `B`, it keeps its digits for near points and at the ends of
    the order, where it vanishes like `a (1-a)`.

    Args:
      potential: `F`, a convex function of a pytree.
      x: the point of weight a.
      y: the point of weight `1 - a`, of the structure of `x`.
      order: the weight a, a scalar; may be traced.

    Returns:
      The divergence, a scalar.

    Raises:
      TypeError: the trees differ in structure, or a leaf is not real.
      ValueError: leaves differ in shape, the potential is not scalar, or a concrete order is
        outside `[0, 1]`.

    References:
      [NielsenBoltz2011] section II.

    Examples:
      >>> squares = lambda v: jnp.sum(v**2)
      >>> float(skew_jensen(squares, jnp.array([2.0]), jnp.array([0.0]), order=0.25))
      0.75
    """
    x, y = _pair(x, y)
    order = checks.floating("order", order)
    checks.require_values(
        "order", order, lambda v: (v >= 0) & (v <= 1), "in [0, 1]", "It weighs the first point."
    )
    step = jax.tree.map(jnp.subtract, x, y)
    a = order.astype(jnp.result_type(*jax.tree.leaves(step)))
    scaled = lambda factor: jax.tree.map(lambda d: (factor * d).astype(d.dtype), step)
    middle = jax.tree.map(jnp.add, y, scaled(a))
    first = _bregman(potential, x, middle, scaled(1 - a))
    second = _bregman(potential, y, middle, scaled(-a))
    return a * first + (1 - a) * second


def legendre_conjugate(
    potential: Potential,
    eta: Any,
    start: Any,
    *,
    tolerance: float | None = None,
    max_steps: int = 100,
) -> LegendreConjugate:
    """Legendre conjugate `F*(eta) = sup_theta <theta, eta> - F(theta)`, by damped Newton steps.

    Steps are halved until they stay in the domain (where `F` is finite) and climb. Differentiable
    to any order in `eta` and in what `potential` closes over, by the implicit function theorem;
    `grad F*(eta)` is the maximizer. Builds the dense Hessian of n coordinates: `n` Hessian-vector
    products and `n^3` a step. Batches by `jax.vmap`.

    Args:
      potential: `F`, a strictly convex, twice differentiable function of a pytree.
      eta: a dual point, of the structure of `start`.
      start: a point of the domain.
      tolerance: largest `residual` that counts as converged; None for `1000 eps`.
      max_steps: bound of Newton steps.

    Returns:
      A `LegendreConjugate`; not converged for an `eta` that is no gradient of `F`.

    Raises:
      TypeError: the trees differ in structure, a leaf is not real, or `max_steps` is no integer.
      ValueError: leaves differ in shape, the potential is not scalar, or its value at a concrete
        `start` is not finite.

    References:
      [Banerjee2005] appendix A.

    Examples:
      >>> result = legendre_conjugate(jnp.exp, jnp.array(2.0), jnp.array(0.0))
      >>> round(float(result.value), 6)  # 2 log 2 - 2
      -0.613706
    """
    eta, start = _pair(eta, start)
    checks.require_count("max_steps", max_steps)
    goal, (first, unravel) = ravel_pytree(eta)[0], ravel_pytree(start)
    dtype = first.dtype
    checks.require_finite(
        "the potential at start", _value(potential, start), "Start in the domain of the potential."
    )
    value = lambda v: _value(potential, unravel(v))
    gradient = jax.grad(value)

    def mismatch(v: Array) -> Array:
        return gradient(v) - goal

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        matrix = jax.vmap(matvec)(jnp.eye(rhs.size, dtype=dtype))
        return jnp.linalg.solve(0.5 * (matrix + matrix.T), rhs)

    solve = lambda slope, v: _newton(value, slope, goal, v, max_steps)
    best = jax.lax.custom_root(mismatch, first, solve, tangent_solve)
    worst = jnp.max(jnp.abs(mismatch(best)), initial=0.0)
    residual = worst / (1 + jnp.max(jnp.abs(goal), initial=0.0))
    limit = 1000 * float(jnp.finfo(dtype).eps) if tolerance is None else tolerance
    return LegendreConjugate(best @ goal - value(best), unravel(best), residual, residual <= limit)


def _newton(
    value: Callable[[Array], Array],
    slope: Callable[[Array], Array],
    goal: Array,
    start: Array,
    max_steps: int,
) -> Array:
    """Minimizer of `value(v) - <v, goal>`, whose gradient is `slope`."""
    eps = jnp.finfo(start.dtype).eps
    halvings = 0.5 ** jnp.arange(40, dtype=start.dtype)
    objective = lambda v: value(v) - v @ goal

    def unfinished(state):
        point, decrement, previous, steps = state
        # Rounding stops the decrement where the objective no longer sees its square. It may fall
        # slowly long before, by exp(-1/2) a step along an exponential tail.
        unseen = decrement**2 <= 1000 * eps * (1 + jnp.abs(objective(point)))
        stalled = unseen & (decrement > 0.9 * previous)
        return (steps < max_steps) & (decrement > eps) & ~stalled

    def advance(state):
        point, previous, _, steps = state
        descent = slope(point)
        hessian = jax.jacfwd(slope)(point)
        # A share of each curvature: of the largest it would stop the flat directions.
        damping = jnp.diag(eps * jnp.diagonal(hessian) + jnp.finfo(point.dtype).tiny)
        step = -jnp.linalg.solve(hessian + damping, descent)
        step = jnp.where(jnp.isfinite(step).all(), step, -descent)
        now = objective(point)
        slack = 8 * eps * (1 + jnp.abs(now))
        limit = lambda t: now + 1e-4 * t * (descent @ step) + slack

        def rejected(index):
            t = halvings[index]
            trial = point + t * step
            # A comparison with nan is false: outside the domain a step is rejected.
            good = (objective(trial) <= limit(t)) & jnp.isfinite(slope(trial)).all()
            return ~good & (index < halvings.size - 1)

        index = jax.lax.while_loop(rejected, lambda i: i + 1, jnp.zeros((), int))
        decrement = jnp.sqrt(jnp.maximum(-(descent @ step), 0.0))
        return point + halvings[index] * step, decrement, previous, steps + 1

    far = jnp.asarray(jnp.inf, start.dtype)
    state = (start, far, far, jnp.zeros((), int))
    return jax.lax.while_loop(unfinished, advance, state)[0]


def _value(potential: Potential, point: Any) -> Array:
    value = jnp.asarray(potential(point))
    if value.ndim:
        raise ValueError(
            f"potential must return a scalar; got shape {value.shape}. Sum it, or use jax.vmap."
        )
    return value


def _pair(x: Any, y: Any) -> tuple[Any, Any]:
    """Two trees of floating leaves of one structure and one dtype a leaf.

    Raises:
      TypeError: the trees differ in structure, or a leaf is not real.
      ValueError: leaves differ in shape.
    """
    structures = jax.tree.structure(x), jax.tree.structure(y)
    if structures[0] != structures[1]:
        raise TypeError(
            f"both points must have one structure; got {structures[0]} and {structures[1]}. "
            "Build the second with jax.tree.map over the first."
        )
    leaves = []
    for u, v in zip(jax.tree.leaves(x), jax.tree.leaves(y), strict=True):
        u, v = checks.floating_together(first=u, second=v)
        if u.shape != v.shape:
            raise ValueError(
                f"leaves must have one shape; got {u.shape} and {v.shape}. "
                "Use jax.vmap for batches."
            )
        leaves.append((u, v))
    return tuple(
        jax.tree.unflatten(structures[0], list(side)) for side in zip(*leaves, strict=True)
    )
