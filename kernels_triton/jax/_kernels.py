"""The launches of a torch operator, made by jax-triton on JAX arrays instead.

An operator of this package picks its kernels and their options from shapes and strides alone. So it
is called once on empty tensors of the arrays' shapes while its launches are recorded, and each
launch becomes one `jax_triton.triton_call`. What is launched from JAX is what torch would launch.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import os
import types
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from importlib import import_module
from typing import Any

import jax
from jax import Array

_capability: ContextVar[int | None] = ContextVar("capability", default=None)


@contextlib.contextmanager
def lowering_for(capability: int) -> Iterator[None]:
    """Lower for an NVIDIA GPU that need not be here, as `jax.export` does on a machine without one.

    Within it a function that is traced gets the kernels on its CUDA branch wherever jax-triton can
    be imported, and they are compiled for the given compute capability. Without it they are used
    where JAX runs on a GPU, and compiled for that one.

    Args:
      capability: the compute capability without its dot, 90 for an H100 or H200.

    Yields:
      Nothing.

    Examples:
      >>> x = jax.ShapeDtypeStruct((8, 128), "float32")
      >>> with lowering_for(90):  # doctest: +SKIP
      ...     jax.export.export(jax.jit(softmax), platforms=["cuda"])(x)
    """
    token = _capability.set(capability)
    try:
        yield
    finally:
        _capability.reset(token)


def kernels_are_used() -> bool:
    """Whether a function that is traced now has the kernels on its CUDA branch."""
    if _capability.get() is None and jax.default_backend() != "gpu":
        return False
    return _jax_triton() is not None


@functools.cache
def _jax_triton() -> Any:
    """The module jax_triton, or None where it, torch or triton's compiler is missing."""
    # Importing it sets or deletes this variable, even when it fails; triton's compiler reads it.
    saved = os.environ.get("TRITON_CACHE_DIR")
    try:
        module = import_module("jax_triton")
        launch = import_module("kernels_triton._launch")
    except ImportError:
        return None
    finally:
        os.environ.pop("TRITON_CACHE_DIR", None)
        if saved is not None:
            os.environ["TRITON_CACHE_DIR"] = saved
    return None if launch.triton is None or launch.INTERPRETED else module


def call_kernels(home: str, name: str, arrays: Sequence[Array], options: Sequence[Any]) -> list:
    """The results of a torch operator on JAX arrays, by its kernels.

    The operator must only allocate, view and launch: what torch computes between is not recorded,
    and refused. A launch must write into tensors that none before it wrote or was given.

    Args:
      home: the module of the operator, for example `_softmax`.
      name: the operator's name there.
      arrays: its tensors, in its order.
      options: its other arguments.
    """
    torch = import_module("torch")
    launch = import_module("kernels_triton._launch")
    operator = getattr(import_module(f"kernels_triton.{home}"), name)
    tensors = [torch.empty(x.shape, dtype=getattr(torch, x.dtype.name)) for x in arrays]
    body = getattr(operator, "_init_fn", operator)  # what torch.library.custom_op decorated
    with launch.recording() as launches, _only_launches():
        results = body(*tensors, *options)
    known = {_address(tensor): array for tensor, array in zip(tensors, arrays, strict=True)}
    for item in launches:
        _run(item, known)
    results = [results] if isinstance(results, torch.Tensor) else results
    return [known[_address(tensor)].reshape(tensor.shape) for tensor in results]


def _run(item: Any, known: dict[int, Array]) -> None:
    """Make one recorded launch on the arrays at the addresses of its tensors; add its outputs."""
    tensor_type = import_module("torch").Tensor
    named = dict(zip(item.kernel.arg_names, item.arguments, strict=False))
    tensors = {name: value for name, value in named.items() if isinstance(value, tensor_type)}
    inputs = [name for name, tensor in tensors.items() if _address(tensor) in known]
    outputs = [name for name in tensors if name not in inputs]
    # jax-triton specializes no number: as constants they let the compiler prove alignment.
    numbers = {name: value for name, value in named.items() if name not in tensors}
    shapes = [_shape_of(tensors[name]) for name in outputs]
    values = _triton_call(
        [known[_address(tensors[name])] for name in inputs],
        shapes,
        _reordered(item.kernel, (*inputs, *outputs)),
        item.programs,
        numbers | item.constants,
    )
    known.update(zip((_address(tensors[name]) for name in outputs), values, strict=True))


def _triton_call(
    arrays: list[Array], shapes: list, kernel: Any, programs: int, constants: dict[str, Any]
) -> list[Array]:
    module = _jax_triton()
    fusion = constants.pop("enable_fp_fusion")
    if hasattr(module, "__version__") and _version(module) >= (0, 4):
        spelled = {"out_type": shapes, "backend_options": {"enable_fp_fusion": fusion}}
    else:
        spelled = {"out_shape": shapes, "enable_fp_fusion": fusion}
    return module.triton_call(
        *arrays,
        kernel=kernel,
        grid=(programs,),
        compute_capability=_capability.get(),
        **spelled,
        **constants,
    )


def _version(module: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in module.__version__.split(".")[:2])


def _shape_of(tensor: Any) -> jax.ShapeDtypeStruct:
    return jax.ShapeDtypeStruct(tuple(tensor.shape), str(tensor.dtype).removeprefix("torch."))


def _address(tensor: Any) -> int:
    if tensor.storage_offset():
        raise NotImplementedError("a kernel must be given whole tensors, not a part of one")
    return tensor.untyped_storage().data_ptr()


@functools.cache
def _reordered(kernel: Any, first: tuple[str, ...]) -> Any:
    """The same kernel with some parameters first: jax-triton gives inputs, outputs, constants."""
    jit_function = import_module("triton").JITFunction

    def position(name: str) -> int:
        return first.index(name) if name in first else len(first)

    class Reordered(jit_function):
        def parse(self) -> ast.Module:
            tree = super().parse()
            arguments = tree.body[0].args
            arguments.args.sort(key=lambda argument: position(argument.arg))
            arguments.defaults.clear()  # every argument is given
            return tree

    function = _copied(kernel.fn)
    parameters = inspect.signature(function).parameters.values()
    bare = [parameter.replace(default=inspect.Parameter.empty) for parameter in parameters]
    function.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        sorted(bare, key=lambda parameter: position(parameter.name))
    )
    return Reordered(function)


def _copied(function: Callable) -> Callable:
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    return functools.update_wrapper(copy, function)


def _only_launches() -> Any:
    """A mode in which torch refuses to compute: only allocations and views pass."""
    torch_dispatch = import_module("torch.utils._python_dispatch")

    class OnlyLaunches(torch_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function, types, args=(), kwargs=None):
            name = function.overloadpacket.__name__
            if name not in _ALLOCATIONS_AND_VIEWS:
                raise NotImplementedError(
                    f"an operator that is launched from JAX must leave `{name}` to JAX: between "
                    "its kernels it may only allocate and view"
                )
            return function(*args, **(kwargs or {}))

    return OnlyLaunches()


_ALLOCATIONS_AND_VIEWS = {
    "_unsafe_view",
    "alias",
    "as_strided",
    "detach",
    "empty",
    "empty_like",
    "empty_strided",
    "expand",
    "new_empty",
    "new_empty_strided",
    "permute",
    "select",
    "slice",
    "squeeze",
    "t",
    "transpose",
    "unsqueeze",
    "view",
}
