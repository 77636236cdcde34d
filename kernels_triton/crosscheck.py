"""Every kernel against torch, JAX and float64: `python -m kernels_triton.crosscheck`.

For each operation, dtype and shape, for values and gradients: the errors of Triton, torch and JAX
against the float64 reference, and of Triton against JAX across `jax_bridge`. The peers are
`torch.softmax`, `jax.nn.softmax` and their like, given the same stored inputs and the same
precision of arithmetic as the kernels; an error is `|a - b| / max(1, |b|)`.

Without a GPU the kernels run in Triton's interpreter, which shows their logic and not a GPU's
arithmetic.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import torch

from kernels_triton._operations.operation import (
    Case,
    Operation,
    function_of,
    outputs_of,
    reference_of,
)
from kernels_triton._operations.table import OPERATIONS
from kernels_triton._tolerances import TOLERANCES, error
from kernels_triton.jax_bridge import to_jax, to_torch


class Row(NamedTuple):
    """One comparison; the first three errors are against float64."""

    operation: str
    dtype: str
    shape: str
    quantity: str
    triton: float
    torch: float
    jax: float
    triton_jax: float
    tolerance: float
    passed: bool


def crosscheck(
    operations: Sequence[str] = tuple(OPERATIONS),
    dtypes: Sequence[torch.dtype] = tuple(TOLERANCES),
    device: str | None = None,
) -> Iterator[Row]:
    """Compare the kernels with torch, JAX and float64.

    Without a GPU it sets `TRITON_INTERPRET=1` for the process, unless triton is imported already:
    then a CPU tensor is computed as everywhere else, by the kernels' formulas in torch.

    Args:
      operations: names of public operations.
      dtypes: storage dtypes.
      device: a torch device; by default a GPU where there is one.

    Yields:
      Two rows, value and gradient, for each operation, dtype and shape.

    Raises:
      TypeError: an entry of `dtypes` is not one of the dtypes that the kernels know.
      ValueError: an unknown operation, or a device that is not here.

    Examples:
      >>> all(row.passed for row in crosscheck(["softmax"], [torch.float32]))
      True
    """
    if unknown := set(operations) - set(OPERATIONS):
        raise ValueError(
            f"operations must be out of {', '.join(OPERATIONS)}; got {', '.join(sorted(unknown))}. "
            "Check the spelling."
        )
    if strange := [dtype for dtype in dtypes if dtype not in TOLERANCES]:
        raise TypeError(
            f"dtypes must be out of {', '.join(map(str, TOLERANCES))}; got "
            f"{', '.join(map(repr, strange))}. Pass the dtype itself, not its name."
        )
    device = _prepare(device)
    for name in operations:
        for dtype in dtypes:
            for label, case in OPERATIONS[name].cases.items():
                yield from _compare(name, dtype, label, case, device)


def _prepare(device: str | None) -> str:
    """Choose the device, and the interpreter where there is none, before triton is imported.

    Raises:
      ValueError: the device is no CPU or GPU of this machine.
    """
    device = device or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        place = torch.device(device)
    except RuntimeError:
        place = None
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    here = {"cpu": 1, "cuda": count}.get(place.type, 0) if place else 0
    if place is None or (place.index or 0) >= here:
        raise ValueError(
            f"device must be cpu or one of the {count} GPUs that torch finds here, such as cuda:0; "
            f"got {device}. Leave it out to take what there is."
        )
    if device == "cpu" and "triton" not in sys.modules:
        os.environ.setdefault("TRITON_INTERPRET", "1")
    os.environ.setdefault("XLA_PYTHON_CLIENT_PREALLOCATE", "false")  # leave torch its share
    return device


def _compare(name: str, dtype: torch.dtype, label: str, case: Case, device: str) -> Iterator[Row]:
    operation, options = OPERATIONS[name], case.options
    inputs = case.tensors(dtype, device)
    wanted = operation.differentiable(inputs)
    triton, reference = function_of(name), reference_of(name)
    outputs = outputs_of(triton(**inputs, **options))
    generator = torch.Generator().manual_seed(1)
    cotangents = [torch.rand(output.shape, generator=generator).to(output) for output in outputs]
    accumulator = torch.promote_types(dtype, torch.float32)

    def in_torch(**arguments: Any) -> list[torch.Tensor]:
        found = outputs_of(operation.torch(**_cast(arguments, accumulator)))
        return [x.to(output.dtype) for x, output in zip(found, outputs, strict=True)]

    double = _cast(inputs, torch.float64)
    wide = [cotangent.double() for cotangent in cotangents]
    exact = _value_and_gradients(reference, double, options, wanted, wide)
    found = {
        "triton": _value_and_gradients(triton, inputs, options, wanted, cotangents),
        "torch": _value_and_gradients(in_torch, inputs, options, wanted, cotangents),
        "jax": _value_and_gradients_in_jax(operation, inputs, options, wanted, cotangents),
    }
    pairs = [(found["triton"], exact), (found["torch"], exact), (found["jax"], exact)]
    pairs.append((found["triton"], found["jax"]))
    parts = {"value": slice(0, len(outputs)), "gradient": slice(len(outputs), None)}
    tolerances = {"value": max(TOLERANCES[output.dtype] for output in outputs)}
    if wanted:
        tolerances["gradient"] = TOLERANCES[dtype]
    for quantity, tolerance in tolerances.items():
        part = parts[quantity]
        errors = [
            torch.tensor([error(a, b) for a, b in zip(left[part], right[part], strict=True)])
            .max()
            .item()  # Python's max would drop a nan
            for left, right in pairs
        ]
        passed = all(value <= tolerance for value in errors)
        dtype_name = str(dtype).removeprefix("torch.")
        yield Row._make([name, dtype_name, label, quantity, *errors, tolerance, passed])


def _cast(arguments: Mapping[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The arguments, with floating tensors in another dtype."""
    return {
        name: x.to(dtype) if isinstance(x, torch.Tensor) and x.is_floating_point() else x
        for name, x in arguments.items()
    }


def _value_and_gradients(
    function: Callable,
    inputs: Mapping[str, torch.Tensor],
    options: Mapping[str, Any],
    wanted: Sequence[str],
    cotangents: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    inputs = {name: x.detach().requires_grad_(name in wanted) for name, x in inputs.items()}
    outputs = outputs_of(function(**inputs, **options))
    values = [output.detach() for output in outputs]
    if not wanted:
        return values
    return [*values, *torch.autograd.grad(outputs, [inputs[name] for name in wanted], cotangents)]


def _value_and_gradients_in_jax(
    operation: Operation,
    inputs: Mapping[str, torch.Tensor],
    options: Mapping[str, Any],
    wanted: Sequence[str],
    cotangents: Sequence[torch.Tensor],
) -> list[torch.Tensor]:
    """The same by JAX, the tensors passed both ways across the bridge."""
    place = cotangents[0].device
    device = place if jax.default_backend() != "cpu" else torch.device("cpu")

    @jax.jit
    def compiled(arrays: dict[str, jax.Array], cotangents: list[jax.Array]) -> list[jax.Array]:
        fixed = {name: x for name, x in arrays.items() if name not in wanted}

        def in_accumulator(moving: dict[str, jax.Array]) -> list[jax.Array]:
            wide = {
                name: x.astype(jax.numpy.promote_types(x.dtype, jax.numpy.float32))
                if jax.numpy.issubdtype(x.dtype, jax.numpy.floating)
                else x
                for name, x in (fixed | moving).items()
            }
            values = jax.tree.leaves(operation.jax(**wide, **options))
            return [x.astype(y.dtype) for x, y in zip(values, cotangents, strict=True)]

        values, pull_back = jax.vjp(in_accumulator, {name: arrays[name] for name in wanted})
        (gradients,) = pull_back(cotangents)
        return [*values, *(gradients[name] for name in wanted)]

    with jax.enable_x64(any(x.dtype == torch.float64 for x in [*inputs.values(), *cotangents])):
        arrays = {name: to_jax(_narrow(x).to(device)) for name, x in inputs.items()}
        results = compiled(arrays, [to_jax(x.to(device)) for x in cotangents])
    return [to_torch(x).to(place) for x in results]


def _narrow(x: torch.Tensor) -> torch.Tensor:
    """Labels as int32, which JAX has with 64-bit numbers switched off too."""
    return x.int() if x.dtype == torch.int64 else x


def _mode(device: str) -> str:
    import kernels_triton._launch as launch

    version = f"triton {launch.triton.__version__}" if launch.triton else "no triton"
    if launch.INTERPRETED:
        return f"{version}, interpreter on {device}; not run on a GPU"
    if device != "cpu":
        return f"{version}, compiled for {torch.cuda.get_device_name(device)}"
    return f"{version}: the torch formulas on CPU in place of the kernels; not run on a GPU"


def _worst(rows: Sequence[Row]) -> Iterator[str]:
    """For each operation and quantity, the row whose error is largest beside its tolerance."""
    groups: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.operation, row.quantity), []).append(row)
    for (operation, quantity), members in groups.items():
        # A nan is worse than any number, and no comparison finds it.
        row = max(members, key=lambda row: math.inf if row.triton != row.triton else _share(row))
        yield (
            f"{operation:21} {quantity:8} {row.triton:.1e} of {row.tolerance:.1e} allowed, "
            f"{row.dtype} {row.shape}"
        )


def _share(row: Row) -> float:
    return row.triton / row.tolerance


def _main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 when a comparison fails, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m kernels_triton.crosscheck")
    parser.add_argument("--op", action="append", choices=tuple(OPERATIONS))
    names = [str(dtype).removeprefix("torch.") for dtype in TOLERANCES]
    parser.add_argument("--dtype", action="append", choices=names)
    parser.add_argument("--device", help="a torch device, for example cpu or cuda:1")
    parser.add_argument("--json", type=Path, help="a file for the rows, besides the table")
    options = parser.parse_args(arguments)
    dtypes = [getattr(torch, name) for name in options.dtype or names]

    try:
        device = _prepare(options.device)
    except ValueError as error_of_device:
        parser.error(str(error_of_device))  # exits with status 2
    print(f"{_mode(device)}; torch {torch.__version__}, jax {jax.__version__}")
    print("errors against float64, and of Triton against JAX")
    layout = "{:21} {:8} {:17} {:8} {:>8} {:>8} {:>8} {:>10} {:>9} {}"
    print(layout.format(*Row._fields))
    rows = []
    for row in crosscheck(options.op or tuple(OPERATIONS), dtypes, device):
        numbers = (f"{value:.1e}" for value in row[4:9])
        print(layout.format(*row[:4], *numbers, "pass" if row.passed else "FAIL"), flush=True)
        rows.append(row)
    print("worst errors of Triton")
    for line in _worst(rows):
        print(line)
    failures = sum(not row.passed for row in rows)
    print(f"{failures} failed" if failures else "all passed")
    if options.json:
        found = {
            "mode": _mode(device),
            "torch": torch.__version__,
            "jax": jax.__version__,
            "rows": [row._asdict() for row in rows],
        }
        options.json.write_text(json.dumps(found, indent=1) + "\n")
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(_main())
