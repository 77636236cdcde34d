"""The log-density of normal observations."""

from collections.abc import Callable

import jax
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _observations(n_rows: int, n_columns: int) -> Callable[[Draw], dict[str, Tensor]]:
    shape = (n_rows, n_columns)
    return lambda draw: {
        "x": draw.normal(*shape),
        "loc": draw.normal(*shape),
        "scale": 0.5 + draw.normal(*shape).abs(),
    }


_CASES = {
    "33x10": Case(_observations(33, 10)),
    "7x1000 transposed": Case(_observations(7, 1000), transposed=True),
    "2x5000": Case(_observations(2, 5000)),
}
_COMPILED = {"64x4096": Case(_observations(64, 4096))}


def _in_torch(x: Tensor, loc: Tensor, scale: Tensor) -> Tensor:
    return torch.distributions.Normal(loc, scale).log_prob(x)


OPERATIONS = {
    "normal_log_density": Operation(_in_torch, jax.scipy.stats.norm.logpdf, _CASES, _COMPILED),
    "normal_log_likelihood": Operation(
        lambda **inputs: _in_torch(**inputs).sum(),
        lambda **inputs: jax.scipy.stats.norm.logpdf(**inputs).sum(),
        _CASES,
        _COMPILED,
    ),
}
