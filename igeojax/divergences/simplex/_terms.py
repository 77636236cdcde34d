"""What one entry adds to a divergence: all its digits, and derivatives of the same quality.

Derivatives are written out with `p/q` and `log(p/q)`, which are finite where `1/p^2` is not. Here,
and in `_arguments.zeros_held`, are the conventions for zero entries: a derivative that would be
infinite is 0, one that is finite is kept. They are differentiable again.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.discrete.softmax import logsumexp
from igeojax.divergences.simplex._arguments import inside
from igeojax.numerics.remainders import exprel2, log1p_remainder, log_ratio
from igeojax.numerics.safe import log_at_zero, quotient


def is_near(base: Array, step: Array) -> Array:
    """Where `step / base` is so small that a remainder is taken from it, and not from logarithms.

    Elsewhere `1 + step / base` may round to 0, and the quotient overflow.
    """
    return (step > -0.6 * base) & (step < 0.7 * base)


@jax.custom_jvp
def relative_entropy_terms(p: Array, q: Array, step: Array) -> Array:
    """`p log(p/q) - p + q`, with `step = q - p` given to full precision.

    The step has no derivative of its own: it moves with the other two.
    """
    near = is_near(p, step)
    base = jnp.where(near, p, 1.0)
    close = base * log1p_remainder(jnp.where(near, step, 0.0) / base)
    absent = p == 0
    apart = jnp.where(near | absent, 1.0, p)
    far = apart * log_ratio(apart, jnp.where(near | absent, 1.0, q)) + step
    return jnp.where(absent, q, jnp.where(near, close, far))


@relative_entropy_terms.defjvp
def _relative_entropy_terms_jvp(primals, tangents):
    (p, q, step), (dp, dq, _) = primals, tangents
    edge = (p == 0) | (q == 0)
    slope_p = jnp.where(edge, 0.0, log_ratio(jnp.where(edge, 1.0, p), jnp.where(edge, 1.0, q)))
    slope_q = jnp.where(edge, 0.0, quotient(step, jnp.where(edge, 1.0, q)))
    # An outcome that p does not have costs q itself, whether q has it or not.
    slope_q = jnp.where(p == 0, 1.0, slope_q)
    return relative_entropy_terms(p, q, step), slope_p * dp + slope_q * dq


@jax.custom_jvp
def entropy_terms(p: Array) -> Array:
    """`-p log p`, 0 with derivative 0 at 0."""
    return -p * jnp.where(p == 0, 0.0, log_at_zero(p))


@entropy_terms.defjvp
def _entropy_terms_jvp(primals, tangents):
    (p,), (dp,) = primals, tangents
    zero = p == 0
    slope = jnp.where(zero, 0.0, -1 - log_ratio(jnp.where(zero, 1.0, p), 1.0))
    return entropy_terms(p), slope * dp


@jax.custom_jvp
def cross_entropy_terms(p: Array, q: Array) -> Array:
    """`-p log q`, 0 where p is 0."""
    return jnp.where(p == 0, 0.0, -p * jnp.where(p == 0, 0.0, log_at_zero(q)))


@cross_entropy_terms.defjvp
def _cross_entropy_terms_jvp(primals, tangents):
    (p, q), (dp, dq) = primals, tangents
    zero = q == 0
    known = jnp.where(zero, 1.0, q)
    slope_q = jnp.where(zero, 0.0, quotient(p, known))
    return cross_entropy_terms(p, q), -log_ratio(known, 1.0) * dp - slope_q * dq


@jax.custom_jvp
def chi_square_terms(p: Array, q: Array) -> Array:
    """`(p - q)^2 / q` for `q > 0`."""
    return (p - q) * ((p - q) / q)


@chi_square_terms.defjvp
def _chi_square_terms_jvp(primals, tangents):
    (p, q), (dp, dq) = primals, tangents
    x = quotient(p - q, q)
    return chi_square_terms(p, q), 2 * x * dp - x * (2 + x) * dq


@jax.custom_jvp
def chord_terms(p: Array, q: Array) -> Array:
    """`(sqrt(p) - sqrt(q))^2` for positive p and q."""
    return ((p - q) / (jnp.sqrt(p) + jnp.sqrt(q))) ** 2


@chord_terms.defjvp
def _chord_terms_jvp(primals, tangents):
    (p, q), (dp, dq) = primals, tangents
    root_p, root_q = jnp.sqrt(p), jnp.sqrt(q)
    chord = quotient(p - q, root_p + root_q)
    return chord_terms(p, q), quotient(chord, root_p) * dp - quotient(chord, root_q) * dq


def _deformed_log(log: Array, power: Array) -> Array:
    """`(r^c - 1) / c` of a ratio r by its log, which is the limit at `c = 0`."""
    y = power * log
    near = jnp.abs(y) < 1
    small = jnp.where(near, y, 0.0)
    far = jnp.expm1(jnp.where(near, 1.0, y)) / jnp.where(near, 1.0, power)
    return jnp.where(near, log * (1 + small * exprel2(small)), far)


def _mirrored(p: Array, q: Array, order: Array) -> tuple[Array, Array, Array, Array]:
    """`D_a(p || q) = D_(1-a)(q || p)`: the pair and order of which `a >= 1/2`, and `1 - a`."""
    swap = order < 0.5
    first, other = jnp.where(swap, q, p), jnp.where(swap, p, q)
    return first, other, jnp.where(swap, 1 - order, order), jnp.where(swap, order, 1 - order)


@jax.custom_jvp
def alpha_terms(p: Array, q: Array, order: Array) -> Array:
    """`(p^a q^(1-a) - a p - (1-a) q) / (a (a-1))` for positive p and q."""
    # With a >= 1/2 the differences below lose at most half of themselves.
    first, other, a, b = _mirrored(p, q, order)
    step, log = other - first, log_ratio(other, first)
    near = is_near(first, step)
    x = jnp.where(near, step, 0.0) / jnp.where(near, first, 1.0)
    y = b * log
    moderate = jnp.abs(y) < 1
    small = jnp.where(moderate, y, 0.0)
    close = first * (log1p_remainder(x) - b * log**2 * exprel2(small))
    # p^a q^b by halves: exp(y) may overflow where the product with `first` does not.
    half = jnp.exp(0.5 * jnp.where(moderate, 0.0, y))
    gain = jnp.where(
        moderate,
        first * log * (1 + small * exprel2(small)),
        (first * half * half - first) / jnp.where(moderate, 1.0, b),
    )
    # Near with a large exponent occurs for large orders alone, where nothing cancels.
    return jnp.where(near & moderate, close, step - gain) / a


@alpha_terms.defjvp
def _alpha_terms_jvp(primals, tangents):
    (p, q, order), (dp, dq, d_order) = primals, tangents
    value, log = alpha_terms(p, q, order), log_ratio(p, q)
    slopes = _deformed_log(log, order - 1) * dp + _deformed_log(-log, -order) * dq
    first, other, a, b = _mirrored(p, q, order)
    back = log_ratio(other, first)
    # (1 + (y - 1) exp(y)) / y^2 is the derivative of the deformed logarithm in its power.
    y = b * back
    near = jnp.abs(y) < 1
    small = jnp.where(near, y, 0.0)
    close = first * back**2 * jnp.exp(small) * exprel2(-small)
    half = jnp.exp(0.5 * jnp.where(near, 0.0, y))
    far = first * half * half * (y - 1) + first
    bend = jnp.where(near, close, far / jnp.where(near, 1.0, b) ** 2)
    in_order = (bend - value) / a
    return value, slopes + jnp.where(order < 0.5, -in_order, in_order) * d_order


@jax.custom_jvp
def log_affinity(p: Array, q: Array, order: Array) -> Array:
    """`log sum p^a q^(1-a)` over the entries where both are positive; -inf without any."""
    both, p_in, q_in = inside(p, q)
    exponent = jnp.log(p_in) + (order - 1) * log_ratio(p_in, q_in)
    return logsumexp(jnp.where(both, exponent, -jnp.inf))


@log_affinity.defjvp
def _log_affinity_jvp(primals, tangents):
    (p, q, order), (dp, dq, d_order) = primals, tangents
    both, p_in, q_in = inside(p, q)
    total, log = log_affinity(p, q, order), log_ratio(p_in, q_in)
    common = jnp.where(total == -jnp.inf, 0.0, total)[..., None]
    # The weight p^a q^(1-a) / sum over p, and over q.
    tilt = lambda power: jnp.where(both, jnp.exp(jnp.where(both, power * log - common, 0.0)), 0.0)
    over_p = tilt(order - 1)
    slope = order * over_p * dp + (1 - order) * tilt(order) * dq
    return total, jnp.sum(slope + p_in * over_p * log * d_order, axis=-1)
