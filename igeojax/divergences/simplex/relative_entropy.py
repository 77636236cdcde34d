"""Entropy, and divergences that are Kullback-Leibler divergences or sums of them."""

import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.discrete.relative_entropy import entropy_from_logits
from igeojax.discrete.softmax import log_softmax, softmax
from igeojax.divergences.simplex._arguments import (
    Probabilities,
    logit_vectors,
    probabilities,
    require_logits,
    vectors,
    zeros_held,
)
from igeojax.divergences.simplex._logits import kl_from_logits, laws_from_logits
from igeojax.divergences.simplex._terms import (
    cross_entropy_terms,
    entropy_terms,
    relative_entropy_terms,
)
from igeojax.numerics.safe import sqrt_at_zero


def _relative_entropy(p: Array, q: Array, step: Array) -> Array:
    """`sum p log(p/q) - p + q` for `q = p + step`, with the step given to full precision."""
    return jnp.sum(relative_entropy_terms(p, q, step), axis=-1)


def entropy(p: Probabilities, *, logits: bool = False) -> Float[Array, "*batch"]:
    """Entropy `-sum p log p`, with `0 log 0 = 0`.

    Args:
      p: probability vectors.
      logits: `p` holds logits, `-inf` allowed.

    Returns:
      Values in `[0, log K]`, in nats; the derivative in an entry 0 is 0 by convention.

    Raises:
      TypeError: `p` is not real.
      ValueError: concrete entries that are negative or do not sum to one within `sqrt(eps)`; with
        `logits`, concrete entries that are nan or inf, or all -inf.

    Examples:
      >>> round(float(entropy([0.5, 0.5, 0.0])), 6)
      0.693147
    """
    p = checks.floating("p", p)
    if logits:
        require_logits("p", p)
        return entropy_from_logits(p)
    return jnp.sum(entropy_terms(probabilities("p", p)), axis=-1)


def cross_entropy(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Cross-entropy `-sum p log q = H(p) + KL(p || q)`.

    Args:
      p: probability vectors, the law of the expectation.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`, in nats; inf where `p > 0 = q`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(cross_entropy([1.0, 0.0], [0.5, 0.5])), 6)
      0.693147
    """
    if not logits:
        return jnp.sum(cross_entropy_terms(*vectors(p, q)), axis=-1)
    p, q = logit_vectors(p, q)
    p, scores = softmax(p), log_softmax(q)
    # -inf beside a probability 0 has no share in the value, and must have none in the gradient.
    lost = (p > 0) & (scores == -jnp.inf)
    known = jnp.where(scores > -jnp.inf, scores, 0.0)
    return jnp.where(lost.any(axis=-1), jnp.inf, jnp.sum(-p * known, axis=-1))


def kl(p: Probabilities, q: Probabilities, *, logits: bool = False) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence `KL(p || q) = sum p log(p/q)`.

    It is the divergence of measures `sum p log(p/q) - p + q`, whose gradients are `log(p/q)` in `p`
    and `1 - p/q` in `q`.

    Args:
      p: probability vectors, the law of the expectation.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`, in nats; inf where `p > 0 = q`.

    Raises:
      TypeError: an argument is not real.
      ValueError: unequal lengths, or concrete entries that are negative or do not sum to one
        within `sqrt(eps)`; with `logits`, concrete entries that are nan or inf, or all -inf.

    References:
      [KullbackLeibler1951] equation (2.4).

    Examples:
      >>> round(float(kl([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.277259
    """
    if logits:
        return kl_from_logits(*logit_vectors(p, q))
    p, q = vectors(p, q)
    return _relative_entropy(p, q, q - p)


def reverse_kl(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Reverse Kullback-Leibler divergence `KL(q || p) = sum q log(q/p)`, `kl(q, p)`.

    With data `p` and model `q` it is the one that variational inference minimizes: it seeks a mode
    where `kl` covers all.

    Args:
      p: probability vectors.
      q: probability vectors, the law of the expectation.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`, in nats; inf where `q > 0 = p`.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(reverse_kl([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.346574
    """
    return kl(q, p, logits=logits)


def jeffreys(p: Probabilities, q: Probabilities, *, logits: bool = False) -> Float[Array, "*batch"]:
    """Jeffreys divergence `KL(p || q) + KL(q || p)`, symmetric.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, inf]`, in nats.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> round(float(jeffreys([0.1, 0.6, 0.3], [0.4, 0.3, 0.3])), 6)
      0.623832
    """
    if logits:
        pair = logit_vectors(p, q)
        return kl_from_logits(*pair) + kl_from_logits(*pair[::-1])
    p, q = map(zeros_held, vectors(p, q))
    return _relative_entropy(p, q, q - p) + _relative_entropy(q, p, p - q)


def jensen_shannon(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Jensen-Shannon divergence `KL(p || m)/2 + KL(q || m)/2`, `m = (p + q)/2`.

    Symmetric and at most `log 2`; its square root, scipy's `jensenshannon`, is a metric.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

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
    if logits:
        p, q, gap = laws_from_logits(*logit_vectors(p, q))
    else:
        p, q = map(zeros_held, vectors(p, q))
        gap = q - p
    half = 0.5 * gap
    middle = 0.5 * (p + q)
    return 0.5 * (_relative_entropy(p, middle, half) + _relative_entropy(q, middle, -half))


def jensen_shannon_distance(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Jensen-Shannon distance `sqrt(JS(p, q))`, a metric.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits, `-inf` allowed; no probability is formed where that would
        cost digits.

    Returns:
      Values in `[0, sqrt(log 2)]`; at `p = q` the value and, by convention, the gradient are 0.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [EndresSchindelin2003] theorem 1.

    Examples:
      >>> round(float(jensen_shannon_distance([1.0, 0.0], [0.0, 1.0])), 6)
      0.832555
    """
    return sqrt_at_zero(jensen_shannon(p, q, logits=logits))
