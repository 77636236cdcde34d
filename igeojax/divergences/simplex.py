"""Divergences between probability vectors, on the last axis, in nats.

Each is written for positive measures as a sum of non-negative terms in the difference `q - p`
(`sum p log(p/q) - p + q` for KL), so it never cancels, is never negative, and is exactly 0 at
`p = q`. For vectors that sum to one this is the usual value; gradients differ from those of the
usual formula by a constant along `(1, ..., 1)`, which no motion on the simplex sees. Zero entries
take the measure-theoretic value (`p > 0 = q` gives inf for KL); where the one-sided derivative in
an entry 0 is infinite, the derivative is 0 by convention, so gradients are finite wherever values
are.
"""

from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.softmax import logsumexp
from igeojax.numerics.remainders import exprel2, log1p_remainder
from igeojax.numerics.safe import sqrt_at_zero

Probabilities = Float[ArrayLike, "*batch classes"]
"""Probability vectors on the last axis."""


def _vectors(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    p, q = checks.floating_together(p=p, q=q)
    checks.require_probabilities("p", p)
    checks.require_probabilities("q", q)
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"p and q must have the same number of classes on the last axis; got {p.shape[-1]} and "
            f"{q.shape[-1]}. Divergences compare laws on one set of outcomes."
        )
    p, q = jnp.broadcast_arrays(p, q)
    return p, q


def _zeros_held(p: Array) -> Array:
    """`p` with derivative 0 in its zero entries, by convention where the true one is infinite."""
    return jnp.where(p == 0, 0.0, p)


def _inside(p: Array, q: Array) -> tuple[Array, Array, Array]:
    """Where both are positive, and both with a harmless 1/2 elsewhere."""
    both = (p > 0) & (q > 0)
    return both, jnp.where(both, p, 0.5), jnp.where(both, q, 0.5)


def _relative_entropy(p: Array, step: Array) -> Array:
    """`sum p log(p/q) - p + q` for `q = p + step`, with the step given to full precision."""
    present = p > 0
    safe = jnp.where(present, p, 1.0)
    # For p at the edge of underflow step / p overflows; p log(p/q) is then lost beside q anyway.
    ratio = jnp.where(present, step, 0.0) / safe
    huge = ratio > 1 / jnp.finfo(p.dtype).eps ** 2
    ratio = jnp.where(huge, 0.0, ratio)
    term = safe * log1p_remainder(ratio)
    return jnp.sum(jnp.where(present & ~huge, term, step), axis=-1)


def kl(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence `KL(p || q) = sum p log(p/q)`.

    Args:
      p: probability vectors, the law of the expectation.
      q: probability vectors.

    Returns:
      Values in `[0, inf]`, in nats; inf where `p > 0 = q`.

    Raises:
      TypeError: an argument is not real.
      ValueError: unequal lengths, or concrete entries that are negative or do not sum to one
        within `sqrt(eps)`.

    References:
      [KullbackLeibler1951] equation (2.4).

    Examples:
      >>> round(float(kl([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.277259
    """
    p, q = _vectors(p, q)
    p = _zeros_held(p)
    return _relative_entropy(p, q - p)


def jeffreys(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Jeffreys divergence `KL(p || q) + KL(q || p)`, symmetric.

    Args:
      p: probability vectors.
      q: probability vectors.

    Returns:
      Values in `[0, inf]`, in nats.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(jeffreys([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.623832
    """
    p, q = map(_zeros_held, _vectors(p, q))
    return _relative_entropy(p, q - p) + _relative_entropy(q, p - q)


def jensen_shannon(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Jensen-Shannon divergence `KL(p || m)/2 + KL(q || m)/2`, `m = (p + q)/2`.

    Symmetric and at most `log 2`; its square root is a metric.

    Args:
      p: probability vectors.
      q: probability vectors.

    Returns:
      Values in `[0, log 2]`, in nats.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [Lin1991] equation (4.1) with equal weights.

    Examples:
      >>> round(float(jensen_shannon([1.0, 0.0], [0.0, 1.0])), 6)
      0.693147
    """
    p, q = map(_zeros_held, _vectors(p, q))
    half = 0.5 * (q - p)
    return 0.5 * (_relative_entropy(p, half) + _relative_entropy(q, -half))


def _alpha_parts(p: Array, q: Array, order: Array) -> tuple[Array, Array, Array]:
    """`D_order` over entries where both are positive, and the mass where only p, only q is."""
    both, p_in, q_in = _inside(p, q)
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


def _share(mass: Array, weight: Array) -> Array:
    """`mass / weight` for a weight that may reach 0 from above: inf there unless mass is 0."""
    open_ = weight > 0
    bounded = mass / jnp.where(open_, weight, 1.0)
    return jnp.where(mass == 0, 0.0, jnp.where(open_, bounded, jnp.inf))


def alpha_divergence(
    p: Probabilities, q: Probabilities, *, order: ArrayLike
) -> Float[Array, "*batch"]:
    """Alpha-divergence of statistical order a, `(sum p^a q^(1-a) - 1) / (a (a - 1))`.

    `a = 1` is `KL(p || q)`, `a = 0` is `KL(q || p)`, `a = 1/2` four times the squared Hellinger
    distance, `a = 2` half of Pearson's chi-square. Amari's alpha is `1 - 2a`.

    Args:
      p: probability vectors.
      q: probability vectors.
      order: the statistical order a, any real number; may be traced.

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
    p, q = _vectors(p, q)
    order = jnp.asarray(order, p.dtype)
    core, only_p, only_q = _alpha_parts(p, q, order)
    return core + _share(only_p, 1 - order) + _share(only_q, order)


def renyi(p: Probabilities, q: Probabilities, *, order: ArrayLike) -> Float[Array, "*batch"]:
    """Renyi divergence `log(sum p^a q^(1-a)) / (a - 1)` of statistical order a.

    Non-decreasing in a; `a = 1` is `KL(p || q)`; `a = 1/2` twice the Bhattacharyya distance.

    Args:
      p: probability vectors.
      q: probability vectors.
      order: the statistical order `a >= 0`; may be traced. For `a < 0` the value is not positive.

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
    p, q = _vectors(p, q)
    order = jnp.asarray(order, p.dtype)
    core, only_p, only_q = _alpha_parts(p, q, order)
    # a (a-1) D_a + 1 = sum p^a q^(1-a); a D_a itself stays finite as a goes to 0.
    scaled = order * core + order * _share(only_p, 1 - order) + jnp.where(order < 0, 0.0, only_q)
    excess = (order - 1) * scaled
    small = jnp.abs(excess) < 0.5
    near = jnp.where(small, excess, 0.0)
    # log(1 + z) / (a - 1) = a D_a (1 - (z - log1p z) / z), regular at z = 0.
    nonzero = jnp.where(near == 0, 1.0, near)
    relative = jnp.where(near == 0, 0.5 * near, log1p_remainder(nonzero) / nonzero)
    both, p_in, q_in = _inside(p, q)
    exponent = order * jnp.log(p_in) + (1 - order) * jnp.log(q_in)
    total = logsumexp(jnp.where(both, exponent, -jnp.inf))
    open_ = jnp.where(order == 1, 1.0, order - 1)
    far = jnp.where((order >= 1) & (only_p > 0), jnp.inf, total / open_)
    return jnp.where(small, scaled * (1 - relative), far)


def hellinger(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Hellinger distance `sqrt(1 - sum sqrt(p q))`, a metric in `[0, 1]`.

    Args:
      p: probability vectors.
      q: probability vectors.

    Returns:
      Values in `[0, 1]`; at `p = q` the value and, by convention, the gradient are 0.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> float(hellinger([1.0, 0.0], [0.0, 1.0]))
      1.0
    """
    return sqrt_at_zero(_squared_hellinger(*_vectors(p, q)))


def _squared_hellinger(p: Array, q: Array) -> Array:
    both, p_in, q_in = _inside(p, q)
    chord = ((p_in - q_in) / (jnp.sqrt(p_in) + jnp.sqrt(q_in))) ** 2
    return 0.5 * jnp.sum(jnp.where(both, chord, _zeros_held(p) + _zeros_held(q)), axis=-1)


def bhattacharyya(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Bhattacharyya distance `-log sum sqrt(p q)`.

    Args:
      p: probability vectors.
      q: probability vectors.

    Returns:
      Values in `[0, inf]`, in nats; inf for disjoint supports.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(bhattacharyya([0.5, 0.5], [0.5, 0.5])), 6)
      0.0
    """
    p, q = _vectors(p, q)
    gap = _squared_hellinger(p, q)
    near = gap < 0.5
    both, p_in, q_in = _inside(p, q)
    exponent = 0.5 * (jnp.log(p_in) + jnp.log(q_in))
    far = -logsumexp(jnp.where(both, exponent, -jnp.inf))
    return jnp.where(near, -jnp.log1p(-jnp.where(near, gap, 0.0)), far)


def total_variation(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Total variation `sum |p - q| / 2`, a metric in `[0, 1]`.

    Args:
      p: probability vectors.
      q: probability vectors.

    Returns:
      Values in `[0, 1]`; the gradient of an entry where `p = q` is 0 by convention.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(total_variation([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.3
    """
    p, q = _vectors(p, q)
    gap = p - q
    # The derivative of JAX's abs at 0 is 1.
    return 0.5 * jnp.sum(jnp.where(gap == 0, 0.0, jnp.abs(gap)), axis=-1)


def chi_square(p: Probabilities, q: Probabilities) -> Float[Array, "*batch"]:
    """Pearson's chi-square divergence `sum (p - q)^2 / q`; Neyman's exchanges the arguments.

    Args:
      p: probability vectors.
      q: probability vectors, in the denominator.

    Returns:
      Values in `[0, inf]`; inf where `p > 0 = q`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(chi_square([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.525
    """
    p, q = _vectors(p, q)
    present = q > 0
    term = (p - q) ** 2 / jnp.where(present, q, 1.0)
    return jnp.sum(jnp.where(present, term, jnp.where(p > 0, jnp.inf, 0.0)), axis=-1)


def f_divergence(
    p: Probabilities,
    q: Probabilities,
    generator: Callable[[Array], Array],
    *,
    slope_at_infinity: ArrayLike = jnp.inf,
) -> Float[Array, "*batch"]:
    """f-divergence `sum q f(p/q)` of a convex generator with `f(1) = 0`.

    Args:
      p: probability vectors.
      q: probability vectors.
      generator: `f`, elementwise on `[0, inf)`; must be finite and differentiable at the ratios
        that occur, 0 included where `p` has zeros.
      slope_at_infinity: `lim f(t)/t`, what an entry with `q = 0` costs per unit of `p`.

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
    p, q = _vectors(p, q)
    present = q > 0
    value = q * generator(p / jnp.where(present, q, 1.0))
    singular = jnp.where(p > 0, jnp.where(p > 0, p, 1.0) * slope_at_infinity, 0.0)
    return jnp.sum(jnp.where(present, value, singular), axis=-1)
