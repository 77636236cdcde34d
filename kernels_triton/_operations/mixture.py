"""The E-step of normal mixtures."""

import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import torch
from torch import Tensor

from kernels_triton._operations.operation import Case, Draw, Operation


def _mixture(
    n_rows: int, n_columns: int, components: int, full: bool
) -> Callable[[Draw], dict[str, Tensor]]:
    def inputs(draw: Draw) -> dict[str, Tensor]:
        scale = 0.7 + 0.2 * draw.uniform(components, n_columns)
        below = 0.1 * draw.normal(components, n_columns, n_columns).tril(-1)
        return {
            "x": draw.normal(n_rows, n_columns),
            "log_weights": torch.log_softmax(draw.normal(components), 0),
            "loc": draw.normal(components, n_columns),
            "inverse_scale": torch.diag_embed(scale) + below if full else scale,
        }

    return inputs


def _in_torch(
    x: Tensor, log_weights: Tensor, loc: Tensor, inverse_scale: Tensor
) -> tuple[Tensor, ...]:
    full = inverse_scale.ndim == 3
    difference = x - loc[:, None]
    z = difference @ inverse_scale.mT if full else difference * inverse_scale[:, None]
    diagonal = inverse_scale.diagonal(dim1=1, dim2=2) if full else inverse_scale
    constants = log_weights + diagonal.log().sum(1) - 0.5 * x.shape[1] * math.log(2 * math.pi)
    joint = constants[:, None] - 0.5 * (z * z).sum(2)
    mass = torch.softmax(joint, 0)[..., None]
    squares = (mass * z).mT @ z if full else (mass * z * z).sum(1)
    return joint.logsumexp(0).sum(), mass.sum((1, 2)), (mass * z).sum(1), squares


def _in_jax(
    x: jax.Array, log_weights: jax.Array, loc: jax.Array, inverse_scale: jax.Array
) -> tuple[jax.Array, ...]:
    full = inverse_scale.ndim == 3
    difference = x[None] - loc[:, None]
    text = "kni,kji->knj" if full else "kni,ki->kni"
    z = jnp.einsum(text, difference, inverse_scale, precision="highest")
    diagonal = jnp.diagonal(inverse_scale, axis1=1, axis2=2) if full else inverse_scale
    norm = 0.5 * x.shape[1] * math.log(2 * math.pi)
    joint = (log_weights + jnp.log(diagonal).sum(1) - norm)[:, None] - 0.5 * (z * z).sum(2)
    mass = jax.nn.softmax(joint, axis=0)[..., None]
    text = "kni,knj->kij" if full else "kni,kni->ki"
    squares = jnp.einsum(text, mass * z, z, precision="highest")
    density = jax.scipy.special.logsumexp(joint, axis=0)
    return density.sum(), mass.sum((1, 2)), (mass * z).sum(1), squares


def _cases(sizes: dict[str, tuple[int, int, int]], transposed: str = "") -> dict[str, Case]:
    return {
        f"{label} {kind}": Case(_mixture(*size, kind == "full"), transposed=label == transposed)
        for label, size in sizes.items()
        for kind in ("full", "diagonal")
    }


OPERATIONS = {
    "mixture_e_step": Operation(
        _in_torch,
        _in_jax,
        _cases({"33x3": (33, 3, 4), "7x10 transposed": (7, 10, 2)}, "7x10 transposed"),
        _cases({"16 columns": (2**17, 16, 64), "32 columns": (2**17, 32, 64)}),
        # Of its results only the log-likelihood has a gradient; the tests of the module look at it.
        frozenset({"x", "log_weights", "loc", "inverse_scale"}),
    )
}
