"""Coordinates of the line in which nodes lose no digits of a law.

A change of variables changes no divergence. Shares become log-odds and gamma variates logarithms in
units of a mean: there small concentrations and shapes are exponential tails, where `1 - x` rounds
and `x` underflows. Normal laws are moved to the narrower of the two, as `loc + u` rounds for a
deviation of a few eps of `loc`.
"""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.families._pairs import Pair, pair_of
from igeojax.families.base import ExponentialFamily
from igeojax.families.beta import Beta, BetaPoint
from igeojax.families.gamma import Gamma, GammaPoint
from igeojax.families.inverse_gamma import InverseGamma
from igeojax.families.log_normal import LogNormal
from igeojax.families.normal import Normal
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.pushforward import Pushforward
from igeojax.families.support import REALS
from igeojax.numerics.remainders import expm1_remainder
from igeojax.numerics.stirling import HALF_LOG_TWO_PI, stirling_remainder, trigamma


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _LogOddsBeta(Beta):
    """Log-odds `y` of a beta law: `T = (log s(y), log s(-y))`, s the logistic function, `h = 1`."""

    _support = REALS
    _observation = 0.0

    def statistics(self, x):
        y = self._data(x)
        return BetaPoint(jax.nn.log_sigmoid(y), jax.nn.log_sigmoid(-y))

    def in_support(self, x):
        return jnp.isfinite(jnp.asarray(x))

    def mean(self, theta: BetaPoint) -> Array:
        """Where the density turns, also between the flat sides of small concentrations."""
        return jnp.log1p(theta.log_x) - jnp.log1p(theta.log_1mx)

    def variance(self, theta: BetaPoint) -> Array:
        return trigamma(theta.log_x) + trigamma(theta.log_1mx)

    def _log_density(self, theta: BetaPoint, x: Array) -> Array:
        a, b, y = jnp.broadcast_arrays(*theta, x)
        total = a + b
        step = jax.nn.sigmoid(y) - a / total
        value = stirling_remainder(total) - 0.5 * jnp.log(total) - HALF_LOG_TWO_PI
        for leaf, log_x, move in zip(
            (a, b), map(jax.nn.log_sigmoid, (y, -y)), (step, -step), strict=True
        ):
            # From the difference to the mean, so that nothing of the size of `a` is left to cancel.
            share = leaf / total
            near = jnp.abs(move) < 0.5 * share
            close = jnp.log1p(jnp.where(near, move / share, 0.0))
            value = value + leaf * jnp.where(near, close, log_x - jnp.log(share))
            value = value + 0.5 * jnp.log(leaf) - stirling_remainder(leaf)
        return value


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class _LogGamma(Gamma):
    """Logarithm `y` of a gamma variate: `T = (y, exp y)`, `h = 1`."""

    _support = REALS
    _observation = 0.0

    def statistics(self, x):
        y = self._data(x)
        return GammaPoint(y, jnp.exp(y))

    def in_support(self, x):
        return jnp.isfinite(jnp.asarray(x))

    def mean(self, theta: GammaPoint) -> Array:
        """Where the density turns, also behind the flat side of a small shape."""
        return jnp.log((theta.log_x + 1) / -theta.x)

    def variance(self, theta: GammaPoint) -> Array:
        return trigamma(theta.log_x)

    def _log_density(self, theta: GammaPoint, x: Array) -> Array:
        a = theta.log_x
        deviance = a * expm1_remainder(x - jnp.log(a / -theta.x))
        return 0.5 * jnp.log(a) - deviance - HALF_LOG_TWO_PI - stirling_remainder(a)


def on_a_chart(family: ExponentialFamily, p: Any, q: Any) -> tuple[ExponentialFamily, Pair]:
    """A family of the same divergences for nodes, and the pair of points in it."""
    pair = pair_of(family, p, q)
    if isinstance(family, Normal | LogNormal | NormalKnownScale) and all(
        isinstance(point, family.Params) for point in (p, q)
    ):
        pair = pair_of(family, *_moved(p, q))
    while isinstance(family, Pushforward):
        # Signs of parameters are its only trace.
        pair = Pair(*map(family._to_base, pair))
        family = family._base
    if isinstance(family, InverseGamma):
        # Its reciprocal is gamma distributed.
        family, pair = Gamma(), Pair(*(GammaPoint(-v.log_x, v.inverse_x) for v in pair))
    if isinstance(family, Beta):
        return _LogOddsBeta(), pair
    if isinstance(family, Gamma):
        shapes, means = zip(*((v.log_x, v.log_x / -v.x) for v in pair[:2]), strict=True)
        unit = jax.lax.stop_gradient(jnp.where(shapes[0] >= shapes[1], *means))
        return _LogGamma(), Pair(*(v._replace(x=unit * v.x) for v in pair))
    return family, pair


def _moved(p: Any, q: Any) -> tuple[Any, Any]:
    """Source parameters of normal laws relative to the mean of the narrower one."""
    origin = first = jnp.asarray(p.loc)
    if hasattr(p, "scale"):
        origin = jnp.where(jnp.asarray(p.scale) <= jnp.asarray(q.scale), first, q.loc)
    origin = jax.lax.stop_gradient(origin)
    return p._replace(loc=first - origin), q._replace(loc=q.loc - origin)
