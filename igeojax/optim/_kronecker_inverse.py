"""Inverses of the damped blocks of a Kronecker-factored Fisher matrix, and their application."""

from collections.abc import Callable, Sequence
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.fisher._layout import Block, Layout
from igeojax.fisher._statistics import in_bases
from igeojax.fisher.kronecker import DenseFactor, Factor, KroneckerFactor
from igeojax.numerics.triangular import cholesky, solve_triangular

InverseMethod = Literal["cholesky", "eigen", "newton_schulz"]


class KroneckerInverse(NamedTuple):
    """`(rows + r I)^{-1}` and `(columns + c I)^{-1}` of a block; vectors where diagonal."""

    rows: Array
    columns: Array


class EigenInverse(NamedTuple):
    """Bases of the rows and columns of a block, and the curvature along each pair of vectors.

    The damping is added when it is applied: whole, or with `shares` split between the factors. Of
    eigenvalues a and g, `(a + pi sqrt(damping)) (g + sqrt(damping) / pi)` is
    `sqrt(damping) (a / pi + pi g) + damping` more than `a g`: `shares` are `a / pi` and `pi g`. A
    basis of a diagonal side is None.
    """

    rows: Array | None
    columns: Array | None
    values: Array
    shares: tuple[Array, Array] | None


class PlainInverse(NamedTuple):
    """The inverse of a damped dense block, `(P, P)`, or of a diagonal one, `(P,)`."""

    inverse: Array


Inverse = KroneckerInverse | EigenInverse | PlainInverse


def _each(function: Callable[[Array], Any], stack: Array) -> Any:
    """`function` of each matrix of a stack, one after the other.

    Batches of LAPACK's triangular solves can wait for ever in jaxlib 0.10.2 on few cores.
    """
    if stack.shape[0] == 1:
        return jax.tree.map(lambda leaf: leaf[None], function(stack[0]))
    return jax.lax.map(function, stack)


def _cholesky_inverse(matrix: Array) -> Array:
    root = solve_triangular(cholesky(matrix), jnp.eye(matrix.shape[0], dtype=matrix.dtype))
    return root.T @ root


def _newton_schulz_inverse(matrix: Array) -> Array:
    """`X <- X (2 I - M X)`, from `X = I / |M|`: products alone, for devices slow at Cholesky."""
    size = jnp.max(jnp.sum(jnp.abs(matrix), axis=1))
    eye = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    scaled = matrix / size

    def unfinished(carry: Any) -> Array:
        _, error, last, step = carry
        # Stops at the level of rounding, where the error no longer falls, or never fell.
        return (step < 60) & ((error < 0.5 * last) | (error > 0.1)) & jnp.isfinite(error)

    def advance(carry: Any) -> Any:
        inverse, error, _, step = carry
        rest = eye - scaled @ inverse
        return inverse + inverse @ rest, jnp.linalg.norm(rest, ord=jnp.inf), error, step + 1

    infinite = jnp.full((), jnp.finfo(matrix.dtype).max, matrix.dtype)
    inverse, *_ = jax.lax.while_loop(unfinished, advance, (eye, infinite / 2, infinite, 0))
    return inverse / size


_INVERSES = {"cholesky": _cholesky_inverse, "newton_schulz": _newton_schulz_inverse}


def _damped_inverse(factor: Array, level: Array, diagonal: bool, method: str) -> Array:
    """Inverse of each matrix of a stack, its level `(S,)` added."""
    if diagonal:
        return 1 / (factor + level[:, None])
    eye = jnp.eye(factor.shape[-1], dtype=factor.dtype)[None]
    return _each(_INVERSES[method], factor + level[:, None, None] * eye)


def _mean_eigenvalue(factor: Array, diagonal: bool) -> Array:
    return jnp.mean(factor if diagonal else jnp.diagonal(factor, axis1=-2, axis2=-1), axis=-1)


def _balance(block: Block, factor: KroneckerFactor) -> Array:
    """The levels of the two factors of each matrix are `pi sqrt(damping)`, `sqrt(damping) / pi`.

    `pi^2` is the ratio of their mean eigenvalues; 1 where one of these vanishes, as for a layer
    whose input is zero.
    """
    rows, columns = map(_mean_eigenvalue, factor, block.diagonal)
    sound = (rows > 0) & (columns > 0)
    return jnp.sqrt(jnp.where(sound, rows, 1.0) / jnp.where(sound, columns, 1.0))


def inverted(
    layout: Layout,
    factors: Sequence[Factor],
    damping: Array,
    method: InverseMethod,
    *,
    splits: bool = False,
) -> tuple[Inverse, ...]:
    """The inverse of each damped block; `splits` the damping of "eigen" as others do."""
    return tuple(
        _inverted(block, factor, damping.astype(jax.tree.leaves(factor)[0].dtype), method, splits)
        for block, factor in zip(layout.blocks, factors, strict=True)
    )


def _inverted(
    block: Block, factor: Factor, damping: Array, method: InverseMethod, splits: bool
) -> Inverse:
    if isinstance(factor, KroneckerFactor):
        ratio = _balance(block, factor)
        if method == "eigen":
            (rows, along), (columns, across) = map(_eigenpairs, factor, block.diagonal)
            shares = (along / ratio[:, None], across * ratio[:, None]) if splits else None
            return EigenInverse(rows, columns, along[:, :, None] * across[:, None, :], shares)
        root = jnp.sqrt(damping)
        pairs = zip(factor, (ratio * root, root / ratio), block.diagonal, strict=True)
        return KroneckerInverse(*(_damped_inverse(*pair, method) for pair in pairs))
    if isinstance(factor, DenseFactor):
        matrix = factor.matrix + damping * jnp.eye(factor.matrix.shape[0], dtype=damping.dtype)
        return PlainInverse(_cholesky_inverse(matrix))
    return PlainInverse(1 / (factor.diagonal + damping))


def _eigenpairs(factor: Array, diagonal: bool) -> tuple[Array | None, Array]:
    """Eigenvectors and eigenvalues, at least 0, of each matrix of a stack."""
    if diagonal:
        return None, factor
    values, vectors = _each(lambda m: tuple(jnp.linalg.eigh(m)), factor)
    return vectors, jnp.maximum(values, 0.0)


def bases_of(
    inverses: Sequence[Inverse],
) -> tuple[tuple[Array | None, Array | None] | None, ...]:
    """The bases of rows and columns of each block; None for one that has none."""
    return tuple(
        (inverse.rows, inverse.columns) if isinstance(inverse, EigenInverse) else None
        for inverse in inverses
    )


def applied(layout: Layout, inverses: Sequence[Inverse], damping: Array, gradient: Any) -> Any:
    """The inverse times a gradient, a pytree like it."""
    parts = [
        _applied(block, inverse, damping, block.read(gradient))
        for block, inverse in zip(layout.blocks, inverses, strict=True)
    ]
    return layout.write(parts)


def _applied(block: Block, inverse: Inverse, damping: Array, part: Array) -> Array:
    wide = part.astype(jax.tree.leaves(inverse)[0].dtype)
    if isinstance(inverse, EigenInverse):
        bases = inverse.rows, inverse.columns
        level = damping.astype(wide.dtype)
        values = inverse.values + level
        if inverse.shares is not None:
            along, across = inverse.shares
            values += jnp.sqrt(level) * (along[:, :, None] + across[:, None, :])
        return in_bases(in_bases(wide, bases) / values, bases, back=True)
    if isinstance(inverse, KroneckerInverse):
        rows, columns = inverse
        wide = wide * rows[:, :, None] if block.diagonal[0] else rows @ wide
        return wide * columns[:, None, :] if block.diagonal[1] else wide @ columns
    return inverse.inverse @ wide if inverse.inverse.ndim == 2 else inverse.inverse * wide
