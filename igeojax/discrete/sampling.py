"""Samplers of tokens: temperature, top-k, nucleus and min-p, as filters of logits, and combined.

A filter returns logits with the classes that it drops at `-inf`; the largest class always stays.
Ties are broken towards the lower label, so that a filter is a function of its input alone.
"""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.gumbel import gumbel_max
from igeojax.discrete.softmax import softmax


def keep_top_k(
    logits: Float[ArrayLike, "*batch classes"], count: int | Int[ArrayLike, ""]
) -> Float[Array, "*batch classes"]:
    """Logits of exactly the `count` likeliest classes, the others at `-inf`; sorts once.

    Args:
      logits: scores, on the last axis.
      count: number of classes to keep, at least 1, may be traced; from K on nothing is dropped.

    Returns:
      The filtered logits.

    Raises:
      TypeError: `logits` is not made of real numbers, or `count` is no integer.
      ValueError: a scalar for `logits`, or a concrete `count` below 1.

    Examples:
      >>> keep_top_k([1.0, 3.0, 2.0, 2.0], 2).tolist()
      [-inf, 3.0, 2.0, -inf]
    """
    logits = _scores.checked(logits)
    count = _count("count", count)
    rank = _placed(jnp.arange(logits.shape[-1]), _order(logits))
    return jnp.where(rank < jnp.maximum(count, 1), logits, -jnp.inf)


def keep_top_p(
    logits: Float[ArrayLike, "*batch classes"], mass: ArrayLike
) -> Float[Array, "*batch classes"]:
    """Logits of the nucleus: the fewest likeliest classes whose mass is at least `mass`.

    A mass that differs from `mass` by rounding, `4 eps`, counts as reaching it. Sorts once.

    Args:
      logits: scores, on the last axis.
      mass: `p` in `[0, 1]`, a scalar, may be traced; 0 keeps the likeliest class, 1 all.

    Returns:
      The filtered logits.

    Raises:
      TypeError: an argument is not made of real numbers.
      ValueError: a scalar for `logits`, or a `mass` that is no scalar or outside `[0, 1]`.

    References:
      [Holtzman2020] section 3.1.

    Examples:
      >>> keep_top_p([3.0, 2.0, 0.0, 0.0], 0.8).tolist()
      [3.0, 2.0, -inf, -inf]
    """
    logits = _scores.checked(logits)
    mass = _share("mass", mass)
    p = softmax(logits.astype(jnp.promote_types(logits.dtype, jnp.float32)))
    mass = mass.astype(p.dtype)
    order = _order(logits)
    descending = jnp.take_along_axis(p, order, axis=-1)
    # Mass of the classes before: the likeliest has none and so stays.
    before = jnp.cumsum(descending, axis=-1) - descending
    first = jnp.arange(p.shape[-1]) == 0
    short = before < mass - 4 * jnp.finfo(p.dtype).eps
    kept = _placed(_over(first, short) | short | (mass >= 1), order)
    return jnp.where(kept, logits, -jnp.inf)


def keep_min_p(
    logits: Float[ArrayLike, "*batch classes"], ratio: ArrayLike
) -> Float[Array, "*batch classes"]:
    """Logits of classes at least `ratio` times as likely as the likeliest one.

    A likelihood that differs from the limit by rounding of logits counts as reaching it.

    Args:
      logits: scores, on the last axis.
      ratio: a number in `[0, 1]`, a scalar, may be traced; 0 keeps all, 1 only ties of the best.

    Returns:
      The filtered logits.

    Raises:
      TypeError: an argument is not made of real numbers.
      ValueError: a scalar for `logits`, or a `ratio` that is no scalar or outside `[0, 1]`.

    References:
      [Nguyen2025] section 3.

    Examples:
      >>> keep_min_p([3.0, 2.0, 0.0, 0.0], 0.3).tolist()
      [3.0, 2.0, -inf, -inf]
    """
    logits = _scores.checked(logits)
    ratio = _share("ratio", ratio).astype(logits.dtype)
    top = jnp.max(logits, axis=-1, keepdims=True)
    finite = jnp.where(jnp.isinf(top), 0.0, top)
    slack = 4 * jnp.finfo(logits.dtype).eps * jnp.maximum(1, jnp.abs(jnp.log(ratio)))
    slack = jnp.where((ratio == 0) | (ratio == 1), 0.0, slack)
    near = logits - finite >= jnp.log(ratio) - slack
    kept = jnp.where(top == jnp.inf, (logits == top) | (ratio == 0), near)
    return jnp.where(kept | jnp.isnan(top), logits, -jnp.inf)  # a nan goes on to the draw


def sample(
    key: Array,
    logits: Float[ArrayLike, "*batch classes"],
    *,
    temperature: ArrayLike = 1.0,
    top_k: int | Int[ArrayLike, ""] | None = None,
    top_p: ArrayLike | None = None,
    min_p: ArrayLike | None = None,
) -> Int[Array, "*batch"]:
    """Draws one label a row: temperature, then top-k, nucleus and min-p, then an exact draw.

    Each filter sees the law that the ones before it left. All hyperparameters may be traced.

    Args:
      key: a random key.
      logits: scores, on the last axis; `-inf` is an impossible class.
      temperature: positive; for the limit 0, greedy decoding, take `jnp.argmax` or `top_k=1`.
      top_k: as in `keep_top_k`; None for no such filter.
      top_p: as in `keep_top_p`.
      min_p: as in `keep_min_p`.

    Returns:
      Labels `0..K-1`; -1 for a traced row without a possible class (all `-inf`, or a nan).

    Raises:
      TypeError: an argument is not of the kind described.
      ValueError: a scalar for `logits`, a hyperparameter outside its range, or a concrete row
        without a possible class.

    Examples:
      >>> import jax
      >>> int(sample(jax.random.key(0), [0.0, 5.0, 1.0], temperature=0.7, top_k=1))
      1
    """
    logits = _scores.checked(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    t = _scores.positive_temperature(temperature, logits.dtype)
    scores = _scores.over_temperature(logits - _scores.shift_of(logits, -1), t)
    if top_k is not None:
        scores = keep_top_k(scores, _count("top_k", top_k))
    if top_p is not None:
        scores = keep_top_p(scores, _share("top_p", top_p))
    if min_p is not None:
        scores = keep_min_p(scores, _share("min_p", min_p))
    return gumbel_max(key, scores)


def _order(logits: Array) -> Array:
    """Labels from the likeliest on; ties by label."""
    return jnp.argsort(logits, axis=-1, descending=True, stable=True)


def _placed(by_rank: Array, order: Array) -> Array:
    """Values given by rank, put at the labels of these ranks."""
    return jnp.put_along_axis(
        jnp.zeros(order.shape, by_rank.dtype),
        order,
        jnp.broadcast_to(_over(by_rank, order), order.shape),
        axis=-1,
        inplace=False,
    )


def _over(row: Array, like: Array) -> Array:
    """A row with leading axes of length one."""
    return row.reshape((1,) * (like.ndim - row.ndim) + row.shape)


def _count(name: str, count: int | ArrayLike) -> Array:
    seen = jnp.asarray(count)
    if not jnp.issubdtype(seen.dtype, jnp.integer) or seen.ndim:
        raise TypeError(
            f"{name} must be one integer; got shape {seen.shape}, dtype {seen.dtype}. "
            "Pass the number of classes to keep."
        )
    checks.require_values(
        name, seen, lambda v: v >= 1, "at least 1", "Pass None to sample() for no limit."
    )
    return seen


def _share(name: str, value: ArrayLike) -> Array:
    value = checks.floating(name, value)
    if value.ndim:
        raise ValueError(
            f"{name} must be a scalar; got shape {value.shape}. Use jax.vmap over several."
        )
    checks.require_values(
        name, value, lambda v: (v >= 0) & (v <= 1), "in [0, 1]", "It is a share of probability."
    )
    return value
