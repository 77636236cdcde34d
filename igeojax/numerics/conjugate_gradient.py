"""Conjugate gradients for pytrees, safe on singular systems."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax.tree
from jaxtyping import Array, ArrayLike, Bool, Float, Int


class ConjugateGradientInfo(NamedTuple):
    """`residual`: relative residual; `num_steps`: products taken; `converged`: residual reached."""

    residual: Float[Array, ""]
    num_steps: Int[Array, ""]
    converged: Bool[Array, ""]


def conjugate_gradient(
    matvec: Callable[[Any], Any],
    rhs: Any,
    *,
    tolerance: ArrayLike = 1e-5,
    max_iterations: int = 100,
) -> tuple[Any, ConjugateGradientInfo]:
    """Solve `A x = b` for symmetric positive semi-definite A by conjugate gradients.

    One product a step, four vectors of memory; inner products at least in float32. Starts at
    `x = 0` with residual `b`, never applying `A` to a constant zero: XLA on CPU (jaxlib 0.10.2) can
    return garbage for the derivative along a constant zero, which is what
    `jax.scipy.sparse.linalg.cg` asks for first. Where A is singular the part of `b` outside its
    range is left out once a direction without curvature shows it, and the pseudo-inverse is what is
    approached. With a wide spectrum that may come late, after the iterate has grown: damp such
    systems. A nan in `b` or in a product gives nan.

    Args:
      matvec: the product `v -> A v` on pytrees like `rhs`.
      rhs: right-hand side b, a pytree of floating arrays.
      tolerance: relative residual to reach.
      max_iterations: most products to take.

    Returns:
      The solution, and a `ConjugateGradientInfo`.

    References:
      [HestenesStiefel1952] section 3.

    Examples:
      >>> x, info = conjugate_gradient(lambda v: 2 * v, jnp.array([2.0, 4.0]))
      >>> x.tolist(), int(info.num_steps)
      ([1.0, 2.0], 1)
    """
    dtype = jnp.result_type(jnp.float32, *jax.tree.leaves(rhs))
    widen = functools.partial(jax.tree.map, lambda leaf: leaf.astype(dtype))

    def dot(a: Any, b: Any) -> Array:
        return jnp.asarray(optax.tree.vdot(a, b), dtype)

    # Scaled by its largest entry, so that no square under- or overflows.
    entries = [jnp.max(jnp.abs(leaf), initial=0.0) for leaf in jax.tree.leaves(widen(rhs))]
    scale = functools.reduce(jnp.maximum, entries, jnp.zeros((), dtype))
    start = optax.tree.scale(1 / jnp.where(scale == 0, 1.0, scale), widen(rhs))
    size = dot(start, start)
    goal = jnp.asarray(tolerance, dtype) ** 2 * size

    def unfinished(carry):
        _, _, _, error, step, _, _ = carry
        return (step < max_iterations) & (error > goal)

    def advance(carry):
        x, residual, direction, error, step, largest, outside = carry
        image = widen(matvec(jax.tree.map(lambda v, b: v.astype(b.dtype), direction, rhs)))
        length = dot(direction, direction)
        curvature = dot(direction, image) / length
        largest = jnp.maximum(largest, curvature)
        # A curvature below rounding of the largest one is noise, and a step along it would be
        # arbitrarily long: the direction then spans the part of b outside the range of A (Krylov),
        # which is taken out of x and of the residual. Nan counts as curved and so reaches x.
        flat = curvature <= jnp.finfo(dtype).eps * largest
        stride = jnp.where(flat, 0.0, error / (length * jnp.where(flat, 1.0, curvature)))
        surplus = jnp.where(flat, dot(residual, direction) / length, 0.0)
        drift = jnp.where(flat, dot(x, direction) / length, 0.0)
        x = optax.tree.add_scale(x, stride - drift, direction)
        residual = optax.tree.add_scale(residual, -stride, image)
        residual = optax.tree.add_scale(residual, -surplus, direction)
        new_error = dot(residual, residual)
        momentum = jnp.where(flat, 0.0, new_error / error)
        direction = optax.tree.add_scale(residual, momentum, direction)
        outside = outside + surplus**2 * length
        return x, residual, direction, new_error, step + 1, largest, outside

    zero, none = optax.tree.zeros_like(start), jnp.zeros((), dtype)
    carry = (zero, start, start, size, jnp.zeros((), int), none, none)
    x, _, _, error, steps, _, outside = jax.lax.while_loop(unfinished, advance, carry)
    error = error + outside
    x = jax.tree.map(lambda leaf, b: (scale * leaf).astype(b.dtype), x, rhs)
    relative = jnp.sqrt(error / jnp.where(size > 0, size, 1.0))
    return x, ConjugateGradientInfo(relative, steps, error <= goal)
