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
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import torch

from kernels_triton._tolerances import TOLERANCES, error
from kernels_triton.jax_bridge import to_jax, to_torch

OPERATIONS = (
    "softmax",
    "log_softmax",
    "logsumexp",
    "normal_log_density",
    "normal_log_likelihood",
)
"""The names that `crosscheck` knows."""

_TEMPERATURE = 0.7
# Several rows a program; a transposed matrix; rows of more than one block.
_CASES = {"33x10": (33, 10), "7x1000 transposed": (1000, 7), "2x5000": (2, 5000)}


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


class _Operation(NamedTuple):
    """Four implementations of one operation."""

    triton: Callable
    reference: Callable
    torch: Callable
    jax: Callable


def _operations() -> dict[str, _Operation]:
    # Imported here: importing a kernel imports triton, which fixes where it runs.
    import kernels_triton._normal_log_density as normal
    import kernels_triton._softmax as rows

    def tempered(function: Callable) -> Callable:
        return lambda x: function(x, _TEMPERATURE)

    def scaled(function: Callable) -> Callable:
        return lambda x: function(x / _TEMPERATURE, -1)

    def torch_density(x: torch.Tensor, loc: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        return torch.distributions.Normal(loc, scale).log_prob(x)

    return {
        "softmax": _Operation(
            tempered(rows.softmax),
            tempered(rows.softmax_reference),
            scaled(torch.softmax),
            scaled(jax.nn.softmax),
        ),
        "log_softmax": _Operation(
            tempered(rows.log_softmax),
            tempered(rows.log_softmax_reference),
            scaled(torch.log_softmax),
            scaled(jax.nn.log_softmax),
        ),
        "logsumexp": _Operation(
            tempered(rows.logsumexp),
            tempered(rows.logsumexp_reference),
            scaled(torch.logsumexp),
            scaled(jax.scipy.special.logsumexp),
        ),
        "normal_log_density": _Operation(
            normal.normal_log_density,
            normal.normal_log_density_reference,
            torch_density,
            jax.scipy.stats.norm.logpdf,
        ),
        "normal_log_likelihood": _Operation(
            normal.normal_log_likelihood,
            normal.normal_log_likelihood_reference,
            lambda *inputs: torch_density(*inputs).sum(),
            lambda *inputs: jax.scipy.stats.norm.logpdf(*inputs).sum(),
        ),
    }


def crosscheck(
    operations: Sequence[str] = OPERATIONS,
    dtypes: Sequence[torch.dtype] = tuple(TOLERANCES),
    device: str | None = None,
) -> Iterator[Row]:
    """Compare the kernels with torch, JAX and float64.

    Without a GPU it sets `TRITON_INTERPRET=1` for the process, unless triton is imported already:
    then a CPU tensor is computed as everywhere else, by the kernels' formulas in torch.

    Args:
      operations: names out of `OPERATIONS`.
      dtypes: storage dtypes.
      device: a torch device; by default a GPU where there is one.

    Yields:
      Two rows, value and gradient, for each operation, dtype and shape.

    Raises:
      TypeError: an entry of `dtypes` is not one of the dtypes that the kernels know.
      ValueError: an unknown operation, or a device that is not here.

    Examples:
      >>> [row.passed for row in crosscheck(["softmax"], [torch.float32])]
      [True, True, True, True, True, True]
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
    table = _operations()
    for name in operations:
        for dtype in dtypes:
            for case in _CASES:
                yield from _compare(name, table[name], dtype, case, device)


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


def _inputs(name: str, dtype: torch.dtype, case: str, device: str) -> list[torch.Tensor]:
    generator = torch.Generator().manual_seed(0)

    def draw() -> torch.Tensor:
        values = torch.randn(_CASES[case], generator=generator).to(device, dtype)
        return values.T if case.endswith("transposed") else values

    if name.startswith("normal"):
        return [draw(), draw(), 0.5 + draw().abs()]
    return [3 * draw()]


def _compare(
    name: str, operation: _Operation, dtype: torch.dtype, case: str, device: str
) -> Iterator[Row]:
    inputs = _inputs(name, dtype, case, device)
    output = operation.triton(*inputs)
    cotangent = torch.rand(output.shape, generator=torch.Generator().manual_seed(1))
    cotangent = cotangent.to(output)
    accumulator = torch.promote_types(dtype, torch.float32)

    def in_torch(*inputs: torch.Tensor) -> torch.Tensor:
        return operation.torch(*(x.to(accumulator) for x in inputs)).to(output.dtype)

    double = [x.double() for x in inputs]
    exact = _value_and_gradients(operation.reference, double, cotangent.double())
    found = {
        "triton": _value_and_gradients(operation.triton, inputs, cotangent),
        "torch": _value_and_gradients(in_torch, inputs, cotangent),
        "jax": _value_and_gradients_in_jax(operation.jax, inputs, cotangent),
    }
    pairs = [(found["triton"], exact), (found["torch"], exact), (found["jax"], exact)]
    pairs.append((found["triton"], found["jax"]))
    for quantity, part in (("value", slice(0, 1)), ("gradient", slice(1, None))):
        errors = [
            torch.tensor([error(a, b) for a, b in zip(left[part], right[part], strict=True)])
            .max()
            .item()  # Python's max would drop a nan
            for left, right in pairs
        ]
        tolerance = TOLERANCES[output.dtype if quantity == "value" else dtype]
        passed = all(value <= tolerance for value in errors)
        label = str(dtype).removeprefix("torch.")
        yield Row._make([name, label, case, quantity, *errors, tolerance, passed])


def _value_and_gradients(
    function: Callable, inputs: Sequence[torch.Tensor], cotangent: torch.Tensor
) -> list[torch.Tensor]:
    inputs = [x.detach().requires_grad_() for x in inputs]
    output = function(*inputs)
    return [output.detach(), *torch.autograd.grad(output, inputs, cotangent)]


def _value_and_gradients_in_jax(
    function: Callable, inputs: Sequence[torch.Tensor], cotangent: torch.Tensor
) -> list[torch.Tensor]:
    """The same by JAX, the tensors passed both ways across the bridge."""
    device = inputs[0].device if jax.default_backend() != "cpu" else torch.device("cpu")

    @jax.jit
    def compiled(arrays: list[jax.Array], cotangent: jax.Array) -> list[jax.Array]:
        def in_accumulator(*arrays: jax.Array) -> jax.Array:
            wide = [x.astype(jax.numpy.promote_types(x.dtype, jax.numpy.float32)) for x in arrays]
            return function(*wide).astype(cotangent.dtype)

        value, pull_back = jax.vjp(in_accumulator, *arrays)
        return [value, *pull_back(cotangent)]

    with jax.enable_x64(inputs[0].dtype == torch.float64):
        arrays = [to_jax(x.to(device)) for x in inputs]
        results = compiled(arrays, to_jax(cotangent.to(device)))
    return [to_torch(x).to(inputs[0].device) for x in results]


def _mode(device: str) -> str:
    import kernels_triton._launch as launch

    version = f"triton {launch.triton.__version__}" if launch.triton else "no triton"
    if launch.INTERPRETED:
        return f"{version}, interpreter on {device}; not run on a GPU"
    if device != "cpu":
        return f"{version}, compiled for {torch.cuda.get_device_name(device)}"
    return f"{version}: the torch formulas on CPU in place of the kernels; not run on a GPU"


def _main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; the exit status is 1 when a comparison fails, 2 for wrong arguments."""
    parser = argparse.ArgumentParser(prog="python -m kernels_triton.crosscheck")
    parser.add_argument("--op", action="append", choices=OPERATIONS)
    names = [str(dtype).removeprefix("torch.") for dtype in TOLERANCES]
    parser.add_argument("--dtype", action="append", choices=names)
    parser.add_argument("--device", help="a torch device, for example cpu or cuda:1")
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
    failures = 0
    for row in crosscheck(options.op or OPERATIONS, dtypes, device):
        numbers = (f"{value:.1e}" for value in row[4:9])
        print(layout.format(*row[:4], *numbers, "pass" if row.passed else "FAIL"), flush=True)
        failures += not row.passed
    print(f"{failures} failed" if failures else "all passed")
    return int(failures > 0)


if __name__ == "__main__":
    raise SystemExit(_main())
