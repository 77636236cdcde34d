"""Step size and momentum that minimize the quadratic model of the loss."""

from typing import Any, NamedTuple

import jax.numpy as jnp
import optax.tree
from jaxtyping import Array

from igeojax.fisher.model import Predict, fisher_inner_products
from igeojax.fisher.output import Output


class QuadraticModel(NamedTuple):
    """The model `g^T v + v^T (F + damping I) v / 2` on the span of a direction d and a momentum m.

    `slopes`: `g^T d` and `g^T m`; `fisher`: the products of d and m with F, `(2, 2)`; `damped`:
    with `F + damping I`.
    """

    slopes: Array
    fisher: Array
    damped: Array


def quadratic_model(
    predict: Predict,
    family: Output,
    params: Any,
    gradient: Any,
    direction: Any,
    momentum: Any,
    inputs: Any,
    weights: Any,
    damping: Array,
) -> QuadraticModel:
    """The model on the span of two tangents: one forward pass and two tangents pushed through it.

    F is the exact Fisher matrix of `inputs`, not the approximation that gave the direction.
    """
    fisher = fisher_inner_products(
        predict, family, params, (direction, momentum), inputs, weights=weights
    ).astype(damping.dtype)

    def dot(a: Any, b: Any) -> Array:
        return jnp.asarray(optax.tree.vdot(a, b), damping.dtype)

    cross = dot(direction, momentum)
    lengths = jnp.stack([dot(direction, direction), cross, cross, dot(momentum, momentum)])
    lengths = lengths.reshape((2, 2))
    slopes = jnp.stack([dot(gradient, direction), dot(gradient, momentum)])
    return QuadraticModel(slopes, fisher, fisher + damping * lengths)


def step_coefficients(
    model: QuadraticModel, learning_rate: Array | None, momentum: Array | None
) -> tuple[Array, Array]:
    """`alpha, mu` of the step `-alpha d + mu m`: given ones kept, the others minimize the model."""
    (slope, drift), ((a, b), (_, c)) = model.slopes, model.damped
    alone = _ratio(slope, a)
    if learning_rate is not None:
        return learning_rate, _ratio(learning_rate * b - drift, c) if momentum is None else momentum
    if momentum is not None:
        return _ratio(slope + momentum * b, a), momentum
    # Where the two are nearly parallel the momentum is not resolved: the direction alone.
    det = a * c - b * b
    sound = det > 1e-6 * a * c
    safe = jnp.where(sound, det, 1.0)
    alpha = jnp.where(sound, (c * slope - b * drift) / safe, alone)
    return alpha, jnp.where(sound, (b * slope - a * drift) / safe, 0.0)


def _ratio(numerator: Array, denominator: Array) -> Array:
    positive = denominator > 0
    return jnp.where(positive, numerator / jnp.where(positive, denominator, 1.0), 0.0)
