"""The log-density of rows under a normal law of given Cholesky factor, forward and backward.

    log N(x; loc, L L^T) = -|z|**2 / 2 - log det L - d log(2 pi) / 2,  z = W (x - loc),  W = L^-1,

with derivatives, for cotangents `g` and the sums `s = sum g z`, `M = sum g z z^T`, `c = sum g`,

    -g W^T z in a row,  W^T s in loc,  the lower triangle of W^T M - c diag(1 / L_ii) in L.

Rows are whitened by the product with `W` rather than by substitution. `W` is found in float64 and
rounded once, so that both have the same bound of the error of `z`: `d eps |W| |L| |z|`, entry by
entry, of the order of `eps sqrt(condition)` where the condition is that of `L L^T`
([Higham2002] chapter 8 and section 14.2). Substitution is a chain of `d` steps with nothing for the
units that multiply matrices; the product is one `tl.dot` of a tile of rows, in which the difference
`x - loc` is taken before it.

`tl.dot` has `input_precision="ieee"`: TF32 would keep three digits of `z`. A program takes tiles of
rows one after the other, so that `W`, `s`, `M` and `c` stay in registers; what programs found is
added in their order, without atomics. Beyond `d = 32` nothing of that fits: the work is then three
products of large matrices, which are torch's. Half precision is widened before the launch: where
the kernel does it, triton 3.7 takes TF32 on sm_100 all the same (triton-lang/triton issue 10176).

Conventions: a row with an infinite entry (and no nan) has log-density `-inf`, and no gradient: nan;
a nan stays in its row; a row whose cotangent is 0 adds nothing to any gradient.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

import kernels_triton._launch as _launch
from kernels_triton._checks import (
    require_alike,
    require_floating,
    require_number_or_tensor,
    require_rows,
    require_shape,
)
from kernels_triton._multivariate_normal_kernels import (
    multivariate_normal_backward_kernel,
    multivariate_normal_kernel,
)

_LARGEST = 32  # columns of a tile of rows that is multiplied at once
_ROWS = 64  # rows of a tile: more of them spill, in the three products of the backward pass
_MOST_PROGRAMS = 1024


def _tiling(matrix: Tensor) -> tuple[_launch.Tiling, int, int]:
    """Tiles of at least 16 rows and columns, as `tl.dot` asks for; programs and steps of each."""
    block = max(16, _launch.power_of_two(matrix.shape[1]))
    rows = max(16, min(_launch.power_of_two(matrix.shape[0]), _ROWS))
    tiles = _launch.Tiling(rows, block, -(-matrix.shape[0] // rows), 1)
    return tiles, *_launch.row_split(tiles.row_tiles, _MOST_PROGRAMS)


def _whitening(scale_tril: Tensor) -> Tensor:
    """The inverse of the factor by substitution in float64."""
    identity = torch.eye(scale_tril.shape[0], dtype=torch.float64, device=scale_tril.device)
    return torch.linalg.solve_triangular(scale_tril.double(), identity, upper=False)


def _constant(scale_tril: Tensor) -> Tensor:
    norm = 0.5 * scale_tril.shape[0] * math.log(2 * math.pi)
    return -scale_tril.diagonal().double().log().sum() - norm


def _takes_kernel(x: Tensor) -> bool:
    return _launch.uses_triton(x) and 0 < x.shape[-1] <= _LARGEST and x.numel() > 0


def _densities(x: Tensor, loc: Tensor, whitening: Tensor, constant: Tensor, reduce: bool) -> Tensor:
    """The log-densities of rows, or what each program has summed: only launches."""
    matrix = _launch.as_rows(x)
    tiles, programs, steps = _tiling(matrix)
    out = x.new_empty((programs,) if reduce else x.shape[:-1])
    _launch.launch(
        multivariate_normal_kernel,
        tiles,
        programs,
        [out],
        [matrix],
        loc,
        whitening,
        constant,
        warps=8,
        REDUCE=reduce,
        STEPS=steps,
    )
    return out


def _backward_sums(
    cotangent: Tensor, x: Tensor, loc: Tensor, whitening: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The gradient to rows and `c`, `s`, `M` of each program: only launches."""
    matrix = _launch.as_rows(x)
    tiles, programs, steps = _tiling(matrix)
    gradient = x.new_empty(x.shape if needs[0] else (1,))
    shapes = (programs,), (programs, tiles.block), (programs, tiles.block, tiles.block)
    count, total, square = (x.new_empty(shape) for shape in shapes)
    _launch.launch(
        multivariate_normal_backward_kernel,
        tiles,
        programs,
        [gradient, count, total, square],
        [matrix, cotangent.reshape(-1, 1)],
        loc,
        whitening,
        warps=8,
        NEEDS_X=needs[0],
        NEEDS_PARAMETERS=needs[1] or needs[2],
        STEPS=steps,
    )
    return gradient, count, total, square


@torch.library.custom_op("kernels_triton::multivariate_normal_log_density", mutates_args=())
def _multivariate_normal(x: Tensor, loc: Tensor, scale_tril: Tensor, reduce: bool) -> Tensor:
    """The log-density of each row, or its sum in the accumulator's dtype."""
    if not _takes_kernel(x):
        return _multivariate_normal_torch(x, loc, scale_tril, reduce)
    dtype = _launch.accumulator(x.dtype)
    whitening = _whitening(scale_tril).to(dtype).contiguous()
    constant, loc = _constant(scale_tril).to(dtype), loc.to(dtype).contiguous()
    out = _densities(x.to(dtype), loc, whitening, constant, reduce)
    return out.sum() if reduce else out.to(x.dtype)


@torch.library.custom_op(
    "kernels_triton::multivariate_normal_log_density_backward", mutates_args=()
)
def _multivariate_normal_backward(
    cotangent: Tensor, x: Tensor, loc: Tensor, scale_tril: Tensor, needs: list[bool]
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients to `x`, `loc` and the factor, empty where `needs` says that none is wanted."""
    gradients = _launch.empty_gradients(needs, x, loc, scale_tril)
    dtype, size = _launch.accumulator(x.dtype), x.shape[-1]
    whitening = _whitening(scale_tril)
    if _takes_kernel(x):
        wide_loc, wide = (value.to(dtype).contiguous() for value in (loc, whitening))
        pull, *parts = _backward_sums(cotangent.to(dtype), x.to(dtype), wide_loc, wide, needs)
        count, total, square = (part.double().sum(0) for part in parts)
        total, square = total[:size], square[:size, :size]
    else:
        pull, *totals = _backward_torch(cotangent, x, loc, whitening.to(dtype))
        count, total, square = (value.double() for value in totals)
    if needs[0]:
        gradients[0].copy_(pull)
    if needs[1]:
        gradients[1].copy_(whitening.T @ total)
    if needs[2]:
        volume = torch.eye(size, dtype=count.dtype, device=x.device) * count
        inner = whitening.T @ square - volume / scale_tril.diagonal().double()
        gradients[2].copy_(inner.tril())
    return gradients


@_multivariate_normal.register_fake
def _(x, _loc, _scale_tril, reduce):
    if reduce:
        return x.new_empty((), dtype=_launch.accumulator(x.dtype))
    return x.new_empty(x.shape[:-1])


@_multivariate_normal_backward.register_fake
def _(_cotangent, x, loc, scale_tril, needs):
    return _launch.empty_gradients(needs, x, loc, scale_tril)


def _setup_context(ctx, inputs, output):  # noqa: ARG001 - the registered signature
    *tensors, _ = inputs
    ctx.save_for_backward(*tensors)


def _autograd(ctx, cotangent):
    x, loc, scale_tril = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:3])
    cotangent = cotangent.expand(x.shape[:-1])
    gradients = _multivariate_normal_backward(cotangent, x, loc, scale_tril, needs)
    return *(g if needed else None for g, needed in zip(gradients, needs, strict=True)), None


_multivariate_normal.register_autograd(_autograd, setup_context=_setup_context)


def _multivariate_normal_torch(x: Tensor, loc: Tensor, scale_tril: Tensor, reduce: bool) -> Tensor:
    """The kernel's formula in torch."""
    dtype = _launch.accumulator(x.dtype)
    wide = x.to(dtype)
    infinite = wide.isinf()
    difference = torch.where(infinite, 0.0, wide - loc.to(dtype))
    z = difference @ _whitening(scale_tril).to(dtype).T
    square = (z * z).sum(-1) + torch.where(infinite.any(-1), torch.inf, 0.0)
    out = _constant(scale_tril).to(dtype) - 0.5 * square
    return out.sum() if reduce else out.to(x.dtype)


def _backward_torch(
    cotangent: Tensor, x: Tensor, loc: Tensor, whitening: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The backward kernel's formulas in torch: the gradient to `x`, and the sums of the rows."""
    dtype = whitening.dtype
    cotangent = cotangent.to(dtype).unsqueeze(-1)
    z = (x.to(dtype) - loc.to(dtype)) @ whitening.T
    z = torch.where(cotangent == 0, 0.0, z)
    weighted = cotangent * z
    rows, weighted_rows = _launch.as_rows(z), _launch.as_rows(weighted)
    square = weighted_rows.T @ rows
    return -weighted @ whitening, cotangent.sum(), weighted_rows.sum(0), square


def _checked(x: Tensor, loc: Tensor | float, scale_tril: Tensor) -> tuple[Tensor, ...]:
    require_floating("x", x)
    require_rows("x", x)
    loc = require_number_or_tensor("loc", loc, x)
    require_floating("scale_tril", scale_tril)
    size = x.shape[-1]
    for name, value, shapes in (
        ("loc", loc, [(), (size,)]),
        ("scale_tril", scale_tril, [(size, size)]),
    ):
        require_alike(name, value, "x", x)
        require_shape(name, value, *shapes)
    return x, loc.expand(size), scale_tril


def multivariate_normal_log_density(x: Tensor, loc: Tensor | float, scale_tril: Tensor) -> Tensor:
    """Log-density of each row under a normal law of covariance `L L^T`, in nats.

    `-|z|**2 / 2 - log det L - d log(2 pi) / 2` with `z = L^-1 (x - loc)`. One read of `x` and
    `2 d**2` operations a row up to `d = 32`, products of torch beyond; the backward pass takes
    three times as many, and writes only the gradients that are wanted. The error stays below
    `eps sqrt(condition)` of `|z|**2 + d`: in float32 4e-6 of it at a condition of 1e3, 1e-4 at 1e6.
    Not differentiable twice, and without forward mode.

    Args:
      x: observations, shape `(..., d)`, any strides.
      loc: means, shape `(d,)`, of the dtype and device of `x`; or a number for all coordinates.
      scale_tril: the Cholesky factor `L` of the covariance, shape `(d, d)`; only its lower triangle
        is read, whose diagonal must be positive: elsewhere the result is not a number.

    Returns:
      Log-densities, contiguous, of shape `(...)` and the dtype of `x`; `-inf` at an infinite entry.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (`loc` may be a number, which no bool
        is), or the dtypes differ.
      ValueError: `x` is a scalar, a parameter has another shape, or the devices differ.

    References:
      [Higham2002] section 14.2 (the error of triangular inverses).

    Examples:
      >>> factor = torch.tensor([[2.0, 0.0], [1.0, 1.0]])
      >>> round(multivariate_normal_log_density(torch.zeros(1, 2), 0.0, factor).item(), 6)
      -2.531024
    """
    return _multivariate_normal(*_checked(x, loc, scale_tril), False)


def multivariate_normal_log_likelihood(
    x: Tensor, loc: Tensor | float, scale_tril: Tensor
) -> Tensor:
    """The sum of `multivariate_normal_log_density` over all rows, in nats.

    One read of `x` and no array of log-densities. Deterministic: a fixed tree of sums, no atomics.

    Args:
      x: observations, shape `(..., d)`, any strides.
      loc: means, shape `(d,)`, of the dtype and device of `x`; or a number for all coordinates.
      scale_tril: the Cholesky factor `L` of the covariance, shape `(d, d)`; only its lower triangle
        is read, whose diagonal must be positive: elsewhere the result is not a number.

    Returns:
      A scalar, float64 for float64 and otherwise float32; 0 where there are no rows.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (`loc` may be a number, which no bool
        is), or the dtypes differ.
      ValueError: `x` is a scalar, a parameter has another shape, or the devices differ.

    Examples:
      >>> round(multivariate_normal_log_likelihood(torch.zeros(10, 2), 0.0, torch.eye(2)).item(), 4)
      -18.3788
    """
    return _multivariate_normal(*_checked(x, loc, scale_tril), True)


def multivariate_normal_log_density_reference(x: Tensor, loc: Tensor, scale_tril: Tensor) -> Tensor:
    """`multivariate_normal_log_density` by substitution in float64, differentiable."""
    factor = scale_tril.double().tril()
    centred = (x.double() - loc.double()).unsqueeze(-1)
    z = torch.linalg.solve_triangular(factor, centred, upper=False).squeeze(-1)
    constant = factor.diagonal().log().sum() + 0.5 * len(factor) * math.log(2 * math.pi)
    return -0.5 * (z * z).sum(-1) - constant


def multivariate_normal_log_likelihood_reference(
    x: Tensor, loc: Tensor, scale_tril: Tensor
) -> Tensor:
    """`multivariate_normal_log_likelihood` by substitution in float64, differentiable."""
    return multivariate_normal_log_density_reference(x, loc, scale_tril).sum()
