"""Kullback-Leibler divergences of members of one family, and sums of them."""

from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families._pairs import as_order, mixture_parts, pair_of, source_parts
from igeojax.families.base import ExponentialFamily


def kl(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Kullback-Leibler divergence `KL(p || q) = B(theta_q, theta_p)`.

    Args:
      family: the family of both laws.
      p: natural or source parameters, the law of the expectation; batch axes broadcast.
      q: natural or source parameters.

    Returns:
      Values in `[0, inf]`, in nats; 0 at equal points, nan outside the domain.

    Raises:
      TypeError: a point is not of the family.
      ValueError: shapes do not fit the family.

    References:
      [WainwrightJordan2008] section 5.2.2.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(1.0, 2.0)
      >>> round(float(kl(normal, p, q)), 6)
      0.443147
    """
    parts = source_parts(family, p, q, 1.0)
    if parts is not None:
        return parts[1]
    pair = pair_of(family, p, q)
    return family.bregman(pair.q, pair.p, step=jax.tree.map(jnp.negative, pair.step))


def reverse_kl(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Reverse Kullback-Leibler divergence `KL(q || p)`, `kl(family, q, p)`.

    With data `p` and model `q` it is the one that variational inference minimizes: it seeks a mode
    where `kl` covers all.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters, the law of the expectation.

    Returns:
      Values in `[0, inf]`, in nats.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(1.0, 2.0), normal.Params(0.0, 1.0)
      >>> round(float(reverse_kl(normal, p, q)), 6)
      0.443147
    """
    return kl(family, q, p)


def jeffreys(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Jeffreys divergence `KL(p || q) + KL(q || p)`, symmetric.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.

    Returns:
      Values in `[0, inf]`, in nats.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> p, q = poisson.Params(1.0), poisson.Params(2.0)
      >>> round(float(jeffreys(poisson, p, q)), 6)
      0.693147
    """
    return kl(family, p, q) + kl(family, q, p)


def cross_entropy(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Cross-entropy `-E_p[log q] = H(p) + KL(p || q)`.

    Args:
      family: the family of both laws.
      p: natural or source parameters, the law of the expectation.
      q: natural or source parameters.

    Returns:
      Values in nats; a differential entropy for a continuous family.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> from igeojax import families
      >>> bernoulli = families.Bernoulli()
      >>> p, q = bernoulli.Params(0.25), bernoulli.Params(0.5)
      >>> round(float(cross_entropy(bernoulli, p, q)), 6)
      0.693147
    """
    return family.entropy(p) + kl(family, p, q)


def geometric_jensen_shannon(
    family: ExponentialFamily, p: Any, q: Any, *, weight: ArrayLike = 0.5
) -> Float[Array, "*batch"]:
    """Geometric Jensen-Shannon divergence `(1-w) KL(p || g) + w KL(q || g)`, `g ~ p^(1-w) q^w`.

    The normalized geometric mixture `g` is the member of the family with natural parameter
    `(1-w) theta_p + w theta_q`, so that there is a closed form, where Jensen-Shannon has none:
    `w (1-w) (KL(p || q) + KL(q || p)) + log int p^(1-w) q^w`. Not bounded by `log 2`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.
      weight: the weight w of `q` in `[0, 1]`, a scalar; may be traced. Symmetric at 1/2. The
        derivative in the weight is not right exactly at 0 and 1: take it a little inside.

    Returns:
      Values in `[0, inf]`, in nats; 0 for equal laws and at the weights 0 and 1.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`, or a concrete weight is outside `[0, 1]`.

    References:
      [Nielsen2019] definition 2.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(2.0, 1.0)
      >>> float(geometric_jensen_shannon(normal, p, q))
      0.5
    """
    checks.require_values(
        "weight",
        checks.floating("weight", weight),
        lambda w: (w >= 0) & (w <= 1),
        "in [0, 1]",
        "It weighs the second law.",
    )
    w = as_order(weight, family, p)
    near_p, near_q, _ = mixture_parts(family, p, q, 1 - w)
    exponent = (1 - w) * near_p + w * near_q
    both = jeffreys(family, p, q)
    # The exponent is at most half of the other term: one bit is lost, near or far.
    apart = jnp.isinf(both) | jnp.isinf(exponent)
    finite = jnp.where(apart, 0.0, both), jnp.where(apart, 0.0, exponent)
    value = jnp.where(apart, jnp.inf, w * (1 - w) * finite[0] - finite[1])
    return jnp.where((w == 0) | (w == 1), 0.0, value)
