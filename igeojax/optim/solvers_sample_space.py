"""Solves in the space of the outputs, which is small where the parameters are many."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Array

from igeojax.optim._linear import flat_vector, relative
from igeojax.optim.solvers import Solver, SolverInfo, System


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class SampleSpace(Solver):
    """Woodbury: solves an `n C x n C` system in the space of outputs; for `n C << P`.

    With `F = J^T (W J)`: `d = (g - J^T (damping I + W J J^T)^{-1} W J g) / damping`, and one step
    of refinement, for the difference cancels where g comes from the outputs. Where that leaves a
    residual above 1e-3 (a metric `1/eps` times the damping), the system is solved in an orthonormal
    basis of the range of `J^T`, at a few times the cost. Needs `damping > 0`; one below `eps` of
    the largest diagonal entry of `W J J^T` is raised to it.

    Examples:
      >>> SampleSpace()
      SampleSpace()
    """

    requires_damping: ClassVar[bool] = True

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        jacobian, image = self._jacobian(system)
        rhs, unravel = flat_vector(gradient)
        jacobian, image = jacobian.astype(rhs.dtype), image.astype(rhs.dtype)
        # W J J^T is not symmetric, but needs no square root of the output Fisher, which is
        # singular for saturated outputs.
        gram = image @ jacobian.T
        least = jnp.finfo(rhs.dtype).eps * jnp.max(jnp.diagonal(gram))
        damping = jnp.maximum(damping.astype(rhs.dtype), least)
        factors = lu_factor(gram + damping * jnp.eye(gram.shape[0], dtype=rhs.dtype))

        def woodbury(b: Array) -> Array:
            return (b - jacobian.T @ lu_solve(factors, image @ b)) / damping

        def remainder(d: Array) -> Array:
            return rhs - jacobian.T @ (image @ d) - damping * d

        def in_range(b: Array) -> Array:
            # An orthonormal basis of the range of J^T, in which nothing large cancels, and the
            # rest of b: a direction of descent whatever the rounding.
            basis, upper = jnp.linalg.qr(jacobian.T)
            inner = upper @ (image @ basis)
            values, vectors = jnp.linalg.eigh(0.5 * (inner + inner.T))
            shares = basis.T @ b
            # Eigenvalues are known to a few eps of the largest: those below count as that.
            noise = 8 * jnp.finfo(rhs.dtype).eps * jnp.max(values)
            solved = vectors @ ((vectors.T @ shares) / (jnp.maximum(values, noise) + damping))
            return basis @ solved + (b - basis @ shares) / damping

        direction = woodbury(rhs)
        direction = direction + woodbury(remainder(direction))
        poor = ~(relative(remainder(direction), rhs) < 1e-3) & jnp.isfinite(rhs).all()
        direction = jax.lax.cond(poor, in_range, lambda _: direction, rhs)
        info = SolverInfo(relative(remainder(direction), rhs), jnp.ones((), int))
        return unravel(direction), info
