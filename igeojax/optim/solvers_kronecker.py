"""Solves with Kronecker-factored blocks of the metric, those of the batch at hand."""

import dataclasses
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.fisher._layout import Layout
from igeojax.fisher._statistics import Sharing
from igeojax.fisher.kronecker import eigenbasis_moments, kronecker_factors, kronecker_layout
from igeojax.optim._kronecker_inverse import EigenInverse, Inverse, applied, bases_of, inverted
from igeojax.optim.solvers import Model, Solver, SolverInfo, System


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class KFAC(Solver):
    """Kronecker-factored blocks of the Fisher matrix of the batch, each factor damped.

    Exact cotangents and nothing carried from step to step: what `optim.kfac` does with averaged
    factors and sampled labels, for small models, large batches and comparisons. Correlations
    between layers are left out, as is what a Kronecker product does not hold; exact where
    `fisher.kronecker_factors` is and the damping is small. The residual is that of the true damped
    system, by one product: it tells how good the blocks are. Needs a model, so
    `scale_by_natural_gradient`, and `damping > 0`.

    Args:
      sharing: how positions that share parameters are summed over, "expand" or "reduce", as in
        `fisher.kronecker_factors`.
      chunk_size: examples at a time for the factors; None takes all at once.
      dense_limit: entries of a leaf up to which a block without factors is dense, not diagonal.
      factor_limit: rows up to which a factor is dense, not diagonal.

    Raises:
      TypeError: a number is not an integer.
      ValueError: an unknown `sharing`, `chunk_size < 1` or a negative limit.

    References:
      [MartensGrosse2015] sections 3 and 6.

    Examples:
      >>> KFAC(sharing="reduce").sharing
      'reduce'
    """

    sharing: Sharing = "expand"
    chunk_size: int | None = None
    dense_limit: int = 256
    factor_limit: int = 4096

    requires_damping: ClassVar[bool] = True

    def __post_init__(self):
        if self.sharing not in ("expand", "reduce"):
            raise ValueError(
                f'sharing must be "expand" or "reduce"; got {self.sharing!r}. It says how '
                "positions that share parameters are summed over."
            )
        if self.chunk_size is not None:
            checks.require_count("chunk_size", self.chunk_size)
        checks.require_count("dense_limit", self.dense_limit, 0)
        checks.require_count("factor_limit", self.factor_limit, 0)

    def solve(self, system: System, gradient: Any, damping: Array) -> tuple[Any, SolverInfo]:
        model = self._model(system)
        layout = kronecker_layout(
            model.predict,
            model.params,
            model.inputs,
            dense_limit=self.dense_limit,
            factor_limit=self.factor_limit,
        )
        inverses = self._inverses(layout, model, damping)
        direction = applied(layout, inverses, damping, gradient)
        residual = self._residual(system, gradient, damping, direction)
        return direction, SolverInfo(residual, jnp.ones((), int))

    def _inverses(self, layout: Layout, model: Model, damping: Array) -> tuple[Inverse, ...]:
        return inverted(layout, self._factors(layout, model), damping, "cholesky")

    def _factors(self, layout: Layout, model: Model) -> Any:
        return kronecker_factors(
            layout,
            model.predict,
            model.family,
            model.params,
            model.inputs,
            sharing=self.sharing,
            weights=model.weights,
            chunk_size=self.chunk_size,
        )


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class EKFAC(KFAC):
    """As `KFAC`, with the exact curvature of the batch along the eigenvectors of the factors.

    `d = U (S + damping)^{-1} U^T g` for each block, `S = diag(U^T F U)`: of all diagonals in that
    basis the nearest to the block. The damping is not split between factors. Memory is that of the
    gradients of the examples of a chunk, where positions share parameters.

    Args:
      sharing: as for `KFAC`; of the factors that make the bases.
      chunk_size: as for `KFAC`.
      dense_limit: as for `KFAC`.
      factor_limit: as for `KFAC`.

    Raises:
      TypeError: as for `KFAC`.
      ValueError: as for `KFAC`.

    References:
      [George2018] section 3.

    Examples:
      >>> EKFAC(chunk_size=128).chunk_size
      128
    """

    def _inverses(self, layout: Layout, model: Model, damping: Array) -> tuple[Inverse, ...]:
        inverses = inverted(layout, self._factors(layout, model), damping, "eigen")
        bases = bases_of(inverses)
        moments = eigenbasis_moments(
            layout,
            model.predict,
            model.family,
            model.params,
            model.inputs,
            bases,
            weights=model.weights,
            chunk_size=self.chunk_size,
        )
        return tuple(
            inverse._replace(values=moment) if isinstance(inverse, EigenInverse) else inverse
            for inverse, moment in zip(inverses, moments, strict=True)
        )
