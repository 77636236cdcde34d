"""Chernoff information: the best exponent of a test between two laws."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.discrete.relative_entropy import log_sum_exp_bregman
from igeojax.divergences.simplex._arguments import Probabilities, logit_vectors, vectors
from igeojax.divergences.simplex._logits import Overlap, affinity_rate, overlap
from igeojax.numerics.remainders import log_ratio
from igeojax.numerics.safe import log_at_zero

_STEPS = 160


def chernoff_information(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """Chernoff information `max_a -log sum p^a q^(1-a)` over orders `0 <= a <= 1`, symmetric.

    The exponential rate at which the Bayes error of telling `p` from `q` falls with the number of
    observations. The concave maximization is solved to rounding; derivatives of any order are
    those of the implicit function.

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

    References:
      [CoverThomas2006] theorem 11.9.1.

    Examples:
      >>> round(float(chernoff_information([0.9, 0.1], [0.1, 0.9])), 6)
      0.510826
    """
    laws, batch = _laws(p, q, logits)
    return jax.vmap(lambda one: _exponent(one, _best(one)))(laws).reshape(batch)


def chernoff_order(
    p: Probabilities, q: Probabilities, *, logits: bool = False
) -> Float[Array, "*batch"]:
    """The order `a` at which `-log sum p^a q^(1-a)` is largest.

    The law `p^a q^(1-a)`, normalized, is as far from `p` as from `q` in Kullback-Leibler
    divergence, if `0 < a < 1`.

    Args:
      p: probability vectors.
      q: probability vectors.
      logits: both arguments are logits.

    Returns:
      Orders in `[0, 1]`; 1/2 for equal laws and for laws without common support.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [CoverThomas2006] theorem 11.9.1.

    Examples:
      >>> float(chernoff_order([0.9, 0.1], [0.1, 0.9]))
      0.5
    """
    laws, batch = _laws(p, q, logits)
    return jax.vmap(_best)(laws).reshape(batch)


def _laws(p: Probabilities, q: Probabilities, logits: bool) -> tuple[Overlap, tuple[int, ...]]:
    """The pair as logits on its common support, batch axes raveled, and their shape."""
    if logits:
        first, second = logit_vectors(p, q)
        step = None
    else:
        p, q = vectors(p, q)
        first, second, step = log_at_zero(p), log_at_zero(q), _log_ratio(p, q)
    batch, classes = first.shape[:-1], first.shape[-1]
    laws = overlap(first, second, step)
    shapes = ((classes,), (classes,), (classes,), (), ())
    return Overlap(
        *(leaf.reshape((-1, *shape)) for leaf, shape in zip(laws, shapes, strict=True))
    ), batch


def _log_ratio(p: Array, q: Array) -> Array:
    both = (p != 0) & (q != 0)
    return log_ratio(jnp.where(both, p, 1.0), jnp.where(both, q, 1.0))


def _exponent(laws: Overlap, order: Array) -> Array:
    """`-log sum p^a q^(1-a)`."""
    disjoint = jnp.isinf(laws.lost_p)
    lost_p, lost_q = (jnp.where(disjoint, 0.0, v) for v in (laws.lost_p, laws.lost_q))
    value = order * (1 - order) * affinity_rate(laws, order) + order * lost_p + (1 - order) * lost_q
    return jnp.where(disjoint, jnp.inf, value)


def _best(laws: Overlap) -> Array:
    """Where the derivative in the order, which falls, vanishes; or the end that it points to."""
    finite = laws._replace(
        lost_p=jnp.where(jnp.isinf(laws.lost_p), 0.0, laws.lost_p),
        lost_q=jnp.where(jnp.isinf(laws.lost_q), 0.0, laws.lost_q),
    )

    def slope(order: Array) -> Array:
        # KL(m || p) - KL(m || q) at the law m ~ p^a q^(1-a): two terms that keep their digits.
        to_p, to_q = (1 - order) * finite.step, -order * finite.step
        middle = finite.p - to_p
        gap = log_sum_exp_bregman(finite.p, middle, to_p)
        gap = gap - log_sum_exp_bregman(finite.q, middle, to_q)
        return gap + finite.lost_p - finite.lost_q

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        curvature = matvec(jnp.ones_like(rhs))
        inner = curvature < 0
        return jnp.where(inner, rhs / jnp.where(inner, curvature, -1.0), 0.0)

    start = jnp.asarray(0.5, laws.p.dtype)
    order = jax.lax.custom_root(slope, start, lambda f, _: _falling_root(f, start), tangent_solve)
    # At an end the derivative does not vanish, and the order does not move.
    ends = (order <= 0) | (order >= 1)
    return jnp.where(ends, jax.lax.stop_gradient(order), order)


def _falling_root(function: Callable[[Array], Array], middle: Array) -> Array:
    """Root in `[0, 1]` of a decreasing function, by false position with bisection between."""
    zero, one = jnp.zeros_like(middle), jnp.ones_like(middle)
    at_zero, at_one = jax.vmap(function)(jnp.stack([zero, one]))
    eps = jnp.finfo(middle.dtype).eps

    def unfinished(state):
        low, high, _, _, count, found = state
        return (high - low > eps * high) & ~found & (count < _STEPS)

    def advance(state):
        low, high, at_low, at_high, count, _ = state
        width = high - low
        secant = low + width * at_low / jnp.where(at_low > at_high, at_low - at_high, 1.0)
        inner = (secant > low) & (secant < high) & (count % 3 != 2)
        point = jnp.where(inner, secant, low + 0.5 * width)
        value = function(point)
        right = value > 0
        # Illinois: an end that stays counts half, or one side would never move.
        new = (
            jnp.where(right, point, low),
            jnp.where(right, high, point),
            jnp.where(right, value, 0.5 * at_low),
            jnp.where(right, 0.5 * at_high, value),
        )
        return (*new, count + 1, (value == 0) | (width * 0.5 <= 0.25 * eps))

    def exact(state):
        low, high, at_low, at_high, _, _ = state
        return jnp.where(jnp.abs(at_low) < jnp.abs(at_high), low, high)

    start = (zero, one, at_zero, at_one, jnp.zeros((), int), ~((at_zero > 0) & (at_one < 0)))
    inner = exact(jax.lax.while_loop(unfinished, advance, start))
    flat = (at_zero == 0) & (at_one == 0)
    ends = jnp.where(at_zero <= 0, zero, jnp.where(at_one >= 0, one, jnp.nan))
    ends = jnp.where(flat, middle, ends)
    return jnp.where((at_zero > 0) & (at_one < 0), inner, ends)
