"""Total variation, and the divergence of any convex generator."""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.divergences.simplex._arguments import Probabilities, logit_vectors, vectors
from igeojax.divergences.simplex._logits import laws_from_logits, log_ratio_from_logits


def total_variation(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Total variation `sum |p - q| / 2`, a metric in `[0, 1]`.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, 1]`; the gradient of an entry where `p = q` is 0 by convention.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(total_variation([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.3
    """
    if logits:
        _, _, gap = laws_from_logits(*logit_vectors(p, q))
    else:
        p, q = vectors(p, q)
        gap = p - q
    # The derivative of JAX's abs at 0 is 1.
    return 0.5 * jnp.sum(jnp.where(gap == 0, 0.0, jnp.abs(gap)), axis=-1)


def f_divergence(
    p: Probabilities,
    q: Probabilities,
    generator: Callable[[Array], Array],
    *,
    slope_at_infinity: ArrayLike = jnp.inf,
    logits: bool = False,
) -> Float[Array, "*batch"]:
    """f-divergence `sum q f(p/q)` of a convex generator with `f(1) = 0`.

    Args:
      p: probability vectors.
      q: probability vectors.
      generator: `f`, elementwise on `[0, inf)`; must be finite and differentiable at the ratios
        that occur, 0 included where `p` has zeros.
      slope_at_infinity: `lim f(t)/t`, what an entry with `q = 0` costs per unit of `p`.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [LieseVajda2006] definition 1.

    Examples:
      >>> import jax.numpy as jnp
      >>> total_variation = f_divergence(
      ...     [0.1, 0.9], [0.4, 0.6], lambda t: jnp.abs(t - 1) / 2, slope_at_infinity=0.5
      ... )
      >>> round(float(total_variation), 6)
      0.3
    """
    if logits:
        scores = logit_vectors(p, q)
        p, q, _ = laws_from_logits(*scores)
        present = q > 0
        ratio = jnp.exp(log_ratio_from_logits(*scores))
    else:
        p, q = vectors(p, q)
        present = q > 0
        ratio = p / jnp.where(present, q, 1.0)
    value = q * generator(jnp.where(present, ratio, 1.0))
    singular = jnp.where(p > 0, jnp.where(p > 0, p, 1.0) * slope_at_infinity, 0.0)
    return jnp.sum(jnp.where(present, value, singular), axis=-1)
