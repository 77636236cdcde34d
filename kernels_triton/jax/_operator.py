"""One operation of JAX out of a formula and the torch function that launches the kernels.

On CUDA the kernels are called, elsewhere the formula: `jax.lax.platform_dependent` chooses when the
program is lowered. The backward pass is the torch function's own on CUDA. Elsewhere it is the
derivative of the formula, or is given where that is not right at infinities.

Rows are independent, which gives two rules. Under `vmap` the mapped axis becomes one more axis of
rows. Under `jit` with inputs that are sharded, each device keeps its rows and none are sent:
`custom_partitioning` says so of the kernels, which the compiler cannot look into. The last axes,
those of one row, are gathered where they are sharded. What is shared by all rows or summed over
them has neither rule: `vmap` is a loop on CUDA, and a sharded input is gathered there.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap, sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kernels_triton.jax._kernels import gradients_by_kernels, kernels_are_used, results_by_kernels

Options = tuple[tuple[str, Hashable], ...]


@dataclass(frozen=True, eq=False)  # one object an operation, so that it can be a key of caches
class RowOperation:
    """An operation on arrays whose leading axes are rows.

    Axes are counted from the last: 1 for an array `(rows..., n)`, 0 for `(rows...)`, None for one
    that has no rows, as it is shared by them or summed over them.

    Attributes:
      name: of the public torch function.
      formula: `formula(**arrays, **options)`, a tuple of arrays, for any number of leading axes.
      inputs: for each array by name the number of its last axes that belong to one row.
      outputs: likewise for what is returned.
      saved: likewise for the results of the torch operator that its backward pass reads, by their
        places.
      constant: inputs without gradient.
      pull: `pull(cotangents, **arrays, **options)`, the gradients to the other inputs in their
        order; by default the derivative of the formula.
      leading: places of saved results whose first axis belongs to a row instead of the last.
    """

    name: str
    formula: Callable[..., tuple[Array, ...]]
    inputs: Mapping[str, int | None]
    outputs: tuple[int | None, ...]
    saved: Mapping[int, int | None] = field(default_factory=dict)
    constant: tuple[str, ...] = ()
    pull: Callable[..., tuple[Array, ...]] | None = None
    leading: tuple[int, ...] = ()

    def __call__(self, arrays: Mapping[str, Array], **options: Hashable) -> tuple[Array, ...]:
        """The outputs, differentiable in reverse mode."""
        return _differentiable(self, tuple(arrays), tuple(options.items()))(*arrays.values())


@functools.cache
def _differentiable(
    operation: RowOperation, names: tuple[str, ...], options: Options
) -> Callable[..., tuple]:
    count = len(operation.outputs)
    wanted = [name for name in names if name not in operation.constant]

    @jax.custom_vjp
    def run(*arrays: Array) -> tuple[Array, ...]:
        return _forward(operation, names, options, kernels_are_used())(*arrays)[:count]

    def forward(*arrays: Array) -> tuple[tuple[Array, ...], tuple]:
        found = _forward(operation, names, options, kernels_are_used())(*arrays)
        return found[:count], (arrays, found[count:])

    def backward(kept: tuple, cotangents: tuple[Array, ...]) -> tuple:
        arrays, saved = kept
        pull = _backward(operation, names, options, bool(saved) or kernels_are_used(), len(saved))
        found = dict(zip(wanted, pull(*arrays, *saved, *cotangents), strict=True))
        if _is_explicit():  # a gradient has the sharding of what it belongs to
            for name, array in zip(names, arrays, strict=True):
                if name in found:
                    found[name] = jax.reshard(found[name], jax.typeof(array).sharding.spec)
        return tuple(found.get(name) for name in names)

    run.defvjp(forward, backward)
    return run


@functools.cache
def _forward(
    operation: RowOperation, names: tuple[str, ...], options: Options, kernels: bool
) -> Callable:
    saved = tuple(operation.saved) if kernels else ()

    def by_formula(*arrays: Array) -> tuple[Array, ...]:
        found = operation.formula(**dict(zip(names, arrays, strict=True)), **dict(options))
        if not saved:
            return found
        shapes = jax.eval_shape(by_kernels, *arrays)[len(found) :]
        return *found, *(jnp.zeros(shape.shape, shape.dtype) for shape in shapes)

    def by_kernels(*arrays: Array) -> tuple[Array, ...]:
        named = dict(zip(names, arrays, strict=True))
        found = results_by_kernels(operation.name, named, dict(options), saved)
        count = len(operation.outputs)
        kept = zip(saved, found[count:], strict=True)
        moved = (jnp.moveaxis(x, 0, -1) if at in operation.leading else x for at, x in kept)
        return *found[:count], *moved

    run = _on_its_platform(by_formula, by_kernels) if kernels else by_formula
    inputs = [operation.inputs[name] for name in names]
    outputs = [*operation.outputs, *(operation.saved[place] for place in saved)]
    return _of_rows(run, inputs, outputs, kernels)


@functools.cache
def _backward(
    operation: RowOperation, names: tuple[str, ...], options: Options, kernels: bool, n_saved: int
) -> Callable:
    wanted = [name for name in names if name not in operation.constant]
    places = list(operation.saved)[:n_saved]

    def split(arrays: Sequence[Array]) -> tuple[dict[str, Array], dict[int, Array], list[Array]]:
        saved = arrays[len(names) : len(names) + n_saved]
        return (
            dict(zip(names, arrays, strict=False)),
            {
                at: jnp.moveaxis(x, -1, 0) if at in operation.leading else x
                for at, x in zip(places, saved, strict=True)
            },
            list(arrays[len(names) + n_saved :]),
        )

    def by_formula(*arrays: Array) -> tuple[Array, ...]:
        named, _, cotangents = split(arrays)
        if operation.pull is not None:
            return tuple(operation.pull(tuple(cotangents), **named, **dict(options)))

        def moving(*values: Array) -> tuple[Array, ...]:
            replaced = named | dict(zip(wanted, values, strict=True))
            return operation.formula(**replaced, **dict(options))

        _, pull = jax.vjp(moving, *(named[name] for name in wanted))
        return pull(tuple(cotangents))

    def by_kernels(*arrays: Array) -> tuple[Array, ...]:
        named, saved, cotangents = split(arrays)
        return tuple(
            gradients_by_kernels(operation.name, named, dict(options), wanted, saved, cotangents)
        )

    run = _on_its_platform(by_formula, by_kernels) if kernels else by_formula
    inputs = [operation.inputs[name] for name in names]
    inputs += [*(operation.saved[place] for place in places), *operation.outputs]
    return _of_rows(run, inputs, [operation.inputs[name] for name in wanted], kernels)


def _on_its_platform(by_formula: Callable, by_kernels: Callable) -> Callable:
    def run(*arrays: Array) -> tuple[Array, ...]:
        if not all(math.prod(x.shape) for x in arrays):
            return by_formula(*arrays)
        axes = frozenset().union(*(jax.typeof(x).manual_axis_type.varying for x in arrays))
        branches = {"cuda": by_kernels, "default": by_formula}
        return jax.lax.platform_dependent(
            *arrays, **{key: _varying(branch, axes) for key, branch in branches.items()}
        )

    return run


def _varying(run: Callable, axes: frozenset[str]) -> Callable:
    """Inside `shard_map` a result varies over the axes of what it comes from, a kernel's too."""

    def varying(*arrays: Array) -> tuple[Array, ...]:
        return tuple(
            jax.lax.pcast(x, tuple(missing), to="varying")
            if (missing := axes - jax.typeof(x).manual_axis_type.varying)
            else x
            for x in run(*arrays)
        )

    return varying


def _of_rows(
    run: Callable, inputs: Sequence[int | None], outputs: Sequence[int | None], kernels: bool
) -> Callable[..., tuple]:
    """With rules for `vmap` and sharding, where there are kernels, which JAX cannot look into."""
    if not kernels:
        return run
    if None in outputs:
        return sequential_vmap(run)
    counted = [own for own in inputs if own is not None]
    of_all = len(counted) == len(inputs)
    placed = _partitioned(run, counted, [own or 0 for own in outputs]) if of_all else run
    mapped, loop = custom_vmap(placed), sequential_vmap(run)

    @mapped.def_vmap
    def _(size: int, is_mapped: Sequence[bool], *arrays: Array) -> tuple:
        along = list(zip(arrays, is_mapped, inputs, strict=True))
        every = tuple(True for _ in outputs)
        if any(moves and own is None for _, moves, own in along):
            axes = [0 if moves else None for moves in is_mapped]
            return jax.vmap(loop, in_axes=axes)(*arrays), every
        rows = [
            x if moves or own is None else jnp.broadcast_to(x, (size, *x.shape))
            for x, moves, own in along
        ]
        return mapped(*rows), every

    return mapped


def _partitioned(run: Callable, inputs: Sequence[int], outputs: Sequence[int]) -> Callable:
    """With a rule for sharded rows."""
    kinds = (*inputs, *outputs)
    factors = [[f"f{item}_{axis}" for axis in range(own)] for item, own in enumerate(kinds)]
    texts = [" ".join(["...", *names]) for names in factors]
    partitioned = custom_partitioning(run)
    partitioned.def_partition(
        partition=functools.partial(_rows_stay, run, inputs, outputs),
        sharding_rule=f"{', '.join(texts[: len(inputs)])} -> {', '.join(texts[len(inputs) :])}",
        need_replication_factors=tuple(name for names in factors for name in names),
    )

    def on_its_mesh(*arrays: Array) -> tuple[Array, ...]:
        if not _is_explicit():
            return partitioned(*arrays)
        # Explicit axes leave nothing to the compiler: the program says where each part is.
        specs = [jax.typeof(x).sharding.spec for x in arrays]
        rows = _rows_spec(specs, [x.ndim for x in arrays], inputs)
        here = tuple(PartitionSpec(*rows, *[None] * own) for own in inputs)
        placed = [jax.reshard(x, spec) for x, spec in zip(arrays, here, strict=True)]
        out = tuple(PartitionSpec(*rows, *[None] * own) for own in outputs)
        return jax.shard_map(run, in_specs=here, out_specs=out, check_vma=False)(*placed)

    return on_its_mesh


def _is_explicit() -> bool:
    return AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types


def _rows_spec(
    specs: Sequence[Sequence[Any]], ndims: Sequence[int], inputs: Sequence[int]
) -> Sequence[Any]:
    """How rows are sharded: as those of the first array that is."""
    rows = ()
    for spec, ndim, own in zip(specs, ndims, inputs, strict=True):
        leading = (*spec, *[None] * ndim)[: ndim - own]
        rows = leading if any(leading) and not any(rows) else rows or leading
    return rows


def _rows_stay(
    run: Callable,
    inputs: Sequence[int],
    outputs: Sequence[int],
    mesh: Any,
    arguments: Any,
    _results: Any,
) -> Any:
    """Every array is sharded along its leading axes as the first sharded one is."""
    specs = [shape.sharding.spec for shape in arguments]
    rows = _rows_spec(specs, [len(shape.shape) for shape in arguments], inputs)

    def sharding(own: int) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*rows, *[None] * own))

    return mesh, run, tuple(map(sharding, outputs)), tuple(map(sharding, inputs))
