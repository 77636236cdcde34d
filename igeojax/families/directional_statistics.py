"""Statistics of directions: where unit vectors point, how far they agree, whether they do at all.

Observations are unit vectors along the last axis, one to an index of axis 0; axes between are
batch. Angles `t` in radians are the vectors `jnp.stack([jnp.cos(t), jnp.sin(t)], axis=-1)`. Weights
say how much an observation counts in a sum: a common factor cancels. Observations that are repeated
are given as many times, since n alike say more of a law than one of weight n. The law that goes
with these statistics is `VonMisesFisher`, whose fit has their mean direction.
"""

from typing import NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.directions import direction_and_length
from igeojax.families.von_mises_fisher import VonMisesFisher
from igeojax.numerics.incomplete import gammaincc
from igeojax.numerics.incomplete_inverse import gammainc_inverse
from igeojax.numerics.weighting import normalized_weights, weighted_mean


class RayleighTest(NamedTuple):
    """Result of `rayleigh_test`: its modified statistic, and the probability of a larger one."""

    statistic: Float[Array, "*batch"]
    p_value: Float[Array, "*batch"]


def mean_direction(
    x: Float[ArrayLike, "n *batch d"], weights: Float[ArrayLike, " n"] | None = None
) -> Float[Array, "*batch d"]:
    """Direction of the mean of unit vectors.

    Args:
      x: unit vectors.
      weights: non-negative; None weighs all alike.

    Returns:
      Unit vectors. Where the mean is zero, as of antipodal pairs, it has no direction: the first
      axis, with derivative 0.

    Raises:
      TypeError: `x` is not real.
      ValueError: no observation, vectors that are not of length one, or bad weights.

    References:
      [MardiaJupp2000] section 9.2.

    Examples:
      >>> mean_direction([[1.0, 0.0], [0.0, 1.0]]).round(3).tolist()
      [0.707..., 0.707...]
    """
    return direction_and_length(_mean(x, weights)[0])[0]


def resultant_length(
    x: Float[ArrayLike, "n *batch d"], weights: Float[ArrayLike, " n"] | None = None
) -> Float[Array, "*batch"]:
    """Mean resultant length `R = |mean x|`: 1 where all vectors agree, 0 where they cancel.

    Args:
      x: unit vectors.
      weights: non-negative; None weighs all alike.

    Returns:
      Lengths from 0 to 1; derivatives are 0 at length 0.

    Raises:
      TypeError: `x` is not real.
      ValueError: no observation, vectors that are not of length one, or bad weights.

    References:
      [MardiaJupp2000] section 9.2.

    Examples:
      >>> float(resultant_length([[1.0, 0.0], [-1.0, 0.0]]))
      0.0
    """
    return direction_and_length(_mean(x, weights)[0])[1]


def directional_variance(
    x: Float[ArrayLike, "n *batch d"], weights: Float[ArrayLike, " n"] | None = None
) -> Float[Array, "*batch"]:
    """Circular or spherical variance `1 - R`, with its digits where the vectors nearly agree.

    From the spread around the mean, `(1 - R) (1 + R) = mean |x - mean x|^2`.

    Args:
      x: unit vectors.
      weights: non-negative; None weighs all alike.

    Returns:
      Variances from 0 to 1.

    Raises:
      TypeError: `x` is not real.
      ValueError: no observation, vectors that are not of length one, or bad weights.

    References:
      [MardiaJupp2000] sections 2.3 and 9.2.

    Examples:
      >>> angles = jnp.array([-1e-5, 1e-5])
      >>> found = directional_variance(jnp.stack([jnp.cos(angles), jnp.sin(angles)], axis=-1))
      >>> bool(jnp.isclose(found, 5e-11, rtol=1e-4))
      True
    """
    mean, x, shares = _mean(x, weights)
    spread = weighted_mean(jnp.sum((x - mean[None]) ** 2, axis=-1), shares)
    return spread / (1 + direction_and_length(mean)[1])


def rayleigh_test(
    x: Float[ArrayLike, "n *batch d"], weights: Float[ArrayLike, " n"] | None = None
) -> RayleighTest:
    """Rayleigh's test of uniformity, whether directions have a mean: from `S = d n R^2`.

    The likelihood-ratio test of `theta = 0` against a von Mises-Fisher law, to first order. `S` is
    chi-square of d degrees of freedom to `O(1/n)`, and `(1 - 1/2n) S + S^2 / (2n (d + 2))` to
    `O(1/n^2)`. Of weights `1/n` is `sum w^2 / (sum w)^2` in S, and `sum w^4 / (sum w^2)^2` in the
    correction. The test does not see what has no mean, as antipodal clusters.

    Args:
      x: unit vectors.
      weights: non-negative; None weighs all alike.

    Returns:
      The modified statistic, and p-values, which are uniform where the directions are.

    Raises:
      TypeError: `x` is not real.
      ValueError: no observation, vectors that are not of length one, or bad weights.

    References:
      [MardiaJupp2000] sections 6.3.1 and 10.4.1.

    Examples:
      >>> round(float(rayleigh_test(jnp.array([[1.0, 0.0]] * 5)).p_value), 3)
      0.003
      >>> float(rayleigh_test([[1.0, 0.0], [-1.0, 0.0]]).p_value)
      1.0
    """
    mean, x, shares = _mean(x, weights)
    dim = x.shape[-1]
    first = second = 1 / x.shape[0]
    if shares is not None:
        square = jnp.sum(shares**2)
        first, second = square, jnp.sum((shares**2 / square) ** 2)
    plain = dim * direction_and_length(mean)[1] ** 2 / first
    statistic = (1 - second / 2) * plain + plain**2 * (second / (2 * (dim + 2)))
    half = jnp.full_like(statistic, 0.5 * dim)
    return RayleighTest(statistic, gammaincc(half, 0.5 * statistic))


def confidence_cone(
    x: Float[ArrayLike, "n *batch d"],
    weights: Float[ArrayLike, " n"] | None = None,
    *,
    level: float = 0.95,
) -> Float[Array, "*batch"]:
    """Half-angle of the cone around the sample's mean direction that holds the true one.

    `sin^2 q = c (1 - mean <x, m>^2) / ((d - 1) n R^2)` with `m` the mean direction and `c` the
    quantile of chi-square with `d - 1` degrees of freedom. For many directions that are spread
    alike on all sides of their mean, of whatever law; `1/n` is `sum w^2 / (sum w)^2` of weights.

    Args:
      x: at least two unit vectors.
      weights: non-negative; None weighs all alike.
      level: probability to hold it.

    Returns:
      Radians, from 0 to pi/2; pi where the sample says nothing, as of zero mean.

    Raises:
      TypeError: `x` is not real.
      ValueError: fewer than two observations, vectors that are not of length one, bad weights, or
        `level` not between 0 and 1.

    References:
      [FisherLewisEmbleton1987] chapter 5 (of three dimensions).

    Examples:
      >>> x = jnp.array([[0.8, 0.6, 0.0], [0.8, -0.6, 0.0], [0.8, 0.0, 0.6], [0.8, 0.0, -0.6]])
      >>> round(float(confidence_cone(x)), 3)
      0.706
    """
    if not 0 < level < 1:
        raise ValueError(f"level must lie between 0 and 1; got {level}. Try 0.95.")
    mean, x, shares = _mean(x, weights)
    count, dim = x.shape[0], x.shape[-1]
    if count < 2:
        raise ValueError("x must hold at least 2 observations; got 1, which has no spread.")
    direction, length = direction_and_length(mean)
    across = x - jnp.sum(x * direction[None], axis=-1, keepdims=True) * direction[None]
    spread = weighted_mean(jnp.sum(across**2, axis=-1), shares)
    share = 1 / count if shares is None else jnp.sum(shares**2)
    arguments = (jnp.asarray(value, x.dtype) for value in ((dim - 1) / 2, level, 1 - level))
    bound = 2 * gammainc_inverse(*arguments) * spread * (share / (dim - 1))
    known, inside = bound < length**2, (bound > 0) & (bound < length**2)
    sine = jnp.sqrt(jnp.where(inside, bound, 0.25)) / jnp.where(inside, length, 1.0)
    return jnp.where(inside, jnp.arcsin(sine), jnp.where(known, 0.0, jnp.pi))


def _mean(x: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array, Array | None]:
    """Mean vector, the observations as an array, and weights that sum to one.

    Raises:
      TypeError: `x` is not real.
      ValueError: no observation, vectors that are not of length one, or bad weights.
    """
    x = checks.floating("x", x)
    if x.ndim < 2 or x.shape[0] == 0 or x.shape[-1] < 2:
        raise ValueError(
            "x must have shape (n, ..., d) with n >= 1 observations in d >= 2 dimensions; got "
            f"{x.shape}. Angles t are jnp.stack([jnp.cos(t), jnp.sin(t)], axis=-1)."
        )
    VonMisesFisher(x.shape[-1]).require_support(x)
    shares = normalized_weights(weights, x.shape[0])
    shares = shares if shares is None else shares.astype(x.dtype)
    return weighted_mean(x, shares), x, shares
