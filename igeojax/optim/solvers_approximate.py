"""Solves with a part of the metric: its diagonal blocks, or its largest eigenpairs."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.numerics.eigenpairs import top_eigenpairs
from igeojax.optim._linear import damped_solution, flat_vector, relative
from igeojax.optim.solvers import Solver, SolverInfo, System


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class BlockDiagonal(Solver):
    """The exact block of each leaf, by Cholesky: `d_l = (F_ll + damping I)^{-1} g_l`.

    Correlations between leaves are left out. A singular block is solved by its eigenvectors, as in
    `Dense`. The residual reported is that of the block system.

    Examples:
      >>> BlockDiagonal()
      BlockDiagonal()
    """

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        jacobian, image = self._jacobian(system)
        rhs, unravel = flat_vector(gradient)
        level = damping.astype(rhs.dtype)
        parts, errors, start = [], [], 0
        for leaf in jax.tree.leaves(gradient):
            part = slice(start, start + leaf.size)
            start = part.stop
            if not leaf.size:
                continue
            block = (jacobian[:, part].T @ image[:, part]).astype(rhs.dtype)
            block = 0.5 * (block + block.T) + level * jnp.eye(leaf.size, dtype=rhs.dtype)
            parts.append(damped_solution(block, rhs[part]))
            errors.append(block @ parts[-1] - rhs[part])
        residual = relative(jnp.concatenate(errors), rhs)
        return unravel(jnp.concatenate(parts)), SolverInfo(residual, jnp.ones((), int))


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LowRank(Solver):
    """The largest eigenpairs `U S U^T` of the metric, and the damping alone on the rest.

    `d = U (S + damping)^{-1} U^T g + (g - U U^T g) / damping`. Products only, `num_blocks` batches
    of `rank + 4` and one of all of them; exact where the rank of the metric is at most `rank`,
    otherwise too long by up to `S_{rank+1} / damping` along what is left out: choose `damping` of
    the size of the first eigenvalue left out. The residual is that of the whole damped system.

    Args:
      rank: eigenpairs; no more than there are parameters are taken.
      num_blocks: steps of the block Krylov iteration (`numerics.eigenpairs.top_eigenpairs`).
      seed: of its random start, the same in every update.

    Raises:
      TypeError: an argument is not an integer.
      ValueError: `rank` or `num_blocks` is below 1, or `seed` is negative.

    References:
      [MuscoMusco2015] algorithm 2.

    Examples:
      >>> LowRank(8).rank
      8
    """

    rank: int
    num_blocks: int = 3
    seed: int = 0

    requires_damping: ClassVar[bool] = True

    def __post_init__(self):
        checks.require_count("rank", self.rank)
        checks.require_count("num_blocks", self.num_blocks)
        checks.require_count("seed", self.seed, 0)

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        rhs, unravel = flat_vector(gradient)

        def matvec(vector: Array) -> Array:
            image = system.matvec(unravel(vector))
            return jax.flatten_util.ravel_pytree(image)[0].astype(rhs.dtype)

        values, vectors = top_eigenpairs(
            jax.random.key(self.seed),
            matvec,
            rhs.size,
            min(self.rank, rhs.size),
            num_blocks=self.num_blocks,
            dtype=rhs.dtype,
        )
        level = damping.astype(rhs.dtype)
        shares = vectors.T @ rhs
        direction = vectors @ (shares / (values + level)) + (rhs - vectors @ shares) / level
        residual = relative(matvec(direction) + level * direction - rhs, rhs)
        return unravel(direction), SolverInfo(residual, jnp.ones((), int))
