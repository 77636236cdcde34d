"""Total variation, and the divergence of any convex generator."""

from collections.abc import Callable

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.divergences._generators import require_function
from igeojax.divergences.simplex._arguments import Probabilities, logit_vectors, vectors
from igeojax.divergences.simplex._logits import laws_from_logits, log_ratio_from_logits
from igeojax.numerics.safe import quotient


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
      slope_at_infinity: `lim f(t)/t`, a scalar: what an entry with `q = 0` costs per unit of `p`.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`, in the dtype of `p` and `q`.

    Raises:
      TypeError: as `kl`, `generator` is not callable, or `slope_at_infinity` is not real.
      ValueError: as `kl`, or `slope_at_infinity` is no scalar, or a concrete one is nan.

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
    require_function("generator", generator, "It maps arrays of ratios p/q to f(p/q).")
    slope = _slope(slope_at_infinity)
    if logits:
        scores = logit_vectors(p, q)
        p, q, _ = laws_from_logits(*scores)
        present = q != 0
        # Masked before exp: inf there would meet a cotangent 0.
        log_ratio = jnp.where(present, log_ratio_from_logits(*scores), 0.0)
        ratio = jnp.exp(log_ratio)
    else:
        p, q = vectors(p, q)
        present = q != 0
        ratio = quotient(jnp.where(present, p, 1.0), jnp.where(present, q, 1.0))
    slope = slope.astype(p.dtype)
    value = q * generator(ratio)
    # An infinite slope is not multiplied with p, or entries without loss had gradient 0 * inf.
    infinite = jnp.isinf(slope)
    cost = jnp.where(infinite, slope, p * jnp.where(infinite, 0.0, slope))
    return jnp.sum(jnp.where(present, value, jnp.where(p > 0, cost, 0.0)), axis=-1)


def _slope(value: ArrayLike) -> Array:
    slope = checks.floating("slope_at_infinity", value)
    if slope.ndim:
        raise ValueError(
            f"slope_at_infinity must be a scalar; got shape {slope.shape}. It is lim f(t)/t of one "
            "generator."
        )
    checks.require_values(
        "slope_at_infinity", slope, lambda v: ~np.isnan(v), "a number or inf", "It is lim f(t)/t."
    )
    return slope
