"""Laws of the hidden states: which moves are allowed, the stationary law, and their M-step."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float

from igeojax._core import checks
from igeojax.numerics.safe import log_at_zero

HALVINGS = 40
"""Times that a step of the M-step with a stationary start may be halved."""


def left_right(num_states: int, *, most: int = 1) -> Bool[np.ndarray, "states states"]:
    """Transition mask of a chain that stays or goes on, by at most `most` states at once.

    Args:
      num_states: number of states.
      most: states that a move may go forward.

    Returns:
      Booleans `[from, to]`.

    Raises:
      TypeError: a size is not an integer.
      ValueError: it is below 1.

    References:
      [Rabiner1989] section IV.A.

    Examples:
      >>> left_right(3).astype(int).tolist()
      [[1, 1, 0], [0, 1, 1], [0, 0, 1]]
    """
    checks.require_count("num_states", num_states)
    checks.require_count("most", most)
    ones = np.ones((num_states, num_states), bool)
    return np.triu(ones) & np.tril(ones, most)


def static_mask(name: str, mask: Any, shape: tuple[int, ...]) -> Any:
    """A boolean array as nested tuples, a hashable part of the description; None stays None.

    Raises:
      TypeError: it is not boolean.
      ValueError: a wrong shape, or a row that allows nothing.
    """
    if mask is None:
        return None
    array = np.asarray(mask)
    if array.dtype != bool:
        raise TypeError(
            f"{name} must be boolean, True where allowed; got dtype {array.dtype}. Compare with 0."
        )
    if array.shape != shape:
        raise ValueError(f"{name} must have shape {shape}; got {array.shape}. One entry a state.")
    checks.require_values(
        f"the rows of {name}",
        array.any(axis=-1),
        lambda row: row,
        "True somewhere",
        "Each state needs a following one: allow it to stay.",
    )
    return tuple(map(tuple, array.tolist())) if array.ndim == 2 else tuple(array.tolist())


def is_irreducible(mask: Any) -> bool:
    """Whether each state leads to each other one."""
    reach = np.asarray(mask, int)
    size = len(reach)
    for _ in range(max(size - 1, 1).bit_length()):
        reach = ((reach + np.eye(size, dtype=int)) @ (reach + np.eye(size, dtype=int)) > 0) * 1
    return bool(reach.all())


@jax.jit
def stationary_law(transition: Float[Array, "K K"]) -> Float[Array, " K"]:
    """The law that the transitions keep, of an irreducible chain, by elimination of states.

    Grassmann, Taksar and Heyman: nothing is subtracted, so small probabilities keep their digits.
    """
    size = transition.shape[0]
    index = jnp.arange(size)

    def eliminated(matrix: Array, state: Array) -> tuple[Array, Array]:
        below = index < state
        leaving = jnp.sum(jnp.where(below, matrix[state], 0.0))
        into = jnp.where(below, matrix[:, state] / leaving, 0.0)
        row = jnp.where(below, matrix[state], 0.0)
        return matrix + into[:, None] * row[None, :], into

    _, into = jax.lax.scan(eliminated, transition, jnp.arange(size - 1, 0, -1))

    def added(law: Array, step: tuple[Array, Array]) -> tuple[Array, None]:
        state, column = step
        return jnp.where(index == state, jnp.sum(law * column), law), None

    first = jnp.zeros(size, transition.dtype).at[0].set(1.0)
    law, _ = jax.lax.scan(added, first, (jnp.arange(1, size), into[::-1]))
    return law / jnp.sum(law)


def normalized(counts: Array, allowed: Array, previous: Array) -> Array:
    """Rows of counts as probabilities; rows without any keep the previous ones."""
    counts = jnp.where(allowed, counts, 0.0)
    total = jnp.sum(counts, axis=-1, keepdims=True)
    return jnp.where(total > 0, counts / jnp.where(total > 0, total, 1.0), previous)


@jax.jit
def stationary_step(initial: Array, counts: Array, transition: Array) -> Array:
    """Transitions of larger `sum_i n_i log law_i + sum_ij N_ij log A_ij`, law the stationary one.

    There is no closed form: one natural-gradient step in mean coordinates, which with `n = 0` is
    the M-step itself, halved until the value does not fall.
    """

    def value(transition: Array) -> Array:
        law = stationary_law(transition)
        start = jnp.sum(jnp.where(initial > 0, initial * log_at_zero(law), 0.0))
        return start + jnp.sum(jnp.where(counts > 0, counts * log_at_zero(transition), 0.0))

    before, slope = jax.value_and_grad(value)(transition)
    slope = jnp.where(transition > 0, slope, 0.0)
    mean = jnp.sum(transition * slope, axis=1, keepdims=True)
    scale = jnp.sum(counts, axis=1) + jnp.sum(initial) * stationary_law(transition)
    scale = scale[:, None]
    step = transition * (slope - mean) / jnp.where(scale > 0, scale, 1.0)

    def moved(size: Array) -> Array:
        new = transition + size * step
        return new / jnp.sum(new, axis=1, keepdims=True)

    def is_good(new: Array) -> Array:
        return jnp.all(new >= 0) & (value(new) >= before)

    def halve(carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        size, _, count = carry
        return 0.5 * size, is_good(moved(0.5 * size)), count + 1

    one = jnp.ones((), transition.dtype)
    size, good, _ = jax.lax.while_loop(
        lambda carry: ~carry[1] & (carry[2] < HALVINGS),
        halve,
        (one, is_good(moved(one)), jnp.zeros((), int)),
    )
    return jnp.where(good, moved(size), transition)
