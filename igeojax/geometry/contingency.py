"""Contingency tables with given margins, by iterative proportional fitting."""

import functools
import itertools
import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax._core import checks

Axes = tuple[int, ...]
"""The axes that a margin keeps."""


class FittedTable(NamedTuple):
    """The fitted table, and how well it meets its margins.

    `residual` is the largest gap of an entry of a margin, relative to the total; `converged` says
    whether it is at most the tolerance. It is False where no table with the zeros of the seed has
    these margins: `table` is then the last iterate.
    """

    table: Float[Array, "*shape"]
    residual: Float[Array, ""]
    num_cycles: Int[Array, ""]
    converged: Bool[Array, ""]


def iterative_proportional_fitting(
    table: Float[ArrayLike, "*shape"],
    margins: Mapping[int | Axes, ArrayLike] | Sequence[tuple[int | Axes, ArrayLike]],
    *,
    tolerance: float | None = None,
    max_cycles: int = 1000,
) -> FittedTable:
    """Table nearest to a seed in `KL(fit || seed)` among those with given margins.

    Scales the table to one margin after another, each an e-projection onto the m-flat tables with
    that margin, until all hold. From a seed of ones with the margins of an observed table it is the
    maximum likelihood fit of the log-linear model whose interactions are those margins:
    independence for single axes, no three-way interaction for all pairs of three. Zeros of the seed
    stay zeros (structural zeros).

    A cycle costs two passes over the table for each margin. Differentiable in the seed and in the
    margins by the implicit function theorem, at the cost of a pseudo-inverse whose size M is the
    number of entries of all margins, and M passes over the table.

    Args:
      table: the seed, non-negative, of any shape.
      margins: pairs `(axes, target)`, or a mapping from axes to target: the axes that the margin
        keeps, an integer or a tuple of them, and its non-negative entries, with one axis for each
        of these in their order.
      tolerance: largest `residual` that counts as converged; None for `100 eps`.
      max_cycles: bound of cycles; a fit whose limit has more zeros than the seed is slow.

    Returns:
      A `FittedTable`.

    Raises:
      TypeError: entries are not real, an axis or `max_cycles` is not an integer.
      ValueError: no margin, axes that the table has not, a target of another shape, concrete
        entries that are negative or not finite, a concrete seed of zeros, or concrete targets that
        disagree on the axes they share (their totals included).

    References:
      [DemingStephan1940]; [Csiszar1975] section 3; [IrelandKullback1968] (the table nearest in
      relative entropy).

    Examples:
      >>> fit = iterative_proportional_fitting(
      ...     jnp.ones((2, 2)), [(0, [0.25, 0.75]), (1, [0.5, 0.5])]
      ... )
      >>> fit.table.tolist(), bool(fit.converged)
      ([[0.125, 0.125], [0.375, 0.375]], True)
    """
    checks.require_count("max_cycles", max_cycles)
    seed, kept, targets = _checked(table, margins)
    fixed = jax.lax.stop_gradient((seed, targets))
    limit = 100 * float(jnp.finfo(seed.dtype).eps) if tolerance is None else tolerance
    fitted, residual, cycles = _fitted(kept, *fixed, limit, max_cycles)
    attached = _attached(kept, fitted, seed, targets)
    return FittedTable(attached, residual, cycles, residual <= limit)


def _checked(table: ArrayLike, margins: Any) -> tuple[Array, tuple[Axes, ...], tuple[Array, ...]]:
    """The seed, the axes of each margin in ascending order, and its target with such axes.

    Raises:
      ValueError: no margin, or shapes, axes or values that do not fit.
    """
    pairs = list(margins.items() if isinstance(margins, Mapping) else margins)
    if not pairs:
        raise ValueError("margins must hold a pair (axes, target) or more; got none. Add one.")
    seed = checks.floating("table", table)
    _require_masses("table", seed)
    checks.require_positive("the sum of the table", jnp.sum(seed), "It has no cell to scale.")
    kept, targets = [], []
    for number, (axes, target) in enumerate(pairs):
        name = f"margin {number}"
        axes = _axes(name, axes, seed.ndim)
        target = checks.floating(name, target)
        shape = tuple(seed.shape[axis] for axis in axes)
        if target.shape != shape:
            raise ValueError(
                f"{name} must have shape {shape}, that of the table along {axes}; got "
                f"{target.shape}. Its axes are those that the margin keeps, in their order."
            )
        _require_masses(name, target)
        order = sorted(range(len(axes)), key=axes.__getitem__)
        kept.append(tuple(sorted(axes)))
        targets.append(jnp.transpose(target, order))
    _require_agreement(kept, targets, seed.dtype)
    # Counts and lists of numbers have no precision of their own to give.
    given = [jnp.result_type(v) for v in (table, *(t for _, t in pairs)) if hasattr(v, "dtype")]
    floats = [kind for kind in given if jnp.issubdtype(kind, jnp.floating)]
    dtype = jnp.result_type(*floats) if floats else seed.dtype
    return seed.astype(dtype), tuple(kept), tuple(target.astype(dtype) for target in targets)


def _axes(name: str, axes: Any, rank: int) -> Axes:
    """The axes that a margin keeps, as non-negative integers.

    Raises:
      TypeError: one is not an integer.
      ValueError: the table has no such axis, it comes twice, or there is none.
    """
    listed = tuple(axes) if isinstance(axes, (tuple, list)) else (axes,)
    for axis in listed:
        if isinstance(axis, bool) or not isinstance(axis, (int, np.integer)):
            raise TypeError(
                f"the axes of {name} must be integers; got {type(axis).__name__} {axis!r}. Pass "
                "pairs such as (0, target) or ((0, 1), target)."
            )
    found = tuple(int(axis) + rank if axis < 0 else int(axis) for axis in listed)
    if not found or len(set(found)) < len(found) or not all(0 <= axis < rank for axis in found):
        raise ValueError(
            f"the axes of {name} must be different axes of a table of {rank}, one or more; got "
            f"{listed}. They are the axes that the margin keeps."
        )
    return found


def _require_masses(name: str, value: Array) -> None:
    checks.require_values(
        name,
        value,
        lambda v: np.isfinite(v) & (v >= 0),
        "finite and non-negative",
        "Its entries are counts or probabilities.",
    )


def _require_agreement(kept: list[Axes], targets: list[Array], dtype: Any) -> None:
    """Check that concrete targets agree where they can be compared.

    Raises:
      ValueError: two have different sums over the axes that they do not share.
    """
    tolerance = float(jnp.finfo(dtype).eps) ** 0.5
    numbered = list(zip(kept, map(checks.concrete, targets), strict=True))
    for (i, (axes, one)), (j, (others, two)) in itertools.combinations(enumerate(numbered), 2):
        if one is None or two is None:
            continue
        shared = tuple(sorted(set(axes) & set(others)))
        first, second = (
            _summed(v.astype(float), a, shared) for v, a in ((one, axes), (two, others))
        )
        gap = np.abs(first - second)
        if gap.max() > tolerance * max(first.sum(), second.sum()):
            worst = np.unravel_index(np.argmax(gap), gap.shape)
            what = f"sums along the shared axes {shared}" if shared else "totals"
            raise ValueError(
                f"margins must have equal {what}; got {first[worst]:.6g} of margin {i} and "
                f"{second[worst]:.6g} of margin {j}. Scale them to one total, or take them of one "
                "table."
            )


def _summed(margin: Any, axes: Axes, shared: Axes) -> Any:
    """The sum of a margin over those of its axes that are not shared."""
    return margin.sum(axis=tuple(i for i, axis in enumerate(axes) if axis not in shared))


def _margin(table: Array, axes: Axes) -> Array:
    return _summed(table, tuple(range(table.ndim)), axes)


def _spread(margin: Array, axes: Axes, rank: int) -> Array:
    """A margin with axes of length one for those it has summed over."""
    return jnp.expand_dims(margin, tuple(axis for axis in range(rank) if axis not in axes))


class _Cycle(NamedTuple):
    table: Array
    residual: Array
    cycles: Array


@functools.partial(jax.jit, static_argnames=("kept", "max_cycles"))
def _fitted(
    kept: tuple[Axes, ...], seed: Array, targets: tuple[Array, ...], limit: Any, max_cycles: int
) -> tuple[Array, Array, Array]:
    """The scaled table, its residual, and how many cycles it took."""
    total = jnp.sum(targets[0])
    total = jnp.where(total > 0, total, 1.0)

    def residual_of(table: Array) -> Array:
        gaps = [jnp.abs(_margin(table, a) - t) for a, t in zip(kept, targets, strict=True)]
        return jnp.max(jnp.stack([jnp.max(gap) for gap in gaps])) / total

    def cycle(state: _Cycle) -> _Cycle:
        table = state.table
        for axes, target in zip(kept, targets, strict=True):
            now = _margin(table, axes)
            # A slice of zeros stays; that its target may not be zero the residual will say.
            ratio = jnp.where(now > 0, target / jnp.where(now > 0, now, 1.0), 0.0)
            table = table * _spread(ratio, axes, table.ndim)
        return _Cycle(table, residual_of(table), state.cycles + 1)

    unfinished = lambda state: (state.cycles < max_cycles) & (state.residual > limit)
    # Relative to its largest cell the seed cannot overflow.
    start = seed / jnp.max(seed)
    first = _Cycle(start, jnp.asarray(jnp.inf, seed.dtype), jnp.zeros((), int))
    last = jax.lax.while_loop(unfinished, cycle, first)
    return last.table, last.residual, last.cycles


@functools.partial(jax.custom_jvp, nondiff_argnums=(0,))
def _attached(
    kept: tuple[Axes, ...], fitted: Array, seed: Array, targets: tuple[Array, ...]
) -> Array:
    """The fitted table, with its derivatives in the seed and the targets."""
    del kept, seed, targets
    return fitted


@_attached.defjvp
def _attached_jvp(kept: tuple[Axes, ...], primals: Any, tangents: Any) -> tuple[Array, Array]:
    """`log fit - log seed` is a sum of functions of the margins' axes, and the margins hold.

    With `A` the sum of such functions, `d fit = fit (d log seed + A u)`, where
    `A^T (fit A u) = d target - A^T (fit d log seed)`. Functions of shared axes make this singular
    but solvable.
    """
    fitted, seed, targets = primals
    _, seed_tangent, target_tangents = tangents
    # By the function again, so that a second derivative sees that the table moves.
    table = _attached(kept, fitted, seed, targets)
    positive = seed > 0
    drift = table * jnp.where(positive, seed_tangent / jnp.where(positive, seed, 1.0), 0.0)
    sizes = [math.prod(target.shape) for target in targets]
    ends = np.cumsum([0, *sizes])

    def weighed(vector: Array) -> Array:
        """`fit A u`."""
        total = jnp.zeros_like(table)
        for axes, target, start, end in zip(kept, targets, ends[:-1], ends[1:], strict=True):
            total = total + _spread(vector[start:end].reshape(target.shape), axes, table.ndim)
        return table * total

    def summed(values: Array) -> Array:
        """`A^T` of a table."""
        return jnp.concatenate([_margin(values, axes).ravel() for axes in kept])

    wanted = jnp.concatenate([tangent.ravel() for tangent in target_tangents]) - summed(drift)
    matrix = jax.vmap(lambda unit: summed(weighed(unit)))(jnp.eye(sum(sizes), dtype=table.dtype))
    diagonal = jnp.diagonal(matrix)
    scale = jnp.where(diagonal > 0, 1 / jnp.sqrt(jnp.where(diagonal > 0, diagonal, 1.0)), 0.0)
    inverse = jnp.linalg.pinv(scale[:, None] * matrix * scale[None], hermitian=True)
    return table, drift + weighed(scale * (inverse @ (scale * wanted)))
