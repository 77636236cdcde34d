"""Reference values: how they are read, computed in batches, and compared.

A file holds `{"schema", "about", "inputs", "cases"}`; `about` says how its values were made and
what a row of `cases` is. The rule of comparison:

- a number: `|got - true| / |true|`; an array: `max |got - true| / max |true|` over finite entries;
- a true value beyond the range of the dtype must come as that infinity, one below the smallest
  normal number as anything up to twice that number (flushing to zero is allowed);
- a true 0 allows 8 eps;
- nan, a wrong infinity, or a negative value where theory says non-negative: error inf.
"""

import dataclasses
import functools
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from tests.reference.goals import Errors, is_of_matrices

FOLDER = Path(__file__).parent
SCHEMA = "igeojax-reference-values-1"
NON_NEGATIVE = (
    *("_kl", "_alpha", "_renyi", "_hellinger", "_bhattacharyya", "_js"),
    *("bregman_itakura_saito", "bregman_negentropy", "bregman_logdet"),
)


@dataclasses.dataclass(frozen=True)
class Case:
    """One true value, for exactly the binary numbers of `inputs`."""

    quantity: str
    inputs: dict[str, Any]
    order: float | None
    value: np.ndarray
    exact_in_float32: bool
    condition: float | None


@functools.cache
def _cases(name: str) -> tuple[Case, ...]:
    content = json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))
    if content["schema"] != SCHEMA:
        raise ValueError(f"{name}.json must have schema {SCHEMA!r}; got {content['schema']!r}.")
    inputs = [
        {key: np.asarray(value, dtype=float) for key, value in row.items()}
        for row in content["inputs"]
    ]
    return tuple(
        Case(quantity, inputs[index], order, np.asarray(value, dtype=float), exact, condition)
        for quantity, index, order, value, exact, condition in content["cases"]
    )


def quantities(name: str) -> list[str]:
    """The quantities of a file."""
    return sorted({case.quantity for case in _cases(name)})


def load(name: str, quantity: str, dtype: str) -> list[Case]:
    """The cases of one quantity; for float32 only those whose inputs are exact there."""
    return [
        case
        for case in _cases(name)
        if case.quantity == quantity and (dtype == "float64" or case.exact_in_float32)
    ]


def evaluate(function: Callable[..., Any], cases: list[Case], dtype: str) -> list[np.ndarray]:
    """`function(order, **inputs)` of every case, one compiled batch for each set of shapes."""
    groups: dict[tuple, list[int]] = {}
    for index, case in enumerate(cases):
        shapes = tuple((name, value.shape) for name, value in case.inputs.items())
        groups.setdefault(shapes, []).append(index)
    results: list[np.ndarray] = [np.empty(0)] * len(cases)
    batched = jax.jit(jax.vmap(lambda order, inputs: function(order, **inputs)))
    for indices in groups.values():
        stacked = {
            name: np.stack([cases[i].inputs[name] for i in indices]).astype(dtype)
            for name in cases[indices[0]].inputs
        }
        orders = np.array([cases[i].order or 0.0 for i in indices], dtype)
        got = batched(orders, stacked)
        if got.dtype != dtype:
            raise TypeError(f"{dtype} inputs must give {dtype} values; got {got.dtype}.")
        for index, row in zip(indices, np.asarray(got), strict=True):
            results[index] = row
    return results


def pad(case: Case, length: int) -> Case:
    """The case embedded in `length` classes or coordinates, which leaves its value as it is.

    Impossible outcomes (`-inf` logits, 0 probabilities) are put before a case's own; a multivariate
    normal law gets independent coordinates of the same law on both sides. One shape compiles once.
    """

    def extended(name: str, value: np.ndarray) -> np.ndarray:
        more = length - value.shape[-1]
        if name.startswith("cov"):
            # Variance 1 / (2 pi e): such a coordinate has entropy 0.
            matrix = np.eye(length) / (2 * math.pi * math.e)
            matrix[more:, more:] = value
            return matrix
        fill = -np.inf if name.startswith(("logits", "x")) else 0.0
        return np.concatenate([np.full(more, fill), value])

    return dataclasses.replace(
        case, inputs={name: extended(name, value) for name, value in case.inputs.items()}
    )


def relative_error(case: Case, got: np.ndarray, dtype: str, non_negative: bool) -> float:
    """The error of one result by the rule of this module."""
    limits = np.finfo(dtype)
    tiny, largest, eps = float(limits.tiny), float(limits.max), float(limits.eps)
    if got.shape != case.value.shape:
        return math.inf
    true, got = case.value.ravel(), got.astype(float).ravel()
    if np.isnan(got).any() or (non_negative and (got < 0).any()):
        return math.inf
    beyond = np.abs(true) > largest
    if not (got[beyond] == np.copysign(np.inf, true[beyond])).all():
        return math.inf
    true, got = true[~beyond], got[~beyond]
    if np.isinf(got).any():
        return math.inf
    if true.size == 0:
        return 0.0
    size = float(np.abs(true).max())
    gap = float(np.abs(got - true).max())
    if case.value.ndim == 0 and size == 0:
        return 0.0 if gap <= 8 * eps else gap
    if case.value.ndim == 0 and size < tiny and gap <= 2 * tiny:
        return 0.0
    return gap / (size if size > tiny or case.value.ndim == 0 else 1.0)


def is_non_negative(case: Case) -> bool:
    """Whether theory says that the value of a case is not negative."""
    divergence = case.quantity.endswith(NON_NEGATIVE) and not case.quantity.startswith("grad_")
    divergence = divergence or case.quantity.startswith("fr_")
    # A Renyi divergence of negative order is not positive.
    negative_order = case.order is not None and case.order < 0
    return divergence and not (case.quantity.endswith("_renyi") and negative_order)


def errors(
    name: str, quantity: str, dtype: str, function: Callable[..., Any]
) -> list[tuple[float, Case]]:
    """All cases of a quantity with their errors."""
    cases = load(name, quantity, dtype)
    if not cases:
        raise ValueError(f"{name}.json must hold cases of {quantity!r} for {dtype}; got none.")
    embedded = cases
    if name in {"categorical", "multivariate_normal"}:
        length = max(value.shape[-1] for case in cases for value in case.inputs.values())
        embedded = [pad(case, length) for case in cases]
    found = []
    for case, got in zip(cases, evaluate(function, embedded, dtype), strict=True):
        own = got[tuple(slice(-size, None) for size in case.value.shape)]
        found.append((relative_error(case, own, dtype, is_non_negative(case)), case))
    return found


def condition_of_matrices(case: Case) -> float:
    """Sum of the condition numbers of the covariances of a case."""
    return sum(
        float(np.linalg.cond(value))
        for name, value in case.inputs.items()
        if name.startswith("cov")
    )


def ranked(found: list[tuple[float, Case]], dtype: str) -> list[tuple[float, Case]]:
    """The same, worst first, in the unit of the table."""
    eps = float(np.finfo(dtype).eps)
    unit = lambda case: (
        eps * (1 + condition_of_matrices(case)) if is_of_matrices(case.quantity) else 1.0
    )
    return sorted(((error / unit(case), case) for error, case in found), key=lambda pair: -pair[0])


def percentiles(errors_found: list[float]) -> Errors:
    """Worst, 90th percentile and median."""
    worst_first = sorted(errors_found, reverse=True)
    count = len(worst_first)
    return Errors(worst_first[0], worst_first[count // 10], worst_first[count // 2])


def summary(name: str, quantity: str, dtype: str, function: Callable[..., Any]) -> Errors:
    """What the table says of one quantity."""
    found = ranked(errors(name, quantity, dtype, function), dtype)
    return percentiles([error for error, _ in found])
