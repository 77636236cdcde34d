"""A torch function followed by JAX: its launches become calls of jax-triton, the rest JAX.

The functions of this package pick kernels and their options from shapes and strides alone, and do
little else: casts, sums of partial results, small matrices. So a function is called on tensors of
`meta`, which have a shape and no numbers, and everything that torch is asked to do on the way is
done to JAX arrays instead: a launch by `jax_triton.triton_call`, an operator of torch by the entry
of that name in `_JAX`. Views need no entry: an array is kept for each *storage*, in the order of
its memory, and a tensor is read out of it by shape, strides and offset.

Autograd works as always, so that the backward pass is followed too. `saved` then stands for the
results of the operators of the forward pass, which need not be computed again.
"""

from __future__ import annotations

import functools
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import torch
from jax import Array
from torch import Tensor
from torch.utils import _pytree
from torch.utils._python_dispatch import TorchDispatchMode

from kernels_triton import _launch

Names = tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]
Caller = Callable[
    [_launch.Launch, list[Array], list[jax.ShapeDtypeStruct], Names, dict[str, Any]], list[Array]
]


class Session(TorchDispatchMode):
    """Within it torch runs on `meta`, and JAX does what it is told.

    Args:
      call: makes a launch. It is given the launch, its input arrays, the shapes of its outputs, the
        parameters for what is read, for outputs that have a content before (their arrays are the
        last inputs and their shapes the first) and for all outputs, and the numbers by name.
      saved: results of the first such operator by their places, where they are known; it is not
        followed then.
    """

    def __init__(self, call: Caller, saved: Mapping[int, Array] | None = None):
        super().__init__()
        self._call = call
        self._bodies = _bodies()
        self._saved = saved
        self._unknown: set[int] = set()  # what was not saved, and what would be computed from it
        self._recordings: list[Any] = []  # it is entered again inside itself
        self._memory: dict[int, Array] = {}
        self._alive: list[Tensor] = []  # a storage that is freed could lend its address to another
        self.results: list[list[Tensor]] = []

    def __enter__(self) -> Session:
        self._recordings.append(_launch.recording(self._launched))
        self._recordings[-1].__enter__()
        return super().__enter__()

    def __exit__(self, *error: Any) -> None:
        super().__exit__(*error)
        self._recordings.pop().__exit__(*error)

    def tensor(self, array: Array, *, dtype: str | None = None) -> Tensor:
        """A tensor without numbers that stands for an array."""
        kind = getattr(torch, dtype or array.dtype.name)
        tensor = torch.empty(array.shape, dtype=kind, device="meta")
        self._memory[self._key(tensor)] = array
        return tensor

    def value(self, tensor: Tensor) -> Array:
        """The array that a tensor stands for."""
        memory = self._memory[self._key(tensor)].reshape(-1)
        view = _View.of(tensor)
        shown = view.without_repeats()
        order = shown.order()
        if order is None or memory.size != math.prod(shown.shape):
            found = memory[shown.places()]
        else:
            shape = [shown.shape[axis] for axis in order]
            found = memory.reshape(shape).transpose([order.index(axis) for axis in sorted(order)])
        return jnp.broadcast_to(found, view.shape)

    def _write(self, tensor: Tensor, value: Array) -> None:
        key, view = self._key(tensor), _View.of(tensor)
        value = jnp.broadcast_to(value, view.shape).astype(_name(tensor.dtype))
        size = tensor.untyped_storage().nbytes() // tensor.element_size()
        order = view.order()
        if order is not None and size == tensor.numel():
            self._memory[key] = value.transpose(order)
            return
        memory = self._memory.get(key, jnp.zeros(size, value.dtype)).reshape(-1)
        self._memory[key] = memory.at[view.places()].set(value)

    def _key(self, tensor: Tensor) -> int:
        self._alive.append(tensor)
        return tensor.untyped_storage()._cdata

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if function.namespace == "kernels_triton":
            return self._operator(function, args, kwargs)
        with self:
            result = function.decompose(*args, **kwargs)
        if result is not NotImplemented:
            return result
        result = function(*args, **{**kwargs, **_on_meta(kwargs)})
        name = function.overloadpacket.__name__
        if name.startswith(("empty", "new_empty")) or self._is_copy_of_nothing(name, args):
            self._key(result)
        elif any(isinstance(x, Tensor) and self._key(x) in self._unknown for x in args):
            self._unknown.add(self._key(result))
        elif name == "copy_":
            self._write(args[0], self.value(args[1]))
        elif not self._is_view(result, args):
            if name not in _JAX:
                raise NotImplementedError(f"torch's `{name}` has no counterpart in {__name__}")
            arguments = _pytree.tree_map_only(Tensor, self.value, args)
            options = {key: value for key, value in kwargs.items() if key not in _PLACEMENT}
            self._write(result, _JAX[name](*arguments, **options, like=result))
        return result

    def _is_copy_of_nothing(self, name: str, args: Sequence[Any]) -> bool:
        return name == "_to_copy" and self._key(args[0]) not in self._memory

    def _is_view(self, result: Any, args: Sequence[Any]) -> bool:
        return any(
            isinstance(tensor, Tensor)
            and tensor.untyped_storage()._cdata == result.untyped_storage()._cdata
            for tensor in args
        )

    def _operator(self, function: Any, args: Any, kwargs: Any) -> Any:
        if self._saved is not None and not self.results:
            results = function(*args, **kwargs)  # shapes alone
            for place, tensor in enumerate(_listed(results)):
                if place in self._saved:
                    self._memory[self._key(tensor)] = self._saved[place]
                else:
                    self._unknown.add(self._key(tensor))
        else:
            with self:
                results = self._bodies[function](*args, **kwargs)
        self.results.append(_listed(results))
        return results

    def _launched(self, launch: _launch.Launch) -> None:
        """Make a launch on the arrays of its tensors."""
        named = dict(zip(launch.kernel.arg_names, launch.arguments, strict=False))
        tensors = {name: x for name, x in named.items() if isinstance(x, Tensor)}
        if any(tensor.storage_offset() for tensor in tensors.values()):
            raise NotImplementedError("a kernel must be given tensors that begin their storage")
        keys = {name: self._key(tensor) for name, tensor in tensors.items()}
        if self._unknown & set(keys.values()):
            raise NotImplementedError(f"{launch.kernel} reads a result that was not saved")
        written = set(list(named)[: launch.n_outputs]) | {
            n for n in keys if keys[n] not in self._memory
        }
        inputs = [name for name in keys if name not in written]
        # What was written before, perhaps in part, goes in as the output's first content.
        begun = [name for name in keys if name in written and keys[name] in self._memory]
        outputs = [*begun, *(name for name in keys if name in written and name not in begun)]
        values = self._call(
            launch,
            [self._memory[keys[name]] for name in (*inputs, *begun)],
            [self._shape_of(tensors[name]) for name in outputs],
            (tuple(inputs), tuple(begun), tuple(outputs)),
            {name: value for name, value in named.items() if name not in tensors},
        )
        for name, value in zip(outputs, values, strict=True):
            self._memory[keys[name]] = value

    def _shape_of(self, tensor: Tensor) -> jax.ShapeDtypeStruct:
        size = tensor.untyped_storage().nbytes() // tensor.element_size()
        return jax.ShapeDtypeStruct((size,), _name(tensor.dtype))


def _bodies() -> dict[Any, Callable]:
    """What `torch.library.custom_op` decorated in this package, by the operator it made."""
    modules = [module for name, module in sys.modules.items() if name.startswith("kernels_triton.")]
    return {
        value._opoverload: value._init_fn
        for module in modules
        for value in vars(module).values()
        if isinstance(getattr(value, "_opoverload", None), torch._ops.OpOverload)
    }


def _on_meta(kwargs: dict[str, Any]) -> dict[str, Any]:
    return {"device": torch.device("meta")} if kwargs.get("device") is not None else {}


def _listed(results: Tensor | Sequence[Tensor]) -> list[Tensor]:
    return [results] if isinstance(results, Tensor) else list(results)


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")


class _View(NamedTuple):
    """Where the elements of a tensor lie in its storage."""

    shape: tuple[int, ...]
    strides: tuple[int, ...]
    offset: int

    @classmethod
    def of(cls, tensor: Tensor) -> _View:
        return cls(tuple(tensor.shape), tensor.stride(), int(tensor.storage_offset()))

    def without_repeats(self) -> _View:
        """One element of each axis that is expanded."""
        pairs = zip(self.shape, self.strides, strict=True)
        shape = (size if stride or not size else 1 for size, stride in pairs)
        return self._replace(shape=tuple(shape))

    def order(self) -> list[int] | None:
        """The axes by falling stride, where the elements fill the memory from its start on."""
        pairs = list(zip(self.strides, self.shape, strict=True))
        order = sorted(range(len(pairs)), key=lambda axis: (-pairs[axis][0], -pairs[axis][1]))
        size = 1
        for axis in reversed(order):
            if self.shape[axis] == 1:
                continue
            if self.strides[axis] != size:
                return None
            size *= self.shape[axis]
        return None if self.offset else order

    def places(self) -> Array:
        """The index of each element."""
        places = jnp.full(self.shape, self.offset)
        for axis, stride in enumerate(self.strides):
            steps = jax.lax.broadcasted_iota(places.dtype, places.shape, axis)
            places = places + stride * steps
        return places


def _two(function: Callable) -> Callable:
    def compute(a: Any, b: Any, *, like: Tensor, **_: Any) -> Array:
        shape = tuple(like.shape)
        a, b = (
            jnp.broadcast_to(
                jnp.asarray(x, None if isinstance(x, Array) else _name(like.dtype)), shape
            )
            for x in (a, b)
        )
        return function(a, b)

    return compute


def _pair(function: Callable) -> Callable:
    return lambda a, b, *, like, **_: function(a, b)  # noqa: ARG005 - every entry is called alike


def _one(function: Callable) -> Callable:
    return lambda a, *_, like, **__: function(a)  # noqa: ARG005 - every entry is called alike


def _filled(content: float) -> Callable:
    return lambda *_, like, **__: jnp.full(tuple(like.shape), content, _name(like.dtype))


def _sum(a: Array, axes: Any = None, keepdim: bool = False, *, like: Tensor, **_: Any) -> Array:
    axes = tuple(axes) if axes else None
    return jnp.sum(a.astype(_name(like.dtype)), axis=axes, keepdims=keepdim)


def _where(condition: Array, a: Any, b: Any, *, like: Tensor) -> Array:
    shape = tuple(like.shape)
    return jnp.where(*(jnp.broadcast_to(x, shape) for x in (condition, a, b)))


def _padded(a: Array, pad: Sequence[int], value: float = 0.0, *, like: Tensor) -> Array:
    del like
    pairs = [(pad[2 * axis], pad[2 * axis + 1]) for axis in range(len(pad) // 2)]
    return jnp.pad(a, [(0, 0)] * (a.ndim - len(pairs)) + pairs[::-1], constant_values=value)


def _solved_triangular(
    a: Array, b: Array, *, upper: bool, left: bool = True, unitriangular: bool = False, like: Tensor
) -> Array:
    del left, like
    return jax.scipy.linalg.solve_triangular(a, b, lower=not upper, unit_diagonal=unitriangular)


_PLACEMENT = ("device", "layout", "pin_memory", "memory_format", "dtype", "non_blocking")
_JAX: dict[str, Callable[..., Array]] = {
    "_to_copy": _one(lambda a: a),
    "_unsafe_view": _one(lambda a: a),
    "add": _two(jnp.add),
    "bmm": _pair(functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)),
    "clamp": lambda a, low=None, high=None, **_: jnp.clip(a, low, high),
    "clone": _one(lambda a: a),
    "constant_pad_nd": _padded,
    "div": _two(jnp.divide),
    "exp": _one(jnp.exp),
    "eye": lambda *_, like, **__: jnp.eye(*like.shape, dtype=_name(like.dtype)),
    "full": lambda _shape, content, *, like, **__: _filled(content)(like=like),
    "full_like": lambda _a, content, *, like, **__: _filled(content)(like=like),
    "isinf": _one(jnp.isinf),
    "linalg_solve_triangular": _solved_triangular,
    "log": _one(jnp.log),
    "mm": _pair(functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)),
    "mul": _two(jnp.multiply),
    "mv": _pair(functools.partial(jnp.matmul, precision=jax.lax.Precision.HIGHEST)),
    "ne": _pair(jnp.not_equal),
    "neg": _one(jnp.negative),
    "new_zeros": _filled(0),
    "ones": _filled(1),
    "ones_like": _filled(1),
    "reciprocal": _one(jnp.reciprocal),
    "rsub": _two(lambda a, b: b - a),
    "scalar_tensor": lambda content, *, like, **__: _filled(content)(like=like),
    "sqrt": _one(jnp.sqrt),
    "sub": _two(jnp.subtract),
    "sum": _sum,
    "tril": _one(jnp.tril),
    "where": _where,
    "zeros": _filled(0),
    "zeros_like": _filled(0),
}
