"""Solves in the space of the outputs, which is small where the parameters are many."""

import dataclasses
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.linalg import lu_factor, lu_solve
from jaxtyping import Array

from igeojax.fisher.sample_space import fisher_root_operator
from igeojax.numerics.triangular import cho_solve, cholesky
from igeojax.optim._linear import flat_vector, relative
from igeojax.optim.solvers import Model, Solver, SolverInfo, System


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class SampleSpace(Solver):
    """Woodbury: solves an `n C x n C` system in the space of outputs; for `n C << P`.

    With a root R, `F = R^T R`: `d = (g - R^T (R R^T + damping I)^{-1} R g) / damping`, and one step
    of refinement, for the difference cancels where g comes from the outputs. Of a model `R R^T` is
    made layer by layer (`fisher.sample_space_gram`), and R and `R^T` are a jvp and a vjp: no
    Jacobian is formed. The rows of R are the C classes or coordinates of each output.

    Where that leaves a residual above 1e-3 (a metric `1/eps` times the damping), the system is
    solved by the Jacobian, in an orthonormal basis of the range of `R^T`, at many times the cost in
    time and memory; under `vmap` both are computed. The Jacobian is taken from the start where the
    metric has one and no model, or parameters are of half precision or of several dtypes.

    Needs `damping > 0`; one below `eps` of the largest diagonal entry of `R R^T` is raised to it.

    References:
      [Goldshlager2024] (the solve in sample space).

    Examples:
      >>> SampleSpace()
      SampleSpace()
    """

    requires_damping: ClassVar[bool] = True

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        rhs, unravel = flat_vector(gradient)
        uniform = all(leaf.dtype == rhs.dtype for leaf in jax.tree.leaves(gradient))
        if system.model is not None and uniform:
            root = _layerwise(system.model(), unravel)
        else:
            root = _by_jacobian(*self._jacobian(system), rhs.dtype)
        gram = root.gram
        least = jnp.finfo(rhs.dtype).eps * jnp.max(jnp.diagonal(gram))
        damping = jnp.maximum(damping.astype(rhs.dtype), least)
        solved = root.solver(gram + damping * jnp.eye(gram.shape[0], dtype=rhs.dtype))

        def woodbury(b: Array) -> Array:
            return (b - root.back(solved(root.image(b)))) / damping

        def remainder(d: Array) -> Array:
            return rhs - root.back(root.image(d)) - damping * d

        def in_range(b: Array) -> Array:
            # An orthonormal basis of the range of J^T, in which nothing large cancels, and the
            # rest of b: a direction of descent whatever the rounding.
            jacobian, image = (x.astype(rhs.dtype) for x in self._jacobian(system))
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
        residual = relative(remainder(direction), rhs)
        poor = ~(residual < 1e-3) & jnp.isfinite(rhs).all()

        def robust(b: Array) -> tuple[Array, Array]:
            found = in_range(b)
            return found, relative(remainder(found), b)

        direction, residual = jax.lax.cond(poor, robust, lambda _: (direction, residual), rhs)
        return unravel(direction), SolverInfo(residual, jnp.ones((), int))


class _Root(NamedTuple):
    """A root of the metric: `back(image(v)) = F v`, and `gram` of the rows of both."""

    image: Callable[[Array], Array]
    back: Callable[[Array], Array]
    gram: Array
    solver: Callable[[Array], Callable[[Array], Array]]


def _by_cholesky(matrix: Array) -> Callable[[Array], Array]:
    factor = cholesky(matrix)
    return lambda b: cho_solve(factor, b[:, None])[:, 0]


def _by_elimination(matrix: Array) -> Callable[[Array], Array]:
    factors = lu_factor(matrix)
    return lambda b: lu_solve(factors, b)


def _layerwise(model: Model, unravel: Callable[[Array], Any]) -> _Root:
    root = fisher_root_operator(
        model.predict, model.family, model.params, model.inputs, weights=model.weights
    )
    image = lambda v: root.matvec(unravel(v)).astype(v.dtype)
    back = lambda v: flat_vector(root.transposed_matvec(v))[0].astype(v.dtype)
    return _Root(image, back, root.gram(), _by_cholesky)


def _by_jacobian(jacobian: Array, image: Array, dtype: Any) -> _Root:
    # W J J^T is not symmetric, but needs no square root of the output Fisher.
    jacobian, image = jacobian.astype(dtype), image.astype(dtype)
    return _Root(lambda v: image @ v, lambda v: jacobian.T @ v, image @ jacobian.T, _by_elimination)
