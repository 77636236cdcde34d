"""What normalized networks compute on the unit sphere, as functions of arrays (nGPT).

Tokens are unit vectors, weights have unit rows or columns, so every product is a cosine; learned
scales and steps take the place of norms. The layers of `nn.linen` and `nn.nnx` call these.
"""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.discrete.softmax import softmax
from igeojax.numerics.rows import unit_at_zero


def l2_normalize(x: Float[ArrayLike, "*shape"], *, axis: int = -1) -> Float[Array, "*shape"]:
    """Unit vectors `x / |x|`.

    Squares neither overflow nor vanish: vectors of any length that the dtype holds come out of
    length one.

    Args:
      x: vectors along `axis`.
      axis: the axis of the vectors.

    Returns:
      An array of the shape of x. The zero vector, which has no direction, stays zero and has
      gradient 0; the gradient elsewhere is tangent to the sphere.

    Raises:
      TypeError: `x` is not real.
      ValueError: `x` has no such axis.

    References:
      [LoshchilovNgpt2024] section 2.1.

    Examples:
      >>> import jax
      >>> l2_normalize(jnp.array([3e30, 4e30])).round(3).tolist()
      [0.6..., 0.8...]
      >>> jax.jacobian(l2_normalize)(jnp.zeros(2)).tolist()
      [[0.0, 0.0], [0.0, 0.0]]
    """
    x = checks.floating("x", x)
    if not -x.ndim <= axis < x.ndim:
        raise ValueError(
            f"axis must be one of the {x.ndim} axes of x; got {axis} for shape {x.shape}."
        )
    return jnp.moveaxis(unit_at_zero(jnp.moveaxis(x, axis, -1)), -1, axis)


def learned_scale(
    stored: Float[Array, "*n"], *, initial: float, stored_at: float
) -> Float[Array, "*n"]:
    """The scale of a parameter that is stored in other units, `stored (initial / stored_at)`.

    A parameter that starts at `stored_at` gives `initial`. Adaptive optimizers move each parameter
    by its learning rate, whatever its unit: the unit chosen here sets how fast it is learned.

    Args:
      stored: the parameter.
      initial: what the scale is at first.
      stored_at: what the parameter is at first.

    Returns:
      The scale.

    References:
      [LoshchilovNgpt2024] section 2.5.

    Examples:
      >>> learned_scale(jnp.array([0.125]), initial=1.0, stored_at=0.125).tolist()
      [1.0]
    """
    return stored * (initial / stored_at)


def normalized_residual(
    x: Float[Array, "*batch d"], branch: Float[Array, "*batch d"], step: Float[ArrayLike, " d"]
) -> Float[Array, "*batch d"]:
    """A step on the sphere from `x` toward the direction of `branch`.

    `unit(x + |step| (unit(branch) - x))`: along the chord, entry by entry at its own rate, and back
    to the sphere. Step 0 stays at x, step 1 arrives at the branch.

    Args:
      x: unit vectors.
      branch: what a block says of them, of any length.
      step: rates of the entries; of negative ones the size counts.

    Returns:
      Unit vectors; the zero vector, with gradient 0, where the step leads to the center.

    References:
      [LoshchilovNgpt2024] equations (10) and (11).

    Examples:
      >>> normalized_residual(jnp.array([1.0, 0.0]), jnp.array([0.0, 9.0]), 1.0).tolist()
      [0.0, 1.0]
    """
    rates = jnp.broadcast_to(jnp.abs(step), x.shape)
    return unit_at_zero(x + rates * (unit_at_zero(branch) - x))


def rotary(x: Float[Array, "*batch T heads d"], *, base: float = 10000.0) -> Array:
    """Rotary embedding of positions: entry pairs turn by angles that grow with the position.

    Pair `(j, j + d/2)` at position t turns by `t base^(-2j/d)` radians. Lengths stay, and the
    product of a query and a key depends on positions by their difference alone.

    Args:
      x: queries or keys, `d` even.
      base: ratio of the slowest to the fastest turn.

    Returns:
      An array of the shape of x.

    Raises:
      TypeError: `x` is not real.
      ValueError: `d` is odd, or x has fewer than three axes.

    References:
      [Su2024] section 3.2.

    Examples:
      >>> x = jnp.ones((2, 1, 2))
      >>> rotary(x)[1, 0].round(4).tolist()
      [-0.3012..., 1.3818...]
    """
    x = checks.floating("x", x)
    if x.ndim < 3 or x.shape[-1] % 2:
        raise ValueError(
            f"x must have axes of positions, heads and an even number of entries; got {x.shape}. "
            "Add an axis of one head, or change the entries of each."
        )
    count, dim = x.shape[-3], x.shape[-1]
    # Angles in numpy: constants of the program, in double whatever x is.
    rates = base ** (-np.arange(dim // 2) / (dim // 2))
    angles = np.arange(count)[:, None, None] * rates
    first, second = jnp.split(x, 2, axis=-1)
    cos, sin = (jnp.broadcast_to(f(angles).astype(x.dtype), first.shape) for f in (np.cos, np.sin))
    return jnp.concatenate([first * cos - second * sin, second * cos + first * sin], axis=-1)


def normalized_attention(
    query: Float[Array, "*batch T heads d"],
    key: Float[Array, "*batch S heads d"],
    value: Float[Array, "*batch S heads d"],
    scale: Float[ArrayLike, "heads d"],
    *,
    mask: Bool[Array, "*batch heads T S"] | None = None,
    is_causal: bool = False,
) -> Float[Array, "*batch T heads d"]:
    """Attention by cosines: softmax of `sqrt(d) <scale unit(q), scale unit(k)>`.

    Args:
      query: queries, of any length.
      key: keys.
      value: values.
      scale: learned scales of the entries of both; 1 at first gives scores of variance about one.
      mask: where attention is allowed.
      is_causal: whether a position sees none after it.

    Returns:
      Means of the values.

    References:
      [LoshchilovNgpt2024] equations (15) and (16).

    Examples:
      >>> key = jnp.eye(2)[:, None]
      >>> normalized_attention(100 * key, key, key, 10.0)[0, 0].round(3).tolist()
      [1.0, 0.0]
    """
    query, key = (jnp.broadcast_to(scale, side.shape) * unit_at_zero(side) for side in (query, key))
    scale_of_scores = float(query.shape[-1]) ** 0.5
    return attention(scale_of_scores * query, key, value, mask=mask, is_causal=is_causal)


def attention(
    query: Float[Array, "*batch T heads d"],
    key: Float[Array, "*batch S heads d"],
    value: Float[Array, "*batch S heads d"],
    *,
    mask: Bool[Array, "*batch heads T S"] | None = None,
    is_causal: bool = False,
) -> Float[Array, "*batch T heads d"]:
    """Attention, `softmax(<q, k>) v`, without a scale of its own.

    In float64 all of it is: `jax.nn.dot_product_attention` takes its softmax in float32.

    Args:
      query: queries, scaled.
      key: keys.
      value: values.
      mask: where attention is allowed; a position that may see nothing has 0.
      is_causal: whether a position sees none after it.

    Returns:
      Means of the values.

    Examples:
      >>> key = jnp.eye(2)[:, None]
      >>> attention(100 * key, key, key)[0, 0].round(3).tolist()
      [1.0, 0.0]
    """
    scores = jnp.einsum("...thd,...shd->...hts", query, key)
    if is_causal:
        past = jnp.tri(*scores.shape[-2:], dtype=bool)
        mask = past if mask is None else mask & jnp.broadcast_to(past, scores.shape)
    if mask is not None:
        scores = jnp.where(jnp.broadcast_to(mask, scores.shape), scores, -jnp.inf)
    return jnp.einsum("...hts,...shd->...thd", softmax(scores), value)
