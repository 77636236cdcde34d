"""Divergences made of `sum p^a q^(1-a)`: alpha, Renyi, Hellinger, Bhattacharyya, chi-square."""

import jax.core
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax.divergences.simplex._arguments import (
    Probabilities,
    inside,
    logit_vectors,
    scalar_order,
    vectors,
    zeros_held,
)
from igeojax.divergences.simplex._logits import (
    alpha_from_logits,
    log_ratio_from_logits,
    renyi_from_logits,
    share,
)
from igeojax.divergences.simplex._terms import (
    alpha_terms,
    chi_square_terms,
    chord_terms,
    log_affinity,
)
from igeojax.numerics.remainders import log_ratio
from igeojax.numerics.safe import sqrt_at_zero


def _alpha_parts(p: Array, q: Array, order: Array) -> tuple[Array, Array, Array]:
    """`D_order` over entries where both are positive, and the mass where only p, only q is."""
    both, p_in, q_in = inside(p, q)
    core = jnp.sum(jnp.where(both, alpha_terms(p_in, q_in, order), 0.0), axis=-1)
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
      TypeError: as `kl`, or `order` is not real.
      ValueError: as `kl`, or `order` is no scalar or not finite.

    References:
      [Amari2016] section 3.5.2 (with alpha = 1 - 2a).

    Examples:
      >>> round(float(alpha_divergence([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], order=1.0)), 6)
      0.277259
    """
    p, q = logit_vectors(p, q) if logits else vectors(p, q)
    order = scalar_order("order", order, p.dtype)
    if logits:
        return alpha_from_logits(p, q, order)
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
      TypeError: as `kl`, or `alpha` is not real.
      ValueError: as `kl`, or `alpha` is no scalar or not finite.

    References:
      [Amari2016] section 3.5.2.

    Examples:
      >>> round(float(amari_alpha_divergence([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], alpha=-1)), 6)
      0.277259
    """
    alpha = scalar_order("alpha", alpha, float)
    return alpha_divergence(p, q, order=0.5 * (1 - alpha), logits=logits)


def renyi(
    p: Probabilities, q: Probabilities, *, order: ArrayLike, logits: bool = False
) -> Float[Array, "*batch"]:
    """Renyi divergence `log(sum p^a q^(1-a)) / (a - 1)` of statistical order a.

    Non-decreasing in a; `a = 1` is `KL(p || q)`; `a = 1/2` twice the Bhattacharyya distance;
    `a = inf` the largest log-ratio `max log(p/q)`.

    Args:
      p: probability vectors.
      q: probability vectors.
      order: the statistical order `a >= 0`; a finite one may be traced. For `a < 0` the value is
        not positive, and -inf where `q > 0 = p`.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in nats; inf where `p > 0 = q` for `a >= 1`, and for disjoint supports.

    Raises:
      TypeError: as `kl`, or `order` is not real.
      ValueError: as `kl`, or `order` is no scalar, nan or -inf.

    References:
      [VanErvenHarremoes2014] equation (1).

    Examples:
      >>> round(float(renyi([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], order=0.5)), 6)
      0.157515
    """
    pair = logit_vectors(p, q) if logits else vectors(p, q)
    # Looked at before it becomes an array, which under jit has no value.
    infinite = not isinstance(order, jax.core.Tracer) and np.ndim(order) == 0 and order == np.inf
    order = scalar_order("order", order, pair[0].dtype, or_inf=True)
    if infinite:
        return jnp.max(log_ratio_from_logits(*pair) if logits else _log_ratios(*pair), axis=-1)
    return (renyi_from_logits if logits else _renyi)(*pair, order)


def _log_ratios(p: Array, q: Array) -> Array:
    """`log(p/q)`, 0 where neither law has mass."""
    neither = (p == 0) & (q == 0)
    return log_ratio(jnp.where(neither, 1.0, p), jnp.where(neither, 1.0, q))


def _log1p_ratio(z: Array) -> Array:
    """`log(1 + z) / z` for `|z| < 1/2`, without a division by z, also in its derivatives."""
    w = z / (2 + z)
    total = jnp.zeros_like(z)
    # atanh(w) / w, and log(1 + z) = 2 atanh(w).
    for k in reversed(range(14)):
        total = total * w * w + 1 / (2 * k + 1)
    return total * 2 / (2 + z)


def _renyi(p: Array, q: Array, order: Array) -> Array:
    lost = ((p > 0) & (q == 0)).any(axis=-1)
    gained = ((q > 0) & (p == 0)).any(axis=-1)
    total = log_affinity(p, q, order)
    small = (jnp.abs(total) < 0.4) & ~(lost & (order >= 1)) & ~(gained & (order < 0))
    # Far pairs take the logarithm, and D_a of a pair of equals here: their own may overflow.
    core, only_p, only_q = _alpha_parts(jnp.where(small[..., None], p, q), q, order)
    # a (a-1) D_a + 1 = sum p^a q^(1-a); a D_a itself stays finite as a goes to 0.
    scaled = order * core + order * share(only_p, 1 - order) + only_q
    excess = (order - 1) * scaled
    open_ = jnp.where(order == 1, 1.0, order - 1)
    far = jnp.where(lost & (order >= 1), jnp.inf, total / open_)
    # log(1 + z) / (a - 1) = a D_a log(1 + z) / z.
    value = jnp.where(small, scaled * _log1p_ratio(excess), far)
    return jnp.where(gained & (order < 0), -jnp.inf, value)


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
    chord = chord_terms(p_in, q_in)
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
    far = -log_affinity(p, q, jnp.asarray(0.5, p.dtype))
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
    present = q != 0
    terms = chi_square_terms(jnp.where(present, p, 1.0), jnp.where(present, q, 1.0))
    return jnp.sum(jnp.where(present, terms, jnp.where(p > 0, jnp.inf, 0.0)), axis=-1)


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
