"""Divergences between two members of one exponential family, from its log-partition alone, in nats.

Points are natural parameters or source parameters (`Params`), told apart by their type. All are
made of the Bregman divergence `B` of `psi`, which families compute without cancellation:
`KL(p || q) = B(q, p)`, and with the mixture `m = a p + (1-a) q` of natural parameters
`-log int p^a q^(1-a) = a B(p, m) + (1-a) B(q, m)`, a sum of non-negative terms for `0 < a < 1`.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.safe import sqrt_at_zero


def natural(family: ExponentialFamily, point: Any) -> Any:
    """Natural parameter of a point given in natural or source coordinates.

    Args:
      family: the family.
      point: `family.Point` (returned as it is) or `family.Params`.

    Returns:
      The natural parameter.

    Raises:
      TypeError: `point` is neither.
      ValueError: its shapes do not fit the family.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> float(natural(poisson, poisson.Params(rate=1.0)).x)
      0.0
    """
    if isinstance(point, family.Params):
        return family.natural_from_params(*point)
    family.batch_shape(point)
    return point


class _Pair(NamedTuple):
    """Natural parameters of one rank, nan outside the domain, and `p - q` to all known digits."""

    p: Any
    q: Any
    step: Any


def _pair(family: ExponentialFamily, p: Any, q: Any) -> _Pair:
    points = [natural(family, p), natural(family, q)]
    batches = [family.batch_shape(point) for point in points]
    checks.require_broadcastable(p=batches[0], q=batches[1])
    rank = max(map(len, batches))
    first, second = (_prepared(family, point, rank) for point in points)
    step = jax.tree.map(jnp.subtract, first, second)
    if isinstance(p, family.Params) and isinstance(q, family.Params) and batches[0] == batches[1]:
        step = family._natural_step(p, q)
    return _Pair(first, second, step)


def _prepared(family: ExponentialFamily, point: Any, rank: int) -> Any:
    inside = family.in_natural_domain(point)
    pad = (1,) * (rank - inside.ndim)
    leaves = zip(jax.tree.leaves(point), family.point_shape, strict=True)
    return family.from_leaves(
        [
            jnp.where(_over(inside, event), leaf, jnp.nan).reshape(pad + jnp.shape(leaf))
            for leaf, event in leaves
        ]
    )


def _over(mask: Array, event: tuple[int, ...]) -> Array:
    """A batch mask with axes of length one for the event."""
    return mask.reshape(mask.shape + (1,) * len(event))


def _source_parts(
    family: ExponentialFamily, p: Any, q: Any, order: ArrayLike
) -> tuple[Array, Array, Array] | None:
    """What the family makes of two source parameters directly; None: by natural parameters."""
    if not (isinstance(p, family.Params) and isinstance(q, family.Params)):
        return None
    return family._source_parts(p, q, _order(order, family, p))


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
    parts = _source_parts(family, p, q, 1.0)
    if parts is not None:
        return parts[1]
    pair = _pair(family, p, q)
    return family.bregman(pair.q, pair.p, step=jax.tree.map(jnp.negative, pair.step))


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


def _between(u: Array, v: Array, order: Array, from_above: bool) -> Array:
    """`a u + (1-a) v`, where ends and infinities that both share stay as they are.

    Towards order 0 from above an infinite `u` still decides.
    """
    # 0 * inf, and 2 inf - inf at a class that is impossible under both, would be nan.
    shared = jnp.isinf(u) & (u == v)
    first, second = jnp.where(shared, 0.0, u), jnp.where(shared, 0.0, v)
    mixed = order * first + (1 - order) * second
    start = jnp.where(jnp.isinf(first), first, second) if from_above else second
    mixed = jnp.where(order == 1, first, jnp.where(order == 0, start, mixed))
    return jnp.where(shared, v, mixed)


def _mixture_parts(
    family: ExponentialFamily, p: Any, q: Any, order: Array, from_above: bool = False
) -> tuple[Array, Array, Array]:
    """`B(p, m)`, `B(q, m)` at `m = a p + (1-a) q`, and whether m lies in the natural domain."""
    parts = _source_parts(family, p, q, order)
    if parts is not None:
        return parts
    pair = _pair(family, p, q)
    mixed = jax.tree.map(lambda u, v: _between(u, v, order, from_above), pair.p, pair.q)
    inside = family.in_natural_domain(mixed)
    leaves = zip(*map(jax.tree.leaves, (mixed, pair.q)), family.point_shape, strict=True)
    safe = family.from_leaves([jnp.where(_over(inside, event), m, v) for m, v, event in leaves])
    # The steps from m are shares of the step between p and q, to all its digits.
    to_p = jax.tree.map(lambda d, u, m: _share(d, 1 - order, u - m), pair.step, pair.p, safe)
    to_q = jax.tree.map(lambda d, v, m: _share(d, -order, v - m), pair.step, pair.q, safe)
    return family.bregman(pair.p, safe, step=to_p), family.bregman(pair.q, safe, step=to_q), inside


def _share(step: Array, weight: Array, difference: Array) -> Array:
    """`weight * step` where the step is finite, else the plain difference."""
    finite = jnp.isfinite(step)
    return jnp.where(finite, weight * jnp.where(finite, step, 0.0), difference)


def _order(order: ArrayLike, family: ExponentialFamily, p: Any) -> Array:
    if not isinstance(p, family.Params):
        family.batch_shape(p)
    dtype = jnp.result_type(*map(jnp.result_type, jax.tree.leaves(p)))
    return jnp.asarray(order, dtype if jnp.issubdtype(dtype, jnp.floating) else float)


def alpha_divergence(
    family: ExponentialFamily, p: Any, q: Any, *, order: ArrayLike
) -> Float[Array, "*batch"]:
    """Alpha-divergence of statistical order a, `(int p^a q^(1-a) - 1) / (a (a - 1))`.

    `a = 1` is `KL(p || q)`, `a = 0` is `KL(q || p)`. Amari's alpha is `1 - 2a`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.
      order: the statistical order a, a scalar; may be traced. Values are continuous at 0 and 1; the
        derivative in the order is 0 exactly there, which is not its limit.

    Returns:
      Values in `[0, inf]`; inf where `a` outside `[0, 1]` takes the mixture out of the domain.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [Amari2016] section 3.5.2 (with alpha = 1 - 2a).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(1.0, 2.0)
      >>> round(float(alpha_divergence(normal, p, q, order=1.0)), 6)
      0.443147
    """
    a = _order(order, family, p)
    near_p, near_q, inside = _mixture_parts(family, p, q, a)
    exponent = a * near_p + (1 - a) * near_q
    # Laws without common support, or the divergent integral of a mixture outside the domain.
    far = ~inside | jnp.isinf(exponent)
    proper = (a > 0) & (a < 1)
    extreme = jnp.where(proper & ~(exponent < 0), 1 / jnp.where(proper, a * (1 - a), 1.0), jnp.inf)
    ends = (a == 0) | (a == 1)
    near_p, near_q = (jnp.where(far & ~ends, 0.0, near) for near in (near_p, near_q))
    limit = near_p / jnp.where(a == 1, 1.0, 1 - a) + near_q / jnp.where(a == 0, 1.0, a)
    limit = jnp.where(a == 1, near_q, jnp.where(a == 0, near_p, limit))
    whole = far | ends | (exponent == 0)
    exponent = jnp.where(whole, 1.0, exponent)
    shrink = jnp.where(whole, 1.0, -jnp.expm1(-exponent) / exponent)
    return jnp.where(far & ~ends, extreme, limit * shrink)


def renyi(family: ExponentialFamily, p: Any, q: Any, *, order: ArrayLike) -> Float[Array, "*batch"]:
    """Renyi divergence `log(int p^a q^(1-a)) / (a - 1)` of statistical order a.

    Non-decreasing in a; `a = 1` is `KL(p || q)`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.
      order: the statistical order a, a scalar; may be traced. Values are continuous at 0 and 1; the
        derivative in the order is 0 exactly there, which is not its limit.

    Returns:
      Values in nats; inf where `a > 1` takes the mixture out of the natural domain.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [VanErvenHarremoes2014] equation (10).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(1.0, 1.0)
      >>> float(renyi(normal, p, q, order=0.5))
      0.25
    """
    a = _order(order, family, p)
    near_p, near_q, inside = _mixture_parts(family, p, q, a, from_above=True)
    value = jnp.where(a == 1, 0.0, a * near_p / jnp.where(a == 1, 1.0, 1 - a)) + near_q
    # Outside, the integral is infinite: its log over a - 1.
    return jnp.where(inside, value, jnp.where(a > 0, jnp.inf, -jnp.inf))


def bhattacharyya(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Bhattacharyya distance `-log int sqrt(p q)`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.

    Returns:
      Values in `[0, inf]`, in nats.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [NielsenBoltz2011] section III.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> float(bhattacharyya(normal, normal.Params(0.0, 1.0), normal.Params(1.0, 1.0)))
      0.125
    """
    near_p, near_q, _ = _mixture_parts(family, p, q, _order(0.5, family, p))
    return 0.5 * (near_p + near_q)


def hellinger(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Hellinger distance `sqrt(1 - int sqrt(p q))`, a metric in `[0, 1]`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.

    Returns:
      Values in `[0, 1]`; at equal points the value and, by convention, the gradient are 0.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> float(hellinger(normal, normal.Params(0.0, 1.0), normal.Params(0.0, 1.0)))
      0.0
    """
    return sqrt_at_zero(-jnp.expm1(-bhattacharyya(family, p, q)))
