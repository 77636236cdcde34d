"""Pairs of probability vectors, and of logits, as every divergence takes them."""

import jax.numpy as jnp
import numpy as np
from jax.typing import DTypeLike
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks

Probabilities = Float[ArrayLike, "*batch classes"]
"""Probability vectors on the last axis; logits where a function is told so."""


def vectors(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    """Two checked arrays of probability vectors of one shape; nan where a traced one is negative.

    Raises:
      TypeError: an argument is not real.
      ValueError: unequal lengths, or concrete entries that are negative or do not sum to one.
    """
    p, q = checks.floating_together(p=p, q=q)
    return _of_one_shape(probabilities("p", p), probabilities("q", q))


def probabilities(name: str, value: Array) -> Array:
    """Checked probability vectors; a traced one with a negative entry becomes nan.

    Raises:
      ValueError: a scalar, or concrete entries that are negative or do not sum to one.
    """
    checks.require_probabilities(name, value)
    # The whole vector: beside zeros of the other law a single entry might be passed over.
    return jnp.where((value >= 0).all(axis=-1, keepdims=True), value, jnp.nan)


def scalar_order(name: str, value: ArrayLike, dtype: DTypeLike, *, or_inf: bool = False) -> Array:
    """A checked statistical order, or Amari's alpha, in the dtype of the vectors.

    Raises:
      TypeError: it is not real.
      ValueError: it is no scalar, or a concrete one is nan or infinite; `or_inf` lets inf pass.
    """
    order = checks.floating(name, value)
    if order.ndim:
        raise ValueError(
            f"{name} must be a scalar; got shape {order.shape}. Use jax.vmap for many orders."
        )
    checks.require_values(
        name,
        order,
        lambda v: np.isfinite(v) | ((v == np.inf) & or_inf),
        "finite or inf" if or_inf else "finite",
        "The divergence has no limit there; orders 0 and 1 are Kullback-Leibler divergences.",
    )
    return jnp.asarray(order, dtype)


def logit_vectors(p: ArrayLike, q: ArrayLike) -> tuple[Array, Array]:
    """Two checked arrays of logits of one shape.

    Raises:
      TypeError: an argument is not real.
      ValueError: unequal lengths, a scalar, or concrete logits that are nan or inf, or all -inf.
    """
    p, q = checks.floating_together(p=p, q=q)
    require_logits("p", p)
    require_logits("q", q)
    return _of_one_shape(p, q)


def require_logits(name: str, value: Array) -> None:
    """Check that the last axis of concrete values holds logits of a law.

    Raises:
      ValueError: a scalar, an entry is nan or inf, or a row has no possible class.
    """
    if value.ndim == 0:
        raise ValueError(
            f"{name} must hold logits along its last axis; got a scalar. For a single Bernoulli "
            "logit z pass jnp.stack([0 * z, z], axis=-1)."
        )
    checks.require_values(
        name, value, lambda v: v < float("inf"), "below inf", "A certain class has others at -inf."
    )
    checks.require_values(
        f"the largest logit of {name}",
        jnp.max(value, axis=-1),
        lambda v: v > -float("inf"),
        "above -inf",
        "One class must be possible.",
    )


def _of_one_shape(p: Array, q: Array) -> tuple[Array, Array]:
    if p.shape[-1] != q.shape[-1]:
        raise ValueError(
            f"p and q must have the same number of classes on the last axis; got {p.shape[-1]} and "
            f"{q.shape[-1]}. Divergences compare laws on one set of outcomes."
        )
    p, q = jnp.broadcast_arrays(p, q)
    return p, q


def zeros_held(p: Array) -> Array:
    """`p` with derivative 0 in its zero entries, by convention where the true one is infinite."""
    return jnp.where(p == 0, 0.0, p)


def inside(p: Array, q: Array) -> tuple[Array, Array, Array]:
    """Where both are positive, and both with a harmless 1/2 elsewhere."""
    # Not by `> 0`: nan goes on.
    both = (p != 0) & (q != 0)
    return both, jnp.where(both, p, 0.5), jnp.where(both, q, 0.5)
