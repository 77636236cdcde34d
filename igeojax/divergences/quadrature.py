"""Divergences of two members of a family that have no closed form, by sums and quadrature, in nats.

Sums over all observations are exact where they are finitely many (`family.outcomes`: vectors and
products too); over counts they take a fixed number of terms around both means. For densities on an
interval, in a chart in which they lose no digits, the integral is broken at the locations of both
laws and where their densities cross; nodes are dense at every break, so that laws of very different
scale are resolved alike. Nodes are constants of the derivative: it is that of the integrand.

What is integrated is made of `d = log p - log q`, in natural parameters
`<theta_p - theta_q, T(x) - eta_q> - B(p, q)` with the Bregman divergence B, from differences that
keep their digits: near laws lose none.

The same nodes must give both laws the mass one within `eps^(5/8)`, 2e-10 or 5e-5 in float32:
elsewhere the value is nan, not wrong. Other families off the line (vectors, products) have none:
see `montecarlo`.
"""

import functools
import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.divergences._charts import on_a_chart
from igeojax.divergences._generators import (
    absolute_tilt,
    coin_gap,
    generator_terms,
    require_function,
)
from igeojax.divergences._nodes import Nodes, integers_around, nodes_between
from igeojax.families._pairs import Pair
from igeojax.families.base import MOST_OUTCOMES, ExponentialFamily
from igeojax.families.support import Support

_HALVINGS = {8: 55, 4: 26}
"""Steps from a gap between nodes down to rounding, by the bytes of the dtype."""


class _Densities(NamedTuple):
    """Logs of `p w` and `q w` at the nodes x of weight w, and of `p / q` to all its digits."""

    log_p: Array
    log_q: Array
    log_ratio: Array


def jensen_shannon(
    family: ExponentialFamily, p: Any, q: Any, *, terms: int = 4096
) -> Float[Array, "*batch"]:
    """Jensen-Shannon divergence `KL(p || m)/2 + KL(q || m)/2`, `m = (p + q)/2`.

    Symmetric and at most `log 2`; its square root is a metric. Costs two log-densities at each
    node: as many as there are observations, `terms` for counts, some 9000 on an interval (3000 in
    float32), times the batch.

    Args:
      family: the family of both laws; one with a `support`, or with `outcomes`.
      p: natural or source parameters; batch axes broadcast.
      q: natural or source parameters.
      terms: number of counts that are summed, shared by windows around both means, for families on
        all counts.

    Returns:
      Values in `[0, log 2]`, in nats; nan where the nodes miss more than `eps^(5/8)` of the mass
      of a law (counts: raise `terms`), and outside the domain.

    Raises:
      NotImplementedError: observations of the family neither lie on a line nor are at most 10^6.
      TypeError: a point is not of the family, or `terms` not an integer.
      ValueError: shapes do not fit the family, or `terms < 1`.

    References:
      [Lin1991] equation (4.1) with equal weights.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(1e4, 1.0)
      >>> round(float(jensen_shannon(normal, p, q)), 6)  # log 2
      0.693147
    """
    laws = _densities(family, p, q, terms, "jensen_shannon")
    weight = 0.5 * (_mass(laws.log_p) + _mass(laws.log_q))
    value = jnp.sum(weight * coin_gap(laws.log_ratio), axis=0)
    return _known(value, laws, math.log(2.0))


def total_variation(
    family: ExponentialFamily, p: Any, q: Any, *, terms: int = 4096
) -> Float[Array, "*batch"]:
    """Total variation `int |p - q| / 2`, a metric in `[0, 1]`.

    Costs as `jensen_shannon`.

    Args:
      family: the family of both laws; one with a `support`, or with `outcomes`.
      p: natural or source parameters; batch axes broadcast.
      q: natural or source parameters.
      terms: number of counts that are summed, shared by windows around both means, for families on
        all counts.

    Returns:
      Values in `[0, 1]`; nan as for `jensen_shannon`. At equal points the gradient is 0 by
      convention.

    Raises:
      NotImplementedError: as `jensen_shannon`.
      TypeError: as `jensen_shannon`.
      ValueError: as `jensen_shannon`.

    References:
      [LieseVajda2006] section II.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(-1.0, 1.0), normal.Params(1.0, 1.0)
      >>> round(float(total_variation(normal, p, q)), 6)  # 2 Phi(1) - 1
      0.682689
    """
    laws = _densities(family, p, q, terms, "total_variation")
    weight = 0.5 * (_mass(laws.log_p) + _mass(laws.log_q))
    return _known(jnp.sum(weight * absolute_tilt(laws.log_ratio), axis=0), laws, 1.0)


def f_divergence(
    family: ExponentialFamily,
    p: Any,
    q: Any,
    generator: Callable[[Array], Array],
    *,
    slope_at_infinity: ArrayLike = jnp.inf,
    terms: int = 4096,
) -> Float[Array, "*batch"]:
    """f-divergence `int q f(p/q)` of a convex generator with `f(1) = 0`.

    A generator with its least value at 1, `t log t - t + 1` rather than `t log t`, keeps more
    digits for near laws: none of its terms is negative. A kink at 1 is resolved, others are not.
    Costs as `jensen_shannon`.

    Args:
      family: the family of both laws; one with a `support`, or with `outcomes`.
      p: natural or source parameters; batch axes broadcast.
      q: natural or source parameters.
      generator: `f`, elementwise on `[0, inf)`, differentiable at the ratios that occur. Ratios
        beyond the range of the dtype count as its ends.
      slope_at_infinity: `lim f(t)/t`, what an observation that is impossible under `q` costs per
        unit of `p`.
      terms: number of counts that are summed, shared by windows around both means, for families on
        all counts.

    Returns:
      Values in `[0, inf]`; nan as for `jensen_shannon`. An integral that diverges comes back as a
      large number: nothing shows that.

    Raises:
      NotImplementedError: as `jensen_shannon`.
      TypeError: as `jensen_shannon`, or `generator` is not callable.
      ValueError: as `jensen_shannon`.

    References:
      [LieseVajda2006] definition 1.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> p, q = poisson.Params(2.0), poisson.Params(1.0)
      >>> value = f_divergence(poisson, p, q, lambda t: (t - 1) ** 2)  # chi-square
      >>> round(float(value), 6)  # exp((2 - 1)^2 / 1) - 1
      1.718282
    """
    require_function("generator", generator, "Pass f itself, as in lambda t: (t - 1) ** 2.")
    laws = _densities(family, p, q, terms, "f_divergence")
    of_q, of_p = generator_terms(generator, laws.log_ratio, jnp.asarray(slope_at_infinity))
    total = _times(_mass(laws.log_q), of_q) + _times(_mass(laws.log_p), of_p)
    return _known(jnp.sum(total, axis=0), laws, math.inf)


def _times(mass: Array, value: Array) -> Array:
    """Product in which a mass 0 stays 0, also beside an infinite value."""
    present = mass > 0
    return jnp.where(present, jnp.where(present, mass, 1.0) * value, 0.0)


def _mass(log_mass: Array) -> Array:
    present = log_mass > -jnp.inf
    return jnp.where(present, jnp.exp(jnp.where(present, log_mass, 0.0)), 0.0)


def _known(value: Array, laws: _Densities, most: float) -> Array:
    """The value in `[0, most]` where the nodes hold the mass of both laws, else nan."""
    tolerance = jnp.finfo(value.dtype).eps ** 0.625
    held = [jnp.abs(jnp.sum(jnp.exp(v), axis=0) - 1) <= tolerance for v in laws[:2]]
    # Rounding that goes beyond the ends is taken off as a constant: the derivative stays.
    fixed = jax.lax.stop_gradient(value)
    finite = jnp.isfinite(fixed)
    beyond = jnp.where(finite, fixed - jnp.clip(fixed, 0.0, most), 0.0)
    return jnp.where(held[0] & held[1], value - beyond, jnp.nan)


def _densities(family: ExponentialFamily, p: Any, q: Any, terms: int, name: str) -> _Densities:
    """Both laws at the nodes, on axis 0; `name` is that of the divergence."""
    checks.require_count("terms", terms)
    given = family
    family, pair = on_a_chart(family, p, q)
    outcomes, support = family.outcomes, family.support
    if outcomes is not None:
        return _at_outcomes(family, pair, outcomes)
    if support is None:
        generator = "generator, " if name == "f_divergence" else ""
        raise NotImplementedError(
            f"{given} has no support on a line to integrate over, nor a list of at most "
            f"{MOST_OUTCOMES} outcomes to sum over. Estimate the divergence "
            "from samples, with natural parameters p and q and keys k and l: "
            f"divergences.montecarlo.{name}(lambda x: family.log_density(p, x), "
            f"lambda x: family.log_density(q, x), {generator}"
            "family.sample(k, p, (4096,)), family.sample(l, q, (4096,)))"
        )
    log_laws = functools.partial(_log_laws, family, pair)
    if support.integers:
        return log_laws(_integers(family, pair, support, terms))
    frozen = jax.lax.stop_gradient(pair)
    return log_laws(jax.lax.stop_gradient(_interval(family, frozen, support)))


def _integers(family: ExponentialFamily, pair: Pair, support: Support, terms: int) -> Nodes:
    dtype = jax.tree.leaves(pair.p)[0].dtype
    laws = jax.lax.stop_gradient(pair[:2])
    means = jnp.stack(jnp.broadcast_arrays(*map(family.mean, laws)))
    deviations = jnp.sqrt(jnp.stack(jnp.broadcast_arrays(*map(family.variance, laws))))
    x = integers_around(means, deviations, terms) + int(support.low)
    return Nodes(x, jnp.zeros_like(x, dtype))


def _at_outcomes(family: ExponentialFamily, pair: Pair, outcomes: Any) -> _Densities:
    """Both laws at each of finitely many observations."""
    batch = (1,) * len(family.batch_shape(pair.p))
    x = jax.tree.map(lambda v: jnp.asarray(v.reshape(v.shape[:1] + batch + v.shape[1:])), outcomes)
    return _Densities(*jnp.broadcast_arrays(*_log_densities(family, pair, x)))


def _log_laws(family: ExponentialFamily, pair: Pair, nodes: Nodes) -> _Densities:
    support: Any = family.support
    x = nodes.x
    inside = family.in_support(x)
    if not support.integers:
        # A node that rounds to an end, where a density may be infinite, has no weight to speak of.
        inside = inside & (x > support.low) & (x < support.high)
    x = jnp.where(inside, x, jnp.asarray(family._inside, x.dtype))
    log_p, log_q, log_ratio = _log_densities(family, pair, x)
    weigh = lambda v: jnp.where(inside, v + nodes.log_weight, -jnp.inf)
    log_p, log_q, log_ratio = jnp.broadcast_arrays(
        weigh(log_p), weigh(log_q), jnp.where(inside, log_ratio, 0.0)
    )
    return _Densities(log_p, log_q, log_ratio)


def _log_densities(family: ExponentialFamily, pair: Pair, x: Any) -> tuple[Array, Array, Array]:
    log_p, log_q = family.log_density(pair.p, x), family.log_density(pair.q, x)
    neither = (log_p == -jnp.inf) & (log_q == -jnp.inf)
    direct = log_p - jnp.where(neither, 0.0, log_q)
    return log_p, log_q, jnp.where(neither, 0.0, _stepped(family, pair, x, log_p, log_q, direct))


def _stepped(
    family: ExponentialFamily, pair: Pair, x: Any, log_p: Array, log_q: Array, direct: Array
) -> Array:
    """`log p - log q` from the step of the parameters, where that has the smaller rounding."""
    leaves = zip(*map(jax.tree.leaves, pair), family.point_shape, strict=True)
    finite: Any = True
    for one, other, step, event in leaves:
        axes = tuple(range(-len(event), 0))
        finite = finite & (jnp.isfinite(one) & jnp.isfinite(other) & jnp.isfinite(step)).all(axes)
    keep = lambda leaf, event, other: jnp.where(
        finite.reshape(finite.shape + (1,) * len(event)), leaf, other
    )
    shapes = family.point_shape
    lists = [jax.tree.leaves(point) for point in pair]
    steps = [keep(d, event, 0.0) for d, event in zip(lists[2], shapes, strict=True)]
    first = [keep(u, event, v) for u, v, event in zip(*lists[:2], shapes, strict=True)]
    excess = family.bregman(family.from_leaves(first), pair.q, step=family.from_leaves(steps))[None]
    value, rounding = -excess, jax.lax.stop_gradient(excess)
    means = jax.tree.leaves(family.mean_from_natural(pair.q))
    statistics = [leaf.astype(excess.dtype) for leaf in jax.tree.leaves(family.statistics(x))]
    for step, statistic, mean, event in zip(steps, statistics, means, shapes, strict=True):
        axes = tuple(range(-len(event), 0))
        value = value + jnp.sum(step[None] * (statistic - mean[None]), axis=axes)
        size = jnp.abs(step[None]) * (jnp.abs(statistic) + jnp.abs(mean[None]))
        rounding = rounding + jax.lax.stop_gradient(jnp.sum(size, axis=axes))
    better = finite[None] & jnp.isfinite(value) & (rounding < jnp.abs(log_p) + jnp.abs(log_q))
    return jnp.where(better, value, direct)


def _interval(family: ExponentialFamily, pair: Pair, support: Support) -> Nodes:
    """Nodes broken at the locations of both laws, and at their outermost crossings."""
    places = [_location(family, theta, support) for theta in pair[:2]]
    locations, scales = (jnp.stack(jnp.broadcast_arrays(*v)) for v in zip(*places, strict=True))
    locations, scale = jnp.sort(locations, axis=0), jnp.max(scales, axis=0)
    grid = nodes_between(support, locations, scale)
    crossings = _crossings(family, pair, grid, locations)
    breaks = jnp.sort(jnp.concatenate([locations, crossings]), axis=0)
    nodes = nodes_between(support, breaks, scale)
    # Where neither law has any mass statistics overflow: derivatives would be 0 * inf.
    laws = _log_laws(family, pair, nodes)
    empty = jnp.maximum(laws.log_p, laws.log_q) < jnp.log(jnp.finfo(scale.dtype).tiny)
    return Nodes(
        jnp.where(empty, locations[:1], nodes.x), jnp.where(empty, -jnp.inf, nodes.log_weight)
    )


def _location(family: ExponentialFamily, theta: Any, support: Support) -> tuple[Array, Array]:
    """Mean and deviation; where they are infinite the mode, and its distance from the end."""
    mean, variance = family.mean(theta), family.variance(theta)
    location = jnp.where(jnp.isfinite(mean), mean, family.mode(theta))
    location = jnp.clip(location, support.low, support.high)
    spread = jnp.where((variance > 0) & (variance < jnp.inf), jnp.sqrt(variance), 0.0)
    return location, jnp.where(spread > 0, spread, jnp.abs(location - support.low))


def _crossings(family: ExponentialFamily, pair: Pair, grid: Nodes, default: Array) -> Array:
    """The outermost points where the densities cross, shape `(2, *batch)`, sorted."""
    above = lambda nodes: _log_laws(family, pair, nodes).log_ratio > 0
    laws = _log_laws(family, pair, grid)
    seen = jnp.maximum(laws.log_p, laws.log_q) > jnp.log(jnp.finfo(grid.x.dtype).tiny)
    found = laws.log_ratio > 0
    change = (found[:-1] != found[1:]) & seen[:-1] & seen[1:]
    last = change.shape[0] - 1 - jnp.argmax(change[::-1], axis=0)
    index = jnp.stack([jnp.argmax(change, axis=0), last])
    low, high = (jnp.take_along_axis(grid.x, index + shift, axis=0) for shift in (0, 1))
    side = jnp.take_along_axis(found, index, axis=0)

    def halve(_: Array, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        low, high = ends
        middle = low + 0.5 * (high - low)
        same = above(Nodes(middle, jnp.zeros_like(middle))) == side
        return jnp.where(same, middle, low), jnp.where(same, high, middle)

    low, high = jax.lax.fori_loop(0, _HALVINGS[low.dtype.itemsize], halve, (low, high))
    return jnp.where(change.any(axis=0), low, default)
