"""Dense linear algebra that the solvers share."""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.numerics.triangular import cho_solve, cholesky


def flat_vector(gradient: Any) -> tuple[Array, Callable[[Array], Any]]:
    """The gradient as a vector of at least float32, as factorizations need, and the way back."""
    vector, unravel = jax.flatten_util.ravel_pytree(gradient)
    wide = vector.astype(jnp.promote_types(vector.dtype, jnp.float32))
    return wide, lambda direction: unravel(direction.astype(vector.dtype))


def relative(error: Array, size: Array) -> Array:
    norm = jnp.linalg.norm(size)
    return jnp.linalg.norm(error) / jnp.where(norm > 0, norm, 1.0)


def damped_solution(matrix: Array, rhs: Array) -> Array:
    """Solution of a symmetric positive system by Cholesky; by eigenvectors where it is singular.

    In units in which the diagonal is 1: parameters of other units are as well resolved. The
    eigenvectors are taken where Cholesky fails or meets a pivot below `eps`.
    """
    diagonal = jnp.diagonal(matrix)
    unit = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)
    scaled = unit[:, None] * matrix * unit[None]
    factor = cholesky(scaled)
    # A singular matrix may pass with a pivot of rounding noise. Nan compares as False.
    sound = jnp.min(jnp.diagonal(factor)) ** 2 > jnp.finfo(rhs.dtype).eps
    failed = ~sound & jnp.isfinite(matrix).all()
    return jax.lax.cond(
        failed,
        lambda b: pseudo_solution(matrix, b),
        lambda b: unit * cho_solve(factor, (unit * b)[:, None])[:, 0],
        rhs,
    )


def pseudo_solution(matrix: Array, rhs: Array) -> Array:
    """Minimum-norm solution, without the directions of eigenvalues below rounding."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > rhs.size * jnp.finfo(rhs.dtype).eps * jnp.max(jnp.abs(values))
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1.0), 0.0)
    return vectors @ (inverse * (vectors.T @ rhs))
