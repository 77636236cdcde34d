"""What K-FAC makes of a model, in words: how each parameter is treated, and what it costs."""

import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.fisher._layout import Block, Layout, layout_of
from igeojax.fisher.model import Predict
from igeojax.fisher.output import Output, require_output, score_factors
from igeojax.optim._model import require_predict


def describe(
    predict: Predict,
    family: Output,
    params: Any,
    inputs: Any,
    *,
    dense_limit: int = 256,
    factor_limit: int = 4096,
) -> str:
    """A table of how `kfac` treats each parameter, and of the memory that each method takes.

    Costs one trace of `predict`; nothing is computed, so shapes are enough.

    Args:
      predict: `predict(params, inputs)`, a point of `family` with the examples on axis 0.
      family: the output family, or a `fisher.OutputMetric`.
      params: any pytree of floating arrays, or of their shapes.
      inputs: a batch, or its shapes: the memory in the second table is for as many examples.
      dense_limit: as for `kfac`.
      factor_limit: as for `kfac`.

    Returns:
      Two tables as text. Memory counts numbers, what is kept between steps, and for solvers that
      keep nothing the largest that is made in one; gradients, parameters and activations are not in
      it. While `kfac` and `ekfac` renew their factors they need up to three times as much.

    Raises:
      TypeError: `predict` or `family` of a wrong kind, or a parameter is not floating.
      ValueError: no axis of examples, or a negative limit.

    Examples:
      >>> from igeojax import families
      >>> family = families.Categorical(3)
      >>> predict = lambda p, x: family.natural_from_params(logits=x @ p["w"] + p["b"][None])
      >>> params = {"w": jnp.zeros((4, 3)), "b": jnp.zeros(3)}
      >>> print(describe(predict, family, params, jnp.ones((2, 4))))  # doctest: +ELLIPSIS
      parameter   shape   treated as           factors    numbers kept
      ['b']       (3,)    row of ['w']
      ['w']       (4, 3)  Kronecker, dense     5x5, 3x3   68
      ...
    """
    require_output(family)
    require_predict(predict)
    layout = layout_of(predict, params, inputs, dense_limit=dense_limit, factor_limit=factor_limit)
    names, sizes = [], []
    shapes = jax.tree_util.tree_leaves_with_path(layout.shapes)
    for path, leaf in shapes:
        names.append(jax.tree_util.keystr(path) or "params")
        sizes.append(math.prod(leaf.shape))
    ends = np.cumsum(sizes)
    rows = [["parameter", "shape", "treated as", "factors", "numbers kept"]]
    told: dict[int, list[str]] = {}
    for block in layout.blocks:
        owners = [np.searchsorted(ends, piece.numbers.ravel(), "right") for piece in block.pieces]
        leaves = list(dict.fromkeys(int(leaf) for part in owners for leaf in np.unique(part)))
        first, *others = leaves
        kind, factors, kept = _treatment(layout, block)
        line = told.setdefault(first, [])
        line.append("\t".join([kind, factors, str(kept)]))
        for other in others:
            told.setdefault(other, []).append(f"row of {names[first]}\t\t")
        if len(block.pieces) == 1 and others:
            for other in others:
                told[other][-1] = f"with {names[first]}\t\t"
    for index, (_, leaf) in enumerate(shapes):
        for position, line in enumerate(told.get(index, ["empty\t\t0"])):
            start = [names[index], str(leaf.shape)] if position == 0 else ["", ""]
            rows.append(start + line.split("\t"))
    kept = {
        "kfac": sum(_kept(block) for block in layout.blocks),
        "ekfac": sum(_kept(block, corrected=True) for block in layout.blocks),
    }
    return "\n".join([*_aligned(rows), "", *_methods(predict, family, params, inputs, kept)])


def _treatment(layout: Layout, block: Block) -> tuple[str, str, int]:
    if block.kind != "kronecker":
        (size,) = block.shape
        text = {
            "dense": ("dense block", f"{size}x{size}"),
            "diagonal": ("diagonal", f"{size}"),
            "unused": ("no use: damping alone", ""),
        }[block.kind]
        return (*text, _kept(block))
    kinds = list(dict.fromkeys(layout.capture.uses[use.index].kind for use in block.uses))
    count, *sides = block.shape
    factors = ", ".join(
        f"{side}" if diagonal else f"{side}x{side}"
        for side, diagonal in zip(sides, block.diagonal, strict=True)
    )
    shared = f", {len(block.uses)} uses" if len(block.uses) > 1 else ""
    many = f"{count} of " if count > 1 else ""
    return f"Kronecker, {' and '.join(kinds)}{shared}", many + factors, _kept(block)


def _kept(block: Block, corrected: bool = False) -> int:
    """Numbers in the factors and the inverses of a block; `corrected` as `ekfac` keeps them."""
    if block.kind == "kronecker":
        count, *sides = block.shape
        pairs = zip(sides, block.diagonal, strict=True)
        squares = sum(side if diagonal else side**2 for side, diagonal in pairs)
        if not corrected:
            return 2 * count * squares
        pairs = zip(sides, block.diagonal, strict=True)
        bases = sum(0 if diagonal else side**2 for side, diagonal in pairs)
        return count * (squares + bases + math.prod(sides) + sum(sides))
    (size,) = block.shape
    return 2 * (size**2 if block.kind == "dense" else size)


def _methods(
    predict: Predict, family: Output, params: Any, inputs: Any, kept: dict[str, int]
) -> list[str]:
    """Numbers in memory for each method."""
    theta = jax.eval_shape(predict, params, inputs)
    count = jax.tree.leaves(inputs)[0].shape[0]
    size = sum(math.prod(jnp.shape(leaf)) for leaf in jax.tree.leaves(params))
    alone = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((1, *leaf.shape[1:]), leaf.dtype), theta)
    scores = jax.eval_shape(lambda theta: score_factors(family, theta), alone)
    rows_count = count * jax.tree.leaves(scores)[0].shape[0]
    jacobian = 3 * rows_count * size  # by leaves, joined, and times the metric of the outputs
    values = {
        "Adam": 2 * size,
        "kfac": kept["kfac"] + size,
        "ekfac": kept["ekfac"] + size,
        "Diagonal": jacobian,
        "ConjugateGradient": 4 * size,
        "SampleSpace": rows_count**2 + 6 * size,
        "Dense": jacobian + size**2,
    }
    rows = [["method", "numbers in memory", "per parameter"]]
    rows += [[name, str(value), f"{value / size:.3g}"] for name, value in values.items()]
    return _aligned(rows)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
