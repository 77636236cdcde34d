"""Softmax, log-softmax and log-sum-exp."""

from collections.abc import Callable

import jax
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _rows(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    return lambda draw: {"x": 3 * draw.normal(n_rows, n_columns)}


_OPTIONS = {"temperature": 0.7}
_CASES = {
    "33x10": Case(_rows(33, 10), _OPTIONS),
    "7x1000 transposed": Case(_rows(7, 1000), _OPTIONS, transposed=True),
    "2x5000": Case(_rows(2, 5000), _OPTIONS),
}
# Short rows share a program, 4096 columns are one block, longer rows are read block by block.
_COMPILED = {f"{columns} columns": Case(_rows(64, columns)) for columns in (16, 4096, 16384)}


def _scaled(function: Callable) -> Callable:
    return lambda x, temperature: function(x / temperature, -1)


OPERATIONS = {
    "softmax": Operation(_scaled(torch.softmax), _scaled(jax.nn.softmax), _CASES, _COMPILED),
    "log_softmax": Operation(
        _scaled(torch.log_softmax), _scaled(jax.nn.log_softmax), _CASES, _COMPILED
    ),
    "logsumexp": Operation(
        _scaled(torch.logsumexp), _scaled(jax.scipy.special.logsumexp), _CASES, _COMPILED
    ),
}
