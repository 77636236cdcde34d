"""Fisher-Rao distance: the length of the shortest path in the Fisher metric.

Closed forms, from differences of source parameters so that near points keep their digits, and from
`asinh` or `asin` of half a chord instead of `arcosh` or `arccos`, which lose half of theirs.
"""

import math
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.divergences.exponential import power as exponential
from igeojax.divergences.simplex import power as simplex
from igeojax.families._pairs import natural
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.binomial import Binomial
from igeojax.families.categorical import Categorical
from igeojax.families.covariance import checked_loc_scale, checked_mean_covariance
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma
from igeojax.families.geometric import Geometric
from igeojax.families.inverse_gamma import InverseGamma
from igeojax.families.inverse_gaussian import InverseGaussian
from igeojax.families.isotropic_normal import IsotropicNormal
from igeojax.families.laplace import Laplace
from igeojax.families.log_normal import LogNormal
from igeojax.families.multinomial import Multinomial
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.negative_binomial import NegativeBinomial
from igeojax.families.normal import Normal
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.pareto import Pareto
from igeojax.families.poisson import Poisson
from igeojax.families.product import Product
from igeojax.families.rayleigh import Rayleigh
from igeojax.families.von_mises import VonMises
from igeojax.families.von_mises_fisher import VonMisesFisher
from igeojax.families.weibull import Weibull
from igeojax.geometry.numerical_distance import numerical_distance
from igeojax.numerics.angles import unit_angle
from igeojax.numerics.bessel_ratio import vmf_mean_length
from igeojax.numerics.positive_definite import whitened
from igeojax.numerics.remainders import log_ratio
from igeojax.numerics.rows import norm_at_zero
from igeojax.numerics.safe import abs_at_zero, sqrt_at_zero
from igeojax.numerics.symmetric import change_log_norm
from igeojax.numerics.triangular import cholesky, solve_triangular


def fisher_rao_distance(
    family: ExponentialFamily, p: Any, q: Any, *, fixed: str | None = None
) -> Float[Array, "*batch"]:
    """Fisher-Rao distance `min int sqrt(g(dot theta, dot theta)) dt` of two members of a family.

    The Fisher metric without further factor, so `d^2 / 2` is the second order of the divergence.
    Closed forms: normal laws are hyperbolic half-planes (also diagonal and isotropic ones,
    log-normal and inverse Gaussian laws), classes are a piece of a sphere, one-parameter families
    are lines, products take the root of the sum of squares. All others by `numerical_distance`,
    which also tells its error; matrices of up to eight rows.

    Args:
      family: the family.
      p: natural or source parameters; source parameters keep the digits of near points.
      q: natural or source parameters.
      fixed: name of a source parameter that both share: the distance within the laws that share
        it, which is longer than that in the whole family. Its value is taken from p.

    Returns:
      Distances over the broadcast batch axes; 0 with derivative 0 where the points are equal (for
      second derivatives of its square there use the Fisher matrix); nan where a point is outside
      the domain, or the numerical distance was not found.

    Raises:
      NotImplementedError: a statistic is a matrix of more than eight rows; `fixed` may have a form.
      TypeError: an argument is not a point of the family.
      ValueError: shapes do not fit, an unknown `fixed`, or points that do not share it.

    References:
      [AtkinsonMitchell1981]; [Skovgaard1984] (covariances).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(0.0, jnp.e)
      >>> round(float(fisher_rao_distance(normal, p, q)), 6)  # sqrt 2
      1.414214
    """
    if isinstance(family, Product) and fixed is None:
        for point in (p, q):
            natural(family, point)
        factors = zip(family.families, p, q, strict=True)
        parts = [fisher_rao_distance(factor, *pair) for factor, *pair in factors]
        return norm_at_zero(jnp.stack(jnp.broadcast_arrays(*parts), axis=-1))
    require_family(family)
    form = _CLOSED_FORMS.get((type(family), fixed))
    if form is None:
        options = [name for kind, name in _CLOSED_FORMS if kind is type(family) and name]
        if fixed is not None:
            names = f"one of {options}" if options else "which has none: leave it out"
            raise ValueError(
                f"fixed must name a source parameter with a closed form for {family}, {names}; got "
                f"{fixed!r}."
            )
        found = numerical_distance(family, p, q)
        return jnp.where(found.converged, found.value, jnp.nan)
    value = form(family, p, q)
    if not (isinstance(p, family.Point) and isinstance(q, family.Point)):
        return value
    # Fused multiply-adds may leave a rounding between source parameters of equal points.
    return jnp.where(_coincide(family, p, q) & ~jnp.isnan(value), 0.0, value)


def _coincide(family: ExponentialFamily, p: Any, q: Any) -> Array:
    """Whether two natural parameters are equal, over the broadcast batch axes."""
    batches = [family.batch_shape(point) for point in (p, q)]
    rank = max(map(len, batches))
    pads = [(1,) * (rank - len(batch)) for batch in batches]
    equal = jnp.asarray(True).reshape((1,) * rank)
    leaves = zip(jax.tree.leaves(p), jax.tree.leaves(q), family.point_shape, strict=True)
    for a, b, shape in leaves:
        one, two = (jnp.reshape(v, pad + jnp.shape(v)) for v, pad in zip((a, b), pads, strict=True))
        equal = equal & (one == two).all(axis=tuple(range(-len(shape), 0)))
    return equal


def _sources(family: ExponentialFamily, p: Any, q: Any) -> list[Any]:
    """Source parameters of both, with batch axes of one rank; nan outside the domain."""
    pairs = [_source(family, point) for point in (p, q)]
    checks.require_broadcastable(p=pairs[0][1], q=pairs[1][1])
    rank = max(len(batch) for _, batch in pairs)

    def padded(point: Any, batch: tuple[int, ...]) -> Any:
        pad = (1,) * (rank - len(batch))
        return jax.tree.map(lambda leaf: leaf.reshape(pad + leaf.shape), point)

    return [padded(*pair) for pair in pairs]


def _source(family: ExponentialFamily, point: Any) -> tuple[Any, tuple[int, ...]]:
    """Source parameters of a point and their batch shape."""
    if isinstance(point, family.Params):
        # Without natural parameters, whose inverse scale overflows where the distance does not.
        if isinstance(family, Normal | LogNormal | DiagonalNormal):
            loc, scale = checked_loc_scale(point[0], point[1])
            return type(point)(loc, scale), loc.shape[: loc.ndim - len(family.event_shape)]
        if isinstance(family, MultivariateNormal):
            mean, covariance = checked_mean_covariance(point[0], point[1], family.dim)
            return type(point)(mean, covariance), mean.shape[:-1]
    theta = natural(family, point)
    batch, derived = family.batch_shape(theta), family.params_from_natural(theta)
    params = point if isinstance(point, family.Params) else derived
    inside = family.in_natural_domain(theta)

    def prepared(leaf: Any, like: Array) -> Array:
        mask = inside.reshape(batch + (1,) * (like.ndim - len(batch)))
        return jnp.where(mask, jnp.broadcast_to(jnp.asarray(leaf, like.dtype), like.shape), jnp.nan)

    return jax.tree.map(prepared, params, derived), batch


def _half_plane(push: Array, rise: Array, height_p: Array, height_q: Array) -> Array:
    """Hyperbolic distance of half-plane points, `push` apart sideways and `rise` in height."""
    chord = norm_at_zero(jnp.stack(jnp.broadcast_arrays(push, rise), axis=-1))
    height = jnp.sqrt(height_p) * jnp.sqrt(height_q)
    # Far points: asinh(r) = log(2 r), from logarithms, for the ratio may overflow.
    far = 0.5 * chord > jnp.finfo(chord.dtype).eps ** -0.5 * height
    logs = jnp.log(jnp.where(far, chord, 1.0)) - 0.5 * (jnp.log(height_p) + jnp.log(height_q))
    ratio = 0.5 * jnp.where(far, 0.0, chord) / jnp.where(far, 1.0, height)
    return 2 * jnp.where(far, logs, jnp.arcsinh(ratio))


def _normal(family: ExponentialFamily, p: Any, q: Any) -> Array:
    first, second = _sources(family, p, q)
    push, rise = math.sqrt(0.5) * (first.loc - second.loc), first.scale - second.scale
    return math.sqrt(2) * _half_plane(push, rise, first.scale, second.scale)


def _diagonal_normal(family: ExponentialFamily, p: Any, q: Any) -> Array:
    return norm_at_zero(_normal(family, p, q))


def _isotropic_normal(family: Any, p: Any, q: Any) -> Array:
    first, second = _sources(family, p, q)
    size = math.sqrt(2 * family.dim)
    push, rise = norm_at_zero(first.loc - second.loc) / size, first.scale - second.scale
    return size * _half_plane(push, rise, first.scale, second.scale)


def _inverse_gaussian(family: ExponentialFamily, p: Any, q: Any) -> Array:
    # The metric lam/m^3 dm^2 + dlam^2/(2 lam^2) is that of a normal law of mean 2/sqrt(m) and
    # standard deviation 1/sqrt(lam); the half with positive means is geodesically convex.
    first, second = _sources(family, p, q)
    push = math.sqrt(2) * _inverse_root_step(first.mean, second.mean)
    rise = _inverse_root_step(first.shape, second.shape)
    return math.sqrt(2) * _half_plane(push, rise, first.shape**-0.5, second.shape**-0.5)


def _inverse_root_step(a: Array, b: Array) -> Array:
    """`1/sqrt(a) - 1/sqrt(b)` from the difference."""
    roots = jnp.sqrt(a), jnp.sqrt(b)
    return (b - a) / (roots[0] * roots[1]) / (roots[0] + roots[1])


def _known_scale(family: Any, p: Any, q: Any) -> Array:
    first, second = _sources(family, p, q)
    return abs_at_zero(first.loc - second.loc) / family.scale


def _normal_same_scale(family: ExponentialFamily, p: Any, q: Any) -> Array:
    first, second = _shared(family, p, q, "scale")
    return abs_at_zero(first.loc - second.loc) / first.scale


def _logarithmic(
    name: str, size: Callable[[Any], Any] = lambda _: 1.0, fixed: str | None = None
) -> Callable[..., Array]:
    """A line in the logarithm of one source parameter, stretched by `size(params)`."""

    def distance(family: ExponentialFamily, p: Any, q: Any) -> Array:
        first, second = _sources(family, p, q) if fixed is None else _shared(family, p, q, fixed)
        ratio = log_ratio(getattr(first, name), getattr(second, name))
        return size(first) * abs_at_zero(ratio)

    return distance


def _weibull(family: Any, p: Any, q: Any) -> Array:
    return family.shape * _logarithmic("scale")(family, p, q)


def _two_classes(family: Any, p: Any, q: Any) -> Array:
    one = Bernoulli()
    return _arc(family, exponential.hellinger(one, *_renamed(family, one, p, q)))


def _classes(family: Any, p: Any, q: Any) -> Array:
    if isinstance(p, family.Params) and isinstance(q, family.Params):
        return _arc(family, simplex.hellinger(p.probs, q.probs))  # the last class may be impossible
    one = Categorical(family.num_classes)
    return _arc(family, exponential.hellinger(one, *_renamed(family, one, p, q)))


def _arc(family: Any, half_chord: Array) -> Array:
    """`2 sqrt(n p)` lies on a sphere; Hellinger's distance is half a chord, times `sqrt 2`."""
    trials = getattr(family, "trials", 1)
    return 4 * math.sqrt(trials) * jnp.arcsin(math.sqrt(0.5) * half_chord)


def _renamed(family: Any, one: ExponentialFamily, p: Any, q: Any) -> list[Any]:
    """The same coordinates as points of the family of a single trial."""
    for point in (p, q):
        natural(family, point)
    kinds = {family.Point: one.Point, family.Params: one.Params}
    return [kinds[type(point)](*point) for point in (p, q)]


def _poisson(family: ExponentialFamily, p: Any, q: Any) -> Array:
    first, second = _sources(family, p, q)
    total = sqrt_at_zero(first.rate) + sqrt_at_zero(second.rate)
    return 2 * abs_at_zero(first.rate - second.rate) / jnp.where(total == 0, 1.0, total)


def _negative_binomial(family: Any, p: Any, q: Any) -> Array:
    # The difference of artanh sqrt(1 - p), by its hyperbolic sine.
    first, second = (params.probs for params in _sources(family, p, q))
    failures = sqrt_at_zero(1 - first) + sqrt_at_zero(1 - second)
    spread = jnp.where(failures == 0, 1.0, failures) * jnp.sqrt(first) * jnp.sqrt(second)
    successes = getattr(family, "successes", 1)
    return 2 * math.sqrt(successes) * jnp.arcsinh(abs_at_zero(second - first) / spread)


def _same_concentration(family: Any, p: Any, q: Any) -> Array:
    first, second = _shared(family, p, q, "concentration")
    u, v = first.mean_direction, second.mean_direction
    angle = unit_angle(u, v)
    kappa = first.concentration
    return sqrt_at_zero(kappa * vmf_mean_length(family.dim, kappa)) * angle


def _same_concentration_of_angles(family: Any, p: Any, q: Any) -> Array:
    first, second = _shared(family, p, q, "concentration")
    half = 0.5 * (first.loc - second.loc)
    angle = 2 * jnp.arctan2(abs_at_zero(jnp.sin(half)), jnp.abs(jnp.cos(half)))
    kappa = first.concentration
    return sqrt_at_zero(kappa * vmf_mean_length(2, kappa)) * angle


def _same_covariance(family: ExponentialFamily, p: Any, q: Any) -> Array:
    first, second = _shared(family, p, q, "covariance")
    factor, step = cholesky(first.covariance), first.mean - second.mean
    factor, step = _broadcast_batch(factor, step[..., None])
    return norm_at_zero(solve_triangular(factor, step)[..., 0])


def _same_mean(family: ExponentialFamily, p: Any, q: Any) -> Array:
    first, second = _shared(family, p, q, "mean")
    factor, other = _broadcast_batch(cholesky(first.covariance), second.covariance)
    step = second.covariance - first.covariance
    change = whitened(factor, jnp.broadcast_to(step, factor.shape))
    # Where the second covariance is singular to rounding an eigenvalue may fall below 0: nan.
    value = change_log_norm(change, whitened(factor, other))
    definite = jnp.isfinite(cholesky(second.covariance)).all(axis=(-2, -1))
    return jnp.where(definite, math.sqrt(0.5) * value, jnp.nan)


def _broadcast_batch(first: Array, second: Array) -> tuple[Array, Array]:
    batch = jnp.broadcast_shapes(first.shape[:-2], second.shape[:-2])
    return tuple(jnp.broadcast_to(m, batch + m.shape[-2:]) for m in (first, second))  # type: ignore[return-value]


def _shared(family: ExponentialFamily, p: Any, q: Any, name: str) -> list[Any]:
    """Source parameters of two laws that share one of them.

    Raises:
      ValueError: concrete values of it differ by more than rounding of natural coordinates.
    """
    first, second = _sources(family, p, q)
    one, two = (checks.concrete(getattr(params, name)) for params in (first, second))
    if one is not None and two is not None:
        unit = _unit(first, name)
        apart = np.abs(one - two) > np.sqrt(np.finfo(one.dtype).eps) * (np.abs(one) + unit)
        if apart.any():
            gap = np.max(np.abs(one - two), initial=0.0)
            raise ValueError(
                f"with fixed={name!r} both laws must share it; got values {gap:.3g} apart. Leave "
                "out `fixed` for the distance in the whole family."
            )
    return [first, second]


def _unit(params: Any, name: str) -> Any:
    """What a difference of a location is measured by, which may itself be 0; other parameters not.

    Arrays of numpy, or 0 where there are none to read.
    """
    if name == "loc":
        scale = checks.concrete(params.scale)
        return 0.0 if scale is None else scale
    if name == "mean":
        covariance = checks.concrete(params.covariance)
        return 0.0 if covariance is None else np.sqrt(np.diagonal(covariance, 0, -2, -1))
    return 0.0


def _root_of_shape(params: Any) -> Array:
    return jnp.sqrt(params.shape)


_CLOSED_FORMS: dict[tuple[type, str | None], Callable[..., Array]] = {
    (Bernoulli, None): _two_classes,
    (Binomial, None): _two_classes,
    (Categorical, None): _classes,
    (Multinomial, None): _classes,
    (Poisson, None): _poisson,
    (Geometric, None): _negative_binomial,
    (NegativeBinomial, None): _negative_binomial,
    (Exponential, None): _logarithmic("rate"),
    (Laplace, None): _logarithmic("scale"),
    (Rayleigh, None): _logarithmic("scale", lambda _: 2.0),
    (Weibull, None): _weibull,
    (Pareto, None): _logarithmic("shape"),
    (Gamma, "shape"): _logarithmic("rate", _root_of_shape, "shape"),
    (InverseGamma, "shape"): _logarithmic("scale", _root_of_shape, "shape"),
    (Normal, None): _normal,
    (Normal, "scale"): _normal_same_scale,
    (Normal, "loc"): _logarithmic("scale", lambda _: math.sqrt(2), "loc"),
    (LogNormal, None): _normal,
    (NormalKnownScale, None): _known_scale,
    (DiagonalNormal, None): _diagonal_normal,
    (IsotropicNormal, None): _isotropic_normal,
    (InverseGaussian, None): _inverse_gaussian,
    (MultivariateNormal, "covariance"): _same_covariance,
    (MultivariateNormal, "mean"): _same_mean,
    (VonMises, "concentration"): _same_concentration_of_angles,
    (VonMisesFisher, "concentration"): _same_concentration,
}
