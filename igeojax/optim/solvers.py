"""How `(F + damping I) d = g` is solved: small static descriptions, chosen by size.

| solver | needs | cost for P parameters, n C outputs |
| --- | --- | --- |
| `Dense` | a few thousand parameters | P products or one Jacobian, `P^3 / 3` |
| `ConjugateGradient` | products only | one jvp and vjp a step |
| `SampleSpace` | `n C << P` | `(n C)^2 (I + O)` a layer `I x O`, `(n C)^3 / 3` |
| `LowRank` | products only, a spectrum that falls | `2 num_blocks (rank + 4)` products |
| `BlockDiagonal` | a Jacobian, leaves of a few thousand entries | `n C P_l^2 + P_l^3 / 3` a leaf |
| `Diagonal` | a Jacobian | `n C P`, ignores correlations |
| `KFAC`, `EKFAC` | a model | `n (I^2 + C O^2) + I^3 + O^3` a layer, ignores correlations |
| `Auto` | products; with a model one of the exact ones above | the least of them |

`SampleSpace` is in `solvers_sample_space`, `LowRank` and `BlockDiagonal` in `solvers_approximate`,
`KFAC` and `EKFAC` in `solvers_kronecker`, `Auto` in `solvers_auto`.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from igeojax._core import checks
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output
from igeojax.numerics.conjugate_gradient import conjugate_gradient
from igeojax.optim._linear import damped_solution, flat_vector, pseudo_solution, relative


class Model(NamedTuple):
    """The model whose Fisher matrix a metric is, at the parameters and the batch at hand.

    `predict(params, inputs)` returns outputs of `family`; `weights` replace the `1/N` of the mean
    over examples, or are None.
    """

    predict: Predict
    family: Output
    params: Any
    inputs: Any
    weights: Any = None


class System(NamedTuple):
    """The metric at the current parameters, closed over all but the vector.

    `matvec` is always there; the others are None where the metric does not offer them.
    """

    matvec: Callable[[Any], Any]
    jacobian: Callable[[], tuple[Array, Array]] | None
    model: Callable[[], Model] | None = None


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

    def _model(self, system: System) -> Model:
        if system.model is None:
            raise TypeError(
                f"{type(self).__name__} needs a model; this metric offers only products. Use "
                "scale_by_natural_gradient, or the solver ConjugateGradient or Dense."
            )
        return system.model()

    def _residual(self, system: System, gradient: Any, damping: Array, direction: Any) -> Array:
        """Relative residual of `(F + damping I) d = g`, by one product."""
        rhs = flat_vector(gradient)[0]
        like = jax.tree.map(lambda d, g: d.astype(g.dtype), direction, gradient)
        image = flat_vector(system.matvec(like))[0]
        return relative(image + damping.astype(rhs.dtype) * flat_vector(like)[0] - rhs, rhs)


def _dense_matrix(system: System, gradient: Any) -> Array:
    vector, unravel = flat_vector(gradient)
    if system.jacobian is not None:
        jacobian, image = system.jacobian()
        matrix = jacobian.T @ image
    else:
        column = lambda e: jax.flatten_util.ravel_pytree(system.matvec(unravel(e)))[0]
        matrix = jax.vmap(column, out_axes=1)(jnp.eye(vector.size, dtype=vector.dtype))
    return (0.5 * (matrix + matrix.T)).astype(vector.dtype)


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
        rhs, unravel = flat_vector(gradient)
        matrix = _dense_matrix(system, gradient)
        matrix = matrix + damping.astype(rhs.dtype) * jnp.eye(rhs.size, dtype=rhs.dtype)
        if self.pseudo_inverse:
            direction = pseudo_solution(matrix, rhs)
        else:
            direction = damped_solution(matrix, rhs)
        residual = relative(matrix @ direction - rhs, rhs)
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
        rhs, unravel = flat_vector(gradient)
        scale = jnp.sum(jacobian * image, axis=0) + damping.astype(rhs.dtype)
        flat = scale <= 0
        direction = jnp.where(flat, 0.0, rhs / jnp.where(flat, 1.0, scale))
        return unravel(direction), SolverInfo(jnp.zeros((), rhs.dtype), jnp.ones((), int))
