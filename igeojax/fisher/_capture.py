"""Finds in the program of a model how it uses its parameters, and taps these uses.

The program of *one* example is read, equation by equation; what is done to a batch follows by
`vmap`. Nothing is registered: a parameter is known by where it enters.
"""

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.extend.core as jex
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from igeojax.fisher._linear_values import MOVES, SAME, LinearValue, is_selection, leaf_values, moved
from igeojax.fisher._uses import Use, found_use

CALLS = {"jit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr"}
"""Primitives that call a program once, by the name of its parameter."""


@dataclasses.dataclass(frozen=True)
class Program:
    """The program of one example: `evaluate(leaves, example, {})` gives its outputs.

    Args:
      closed: the program; its first inputs are the leaves of the parameters.
      out_tree: structure of its outputs.
    """

    closed: Any
    out_tree: Any


@dataclasses.dataclass(frozen=True)
class Capture:
    """How a program uses its parameters.

    Args:
      uses: those that can be tapped.
      whole: indices of leaves that are used in other ways too.
    """

    uses: tuple[Use, ...]
    whole: frozenset[int]


@dataclasses.dataclass(frozen=True)
class _Output:
    """The output of a use, moved: position k of the output has number k + 1."""

    use: int
    numbers: LinearValue


def program_of(predict: Callable[[Any, Any], Any], params: Any, inputs: Any) -> Program:
    """The program of `predict` for one example, from shapes alone.

    Args:
      predict: `predict(params, inputs)`, examples independent, on axis 0 of all inputs.
      params: parameters, or their shapes.
      inputs: inputs with the examples on axis 0, or their shapes.
    """
    shape = lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf), jnp.result_type(leaf))
    alone = lambda leaf: jax.ShapeDtypeStruct(jnp.shape(leaf)[1:], jnp.result_type(leaf))
    leaves, tree = jax.tree.flatten(jax.tree.map(shape, params))

    def of_one(leaves: Any, example: Any) -> Any:
        theta = predict(tree.unflatten(leaves), jax.tree.map(lambda x: x[None], example))
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(theta)]
        if any(shape[:1] != (1,) for shape in shapes):
            raise ValueError(
                "predict must return outputs with the examples on axis 0 of every leaf, one for "
                f"one example; got shapes {shapes[:4]}. Examples are read one by one: write no "
                "batch size into predict."
            )
        return jax.tree.map(lambda leaf: leaf[0], theta)

    traced = jax.make_jaxpr(of_one, return_shape=True)
    closed, out = traced(leaves, jax.tree.map(alone, inputs))
    return Program(closed, jax.tree.structure(out))


def capture_of(program: Program, leaves: Sequence[Any]) -> Capture:
    """Reads how a program uses its parameters.

    Args:
      program: from `program_of`.
      leaves: the leaves of the parameters, or their shapes.
    """
    reader = _Reader(leaves)
    jaxpr = program.closed.jaxpr
    known = leaf_values(leaves)
    known += [None] * (len(jaxpr.invars) - len(known))
    outs = reader.read(jaxpr, program.closed.consts, known, (), ())
    for value in outs:
        reader.refuse(value)
    return reader.capture()


class _Reader:
    """Walks a program with what is known of each value: linear, the output of a use, a constant."""

    def __init__(self, leaves: Sequence[Any]):
        sizes = [int(np.prod(leaf.shape)) for leaf in leaves]
        self.ends = np.cumsum(sizes)
        self.uses: list[Use] = []
        self.merged: dict[int, tuple[int, np.ndarray]] = {}
        self.whole: set[int] = set()
        self.consumed: dict[int, int] = {}

    def leaves_of(self, numbers: np.ndarray) -> set[int]:
        """Indices of the leaves that numbers belong to."""
        found = np.searchsorted(self.ends, numbers[numbers > 0])
        return set(np.flatnonzero(np.bincount(found.ravel())).tolist())

    def refuse(self, value: Any) -> None:
        """Notes that a value is used in a way that is no tapped use."""
        if isinstance(value, LinearValue):
            self.whole |= self.leaves_of(value.numbers)
        if isinstance(value, _Output):
            self.consumed[value.use] = self.consumed.get(value.use, 0) + 1

    def read(
        self,
        jaxpr: Any,
        consts: Sequence[Any],
        known: Sequence[Any],
        path: tuple[int, ...],
        lengths: tuple[int, ...],
    ) -> list[Any]:
        """Reads a program; what is known of its outputs."""
        env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
        env |= dict(zip(jaxpr.invars, known, strict=True))

        def look(variable: Any) -> Any:
            return variable.val if isinstance(variable, jex.Literal) else env.get(variable)

        for index, eqn in enumerate(jaxpr.eqns):
            operands = [look(v) for v in eqn.invars]
            here = (*path, index)
            if any(isinstance(x, LinearValue | _Output) for x in operands):
                outs = self.equation(eqn, operands, here, lengths)
                env |= dict(zip(eqn.outvars, outs, strict=True))
        return [look(v) for v in jaxpr.outvars]

    def equation(self, eqn: Any, operands: list[Any], path: Any, lengths: Any) -> list[Any]:
        """What is known of the outputs of an equation with an operand of which something is."""
        name = eqn.primitive.name
        nothing = [None] * len(eqn.outvars)
        if name in CALLS:
            return self.read(*_opened(eqn.params[CALLS[name]]), operands, path, lengths)
        if name == "scan":
            return self.scan(eqn, operands, path, lengths)
        linear = [k for k, x in enumerate(operands) if isinstance(x, LinearValue)]
        outputs = [k for k, x in enumerate(operands) if isinstance(x, _Output)]
        if name == "stop_gradient":
            return nothing
        if name in MOVES | SAME and not (linear and outputs):
            found = self.move(eqn, operands)
            if found is not None:
                return found
        elif len(linear) == 1:
            (which,) = linear
            found = found_use(eqn, which, operands[which], path=path, lengths=lengths)
            if found is not None:
                self.uses.append(found)
                if name in ("add", "add_any") and outputs:
                    self.merge(operands[outputs[0]], operands[which])
                for index in outputs:
                    self.refuse(operands[index])
                shape = eqn.outvars[0].aval.shape
                places = np.arange(1, int(np.prod(shape)) + 1, dtype=np.int32).reshape(shape)
                merges = found.kind in ("dense", "convolution")
                return [_Output(len(self.uses) - 1, LinearValue(places)) if merges else None]
        for value in operands:
            self.refuse(value)
        return nothing

    def move(self, eqn: Any, operands: list[Any]) -> list[Any] | None:
        """What a move makes of linear values, or of the output of a use."""
        if not any(isinstance(x, _Output) for x in operands):
            return moved(eqn, operands)
        if len(operands) != 1:
            return None
        (value,) = operands
        places = moved(eqn, [value.numbers])
        return None if places is None else [_Output(value.use, one) for one in places]

    def merge(self, output: _Output, value: LinearValue) -> None:
        """Notes that a shift may count as parameters of the use whose outputs it shifts."""
        use = self.uses[output.use]
        places = output.numbers.numbers
        steps, shape = use.tap.shape[: len(value.sliced)], use.tap.shape[len(value.sliced) :]
        if places.size != np.prod(shape) or not is_selection(places):
            return
        # The numbers at each position of the output, repeated over loops that share them.
        own = [n if one else 1 for n, one in zip(steps, value.sliced, strict=True)]
        kept = [n for n, one in zip(steps, value.sliced, strict=True) if one]
        inner = value.numbers.shape[len(kept) :]
        ranked = value.numbers.reshape((*kept, *(1,) * (places.ndim - len(inner)), *inner))
        numbers = np.broadcast_to(ranked, (*kept, *places.shape))
        raw = np.empty((int(np.prod(kept)), places.size), np.int32)
        raw[:, places.ravel() - 1] = numbers.reshape(raw.shape)
        raw = np.broadcast_to(raw.reshape((*own, *shape)), (*steps, *shape))
        with jax.ensure_compile_time_eval():
            formed = np.asarray(use.cotangent(jnp.asarray(raw)))
        first = formed[:, 0]
        if np.all(formed == first[:, None]) and is_selection(first):
            self.merged.setdefault(output.use, (len(self.uses) - 1, first))

    def scan(self, eqn: Any, operands: list[Any], path: Any, lengths: Any) -> list[Any]:
        jaxpr, fixed, consts, carried = _loop(eqn)
        known: list[Any] = []
        for index, value in enumerate(operands):
            if isinstance(value, LinearValue) and not consts <= index < consts + carried:
                known.append(LinearValue(value.numbers, (*value.sliced, index >= consts)))
            else:
                self.refuse(value)
                known.append(None)
        inner = (*lengths, eqn.params["length"])
        outs = self.read(jaxpr, fixed, known, path, inner)
        for value in outs:
            self.refuse(value)
        return [None] * len(eqn.outvars)

    def capture(self) -> Capture:
        """What was found: shifts merged where they are used once, leaves that are used whole."""
        owners = [self.leaves_of(use.numbers) for use in self.uses]
        counts: dict[int, int] = {}
        for leaf in (leaf for touched in owners for leaf in touched):
            counts[leaf] = counts.get(leaf, 0) + 1
        whole, before = set(self.whole), -1
        while len(whole) > before:
            before = len(whole)
            whole = whole.union(*(touched for touched in owners if touched & whole))
        dropped, shifts = set(), {}
        for index, (shift, numbers) in self.merged.items():
            leaves = self.leaves_of(numbers)
            both = leaves | owners[index]
            # What else sees the outputs has another cotangent than the shift.
            once = all(counts[leaf] == 1 for leaf in both) and self.consumed[index] == 1
            if once and not both & whole:
                dropped.add(shift)
                shifts[index] = numbers
        uses = [
            dataclasses.replace(use, shift=shifts.get(index))
            for index, use in enumerate(self.uses)
            if index not in dropped and not owners[index] & whole
        ]
        return Capture(tuple(uses), frozenset(whole))


def tapped_outputs(
    program: Program, capture: Capture, leaves: Sequence[Any], taps: Sequence[Array], example: Any
) -> tuple[Any, list[Array]]:
    """Outputs for one example with a tap added to the output of each use, and its activation.

    Args:
      program: from `program_of`.
      capture: from `capture_of`.
      leaves: the leaves of the parameters.
      taps: an array for each use, like its `tap`.
      example: one example, without the axis of examples.

    Returns:
      The outputs of `predict` for it without that axis, and what each use saw, in its raw form (0
      where the activation is a constant 1).
    """
    marks = {use.path: index for index, use in enumerate(capture.uses)}
    args = [*leaves, *jax.tree.leaves(example)]
    jaxpr, consts = program.closed.jaxpr, program.closed.consts
    outs, seen = _evaluated(jaxpr, consts, args, (), marks, dict(enumerate(taps)), capture.uses)
    return program.out_tree.unflatten(outs), [seen[k] for k in range(len(taps))]


def _opened(program: Any) -> tuple[Any, Sequence[Any]]:
    """A program and its constants, whether it comes closed or open."""
    return getattr(program, "jaxpr", program), getattr(program, "consts", ())


def _loop(eqn: Any) -> tuple[Any, Sequence[Any], int, int]:
    """The body of a scan, its constants, and how many operands are fixed and how many carried.

    Told by their ranks, which slices lose and stacked outputs gain: JAX 0.10 and 0.12 name them
    otherwise.
    """
    jaxpr, constants = _opened(eqn.params["jaxpr"])
    rank = lambda variable: len(variable.aval.shape)
    carried = sum(rank(a) == rank(b) for a, b in zip(eqn.outvars, jaxpr.outvars, strict=True))
    unsliced = sum(rank(a) == rank(b) for a, b in zip(eqn.invars, jaxpr.invars, strict=True))
    return jaxpr, constants, unsliced - carried, carried


def _below(marks: dict[tuple[int, ...], int], path: tuple[int, ...]) -> Iterator[int]:
    return (index for found, index in marks.items() if found[: len(path)] == path)


def _evaluated(
    jaxpr: Any,
    consts: Sequence[Any],
    args: Sequence[Any],
    path: tuple[int, ...],
    marks: dict[tuple[int, ...], int],
    taps: dict[int, Array],
    uses: Sequence[Use],
) -> tuple[list[Any], dict[int, Array]]:
    """Outputs of a program with taps, and what the tapped uses saw."""
    env: dict[Any, Any] = dict(zip(jaxpr.constvars, consts, strict=True))
    env |= dict(zip(jaxpr.invars, args, strict=True))
    seen: dict[int, Array] = {}

    def look(variable: Any) -> Any:
        return variable.val if isinstance(variable, jex.Literal) else env[variable]

    for position, eqn in enumerate(jaxpr.eqns):
        here = (*path, position)
        operands = [look(v) for v in eqn.invars]
        inside = list(_below(marks, here))
        if here in marks:
            index = marks[here]
            out = eqn.primitive.bind(*operands, **eqn.params)
            outs = [out + taps[index].astype(out.dtype)]
            which = uses[index].operand
            seen[index] = jnp.zeros(()) if which is None else operands[which]
        elif not inside:
            outs = _plainly(jaxpr, eqn, operands)
        elif eqn.primitive.name == "scan":
            outs, found = _scanned(eqn, operands, here, marks, taps, uses, inside)
            seen |= found
        else:
            inner = _opened(eqn.params[CALLS[eqn.primitive.name]])
            outs, found = _evaluated(*inner, operands, here, marks, taps, uses)
            seen |= found
        env |= dict(zip(eqn.outvars, outs, strict=True))
    return [look(v) for v in jaxpr.outvars], seen


def _plainly(jaxpr: Any, eqn: Any, operands: list[Any]) -> list[Any]:
    """Outputs of one equation of a program, custom derivatives kept."""
    pairs = zip(eqn.invars, operands, strict=True)
    values = {v: x for v, x in pairs if not isinstance(v, jex.Literal)}
    alone = jaxpr.replace(constvars=[], invars=list(values), outvars=list(eqn.outvars), eqns=[eqn])
    return jex.jaxpr_as_fun(jex.ClosedJaxpr(alone, []))(*values.values())


def _scanned(
    eqn: Any,
    operands: list[Any],
    path: tuple[int, ...],
    marks: dict[tuple[int, ...], int],
    taps: dict[int, Array],
    uses: Sequence[Use],
    inside: list[int],
) -> tuple[list[Any], dict[int, Array]]:
    """A loop with taps as further slices, and what was seen as further outputs."""
    jaxpr, constants, consts, carried = _loop(eqn)
    fixed, start, slices = (
        operands[:consts],
        operands[consts : consts + carried],
        operands[consts + carried :],
    )

    def body(carry: Any, sliced: Any) -> Any:
        rest, own = sliced
        given = dict(zip(inside, own, strict=True))
        args = [*fixed, *carry, *rest]
        outs, seen = _evaluated(jaxpr, constants, args, path, marks, given, uses)
        return outs[:carried], (outs[carried:], [seen[k] for k in inside])

    final, (stacked, seen) = jax.lax.scan(
        body,
        start,
        (slices, [taps[k] for k in inside]),
        **{name: eqn.params[name] for name in ("length", "reverse", "unroll")},
    )
    return [*final, *stacked], dict(zip(inside, seen, strict=True))
