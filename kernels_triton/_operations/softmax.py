"""Softmax, log-softmax and log-sum-exp."""

from collections.abc import Callable
from typing import Any

import jax
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _rows(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    return lambda draw: {"x": 3 * draw.normal(n_rows, n_columns)}


def _masked(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    def draw_inputs(draw: Draw) -> dict[str, Tensor]:
        return {"x": 3 * draw.normal(n_rows, n_columns), "mask": draw.normal(n_columns)}

    return draw_inputs


_OPTIONS = {"temperature": 0.7}
_CASES = {
    "33x10": Case(_rows(33, 10), _OPTIONS),
    "7x1000 transposed": Case(_rows(7, 1000), _OPTIONS, transposed=True),
    "2x5000": Case(_rows(2, 5000), _OPTIONS),
    "3x33 masked": Case(_masked(3, 33), _OPTIONS),
}
# Of log_softmax no peer's gradient is good enough at this length.
_LONG_CASES = _CASES | {"1x40001 in parts": Case(_rows(1, 40001), _OPTIONS)}
# Short rows share a program; 8 divides 1000; 4096 columns are one block of all, 16384 not of
# log-sum-exp, 32768 of forward passes only; 50257 has edges; few longer rows are split.
_COMPILED = {
    f"{columns} columns": Case(_rows(64, columns)) for columns in (16, 1000, 4096, 16384, 32768)
} | {
    "132 rows of 50257": Case(_rows(132, 50257)),
    "8 rows of 131072": Case(_rows(8, 131072)),
    "4096 columns masked": Case(_masked(64, 4096)),
}


def _scaled(function: Callable) -> Callable:
    return lambda x, temperature, mask=None: function(_masked_by(x, mask) / temperature, -1)


def _masked_by(x: Any, mask: Any) -> Any:
    # Broadcast by hand: JAX may be told to refuse to add axes.
    return x if mask is None else x + mask.reshape((1,) * (x.ndim - mask.ndim) + mask.shape)


OPERATIONS = {
    "softmax": Operation(_scaled(torch.softmax), _scaled(jax.nn.softmax), _LONG_CASES, _COMPILED),
    "log_softmax": Operation(
        _scaled(torch.log_softmax), _scaled(jax.nn.log_softmax), _CASES, _COMPILED
    ),
    "logsumexp": Operation(
        _scaled(torch.logsumexp), _scaled(jax.scipy.special.logsumexp), _LONG_CASES, _COMPILED
    ),
}
