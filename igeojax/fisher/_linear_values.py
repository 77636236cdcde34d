"""Values of a program whose every entry is one entry of the parameters, or zero.

What reshaping, transposing, slicing, joining or broadcasting makes of a parameter is followed by
what the same operation makes of the *numbers* of its entries.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

MOVES = frozenset({
    "broadcast_in_dim", "concatenate", "copy", "expand_dims", "pad", "reshape", "rev", "slice",
    "split", "squeeze", "stack", "tile", "transpose", "unstack",
})  # fmt: skip
"""Primitives that place the entries of their operands."""

SAME = frozenset({
    "convert_element_type", "optimization_barrier", "reduce_precision", "sharding_constraint",
})  # fmt: skip
"""Primitives that leave each entry where it is, and change it by rounding at most."""


@dataclasses.dataclass(frozen=True)
class LinearValue:
    """The numbers of the entries of the parameters that a value is made of.

    Args:
      numbers: of the shape of the value, after the axes of loops: entry k of all parameters laid
        end to end is number k + 1, and 0 is a zero.
      sliced: for each loop around the value, outermost first, whether each step has its own slice:
        an axis of the loop leads `numbers` then.
    """

    numbers: np.ndarray
    sliced: tuple[bool, ...] = ()


def leaf_values(leaves: Sequence[Any]) -> list[LinearValue]:
    """Each leaf of the parameters as a value."""
    values, start = [], 1
    for leaf in leaves:
        size = int(np.prod(leaf.shape))
        values.append(
            LinearValue(np.arange(start, start + size, dtype=np.int32).reshape(leaf.shape))
        )
        start += size
    return values


def moved(eqn: Any, operands: Sequence[Any]) -> list[LinearValue] | None:
    """What an equation of `MOVES` or `SAME` makes of the numbers, a value for each output.

    None where that is no linear value: an operand is neither one nor a zero, or one has slices of
    its own in other loops than another.

    Args:
      eqn: the equation.
      operands: a `LinearValue`, a constant, or None for each.
    """
    if eqn.primitive.name in SAME:
        floating = jnp.issubdtype(eqn.outvars[0].aval.dtype, jnp.floating)
        return [operands[0]] if floating and len(operands) == 1 else None
    loops = {x.sliced for x in operands if isinstance(x, LinearValue)}
    if len(loops) > 1:
        return None
    (sliced,) = loops
    arrays, axes = [], []
    for operand in operands:
        if isinstance(operand, LinearValue):
            arrays.append(operand.numbers)
        elif _is_zero(operand):
            arrays.append(np.zeros(np.shape(operand)))
        else:
            return None
        axes.append(0 if isinstance(operand, LinearValue) else None)

    def move(*xs: Any) -> Any:
        return eqn.primitive.bind(*xs, **eqn.params)

    for _ in range(sum(sliced)):
        move = jax.vmap(move, tuple(axes))
    with jax.ensure_compile_time_eval():
        found = move(*(jnp.asarray(a, jnp.int32) for a in arrays))
    outputs = found if isinstance(found, list | tuple) else [found]
    return [LinearValue(np.asarray(one), sliced) for one in outputs]


def _is_zero(operand: Any) -> bool:
    """Whether a constant is known to be zero; one that is traced, or None, is not."""
    try:
        return operand is not None and not np.any(np.asarray(operand))
    except jax.errors.TracerArrayConversionError:
        return False


def is_selection(numbers: np.ndarray) -> bool:
    """Whether each entry of the parameters is there at most once, and no zero."""
    if not numbers.size or numbers.min() <= 0:
        return False
    return int(np.bincount(numbers.ravel() - numbers.min()).max()) == 1
