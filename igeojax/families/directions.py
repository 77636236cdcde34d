"""What the families of directions and of angles share: unit vectors with `theta = kappa mu`."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from igeojax.numerics.bessel import log_sphere
from igeojax.numerics.bessel_bregman import (
    vmf_natural_from_mean,
    vmf_potential,
    vmf_ratio_of_square,
)
from igeojax.numerics.bessel_ratio import vmf_log_partition_offset
from igeojax.numerics.remainders import log1p_remainder
from igeojax.numerics.weighting import weighted_mean

_MAX_ROUNDS = 1000


def mean_vector(theta: Float[Array, "*batch dim"]) -> Float[Array, "*batch dim"]:
    """Mean resultant vector `A(kappa) mu` of a natural parameter, smooth at 0.

    Args:
      theta: natural parameters along the last axis.

    Returns:
      Vectors inside the unit ball.

    Examples:
      >>> mean_vector(jnp.zeros(2)).tolist()
      [0.0, 0.0]
    """
    square = jnp.sum(theta * theta, axis=-1)
    return vmf_ratio_of_square(theta.shape[-1], square)[..., None] * theta


def direction_and_length(
    theta: Float[Array, "*batch dim"],
) -> tuple[Float[Array, "*batch dim"], Float[Array, "*batch"]]:
    """Unit direction and length of vectors; the first axis and 0 for the zero vector.

    Args:
      theta: vectors along the last axis.

    Returns:
      Both; derivatives are 0 at the zero vector.

    Examples:
      >>> direction, length = direction_and_length(jnp.array([3.0, 4.0]))
      >>> float(length)
      5.0
    """
    # Scaled by its largest entry, so that no square under- or overflows.
    largest = jax.lax.stop_gradient(jnp.max(jnp.abs(theta), axis=-1, keepdims=True))
    zero = largest == 0
    axis = jnp.zeros(theta.shape[-1], theta.dtype).at[0].set(1.0)
    axis = jnp.broadcast_to(axis, theta.shape)
    scaled = jnp.where(zero, axis, theta / jnp.where(zero, 1.0, largest))
    length = jnp.sqrt(jnp.sum(scaled * scaled, axis=-1, keepdims=True))
    return scaled / length, (largest * length)[..., 0]


def of_common_length(
    shares: Float[Array, "count"], vectors: Float[Array, "count dim"]
) -> Float[Array, "count dim"]:
    """Mean vectors of laws of one concentration: each in its direction, all of the mean length.

    The likelihood of the concentration they share is that of `A(kappa) = sum_k share_k |eta_k|`.

    Args:
      shares: shares of the observations, which sum to one.
      vectors: mean vectors along the last axis.

    Returns:
      The vectors; of the zero vector, for which all directions are as likely, the first axis.

    References:
      [BanerjeeDhillon2005] section 3.2 (the mixture, here of one concentration).

    Examples:
      >>> of_common_length(jnp.array([0.25, 0.75]), jnp.array([[0.8, 0.0], [0.0, -0.4]])).tolist()
      [[0.5, 0.0], [0.0, -0.5]]
    """
    directions, lengths = direction_and_length(vectors)
    return jnp.sum(shares * lengths) * directions


def directional_log_density(
    theta: Float[Array, "*batch dim"], x: Float[Array, "*batch dim"]
) -> Float[Array, "*batch"]:
    """Log-density of unit vectors, from the chord to the mean direction at large concentrations.

    There `<theta, x>` and `psi` are both nearly `kappa`; their difference is
    `-kappa |x - mu|^2 / 2 - (psi - kappa)`.

    Args:
      theta: natural parameters along the last axis.
      x: unit vectors, batch axes of equal rank.

    Returns:
      Log-densities with respect to the surface measure, in nats.

    Examples:
      >>> theta = jnp.array([1e8, 0.0])
      >>> round(float(directional_log_density(theta, jnp.array([1.0, 0.0]))), 4)
      8.2914
    """
    dim = theta.shape[-1]
    square = jnp.sum(theta * theta, axis=-1)
    large = square > dim * dim
    plain = jnp.sum(theta * x, axis=-1) - vmf_potential(theta)
    kappa = jnp.sqrt(jnp.where(large, square, 1.0))
    chord = x - theta / kappa[..., None]
    offset = log_sphere(dim) + vmf_log_partition_offset(dim, kappa)
    return jnp.where(large, -0.5 * kappa * jnp.sum(chord * chord, axis=-1) - offset, plain)


def directional_fit(
    x: Float[Array, "count *batch dim"], weights: Float[Array, " count"] | None
) -> Float[Array, "*batch dim"]:
    """Maximum likelihood from unit vectors along axis 0.

    The gap of the mean resultant length comes from the spread around the mean,
    `1 - |m|^2 = mean |x - m|^2`: it keeps its digits where the data nearly agree.

    Args:
      x: unit vectors along the last axis.
      weights: weights that sum to one, or None.

    Returns:
      Natural parameters; not finite where all observations agree.

    Examples:
      >>> x = jnp.array([[1.0, 0.0], [-1.0, 0.0]])
      >>> directional_fit(x, None).tolist()
      [0.0, 0.0]
    """
    mean = weighted_mean(x, weights)
    spread = weighted_mean(jnp.sum((x - mean[None]) ** 2, axis=-1), weights)
    # Equal observations leave only the rounding of the mean: no spread at all.
    noise = (8 * jnp.finfo(x.dtype).eps) ** 2
    spread = jnp.where(spread > noise, spread, 0.0)
    fixed = jax.lax.stop_gradient(jnp.sum(mean * mean, axis=-1))
    return vmf_natural_from_mean(mean, spread / (1 + jnp.sqrt(fixed)))


@functools.partial(jax.jit, static_argnums=1)
def draw_cosine_gaps(
    key: Key[Array, ""], dim: int, concentration: Float[Array, "*shape"]
) -> tuple[Float[Array, "*shape"], Float[Array, "*shape"]]:
    """Draws of `1 - t` and `1 + t` for `t = <mu, x>`, each to its own digits.

    Wood's rejection from a Beta envelope, all draws at once until the last is accepted (each round
    accepts at least 0.65 of them). With `g = 1 - (1-b) z` and `e = (1-b)(2z-1) / (2g)` the log of
    the acceptance probability is `-(dim-1) (e - log(1 + e))`, which neither cancels nor overflows.

    Args:
      key: a PRNG key.
      dim: dimension of the space.
      concentration: non-negative concentrations.

    Returns:
      Two arrays of the shape of `concentration`; nan for a draw not accepted in 1000 rounds, which
      has a chance below 1e-400.

    References:
      [Wood1994] algorithm VM*.

    Examples:
      >>> below, above = draw_cosine_gaps(jax.random.key(0), 3, jnp.full(4, 1e8))
      >>> bool((below > 0).all() and (below < 1e-6).all())
      True
    """
    dtype, shape = concentration.dtype, concentration.shape
    half = 0.5 * (dim - 1)
    ratio = concentration / half
    b = 1 / (ratio + jnp.sqrt(ratio * ratio + 1))

    def propose(carry):
        key, rounds, below, above, todo = carry
        key, one, two, three = jax.random.split(key, 4)
        left = jax.random.gamma(one, half, shape, dtype)
        right = jax.random.gamma(two, half, shape, dtype)
        total = b * left + right
        error = 0.5 * (1 - b) * (left - right) / total
        level = jax.random.exponential(three, shape, dtype)
        accepted = todo & (level >= (dim - 1) * log1p_remainder(error))
        below = jnp.where(accepted, 2 * b * left / total, below)
        above = jnp.where(accepted, 2 * right / total, above)
        return key, rounds + 1, below, above, todo & ~accepted

    def unfinished(carry):
        return carry[-1].any() & (carry[1] < _MAX_ROUNDS)

    nothing = jnp.full(shape, jnp.nan, dtype)
    todo = jnp.isfinite(concentration)
    carry = (key, jnp.zeros((), int), nothing, nothing, todo)
    _, _, below, above, _ = jax.lax.while_loop(unfinished, propose, carry)
    return below, above
