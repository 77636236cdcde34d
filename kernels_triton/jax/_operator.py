"""One operator of JAX out of a formula and the torch operator that launches the same kernels.

On CUDA the kernels are called, elsewhere the formula: `jax.lax.platform_dependent` chooses when the
program is lowered. Neither is differentiated; `jax.custom_vjp` is put around by who uses it.

Rows are independent, which gives two rules. Under `vmap` the mapped axis becomes one more axis of
rows. Under `jit` with inputs that are sharded, each device keeps its rows and none are sent:
`custom_partitioning` says so of the kernels, which the compiler cannot look into. The last axes,
those of one row, are gathered where they are sharded.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Hashable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.custom_batching import custom_vmap, sequential_vmap
from jax.experimental.custom_partitioning import custom_partitioning
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from kernels_triton.jax._kernels import call_kernels, kernels_are_used


class Operator(NamedTuple):
    """An operator on arrays whose leading axes are rows; call it with its options and arrays.

    Attributes:
      formula: `formula(*arrays, *options)`, a tuple of arrays, for any number of leading axes.
      home: the module of the torch operator with the same arguments and results.
      name: its name there.
      inputs: for each array the number of its last axes that belong to one row, or None for one
        that all rows share.
      outputs: likewise for the results; None for a sum over all rows.
    """

    formula: Callable[..., tuple[Array, ...]]
    home: str
    name: str
    inputs: tuple[int | None, ...]
    outputs: tuple[int | None, ...]

    def __call__(self, options: tuple[Hashable, ...], *arrays: Array) -> tuple[Array, ...]:
        """The results as a tuple."""
        return _mapped(self, options)(*arrays)


@functools.cache
def _mapped(operator: Operator, options: tuple[Hashable, ...]) -> Callable[..., tuple]:
    """The operator with a rule for `vmap`."""
    run = _partitioned(operator, options)
    if None in operator.outputs:
        return sequential_vmap(run)
    mapped = custom_vmap(run)

    @mapped.def_vmap
    def _(size: int, is_mapped: Sequence[bool], *arrays: Array) -> tuple:
        along = zip(arrays, is_mapped, operator.inputs, strict=True)
        if any(moves and own is None for _, moves, own in along):
            results = sequential_vmap(run)
            axes = [0 if moves else None for moves in is_mapped]
            return jax.vmap(results, in_axes=axes)(*arrays), tuple(True for _ in operator.outputs)
        along = zip(arrays, is_mapped, operator.inputs, strict=True)
        rows = [
            x if moves or own is None else jnp.broadcast_to(x, (size, *x.shape))
            for x, moves, own in along
        ]
        return mapped(*rows), tuple(True for _ in operator.outputs)

    return mapped


@functools.cache
def _partitioned(operator: Operator, options: tuple[Hashable, ...]) -> Callable[..., tuple]:
    """The operator with a rule for sharded rows."""

    def run(*arrays: Array) -> tuple[Array, ...]:
        return _on_its_platform(operator, options, arrays)

    if None in operator.inputs or None in operator.outputs:
        return run
    kinds = (*operator.inputs, *operator.outputs)
    factors = [[f"f{item}_{axis}" for axis in range(own or 0)] for item, own in enumerate(kinds)]
    texts = [" ".join(["...", *names]) for names in factors]
    split = len(operator.inputs)
    partitioned = custom_partitioning(run)
    partitioned.def_partition(
        partition=functools.partial(_rows_stay, operator, run),
        sharding_rule=f"{', '.join(texts[:split])} -> {', '.join(texts[split:])}",
        need_replication_factors=tuple(name for names in factors for name in names),
    )

    def on_its_mesh(*arrays: Array) -> tuple[Array, ...]:
        # A mesh with explicit axes leaves no sharding to the compiler, so there is no rule to give.
        explicit = AxisType.Explicit in jax.sharding.get_abstract_mesh().axis_types
        return (run if explicit else partitioned)(*arrays)

    return on_its_mesh


def _rows_stay(operator: Operator, run: Callable, mesh: Any, arguments: Any, _results: Any) -> Any:
    """Every array is sharded along its leading axes as the first sharded one is."""
    rows = ()
    for shape, own in zip(arguments, operator.inputs, strict=True):
        leading = len(shape.shape) - (own or 0)
        spec = (*shape.sharding.spec, *[None] * len(shape.shape))[:leading]
        rows = spec if any(spec) and not any(rows) else rows or spec

    def sharding(own: int | None) -> NamedSharding:
        return NamedSharding(mesh, PartitionSpec(*rows, *[None] * (own or 0)))

    placed = tuple(sharding(own) for own in operator.inputs)
    return mesh, run, tuple(sharding(own) for own in operator.outputs), placed


def kernels_of(
    operator: Operator, options: tuple[Hashable, ...], arrays: Sequence[Array]
) -> tuple[Array, ...]:
    """The results by the kernels, whatever the platform."""
    return tuple(call_kernels(operator.home, operator.name, arrays, options))


def _on_its_platform(
    operator: Operator, options: tuple[Hashable, ...], arrays: Sequence[Array]
) -> tuple[Array, ...]:
    def by_formula(*arrays: Array) -> tuple[Array, ...]:
        return operator.formula(*arrays, *options)

    def by_kernels(*arrays: Array) -> tuple[Array, ...]:
        return kernels_of(operator, options, arrays)

    if not kernels_are_used() or not all(math.prod(x.shape) for x in arrays):
        return by_formula(*arrays)
    return jax.lax.platform_dependent(*arrays, cuda=by_kernels, default=by_formula)
