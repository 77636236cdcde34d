"""The ways in which a program uses parameters linearly, each brought to one form.

A use of parameters `W` computes `y = W(x)`, linear in `W`, and its gradient is brought to
`dW[s, i, o] = sum_r a[s, r, i] g[s, r, o]`: with groups s that have parameters of their own (of a
grouped convolution, of layers in a loop), positions r that share them (tokens, pixels, time), and
the features i of what comes in and o of what goes out.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax.fisher._linear_values import LinearValue

Form = Callable[[Array], Array]


@dataclasses.dataclass(frozen=True)
class Use:
    """One use of parameters.

    Args:
      path: of the equation in the program: indices of equations, from the outermost.
      kind: "dense", "convolution", "embedding", "scale" or "shift".
      numbers: of the parameters, `(S, I, O)`.
      operand: which operand of the equation is the activation; None where it is a constant one.
      tap: shape and dtype of the output of the equation, after the axes of loops.
      activation: brings that operand to `(S, R, I)`; to integers `(S, R)` for an embedding.
      cotangent: brings the cotangent of the output to `(S, R, O)`.
      negative: whether the parameters enter with a minus.
      shift: numbers `(S, O)` of shifts of the outputs, which count as parameters of one more
        feature, always 1.
    """

    path: tuple[int, ...]
    kind: str
    numbers: np.ndarray
    operand: int | None
    tap: jax.ShapeDtypeStruct
    activation: Form
    cotangent: Form
    negative: bool = False
    shift: np.ndarray | None = None

    @property
    def all_numbers(self) -> np.ndarray:
        """Of the parameters with the shifts, `(S, I + 1, O)`, or without, `(S, I, O)`."""
        if self.shift is None:
            return self.numbers
        return np.concatenate([self.numbers, self.shift[:, None, :]], axis=1)


def found_use(
    eqn: Any,
    which: int,
    value: LinearValue,
    *,
    path: tuple[int, ...],
    lengths: tuple[int, ...],
) -> Use | None:
    """The use that an equation makes of a linear value, its operand `which`; None where it is none.

    Args:
      eqn: the equation.
      which: index of the operand that is the value; the others are not linear in parameters.
      value: the linear value.
      path: of the equation.
      lengths: of the loops around it, outermost first.
    """
    forms = _FORMS.get(eqn.primitive.name, lambda *_: None)(eqn, which)
    if forms is None:
        return None
    kind, parameter, operand, activation, cotangent, negative = forms
    own = [length for length, one in zip(lengths, value.sliced, strict=True) if one]
    inner = value.numbers.reshape((math.prod(own), *value.numbers.shape[len(own) :]))
    numbers = np.concatenate([parameter(piece) for piece in inner])
    for grouped in reversed(value.sliced):
        activation, cotangent = _looped(activation, grouped), _looped(cotangent, grouped)
    out = eqn.outvars[0].aval
    tap = jax.ShapeDtypeStruct((*lengths, *out.shape), out.dtype)
    return Use(path, kind, numbers, operand, tap, activation, cotangent, negative)


def _looped(form: Form, grouped: bool) -> Form:
    """The form of a use inside a loop: its steps are groups of their own, or share parameters."""

    def looped(value: Array) -> Array:
        image = jax.vmap(form)(value)
        if grouped:
            return image.reshape((-1, *image.shape[2:]))
        image = jnp.moveaxis(image, 0, 1)
        return image.reshape((image.shape[0], -1, *image.shape[3:]))

    return looped


def _grouped(value: Any, groups: tuple[int, ...], rows: tuple[int, ...], rest: tuple[int, ...]):
    """An array with its axes as `(groups, rows, rest)`, each a product."""
    sizes = [math.prod(value.shape[axis] for axis in axes) for axes in (groups, rows, rest)]
    return value.transpose((*groups, *rows, *rest)).reshape(sizes)


def _dense(eqn: Any, which: int) -> Any:
    contracted, batched = eqn.params["dimension_numbers"]
    other = 1 - which
    ranks = [len(v.aval.shape) for v in eqn.invars]
    free = [
        tuple(a for a in range(ranks[k]) if a not in (*contracted[k], *batched[k])) for k in (0, 1)
    ]
    groups = len(batched[0])
    # The output has the batch axes, then the free ones of the left, then those of the right.
    left = tuple(range(groups, groups + len(free[0])))
    right = tuple(range(groups + len(free[0]), groups + len(free[0]) + len(free[1])))
    rows, rest = (left, right) if which == 1 else (right, left)
    kept = tuple(batched[which]), tuple(contracted[which]), free[which]
    parameter = lambda numbers: _grouped(numbers, *kept)
    seen = tuple(batched[other]), free[other], tuple(contracted[other])
    activation = lambda value: _grouped(value, *seen)
    cotangent = lambda value: _grouped(value, tuple(range(groups)), rows, rest)
    return "dense", parameter, other, activation, cotangent, False


def _convolution(eqn: Any, which: int) -> Any:
    params = eqn.params
    if which != 1 or params["batch_group_count"] != 1:
        return None
    numbers = params["dimension_numbers"]
    kernel_spec, out_spec = tuple(numbers.rhs_spec), tuple(numbers.out_spec)
    groups = params["feature_group_count"]
    kernel = eqn.invars[1].aval.shape
    window = tuple(kernel[axis] for axis in kernel_spec[2:])
    outputs, features = kernel[kernel_spec[0]], kernel[kernel_spec[1]] * math.prod(window)

    def parameter(array: np.ndarray) -> np.ndarray:
        ordered = array.transpose(kernel_spec).reshape((groups, outputs // groups, features))
        return ordered.swapaxes(1, 2)

    def split(value: Array) -> Array:
        """`(N, C, ...)` as `(S, N ..., C / S)`."""
        shape = (value.shape[0], groups, value.shape[1] // groups, -1)
        return value.reshape(shape).transpose((1, 0, 3, 2)).reshape((groups, -1, shape[2]))

    def activation(value: Array) -> Array:
        patches = jax.lax.conv_general_dilated_patches(
            value,
            window,
            params["window_strides"],
            params["padding"],
            params["lhs_dilation"],
            params["rhs_dilation"],
            dimension_numbers=numbers,
            # Copies are to be exact.
            precision=jax.lax.Precision.HIGHEST,
        )
        return split(patches.transpose(out_spec))

    cotangent = lambda value: split(value.transpose(out_spec))
    return "convolution", parameter, 0, activation, cotangent, False


def _is_table(shape: tuple[int, ...]) -> bool:
    """Whether rows are vectors, not matrices, whose factor would be their size squared."""
    return len(shape) == 2 or math.prod(shape[1:]) <= 256


def _embedding(eqn: Any, which: int) -> Any:
    table = eqn.invars[0].aval.shape
    numbers = eqn.params["dimension_numbers"]
    sizes = tuple(eqn.params["slice_sizes"])
    whole_rows = (
        which == 0
        and tuple(numbers.collapsed_slice_dims) == tuple(numbers.start_index_map) == (0,)
        and not numbers.operand_batching_dims
        and sizes == (1, *table[1:])
        and _is_table(table)
    )
    if not whole_rows:
        return None
    rest = tuple(numbers.offset_dims)
    rank = len(eqn.outvars[0].aval.shape)
    rows = tuple(axis for axis in range(rank) if axis not in rest)
    clipped = "clip" in str(eqn.params["mode"]).lower()

    def activation(value: Array) -> Array:
        index = value.reshape((1, -1))
        if clipped:
            return jnp.clip(index, 0, table[0] - 1)
        return jnp.where(index < 0, table[0], index)  # outside, not counted from the end

    parameter = lambda array: array.reshape((1, table[0], -1))
    cotangent = lambda value: _grouped(value, (), rows, rest)[None].reshape(
        (1, -1, math.prod(table[1:]))
    )
    return "embedding", parameter, 1, activation, cotangent, False


def _row(eqn: Any, which: int) -> Any:
    """A dynamic slice of one row."""
    table = eqn.invars[0].aval.shape
    whole_row = tuple(eqn.params["slice_sizes"]) == (1, *table[1:])
    if which != 0 or not whole_row or not _is_table(table):
        return None
    parameter = lambda array: array.reshape((1, table[0], -1))
    activation = lambda value: jnp.clip(value.reshape((1, 1)), 0, table[0] - 1)
    cotangent = lambda value: value.reshape((1, 1, -1))
    return "embedding", parameter, 1, activation, cotangent, False


def _elementwise(kind: str) -> Callable[[Any, int], Any]:
    def forms(eqn: Any, which: int) -> Any:
        name = eqn.primitive.name
        if name == "div" and which != 0:
            return None
        shape = eqn.outvars[0].aval.shape
        flat = lambda value: jnp.broadcast_to(value, shape).reshape((-1, 1, 1))
        operand = 1 - which if kind == "scale" else None
        activation = (lambda value: 1 / flat(value)) if name == "div" else flat
        parameter = lambda numbers: np.broadcast_to(numbers, shape).reshape((-1, 1, 1))
        return kind, parameter, operand, activation, flat, name == "sub" and which == 1

    return forms


_FORMS: dict[str, Callable[[Any, int], Any]] = {
    "dot_general": _dense,
    "conv_general_dilated": _convolution,
    "gather": _embedding,
    "dynamic_slice": _row,
    "mul": _elementwise("scale"),
    "div": _elementwise("scale"),
    "add": _elementwise("shift"),
    "add_any": _elementwise("shift"),
    "sub": _elementwise("shift"),
}
