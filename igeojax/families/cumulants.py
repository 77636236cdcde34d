"""Moments of the sufficient statistics from `psi`: generating functions, cumulants.

`log E exp(<t, T>) = psi(theta + t) - psi(theta)`: cumulants are derivatives of `psi`, and the
characteristic function is its analytic continuation to `theta + i t`.
"""

import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Complex, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily
from igeojax.families.bernoulli import Bernoulli
from igeojax.families.beta import Beta
from igeojax.families.binomial import Binomial
from igeojax.families.categorical import Categorical
from igeojax.families.covariance import precision_factor
from igeojax.families.diagonal_normal import DiagonalNormal
from igeojax.families.dirichlet import Dirichlet
from igeojax.families.exponential import Exponential
from igeojax.families.gamma import Gamma
from igeojax.families.inverse_gamma import InverseGamma
from igeojax.families.inverse_gaussian import InverseGaussian
from igeojax.families.inverse_wishart import InverseWishart
from igeojax.families.isotropic_normal import IsotropicNormal
from igeojax.families.multinomial import Multinomial
from igeojax.families.multivariate_normal import MultivariateNormal
from igeojax.families.negative_binomial import NegativeBinomial
from igeojax.families.normal import Normal
from igeojax.families.normal_inverse_gamma import NormalInverseGamma, variance_law
from igeojax.families.normal_inverse_wishart import NormalInverseWishart
from igeojax.families.normal_known_scale import NormalKnownScale
from igeojax.families.poisson import Poisson
from igeojax.families.product import Product
from igeojax.families.pushforward import Pushforward
from igeojax.families.von_mises import VonMises
from igeojax.families.von_mises_fisher import VonMisesFisher
from igeojax.families.wishart import Wishart
from igeojax.numerics.complex_bessel import log_sphere_integral
from igeojax.numerics.complex_log_gamma import complex_log_gamma
from igeojax.numerics.positive_definite import log_det, whitened
from igeojax.numerics.triangular import cholesky, solve_triangular


def cumulant_generating_function(
    family: ExponentialFamily, theta: Any, t: Any
) -> Float[Array, "*batch"]:
    """Cumulant-generating function `log E exp(<t, T>) = psi(theta + t) - psi(theta)`.

    As the mean `<t, eta>` plus a Bregman divergence, which keeps the digits of a small `t`.

    Args:
      family: the family.
      theta: natural parameter.
      t: a point of the same shapes; the argument of each statistic.

    Returns:
      Values in nats; inf where `theta + t` leaves the natural domain.

    Raises:
      TypeError: an argument is not a point of the family.
      ValueError: its shapes do not fit the family.

    References:
      [WainwrightJordan2008] proposition 3.1.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> theta = poisson.natural_from_params(rate=2.0)
      >>> value = cumulant_generating_function(poisson, theta, poisson.Point(1.0))
      >>> round(float(value), 6)  # rate (e - 1)
      3.436564
    """
    family.batch_shape(theta)
    t = jax.tree.map(lambda v, leaf: jnp.asarray(v, leaf.dtype), t, theta)
    moved = jax.tree.map(jnp.add, theta, t)
    inside = family.in_natural_domain(moved)
    leaves = zip(*map(jax.tree.leaves, (moved, theta, t)), family.point_shape, strict=True)
    safe = [(*_choose(inside, shape, (m, v), (s, 0 * s)),) for m, v, s, shape in leaves]
    moved, step = (family.from_leaves(list(part)) for part in zip(*safe, strict=True))
    slope = family.pairing(step, family.mean_from_natural(theta))
    return jnp.where(inside, slope + family.bregman(moved, theta, step=step), jnp.inf)


def _choose(inside: Array, shape: tuple[int, ...], *pairs: tuple[Array, Array]) -> list[Array]:
    mask = inside.reshape(inside.shape + (1,) * len(shape))
    return [jnp.where(mask, yes, no) for yes, no in pairs]


def moment_generating_function(
    family: ExponentialFamily, theta: Any, t: Any
) -> Float[Array, "*batch"]:
    """Moment-generating function `E exp(<t, T>)`.

    Args:
      family: the family.
      theta: natural parameter.
      t: a point of the same shapes.

    Returns:
      Positive values; inf where `theta + t` leaves the natural domain.

    Raises:
      TypeError: as `cumulant_generating_function`.
      ValueError: as `cumulant_generating_function`.

    Examples:
      >>> from igeojax import families
      >>> exponential = families.Exponential()
      >>> theta = exponential.natural_from_params(rate=2.0)
      >>> float(moment_generating_function(exponential, theta, exponential.Point(1.0)))
      2.0
    """
    return jnp.exp(cumulant_generating_function(family, theta, t))


def cumulant(
    family: ExponentialFamily, theta: Any, direction: Any, *, order: int
) -> Float[Array, "*batch"]:
    """The k-th cumulant of `<direction, T>`: the k-th derivative of `psi` along the direction.

    Costs k nested forward-mode derivatives, `2^k` evaluations of `psi` at worst.

    Args:
      family: the family.
      theta: natural parameter.
      direction: a point of the same shapes: which combination of the statistics.
      order: k, a static integer, at least 1; 1 is the mean, 2 the variance.

    Returns:
      The cumulants; nan outside the natural domain.

    Raises:
      TypeError: `theta` is not a point of the family, or `order` not an integer.
      ValueError: `order < 1`, or shapes that do not fit the family.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> theta = poisson.natural_from_params(rate=2.0)
      >>> round(float(cumulant(poisson, theta, poisson.Point(1.0), order=3)), 6)
      2.0
    """
    checks.require_count("order", order)
    family.batch_shape(theta)
    direction = jax.tree.map(lambda v, leaf: jnp.asarray(v, leaf.dtype), direction, theta)
    # From the mean map, which families give in closed form: one derivative less.
    along = lambda point: family.pairing(direction, family.mean_from_natural(point))
    for _ in range(order - 1):
        along = _derivative(along, direction)
    theta = jax.tree.map(jnp.asarray, theta)
    # The derivative of a nan that was chosen is 0.
    return jnp.where(family.in_natural_domain(theta), along(theta), jnp.nan)


def _derivative(function: Any, direction: Any) -> Any:
    return lambda point: jax.jvp(function, (point,), (direction,))[1]


def characteristic_function(
    family: ExponentialFamily, theta: Any, t: Any
) -> Complex[Array, "*batch"]:
    """Characteristic function `E exp(i <t, T>) = exp(psi(theta + i t) - psi(theta))`.

    Defined for every real `t`, also where the moment-generating function is infinite.

    Args:
      family: the family.
      theta: natural parameter.
      t: a point of the same shapes, real.

    Returns:
      Complex values of modulus at most 1; of von Mises(-Fisher) laws nan where `|t|`, the
      concentration or the dimension is too large for the quadrature of `numerics.complex_bessel`:
      beyond some 1000, or 4e4 of the latter two.

    Raises:
      TypeError: an argument is not a point of the family.
      ValueError: its shapes do not fit the family.
      NotImplementedError: the continuation of `psi` is not known: a family of your own.

    Examples:
      >>> from igeojax import families
      >>> normal = families.NormalKnownScale()
      >>> theta = normal.natural_from_params(loc=0.0)
      >>> value = characteristic_function(normal, theta, normal.Point(1.0))
      >>> round(float(value.real), 6)
      0.606531
    """
    family.batch_shape(theta)
    t = jax.tree.map(lambda v, leaf: jnp.asarray(v, leaf.dtype), t, theta)
    turned = jax.tree.map(lambda a, b: jax.lax.complex(*jnp.broadcast_arrays(a, b)), theta, t)
    return jnp.exp(_continuation(family, turned) - family.log_partition(theta))


def _continuation(family: ExponentialFamily, point: Any) -> Array:
    """`psi` at a complex point whose real part lies in the natural domain.

    Logarithms are of numbers in the right half-plane, where the principal branch is continuous;
    a multiple of `2 pi i` elsewhere drops out of the exponential.
    """
    match family:
        case Product(families=factors):
            parts = zip(factors, point, strict=True)
            return sum(_continuation(factor, part) for factor, part in parts)  # type: ignore[return-value]
        case Pushforward():
            return _continuation(family._base, family._to_base(point)) + family._constant
        case Poisson():
            return jnp.exp(point.x)
        case Exponential():
            return -jnp.log(-point.x)
        case Bernoulli():
            return _log_one_plus_exp(point.x)
        case Binomial(trials=trials):
            return trials * _log_one_plus_exp(point.x)
        case NegativeBinomial(successes=successes):
            return -successes * jnp.log(-_expm1(point.x))
        case Categorical():
            return _log_sum_exp(point.one_hot)
        case Multinomial(trials=trials):
            return trials * _log_sum_exp(point.counts)
        case Gamma():
            return complex_log_gamma(point.log_x) - point.log_x * jnp.log(-point.x)
        case InverseGamma():
            return complex_log_gamma(-point.log_x) + point.log_x * jnp.log(-point.inverse_x)
        case Beta():
            a, b = point
            return complex_log_gamma(a) + complex_log_gamma(b) - complex_log_gamma(a + b)
        case Dirichlet():
            total = complex_log_gamma(point.log_x.sum(axis=-1))
            return complex_log_gamma(point.log_x).sum(axis=-1) - total
        case InverseGaussian():
            roots = jnp.sqrt(-point.x) * jnp.sqrt(-point.inverse)
            return -2 * roots - 0.5 * jnp.log(-2 * point.inverse)
        case NormalKnownScale(scale=scale):
            return 0.5 * (scale * point.x) ** 2
        case Normal():
            return _normal(point.x**2, point.xx, 1)
        case DiagonalNormal():
            return _normal(point.x**2, point.xx, 1).sum(axis=-1)
        case IsotropicNormal(dim=dim):
            return _normal(jnp.sum(point.x**2, axis=-1), point.square, dim)
        case MultivariateNormal():
            return _multivariate_normal(point)
        case Wishart(dim=dim):
            return _wishart(point.log_det_x, point.x, dim)
        case InverseWishart(dim=dim):
            return _wishart(-point.log_det_x, point.inverse_x, dim)
        case VonMises():
            return log_sphere_integral(2, point.cos_x**2 + point.sin_x**2)
        case VonMisesFisher(dim=dim):
            return log_sphere_integral(dim, jnp.sum(point.x**2, axis=-1))
        case NormalInverseGamma():
            law = _continuation(InverseGamma(), variance_law(point))
            return law + 0.5 * jnp.log(math.pi / -point.xx_over_v)
        case NormalInverseWishart(dim=dim):
            law = _continuation(InverseWishart(dim), family._law(point))
            return law + 0.5 * dim * jnp.log(math.pi / -point.x_inverse_v_x)
    raise NotImplementedError(
        f"the characteristic function of {family} is not known here. Use samples: the mean of "
        "exp(1j * <t, T(x)>)."
    )


def _expm1(z: Array) -> Array:
    """`exp(z) - 1` of a complex number, near 0 too."""
    real, imaginary = jnp.real(z), jnp.imag(z)
    growth = jnp.exp(real)
    half = jnp.sin(0.5 * imaginary)
    return jax.lax.complex(jnp.expm1(real) - 2 * growth * half**2, growth * jnp.sin(imaginary))


def _log_one_plus_exp(z: Array) -> Array:
    large = jnp.real(z) > 0
    return jnp.where(large, z, 0) + jnp.log(1 + jnp.exp(jnp.where(large, -z, z)))


def _log_sum_exp(z: Array) -> Array:
    """With a last logit of 0."""
    top = jnp.maximum(jnp.max(jnp.real(z), axis=-1), 0.0)
    total = jnp.exp(-top) + jnp.exp(z - top[..., None]).sum(axis=-1)
    return top + jnp.log(total)


def _normal(squared: Array, second: Array, dim: int) -> Array:
    return -squared / (4 * second) + 0.5 * dim * jnp.log(math.pi / -second)


def _multivariate_normal(point: Any) -> Array:
    """Of a complex symmetric precision, whitened by the factor of its real part."""
    real = jax.tree.map(jnp.real, point)
    factor = precision_factor(real)
    angles, axes = jnp.linalg.eigh(whitened(factor, -2 * jnp.imag(point.xx)))
    white = lambda v: solve_triangular(factor, v[..., None])[..., 0]
    push = jax.lax.complex(white(real.x), white(jnp.imag(point.x)))
    push = jnp.einsum("...ij,...i->...j", axes.astype(push.dtype), push)
    scale = 1 + 1j * angles
    dim = point.x.shape[-1]
    quadratic = jnp.sum(push**2 / scale - jnp.log(scale), axis=-1)
    return 0.5 * (quadratic + dim * math.log(2 * math.pi)) - 0.5 * log_det(factor)


def _wishart(a: Array, x: Array, dim: int) -> Array:
    """`log Gamma_p(a) - a log det(-X)`, X whitened by the factor of its real part."""
    factor = cholesky(-jnp.real(x))
    angles = jnp.linalg.eigvalsh(whitened(factor, -jnp.imag(x)))
    whole = log_det(factor) + jnp.sum(jnp.log(1 + 1j * angles), axis=-1)
    gammas = sum(complex_log_gamma(a - 0.5 * j) for j in range(dim))
    return gammas + 0.25 * dim * (dim - 1) * math.log(math.pi) - a * whole


def cauchy_characteristic_function(
    t: ArrayLike, *, loc: ArrayLike = 0.0, scale: ArrayLike = 1.0
) -> Complex[Array, "*shape"]:
    """Characteristic function `exp(i loc t - scale |t|)` of the Cauchy law.

    The counter-example: no moment and no moment-generating function exists (it is infinite at every
    argument but 0), the law is in no exponential family, and yet it has a characteristic function;
    the kink at 0 says that it has no mean.

    Args:
      t: real arguments.
      loc: the median.
      scale: positive, half the distance of the quartiles.

    Returns:
      Complex values, of the broadcast shape.

    Raises:
      TypeError: an argument is not real.
      ValueError: a concrete `scale` is not positive and finite.

    Examples:
      >>> round(float(cauchy_characteristic_function(1.0).real), 6)
      0.367879
    """
    t, loc, scale = checks.floating_together(t=t, loc=loc, scale=scale)
    checks.require_positive("scale", scale)
    t, loc, scale = jnp.broadcast_arrays(t, loc, scale)
    return jnp.exp(jax.lax.complex(-scale * jnp.abs(t), loc * t))
