"""Mirror maps on symmetric positive definite matrices: von Neumann entropy and log-determinant."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.numerics.positive_definite import symmetric_inverse, symmetrized
from igeojax.numerics.symmetric import (
    exp_differences,
    log_differences,
    spectral_derivative,
    spectral_matrix,
)
from igeojax.numerics.triangular import cho_solve, cholesky
from igeojax.optim.mirror_maps import MirrorMap


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class VonNeumannEntropy(MirrorMap):
    """`Phi = tr(X log X - X)`: matrix exponentiated gradient, `log X' = log X + step`.

    Leaves hold symmetric positive definite matrices on the last two axes, and the symmetric part of
    a step counts. On diagonal matrices it is `NegativeEntropy`. Two eigendecompositions a step,
    `O(n^3)`. Eigenvalues below `n eps` of the largest cannot be told from 0 in the entries of a
    matrix and are raised to it. Below float32 it computes in float32. Derivatives of first order
    are right at repeated eigenvalues too.

    Args:
      normalized: matrices have trace one, as density matrices, and stay such.

    References:
      [TsudaRatschWarmuth2005]; [Higham2008] theorem 3.11 (derivatives).

    Examples:
      >>> x = 0.5 * jnp.eye(2)
      >>> step = jnp.diag(jnp.log(jnp.array([1.0, 3.0])))
      >>> moved = x + VonNeumannEntropy(normalized=True).displacement(x, step)
      >>> [round(value, 6) for value in jnp.diagonal(moved).tolist()]
      [0.25, 0.75]
    """

    normalized: bool = False

    def displacement(self, params: Any, dual_step: Any) -> Any:
        return jax.tree.map(self._leaf, params, dual_step)

    def _leaf(self, x: Array, step: Array) -> Array:
        x, step, dtype = _matrices("VonNeumannEntropy", x, step)
        _require_symmetric("params of VonNeumannEntropy", x)
        if self.normalized:
            checks.require_values(
                "trace of params of VonNeumannEntropy(normalized=True)",
                _trace(x),
                lambda v: abs(v - 1) <= float(jnp.finfo(x.dtype).eps) ** 0.5,
                "one",
                "Divide by the trace.",
            )
        logarithm = _logarithm(x)
        checks.require_values(
            "params of VonNeumannEntropy",
            jnp.isfinite(logarithm).all(axis=(-2, -1)),
            lambda v: v,
            "positive definite matrices",
            "Add a multiple of the identity.",
        )
        moved, top = _shifted_exponential(logarithm + symmetrized(step))
        if self.normalized:
            moved = moved / _trace(moved)[..., None, None]
        else:
            moved = moved * jnp.exp(top)[..., None, None]
        return (_kept(x) * (moved - x)).astype(dtype)


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class LogDet(MirrorMap):
    """`Phi = -log det X`: inverses move, `X'^{-1} = X^{-1} - step`.

    Leaves hold symmetric positive definite matrices on the last two axes, and the symmetric part of
    a step counts. The step is affine invariant, and on diagonal matrices it is `LogBarrier`. Where
    `X^{-1} - step` is not positive definite there is no such point, and the matrix is nan. Two
    Cholesky factors a step, `O(n^3)`; small steps do not cancel. Below float32 it
    computes in float32.

    References:
      [KulisSustikDhillon2009] (the divergence of this potential).

    Examples:
      >>> x = jnp.eye(2)
      >>> moved = x + LogDet().displacement(x, jnp.diag(jnp.array([0.5, -1.0])))
      >>> [round(value, 6) for value in jnp.diagonal(moved).tolist()]
      [2.0, 0.5]
    """

    def displacement(self, params: Any, dual_step: Any) -> Any:
        return jax.tree.map(self._leaf, params, dual_step)

    def _leaf(self, x: Array, step: Array) -> Array:
        x, step, dtype = _matrices("LogDet", x, step)
        checks.require_positive_definite("params of LogDet", x)
        factor = cholesky(x)
        white = jnp.swapaxes(factor, -1, -2) @ symmetrized(step) @ factor
        # X' = L (I - W)^{-1} L^T.
        identity = jnp.broadcast_to(jnp.eye(x.shape[-1], dtype=x.dtype), x.shape)
        inner = cholesky(identity - white)
        # (I - W)^{-1} - I, which cancels for small W, is (I - W)^{-1} W, which is wrong by the
        # rounding of W for large W.
        small = jnp.sum(white**2, axis=(-2, -1), keepdims=True) < 1
        near = symmetrized(cho_solve(inner, jnp.where(small, white, 0.0)))
        relative = jnp.where(small, near, symmetric_inverse(inner) - identity)
        change = symmetrized(factor @ relative @ jnp.swapaxes(factor, -1, -2))
        return (_kept(x) * change).astype(dtype)


def _matrices(name: str, x: Array, step: Array) -> tuple[Array, Array, Any]:
    """Square matrices in a dtype that LAPACK has, and the dtype they came in.

    Raises:
      ValueError: the leaf holds no square matrices.
    """
    if jnp.ndim(x) < 2 or jnp.shape(x)[-1] != jnp.shape(x)[-2]:
        raise ValueError(
            f"{name} needs square matrices on the last two axes; got a leaf of shape "
            f"{jnp.shape(x)}. Use optax.multi_transform to give other leaves another map."
        )
    dtype = jnp.result_type(x)
    working = jnp.promote_types(dtype, jnp.float32)
    return jnp.asarray(x, working), jnp.asarray(step, working), dtype


def _kept(x: Array) -> float:
    """Just under one, for changes: one of -X to rounding would leave nothing that is definite."""
    return 1 - 4 * x.shape[-1] * float(jnp.finfo(x.dtype).eps)


def _require_symmetric(name: str, x: Array) -> None:
    size = jnp.max(jnp.abs(x), axis=(-2, -1), keepdims=True)
    gap = jnp.abs(x - jnp.swapaxes(x, -1, -2)) / jnp.where(size > 0, size, 1.0)
    limit = 8 * float(jnp.finfo(x.dtype).eps)
    checks.require_values(
        name, gap <= limit, lambda v: v, "symmetric matrices", "Pass 0.5 * (A + A.T)."
    )


def _trace(x: Array) -> Array:
    return jnp.trace(x, axis1=-2, axis2=-1)


def _floored(values: Array) -> Array:
    """Ascending eigenvalues, raised to `n eps` of the largest; nan where not definite."""
    top = values[..., -1:]
    floor = values.shape[-1] * jnp.finfo(values.dtype).eps * top
    # Rounding may put an eigenvalue that is 0 to either side of it.
    definite = (top > 0) & (values[..., :1] >= -floor)
    return jnp.where(definite, jnp.maximum(values, floor), jnp.nan)


@jax.custom_jvp
def _logarithm(x: Array) -> Array:
    """Logarithm of positive definite matrices; nan where they are not."""
    values, vectors = jnp.linalg.eigh(x)
    return spectral_matrix(vectors, jnp.log(_floored(values)))


@_logarithm.defjvp
def _logarithm_jvp(primals, tangents):
    values, vectors = jnp.linalg.eigh(primals[0])
    values = _floored(values)
    change = spectral_derivative(vectors, log_differences(values), tangents[0])
    return spectral_matrix(vectors, jnp.log(values)), change


@jax.custom_jvp
def _shifted_exponential(y: Array) -> tuple[Array, Array]:
    """`exp(Y - c I)` and the largest eigenvalue `c`, which counts as constant in derivatives."""
    values, vectors = jnp.linalg.eigh(y)
    top = values[..., -1]
    return spectral_matrix(vectors, _floored(jnp.exp(values - top[..., None]))), top


@_shifted_exponential.defjvp
def _shifted_exponential_jvp(primals, tangents):
    values, vectors = jnp.linalg.eigh(primals[0])
    top = values[..., -1]
    shifted = values - top[..., None]
    moved = spectral_matrix(vectors, _floored(jnp.exp(shifted)))
    change = spectral_derivative(vectors, exp_differences(shifted), tangents[0])
    return (moved, top), (change, jnp.zeros_like(top))
