"""Gumbel noise with both tails; exact and relaxed categorical draws made of it."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float, Int

from igeojax._core import checks
from igeojax.discrete import _scores
from igeojax.discrete.softmax import log_softmax, softmax


def gumbel(
    key: Array, shape: tuple[int, ...] = (), dtype: jnp.dtype | None = None
) -> Float[Array, "*shape"]:
    """Standard Gumbel noise `-log(-log u)`, of 64 random bits a number, with both tails.

    A uniform number of 23 bits, as usual in float32, ends the upper tail at 15.94, where five of
    `5e7` draws should lie beyond, and puts atoms at the ends. Here the smaller of `u` and `1 - u`
    keeps its full relative precision: the tails reach to probabilities of `2^-64`.

    Args:
      key: a random key.
      shape: shape of the result.
      dtype: a floating dtype, the default one if None; half precision is drawn in float32.

    Returns:
      Independent draws, between -3.9 and 45.1.

    Raises:
      ValueError: `dtype` is not floating.

    References:
      [Maddison2017] section 2.1 (the Gumbel-max trick).

    Examples:
      >>> import jax
      >>> gumbel(jax.random.key(0), (2, 3)).shape
      (2, 3)
    """
    dtype = jnp.dtype(jnp.result_type(float) if dtype is None else dtype)
    if not jnp.issubdtype(dtype, jnp.floating):
        raise ValueError(f"dtype must be floating; got {dtype}. Pass jnp.float32, for example.")
    checks.require_key(key)
    bits = jax.random.bits(key, (2, *shape), jnp.uint32)
    return gumbel_from_bits(bits[0], bits[1], jnp.promote_types(dtype, jnp.float32)).astype(dtype)


def gumbel_from_bits(high: Array, low: Array, dtype: jnp.dtype) -> Array:
    """Gumbel quantile at `1 - u`, where `high` and `low` are the leading 64 bits of `u`.

    Args:
      high: 32 random bits, dtype uint32.
      low: 32 more.
      dtype: float32 or float64.

    Returns:
      The quantiles.

    Examples:
      >>> bits = jnp.asarray([0, 2**31], jnp.uint32)
      >>> [round(v, 3) for v in gumbel_from_bits(bits, bits, jnp.float32).tolist()]
      [45.055, 0.367]
    """
    upper = high >> 31 == 0  # u < 1/2, the upper half of the noise
    word = jnp.where(upper, high, ~high).astype(dtype)
    rest = jnp.where(upper, low, ~low).astype(dtype)
    smaller = word * 2.0**-32 + (rest + 0.5) * 2.0**-64
    # Exponential variables -log(1 - u): both branches see a number of full relative precision.
    exponential = jnp.where(upper, -jnp.log1p(-smaller), -jnp.log(smaller))
    return -jnp.log(exponential)


def _possible(logits: Array) -> Array:
    """Logits from which a class can be drawn: relative to the largest, infinite ones sharing."""
    infinite = logits == jnp.inf
    certain = infinite.any(axis=-1, keepdims=True)
    centered = logits - _scores.shift_of(logits, -1)
    return jnp.where(certain, jnp.where(infinite, 0.0, -jnp.inf), centered)


def gumbel_max(key: Array, logits: Float[ArrayLike, "*batch classes"]) -> Int[Array, "*batch"]:
    """Exact categorical draws `argmax_i (z_i + g_i)` with Gumbel noise `g`, on the last axis.

    Args:
      key: a random key.
      logits: scores, on the last axis; `-inf` is an impossible class, and `+inf` entries share.

    Returns:
      Labels `0..K-1`; -1 for a traced row without a possible class (all `-inf`, or a nan).

    Raises:
      TypeError: `logits` is not made of real numbers.
      ValueError: a scalar, or a concrete row without a possible class.

    References:
      [Maddison2017] section 2.1.

    Examples:
      >>> import jax
      >>> int(gumbel_max(jax.random.key(0), [-jnp.inf, 0.0, -jnp.inf]))
      1
    """
    logits = _scores.checked(logits)
    logits = logits.astype(jnp.promote_types(logits.dtype, jnp.float32))
    top = jnp.max(logits, axis=-1)
    checks.require_values(
        "the largest logit of each row",
        top,
        lambda v: v > -jnp.inf,
        "above -inf and no nan, for one class must be possible",
        "Unmask a class, or drop the row.",
    )
    scores = _possible(logits)
    noise = gumbel(key, scores.shape, scores.dtype)
    label = jnp.argmax(scores + noise, axis=-1)
    return jnp.where(top > -jnp.inf, label, -1)


def gumbel_softmax(
    key: Array,
    logits: Float[ArrayLike, "*batch classes"],
    temperature: ArrayLike = 1.0,
    *,
    straight_through: bool = False,
) -> Float[Array, "*batch classes"]:
    """Relaxed one-hot draws `softmax((z + g) / t)`, differentiable in the logits.

    The largest entry is distributed as the categorical law at every temperature; as `t -> 0` the
    draw becomes one-hot.

    Args:
      key: a random key.
      logits: scores, on the last axis; at least one a row above `-inf`.
      temperature: `t > 0`, a scalar, may be traced.
      straight_through: return exact one-hot vectors, with the derivative of the relaxed ones.

    Returns:
      Probability vectors, in the dtype of `logits`.

    Raises:
      TypeError: an argument is not made of real numbers.
      ValueError: a scalar for `logits`, or a `temperature` that is no scalar or not positive.

    References:
      [Jang2017] equation (2); section 2.2 for straight-through.

    Examples:
      >>> import jax
      >>> draw = gumbel_softmax(jax.random.key(0), [0.0, 1.0], 0.5, straight_through=True)
      >>> sorted(draw.tolist())
      [0.0, 1.0]
    """
    noisy, dtype = _noisy(key, logits)
    relaxed = softmax(noisy, temperature)
    return (_hard(relaxed) if straight_through else relaxed).astype(dtype)


def gumbel_log_softmax(
    key: Array, logits: Float[ArrayLike, "*batch classes"], temperature: ArrayLike = 1.0
) -> Float[Array, "*batch classes"]:
    """Logarithm of a relaxed one-hot draw, which no temperature underflows.

    The draw of `relaxed_log_density`.

    Args:
      key: a random key.
      logits: scores, on the last axis.
      temperature: `t > 0`, a scalar, may be traced.

    Returns:
      Log-probabilities, in the dtype of `logits`.

    Raises:
      TypeError: an argument is not made of real numbers.
      ValueError: a scalar for `logits`, or a `temperature` that is no scalar or not positive.

    References:
      [Maddison2017] appendix C.3.

    Examples:
      >>> import jax
      >>> draw = gumbel_log_softmax(jax.random.key(0), [0.0, 1.0], 0.01)
      >>> bool(jnp.isfinite(draw).all())
      True
    """
    noisy, dtype = _noisy(key, logits)
    return log_softmax(noisy, temperature).astype(dtype)


def relaxed_log_density(
    log_sample: Float[ArrayLike, "*batch classes"],
    logits: Float[ArrayLike, "*batch classes"],
    temperature: ArrayLike = 1.0,
) -> Float[Array, "*batch"]:
    """Log-density of the logarithm of a relaxed one-hot draw, in nats.

    `log (K-1)! + (K-1) log t + sum_i (z_i - t y_i) - K log sum_i exp(z_i - t y_i)`, with respect to
    the Lebesgue measure of the `K - 1` log-ratios `y_i - y_K`. In `y` and not in `exp(y)`, where
    own draws at low temperatures would be exact zeros of infinite density.

    Args:
      log_sample: `y`, as drawn by `gumbel_log_softmax`.
      logits: finite scores `z`, on the last axis.
      temperature: `t > 0`, a scalar, may be traced.

    Returns:
      Log-densities; nan where traced logits are not finite.

    Raises:
      TypeError: an argument is not made of real numbers.
      ValueError: scalars, different numbers of classes, concrete logits that are not finite, or a
        `temperature` that is no scalar or not positive.

    References:
      [Maddison2017] appendix C.3.

    Examples:
      >>> y = jnp.log(jnp.array([0.5, 0.5]))
      >>> round(float(relaxed_log_density(y, [0.0, 0.0], 1.0)), 4)
      -1.3863
    """
    y, z = checks.floating_together(log_sample=log_sample, logits=logits)
    y, z = _scores.checked(y, "log_sample"), _scores.checked(z)
    classes = z.shape[-1]
    if y.shape[-1] != classes:
        raise ValueError(
            f"log_sample and logits must have one number of classes; got {y.shape[-1]} and "
            f"{classes}. Both have the classes on the last axis."
        )
    checks.require_finite("logits", z, "Leave out classes that are impossible.")
    t = _scores.positive_temperature(temperature, z.dtype)
    # The formula is constant along (1, ..., 1): of normalized terms each is small.
    terms = log_softmax(jnp.broadcast_arrays(z, y)[0] - t * y)
    constant = jax.scipy.special.gammaln(jnp.asarray(classes, z.dtype)) + (classes - 1) * jnp.log(t)
    return constant + jnp.sum(terms, axis=-1)


def _noisy(key: Array, logits: ArrayLike) -> tuple[Array, jnp.dtype]:
    """Logits with noise, in the dtype of accumulation, and the dtype to return."""
    logits = _scores.checked(logits)
    dtype = logits.dtype
    logits = logits.astype(jnp.promote_types(dtype, jnp.float32))
    return _possible(logits) + gumbel(key, logits.shape, logits.dtype), dtype


@jax.custom_jvp
def _hard(relaxed: Array) -> Array:
    hard = jax.nn.one_hot(jnp.argmax(relaxed, axis=-1), relaxed.shape[-1], dtype=relaxed.dtype)
    # A row without a possible class stays 0, one with a nan becomes nan, as the relaxed one is.
    total = jnp.sum(relaxed, axis=-1, keepdims=True)
    return jnp.where(total > 0, hard, total)


@_hard.defjvp
def _hard_jvp(primals, tangents):
    return _hard(primals[0]), tangents[0]
