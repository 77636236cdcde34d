"""How `(F + damping I) d = g` is solved: small static descriptions, chosen by size.

| solver | needs | cost for P parameters, n C outputs |
| --- | --- | --- |
| `Dense` | a few thousand parameters | P products or one Jacobian, `P^3 / 3` |
| `ConjugateGradient` | products only | one jvp and vjp a step |
| `SampleSpace` | a Jacobian, `n C << P` | `(n C)^2 P + (n C)^3` |
| `Diagonal` | a Jacobian | `n C P`, ignores correlations |
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax._core import checks
from igeojax.numerics.conjugate_gradient import conjugate_gradient


class System(NamedTuple):
    """The metric at the current parameters, closed over all but the vector.

    `matvec` is always there; the others are None where the metric does not offer them.
    """

    matvec: Callable[[Any], Any]
    jacobian: Callable[[], tuple[Array, Array]] | None


class SolverInfo(NamedTuple):
    """`residual`: relative residual of the damped system; `num_steps`: iterations taken."""

    residual: Float[Array, ""]
    num_steps: Int[Array, ""]


class Solver(abc.ABC):
    """A static description of how the damped system is solved."""

    @abc.abstractmethod
    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        """Direction `d` with `(F + damping I) d = gradient`, and how well it was reached."""

    def _jacobian(self, system: System) -> tuple[Array, Array]:
        if system.jacobian is None:
            raise TypeError(
                f"{type(self).__name__} needs the Jacobian of a model; this metric offers only "
                "matvec. Use scale_by_natural_gradient, or the solver ConjugateGradient or Dense."
            )
        return system.jacobian()


def _dense_matrix(system: System, gradient: Any) -> Array:
    vector, unravel = jax.flatten_util.ravel_pytree(gradient)
    if system.jacobian is not None:
        jacobian, image = system.jacobian()
        matrix = jacobian.T @ image
    else:
        column = lambda e: jax.flatten_util.ravel_pytree(system.matvec(unravel(e)))[0]
        matrix = jax.vmap(column, out_axes=1)(jnp.eye(vector.size, dtype=vector.dtype))
    return (0.5 * (matrix + matrix.T)).astype(vector.dtype)


def _relative(error: Array, size: Array) -> Array:
    norm = jnp.linalg.norm(size)
    return jnp.linalg.norm(error) / jnp.where(norm > 0, norm, 1.0)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Dense(Solver):
    """The matrix itself, by Cholesky; by its eigenvectors where it is singular.

    Args:
      pseudo_inverse: always use the eigendecomposition and leave out directions whose damped
        eigenvalue is below `P eps` of the largest: the minimum-norm solution for zero damping.
        Without it that path is taken only when Cholesky fails.

    Examples:
      >>> Dense()
      Dense(pseudo_inverse=False)
    """

    pseudo_inverse: bool = False

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        rhs, unravel = jax.flatten_util.ravel_pytree(gradient)
        matrix = _dense_matrix(system, gradient)
        matrix = matrix + damping.astype(rhs.dtype) * jnp.eye(rhs.size, dtype=rhs.dtype)

        def by_eigenvectors(_: Array) -> Array:
            values, vectors = jnp.linalg.eigh(matrix)
            cutoff = rhs.size * jnp.finfo(rhs.dtype).eps * jnp.max(jnp.abs(values))
            kept = values > cutoff
            inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1.0), 0.0)
            return vectors @ (inverse * (vectors.T @ rhs))

        if self.pseudo_inverse:
            direction = by_eigenvectors(rhs)
        else:
            factor = jnp.linalg.cholesky(matrix)
            failed = ~jnp.isfinite(factor).all() & jnp.isfinite(matrix).all()
            direction = jax.lax.cond(
                failed,
                by_eigenvectors,
                lambda b: jax.scipy.linalg.cho_solve((factor, True), b),
                rhs,
            )
        residual = _relative(matrix @ direction - rhs, rhs)
        return unravel(direction), SolverInfo(residual, jnp.ones((), int))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ConjugateGradient(Solver):
    """Conjugate gradients with matrix-vector products; never forms the matrix.

    Args:
      tolerance: relative residual to reach.
      max_iterations: most products in one update.

    Raises:
      TypeError: `max_iterations` is not an integer.
      ValueError: `max_iterations < 1` or a `tolerance` that is not positive.

    Examples:
      >>> ConjugateGradient(max_iterations=10).max_iterations
      10
    """

    tolerance: float = 1e-4
    max_iterations: int = 50

    def __post_init__(self):
        checks.require_count("max_iterations", self.max_iterations)
        checks.require_positive("tolerance", self.tolerance, "It is a relative residual.")

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        def damped(v: Any) -> Any:
            return jax.tree.map(
                lambda image, leaf: image + damping.astype(leaf.dtype) * leaf, system.matvec(v), v
            )

        direction, info = conjugate_gradient(
            damped, gradient, tolerance=self.tolerance, max_iterations=self.max_iterations
        )
        return direction, SolverInfo(info.residual, info.num_steps)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class SampleSpace(Solver):
    """Woodbury: solves an `n C x n C` system in the space of outputs; for `n C << P`.

    With `F = J^T (W J)`: `d = (g - J^T (damping I + W J J^T)^{-1} W J g) / damping`. Needs
    `damping > 0`; a relative `eps` of it is lost for each decade that F exceeds it.

    Examples:
      >>> SampleSpace()
      SampleSpace()
    """

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        jacobian, image = self._jacobian(system)
        rhs, unravel = jax.flatten_util.ravel_pytree(gradient)
        damping = damping.astype(rhs.dtype)
        # W J J^T is not symmetric, but needs no square root of the output Fisher, which is
        # singular for saturated outputs.
        small = image @ jacobian.T + damping * jnp.eye(jacobian.shape[0], dtype=rhs.dtype)
        inside = jnp.linalg.solve(small, image @ rhs)
        direction = (rhs - jacobian.T @ inside) / damping
        residual = jacobian.T @ (image @ direction) + damping * direction - rhs
        info = SolverInfo(_relative(residual, rhs), jnp.ones((), int))
        return unravel(direction), info


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Diagonal(Solver):
    """The exact diagonal of the Fisher matrix alone, `d = g / (diag F + damping)`.

    An entry with no curvature and no damping gives 0. The residual reported is that of the
    diagonal system, 0.

    Examples:
      >>> Diagonal()
      Diagonal()
    """

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        jacobian, image = self._jacobian(system)
        rhs, unravel = jax.flatten_util.ravel_pytree(gradient)
        scale = jnp.sum(jacobian * image, axis=0) + damping.astype(rhs.dtype)
        curved = scale > 0
        direction = jnp.where(curved, rhs / jnp.where(curved, scale, 1.0), 0.0)
        return unravel(direction), SolverInfo(jnp.zeros((), rhs.dtype), jnp.ones((), int))
