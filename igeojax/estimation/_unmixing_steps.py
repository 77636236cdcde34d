"""Quasi-Newton steps of the relative gradient, in blocks of rows that stay in the cache.

A step multiplies: `W' = (I + D) W`, or a rotation of W. The mean loss is
`-log |det W| + sum_i (E[y_i^2] / 2 + s_i E[log cosh y_i])`; its derivative along D is the pairing
of D with `G = E[(y + s tanh y) y^T] - I`, and its second derivative near independence couples only
`D_ij` with `D_ji`: blocks of two, solved in closed form.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.estimation._sources import stable_signs

MEMORY = 7
SMALLEST_CURVATURE = 0.01  # least eigenvalue of a block of two
MOST_SIGN_CHANGES = 10  # a source of neither kind might change for ever
MOST_HALVINGS = 10
ROUNDING = 20  # a rise of the loss by so many units in the last place is rounding
_GROUP = 16  # factors below 2 whose product is taken before its logarithm


class Moments(NamedTuple):
    """What one pass over the data tells of `y = W z`, of matrices and of each source.

    `product`: `E[tanh(y) y^T]`; `slope`: `E[sech^2 y]`; `log_cosh`: `E[log cosh y]`.
    """

    product: Array
    slope: Array
    log_cosh: Array


class History(NamedTuple):
    """Last steps and changes of the gradient, newest first; `curvature` 0 is an empty place."""

    steps: Array
    changes: Array
    curvature: Array


class Unmixing(NamedTuple):
    """State of the iteration, and where it ends."""

    matrix: Array
    moments: Moments
    signs: Array
    history: History
    residual: Array
    num_iterations: Array
    num_sign_changes: Array
    running: Array


class Rows(NamedTuple):
    """Data as they come, an observation a row, and `whitening @ (row - mean)`, which is white."""

    values: Array
    mean: Array
    whitening: Array


def sum_of_blocks(block_sum: Callable[[Array], Any], values: Array, mean: Array) -> Any:
    """Sum of `block_sum(rows - mean)` over blocks of rows that stay in the cache.

    The last block reaches back into the one before it: rows seen twice are zeros the second time,
    which must add nothing.
    """
    count, dim = values.shape
    most = max(64, 2 ** int(math.log2(65536 / dim)))  # of all buffers a pass holds, in the cache
    num_blocks = -(-count // most)
    size = min(count, _GROUP * -(-count // (num_blocks * _GROUP)))

    def add(index: Array, total: Any) -> Any:
        first = jnp.minimum(index * size, count - size)
        rows = jax.lax.dynamic_slice_in_dim(values, first, size) - mean[None]
        new = first + jnp.arange(size)[:, None] >= index * size
        return jax.tree.map(jnp.add, total, block_sum(jnp.where(new, rows, 0)))

    shapes = jax.eval_shape(block_sum, values[:size])
    zeros = jax.tree.map(lambda part: jnp.zeros(part.shape, part.dtype), shapes)
    return jax.lax.fori_loop(0, num_blocks, add, zeros)


def moments_of(data: Rows, matrix: Array) -> Moments:
    """One pass over the data: `dim^2 N` twice, and one tanh an entry."""
    count = data.values.shape[0]
    unmixing = matrix @ data.whitening

    def block_sum(rows: Array) -> tuple[Array, ...]:
        y = unmixing @ rows.T
        tanh = jnp.tanh(y)
        # log cosh y = |y| - log(1 + |tanh y|), with a logarithm for each group.
        tail = -tanh.shape[1] % _GROUP
        factors = 1 + jnp.abs(jnp.pad(tanh, ((0, 0), (0, tail))))
        factors = jnp.prod(factors.reshape(len(y), _GROUP, -1), axis=1)
        log_cosh = jnp.sum(jnp.abs(y), axis=1) - jnp.sum(jnp.log(factors), axis=1)
        return tanh @ y.T, jnp.sum(tanh * tanh, axis=1), log_cosh

    product, square, log_cosh = sum_of_blocks(block_sum, data.values, data.mean)
    return Moments(product / count, 1 - square / count, log_cosh / count)


def loss_of(matrix: Array, moments: Moments, signs: Array) -> Array:
    """Mean loss, in nats, of white data."""
    square = 0.5 * jnp.sum(matrix**2)
    return square + jnp.sum(signs * moments.log_cosh) - jnp.linalg.slogdet(matrix)[1]


def gradient_of(matrix: Array, moments: Moments, signs: Array, orthogonal: bool) -> Array:
    """Relative gradient G of white data; its skew part where the sources stay white."""
    tanh_part = signs[:, None] * moments.product
    if orthogonal:
        return 0.5 * (tanh_part - tanh_part.T)
    return tanh_part + matrix @ matrix.T - jnp.eye(matrix.shape[0], dtype=matrix.dtype)


def newton_direction(
    gradient: Array, matrix: Array, moments: Moments, signs: Array, orthogonal: bool
) -> Array:
    """Solution of the blocks of two, their eigenvalues raised to `SMALLEST_CURVATURE`."""
    if orthogonal:
        gain = signs * (moments.slope - jnp.diagonal(moments.product))
        return gradient / jnp.maximum(0.5 * (gain[:, None] + gain[None]), SMALLEST_CURVATURE)
    slope = 1 + signs * moments.slope
    square = jnp.sum(matrix**2, axis=1)
    curvature = slope[:, None] * square[None]
    least = 0.5 * (curvature + curvature.T - jnp.sqrt((curvature - curvature.T) ** 2 + 4))
    curvature = curvature + jnp.maximum(SMALLEST_CURVATURE - least, 0)
    # On the diagonal this is gradient / (curvature + 1).
    bottom = curvature * curvature.T - 1
    return (curvature.T * gradient - gradient.T) / bottom


def quasi_newton_direction(gradient: Array, history: History, solve: Any) -> Array:
    """Direction of L-BFGS, whose first metric is the blocks of two."""
    inverse = jnp.where(history.curvature > 0, 1 / history.curvature, 0)

    def back(gradient: Array, pair: tuple[Array, ...]) -> tuple[Array, Array]:
        step, change, scale = pair
        share = scale * jnp.sum(step * gradient)
        return gradient - share * change, share

    def forth(direction: Array, pair: tuple[Array, ...]) -> tuple[Array, None]:
        step, change, scale, share = pair
        return direction + (share - scale * jnp.sum(change * direction)) * step, None

    pairs = history.steps, history.changes, inverse
    gradient, shares = jax.lax.scan(back, gradient, pairs)
    direction, _ = jax.lax.scan(forth, solve(gradient), (*pairs, shares), reverse=True)
    return -direction


def moved(matrix: Array, step: Array, orthogonal: bool) -> Array:
    """`(I + step) W`, or W turned by the Cayley transform of a skew step."""
    if not orthogonal:
        return matrix + step @ matrix
    identity = jnp.eye(matrix.shape[0], dtype=matrix.dtype)
    turned = jnp.linalg.solve(identity - 0.5 * step, (identity + 0.5 * step) @ matrix)
    return 1.5 * turned - 0.5 * (turned @ turned.T) @ turned  # back to a rotation, to rounding


def empty_history(matrix: Array) -> History:
    """No steps yet."""
    zeros = jnp.zeros((MEMORY, *matrix.shape), matrix.dtype)
    return History(zeros, zeros, jnp.zeros(MEMORY, matrix.dtype))


def unmix(
    data: Rows,
    matrix: Array,
    *,
    orthogonal: bool,
    tolerance: Array,
    max_iterations: Array,
) -> Unmixing:
    """Steps until no entry of the gradient exceeds `tolerance`, or none lowers the loss.

    Args:
      data: observations, and what makes them white.
      matrix: where to start; a rotation where `orthogonal`.
      orthogonal: whether the sources stay white.
      tolerance: largest entry of the gradient to stop at.
      max_iterations: most steps.

    Returns:
      The last state.
    """
    identity_square = lambda w: jnp.sum(w**2, axis=1)

    def signs_of(matrix: Array, moments: Moments) -> Array:
        product = jnp.diagonal(moments.product)
        return stable_signs(moments.slope, identity_square(matrix), product)

    def residual_of(matrix: Array, moments: Moments, signs: Array) -> Array:
        return jnp.max(jnp.abs(gradient_of(matrix, moments, signs, orthogonal)))

    def advance(state: Unmixing) -> Unmixing:
        matrix, moments, signs = state.matrix, state.moments, state.signs
        gradient = gradient_of(matrix, moments, signs, orthogonal)
        solve = lambda g: newton_direction(g, matrix, moments, signs, orthogonal)
        direction = quasi_newton_direction(gradient, state.history, solve)
        before = loss_of(matrix, moments, signs)
        slack = ROUNDING * jnp.finfo(matrix.dtype).eps * (1 + jnp.abs(before))

        def attempt(carry: tuple[Any, ...]) -> tuple[Any, ...]:
            halvings, *_ = carry
            length = 0.5 ** halvings.astype(matrix.dtype)
            new = moved(matrix, length * direction, orthogonal)
            found = moments_of(data, new)
            lower = loss_of(new, found, signs) <= before + slack
            return halvings + 1, length, new, found, lower

        def undecided(carry: tuple[Any, ...]) -> Array:
            halvings, *_, lower = carry
            return ~lower & (halvings < MOST_HALVINGS)

        none = jnp.zeros((), int), jnp.ones((), matrix.dtype)
        start = *none, matrix, moments, jnp.zeros((), bool)
        _, length, new, found, lower = jax.lax.while_loop(undecided, attempt, start)
        kept = lambda value, old: jax.tree.map(lambda v, o: jnp.where(lower, v, o), value, old)
        new, found = kept(new, matrix), kept(found, moments)
        proposed = signs_of(new, found)
        may_change = state.num_sign_changes < MOST_SIGN_CHANGES
        new_signs = jnp.where(may_change, proposed, signs)
        changed = jnp.any(new_signs != signs)
        # The change of the gradient, both of the old signs, along the step.
        step = length * direction
        change = gradient_of(new, found, signs, orthogonal) - gradient
        pushed = History(
            *(
                jnp.concatenate([value[None], old[:-1]])
                for value, old in zip(
                    (step, change, jnp.sum(step * change)), state.history, strict=True
                )
            )
        )
        # Another loss, or a step that failed: the memory is of no use.
        empty = changed | ~lower
        history = jax.tree.map(lambda leaf: jnp.where(empty, 0, leaf), pushed)
        had_memory = jnp.any(state.history.curvature > 0)
        residual = residual_of(new, found, new_signs)
        return Unmixing(
            new,
            found,
            new_signs,
            history,
            residual,
            state.num_iterations + lower,
            state.num_sign_changes + changed,
            (residual > tolerance) & (lower | had_memory),
        )

    moments = moments_of(data, matrix)
    signs = signs_of(matrix, moments)
    residual = residual_of(matrix, moments, signs)
    zero = jnp.zeros((), int)
    start = Unmixing(
        matrix, moments, signs, empty_history(matrix), residual, zero, zero, residual > tolerance
    )
    goes_on = lambda state: state.running & (state.num_iterations < max_iterations)
    return jax.lax.while_loop(goes_on, advance, start)
