"""Conjugate gradients for pytrees, safe on singular systems."""

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

    One product a step, four vectors of memory. Starts at `x = 0` with residual `b`, never applying
    `A` to a constant zero: XLA on CPU (jaxlib 0.10.2) can return garbage for the derivative along a
    constant zero, which is what `jax.scipy.sparse.linalg.cg` asks for first. Where a direction has
    no curvature (singular A) it stops and returns what it has, the minimum-norm solution of the
    part that can be solved.

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
    size = jnp.asarray(optax.tree.vdot(rhs, rhs))
    goal = jnp.asarray(tolerance, size.dtype) ** 2 * size

    def unfinished(carry):
        _, _, _, error, step, curved = carry
        return (step < max_iterations) & (error > goal) & curved

    def advance(carry):
        x, residual, direction, error, step, _ = carry
        image = matvec(direction)
        curvature = jnp.asarray(optax.tree.vdot(direction, image))
        curved = curvature > 0
        length = jnp.where(curved, error / jnp.where(curved, curvature, 1.0), 0.0)
        x = optax.tree.add_scale(x, length, direction)
        residual = optax.tree.add_scale(residual, -length, image)
        new_error = optax.tree.vdot(residual, residual)
        direction = optax.tree.add_scale(residual, new_error / error, direction)
        return x, residual, direction, new_error, step + 1, curved

    start = (optax.tree.zeros_like(rhs), rhs, rhs, size, jnp.zeros((), int), jnp.asarray(True))
    x, _, _, error, steps, _ = jax.lax.while_loop(unfinished, advance, start)
    relative = jnp.sqrt(error / jnp.where(size > 0, size, 1.0))
    return x, ConjugateGradientInfo(relative, steps, jnp.asarray(error <= goal))
