"""A public torch function of this package by its kernels, on JAX arrays, through jax-triton.

`_session` follows the function; here its launches are made. What is launched from JAX is what torch
would launch.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import inspect
import os
import types
from collections.abc import Callable, Iterator, Mapping, Sequence
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
    """Whether a function that is traced now has the kernels on its CUDA branch.

    Raises:
      RuntimeError: they were asked for by `lowering_for` and cannot be had.
    """
    asked = _capability.get() is not None
    if not asked and jax.default_backend() != "gpu":
        return False
    found = _jax_triton() is not None
    if asked and not found:
        raise RuntimeError(
            "lowering_for needs jax-triton, torch and triton's compiler; not all can be imported, "
            "or triton was imported to interpret. Install igeojax[jax-triton] and start a process "
            "without TRITON_INTERPRET."
        )
    return found


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


def results_by_kernels(
    name: str, arrays: Mapping[str, Array], options: Mapping[str, Any], saved: Sequence[int]
) -> list[Array]:
    """The results of a public torch function, then those of its operator that `saved` counts."""
    function = _function(name)  # before: the session knows the operators that are loaded
    with _session() as session:
        tensors = {key: session.tensor(array) for key, array in arrays.items()}
        results = function(**tensors, **options)
        kept = [session.results[0][place] for place in saved]
        return [session.value(tensor) for tensor in (*_listed(results), *kept)]


def gradients_by_kernels(
    name: str,
    arrays: Mapping[str, Array],
    options: Mapping[str, Any],
    wanted: Sequence[str],
    saved: Mapping[int, Array],
    cotangents: Sequence[Array],
) -> list[Array]:
    """The gradients to the `wanted` arrays, from what `results_by_kernels` saved."""
    torch = import_module("torch")
    function = _function(name)
    with _session(saved) as session:
        tensors = {key: session.tensor(array) for key, array in arrays.items()}
        for key in wanted:
            tensors[key].requires_grad_()
        results = _listed(function(**tensors, **options))
        differentiable = [x for x in results if x.requires_grad]
        pulled = [
            session.tensor(cotangent)
            for result, cotangent in zip(results, cotangents, strict=True)
            if result.requires_grad
        ]
        gradients = torch.autograd.grad(differentiable, [tensors[key] for key in wanted], pulled)
        return [session.value(gradient) for gradient in gradients]


def _function(name: str) -> Callable:
    return getattr(import_module("kernels_triton"), name)


def _listed(results: Any) -> list:
    return [results] if hasattr(results, "shape") else [x for x in results if x is not None]


def _session(saved: Mapping[int, Array] | None = None) -> Any:
    return import_module("kernels_triton.jax._session").Session(_made_by_jax_triton, saved)


def _made_by_jax_triton(
    launch: Any, inputs: list[Array], shapes: list, names: tuple, numbers: dict[str, Any]
) -> list[Array]:
    """One launch; jax-triton gives a kernel its inputs, then its outputs, then constants."""
    read, begun, written = names
    module = _jax_triton()
    # jax-triton specializes no number: as constants they let the compiler prove alignment.
    constants = numbers | launch.constants
    fusion = constants.pop("enable_fp_fusion")
    if _version(module) >= (0, 4):  # an output with a content before is one parameter, not two
        before = ()
        spelled = {"out_type": shapes, "backend_options": {"enable_fp_fusion": fusion}}
    else:
        before = tuple(f"{name}_before" for name in begun)
        spelled = {"out_shape": shapes, "enable_fp_fusion": fusion}
    return module.triton_call(
        *inputs,
        kernel=_reordered(launch.kernel, (*read, *before, *written)),
        grid=(launch.programs,),
        compute_capability=_capability.get(),
        input_output_aliases={len(read) + place: place for place in range(len(begun))},
        **spelled,
        **constants,
    )


def _version(module: Any) -> tuple[int, ...]:
    return tuple(int(part) for part in module.__version__.split(".")[:2])


@functools.cache
def _reordered(kernel: Any, first: tuple[str, ...]) -> Any:
    """The same kernel with these parameters first, which are pointers, and then constants.

    Parameters that the kernel has not are not used.
    """
    jit_function = import_module("triton").JITFunction
    constant = import_module("triton.language").constexpr
    new = [name for name in first if name not in kernel.arg_names]

    def position(name: str) -> int:
        return first.index(name) if name in first else len(first)

    class Reordered(jit_function):
        def parse(self) -> ast.Module:
            tree = super().parse()
            arguments = tree.body[0].args
            arguments.args += [ast.copy_location(ast.arg(name), arguments.args[0]) for name in new]
            arguments.args.sort(key=lambda argument: position(argument.arg))
            arguments.defaults.clear()  # every argument is given
            for argument in arguments.args[len(first) :]:
                argument.annotation = ast.copy_location(
                    ast.parse("tl.constexpr", mode="eval").body, argument
                )
            ast.fix_missing_locations(tree)
            return tree

    function = _copied(kernel.fn)
    bare = [
        parameter.replace(
            default=inspect.Parameter.empty,
            annotation=parameter.annotation if parameter.name in first else constant,
        )
        for parameter in inspect.signature(function).parameters.values()
    ]
    bare += [inspect.Parameter(name, inspect.Parameter.POSITIONAL_OR_KEYWORD) for name in new]
    function.__signature__ = inspect.Signature(  # pyright: ignore[reportFunctionMemberAccess]
        sorted(bare, key=lambda parameter: position(parameter.name))
    )
    return Reordered(function)


def _copied(function: Callable) -> Callable:
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, None, function.__closure__
    )
    return functools.update_wrapper(copy, function)
