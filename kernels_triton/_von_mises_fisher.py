"""Logits of directions, `kappa_k <mu_k / |mu_k|, x / |x|>`: lengths are divided out on the way.

The directions and the rows are read once for each tile of the product, and their squared lengths
are summed beside it: no normalized copy of either is made. With cotangents `G`, unit vectors
`u = x / |x|` and `v = mu / |mu|`, `a_n = sum_k G_nk kappa_k v_k` and `b_k = sum_n G_nk u_n`, the
gradients in `x_n`, `mu_k` and `kappa_k` are

    (a_n - <a_n, u_n> u_n) / |x_n|,    kappa_k (b_k - <b_k, v_k> v_k) / |mu_k|,    <b_k, v_k>:

two products, split among programs along the axis that they sum where the result alone would keep
few busy, and a pass over each result. The parts are added in one fixed order, without atomics.

`tl.dot` has `input_precision="ieee"`. Half precision is multiplied as it is forward, where the
products of two stored numbers are exact in float32, and widened before the launch backward (inside,
triton 3.7 takes TF32 on sm_100 all the same: triton-lang/triton issue 10176).

Conventions: a vector of length zero has no direction; its logits are 0, and so is its gradient (no
derivative exists). Lengths are those whose square is a normal number of the accumulator, in float32
1e-19 to 1e19: shorter ones count as zero, longer ones and infinite entries give nan. A nan stays in
its row or column.
"""

from __future__ import annotations

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
from kernels_triton._von_mises_fisher_kernels import (
    logits_kernel,
    product_kernel,
    projection_kernel,
)

_TILE = 64  # rows, and directions, of a tile of the forward product
_DEPTH = 32  # what is multiplied at once: with 64 the float32 operands spill
_FEW_PROGRAMS = 264  # two for each of the 132 multiprocessors of an H200


@torch.library.custom_op("kernels_triton::von_mises_fisher_logits", mutates_args=())
def _von_mises_fisher(x: Tensor, mu: Tensor, kappa: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The logits of the rows of a matrix, and the inverse lengths of rows and directions."""
    dtype = _launch.accumulator(x.dtype)
    if not _launch.uses_triton(x) or x.numel() == 0 or mu.numel() == 0:
        logits, x_inverse, mu_inverse = _von_mises_fisher_torch(x, mu, kappa)
        return logits.to(x.dtype), x_inverse, mu_inverse
    outputs = _empty_outputs(x, mu)
    rows, block = (_square_tile(size) for size in (x.shape[0], mu.shape[0]))
    tiles = _launch.Tiling(rows, block, -(-x.shape[0] // rows), -(-mu.shape[0] // block))
    _launch.launch(
        logits_kernel,
        tiles,
        tiles.row_tiles * tiles.blocks_per_row,
        outputs,
        [x, mu],
        kappa.to(dtype).contiguous(),
        mu.shape[0],
        BLOCKS_PER_ROW=-(-x.shape[1] // _DEPTH),
        DEPTH=_DEPTH,
    )
    return outputs


def _square_tile(size: int) -> int:
    return max(16, min(_launch.power_of_two(size), _TILE))


def _product_parts(left: Tensor, scale: Tensor, right: Tensor) -> Tensor:
    """The parts of which `left @ diag(scale) @ right` is the sum: only launches."""
    (n_rows, n_terms), n_columns = left.shape, right.shape[1]
    rows, block = _square_tile(n_rows), _square_tile(n_columns)
    places = -(-n_rows // rows) * -(-n_columns // block)
    depth = _DEPTH // 2  # more spills, on sm_100
    parts, steps = _launch.row_split(-(-n_terms // depth), max(1, _FEW_PROGRAMS // places))
    out = scale.new_empty(parts, n_rows, n_columns)
    tiles = _launch.Tiling(rows, block, -(-n_rows // rows), -(-n_columns // block))
    _launch.launch(
        product_kernel,
        tiles,
        parts * places,
        [out],
        [left, right],
        scale,
        n_columns,
        STEPS=steps,
        DEPTH=depth,
    )
    return out


def _product(left: Tensor, scale: Tensor, right: Tensor) -> Tensor:
    """`left @ diag(scale) @ right` in the accumulator's dtype."""
    return _product_parts(left.to(scale.dtype), scale, right.to(scale.dtype)).sum(0)


def _projected(push: Tensor, x: Tensor, inverse: Tensor, factor: Tensor) -> tuple[Tensor, Tensor]:
    """The gradient to `x` of what pushes its direction, and the push along the direction."""
    gradient, along = (
        torch.empty_like(x, memory_format=torch.contiguous_format),
        push.new_empty(x.shape[0]),
    )
    tiles = _launch.tiling(*x.shape)
    _launch.launch(
        projection_kernel,
        tiles,
        tiles.row_tiles,
        [gradient, along],
        [push, x],
        inverse,
        factor,
        BLOCKS_PER_ROW=tiles.blocks_per_row,
    )
    return gradient, along


@torch.library.custom_op("kernels_triton::von_mises_fisher_logits_backward", mutates_args=())
def _von_mises_fisher_backward(
    cotangent: Tensor,
    x: Tensor,
    mu: Tensor,
    kappa: Tensor,
    x_inverse: Tensor,
    mu_inverse: Tensor,
    needs: list[bool],
) -> tuple[Tensor, Tensor, Tensor]:
    """The gradients to rows, directions and `kappa`, empty where `needs` says so."""
    dtype = _launch.accumulator(x.dtype)
    wide = kappa.to(dtype)
    triton = _launch.uses_triton(x) and x.numel() > 0 and mu.numel() > 0
    product, projected = (_product, _projected) if triton else (_product_torch, _projected_torch)
    gradients = list(_launch.empty_gradients(needs, x, mu, kappa))
    if needs[0]:
        push = product(cotangent, mu_inverse * wide, mu)
        gradients[0], _ = projected(push, x, x_inverse, torch.ones_like(x_inverse))
    if needs[1] or needs[2]:
        push = product(cotangent.T, x_inverse, x)
        gradient, along = projected(push, mu, mu_inverse, wide)
        gradients[1] = gradient if needs[1] else gradients[1]
        gradients[2] = along.to(kappa.dtype) if needs[2] else gradients[2]
    return gradients[0], gradients[1], gradients[2]


def _empty_outputs(x: Tensor, mu: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    dtype = _launch.accumulator(x.dtype)
    count, directions = x.shape[0], mu.shape[0]
    return (
        x.new_empty(count, directions),
        x.new_empty(count, dtype=dtype),
        x.new_empty(directions, dtype=dtype),
    )


@_von_mises_fisher.register_fake
def _(x, mu, _kappa):
    return _empty_outputs(x, mu)


@_von_mises_fisher_backward.register_fake
def _(_cotangent, x, mu, kappa, _x_inverse, _mu_inverse, needs):
    return _launch.empty_gradients(needs, x, mu, kappa)


def _setup_context(ctx, inputs, output):
    _, *inverses = output
    ctx.save_for_backward(*inputs, *inverses)
    ctx.mark_non_differentiable(*inverses)
    ctx.set_materialize_grads(False)


def _autograd(ctx, cotangent, *_):
    if cotangent is None:
        return None, None, None
    needs = list(ctx.needs_input_grad[:3])
    gradients = _von_mises_fisher_backward(cotangent, *ctx.saved_tensors, needs)
    return tuple(g if needed else None for g, needed in zip(gradients, needs, strict=True))


_von_mises_fisher.register_autograd(_autograd, setup_context=_setup_context)


def _inverse_length_torch(x: Tensor) -> Tensor:
    square = (x * x).sum(-1)
    return torch.where(square > 0, square.rsqrt(), square)


def _von_mises_fisher_torch(x: Tensor, mu: Tensor, kappa: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The kernel's formulas in torch, in the accumulator's dtype."""
    x, mu, kappa = (tensor.to(_launch.accumulator(x.dtype)) for tensor in (x, mu, kappa))
    x_inverse, mu_inverse = _inverse_length_torch(x), _inverse_length_torch(mu)
    logits = (x @ mu.T) * x_inverse[:, None] * mu_inverse * kappa
    return logits, x_inverse, mu_inverse


def _product_torch(left: Tensor, scale: Tensor, right: Tensor) -> Tensor:
    return (left.to(scale.dtype) * scale) @ right.to(scale.dtype)


def _projected_torch(
    push: Tensor, x: Tensor, inverse: Tensor, factor: Tensor
) -> tuple[Tensor, Tensor]:
    unit = x.to(push.dtype) * inverse[:, None]
    along = (push * unit).sum(-1)
    tangent = push - along[:, None] * unit
    return (factor[:, None] * (tangent * inverse[:, None])).to(x.dtype), along


def von_mises_fisher_logits(x: Tensor, mu: Tensor, kappa: Tensor | float = 1.0) -> Tensor:
    """Logits `kappa_k <mu_k / |mu_k|, x / |x|>` of rows and directions: scaled cosines.

    Up to constants of `k` alone they are the log-densities of von Mises-Fisher laws. `2 N K d`
    operations forward and twice as many backward, all with tiles in the cache: no normalized copy,
    and of the backward pass one array of the shape of `x` in float32 (float64). Not differentiable
    twice, and without forward mode.

    Args:
      x: rows of any length, shape `(..., d)`, any strides. A zero row has no direction: its logits
        and its gradient are 0.
      mu: directions of any length, shape `(K, d)`, of the dtype and device of `x`; zero likewise.
      kappa: concentrations, shape `(K,)`, likewise; or a number, or a scalar tensor, for all.

    Returns:
      The logits, contiguous, of shape `(..., K)` and the dtype of `x`.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor (`kappa` may be a number, which no bool
        is), or the dtypes differ.
      ValueError: `x` is a scalar, `mu` or `kappa` has another shape, or the devices differ.

    References:
      [BanerjeeDhillon2005] section 3.1.

    Examples:
      >>> rows, directions = torch.tensor([[3.0, 4.0], [0.0, 0.0]]), torch.tensor([[2.0, 0.0]])
      >>> von_mises_fisher_logits(rows, directions, 10.0).tolist()
      [[6.0], [0.0]]
    """
    require_floating("x", x)
    require_rows("x", x)
    require_floating("mu", mu)
    kappa = require_number_or_tensor("kappa", kappa, x)
    count = mu.shape[0] if mu.ndim else 0
    for name, value, shapes in (
        ("mu", mu, [(count, x.shape[-1])]),
        ("kappa", kappa, [(), (count,)]),
    ):
        require_alike(name, value, "x", x)
        require_shape(name, value, *shapes)
    logits, *_ = _von_mises_fisher(_launch.as_rows(x), mu, kappa.expand(mu.shape[0]))
    return logits.reshape(*x.shape[:-1], mu.shape[0])


def von_mises_fisher_logits_reference(x: Tensor, mu: Tensor, kappa: Tensor | float = 1.0) -> Tensor:
    """`von_mises_fisher_logits` by torch in float64, differentiable; of vectors that are not 0."""
    x, mu = x.double(), mu.double()
    unit, direction = (a / a.norm(dim=-1, keepdim=True) for a in (x, mu))
    return unit @ direction.T * kappa
