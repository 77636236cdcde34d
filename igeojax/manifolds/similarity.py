"""How alike vectors are, in flat space: products, cosines, and the scores of attention."""

import math

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.numerics.rows import unit_at_zero


def dot_similarity(
    x: Float[ArrayLike, "*batch dim"], y: Float[ArrayLike, "*batch dim"]
) -> Float[Array, "*batch"]:
    """Inner product `<x, y>` over the last axis.

    Args:
      x: vectors.
      y: vectors; batch axes broadcast.

    Returns:
      The products.

    Raises:
      TypeError: an argument is not real.
      ValueError: the vectors differ in length, or batches do not broadcast.

    Examples:
      >>> dot_similarity([1.0, 2.0], [3.0, 4.0]).item()
      11.0
    """
    first, second = _pairs(x, y)
    return jnp.sum(first * second, axis=-1)


def cosine_similarity(
    x: Float[ArrayLike, "*batch dim"], y: Float[ArrayLike, "*batch dim"]
) -> Float[Array, "*batch"]:
    """Cosine of the angle, `<x, y> / (|x| |y|)`; its arc is `Sphere.distance` of the unit vectors.

    Args:
      x: vectors, of any length that is in range.
      y: vectors; batch axes broadcast.

    Returns:
      Values in `[-1, 1]` up to rounding; 0 with gradient 0 for a zero vector.

    Raises:
      TypeError: an argument is not real.
      ValueError: the vectors differ in length, or batches do not broadcast.

    Examples:
      >>> round(cosine_similarity([1.0, 0.0], [3.0, 4.0]).item(), 6)
      0.6
    """
    first, second = _pairs(x, y)
    return jnp.sum(unit_at_zero(first) * unit_at_zero(second), axis=-1)


def scaled_dot_scores(
    queries: Float[ArrayLike, "*batch queries dim"], keys: Float[ArrayLike, "*batch keys dim"]
) -> Float[Array, "*batch queries keys"]:
    """Scores of attention `q k^T / sqrt(dim)`, of variance 1 for standard normal vectors.

    Args:
      queries: vectors.
      keys: vectors; batch axes broadcast.

    Returns:
      A score for each query and key.

    Raises:
      TypeError: an argument is not real.
      ValueError: shapes do not fit.

    References:
      [Vaswani2017] equation 1.

    Examples:
      >>> scaled_dot_scores([[1.0, 1.0, 1.0, 1.0]], [[1.0, 1.0, 0.0, 0.0]]).tolist()
      [[1.0]]
    """
    q, k = _sets(queries, keys)
    return q / math.sqrt(q.shape[-1]) @ jnp.swapaxes(k, -1, -2)


def cosine_scores(
    queries: Float[ArrayLike, "*batch queries dim"],
    keys: Float[ArrayLike, "*batch keys dim"],
    scale: Float[ArrayLike, ""] = 1.0,
) -> Float[Array, "*batch queries keys"]:
    """Scores of attention `scale cos(q, k)`, bounded by the scale, an inverse temperature.

    Args:
      queries: vectors.
      keys: vectors; batch axes broadcast.
      scale: a number, which may be learned.

    Returns:
      A score for each query and key; 0 for a zero vector.

    Raises:
      TypeError: an argument is not real.
      ValueError: shapes do not fit.

    References:
      [Henry2020] section 3 (normalized queries and keys).

    Examples:
      >>> cosine_scores([[2.0, 0.0]], [[0.0, 3.0], [5.0, 0.0]], 10.0).tolist()
      [[0.0, 10.0]]
    """
    q, k = _sets(queries, keys)
    factor = checks.floating("scale", scale)
    if factor.ndim:
        raise ValueError(
            f"scale must be a scalar; got shape {factor.shape}. Multiply the scores of scale 1 by "
            "an array, such as one for each head."
        )
    return factor.astype(q.dtype) * (unit_at_zero(q) @ jnp.swapaxes(unit_at_zero(k), -1, -2))


def _pairs(x: ArrayLike, y: ArrayLike) -> tuple[Array, Array]:
    pair = checks.floating_together(x=x, y=y)
    _require_alike(1, x=pair[0], y=pair[1])
    first, second = jnp.broadcast_arrays(*pair)
    return first, second


def _sets(queries: ArrayLike, keys: ArrayLike) -> tuple[Array, Array]:
    pair = checks.floating_together(queries=queries, keys=keys)
    _require_alike(2, queries=pair[0], keys=pair[1])
    batch = jnp.broadcast_shapes(*(v.shape[:-2] for v in pair))
    first, second = (jnp.broadcast_to(v, batch + v.shape[-2:]) for v in pair)
    return first, second


def _require_alike(axes: int, **values: Array) -> None:
    """Check that vectors have one length, and batches that broadcast.

    Raises:
      ValueError: they do not.
    """
    shapes = {name: value.shape for name, value in values.items()}
    lengths = {shape[-1:] for shape in shapes.values()}
    if min(map(len, shapes.values())) < axes or len(lengths) > 1 or lengths == {(0,)}:
        found = " and ".join(f"{shape} of {name}" for name, shape in shapes.items())
        wanted = "(..., dim)" if axes == 1 else "(..., number, dim)"
        raise ValueError(
            f"{' and '.join(shapes)} must have shapes {wanted} with one dim; got {found}. Vectors "
            "lie along the last axis."
        )
    checks.require_broadcastable(**{name: shape[:-axes] for name, shape in shapes.items()})
