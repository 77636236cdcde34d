"""Divergences between rows of logits, of JAX arrays."""

from __future__ import annotations

import math
from collections.abc import Hashable
from numbers import Real

import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

import kernels_triton._divergence_formulas as formulas
from kernels_triton.jax._checks import accumulated, alike, rows_of
from kernels_triton.jax._operator import RowOperation

_KINDS = {
    "kl": "renyi",
    "renyi": "renyi",
    "alpha_divergence": "alpha",
    "amari_alpha_divergence": "alpha",
    "jensen_shannon": "jensen_shannon",
    "total_variation": "total_variation",
}


def _plan(kind: str, order: float | None = None, alpha: float | None = None) -> tuple[bool, float]:
    """Whether the pair is exchanged, and the tilt; as the torch functions choose them."""
    if kind not in formulas.AFFINE:
        return False, 0.0
    order = 0.5 * (1.0 - alpha) if alpha is not None else 1.0 if order is None else order
    return (True, order) if order < 0.5 else (False, 1.0 - order)


def _operation(name: str) -> RowOperation:
    kind = _KINDS[name]

    def formula(p_logits: Array, q_logits: Array, **options: float) -> tuple[Array]:
        swapped, tilt = _plan(kind, **options)
        scale, _ = formulas.factors(kind, tilt, swapped)
        x, y = accumulated(*((q_logits, p_logits) if swapped else (p_logits, q_logits)))
        return (formulas.forward(jnp, x, y, kind, tilt, scale)[0][..., 0],)

    def pull(
        cotangents: tuple[Array], p_logits: Array, q_logits: Array, **options: float
    ) -> tuple[Array, ...]:
        swapped, tilt = _plan(kind, **options)
        scale, loss = formulas.factors(kind, tilt, swapped)
        x, y = accumulated(*((q_logits, p_logits) if swapped else (p_logits, q_logits)))
        _, kept = formulas.forward(jnp, x, y, kind, tilt, scale)
        rows = cotangents[0][..., None], x, y, kept
        slopes = formulas.backward(jnp, *rows, kind, tilt, scale, loss)
        ordered = slopes[::-1] if swapped else slopes
        return tuple(slope.astype(p_logits.dtype) for slope in ordered)

    # The second result of the operator, the numbers of a row, has rows along its last axes.
    rows = {"p_logits": 1, "q_logits": 1}
    return RowOperation(name, formula, rows, (0,), saved={1: 1}, leading=(1,), pull=pull)


OPERATIONS = {name: _operation(name) for name in _KINDS}


def _run(name: str, p_logits: ArrayLike, q_logits: ArrayLike, **options: Hashable) -> Array:
    p, q = rows_of("p_logits", p_logits), rows_of("q_logits", q_logits)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(
            "p_logits and q_logits must have the same number of classes on the last axis; got "
            f"{p.shape[-1]} and {q.shape[-1]}. Divergences compare laws on one set of outcomes."
        )
    try:
        shape = jnp.broadcast_shapes(p.shape, q.shape)
    except ValueError:
        raise ValueError(
            f"p_logits and q_logits must have shapes that broadcast together; got {p.shape} and "
            f"{q.shape}. Insert axes of length one where they differ, for example "
            "q_logits[:, None]."
        ) from None
    arrays = {
        "p_logits": jnp.broadcast_to(p, shape),
        "q_logits": alike("q_logits", q, "p_logits", p, shape),
    }
    return OPERATIONS[name](arrays, **options)[0]


def _number(name: str, value: float) -> float:
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(
            f"{name} must be a Python number; got {type(value).__name__}. It chooses the program: "
            "call once for each of several."
        )
    if not math.isfinite(value):
        raise ValueError(
            f"{name} must be finite; got {value}. Orders 0 and 1 are Kullback-Leibler divergences."
        )
    return float(value)


def kl(p_logits: ArrayLike, q_logits: ArrayLike) -> Array:
    """Kullback-Leibler divergence `KL(p || q) = sum p log(p/q)` of every row, in nats.

    As `kernels_triton.kl`, for JAX: by the same kernels on CUDA, by their formula elsewhere.

    Args:
      p_logits: logits of the law of the expectation, any shape with a last axis.
      q_logits: likewise, of the same dtype; the leading axes are broadcast.

    Returns:
      Non-negative values without the last axis: float64 for float64, otherwise float32. inf where
      `p > 0 = q`.

    Raises:
      TypeError: an argument is not a floating array, or the dtypes differ.
      ValueError: a scalar, or shapes that do not fit together.

    Examples:
      >>> p, q = jnp.log(jnp.array([0.1, 0.6, 0.3])), jnp.log(jnp.array([0.4, 0.3, 0.3]))
      >>> round(kl(p, q).item(), 6)
      0.277259
    """
    return _run("kl", p_logits, q_logits)


def alpha_divergence(p_logits: ArrayLike, q_logits: ArrayLike, *, order: float) -> Array:
    """Alpha-divergence of statistical order a, `(sum p^a q^(1-a) - 1) / (a (a - 1))`, of every row.

    As `kernels_triton.alpha_divergence`, for JAX.

    Args:
      p_logits: logits, any shape with a last axis.
      q_logits: likewise, of the same dtype; the leading axes are broadcast.
      order: the statistical order a, any finite Python number.

    Returns:
      Non-negative values as `kl`.

    Raises:
      TypeError: as `kl`, or `order` is not a Python number.
      ValueError: as `kl`, or `order` is not finite.

    Examples:
      >>> p, q = jnp.log(jnp.array([0.1, 0.6, 0.3])), jnp.log(jnp.array([0.4, 0.3, 0.3]))
      >>> round(2 * alpha_divergence(p, q, order=2.0).item(), 5)
      0.525
    """
    return _run("alpha_divergence", p_logits, q_logits, order=_number("order", order))


def amari_alpha_divergence(p_logits: ArrayLike, q_logits: ArrayLike, *, alpha: float) -> Array:
    """Amari's alpha-divergence `4/(1 - al^2) (1 - sum p^((1-al)/2) q^((1+al)/2))` of every row.

    As `kernels_triton.amari_alpha_divergence`, for JAX: `alpha_divergence` of order `(1 - al) / 2`.

    Args:
      p_logits: logits, any shape with a last axis.
      q_logits: likewise, of the same dtype; the leading axes are broadcast.
      alpha: Amari's alpha, any finite Python number.

    Returns:
      Non-negative values as `kl`.

    Raises:
      TypeError: as `kl`, or `alpha` is not a Python number.
      ValueError: as `kl`, or `alpha` is not finite.

    Examples:
      >>> p, q = jnp.log(jnp.array([0.1, 0.6, 0.3])), jnp.log(jnp.array([0.4, 0.3, 0.3]))
      >>> round(amari_alpha_divergence(p, q, alpha=-1).item(), 6)
      0.277259
    """
    return _run("amari_alpha_divergence", p_logits, q_logits, alpha=_number("alpha", alpha))


def renyi(p_logits: ArrayLike, q_logits: ArrayLike, *, order: float) -> Array:
    """Renyi divergence `log(sum p^a q^(1-a)) / (a - 1)` of statistical order a, of every row.

    As `kernels_triton.renyi`, for JAX.

    Args:
      p_logits: logits, any shape with a last axis.
      q_logits: likewise, of the same dtype; the leading axes are broadcast.
      order: the statistical order a, a finite Python number; -inf for `a < 0` where `q > 0 = p`.

    Returns:
      Values in nats as `kl`.

    Raises:
      TypeError: as `kl`, or `order` is not a Python number.
      ValueError: as `kl`, or `order` is not finite.

    Examples:
      >>> p, q = jnp.log(jnp.array([0.1, 0.6, 0.3])), jnp.log(jnp.array([0.4, 0.3, 0.3]))
      >>> round(renyi(p, q, order=0.5).item(), 6)
      0.157515
    """
    return _run("renyi", p_logits, q_logits, order=_number("order", order))


def jensen_shannon(p_logits: ArrayLike, q_logits: ArrayLike) -> Array:
    """Jensen-Shannon divergence `KL(p || m)/2 + KL(q || m)/2`, `m = (p + q)/2`, of every row.

    As `kernels_triton.jensen_shannon`, for JAX.

    Args:
      p_logits: logits, any shape with a last axis.
      q_logits: likewise, of the same dtype; the leading axes are broadcast.

    Returns:
      Values in `[0, log 2]`, in nats, as `kl`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> p, q = jnp.array([0.0, -jnp.inf]), jnp.array([-jnp.inf, 0.0])
      >>> round(jensen_shannon(p, q).item(), 6)
      0.693147
    """
    return _run("jensen_shannon", p_logits, q_logits)


def total_variation(p_logits: ArrayLike, q_logits: ArrayLike) -> Array:
    """Total variation `sum |p - q| / 2`, a metric in `[0, 1]`, of every row.

    As `kernels_triton.total_variation`, for JAX.

    Args:
      p_logits: logits, any shape with a last axis.
      q_logits: likewise, of the same dtype; the leading axes are broadcast.

    Returns:
      Values as `kl`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> p, q = jnp.log(jnp.array([0.1, 0.6, 0.3])), jnp.log(jnp.array([0.4, 0.3, 0.3]))
      >>> round(total_variation(p, q).item(), 6)
      0.3
    """
    return _run("total_variation", p_logits, q_logits)
