"""A batch of linear chains as all of this room reads it: checked, time first, padding marked."""

import math
from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks


class Chain(NamedTuple):
    """Log potentials of B chains of T steps over K states.

    The score of a path is the sum over the steps that are present of `unary` at its states and of
    `transition` between neighbors; steps that are absent are skipped, wherever they stand.
    """

    unary: Float[Array, "T B K"]  # with the scores of start and end; 0 where absent
    transition: Float[Array, "..."]  # (K, K), or (T, K, K) or (T, B, K, K), where [t] leads into t
    present: Bool[Array, "T B"]
    first: Bool[Array, "T B"]  # the first step that is present

    @property
    def is_constant(self) -> bool:
        """Whether one transition matrix serves all steps."""
        return self.transition.ndim == 2

    @property
    def varying(self) -> Array | None:
        """Transitions to scan over with the steps; None where there is one for all."""
        return None if self.is_constant else self.transition

    def at_step(self, move: Array | None) -> Float[Array, "#B K K"]:
        """Transitions into a step, of which a scan over `varying` hands `move`."""
        matrix = self.transition if move is None else move
        return matrix[None] if matrix.ndim == 2 else matrix

    @property
    def joined(self) -> Bool[Array, "T B"]:
        """Steps that a transition leads into."""
        return self.present & ~self.first

    def shifted(self) -> tuple["Chain", Float[Array, "T B"]]:
        """The chain with 0 as largest score of each step, and what was taken out, a constant."""
        tops, moves = _top(self.unary, -1), _top(self.transition, (-2, -1))
        of_moves = jnp.reshape(moves, moves.shape[:-2] or (1,))
        of_moves = of_moves if of_moves.ndim == 2 else of_moves[:, None]
        chain = self._replace(unary=self.unary - tops, transition=self.transition - moves)
        return chain, tops[..., 0] + jnp.where(self.joined, of_moves, 0.0)


def _top(scores: Array, axis: int | tuple[int, ...]) -> Array:
    """The largest score, axes kept, as a constant; 0 where all are -inf."""
    top = jax.lax.stop_gradient(jnp.max(scores, axis=axis, keepdims=True))
    return jnp.where(top == -jnp.inf, 0.0, top)


def chain_of(
    unary: ArrayLike,
    transition: ArrayLike,
    *,
    length: ArrayLike | None = None,
    mask: ArrayLike | None = None,
    start: ArrayLike | None = None,
    end: ArrayLike | None = None,
    names: tuple[str, str, str, str] = ("unary", "transition", "start", "end"),
) -> tuple[Chain, tuple[int, ...]]:
    """The chain of arguments as users give them, and their shape `(*batch, T)`.

    Raises:
      TypeError: scores are not real, a length is no integer, or a mask not boolean.
      ValueError: shapes do not fit, both `length` and `mask` are given, a concrete length is out of
        range, or a concrete score is nan or `+inf`.
    """
    given = dict(zip(names, (unary, transition, start, end), strict=True))
    known = {name: value for name, value in given.items() if value is not None}
    arrays = dict(zip(known, checks.floating_together(**known), strict=True))
    dtype = jnp.promote_types(arrays[names[0]].dtype, jnp.float32)
    arrays = {name: array.astype(dtype) for name, array in arrays.items()}
    unary, transition = arrays[names[0]], arrays[names[1]]
    if unary.ndim < 2 or unary.shape[-1] == 0:
        raise ValueError(
            f"{names[0]} must have shape (*batch, T, K) with K at least 1; got {unary.shape}. "
            "Put the steps on the last axis but one and the states on the last."
        )
    shape, states = unary.shape[:-1], unary.shape[-1]
    transition = _aligned(names[1], transition, shape, states)
    present = presence(shape, length, mask)
    if shape[-1] == 0:  # one step that is absent, so that there is one to look at
        present = jnp.zeros((*shape[:-1], 1), bool)
        unary = jnp.zeros((*present.shape, states), dtype)
    unary = jnp.where(present[..., None], unary, 0)
    for name, array in {**arrays, names[0]: unary}.items():
        checks.require_values(
            name,
            array,
            lambda v: v < jnp.inf,
            "finite or -inf",
            "-inf forbids; pad with any number and tell the padding by length or mask.",
        )
    steps = jax.lax.broadcasted_iota(jnp.int32, present.shape, present.ndim - 1)
    at = jnp.where(present, steps, -1)
    last = present & (at == jnp.max(at, axis=-1, keepdims=True))
    at = jnp.where(present, steps, present.shape[-1])
    first = present & (at == jnp.min(at, axis=-1, keepdims=True))
    for name, where in ((names[2], first), (names[3], last)):
        if name in arrays:
            scores = _per_chain(name, arrays[name], shape[:-1], states)[..., None, :]
            unary = unary + jnp.where(where[..., None], scores, 0)
    return Chain(time_first(unary, 1), transition, time_first(present), time_first(first)), shape


def time_first(array: Array, trailing: int = 0) -> Array:
    """From `(*batch, T, ...)` to `(T, B, ...)`."""
    axis = array.ndim - trailing - 1
    moved = jnp.moveaxis(array, axis, 0)
    return moved.reshape((moved.shape[0], math.prod(array.shape[:axis]), *array.shape[axis + 1 :]))


def batch_first(array: Array, shape: tuple[int, ...]) -> Array:
    """From `(T, B, ...)` to `(*batch, T, ...)` with `shape = (*batch, T)`."""
    moved = jnp.moveaxis(array[: shape[-1]], 0, 1)
    return moved.reshape((*shape, *array.shape[2:]))


def presence(shape: tuple[int, ...], length: ArrayLike | None, mask: ArrayLike | None) -> Array:
    """Which steps are there, of shape `(*batch, T)`.

    Raises:
      TypeError: a length is no integer, or a mask not boolean.
      ValueError: both are given, a shape does not fit, or a concrete length is out of range.
    """
    if length is not None and mask is not None:
        raise ValueError(
            "length and mask say the same thing; got both. Pass the mask alone, or the length "
            "where padding stands at the end."
        )
    if mask is not None:
        mask = jnp.asarray(mask)
        if mask.dtype != bool:
            raise TypeError(
                f"mask must be boolean, True where a step is present; got dtype {mask.dtype}. "
                "Compare it with 0, or pass the number of steps as length."
            )
        if mask.shape != shape:
            raise ValueError(
                f"mask must have one entry a step, shape {shape}; got {mask.shape}. "
                "It has the shape of the scores without the axis of the states."
            )
        return mask
    if length is None:
        return jnp.ones(shape, bool)
    length = jnp.asarray(length)
    if not jnp.issubdtype(length.dtype, jnp.integer):
        raise TypeError(
            f"length must hold integers; got dtype {length.dtype}. Pass mask for a boolean array."
        )
    if length.shape not in ((), shape[:-1]):
        raise ValueError(
            f"length must be one number, or one a chain, shape {shape[:-1]}; got {length.shape}. "
            "Pass mask for one entry a step."
        )
    checks.require_values(
        "length",
        length,
        lambda v: (v >= 0) & (v <= shape[-1]),
        f"in 0..{shape[-1]}",
        "Count the steps of each chain.",
    )
    steps = jax.lax.broadcasted_iota(length.dtype, shape, len(shape) - 1)
    return steps < jnp.broadcast_to(length, shape[:-1])[..., None]


def _per_chain(name: str, scores: Array, batch: tuple[int, ...], states: int) -> Array:
    """Scores of shape (K,) or (*batch, K), as the latter.

    Raises:
      ValueError: they have another shape.
    """
    if scores.shape not in ((states,), (*batch, states)):
        raise ValueError(
            f"{name} must have one score a state, shape {(states,)} or {(*batch, states)}; got "
            f"{scores.shape}. Use jax.vmap for other batches."
        )
    return jnp.broadcast_to(scores, (*batch, states))


def _aligned(name: str, transition: Array, shape: tuple[int, ...], states: int) -> Array:
    """Transitions with the step that they lead into as leading axis, where they have one.

    Raises:
      ValueError: their shape does not fit.
    """
    batch, square = shape[:-1], (states, states)
    varying = (max(shape[-1] - 1, 0), *square)
    if transition.shape == square:
        return transition
    if transition.shape == varying:
        return jnp.concatenate([jnp.zeros((1, *square), transition.dtype), transition])
    if transition.shape == (*batch, *varying):
        moved = time_first(transition, 2)
        return jnp.concatenate([jnp.zeros((1, *moved.shape[1:]), moved.dtype), moved])
    raise ValueError(
        f"{name} must have shape {square}, or {varying} with one matrix for each pair of "
        f"neighbors, or {(*batch, *varying)}; got {transition.shape}. Entry [i, j] leads from i "
        "to j; use jax.vmap over chains with a matrix each."
    )
