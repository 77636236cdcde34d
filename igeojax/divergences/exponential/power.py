"""Divergences made of `int p^a q^(1-a)`: alpha, Renyi, Hellinger, Bhattacharyya, chi-square."""

from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.families._pairs import as_order, mixture_parts
from igeojax.families.base import ExponentialFamily
from igeojax.numerics.safe import sqrt_at_zero


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
        derivative in the order is not right exactly there: take it a little inside.

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
    a = as_order(order, family, p)
    near_p, near_q, inside = mixture_parts(family, p, q, a)
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
    return jnp.where(jnp.isnan(a), jnp.nan, jnp.where(far & ~ends, extreme, limit * shrink))


def amari_alpha_divergence(
    family: ExponentialFamily, p: Any, q: Any, *, alpha: ArrayLike
) -> Float[Array, "*batch"]:
    """Amari's alpha-divergence `4/(1 - al^2) (1 - int p^((1-al)/2) q^((1+al)/2))`.

    The same as `alpha_divergence` of order `(1 - al) / 2`: `al = -1` is `KL(p || q)`, `al = 1` is
    `KL(q || p)`, `al = 0` is symmetric.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      Values in `[0, inf]`; inf where the mixture leaves the natural domain.

    Raises:
      TypeError: as `kl`, or `alpha` is not real.
      ValueError: as `kl`.

    References:
      [Amari2016] section 3.5.2.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(0.0, 1.0), normal.Params(1.0, 2.0)
      >>> round(float(amari_alpha_divergence(normal, p, q, alpha=-1.0)), 6)
      0.443147
    """
    return alpha_divergence(family, p, q, order=0.5 * (1 - checks.floating("alpha", alpha)))


def chi_square(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Pearson's chi-square divergence `int (p - q)^2 / q = int p^2 / q - 1`.

    Twice the alpha-divergence of order 2.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters, the law in the denominator.

    Returns:
      Values in `[0, inf]`; inf where `2 theta_p - theta_q` is outside the natural domain.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    References:
      [LieseVajda2006] section II.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> p, q = normal.Params(1.0, 1.0), normal.Params(0.0, 1.0)
      >>> round(float(chi_square(normal, p, q)), 6)  # exp(1) - 1
      1.718282
    """
    return 2 * alpha_divergence(family, p, q, order=2.0)


def neyman_chi_square(family: ExponentialFamily, p: Any, q: Any) -> Float[Array, "*batch"]:
    """Neyman's chi-square divergence `int (p - q)^2 / p`: `chi_square` of the swapped pair.

    Args:
      family: the family of both laws.
      p: natural or source parameters, the law in the denominator.
      q: natural or source parameters.

    Returns:
      Values in `[0, inf]`; inf where `2 theta_q - theta_p` is outside the natural domain.

    Raises:
      TypeError: as `kl`.
      ValueError: as `kl`.

    Examples:
      >>> from igeojax import families
      >>> poisson = families.Poisson()
      >>> p, q = poisson.Params(1.0), poisson.Params(2.0)
      >>> round(float(neyman_chi_square(poisson, p, q)), 6)  # exp((2 - 1)^2 / 1) - 1
      1.718282
    """
    return chi_square(family, q, p)


def renyi(family: ExponentialFamily, p: Any, q: Any, *, order: ArrayLike) -> Float[Array, "*batch"]:
    """Renyi divergence `log(int p^a q^(1-a)) / (a - 1)` of statistical order a.

    Non-decreasing in a; `a = 1` is `KL(p || q)`.

    Args:
      family: the family of both laws.
      p: natural or source parameters.
      q: natural or source parameters.
      order: the statistical order a, a scalar; may be traced. Values are continuous at 0 and 1; the
        derivative in the order is not right exactly there: take it a little inside.

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
    a = as_order(order, family, p)
    near_p, near_q, inside = mixture_parts(family, p, q, a, from_above=True)
    # At the end 0 an infinite first part does not count.
    counted = jnp.where((a == 0) & jnp.isinf(near_p), 0.0, near_p)
    share = a * counted / jnp.where(a == 1, 1.0, 1 - a)
    value = jnp.where(a == 1, 0.0, share) + near_q
    # Outside, the integral is infinite: its log over a - 1.
    infinite = jnp.where(jnp.isnan(a), jnp.nan, jnp.where(a > 0, jnp.inf, -jnp.inf))
    return jnp.where(inside, value, infinite)


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
    near_p, near_q, _ = mixture_parts(family, p, q, as_order(0.5, family, p))
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
