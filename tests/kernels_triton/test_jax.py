"""The functions of JAX: values, gradients, `vmap`, and the launches they would make on a GPU."""

import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

from kernels_triton import _launch
from kernels_triton import jax as kernels
from kernels_triton._operations.operation import function_of, outputs_of, reference_of
from kernels_triton._operations.table import OPERATIONS
from kernels_triton._tolerances import TOLERANCES, error
from kernels_triton.jax import _kernels
from kernels_triton.jax_bridge import to_jax, to_torch

BRIDGED = [name for name in OPERATIONS if name in kernels.__all__]
DTYPES = list(TOLERANCES)


def cases_of(operation, dtype):
    """All of them in float64; compiling is what costs, so the first one in other dtypes."""
    cases = list(operation.cases.items())
    return cases if dtype == torch.float64 else cases[:1]


def arrays_of(case, dtype):
    """The inputs of a case as arrays; labels stay integers."""
    return {name: to_jax(x) for name, x in case.tensors(dtype).items()}


def value_and_gradients(function, inputs, options, wanted):
    """By JAX, with cotangents that are all different."""
    fixed = {name: x for name, x in inputs.items() if name not in wanted}

    def scalar(moving):
        values = jax.tree.leaves(function(**fixed, **moving, **options))
        weights = [jnp.cos(jnp.arange(x.size, dtype=x.dtype)).reshape(x.shape) for x in values]
        return sum(
            (x * w).astype(float).sum() for x, w in zip(values, weights, strict=True)
        ), values

    moving = {name: inputs[name] for name in wanted}
    (_, values), gradients = jax.value_and_grad(scalar, has_aux=True)(moving)
    return [*values, *(gradients[name] for name in wanted)]


def torch_value_and_gradients(function, inputs, options, wanted, dtype):
    """By torch, with the same cotangents."""
    inputs = {name: x.clone().requires_grad_(name in wanted) for name, x in inputs.items()}
    values = outputs_of(function(**inputs, **options))
    weights = [
        torch.from_numpy(np.array(jnp.cos(jnp.arange(x.numel(), dtype=dtype)).astype(float)))
        for x in values
    ]
    total = sum(
        (x.double() * w.reshape(x.shape)).sum() for x, w in zip(values, weights, strict=True)
    )
    if not wanted:
        return values
    return [*values, *torch.autograd.grad(total, [inputs[name] for name in wanted])]


def test_every_operation_is_there():
    assert set(BRIDGED) == set(OPERATIONS)
    assert set(kernels.__all__) == {*OPERATIONS, "lowering_for"}


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", BRIDGED)
def test_values_and_gradients_are_those_of_the_reference(name, dtype):
    operation = OPERATIONS[name]
    for label, case in cases_of(operation, dtype):
        tensors = case.tensors(dtype)
        wanted = operation.differentiable(tensors)
        found = jax.jit(
            lambda arrays, case=case, wanted=wanted: value_and_gradients(
                getattr(kernels, name), arrays, case.options, wanted
            )
        )(arrays_of(case, dtype))
        double = {k: x.double() if x.is_floating_point() else x for k, x in tensors.items()}
        count = len(found) - len(wanted)
        expected = torch_value_and_gradients(
            reference_of(name), double, case.options, wanted, found[0].dtype
        )
        for index, (array, tensor) in enumerate(zip(found, expected, strict=True)):
            tolerance = TOLERANCES[to_torch(array).dtype if index < count else dtype]
            assert error(to_torch(array), tensor) <= tolerance, (label, index)
        for wanted_name, gradient in zip(wanted, found[count:], strict=True):
            assert gradient.dtype == str(dtype).removeprefix("torch.")
            assert gradient.shape == tuple(tensors[wanted_name].shape)


@pytest.mark.parametrize("name", BRIDGED)
def test_the_dtypes_of_results_are_those_of_torch(name):
    for dtype in DTYPES:
        case = next(iter(OPERATIONS[name].cases.values()))
        expected = outputs_of(function_of(name)(**case.tensors(dtype), **case.options))
        found = jax.eval_shape(
            lambda arrays, case=case: getattr(kernels, name)(**arrays, **case.options),
            arrays_of(case, dtype),
        )
        assert [str(x.dtype) for x in jax.tree.leaves(found)] == [
            str(x.dtype).removeprefix("torch.") for x in expected
        ]


@pytest.mark.parametrize("name", BRIDGED)
def test_vmap_is_a_loop(name):
    """Over every input alone, and over all at once along another axis."""
    operation = OPERATIONS[name]
    case = next(iter(operation.cases.values()))
    inputs = arrays_of(case, torch.float64)
    wanted = operation.differentiable(case.tensors(torch.float64))

    def function(arrays):
        return value_and_gradients(getattr(kernels, name), arrays, case.options, wanted)

    def scaled(x, factor):
        return x * factor if jnp.issubdtype(x.dtype, jnp.floating) else x

    for moving in [*([only] for only in inputs), list(inputs)]:
        axes = {key: (min(1, x.ndim) if len(moving) > 1 else 0) for key, x in inputs.items()}
        axes = {key: axes[key] if key in moving else None for key in inputs}
        several = [
            {key: scaled(x, 1 + 0.1 * i) if key in moving else x for key, x in inputs.items()}
            for i in range(3)
        ]
        stacked = {
            key: jnp.stack([one[key] for one in several], axes[key]) if key in moving else x
            for key, x in inputs.items()
        }
        found = jax.jit(jax.vmap(function, in_axes=(axes,)))(stacked)
        for index, one in enumerate(several):
            for a, b in zip(found, function(one), strict=True):
                np.testing.assert_allclose(a[index], b, rtol=1e-11, atol=1e-11)


class Interpreted:
    """Stands in for jax_triton: runs each launch in Triton's interpreter."""

    __version__ = "0.3.1"

    def __init__(self):
        self.launches = 0

    def triton_call(self, *arrays, kernel, out_shape, grid, compute_capability, **constants):
        """Inputs, then outputs filled with nan, then constants by name."""
        assert compute_capability is None
        constants.pop("enable_fp_fusion")
        inputs = [to_torch(x) for x in arrays]
        dtypes = [getattr(torch, str(x.dtype)) for x in out_shape]
        outputs = [
            torch.full(x.shape, torch.nan if dtype.is_floating_point else 77, dtype=dtype)
            for x, dtype in zip(out_shape, dtypes, strict=True)
        ]
        function, first = kernel
        named = dict(zip(first, [*inputs, *outputs], strict=True))
        with np.errstate(all="ignore"):
            function[grid](**named, **constants)
        for before, after in zip(arrays, inputs, strict=True):
            np.testing.assert_array_equal(np.array(before), after.numpy())  # nothing it was given
        self.launches += 1
        return [to_jax(x) for x in outputs]


@pytest.fixture
def interpreted(monkeypatch):
    if not _launch.INTERPRETED:
        pytest.skip("needs Triton's interpreter")
    stand_in = Interpreted()
    monkeypatch.setattr(_kernels, "_jax_triton", lambda: stand_in)
    monkeypatch.setattr(_kernels, "_reordered", lambda kernel, first: (kernel, first))
    operator = importlib.import_module("kernels_triton.jax._operator")

    def by_kernels(self, options, arrays):
        return tuple(operator.kernels_of(self, options, arrays))

    monkeypatch.setattr(
        operator, "_mapped", lambda self, options: lambda *xs: by_kernels(self, options, xs)
    )
    return stand_in


@pytest.mark.parametrize("dtype", [torch.float16, torch.float32, torch.float64], ids=str)
@pytest.mark.parametrize("name", BRIDGED)
def test_what_would_be_launched_computes_the_operation(name, dtype, interpreted):
    """Not bfloat16, which the interpreter cannot store: there the launches are of other tensors."""
    operation = OPERATIONS[name]
    cases = list(operation.cases.items())
    for label, case in cases if dtype == torch.float32 else cases[:1]:
        tensors = case.tensors(dtype)
        wanted = operation.differentiable(tensors)
        found = value_and_gradients(
            getattr(kernels, name), arrays_of(case, dtype), case.options, wanted
        )
        expected = torch_value_and_gradients(
            function_of(name), tensors, case.options, wanted, found[0].dtype
        )
        for index, (array, tensor) in enumerate(zip(found, expected, strict=True)):
            tolerance = TOLERANCES[to_torch(array).dtype]
            assert error(to_torch(array), tensor) <= tolerance, (label, index)
    assert interpreted.launches >= 2
