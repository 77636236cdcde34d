"""How the parameters of a model are divided into blocks of its Fisher matrix."""

import dataclasses
import functools
import itertools
import math
from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax._core import checks
from igeojax.fisher._arguments import require_examples, require_floating
from igeojax.fisher._capture import Capture, Program, capture_of, program_of, tapped_outputs
from igeojax.fisher._linear_values import is_selection
from igeojax.fisher._uses import Use

MATRIX_KINDS = ("dense", "convolution", "embedding")


@dataclasses.dataclass(frozen=True, eq=False)
class Piece:
    """Entries of the parameters as an array.

    Args:
      numbers: of the entries, from 0, over all leaves laid end to end; any shape.
      leaf: the leaf that holds them all and nothing else, transposed by `order` and reshaped; or
        None, and the entries are gathered.
      order: an order of the axes of that leaf.
    """

    numbers: np.ndarray
    leaf: int | None
    order: tuple[int, ...]

    def read(self, leaves: Sequence[Array]) -> Array:
        """The entries."""
        if self.leaf is None:
            return _joined(leaves)[self.numbers]
        return leaves[self.leaf].transpose(self.order).reshape(self.numbers.shape)


def _joined(leaves: Sequence[Array]) -> Array:
    return jnp.concatenate([leaf.ravel() for leaf in leaves])


@dataclasses.dataclass(frozen=True)
class MatrixUse:
    """A use of the matrices of a block.

    Args:
      index: of the use in the capture.
      groups: which of its groups, one for each matrix of the block; None for all in order.
      swapped: whether it uses the transposed matrices.
    """

    index: int
    groups: tuple[int, ...] | None
    swapped: bool


@dataclasses.dataclass(frozen=True, eq=False)
class Block:
    """A diagonal block of the Fisher matrix.

    Args:
      kind: "kronecker": matrices, each use of which is a product with features;
        "dense" and "diagonal": entries used in other ways; "unused": entries without a use.
      pieces: the entries: of shape `(S, I, O)` for matrices, to be joined on axis 1; else `(P,)`.
      uses: of matrices.
      diagonal: for matrices, whether the factors of their rows and columns are diagonal.
    """

    kind: Literal["kronecker", "dense", "diagonal", "unused"]
    pieces: tuple[Piece, ...]
    uses: tuple[MatrixUse, ...] = ()
    diagonal: tuple[bool, bool] = (False, False)

    @property
    def shape(self) -> tuple[int, ...]:
        """`(S, I, O)` of matrices, else `(P,)`."""
        shapes = [piece.numbers.shape for piece in self.pieces]
        if self.kind != "kronecker":
            return (sum(shape[0] for shape in shapes),)
        return (shapes[0][0], sum(shape[1] for shape in shapes), shapes[0][2])

    def read(self, tree: Any) -> Array:
        """The entries of a pytree like the parameters that belong to the block, of its `shape`."""
        leaves = jax.tree.leaves(tree)
        parts = [piece.read(leaves) for piece in self.pieces]
        axis = 1 if self.kind == "kronecker" else 0
        return parts[0] if len(parts) == 1 else jnp.concatenate(parts, axis)


@dataclasses.dataclass(frozen=True, eq=False)
class Layout:
    """The blocks of a model, and what taps the uses of its parameters.

    Args:
      program: of one example.
      capture: the uses.
      blocks: a partition of all entries of the parameters.
      shapes: of the parameters, a pytree.
    """

    program: Program
    capture: Capture
    blocks: tuple[Block, ...]
    shapes: Any

    def write(self, values: Sequence[Array]) -> Any:
        """A pytree like the parameters from the entries of each block, the reverse of `read`."""
        leaves, tree = jax.tree.flatten(self.shapes)
        found: dict[int, Array] = {}
        scattered, total = [], sum(math.prod(leaf.shape) for leaf in leaves)
        for block, value in zip(self.blocks, values, strict=True):
            axis = 1 if block.kind == "kronecker" else 0
            ends = list(itertools.accumulate(p.numbers.shape[axis] for p in block.pieces))[:-1]
            for piece, part in zip(block.pieces, jnp.split(value, ends, axis), strict=True):
                if piece.leaf is None:
                    scattered.append((piece.numbers, part))
                else:
                    shape = leaves[piece.leaf].shape
                    moved = part.reshape([shape[axis] for axis in piece.order])
                    found[piece.leaf] = moved.transpose(np.argsort(piece.order))
        if scattered:
            vector = jnp.zeros(total, jnp.result_type(*values))
            for numbers, part in scattered:
                vector = vector.at[numbers].set(part)
            ends = list(itertools.accumulate(math.prod(leaf.shape) for leaf in leaves))[:-1]
            pieces = jnp.split(vector, ends)
            for index, leaf in enumerate(leaves):
                found.setdefault(index, pieces[index].reshape(leaf.shape))
        for index, leaf in enumerate(leaves):
            if not math.prod(leaf.shape):
                found[index] = jnp.zeros(leaf.shape)
        return tree.unflatten([found[k].astype(leaf.dtype) for k, leaf in enumerate(leaves)])

    def taps(
        self, params: Any, example: Any, cotangents: Callable[[Any], Any]
    ) -> tuple[list[Array], list[Array], Any]:
        """What the uses see in one example, and the cotangents of their outputs.

        Args:
          params: the parameters.
          example: one example, without the axis of examples.
          cotangents: from the outputs of the example, K cotangents on them, stacked on axis 0.

        Returns:
          For each use its activations, of shape `(S, R, I)` (integers `(S, R)` for an embedding,
          without the constant feature of shifts) and cotangents `(K, S, R, O)`; and K gradients of
          the leaves that are used whole, a list.
        """
        leaves = jax.tree.leaves(params)
        uses, whole = self.capture.uses, sorted(self.capture.whole)
        taps = [jnp.zeros(use.tap.shape, use.tap.dtype) for use in uses]

        def outputs(taps: Any, moved: Any) -> Any:
            given = list(leaves)
            for index, leaf in zip(whole, moved, strict=True):
                given[index] = leaf
            return tapped_outputs(self.program, self.capture, given, taps, example)

        moved = [leaves[index] for index in whole]
        theta, pull, seen = jax.vjp(outputs, taps, moved, has_aux=True)
        pulled, gradients = jax.vmap(pull)(cotangents(theta))
        forms = [jax.vmap(use.cotangent)(c) for use, c in zip(uses, pulled, strict=True)]
        return [_activation(*pair) for pair in zip(uses, seen, taps, strict=True)], forms, gradients


def _activation(use: Use, seen: Array, tap: Array) -> Array:
    if use.operand is not None:
        return use.activation(seen)
    ones = jnp.full(tap.shape, -1.0 if use.negative else 1.0, tap.dtype)
    return use.activation(ones)


def layout_of(
    predict: Callable[[Any, Any], Any],
    params: Any,
    inputs: Any,
    *,
    dense_limit: int = 256,
    factor_limit: int = 4096,
) -> Layout:
    """Divides the parameters of a model into blocks, from shapes alone.

    Args:
      predict: `predict(params, inputs)`, examples independent.
      params: parameters, or their shapes.
      inputs: inputs with the examples on axis 0, or their shapes.
      dense_limit: entries of a leaf up to which a block without factors is dense.
      factor_limit: rows up to which a Kronecker factor is dense, not diagonal.
    """
    checks.require_count("dense_limit", dense_limit, 0)
    checks.require_count("factor_limit", factor_limit, 0)
    require_floating(params)
    require_examples("inputs", inputs)
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(jnp.shape(x), jnp.result_type(x)), params)
    leaves = jax.tree.leaves(shapes)
    program = program_of(predict, shapes, inputs)
    capture = capture_of(program, leaves)
    sizes = [math.prod(leaf.shape) for leaf in leaves]
    starts = [0, *itertools.accumulate(sizes)][:-1]
    piece = functools.partial(_piece, leaves=leaves, starts=starts)
    blocks = []
    left = np.ones(sum(sizes), bool)
    for uses, parts in _matrices(capture, left.size):
        diagonal = _diagonal_sides(capture, uses, parts, factor_limit)
        blocks.append(Block("kronecker", tuple(map(piece, parts)), uses, diagonal))
        for numbers in parts:
            left[numbers] = False
    used = np.zeros_like(left)
    for use in capture.uses:
        used[use.all_numbers[use.all_numbers > 0] - 1] = True
    for index, (start, size) in enumerate(zip(starts, sizes, strict=True)):
        here = np.arange(start, start + size)
        seen = used[here] | (index in capture.whole)
        idle, rest = here[~seen], here[seen & left[here]]
        if idle.size:
            blocks.append(Block("unused", (piece(idle),)))
        if rest.size:
            dense = rest.size <= dense_limit
            blocks.append(Block("dense" if dense else "diagonal", (piece(rest),)))
    return Layout(program, capture, tuple(blocks), shapes)


def _piece(numbers: np.ndarray, leaves: Sequence[Any], starts: Sequence[int]) -> Piece:
    """Entries as a transposed leaf where they are one, else gathered."""
    first = int(numbers.min())
    index = int(np.searchsorted(starts, first, "right")) - 1
    shape = leaves[index].shape
    if first == starts[index] and numbers.size == math.prod(shape):
        own = np.arange(first, first + numbers.size).reshape(shape)
        # Axes of length 1 may stay where they are.
        orders = itertools.permutations(range(len(shape)))
        for order in itertools.islice(orders, 720):  # the identity first, all of six axes
            if np.array_equal(own.transpose(order).ravel(), numbers.ravel()):
                return Piece(numbers, index, order)
    return Piece(numbers, None, ())


def _matrices(capture: Capture, total: int) -> list[tuple[tuple[MatrixUse, ...], list[np.ndarray]]]:
    """The matrices that are used by products with features alone, with all their uses.

    Those with the same uses make one block. Numbers are from 0.
    """
    found: dict[Any, list[tuple[int, int]]] = {}
    barred = np.zeros(total + 1, bool)
    for index, use in enumerate(capture.uses):
        if use.kind in MATRIX_KINDS and is_selection(use.all_numbers):
            for group, matrix in enumerate(use.all_numbers):
                found.setdefault(_set_of(matrix), []).append((index, group))
        else:
            barred[use.all_numbers] = True
    count = np.zeros(total + 1, np.int32)
    matrix_of = lambda index, group: capture.uses[index].all_numbers[group]
    for seen in found.values():
        count[matrix_of(*seen[0])] += 1
    barred |= count > 1  # entries of matrices that overlap without being the same
    blocks: dict[tuple[tuple[int, bool], ...], list[tuple[int, ...]]] = {}
    for seen in found.values():
        first = matrix_of(*seen[0])
        same = [np.array_equal(first, matrix_of(*use)) for use in seen]
        turned = [np.array_equal(first, matrix_of(*use).T) for use in seen]
        if not barred[first].any() and all(map(np.logical_or, same, turned)):
            signature = tuple((index, not one) for (index, _), one in zip(seen, same, strict=True))
            blocks.setdefault(signature, []).append(tuple(group for _, group in seen))
    result = []
    for signature, groups in blocks.items():
        uses = []
        for (index, swapped), own in zip(signature, zip(*groups, strict=True), strict=True):
            every = own == tuple(range(capture.uses[index].numbers.shape[0]))
            uses.append(MatrixUse(index, None if every else own, swapped))
        use, own = capture.uses[signature[0][0]], [group[0] for group in groups]
        parts = [use.numbers[own] - 1]
        if use.shift is not None:
            parts.append(use.shift[own][:, None, :] - 1)
        result.append((tuple(uses), parts))
    return result


def _set_of(numbers: np.ndarray) -> Any:
    """A key that is equal for equal sets of different numbers."""
    first, last = int(numbers.min()), int(numbers.max())
    if last - first + 1 == numbers.size:
        return first, last
    return np.sort(numbers, axis=None).tobytes()


def _diagonal_sides(
    capture: Capture, uses: Sequence[MatrixUse], parts: Sequence[np.ndarray], limit: int
) -> tuple[bool, bool]:
    sizes = sum(part.shape[1] for part in parts), parts[0].shape[2]
    # One-hot features have a diagonal second moment.
    hot = [capture.uses[use.index].kind == "embedding" for use in uses]
    plain = all(hot) and not any(use.swapped for use in uses) and len(parts) == 1
    swapped = all(hot) and all(use.swapped for use in uses)
    return sizes[0] > limit or plain, sizes[1] > limit or swapped
