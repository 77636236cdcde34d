"""Divergences between rows of logits, forward and backward, in nats.

Both arguments are logits, `p = softmax(p_logits)` and `q = softmax(q_logits)` along the last axis,
and all is made of their difference, which keeps its digits: equal rows have divergence exactly 0
with gradient exactly 0, and near rows lose nothing.

Conventions, for values and gradients: `-inf` is an impossible class, in one or in both rows, and
has gradient 0. Where the value is infinite the gradient of the row is 0. Two rows without any
possible class are equal; a row without one beside a law, a logit `+inf` and a nan give nan.

The operators have first derivatives in reverse mode: none of second order, no forward mode.
"""

from __future__ import annotations

import math
from numbers import Real

import torch
from torch import Tensor

import kernels_triton._divergence_formulas as formulas
import kernels_triton._divergence_kernels as kernels
import kernels_triton._launch as _launch
from kernels_triton._checks import require_alike, require_floating, require_rows


@torch.library.custom_op("kernels_triton::divergence", mutates_args=())
def _divergence(
    x: Tensor, y: Tensor, kind: str, tilt: float, swapped: bool
) -> tuple[Tensor, Tensor]:
    """Values of the rows of two tensors of one shape, and what is kept of each for the gradient."""
    value, kept = _empty_outputs(x, kind, tilt)
    scale, _ = formulas.factors(kind, tilt, swapped)
    if not _launch.uses_triton(x):
        first, second = (z.to(value.dtype) for z in (x, y))
        found, numbers = formulas.forward(torch, first, second, kind, tilt, scale)
        value.copy_(found.squeeze(-1))
        for slot, number in zip(kept, numbers, strict=True):
            slot.copy_(number.squeeze(-1))
    elif value.numel():
        first, second = (_launch.as_rows(z) for z in (x, y))
        numbers = kept.view(len(kept), -1)
        kernels.forward(first, second, kind, tilt, scale, value.view(-1), numbers)
    return value, kept


@torch.library.custom_op("kernels_triton::divergence_backward", mutates_args=())
def _divergence_backward(
    cotangent: Tensor,
    x: Tensor,
    y: Tensor,
    kept: Tensor,
    kind: str,
    tilt: float,
    swapped: bool,
    needs: list[bool],
) -> tuple[Tensor, Tensor]:
    """The gradients to `x` and `y`, empty where `needs` says that none is wanted."""
    gradients = _empty_gradients(x, needs)
    scale, loss = formulas.factors(kind, tilt, swapped)
    if not x.numel():
        return gradients
    flat = cotangent.reshape(-1).contiguous()
    options = kind, tilt, scale, loss
    if not _launch.uses_triton(x):
        first, second = (z.to(kept.dtype) for z in (x, y))
        kept = kept.unsqueeze(-1)
        over = flat.view(cotangent.shape).unsqueeze(-1)
        for gradient, slope in zip(
            gradients, formulas.backward(torch, over, first, second, kept, *options), strict=True
        ):
            if gradient.numel():
                gradient.copy_(slope)
    else:
        first, second = (_launch.as_rows(z) for z in (x, y))
        numbers = kept.view(len(kept), -1)
        kernels.backward(flat, first, second, numbers, *options, gradients)
    return gradients


def _empty_outputs(x: Tensor, kind: str, tilt: float) -> tuple[Tensor, Tensor]:
    dtype, rows = _launch.accumulator(x.dtype), x.shape[:-1]
    count = formulas.slots(kind, tilt)
    return x.new_empty(rows, dtype=dtype), x.new_empty((count, *rows), dtype=dtype)


def _empty_gradients(x: Tensor, needs: list[bool]) -> tuple[Tensor, Tensor]:
    first, second = (x.new_empty(x.shape if needed else 0) for needed in needs)
    return first, second


@_divergence.register_fake
def _(x, _y, kind, tilt, _swapped):
    return _empty_outputs(x, kind, tilt)


@_divergence_backward.register_fake
def _(_cotangent, x, _y, _kept, _kind, _tilt, _swapped, needs):
    return _empty_gradients(x, needs)


def _setup_context(ctx, inputs, output):
    x, y, *ctx.options = inputs
    _, kept = output
    ctx.save_for_backward(x, y, kept)
    ctx.mark_non_differentiable(kept)
    ctx.set_materialize_grads(False)


def _autograd(ctx, cotangent, _):
    if cotangent is None:
        return None, None, None, None, None
    x, y, kept = ctx.saved_tensors
    needs = list(ctx.needs_input_grad[:2])
    gradients = _divergence_backward(cotangent, x, y, kept, *ctx.options, needs)
    wanted = (g if needed else None for g, needed in zip(gradients, needs, strict=True))
    return *wanted, None, None, None


_divergence.register_autograd(_autograd, setup_context=_setup_context)


def _pair(p_logits: Tensor, q_logits: Tensor) -> tuple[Tensor, Tensor]:
    for name, value in (("p_logits", p_logits), ("q_logits", q_logits)):
        require_floating(name, value)
        require_rows(name, value)
    require_alike("q_logits", q_logits, "p_logits", p_logits)
    if p_logits.shape[-1] != q_logits.shape[-1]:
        raise ValueError(
            "p_logits and q_logits must have the same number of classes on the last axis; got "
            f"{p_logits.shape[-1]} and {q_logits.shape[-1]}. Divergences compare laws on one set "
            "of outcomes."
        )
    try:
        first, second = torch.broadcast_tensors(p_logits, q_logits)
    except RuntimeError:
        shapes = f"{tuple(p_logits.shape)} and {tuple(q_logits.shape)}"
        raise ValueError(
            f"p_logits and q_logits must have shapes that broadcast together; got {shapes}. "
            "Insert axes of length one where they differ, for example q_logits[:, None]."
        ) from None
    return first, second


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a Python number; got {type(value).__name__}. One number serves all "
            "rows; call once for each of several."
        )
    if not math.isfinite(value):
        raise ValueError(
            f"{name} must be finite; got {value}. Orders 0 and 1 are Kullback-Leibler divergences."
        )
    return float(value)


def _of_order(p_logits: Tensor, q_logits: Tensor, kind: str, order: float) -> Tensor:
    """`D_a(p || q)` by `D_(1-a)(q || p)` where `a < 1/2`."""
    p_logits, q_logits = _pair(p_logits, q_logits)
    if order < 0.5:
        return _divergence(q_logits, p_logits, kind, order, True)[0]
    return _divergence(p_logits, q_logits, kind, 1.0 - order, False)[0]


def kl(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Kullback-Leibler divergence `KL(p || q) = sum p log(p/q)` of every row, in nats.

    One read of both tensors at every length; the gradients `p (log(p/q) - KL)` and `q - p` are
    another and a write each. A dozen numbers a row are kept between them.

    Args:
      p_logits: logits of the law of the expectation, any shape with a last axis, any strides.
      q_logits: likewise, of the same dtype and device; the leading axes are broadcast.

    Returns:
      Non-negative values without the last axis, contiguous: float64 for float64, otherwise float32,
      which also holds what would underflow float16. inf where `p > 0 = q`.

    Raises:
      NotImplementedError: an argument carries a tangent of forward mode.
      TypeError: an argument is not a dense floating tensor, or the dtypes differ.
      ValueError: a scalar, shapes that do not fit together, or two devices.

    References:
      [KullbackLeibler1951] equation (2.4).

    Examples:
      >>> p, q = torch.tensor([0.1, 0.6, 0.3]).log(), torch.tensor([0.4, 0.3, 0.3]).log()
      >>> round(kl(p, q).item(), 6)
      0.277259
    """
    return _of_order(p_logits, q_logits, "renyi", 1.0)


def alpha_divergence(p_logits: Tensor, q_logits: Tensor, *, order: float) -> Tensor:
    """Alpha-divergence of statistical order a, `(sum p^a q^(1-a) - 1) / (a (a - 1))`, of every row.

    `a = 1` is `KL(p || q)`, `a = 0` is `KL(q || p)`, `a = 1/2` four times the squared Hellinger
    distance, `a = 2` half of Pearson's chi-square. Amari's alpha is `1 - 2a`. The cost is that of
    `kl`.

    Args:
      p_logits: logits, any shape with a last axis, any strides.
      q_logits: likewise, of the same dtype and device; the leading axes are broadcast.
      order: the statistical order a, any finite Python number.

    Returns:
      Non-negative values as `kl`; inf where `p > 0 = q` for `a >= 1` and where `q > 0 = p` for
      `a <= 0`.

    Raises:
      NotImplementedError: as `kl`.
      TypeError: as `kl`, or `order` is not a Python number.
      ValueError: as `kl`, or `order` is not finite.

    References:
      [Amari2016] section 3.5.2 (with alpha = 1 - 2a).

    Examples:
      >>> p, q = torch.tensor([0.1, 0.6, 0.3]).log(), torch.tensor([0.4, 0.3, 0.3]).log()
      >>> round(2 * alpha_divergence(p, q, order=2.0).item(), 5)
      0.525
    """
    return _of_order(p_logits, q_logits, "alpha", _number("order", order))


def amari_alpha_divergence(p_logits: Tensor, q_logits: Tensor, *, alpha: float) -> Tensor:
    """Amari's alpha-divergence `4/(1 - al^2) (1 - sum p^((1-al)/2) q^((1+al)/2))` of every row.

    The same as `alpha_divergence` of order `(1 - al) / 2`: `al = -1` is `KL(p || q)`, `al = 1` is
    `KL(q || p)`, `al = 0` is symmetric.

    Args:
      p_logits: logits, any shape with a last axis, any strides.
      q_logits: likewise, of the same dtype and device; the leading axes are broadcast.
      alpha: Amari's alpha, any finite Python number.

    Returns:
      Non-negative values as `kl`.

    Raises:
      NotImplementedError: as `kl`.
      TypeError: as `kl`, or `alpha` is not a Python number.
      ValueError: as `kl`, or `alpha` is not finite.

    References:
      [Amari2016] section 3.5.2.

    Examples:
      >>> p, q = torch.tensor([0.1, 0.6, 0.3]).log(), torch.tensor([0.4, 0.3, 0.3]).log()
      >>> round(amari_alpha_divergence(p, q, alpha=-1).item(), 6)
      0.277259
    """
    order = 0.5 * (1.0 - _number("alpha", alpha))
    return _of_order(p_logits, q_logits, "alpha", order)


def renyi(p_logits: Tensor, q_logits: Tensor, *, order: float) -> Tensor:
    """Renyi divergence `log(sum p^a q^(1-a)) / (a - 1)` of statistical order a, of every row.

    Non-decreasing in a; `a = 1` is `KL(p || q)`; `a = 1/2` twice the Bhattacharyya distance. The
    cost is that of `kl`.

    Args:
      p_logits: logits, any shape with a last axis, any strides.
      q_logits: likewise, of the same dtype and device; the leading axes are broadcast.
      order: the statistical order a, a finite Python number. For `a < 0` the value is not positive,
        and -inf where `q > 0 = p`.

    Returns:
      Values in nats as `kl`; inf where `p > 0 = q` for `a >= 1`, and for disjoint supports.

    Raises:
      NotImplementedError: as `kl`.
      TypeError: as `kl`, or `order` is not a Python number.
      ValueError: as `kl`, or `order` is not finite.

    References:
      [VanErvenHarremoes2014] equation (1).

    Examples:
      >>> p, q = torch.tensor([0.1, 0.6, 0.3]).log(), torch.tensor([0.4, 0.3, 0.3]).log()
      >>> round(renyi(p, q, order=0.5).item(), 6)
      0.157515
    """
    return _of_order(p_logits, q_logits, "renyi", _number("order", order))


def jensen_shannon(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Jensen-Shannon divergence `KL(p || m)/2 + KL(q || m)/2`, `m = (p + q)/2`, of every row.

    Symmetric and at most `log 2`; its square root is a metric. Both tensors are read once while a
    row has at most 4096 columns (512 of float64), twice beyond; the gradients are another read and
    a write each.

    Args:
      p_logits: logits, any shape with a last axis, any strides.
      q_logits: likewise, of the same dtype and device; the leading axes are broadcast.

    Returns:
      Values in `[0, log 2]`, in nats, as `kl`.

    Raises:
      NotImplementedError: as `kl`.
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [Lin1991] equation (4.1) with equal weights.

    Examples:
      >>> p, q = torch.tensor([0.0, -torch.inf]), torch.tensor([-torch.inf, 0.0])
      >>> round(jensen_shannon(p, q).item(), 6)
      0.693147
    """
    return _divergence(*_pair(p_logits, q_logits), "jensen_shannon", 0.0, False)[0]


def total_variation(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """Total variation `sum |p - q| / 2`, a metric in `[0, 1]`, of every row.

    The cost is that of `jensen_shannon`.

    Args:
      p_logits: logits, any shape with a last axis, any strides.
      q_logits: likewise, of the same dtype and device; the leading axes are broadcast.

    Returns:
      Values as `kl`; a class where `p = q` counts with slope 0 by convention.

    Raises:
      NotImplementedError: as `kl`.
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> p, q = torch.tensor([0.1, 0.6, 0.3]).log(), torch.tensor([0.4, 0.3, 0.3]).log()
      >>> round(total_variation(p, q).item(), 6)
      0.3
    """
    return _divergence(*_pair(p_logits, q_logits), "total_variation", 0.0, False)[0]


def _laws(p_logits: Tensor, q_logits: Tensor) -> tuple[Tensor, Tensor]:
    """Log-probabilities in float64, for rows with a possible class."""
    return p_logits.double().log_softmax(-1), q_logits.double().log_softmax(-1)


def _log_affinity(p_logits: Tensor, q_logits: Tensor, order: float) -> Tensor:
    p, q = _laws(p_logits, q_logits)
    exponent = order * p + (1.0 - order) * q
    there = (p > -torch.inf) & (q > -torch.inf)
    return torch.logsumexp(torch.where(there, exponent, -torch.inf), -1)


def kl_reference(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """`kl` by torch in float64, differentiable where both rows have all classes."""
    p, q = _laws(p_logits, q_logits)
    return (p.exp() * (p - q)).sum(-1)


def alpha_divergence_reference(p_logits: Tensor, q_logits: Tensor, *, order: float) -> Tensor:
    """`alpha_divergence` by torch in float64, where orders up to 0 and from 1 on lose no class."""
    if order == 1:
        return kl_reference(p_logits, q_logits)
    if order == 0:
        return kl_reference(q_logits, p_logits)
    return torch.expm1(_log_affinity(p_logits, q_logits, order)) / (order * (order - 1))


def amari_alpha_divergence_reference(p_logits: Tensor, q_logits: Tensor, *, alpha: float) -> Tensor:
    """`amari_alpha_divergence` by torch in float64, as `alpha_divergence_reference`."""
    return alpha_divergence_reference(p_logits, q_logits, order=0.5 * (1.0 - alpha))


def renyi_reference(p_logits: Tensor, q_logits: Tensor, *, order: float) -> Tensor:
    """`renyi` by torch in float64, as `alpha_divergence_reference`."""
    if order == 1:
        return kl_reference(p_logits, q_logits)
    return _log_affinity(p_logits, q_logits, order) / (order - 1)


def jensen_shannon_reference(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """`jensen_shannon` by torch in float64, differentiable where both rows have all classes."""
    p, q = _laws(p_logits, q_logits)
    middle = torch.logaddexp(p, q) - math.log(2)
    return 0.5 * (p.exp() * (p - middle) + q.exp() * (q - middle)).sum(-1)


def total_variation_reference(p_logits: Tensor, q_logits: Tensor) -> Tensor:
    """`total_variation` by torch in float64, differentiable."""
    p, q = _laws(p_logits, q_logits)
    return 0.5 * (p.exp() - q.exp()).abs().sum(-1)
