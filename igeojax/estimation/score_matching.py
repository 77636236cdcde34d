"""Score matching: fits of models whose normalizer is not known.

The score of a model is `s(x) = grad_x log p(x)`, in which the normalizer is gone. Its Fisher
divergence to that of the data is, up to a constant, `E[|s|^2 / 2 + div s]`, which needs no
density of the data; smoothness, and a density that vanishes at the boundary, make it so.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float, Key

from igeojax._core import checks
from igeojax.numerics.weighting import normalized_weights, weighted_mean

Score = Callable[[Array], Array]
"""A score: from one observation, a vector, to the gradient of its log-density, a vector."""


def score_matching_loss(score: Score, x: Float[ArrayLike, "N dim"]) -> Float[Array, ""]:
    """Mean of `|s(x)|^2 / 2 + div s(x)` over observations; the divergence is exact.

    Of an unnormalized log-density pass `jax.grad(log_density)`. One jvp of the score a coordinate;
    for many coordinates take `sliced_score_matching_loss`.

    Args:
      score: the score of one observation.
      x: observations, one a row, in the interior of a support at whose edge the density vanishes.

    Returns:
      The loss; its minimum over models is at the one nearest in Fisher divergence.

    Raises:
      TypeError: `x` is not real.
      ValueError: `x` is not a matrix with rows, or the score has another shape than its argument.

    References:
      [Hyvarinen2005] theorem 1.

    Examples:
      >>> float(score_matching_loss(lambda x: -x, jnp.array([[1.0], [-1.0]])))
      -0.5
    """
    x = _rows(score, x)
    basis = jnp.eye(x.shape[1], dtype=x.dtype)

    def of_one(row: Array) -> Array:
        along = lambda e: jnp.vdot(e, jax.jvp(score, (row,), (e,))[1])
        return 0.5 * jnp.sum(score(row) ** 2) + jnp.sum(jax.vmap(along)(basis))

    return jnp.mean(jax.vmap(of_one)(x))


def sliced_score_matching_loss(
    key: Key[Array, ""], score: Score, x: Float[ArrayLike, "N dim"], *, num_slices: int = 1
) -> Float[Array, ""]:
    """Mean of `|s|^2 / 2 + v^T (ds/dx) v` with random signs v: one jvp of the score a slice.

    Unbiased for `score_matching_loss`, whatever the number of coordinates.

    Args:
      key: a PRNG key.
      score: the score of one observation.
      x: observations, one a row.
      num_slices: directions v for each observation.

    Returns:
      The loss.

    Raises:
      TypeError: `key` is no PRNG key, or `x` is not real.
      ValueError: as `score_matching_loss`, or `num_slices` is below 1.

    References:
      [SongGargShiErmon2019] equation (8) (the variance-reduced form).

    Examples:
      >>> x = jnp.array([[1.0], [-1.0]])
      >>> float(sliced_score_matching_loss(jax.random.key(0), lambda x: -x, x))
      -0.5
    """
    checks.require_key(key)
    checks.require_count("num_slices", num_slices)
    x = _rows(score, x)
    slices = jax.random.rademacher(key, (x.shape[0], num_slices, x.shape[1]), x.dtype)

    def of_one(row: Array, directions: Array) -> Array:
        along = lambda v: jnp.vdot(v, jax.jvp(score, (row,), (v,))[1])
        return 0.5 * jnp.sum(score(row) ** 2) + jnp.mean(jax.vmap(along)(directions))

    return jnp.mean(jax.vmap(of_one)(x, slices))


def denoising_score_matching_loss(
    key: Key[Array, ""], score: Score, x: Float[ArrayLike, "N dim"], *, scale: ArrayLike
) -> Float[Array, ""]:
    """Mean of `|s(x + scale e) + e / scale|^2 / 2` with normal noise e: no derivative of the score.

    Its minimum is the score of the data blurred by the noise, not of the data.

    Args:
      key: a PRNG key.
      score: the score of one observation.
      x: observations, one a row.
      scale: standard deviation of the noise, positive, in the units of `x`; may be traced.

    Returns:
      The loss.

    Raises:
      TypeError: `key` is no PRNG key, or `x` is not real.
      ValueError: as `score_matching_loss`, or `scale` is no positive scalar.

    References:
      [Vincent2011] equation (9).

    Examples:
      >>> x = jnp.zeros((1000, 1))
      >>> blurred = lambda x: -x / 0.25  # noise alone
      >>> float(denoising_score_matching_loss(jax.random.key(0), blurred, x, scale=0.5)) < 1e-12
      True
    """
    checks.require_key(key)
    x = _rows(score, x)
    scale = checks.floating("scale", scale).astype(x.dtype)
    if scale.shape:
        raise ValueError(f"scale must be a scalar; got shape {scale.shape}. Use jax.vmap.")
    checks.require_positive("scale", scale, "It is the deviation of the noise.")
    noise = jax.random.normal(key, x.shape, x.dtype)
    found = jax.vmap(score)(x + scale * noise)
    return 0.5 * jnp.mean(jnp.sum((found + noise / scale) ** 2, axis=1))


def score_matching_estimate(
    statistics: Callable[[Array], Any],
    x: Float[ArrayLike, "N dim"],
    weights: ArrayLike | None = None,
    *,
    log_base_measure: Callable[[Array], Array] | None = None,
    boundary: Callable[[Array], Array] | None = None,
) -> Any:
    """The natural parameter of `p(x) = h(x) exp(<theta, T(x)>) / Z` by score matching, without Z.

    The loss is quadratic in theta: with `b(x)` of `boundary` and `l = log h`, theta solves
    `E[sum_i b_i T_i T_i^T] theta = -E[sum_i (b_i T_i)' + b_i T_i l_i]`, subscripts and the dash
    being derivatives in coordinate i. Two derivatives a coordinate, and one Cholesky factor.

    Args:
      statistics: T, from one observation, a vector, to a pytree of arrays, no entry twice and
        none a combination of others and a constant.
      x: observations, one a row.
      weights: non-negative, shape `(N,)`; None weighs all alike.
      log_base_measure: `log h` of one observation; None is 0.
      boundary: non-negative weights of the coordinates of one observation, of its shape, that
        vanish where the support ends, such as `lambda x: x**2` of positive coordinates; None is 1,
        for densities that vanish at the edge of their support, or have none.

    Returns:
      theta, of the structure of `T(x)`; under `jit` nan where the equations are singular to the
      precision of `x`.

    Raises:
      TypeError: `x` is not real.
      ValueError: `x` is not a matrix with rows, a function has another shape, the equations are
        singular, or bad weights.

    References:
      [Hyvarinen2005] theorem 1; [Hyvarinen2007] sections 3 (positive data) and 4 (exponential
      families).

    Examples:
      >>> x = jnp.array([[1.0], [-1.0], [2.0], [-2.0]])  # of variance 2.5
      >>> theta = score_matching_estimate(lambda x: x[0] ** 2, x)
      >>> round(float(theta), 6)
      -0.2
    """
    x = _rows(None, x)
    shares = normalized_weights(weights, x.shape[0])
    basis = jnp.eye(x.shape[1], dtype=x.dtype)
    _, unravel = jax.flatten_util.ravel_pytree(statistics(x[0]))
    flat = lambda row: jax.flatten_util.ravel_pytree(statistics(row))[0]
    edge = jnp.ones_like if boundary is None else boundary
    if jnp.shape(edge(x[0])) != x.shape[1:]:
        raise ValueError(
            f"boundary must return one weight a coordinate, shape {x.shape[1:]}; got "
            f"{jnp.shape(edge(x[0]))}. Write lambda x: x**2 for positive coordinates."
        )

    def of_one(row: Array) -> tuple[Array, Array]:
        def along(e: Array) -> tuple[Array, Array]:
            slope = lambda z: jax.jvp(flat, (z,), (e,))[1]
            weighted = lambda z: jnp.vdot(e, edge(z)) * slope(z)
            first, (value, second) = slope(row), jax.jvp(weighted, (row,), (e,))
            if log_base_measure is not None:
                second = second + value * jax.jvp(log_base_measure, (row,), (e,))[1]
            return jnp.outer(value, first), second

        return jax.tree.map(lambda leaf: jnp.sum(leaf, axis=0), jax.vmap(along)(basis))

    matrix, vector = jax.tree.map(lambda leaf: weighted_mean(leaf, shares), jax.vmap(of_one)(x))
    # Statistics in units of their own: those of moments differ by many powers.
    scale = jnp.sqrt(jnp.diagonal(matrix))
    factor = jnp.linalg.cholesky(matrix / scale[:, None] / scale[None])
    # The error of theta is eps over the square of the least entry: here a percent of it.
    proper = jnp.min(jnp.diagonal(factor)) > 10 * jnp.sqrt(jnp.finfo(x.dtype).eps)
    checks.require_values(
        "statistics",
        proper,
        lambda v: v,
        "independent functions with slopes on the data",
        "Drop statistics that are constant or combinations of others, bring more data, centre data "
        "far from 0, or use float64.",
    )
    theta = -jax.scipy.linalg.cho_solve((factor, True), vector / scale) / scale
    return unravel(jnp.where(proper, theta, jnp.nan))


def _rows(score: Score | None, x: ArrayLike) -> Array:
    """Observations as a finite matrix with rows, that the score maps to its like.

    Raises:
      ValueError: they are not, or it does not.
    """
    x = checks.floating("x", x)
    if x.ndim != 2 or not x.shape[0]:
        raise ValueError(
            f"x must have shape (N, dim) with N >= 1; got {x.shape}. Put one observation in each "
            "row: x[:, None] for numbers."
        )
    checks.require_values("x", x, np.isfinite, "finite", "Drop or fill such entries.")
    if score is not None:
        found = jax.eval_shape(score, x[0]).shape
        if found != x.shape[1:]:
            raise ValueError(
                f"score must map an observation of shape {x.shape[1:]} to one alike; got {found}. "
                "Pass jax.grad of a log-density."
            )
    return x
