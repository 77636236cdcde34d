"""The one table of tolerances, for tests and for the cross-check.

A result `a` agrees with `b` when `|a - b| <= tolerance * max(1, |b|)`. Half precision is computed
in float32 and rounded once, which leaves half a unit in the last place; a whole unit is allowed, so
that two correct results also agree with each other. float32 is allowed 32 units, for the fast
exponential and division of GPUs. Where float64 is tested the float64 reference is itself rounded.
"""

import torch

TOLERANCES = {
    torch.float16: 1e-3,
    torch.bfloat16: 8e-3,
    torch.float32: 4e-6,
    torch.float64: 1e-13,
}


def error(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """The largest `|a - b| / max(1, |b|)`; nan where either has one, 0 for empty tensors."""
    actual, expected = (tensor.detach().double().cpu() for tensor in (actual, expected))
    if not expected.numel():
        return 0.0
    return ((actual - expected).abs() / expected.abs().clamp(min=1.0)).max().item()
