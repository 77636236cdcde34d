"""The E-step of a mixture of normal laws, of JAX arrays."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import Array
from jax.typing import ArrayLike

from kernels_triton.jax._checks import accumulated, alike, floating_array, require_shape
from kernels_triton.jax._operator import RowOperation

_CHUNK = 2**20  # elements N K d that the formula holds at once


class MixtureStatistics(NamedTuple):
    """What `mixture_e_step` returns; `z = inverse_scale_k (x - loc_k)` are whitened differences.

    `log_likelihood`: a scalar, nats. `counts`: `(K,)`, sums of the responsibilities. `sums`:
    `(K, d)`, of `z`. `squares`: `(K, d, d)` of `z z^T`, or `(K, d)` of `z**2`. `log_densities`:
    `(N,)` where they were asked for, else None.
    """

    log_likelihood: Array
    counts: Array
    sums: Array
    squares: Array
    log_densities: Array | None = None


def _formula(
    x: Array,
    log_weights: Array,
    loc: Array,
    inverse_scale: Array,
    weights: Array,
    *,
    per_row: bool = False,
) -> tuple[Array, ...]:
    x, log_weights, loc, inverse_scale, weights = accumulated(
        x, log_weights, loc, inverse_scale, weights
    )
    full = inverse_scale.ndim == 3
    diagonal = jnp.diagonal(inverse_scale, axis1=1, axis2=2) if full else inverse_scale
    norm = 0.5 * x.shape[1] * math.log(2 * math.pi)
    constants = log_weights + jnp.log(diagonal).sum(1) - norm
    chunk = max(256, _CHUNK // max(1, loc.size))
    if len(x) <= chunk:
        *totals, densities = _of_rows(x, weights, constants, loc, inverse_scale)
    else:
        totals, densities = _by_chunks(chunk, x, weights, constants, loc, inverse_scale)
    return (*totals, densities) if per_row else tuple(totals)


def _by_chunks(
    chunk: int, x: Array, weights: Array, constants: Array, loc: Array, inverse: Array
) -> tuple[list[Array], Array]:
    count = len(x)
    filled = -(-count // chunk) * chunk - count
    rows = jnp.pad(x, [(0, filled), (0, 0)]).reshape(-1, chunk, x.shape[1])
    parts = rows, jnp.pad(weights, (0, filled)).reshape(-1, chunk)
    shapes = (), constants.shape, loc.shape, inverse.shape
    zeros = [jnp.zeros(shape, loc.dtype) for shape in shapes]

    def add(totals: list[Array], part: tuple[Array, Array]) -> tuple[list[Array], Array]:
        *found, density = _of_rows(*part, constants, loc, inverse)
        return jax.tree.map(jnp.add, totals, found), density

    totals, densities = jax.lax.scan(add, zeros, parts)
    return totals, densities.reshape(-1)[:count]


def _of_rows(
    x: Array, weights: Array, constants: Array, loc: Array, inverse: Array
) -> tuple[Array, ...]:
    infinite = jnp.isinf(x)
    far = infinite.any(1) & ~jnp.isnan(x).any(1)
    difference = jnp.where(infinite, 0.0, x)[None] - loc[:, None]
    if inverse.ndim == 3:
        z = jnp.einsum("kni,kji->knj", difference, inverse, precision="highest")
    else:
        z = difference * inverse[:, None]
    joint = constants[:, None] - 0.5 * (z * z).sum(-1)
    density = jnp.where(far, -jnp.inf, jax.scipy.special.logsumexp(joint, axis=0))
    nothing = (weights == 0) | (density == -jnp.inf)
    mass = jnp.where(nothing[None], 0.0, weights[None] * jnp.exp(joint - density[None]))
    mass = mass[..., None]
    z = jnp.where(mass == 0, 0.0, z)
    weighted = mass * z
    if inverse.ndim == 3:
        squares = jnp.einsum("kni,knj->kij", weighted, z, precision="highest")
    else:
        squares = (weighted * z).sum(1)
    value = jnp.where(weights == 0, 0.0, weights * density).sum()
    return value, mass.sum((1, 2)), weighted.sum(1), squares, density


_INPUTS: dict[str, int | None] = dict.fromkeys(
    ("x", "log_weights", "loc", "inverse_scale", "weights")
)
# Its gradient is a function of the results: it is given here, and has no kernel.
_SUMS, _ROWS_TOO = (
    RowOperation("mixture_e_step", _formula, _INPUTS, (None,) * count, constant=tuple(_INPUTS))
    for count in (4, 5)
)
OPERATIONS = {_SUMS.name: _SUMS}


@functools.partial(jax.custom_vjp, nondiff_argnums=(5,))
def _e_step(
    x: Array, log_weights: Array, loc: Array, inverse_scale: Array, weights: Array, per_row: bool
) -> tuple[Array, ...]:
    arrays = dict(zip(_INPUTS, (x, log_weights, loc, inverse_scale, weights), strict=True))
    return _ROWS_TOO(arrays, per_row=True) if per_row else _SUMS(arrays)


def _forward(x, log_weights, loc, inverse_scale, weights, per_row):
    given = (x, log_weights, loc, inverse_scale, weights)
    if x.perturbed or weights.perturbed:
        raise NotImplementedError(
            "x and weights must not be differentiated, which mixture_e_step has not; got a tangent "
            "of one of them. Wrap it in jax.lax.stop_gradient, or use JAX's own functions."
        )
    found = _e_step(*(value.value for value in given), per_row)
    return found, (x.value, weights.value, inverse_scale.value, *found[1:4])


def _backward(_per_row, saved, cotangents):
    x, weights, inverse_scale, counts, sums, squares = saved
    cotangent = cotangents[0]
    if isinstance(cotangent, jax.custom_derivatives.SymbolicZero):
        cotangent = jnp.zeros((), x.dtype)
    if inverse_scale.ndim == 3:
        loc = jnp.einsum("kji,kj->ki", inverse_scale, sums, precision="highest")
        diagonal = jnp.diagonal(inverse_scale, axis1=1, axis2=2)
        inner = jnp.linalg.solve(inverse_scale, squares).mT
        scale = jax.vmap(jnp.diag)(counts[:, None] / diagonal) - inner
    else:
        loc = inverse_scale * sums
        scale = (counts[:, None] - squares) / inverse_scale
    found = (cotangent * value for value in (counts, loc, scale))
    return jnp.zeros_like(x), *found, jnp.zeros_like(weights)


_e_step.defvjp(_forward, _backward, symbolic_zeros=True)


def mixture_e_step(
    x: ArrayLike,
    log_weights: ArrayLike,
    loc: ArrayLike,
    inverse_scale: ArrayLike,
    weights: ArrayLike | None = None,
    *,
    per_row: bool = False,
) -> MixtureStatistics:
    """E-step of a mixture of `K` normal laws, summed: nothing of the size `N K` is ever stored.

    As `kernels_triton.mixture_e_step`, for JAX: by the same kernel on CUDA, elsewhere by its
    formula in chunks of rows. It is what `igeojax.em.Mixture.fit` takes as `e_step`. Of its results
    only the log-likelihood has a gradient, to `log_weights`, `loc` and `inverse_scale`; that of the
    others is 0. On CUDA rows that are sharded are gathered, and `vmap` is a loop.

    Args:
      x: observations, shape `(N, d)`; half precision is widened.
      log_weights: shape `(K,)`, of the dtype of `x` or, better than half precision, float32; `-inf`
        is no weight. They need not be normalized, and are not by this.
      loc: means, shape `(K, d)`, of the dtype of `log_weights`.
      inverse_scale: reciprocals of standard deviations, shape `(K, d)`; or triangular matrices `W`
        of positive diagonal, shape `(K, d, d)`, with `W^T W` the precision.
      weights: of the rows, non-negative, shape `(N,)`, of the dtype of `log_weights`; None weighs
        all alike.
      per_row: whether to return the log-density of each row as well.

    Returns:
      The `MixtureStatistics`, float64 for float64 and otherwise float32.

    Raises:
      NotImplementedError: `x` or `weights` are differentiated.
      TypeError: an argument is not a floating array, or of another dtype.
      ValueError: a wrong shape.

    References:
      [Dempster1977] section 4.3.

    Examples:
      >>> x = jnp.array([[-1.0], [1.0]])
      >>> found = mixture_e_step(x, jnp.zeros(1), jnp.zeros((1, 1)), jnp.ones((1, 1)))
      >>> found.counts.tolist(), found.sums.tolist(), found.squares.tolist()
      ([2.0], [[0.0]], [[2.0]])
    """
    x = floating_array("x", x)
    if x.ndim != 2:
        raise ValueError(
            f"x must have shape (N, d); got {x.shape}. Flatten other axes into axis 0."
        )
    log_weights = floating_array("log_weights", log_weights)
    (wide,) = accumulated(x)
    if log_weights.dtype not in (x.dtype, wide.dtype):
        raise TypeError(
            f"log_weights must be {wide.dtype} beside x of {x.dtype}; got {log_weights.dtype}. "
            f"Cast the parameters with .astype({wide.dtype})."
        )
    count, size = log_weights.size, x.shape[1]
    weights = jnp.ones(x.shape[0], log_weights.dtype) if weights is None else weights
    given = {"log_weights": log_weights, "loc": loc, "inverse_scale": inverse_scale}
    given["weights"] = weights
    shapes = {"log_weights": [(count,)], "loc": [(count, size)], "weights": [(x.shape[0],)]}
    shapes["inverse_scale"] = [(count, size), (count, size, size)]
    for name, value in given.items():
        require_shape(name, value, *shapes[name])
        given[name] = alike(name, value, "log_weights", log_weights, jnp.shape(value))
    found: Any = _e_step(*accumulated(x, *given.values()), bool(per_row))
    likelihood, counts, sums, squares, *density = found
    return MixtureStatistics(likelihood, counts, sums, squares, density[0] if per_row else None)
