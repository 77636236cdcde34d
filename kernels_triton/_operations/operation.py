"""What is written down of an operation, and where its function and its reference are found."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import import_module
from typing import Any

import torch
from torch import Tensor


class Draw:
    """Random inputs, the same on every run: float32 on the CPU, cast by who uses them."""

    def __init__(self, seed: int = 0):
        self._generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape: int) -> Tensor:
        """Standard normal numbers."""
        return torch.randn(shape, generator=self._generator)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers between 0 and 1."""
        return torch.rand(shape, generator=self._generator)

    def integers(self, below: int, *shape: int) -> Tensor:
        """Numbers of int64 from 0 on, `below` left out."""
        return torch.randint(below, shape, generator=self._generator)


@dataclass(frozen=True)
class Case:
    """One call of an operation.

    Attributes:
      inputs: draws the tensors by the names of their parameters; floating ones are float32 and are
        cast to the dtype that is looked at, integers stay.
      options: the other arguments, by name.
      transposed: whether floating inputs with two axes are stored column by column.
    """

    inputs: Callable[[Draw], dict[str, Tensor]]
    options: Mapping[str, Any] = field(default_factory=dict)
    transposed: bool = False

    def tensors(self, dtype: torch.dtype, device: str = "cpu", seed: int = 0) -> dict[str, Tensor]:
        """The inputs in a dtype, on a device, in the layout of the case."""
        return {name: self._placed(x, dtype, device) for name, x in self.inputs(Draw(seed)).items()}

    def _placed(self, x: Tensor, dtype: torch.dtype, device: str) -> Tensor:
        if not x.is_floating_point():
            return x.to(device)
        x = x.to(device, dtype)
        return x.mT.contiguous().mT if self.transposed and x.ndim >= 2 else x


@dataclass(frozen=True)
class Operation:
    """What `crosscheck` and `compile_report` need of an operation besides its name.

    The function is the public one of that name, the reference in float64 is `<name>_reference` of
    the function's module. All are called as `function(**inputs, **options)` and return one tensor
    or a tuple of tensors.

    Attributes:
      torch: the same by torch alone, differentiable, at the precision of its arguments.
      jax: the same by JAX alone.
      cases: what is compared: small, several rows a program, a transposed matrix, several blocks.
      compiled: what is compiled: every variant that the launcher distinguishes.
      without_gradient: floating inputs that have no gradient.
    """

    torch: Callable
    jax: Callable
    cases: Mapping[str, Case]
    compiled: Mapping[str, Case]
    without_gradient: frozenset[str] = frozenset()

    def differentiable(self, inputs: Mapping[str, Tensor]) -> list[str]:
        """The names of the inputs that have a gradient."""
        return [
            name
            for name, x in inputs.items()
            if x.is_floating_point() and name not in self.without_gradient
        ]


def function_of(name: str) -> Callable:
    """The public function; the first use of a kernel imports triton, which fixes where it runs."""
    return getattr(_home_of(name), name)


def reference_of(name: str) -> Callable:
    """The float64 reference of an operation."""
    return getattr(_home_of(name), f"{name}_reference")


def _home_of(name: str) -> Any:
    # The package's own `__init__` holds where each public name lives.
    homes = import_module("kernels_triton")._HOMES
    return import_module(f"kernels_triton.{homes[name]}")


def outputs_of(result: Tensor | tuple[Tensor | None, ...]) -> list[Tensor]:
    """The tensors that an operation returned; what it was not asked for is None."""
    return [result] if isinstance(result, Tensor) else [x for x in result if x is not None]
