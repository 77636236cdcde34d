"""Second moments of what the uses of parameters see, linear in the examples."""

from collections.abc import Callable, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax.fisher._layout import Block, Layout, MatrixUse
from igeojax.fisher.output import widened

Sharing = Literal["expand", "reduce"]


def seen_by_uses(
    layout: Layout,
    params: Any,
    weights: Array,
    inputs: Any,
    extra: Any,
    cotangents: Callable[[Any, Any], Any],
) -> tuple[list[Array], list[Array], list[Array]]:
    """What the uses see in each example: `Layout.taps`, with an axis of examples first.

    Args:
      layout: of the model.
      params: the parameters.
      weights: of each output, `(N, ...)`; cotangents are scaled by their roots.
      inputs: pytree of arrays with the examples on axis 0.
      extra: likewise; what `cotangents` takes.
      cotangents: `cotangents(theta, extra)` of one example, of batch shape `(1, ...)`, K cotangents
        stacked on axis 0.

    Returns:
      Activations, cotangents and gradients as in `Layout.taps`, `(N, ...)`; floating ones at least
      in float32.
    """
    root = jnp.where(weights > 0, jnp.sqrt(jnp.where(weights > 0, weights, 1.0)), 0.0)

    def of_example(root: Array, example: Any, extra: Any) -> Any:
        def scaled(theta: Any) -> Any:
            scores = cotangents(jax.tree.map(lambda leaf: leaf[None], theta), extra)

            def one(score: Array, at: Array) -> Array:
                score = score[:, 0]
                weight = root.reshape((1, *root.shape) + (1,) * (score.ndim - 1 - root.ndim))
                return (score * weight).astype(at.dtype)

            return jax.tree.map(one, scores, theta)

        return layout.taps(params, example, scaled)

    seen = jax.vmap(of_example)(root, inputs, extra)
    return jax.tree.map(lambda x: widened(x) if jnp.issubdtype(x.dtype, jnp.floating) else x, seen)


def chosen_groups(array: Array, axis: int, groups: tuple[int, ...] | None) -> Array:
    """The groups of a use that a block takes; None takes all in order."""
    return array if groups is None else jnp.take(array, jnp.asarray(groups), axis)


def features(layout: Layout, use: MatrixUse, activation: Array) -> Array:
    """Features `(N, S, R, I)` of a use, with the constant one of shifts; one-hot written out."""
    found = layout.capture.uses[use.index]
    activation = chosen_groups(activation, 1, use.groups)
    dtype = found.tap.dtype
    if found.kind == "embedding":
        activation = jax.nn.one_hot(activation, found.numbers.shape[1], dtype=dtype)
    if found.shift is not None:
        ones = jnp.ones((*activation.shape[:-1], 1), activation.dtype)
        activation = jnp.concatenate([activation, ones], -1)
    return activation


def _moment(rows: Array, scale: Array | None, diagonal: bool) -> Array:
    """`sum_m scale_m rows_m rows_m^T` of rows `(S, M, D)`."""
    left = rows if scale is None else rows * scale[None, :, None]
    if diagonal:
        return jnp.sum(left * rows, axis=1)
    return jnp.einsum("smi,smj->sij", left, rows)


def position_weights(weights: Array, count: int) -> Array:
    """Weights `(N, R)` of the positions of a use, whose sum over R is the mean over the outputs.

    Where there are as many positions as outputs, as in a layer that is applied to each token, they
    have the weights of the outputs: what is masked there does not count.
    """
    outputs = weights.reshape((weights.shape[0], -1))
    if outputs.shape[1] == count:
        return outputs / count
    mean = jnp.mean(outputs, axis=1, keepdims=True)
    return jnp.broadcast_to(mean / count, (weights.shape[0], count))


def kronecker_moments(
    layout: Layout,
    block: Block,
    weights: Array,
    activations: Sequence[Array],
    cotangents: Sequence[Array],
    sharing: Sharing,
) -> list[tuple[Array, Array]]:
    """For each use of a block `sum_n sum_r w_nr a a^T` and `sum_n sum_k sum_r g g^T`.

    With `sharing="reduce"` the features are averaged, and the cotangents summed, over the positions
    that share the matrices before their squares are taken. Not swapped yet.

    Args:
      layout: of the model.
      block: of Kronecker kind.
      weights: of each output, `(N, ...)`.
      activations: of all uses, from `seen_by_uses`.
      cotangents: of all uses.
      sharing: how positions are summed over.
    """
    found = []
    for use in block.uses:
        sides = block.diagonal[::-1] if use.swapped else block.diagonal
        incoming, outgoing = (
            activations[use.index],
            chosen_groups(cotangents[use.index], 2, use.groups),
        )
        kind = layout.capture.uses[use.index].kind
        positions = outgoing.shape[3]
        hot = kind == "embedding" and sides[0] and sharing == "expand"
        scale = position_weights(weights, positions)
        if sharing == "reduce":
            outgoing = jnp.sum(outgoing, axis=3, keepdims=True)
        # (N, K, S, R, O) to (S, M, O)
        outgoing = jnp.moveaxis(outgoing, 2, 0)
        outgoing = outgoing.reshape((outgoing.shape[0], -1, outgoing.shape[-1]))
        second = _moment(outgoing, None, sides[1])
        if hot:
            index = chosen_groups(incoming, 1, use.groups)
            size = layout.capture.uses[use.index].numbers.shape[1]
            share = jnp.broadcast_to(scale[:, None, :], index.shape)
            counts = jnp.zeros((index.shape[1], size), second.dtype)
            group = jnp.arange(index.shape[1])[None, :, None]
            first = counts.at[group, index].add(share.astype(second.dtype), mode="drop")
        else:
            rows = features(layout, use, incoming)
            scale = scale.astype(rows.dtype)
            if sharing == "reduce":
                total = jnp.sum(scale, axis=1, keepdims=True)
                share = scale / jnp.where(total > 0, total, 1.0)
                rows, scale = jnp.einsum("nsri,nr->nsi", rows, share)[:, :, None], total
            rows = jnp.moveaxis(rows, 1, 0)
            rows = rows.reshape((rows.shape[0], -1, rows.shape[-1]))
            first = _moment(rows, scale.ravel(), sides[0])
        found.append((first, second))
    return found


def trace_of(factor: Array, diagonal: bool) -> Array:
    """Traces of a stack of factors."""
    return jnp.sum(factor if diagonal else jnp.diagonal(factor, axis1=-2, axis2=-1), axis=-1)


def kronecker_product(block: Block, moments: Sequence[tuple[Array, Array]]) -> tuple[Array, Array]:
    """One Kronecker product for the sum of those of the uses of a block.

    Its partial traces are those of the sum; exact for one use.
    """
    if len(block.uses) == 1 and not block.uses[0].swapped:
        return moments[0]
    pairs = [
        pair[::-1] if use.swapped else pair for use, pair in zip(block.uses, moments, strict=True)
    ]
    traces = [tuple(map(trace_of, pair, block.diagonal)) for pair in pairs]
    total = sum(a * g for a, g in traces)
    safe = jnp.where(total > 0, total, 1.0)

    def spread(factor: Array, share: Array) -> Array:
        return factor * share.reshape(share.shape + (1,) * (factor.ndim - 1))

    first = sum(spread(a, g) for (a, _), (_, g) in zip(pairs, traces, strict=True))
    second = sum(spread(g, a / safe) for (_, g), (a, _) in zip(pairs, traces, strict=True))
    return jnp.asarray(first), jnp.asarray(second)


def squared_gradients(
    layout: Layout,
    block: Block,
    activations: Sequence[Array],
    cotangents: Sequence[Array],
    turned: Callable[[Array, int], Array],
) -> Array:
    """Squares of the gradients in the matrices of a block, summed over examples, `(S, I, O)`.

    Gradients are summed over uses and positions before they are squared.

    Args:
      layout: of the model.
      block: of Kronecker kind.
      activations: of all uses, from `seen_by_uses`.
      cotangents: of all uses.
      turned: brings `(..., S, R, D)` into a basis of the rows (side 0) or columns (side 1).
    """
    pairs = []
    for use in block.uses:
        rows = turned(features(layout, use, activations[use.index]), int(use.swapped))
        outgoing = chosen_groups(cotangents[use.index], 2, use.groups)
        pairs.append((rows, turned(outgoing, 1 - int(use.swapped))))
    rows, outgoing = pairs[0]
    if len(pairs) == 1 and rows.shape[2] == 1 and not block.uses[0].swapped:
        # A gradient is one outer product: its square is that of the squares.
        sums = jnp.sum(outgoing**2, axis=1)
        return jnp.einsum("nsri,nsro->sio", rows**2, sums)
    parts = [
        jnp.einsum("nsri,nksro->nksoi" if use.swapped else "nsri,nksro->nksio", *pair)
        for use, pair in zip(block.uses, pairs, strict=True)
    ]
    return jnp.sum(sum(parts[1:], start=parts[0]) ** 2, axis=(0, 1))


def entry_gradients(
    layout: Layout,
    block: Block,
    activations: Sequence[Array],
    cotangents: Sequence[Array],
    whole: Sequence[Array],
) -> Array:
    """Gradients of each example and cotangent in the entries of a block, `(N, K, P)`."""
    (piece,) = block.pieces
    indices = sorted(layout.capture.whole)
    if piece.leaf in indices:
        gradient = whole[indices.index(piece.leaf)]
        order = (0, 1, *(axis + 2 for axis in piece.order))
        return gradient.transpose(order).reshape((*gradient.shape[:2], -1))
    size = piece.numbers.size
    parts = []
    for index, use in enumerate(layout.capture.uses):
        place = np.searchsorted(piece.numbers, use.all_numbers.ravel() - 1)
        place = np.where(
            np.append(piece.numbers, -1)[place] == use.all_numbers.ravel() - 1, place, size
        )
        if np.all(place == size):
            continue
        plain = MatrixUse(index, None, False)
        rows = features(layout, plain, activations[index])
        part = jnp.einsum("nsri,nksro->nksio", rows, cotangents[index])
        part = part.reshape((*part.shape[:2], -1))
        if place.size % size == 0 and np.array_equal(place, np.arange(place.size) % size):
            part = jnp.sum(part.reshape((*part.shape[:2], -1, size)), axis=2)
        else:
            zero = jnp.zeros((*part.shape[:2], size), part.dtype)
            part = zero.at[..., place].add(part, mode="drop")
        parts.append(part)
    return sum(parts[1:], start=parts[0])


def in_basis(pair: Any, vectors: Array, side: int) -> Array:
    """Rows `(..., S, R, D)` times the basis of one side of a pair; None is the identity."""
    basis = None if pair is None else pair[side]
    return vectors if basis is None else jnp.einsum("...srd,sde->...sre", vectors, basis)


def in_bases(matrices: Array, pair: Any, *, back: bool = False) -> Array:
    """`U^T M V` for `(..., S, I, O)`, or `U M V^T` with `back`; None is the identity."""
    rows, columns = pair if pair is not None else (None, None)
    if rows is not None:
        matrices = jnp.einsum(
            "sij,...sjo->...sio" if back else "sji,...sjo->...sio", rows, matrices
        )
    if columns is not None:
        pattern = "...sij,skj->...sik" if back else "...sij,sjk->...sik"
        matrices = jnp.einsum(pattern, matrices, columns)
    return matrices
