"""The E-step of a mixture of normal laws: the log-likelihood and all that the M-step needs.

With weights `w_n`, log-weights `a_k`, means `m_k` and `z_nk = W_k (x_n - m_k)`, where `W_k` is the
inverse of a Cholesky factor of the covariance (or, diagonal, of the standard deviations),

    l_nk = a_k + log det W_k - |z_nk|**2 / 2 - d log(2 pi) / 2,  r_nk = softmax_k l_nk,

    log_likelihood = sum_n w_n logsumexp_k l_nk,     counts_k = sum_n w_n r_nk,
    sums_k = sum_n w_n r_nk z_nk,    squares_k = sum_n w_n r_nk z_nk z_nk^T (or z_nk**2, diagonal).

The statistics are those of the whitened differences, not of `x`: near the current parameters `sums`
is small and `squares` close to `counts` times the identity, so that float32 keeps its digits
whatever the offset, the units or the condition of a component (raw second moments lose
`condition * eps` of the smallest variance, and the square of mean over deviation besides). With
`c_k = sums_k / counts_k` and the Cholesky factor `C_k` of `squares_k / counts_k - c_k c_k^T` the
M-step is `m_k + W_k^-1 c_k` and `C_k^-1 W_k`, again triangular: no covariance is ever formed.

One pass. A program takes tiles of rows one after the other and holds one at a time in registers: it
goes over the components once for the log-sum-exp of each row, online, and once more for the sums.
These it adds to its own partial sums, which stay in the cache; at the end those of the programs are
added in their order. No atomics, and nothing of N x K: the memory beside the data is
`K (1 + d + d**2)` numbers a program, 256 MB in all or what 132 programs need.

What must happen at least, N = 10**7, d = 16, K = 64, float32: the data are read once, 0.64 GB,
0.13 ms of an H200. Full: `3 N K d**2` multiply-adds (twice `z`, once `squares`), 0.98 Tflop, 15 ms
at its 67 Tflop/s of float32; the two products of a form in 153 quadratic features need 0.39 Tflop,
6 ms, and 6 GB where they are stored: they cancel, this does not. Diagonal: 9 operations an element
of N K d, 0.09 Tflop, 1.4 ms. Both are bound by arithmetic. Not run on a GPU.

`tl.dot` has `input_precision="ieee"`: TF32 would keep three digits of `z`. Half precision is
widened before the launch (inside, sm_100 takes TF32 all the same: triton-lang/triton issue 10176).
Beyond `d = 32` (full) or 256 (diagonal) no tile fits: the work is then torch's, by chunks of rows.

Conventions: a row of weight 0 counts for nothing, whatever is in it; a row with an infinite entry
(and no nan) has log-density `-inf` and belongs to no component; a nan makes the results nan. A
component of log-weight `-inf` has counts, sums and squares 0.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import (
    require_alike,
    require_floating,
    require_on_device,
    require_shape,
)
from kernels_triton._mixture_e_step_kernels import (
    mixture_e_step_kernel,
)

_LARGEST = {2: 256, 3: 32}  # columns of a tile, by the axes of inverse_scale
_TILES = {  # elements of a tile of rows that 8 warps hold unspilled, and most rows of a tile
    (torch.float32, 3): (1024, 64),
    (torch.float64, 3): (512, 32),
    (torch.float32, 2): (2048, 128),
    (torch.float64, 2): (1024, 64),
}
_MOST_PROGRAMS, _LEAST_PROGRAMS = 528, 132  # four, one for each multiprocessor of an H200
_MOST_BYTES = 2**28
_CHUNK = 2**22  # elements N K d that the formula in torch holds at once


class MixtureStatistics(NamedTuple):
    """What `mixture_e_step` returns; `z = inverse_scale_k (x - loc_k)` are whitened differences.

    `log_likelihood`: a scalar, nats. `counts`: `(K,)`, sums of the responsibilities. `sums`:
    `(K, d)`, of `z`. `squares`: `(K, d, d)` of `z z^T`, or `(K, d)` of `z**2`. `log_densities`:
    `(N,)` where they were asked for, else None.
    """

    log_likelihood: Tensor
    counts: Tensor
    sums: Tensor
    squares: Tensor
    log_densities: Tensor | None = None


def _partial_sums(
    x: Tensor, weights: Tensor, constants: Tensor, loc: Tensor, inverse: Tensor, per_row: bool
) -> tuple[Tensor, ...]:
    """The log-density of each row or of one, and what each program has summed: only launches.

    Args:
      x: in the accumulator's dtype.
      weights: of the rows, or empty where all weigh alike.
      constants: of each component.
      loc: filled up with zeros to a power of two, at least 16.
      inverse: likewise, matrices transposed.
      per_row: whether the log-densities are wanted.
    """
    full, (count, block) = inverse.ndim == 3, loc.shape
    tile, most_rows = _TILES[loc.dtype, inverse.ndim]
    rows = max(16 if full else 1, min(_launch.power_of_two(x.shape[0]), tile // block, most_rows))
    tiles = _launch.Tiling(rows, block, -(-x.shape[0] // rows), 1)
    bytes_each = count * (1 + block + inverse[0].numel()) * loc.element_size()
    most = min(_MOST_PROGRAMS, max(_LEAST_PROGRAMS, _MOST_BYTES // bytes_each))
    programs, steps = _launch.row_split(tiles.row_tiles, most)
    shapes = (x.shape[0] if per_row else 1,), (programs,), (programs, count)
    outputs = [loc.new_empty(shape) for shape in (*shapes, (programs, count, block))]
    outputs.append(loc.new_empty(programs, *inverse.shape))
    _launch.launch(
        mixture_e_step_kernel,
        tiles,
        programs,
        outputs,
        [x],
        weights,
        weights.stride(0),
        constants,
        loc,
        inverse,
        warps=8,
        num_stages=2,  # with 3 sm_80 spills
        FULL=full,
        WEIGHTED=weights.shape[0] > 0,
        PER_ROW=per_row,
        COMPONENTS=count,
        STEPS=steps,
    )
    return tuple(outputs)


@torch.library.custom_op("kernels_triton::mixture_e_step", mutates_args=())
def _mixture_e_step(
    x: Tensor,
    log_weights: Tensor,
    loc: Tensor,
    inverse_scale: Tensor,
    weights: Tensor | None,
    per_row: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The statistics, and the log-density of each row or an empty tensor."""
    constants = _constants(log_weights, inverse_scale)
    largest = _LARGEST[inverse_scale.ndim]
    if not (_launch.uses_triton(x) and x.numel() and len(loc) and x.shape[1] <= largest):
        return _mixture_e_step_torch(x, constants, loc, inverse_scale, weights, per_row)
    full, size = inverse_scale.ndim == 3, x.shape[1]
    block = max(16, _launch.power_of_two(size))
    densities, *partial = _partial_sums(
        x.to(loc.dtype),
        loc.new_empty(0) if weights is None else weights,
        constants,
        _filled(loc, block, 1),
        _filled(inverse_scale.mT if full else inverse_scale, block, inverse_scale.ndim - 1),
        per_row,
    )
    total, counts, sums, squares = (part.double().sum(0).to(part.dtype) for part in partial)
    squares = squares[:, :size, :size] if full else squares[:, :size]
    densities = densities if per_row else densities.new_empty(0)
    return total, counts, sums[:, :size].contiguous(), squares.contiguous(), densities


def _filled(values: Tensor, block: int, axes: int) -> Tensor:
    """Contiguous, the last axes filled up with zeros."""
    missing = [0, block - values.shape[-1]] * axes
    return torch.nn.functional.pad(values, missing).contiguous()


def _constants(log_weights: Tensor, inverse_scale: Tensor) -> Tensor:
    """`log w_k + log det W_k - d log(2 pi) / 2`, of a triangle by its diagonal."""
    diagonal = (
        inverse_scale.diagonal(dim1=-2, dim2=-1) if inverse_scale.ndim == 3 else inverse_scale
    )
    norm = 0.5 * diagonal.shape[-1] * math.log(2 * math.pi)
    found = log_weights.double() + diagonal.double().log().sum(-1) - norm
    return found.to(log_weights.dtype)


@_mixture_e_step.register_fake
def _(x, _log_weights, loc, inverse_scale, _weights, per_row):
    return (
        loc.new_empty(()),
        loc.new_empty(loc.shape[0]),
        loc.new_empty(loc.shape),
        loc.new_empty(inverse_scale.shape),
        loc.new_empty(x.shape[0] if per_row else 0),
    )


def _setup_context(ctx, inputs, output):
    _, _, _, inverse_scale, _, _ = inputs
    _, *statistics, _ = output
    ctx.save_for_backward(inverse_scale, *statistics)
    ctx.mark_non_differentiable(*output[1:])


def _autograd(ctx, cotangent, *_):
    # The gradient of a log-likelihood is a function of the sufficient statistics (Fisher).
    inverse_scale, counts, sums, squares = (value.double() for value in ctx.saved_tensors)
    if inverse_scale.ndim == 3:
        loc = (inverse_scale.mT @ sums.unsqueeze(-1)).squeeze(-1)
        inner = torch.linalg.solve(inverse_scale, squares).mT
        diagonal = inverse_scale.diagonal(dim1=-2, dim2=-1)
        scale = torch.diag_embed(counts[:, None] / diagonal) - inner
    else:
        loc = inverse_scale * sums
        scale = (counts[:, None] - squares) / inverse_scale
    dtype = ctx.saved_tensors[0].dtype
    gradients = ((cotangent.double() * value).to(dtype) for value in (counts, loc, scale))
    return None, *gradients, None, None


_mixture_e_step.register_autograd(_autograd, setup_context=_setup_context)


def _mixture_e_step_torch(
    x: Tensor,
    constants: Tensor,
    loc: Tensor,
    inverse_scale: Tensor,
    weights: Tensor | None,
    per_row: bool,
) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
    """The kernel's formulas in torch, by chunks of rows."""
    full, densities = inverse_scale.ndim == 3, [loc.new_empty(0)]
    likes = constants.sum(), constants, loc, inverse_scale
    totals = [like.new_zeros(like.shape, dtype=torch.float64) for like in likes]
    chunk = max(1, _CHUNK // max(1, loc.numel()))
    for start in range(0, x.shape[0], chunk):
        part = x[start : start + chunk].to(loc.dtype)
        weight = loc.new_ones(()) if weights is None else weights[start : start + chunk]
        infinite = part.isinf()
        far = infinite.any(1) & ~part.isnan().any(1)
        difference = torch.where(infinite, 0.0, part) - loc[:, None]
        z = difference @ inverse_scale.mT if full else difference * inverse_scale[:, None]
        joint = constants[:, None] - 0.5 * (z * z).sum(-1)
        density = torch.where(far, -torch.inf, joint.logsumexp(0))
        nothing = (weight == 0) | (density == -torch.inf)
        mass = torch.where(nothing, 0.0, weight * torch.exp(joint - density)).unsqueeze(-1)
        z = torch.where(mass == 0, 0.0, z)
        weighted = mass * z
        squares = weighted.mT @ z if full else (weighted * z).sum(1)
        values = torch.where(weight == 0, 0.0, weight * density).sum()
        parts = values, mass.sum((1, 2)), weighted.sum(1), squares
        for total, found in zip(totals, parts, strict=True):
            total += found
        densities += [density] if per_row else []
    total, counts, sums, squares = (value.to(loc.dtype) for value in totals)
    return total, counts, sums, squares, torch.cat(densities)


def mixture_e_step(
    x: Tensor,
    log_weights: Tensor,
    loc: Tensor,
    inverse_scale: Tensor,
    weights: Tensor | None = None,
    *,
    per_row: bool = False,
) -> MixtureStatistics:
    """E-step of a mixture of `K` normal laws, summed: nothing of the size `N K` is ever stored.

    The log-likelihood and, of each component, the sums of the responsibilities and of the whitened
    differences `z = inverse_scale_k (x - loc_k)` and their squares; the module says how the M-step
    follows from them. One read of `x`; `6 N K d**2` operations full, `9 N K d` diagonal.
    Deterministic. The log-likelihood has gradients to `log_weights`, `loc` and `inverse_scale`, at
    no cost: they are functions of the statistics.

    Args:
      x: observations, shape `(N, d)`, any strides; half precision is widened.
      log_weights: shape `(K,)`, of the dtype of `x` or, better than half precision, float32; `-inf`
        is no weight. They need not be normalized, and are not by this.
      loc: means, shape `(K, d)`, of the dtype of `log_weights`.
      inverse_scale: reciprocals of standard deviations, shape `(K, d)`; or triangular matrices `W`
        of positive diagonal, shape `(K, d, d)`, with `W^T W` the precision: inverses of Cholesky
        factors. Lower or upper is not asked: `log det W` is that of the diagonal.
      weights: of the rows, non-negative, shape `(N,)`, of the dtype of `log_weights`; None weighs
        all alike.
      per_row: whether to return the log-density of each row as well.

    Returns:
      The `MixtureStatistics`, float64 for float64 and otherwise float32; only `log_likelihood` is
      differentiable.

    Raises:
      NotImplementedError: `x` or `weights` require a gradient, or an argument carries a tangent of
        forward mode.
      TypeError: an argument is not a dense floating tensor, or of another dtype.
      ValueError: a wrong shape, or another device.

    References:
      [Dempster1977] section 4.3; [Milakov2018] (the online sum of a row).

    Examples:
      >>> x = torch.tensor([[-1.0], [1.0]])
      >>> found = mixture_e_step(x, torch.zeros(1), torch.zeros(1, 1), torch.ones(1, 1))
      >>> found.counts.tolist(), found.sums.tolist(), found.squares.tolist()
      ([2.0], [[0.0]], [[2.0]])
    """
    _require_all(x, log_weights, loc, inverse_scale, weights)
    dtype = _launch.accumulator(x.dtype)
    weights = None if weights is None else weights.to(dtype)
    log_weights, loc, inverse_scale = (v.to(dtype) for v in (log_weights, loc, inverse_scale))
    found = _mixture_e_step(x, log_weights, loc, inverse_scale, weights, per_row)
    likelihood, counts, sums, squares, *density = found
    return MixtureStatistics(likelihood, counts, sums, squares, density[0] if per_row else None)


def _require_all(
    x: Tensor, log_weights: Tensor, loc: Tensor, inverse_scale: Tensor, weights: Tensor | None
) -> None:
    """Check the arguments.

    Raises:
      NotImplementedError: data that require a gradient.
      TypeError: no dense floating tensor, or one of another dtype.
      ValueError: a wrong shape or device.
    """
    require_floating("x", x)
    if x.ndim != 2:
        raise ValueError(
            f"x must have shape (N, d); got {tuple(x.shape)}. Flatten other axes into the first."
        )
    require_floating("log_weights", log_weights)
    if log_weights.dtype not in (x.dtype, dtype := _launch.accumulator(x.dtype)):
        raise TypeError(
            f"log_weights must be {dtype} beside x of {x.dtype}; got {log_weights.dtype}. Cast the "
            f"parameters with .to({dtype})."
        )
    given = {"log_weights": log_weights, "loc": loc, "inverse_scale": inverse_scale}
    given |= {} if weights is None else {"weights": weights}
    for name, value in given.items():
        require_floating(name, value)
        require_alike(name, value, "log_weights", log_weights)
    require_on_device("log_weights", log_weights, "x", x)
    count, size = log_weights.numel(), x.shape[1]
    shapes = {"log_weights": [(count,)], "loc": [(count, size)], "weights": [(x.shape[0],)]}
    shapes["inverse_scale"] = [(count, size), (count, size, size)]
    for name, value in given.items():
        require_shape(name, value, *shapes[name])
    for name, value in (("x", x), ("weights", weights)):
        if value is not None and value.requires_grad and torch.is_grad_enabled():
            raise NotImplementedError(
                f"{name} must not require a gradient, which mixture_e_step has not; got one that "
                f"does. Pass {name}.detach(), or torch's own functions of a density."
            )


def mixture_e_step_reference(
    x: Tensor,
    log_weights: Tensor,
    loc: Tensor,
    inverse_scale: Tensor,
    weights: Tensor | None = None,
    *,
    per_row: bool = False,
) -> MixtureStatistics:
    """`mixture_e_step` by torch in float64, all responsibilities at once; differentiable."""
    x, log_weights, loc = x.double(), log_weights.double(), loc.double()
    inverse_scale = inverse_scale.double()
    weights = torch.ones_like(x[:, 0]) if weights is None else weights.double()
    matrix = inverse_scale if inverse_scale.ndim == 3 else torch.diag_embed(inverse_scale)
    z = torch.einsum("kij,nkj->nki", matrix, x[:, None] - loc)
    volume = matrix.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    norm = 0.5 * x.shape[1] * math.log(2 * math.pi)
    joint = log_weights + volume - norm - 0.5 * (z * z).sum(-1)
    densities = joint.logsumexp(1)
    mass = weights[:, None] * torch.softmax(joint, dim=1)
    squares = torch.einsum("nk,nki,nkj->kij", mass, z, z)
    return MixtureStatistics(
        (weights * densities).sum(),
        mass.sum(0),
        torch.einsum("nk,nki->ki", mass, z),
        squares if inverse_scale.ndim == 3 else squares.diagonal(dim1=-2, dim2=-1),
        densities if per_row else None,
    )
