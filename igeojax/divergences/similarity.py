"""Divergence between probability vectors whose outcomes resemble one another, in nats."""

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.divergences.simplex._arguments import probabilities, require_logits
from igeojax.divergences.simplex._logits import laws_from_logits
from igeojax.divergences.simplex._terms import is_near
from igeojax.numerics.remainders import log1p_remainder, log_ratio
from igeojax.numerics.safe import quotient


def similarity_sensitive_divergence(
    p: Float[ArrayLike, "*batch classes"],
    q: Float[ArrayLike, "*batch classes"],
    similarity: Float[ArrayLike, "classes classes"],
    *,
    logits: bool = False,
) -> Float[Array, "*batch"]:
    """Similarity-sensitive divergence `1 + sum p log(Kp / Kq) - sum q (Kp) / (Kq)`.

    The Bregman divergence of the similarity-sensitive entropy `-sum p log(Kp)`: mass that moves to
    similar outcomes costs little. `K = I` gives `KL(p || q)`. Non-negative where that entropy is
    concave, as it is for `K = I`.
    Computed from `K (q - p)`, so that near laws keep their digits. Costs two products with `K`.

    Args:
      p: probability vectors on the last axis, the law of the expectation.
      q: probability vectors.
      similarity: `K`, symmetric, entries in `[0, 1]`, ones on the diagonal.
      logits: `p` and `q` hold logits, `-inf` allowed.

    Returns:
      Values in nats; inf where `(Kp)_i > 0 = (Kq)_i` for an outcome of `p`.

    Raises:
      TypeError: an argument is not real.
      ValueError: shapes do not fit, concrete entries of `p` or `q` are negative or do not sum to
        one within `sqrt(eps)` (with `logits`, are nan or inf, or all -inf), or a concrete
        `similarity` is none.

    References:
      [GallegoPosada2020] section 2.3.

    Examples:
      >>> value = similarity_sensitive_divergence([0.1, 0.6, 0.3], [0.4, 0.3, 0.3], jnp.eye(3))
      >>> round(float(value), 6)
      0.277259
    """
    p, q, kernel = checks.floating_together(p=p, q=q, similarity=similarity)
    if logits:
        require_logits("p", p)
        require_logits("q", q)
    else:
        p, q = probabilities("p", p), probabilities("q", q)
    classes = p.shape[-1]
    if q.shape[-1] != classes or kernel.shape != (classes, classes):
        raise ValueError(
            "p, q and similarity must have shapes (..., K), (..., K) and (K, K); got "
            f"{p.shape}, {q.shape} and {kernel.shape}. All concern one set of outcomes."
        )
    _require_similarity(kernel)
    p, q = jnp.broadcast_arrays(p, q)
    # Zero entries: their derivative would be infinite where K = I; 0 by convention, as for KL.
    p, q, step = laws_from_logits(p, q) if logits else (p, q, q - p)
    near_p, near_q = p @ kernel.T, q @ kernel.T
    shift = step @ kernel.T
    seen = (near_p != 0) & (near_q != 0)  # nan goes on
    here, there = jnp.where(seen, near_p, 1.0), jnp.where(seen, near_q, 1.0)
    moved = jnp.where(seen, shift, 0.0)
    term = _terms(p, q, here, there, step, moved)
    # Kp = 0 needs p = 0 there and leaves q; Kq = 0 needs q = 0, and is lost mass if p is positive.
    lost = (near_q == 0) & (p > 0)
    edge = jnp.where(near_p == 0, q, jnp.where(lost, jnp.inf, 0.0))
    return jnp.sum(jnp.where(seen, term, edge), axis=-1)


@jax.custom_jvp
def _terms(p: Array, q: Array, here: Array, there: Array, step: Array, moved: Array) -> Array:
    """`p log(Kp / Kq) + q (1 - Kp / Kq)`, with `step = q - p` and `moved = K (q - p)`.

    Neither step has a derivative of its own: they move with the others.
    """
    near = is_near(here, moved)
    # With x = K(q-p) / Kp: p (x - log(1+x)) + x/(1+x) (q - p - p x), second order in the step.
    base = jnp.where(near, here, 1.0)
    x = jnp.where(near, moved, 0.0) / base
    close = p * log1p_remainder(x) + moved * _excess(p, q, here, there, step, moved)
    # Where x is near -1 or may overflow, logarithms do not cancel; q / Kq is at most 1.
    far = p * log_ratio(here, there) + q / there * moved
    return jnp.where(near, close, far)


def _excess(p: Array, q: Array, here: Array, there: Array, step: Array, moved: Array) -> Array:
    """`q / Kq - p / Kp`, 0 for `K = I`, from the steps where the pair is near."""
    near = is_near(here, moved)
    close = quotient(step - p * quotient(moved, here), there)
    return jnp.where(near, close, quotient(q, there) - quotient(p, here))


@_terms.defjvp
def _terms_jvp(primals, tangents):
    (_, _, here, there, _, moved), (dp, dq, d_here, d_there, _, _) = primals, tangents
    excess = _excess(*primals)
    slope = log_ratio(here, there) * dp + quotient(moved, there) * dq
    return _terms(*primals), slope + excess * (quotient(here, there) * d_there - d_here)


def _require_similarity(kernel: Array) -> None:
    seen = checks.concrete(kernel)
    if seen is None:
        return
    remedy = "Scale it, or take exp(-distance) of a metric."
    checks.require_values(
        "similarity", kernel, lambda v: (v >= 0) & (v <= 1), "made of entries in [0, 1]", remedy
    )
    slack = 8 * float(jnp.finfo(kernel.dtype).eps)
    if np.abs(np.diagonal(seen) - 1).max() > slack:
        raise ValueError(
            f"similarity must have ones on its diagonal; got {np.diagonal(seen).min()}. {remedy}"
        )
    if np.abs(seen - seen.T).max() > slack:
        raise ValueError(
            f"similarity must be symmetric; got entries that differ by "
            f"{np.abs(seen - seen.T).max():.3g} from their mirror image. Pass 0.5 * (K + K.T)."
        )
