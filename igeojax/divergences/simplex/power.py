"""Divergences made of `sum p^a q^(1-a)`: alpha, Renyi, Hellinger, Bhattacharyya, chi-square."""

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.discrete.softmax import logsumexp
from igeojax.divergences.simplex._arguments import (
    Probabilities,
    inside,
    logit_vectors,
    vectors,
    zeros_held,
)
from igeojax.divergences.simplex._logits import alpha_from_logits, renyi_from_logits, share
from igeojax.numerics.remainders import exprel2, log1p_remainder
from igeojax.numerics.safe import sqrt_at_zero


def _alpha_parts(p: Array, q: Array, order: Array) -> tuple[Array, Array, Array]:
    """`D_order` over entries where both are positive, and the mass where only p, only q is."""
    both, p_in, q_in = inside(p, q)
    # D_a(p||q) = D_{1-a}(q||p): with a >= 1/2 the bracket below loses at most half of itself.
    a = jnp.where(order < 0.5, 1 - order, order)
    first = jnp.where(order < 0.5, q_in, p_in)
    step = jnp.where(order < 0.5, p_in, q_in) - first
    ratio = step / first
    log_ratio = jnp.log1p(ratio)
    b = 1 - a
    bracket = log1p_remainder(ratio) - b * log_ratio**2 * exprel2(b * log_ratio)
    core = jnp.sum(jnp.where(both, first * bracket, 0.0), axis=-1) / a
    # Worth 0, with the derivative in a zero entry where the order makes it finite.
    rim_p = jnp.sum(jnp.where((p == 0) & (q > 0), p, 0.0), axis=-1)
    rim_q = jnp.sum(jnp.where((q == 0) & (p > 0), q, 0.0), axis=-1)
    above, below = order > 1, order < 0
    core = core - jnp.where(above, rim_p / jnp.where(above, order - 1, 1.0), 0.0)
    core = core + jnp.where(below, rim_q / jnp.where(below, order, 1.0), 0.0)
    only_p = jnp.sum(jnp.where(both | (p == 0), 0.0, p), axis=-1)
    only_q = jnp.sum(jnp.where(both | (q == 0), 0.0, q), axis=-1)
    return core, only_p, only_q


def alpha_divergence(
    p: Probabilities, q: Probabilities, *, order: ArrayLike, logits: bool = False
) -> Float[Array, "*batch"]:
    """Alpha-divergence of statistical order a, `(sum p^a q^(1-a) - 1) / (a (a - 1))`.

    `a = 1` is `KL(p || q)`, `a = 0` is `KL(q || p)`, `a = 1/2` four times the squared Hellinger
    distance, `a = 2` half of Pearson's chi-square. Amari's alpha is `1 - 2a`.

    Args:
      p: probability vectors.
      q: probability vectors.
      order: the statistical order a, any real number; may be traced.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`; inf where `p > 0 = q` for `a >= 1` and where `q > 0 = p` for `a <= 0`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [Amari2016] section 3.5.2 (with alpha = 1 - 2a).

    Examples:
      >>> round(float(alpha_divergence([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], order=1.0)), 6)
      0.277259
    """
    if logits:
        return alpha_from_logits(*logit_vectors(p, q), order)
    p, q = vectors(p, q)
    order = jnp.asarray(order, p.dtype)
    core, only_p, only_q = _alpha_parts(p, q, order)
    return core + share(only_p, 1 - order) + share(only_q, order)


def amari_alpha_divergence(
    p: Probabilities, q: Probabilities, *, alpha: ArrayLike, logits: bool = False
) -> Float[Array, "*batch"]:
    """Amari's alpha-divergence `4/(1 - al^2) (1 - sum p^((1-al)/2) q^((1+al)/2))`.

    The same as `alpha_divergence` of order `(1 - al) / 2`: `al = -1` is `KL(p || q)`, `al = 1` is
    `KL(q || p)`, `al = 0` is symmetric.

    Args:
      p: probability vectors.
      q: probability vectors.
      alpha: Amari's alpha, any real number; may be traced.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [Amari2016] section 3.5.2.

    Examples:
      >>> round(float(amari_alpha_divergence([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], alpha=-1)), 6)
      0.277259
    """
    return alpha_divergence(p, q, order=0.5 * (1 - jnp.asarray(alpha)), logits=logits)


def renyi(
    p: Probabilities, q: Probabilities, *, order: ArrayLike, logits: bool = False
) -> Float[Array, "*batch"]:
    """Renyi divergence `log(sum p^a q^(1-a)) / (a - 1)` of statistical order a.

    Non-decreasing in a; `a = 1` is `KL(p || q)`; `a = 1/2` twice the Bhattacharyya distance.

    Args:
      p: probability vectors.
      q: probability vectors.
      order: the statistical order `a >= 0`; may be traced. For `a < 0` the value is not positive,
        and -inf where `q > 0 = p`.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in nats; inf where `p > 0 = q` for `a >= 1`, and for disjoint supports.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [VanErvenHarremoes2014] equation (1).

    Examples:
      >>> round(float(renyi([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], order=0.5)), 6)
      0.157515
    """
    if logits:
        return renyi_from_logits(*logit_vectors(p, q), order)
    p, q = vectors(p, q)
    order = jnp.asarray(order, p.dtype)
    core, only_p, only_q = _alpha_parts(p, q, order)
    # a (a-1) D_a + 1 = sum p^a q^(1-a); a D_a itself stays finite as a goes to 0.
    scaled = order * core + order * share(only_p, 1 - order) + jnp.where(order < 0, 0.0, only_q)
    excess = (order - 1) * scaled
    small = jnp.abs(excess) < 0.5
    near = jnp.where(small, excess, 0.0)
    # log(1 + z) / (a - 1) = a D_a (1 - (z - log1p z) / z), regular at z = 0.
    nonzero = jnp.where(near == 0, 1.0, near)
    relative = jnp.where(near == 0, 0.5 * near, log1p_remainder(nonzero) / nonzero)
    both, p_in, q_in = inside(p, q)
    exponent = order * jnp.log(p_in) + (1 - order) * jnp.log(q_in)
    total = logsumexp(jnp.where(both, exponent, -jnp.inf))
    open_ = jnp.where(order == 1, 1.0, order - 1)
    far = jnp.where((order >= 1) & (only_p > 0), jnp.inf, total / open_)
    value = jnp.where(small, scaled * (1 - relative), far)
    return jnp.where((order < 0) & (only_q > 0), -jnp.inf, value)


def hellinger(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Hellinger distance `sqrt(1 - sum sqrt(p q))`, a metric in `[0, 1]`.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, 1]`; at `p = q` the value and, by convention, the gradient are 0.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> float(hellinger([1.0, 0.0], [0.0, 1.0]))
      1.0
    """
    if logits:
        return sqrt_at_zero(0.25 * alpha_from_logits(*logit_vectors(p, q), 0.5))
    return sqrt_at_zero(_squared_hellinger(*vectors(p, q)))


def _squared_hellinger(p: Array, q: Array) -> Array:
    both, p_in, q_in = inside(p, q)
    chord = ((p_in - q_in) / (jnp.sqrt(p_in) + jnp.sqrt(q_in))) ** 2
    return 0.5 * jnp.sum(jnp.where(both, chord, zeros_held(p) + zeros_held(q)), axis=-1)


def bhattacharyya(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Bhattacharyya distance `-log sum sqrt(p q)`.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`, in nats; inf for disjoint supports.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(bhattacharyya([0.5, 0.5], [0.5, 0.5])), 6)
      0.0
    """
    if logits:
        return 0.5 * renyi_from_logits(*logit_vectors(p, q), 0.5)
    p, q = vectors(p, q)
    gap = _squared_hellinger(p, q)
    near = gap < 0.5
    both, p_in, q_in = inside(p, q)
    exponent = 0.5 * (jnp.log(p_in) + jnp.log(q_in))
    far = -logsumexp(jnp.where(both, exponent, -jnp.inf))
    return jnp.where(near, -jnp.log1p(-jnp.where(near, gap, 0.0)), far)


def chi_square(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Pearson's chi-square divergence `sum (p - q)^2 / q`.

    Args:
      p: probability vectors.
      q: probability vectors, in the denominator.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`; inf where `p > 0 = q`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(chi_square([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.525
    """
    if logits:
        return 2 * alpha_from_logits(*logit_vectors(p, q), 2.0)
    p, q = vectors(p, q)
    present = q > 0
    term = (p - q) ** 2 / jnp.where(present, q, 1.0)
    return jnp.sum(jnp.where(present, term, jnp.where(p > 0, jnp.inf, 0.0)), axis=-1)


def neyman_chi_square(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Neyman's chi-square divergence `sum (p - q)^2 / p`: `chi_square` with `p`, `q` exchanged.

    Args:
      p: probability vectors, in the denominator.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`; inf where `q > 0 = p`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(neyman_chi_square([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      1.05
    """
    return chi_square(q, p, logits=logits)
