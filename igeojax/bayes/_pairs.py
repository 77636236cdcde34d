"""What a named conjugate prior is to its likelihood: one linear map of statistics.

`<theta, T> - psi(theta) = <increment(T, 1), S(phi)> + c` for the statistics S of the prior and its
observation phi, which names the member theta. So the posterior of n observations has the natural
parameter of the prior plus the increment of their sums.
"""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array

from igeojax.families.base import ExponentialFamily, require_family
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.beta import Beta, BetaPoint
from igeojax.families.binomial import Binomial
from igeojax.families.categorical import Categorical
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.dirichlet import Dirichlet, DirichletPoint
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma, GammaPoint
from igeojax.families.geometric import Geometric
from igeojax.families.laplace import Laplace
from igeojax.families.log_normal import LogNormal
from igeojax.families.multinomial import Multinomial
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.negative_binomial import NegativeBinomial
from igeojax.families.normal import Normal, NormalPoint
from igeojax.families.normal_inverse_gamma import NormalInverseGamma, NormalInverseGammaPoint
from igeojax.families.normal_inverse_wishart import (
    NormalInverseWishart,
    NormalInverseWishartPoint,
)
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.pareto import Pareto
from igeojax.families.poisson import Poisson
from igeojax.families.product import Product, ProductPoint
from igeojax.families.rayleigh import Rayleigh
from igeojax.families.weibull import Weibull

_HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class Pair(NamedTuple):
    """A likelihood and its prior.

    `prior`: the family. `increment(sums, count)`: what `count` observations whose statistics sum to
    `sums` add to its natural parameter. `natural(phi)`: the likelihood's natural parameter of an
    observation of the prior. `constant`: c of one observation.
    """

    prior: ExponentialFamily
    increment: Callable[[Any, Array], Any]
    natural: Callable[[Any], Any]
    constant: float = 0.0


def _share(trials: float, family: Any) -> Pair:
    """A probability p of each of some trials: `p^x (1-p)^(m-x)`."""
    return Pair(
        Beta(),
        lambda sums, count: BetaPoint(sums.x, trials * count - sums.x),
        lambda p: family.natural_from_params(probs=p),
    )


def _failures(successes: float, family: Any) -> Pair:
    """A probability p of success: `p^r (1-p)^x`."""
    return Pair(
        Beta(),
        lambda sums, count: BetaPoint(successes * count, sums.x),
        lambda p: family.natural_from_params(probs=p),
    )


def _shares(trials: int, family: Any) -> Pair:
    """Probabilities of classes; the statistics leave out the last."""

    def increment(sums: Any, count: Array) -> DirichletPoint:
        last = trials * count - jnp.sum(sums[0], axis=-1)
        return DirichletPoint(jnp.concatenate([sums[0], last[..., None]], axis=-1))

    return Pair(
        Dirichlet(family.num_classes), increment, lambda p: family.natural_from_params(probs=p)
    )


def _rate(family: Any, factor: float = 1.0) -> Pair:
    """`theta = -rate` and `psi = -log(factor * rate)`."""
    return Pair(
        Gamma(),
        lambda sums, count: GammaPoint(count, -sums[0]),
        lambda rate: family.Point(-rate),
        math.log(factor),
    )


def _poisson(family: Poisson) -> Pair:
    return Pair(
        Gamma(),
        lambda sums, count: GammaPoint(sums.x, -count),
        lambda rate: family.natural_from_params(rate=rate),
    )


def _known_scale(family: NormalKnownScale) -> Pair:
    precision = 1 / family.scale**2
    return Pair(
        Normal(),
        lambda sums, count: NormalPoint(precision * sums.x, -0.5 * precision * count),
        lambda loc: family.natural_from_params(loc=loc),
    )


def _normal(family: Normal | LogNormal) -> Pair:
    return Pair(
        NormalInverseGamma(),
        lambda sums, count: NormalInverseGammaPoint(
            -0.5 * count, -0.5 * sums[1], sums[0], -0.5 * count
        ),
        lambda phi: family.natural_from_params(loc=phi[..., 0], scale=jnp.sqrt(phi[..., 1])),
        -_HALF_LOG_TWO_PI,
    )


def _diagonal_normal(family: DiagonalNormal) -> Pair:
    one = _normal(Normal())

    def increment(sums: Any, count: Array) -> ProductPoint:
        parts = (NormalPoint(sums.x[..., i], sums.xx[..., i]) for i in range(family.dim))
        return ProductPoint(*(one.increment(part, count) for part in parts))

    def natural(phi: tuple[Array, ...]) -> Any:
        loc, variance = (jnp.stack([part[..., i] for part in phi], axis=-1) for i in (0, 1))
        return family.natural_from_params(loc=loc, scale=jnp.sqrt(variance))

    prior = Product((one.prior,) * family.dim)
    return Pair(prior, increment, natural, family.dim * one.constant)


def _multivariate_normal(family: MultivariateNormal) -> Pair:
    return Pair(
        NormalInverseWishart(family.dim),
        lambda sums, count: NormalInverseWishartPoint(
            -0.5 * count, -0.5 * sums.xx, sums.x, -0.5 * count
        ),
        lambda phi: family.natural_from_params(mean=phi[..., 0], covariance=phi[..., 1:]),
        -family.dim * _HALF_LOG_TWO_PI,
    )


def _product(family: Product) -> Pair:
    pairs = [pair_of(factor) for factor in family.families]

    def increment(sums: ProductPoint, count: Array) -> ProductPoint:
        parts = zip(pairs, sums, strict=True)
        return ProductPoint(*(pair.increment(part, count) for pair, part in parts))

    return Pair(
        Product(tuple(pair.prior for pair in pairs)),
        increment,
        lambda phi: ProductPoint(
            *(pair.natural(part) for pair, part in zip(pairs, phi, strict=True))
        ),
        sum(pair.constant for pair in pairs),
    )


_PAIRS: dict[type, Callable[[Any], Pair]] = {
    Bernoulli: lambda family: _share(1, family),
    Binomial: lambda family: _share(family.trials, family),
    Geometric: lambda family: _failures(1, family),
    NegativeBinomial: lambda family: _failures(family.successes, family),
    Categorical: lambda family: _shares(1, family),
    Multinomial: lambda family: _shares(family.trials, family),
    Poisson: _poisson,
    Exponential: _rate,
    Weibull: _rate,
    Pareto: _rate,
    Rayleigh: lambda family: _rate(family, 2.0),
    Laplace: lambda family: _rate(family, 0.5),
    NormalKnownScale: _known_scale,
    Normal: _normal,
    LogNormal: _normal,
    DiagonalNormal: _diagonal_normal,
    MultivariateNormal: _multivariate_normal,
    Product: _product,
}


def pair_of(family: ExponentialFamily) -> Pair:
    """The likelihood with its prior.

    Raises:
      TypeError: `family` is not a family.
      ValueError: it has no conjugate prior with a name.
    """
    require_family(family)
    if type(family) not in _PAIRS:
        raise ValueError(
            f"family must have a conjugate prior among the families; {family} has none. Use "
            "bayes.grid_posterior or bayes.laplace_approximation, or pseudo-observations as in "
            "em.mixture_prior. "
            f"Those with one: {', '.join(kind.__name__ for kind in _PAIRS)}."
        )
    return _PAIRS[type(family)](family)
