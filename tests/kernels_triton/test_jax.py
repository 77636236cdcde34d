"""The functions of JAX: values, gradients, `vmap`, and the launches they would make on a GPU."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import _disable_current_modes

from kernels_triton import _launch
from kernels_triton import jax as kernels
from kernels_triton._operations.operation import function_of, outputs_of, reference_of
from kernels_triton._operations.table import OPERATIONS
from kernels_triton._tolerances import TOLERANCES, error
from kernels_triton.jax import _kernels, _operator, _table
from kernels_triton.jax_bridge import to_jax, to_torch

BRIDGED = [name for name in OPERATIONS if name in kernels.__all__]
DTYPES = list(TOLERANCES)


def some_now(now, values):
    """Parameters of which all but some are for the slow lane: what is compiled costs."""
    return [x if x in now else pytest.param(x, marks=pytest.mark.slow) for x in values]


def cases_of(operation, dtype):
    """All of them in float64, the first one in other dtypes."""
    cases = list(operation.cases.items())
    return cases if dtype == torch.float64 else cases[:1]


def arrays_of(case, dtype):
    """The inputs of a case as arrays; labels stay integers."""
    return {name: to_jax(x) for name, x in case.tensors(dtype).items()}


def weights_of(x):
    """Cotangents of both signs that every dtype holds exactly."""
    return ((7 * jnp.arange(x.size) % 16 - 7) / 8).reshape(x.shape).astype(x.dtype)


def value_and_gradients(function, inputs, options, wanted):
    """By JAX, with cotangents that are all different."""
    fixed = {name: x for name, x in inputs.items() if name not in wanted}

    def scalar(moving):
        values = jax.tree.leaves(function(**fixed, **moving, **options))
        weights = [weights_of(x) for x in values]
        return sum(
            (x * w).astype(float).sum() for x, w in zip(values, weights, strict=True)
        ), values

    moving = {name: inputs[name] for name in wanted}
    (_, values), gradients = jax.value_and_grad(scalar, has_aux=True)(moving)
    return [*values, *(gradients[name] for name in wanted)]


def torch_value_and_gradients(function, inputs, options, wanted):
    """By torch, with the same cotangents."""
    inputs = {name: x.clone().requires_grad_(name in wanted) for name, x in inputs.items()}
    values = outputs_of(function(**inputs, **options))
    if not wanted:
        return values
    pulled = [x for x in values if x.requires_grad]
    weights = [to_torch(weights_of(to_jax(x.detach()))) for x in pulled]
    return [*values, *torch.autograd.grad(pulled, [inputs[name] for name in wanted], weights)]


def test_every_operation_is_there():
    assert set(BRIDGED) == set(OPERATIONS)
    assert set(kernels.__all__) == {*OPERATIONS, "lowering_for"}


@pytest.mark.parametrize("dtype", some_now([torch.float64], DTYPES), ids=str)
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
        expected = torch_value_and_gradients(reference_of(name), double, case.options, wanted)
        for index, (array, tensor) in enumerate(zip(found, expected, strict=True)):
            tolerance = TOLERANCES[to_torch(array).dtype if index < count else dtype]
            assert error(to_torch(array), tensor.detach()) <= tolerance, (label, index)
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


@pytest.fixture(params=[False, True], ids=["formula", "beside kernels"])
def forced(request, monkeypatch):
    """Traced as for a GPU, with the rules that its kernels need; run here by the formulas."""
    if not request.param:
        return
    pytest.importorskip("triton")
    monkeypatch.setattr(_operator, "kernels_are_used", lambda: True)
    monkeypatch.setattr(
        _kernels,
        "_made_by_jax_triton",
        lambda _launch, _arrays, shapes, *_: [jnp.zeros(x.shape, x.dtype) for x in shapes],
    )


@pytest.mark.parametrize("name", some_now(["log_softmax"], BRIDGED))
def test_vmap_is_a_loop(name, forced):
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


@pytest.fixture
def interpreted(monkeypatch):
    """How often a launch was made, each in Triton's interpreter in place of jax-triton."""
    if not _launch.INTERPRETED:
        pytest.skip("needs Triton's interpreter")
    made = []

    def launched(launch, arrays, shapes, names, numbers):
        read, _, written = names
        inputs = [to_torch(x) for x in arrays]
        dtypes = [getattr(torch, str(x.dtype)) for x in shapes]
        outputs = [
            torch.full(x.shape, torch.nan if dtype.is_floating_point else 77, dtype=dtype)
            for x, dtype in zip(shapes, dtypes, strict=True)
        ]
        for output, content in zip(outputs, inputs[len(read) :], strict=False):
            output.copy_(content.reshape(-1))
        named = dict(zip((*read, *written), [*inputs[: len(read)], *outputs], strict=True))
        constants = {key: x for key, x in launch.constants.items() if key != "enable_fp_fusion"}
        with np.errstate(all="ignore"):
            launch.kernel[(launch.programs,)](**named, **numbers, **constants)
        for before, after in zip(arrays, inputs, strict=True):
            np.testing.assert_array_equal(np.array(before), np.array(to_jax(after)))
        made.append(launch)
        return [to_jax(x) for x in outputs]

    def outside(*arguments):
        with _disable_current_modes():
            return launched(*arguments)

    monkeypatch.setattr(_kernels, "_made_by_jax_triton", outside)
    return made


@pytest.mark.parametrize("dtype", some_now([torch.bfloat16], DTYPES), ids=str)
@pytest.mark.parametrize("name", _table.OPERATIONS)  # of which the others are made
def test_what_would_be_launched_computes_the_operation(name, dtype, interpreted):
    operation = OPERATIONS[name]
    cases = list(operation.cases.items())
    for label, case in cases if dtype == torch.float32 else cases[:1]:
        tensors, arrays = case.tensors(dtype), arrays_of(case, dtype)
        wanted = operation.differentiable(tensors)
        expected = torch_value_and_gradients(function_of(name), tensors, case.options, wanted)
        count = len(expected) - len(wanted)
        saved = tuple(_table.OPERATIONS[name].saved)
        found = _kernels.results_by_kernels(name, arrays, case.options, saved)
        values, kept = found[:count], dict(zip(saved, found[count:], strict=True))
        launches = len(interpreted)
        assert launches >= 1
        cotangents = [weights_of(x) for x in values]
        gradients = []
        if wanted:
            gradients = _kernels.gradients_by_kernels(
                name, arrays, case.options, wanted, kept, cotangents
            )
        for index, (array, tensor) in enumerate(zip([*values, *gradients], expected, strict=True)):
            tolerance = TOLERANCES[to_torch(array).dtype]
            assert error(to_torch(array), tensor) <= tolerance, (label, index)
