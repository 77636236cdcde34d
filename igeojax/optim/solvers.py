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
from typing import Any, ClassVar, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve
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

    requires_damping: ClassVar[bool] = False
    """Whether the solver divides by the damping."""

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


def _flat(gradient: Any) -> tuple[Array, Callable[[Array], Any]]:
    """The gradient as a vector of at least float32, as factorizations need, and the way back."""
    vector, unravel = jax.flatten_util.ravel_pytree(gradient)
    wide = vector.astype(jnp.promote_types(vector.dtype, jnp.float32))
    return wide, lambda direction: unravel(direction.astype(vector.dtype))


def _dense_matrix(system: System, gradient: Any) -> Array:
    vector, unravel = _flat(gradient)
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
        Without it that is done only where Cholesky fails or meets a pivot below `eps`, in units in
        which the diagonal of the damped matrix is 1.

    Raises:
      TypeError: `pseudo_inverse` is not a bool.

    Examples:
      >>> Dense()
      Dense(pseudo_inverse=False)
    """

    pseudo_inverse: bool = False

    def __post_init__(self):
        if not isinstance(self.pseudo_inverse, bool):
            raise TypeError(
                f"pseudo_inverse must be True or False; got {self.pseudo_inverse!r}. It decides "
                "how a singular metric is solved."
            )

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        rhs, unravel = _flat(gradient)
        matrix = _dense_matrix(system, gradient)
        matrix = matrix + damping.astype(rhs.dtype) * jnp.eye(rhs.size, dtype=rhs.dtype)
        if self.pseudo_inverse:
            direction = _pseudo_solution(matrix, rhs)
        else:
            # In units in which the diagonal is 1: parameters of other units are as well resolved.
            diagonal = jnp.diagonal(matrix)
            unit = jnp.where(diagonal > 0, jax.lax.rsqrt(jnp.where(diagonal > 0, diagonal, 1)), 1)
            scaled = unit[:, None] * matrix * unit[None]
            factor = jnp.linalg.cholesky(scaled)
            # A singular matrix may pass with a pivot of rounding noise. Nan compares as False.
            sound = jnp.min(jnp.diagonal(factor)) ** 2 > jnp.finfo(rhs.dtype).eps
            failed = ~sound & jnp.isfinite(matrix).all()
            direction = jax.lax.cond(
                failed,
                lambda b: _pseudo_solution(matrix, b),
                lambda b: unit * jax.scipy.linalg.cho_solve((factor, True), unit * b),
                rhs,
            )
        residual = _relative(matrix @ direction - rhs, rhs)
        return unravel(direction), SolverInfo(residual, jnp.ones((), int))


def _pseudo_solution(matrix: Array, rhs: Array) -> Array:
    """Minimum-norm solution, without the directions of eigenvalues below rounding."""
    values, vectors = jnp.linalg.eigh(matrix)
    kept = values > rhs.size * jnp.finfo(rhs.dtype).eps * jnp.max(jnp.abs(values))
    inverse = jnp.where(kept, 1 / jnp.where(kept, values, 1.0), 0.0)
    return vectors @ (inverse * (vectors.T @ rhs))


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
        checks.require_number("tolerance", self.tolerance, "It is a relative residual.")
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
        rhs, unravel = _flat(gradient)
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
        poor = ~(_relative(remainder(direction), rhs) < 1e-3) & jnp.isfinite(rhs).all()
        direction = jax.lax.cond(poor, in_range, lambda _: direction, rhs)
        info = SolverInfo(_relative(remainder(direction), rhs), jnp.ones((), int))
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
        rhs, unravel = _flat(gradient)
        scale = jnp.sum(jacobian * image, axis=0) + damping.astype(rhs.dtype)
        flat = scale <= 0
        direction = jnp.where(flat, 0.0, rhs / jnp.where(flat, 1.0, scale))
        return unravel(direction), SolverInfo(jnp.zeros((), rhs.dtype), jnp.ones((), int))
