"""How near a mean is to its limit: law of large numbers, central limit theorem, and its bound."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks

BERRY_ESSEEN_CONSTANT = 0.4748
"""Upper bound on the constant of Berry and Esseen for summands of one law [Shevtsova2011]."""


class NormalApproximation(NamedTuple):
    """Result of `normal_approximation`, an entry for each number of summands.

    `num_summands`: n. `deviation`: root mean square of `mean - expectation`; the law of large
    numbers; `deviation_limit`: `std / sqrt(n)`, that of endless replicates. `distance`: largest
    gap between the distribution function of the standardized mean and the normal one. `bound`: of
    Berry and Esseen. `band`: gap between measured and true distance that chance exceeds with
    probability below 1e-6 (Dvoretzky, Kiefer and Wolfowitz).
    """

    num_summands: Float[Array, "sizes"]
    deviation: Float[Array, "sizes"]
    deviation_limit: Float[Array, "sizes"]
    distance: Float[Array, "sizes"]
    bound: Float[Array, "sizes"]
    band: Float[Array, ""]


def berry_esseen_bound(
    third_absolute_moment: ArrayLike, std: ArrayLike, num_summands: ArrayLike
) -> Float[Array, "*batch"]:
    """Bound `0.4748 E|X - EX|^3 / (std^3 sqrt(n))` on the distance of a mean to the normal law.

    Args:
      third_absolute_moment: `E|X - EX|^3` of a summand, positive.
      std: its standard deviation, positive.
      num_summands: n, at least 1.

    Returns:
      The bound on the Kolmogorov distance, over the broadcast shape.

    Raises:
      TypeError: an argument is not real.
      ValueError: a concrete value is not positive, or shapes do not broadcast.

    References:
      [Shevtsova2011] theorem 1.

    Examples:
      >>> round(float(berry_esseen_bound(1.0, 1.0, 100)), 5)  # a fair coin of values 1 and -1
      0.04748
    """
    moment, std, count = checks.floating_together(
        third_absolute_moment=third_absolute_moment, std=std, num_summands=num_summands
    )
    for name, value in (("third_absolute_moment", moment), ("std", std), ("num_summands", count)):
        checks.require_positive(name, value)
    checks.require_broadcastable(
        third_absolute_moment=moment.shape, std=std.shape, num_summands=count.shape
    )
    return BERRY_ESSEEN_CONSTANT * moment / (std**3 * jnp.sqrt(count))


def kolmogorov_distance(
    samples: Float[ArrayLike, "N"], cdf: Callable[[Array], Array]
) -> Float[Array, ""]:
    """Largest gap `sup_x |F_N(x) - F(x)|` between an empirical distribution function and F.

    Exact for a continuous F: the gap is looked at on both sides of each sample. One sort.

    Args:
      samples: real numbers.
      cdf: a continuous distribution function, entry by entry.

    Returns:
      The distance, in [0, 1].

    Raises:
      TypeError: `samples` are not real.
      ValueError: they are not one axis of at least one finite number.

    References:
      [Shevtsova2011] (the distance that the theorem bounds).

    Examples:
      >>> float(kolmogorov_distance(jnp.array([0.5]), lambda x: jnp.clip(x, 0, 1)))
      0.5
    """
    samples = checks.floating("samples", samples)
    if samples.ndim != 1 or not samples.shape[0]:
        raise ValueError(
            f"samples must have shape (N,) with N >= 1; got {samples.shape}. Use jax.vmap over "
            "several."
        )
    checks.require_values("samples", samples, np.isfinite, "finite", "Drop such entries.")
    count = samples.shape[0]
    level = cdf(jnp.sort(samples))
    below = jnp.arange(count, dtype=level.dtype) / count
    return jnp.maximum(jnp.max(level - below), jnp.max(below + 1 / count - level))


def normal_approximation(
    key: Any,
    sample: Callable[[Any, tuple[int, ...]], Array],
    mean: ArrayLike,
    std: ArrayLike,
    third_absolute_moment: ArrayLike,
    *,
    sizes: Sequence[int] = (1, 4, 16, 64),
    num_replicates: int = 10_000,
) -> NormalApproximation:
    """Measure how the mean of n draws nears its expectation and the normal law, beside the bounds.

    Costs `num_replicates * sum(sizes)` draws, and memory for those of the largest size.

    Args:
      key: a PRNG key.
      sample: `sample(key, shape)`, independent draws of one law.
      mean: its expectation.
      std: its standard deviation.
      third_absolute_moment: `E|X - EX|^3`.
      sizes: numbers n of summands.
      num_replicates: means for each n.

    Returns:
      A `NormalApproximation`.

    Raises:
      TypeError: `key` is no PRNG key, or an argument is not real.
      ValueError: a moment is not positive, a size or count below 1, no size, or draws of another
        shape.

    References:
      [Shevtsova2011] theorem 1.

    Examples:
      >>> found = normal_approximation(
      ...     jax.random.key(0), jax.random.exponential, 1.0, 1.0, 2.4146, sizes=(1, 16)
      ... )
      >>> bool((found.distance < found.bound + found.band).all())
      True
    """
    checks.require_key(key)
    checks.require_count("num_replicates", num_replicates)
    sizes = [int(size) if isinstance(size, np.integer) else size for size in sizes]
    if not sizes:
        raise ValueError("sizes must hold at least one number of summands; got none. Try (1, 16).")
    for size in sizes:
        checks.require_count("each of sizes", size)
    mean, std, moment = checks.floating_together(
        mean=mean, std=std, third_absolute_moment=third_absolute_moment
    )
    counts = jnp.asarray(sizes, std.dtype)
    bound = berry_esseen_bound(moment, std, counts)
    deviations, distances = [], []
    for part, size in zip(jax.random.split(key, len(sizes)), sizes, strict=True):
        draws = sample(part, (num_replicates, size))
        if jnp.shape(draws) != (num_replicates, size):
            raise ValueError(
                f"sample must return draws of shape {(num_replicates, size)}, its second argument; "
                f"got {jnp.shape(draws)}."
            )
        error = jnp.mean(draws, axis=1) - mean
        deviations.append(jnp.sqrt(jnp.mean(error**2)))
        standard = error * (size**0.5 / std)
        distances.append(kolmogorov_distance(standard, jax.scipy.stats.norm.cdf))
    band = jnp.sqrt(jnp.log(jnp.asarray(2e6, std.dtype)) / (2 * num_replicates))
    limit = std / jnp.sqrt(counts)
    return NormalApproximation(
        counts, jnp.stack(deviations), limit, jnp.stack(distances), bound, band
    )
