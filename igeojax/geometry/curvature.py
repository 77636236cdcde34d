"""Curvature of the alpha-connections, Jeffreys' prior, and the curvature of a curved family.

Sign convention, for all of this package: `R(u, v) w = nabla_u nabla_v w - nabla_v nabla_u w -
nabla_[u,v] w` and `R_ijkl = <R(d_i, d_j) d_k, d_l>`, so that spheres have positive curvature.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry._arguments import one_scalar, one_vector, slopes, tangents
from igeojax.geometry.connection import connection_first_kind, raised
from igeojax.geometry.coordinates import ravel
from igeojax.geometry.metric import fisher_matrix
from igeojax.geometry.statistical_manifold import StatisticalManifold, require_manifold
from igeojax.numerics.rows import norm_at_zero


def riemann_tensor(
    manifold: StatisticalManifold, x: Float[Array, " n"], *, alpha: ArrayLike = 0.0
) -> Float[Array, "n n n n"]:
    """Riemann tensor `R_ijkl = <R(d_i, d_j) d_k, d_l>` of the alpha-connection, all indices down.

    From `d_i Gamma_jkl - g^mn Gamma_jkm Gamma*_iln`, less the same with i and j exchanged, where
    `Gamma*` is the dual connection of -alpha: no inverse is differentiated. A dually flat manifold
    has `R^(al) = (1 - al^2) R^(0)`. One forward derivative of the connection for each coordinate:
    `n^2` second derivatives of the metric, `n^4` numbers.

    Args:
      manifold: the manifold.
      x: coordinates of one point.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      The tensor, antisymmetric in its first two indices; nan outside the domain.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: shapes, as for `connection_first_kind`.

    References:
      [AmariNagaoka2000] section 1.7 and chapter 3 (dual connections).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> normal = families.Normal()
      >>> chart = lambda xi: normal.natural_from_params(loc=xi[0], scale=xi[1])
      >>> manifold = family_manifold(normal, chart)  # dmu^2 + 2 dsigma^2 at scale 1
      >>> riemann = jax.jit(lambda xi: riemann_tensor(manifold, xi))
      >>> round(float(riemann(jnp.array([0.0, 1.0]))[0, 1, 1, 0]), 6)
      -1.0
    """
    require_manifold(manifold)
    x = one_vector("x", x)

    first = connection_first_kind(manifold, x, alpha=alpha)
    # d_i Gamma_jkl at [j, k, l, i].
    bends = slopes(lambda y: connection_first_kind(manifold, y, alpha=alpha), x)
    dual = connection_first_kind(manifold, x, alpha=-alpha)  # pyright: ignore[reportOperatorIssue]
    half = jnp.einsum("jkli->ijkl", bends) - jnp.einsum(
        "jkm,ilm->ijkl", first, raised(manifold.metric(x), dual)
    )
    return half - jnp.swapaxes(half, 0, 1)


def ricci_tensor(
    manifold: StatisticalManifold, x: Float[Array, " n"], *, alpha: ArrayLike = 0.0
) -> Float[Array, "n n"]:
    """Ricci tensor `Ric_jk = R_ijk^i`, the trace of `u -> R(u, d_j) d_k`.

    The cost of `riemann_tensor`.

    Args:
      manifold: the manifold.
      x: coordinates of one point.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      The tensor; positive on spheres, nan outside the domain.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: shapes, as for `connection_first_kind`.

    References:
      [AmariNagaoka2000] section 1.7.

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> manifold = family_manifold(families.Categorical(3))  # a sphere of radius 2
      >>> ricci = jax.jit(lambda xi: ricci_tensor(manifold, xi))
      >>> (ricci(jnp.zeros(2)) / manifold.metric(jnp.zeros(2))).round(6).tolist()
      [[0.25, 0.25], [0.25, 0.25]]
    """
    riemann = riemann_tensor(manifold, x, alpha=alpha)
    return jnp.einsum("ijki->jk", raised(manifold.metric(one_vector("x", x)), riemann))


def scalar_curvature(
    manifold: StatisticalManifold, x: Float[Array, " n"], *, alpha: ArrayLike = 0.0
) -> Float[Array, ""]:
    """Scalar curvature `g^jk Ric_jk`; on a surface twice the Gauss curvature.

    The cost of `riemann_tensor`.

    Args:
      manifold: the manifold.
      x: coordinates of one point.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      The curvature; positive on spheres, nan outside the domain.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: shapes, as for `connection_first_kind`.

    References:
      [AmariNagaoka2000] section 1.7.

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> manifold = family_manifold(families.Normal())  # a hyperbolic plane
      >>> scalar = jax.jit(lambda theta: scalar_curvature(manifold, theta))
      >>> round(float(scalar(jnp.array([0.0, -0.5]))), 6)
      -1.0
    """
    ricci = ricci_tensor(manifold, x, alpha=alpha)
    return jnp.trace(raised(manifold.metric(one_vector("x", x)), ricci))


def sectional_curvature(
    manifold: StatisticalManifold,
    x: Float[Array, " n"],
    tangent: Float[Array, " n"],
    other: Float[Array, " n"],
) -> Float[Array, ""]:
    """Sectional curvature `<R(u, v) v, u> / (|u|^2 |v|^2 - <u, v>^2)`.

    Of the Levi-Civita connection only: of another the quotient depends on the basis of the plane.
    The cost of `riemann_tensor`.

    Args:
      manifold: the manifold.
      x: coordinates of one point.
      tangent: tangent u at x.
      other: tangent v at x.

    Returns:
      The Gauss curvature of the plane of both; nan where they are parallel.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: shapes, as for `connection_first_kind`, or tangents of another length.

    References:
      [AtkinsonMitchell1981] (normal laws: -1/2).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> manifold, axes = family_manifold(families.Normal()), jnp.eye(2)
      >>> sectional = jax.jit(lambda theta: sectional_curvature(manifold, theta, *axes))
      >>> round(float(sectional(jnp.array([0.0, -0.5]))), 6)
      -0.5
    """
    require_manifold(manifold)
    x = one_vector("x", x)
    tangent, other = tangents(x, tangent=tangent, other=other)
    riemann, metric = riemann_tensor(manifold, x), manifold.metric(x)
    length = tangent @ metric @ tangent
    across = other - (tangent @ metric @ other) / length * tangent
    rise = jnp.einsum("ijkl,i,j,k,l->", riemann, tangent, across, across, tangent)
    width, precision = across @ metric @ across, 8 * jnp.finfo(x.dtype).eps
    # Of parallel tangents only rounding errors are left here.
    plane = width > precision**2 * (other @ metric @ other)
    return jnp.where(plane, rise / jnp.where(plane, length * width, 1.0), jnp.nan)


def log_jeffreys_prior(manifold: StatisticalManifold, x: Float[Array, " n"]) -> Float[Array, ""]:
    """Logarithm of the density of Jeffreys' prior, `log det g(x) / 2`, not normalized.

    The volume of the metric: the same measure in every chart. One Cholesky factor of the metric.

    Args:
      manifold: the manifold.
      x: coordinates of one point.

    Returns:
      The log-density with respect to `dx`; nan where the metric is not positive definite.

    Raises:
      TypeError: `manifold` is not a manifold, or `x` not real.
      ValueError: `x` is not one vector.

    References:
      [Jeffreys1946].

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> bernoulli = families.Bernoulli()
      >>> manifold = family_manifold(bernoulli, lambda p: bernoulli.natural_from_params(p[0]))
      >>> round(float(log_jeffreys_prior(manifold, jnp.array([0.5]))), 6)  # 1/sqrt(p (1-p))
      0.693147
    """
    require_manifold(manifold)
    factor = jnp.linalg.cholesky(manifold.metric(one_vector("x", x)))
    return jnp.sum(jnp.log(jnp.diagonal(factor)))


def statistical_curvature(
    family: ExponentialFamily,
    natural_from_chart: Callable[[Float[Array, ""]], Any],
    xi: ArrayLike,
    *,
    alpha: ArrayLike = 1.0,
) -> Float[Array, ""]:
    """Curvature of a one-parameter curved family in its family, `|a_perp| / |theta'|^2`.

    Here `a = nabla_theta' theta'` is the acceleration of the alpha-connection and `a_perp` its part
    orthogonal to the curve. Efron's curvature at alpha 1: 0 where the curve is itself an
    exponential family, and its square over n the share of the information that the maximum
    likelihood estimate loses. The mixture curvature at alpha -1. Cost: `fisher_matrix`, a
    Cholesky solve and two second derivatives along the curve.

    Args:
      family: the family.
      natural_from_chart: smooth map from a scalar to a natural parameter.
      xi: the scalar coordinate.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      The curvature, non-negative and the same in every coordinate of the curve; nan outside the
      natural domain.

    Raises:
      TypeError: `family` is not a family, the chart returns no point of it, or a value is not real.
      ValueError: `xi` or alpha is no scalar, or the chart returns a batch.

    References:
      [Efron1975] section 3; [Amari1982] (alpha).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> curve = lambda m: normal.natural_from_params(loc=m, scale=1.0)  # a line
      >>> float(statistical_curvature(normal, curve, 2.0))
      0.0
    """
    require_family(family)
    xi = one_scalar("xi", xi)

    def both(t: Array) -> tuple[Array, Array]:
        theta = natural_from_chart(t)
        return ravel(family, theta), ravel(family, family.mean_from_natural(theta))

    def velocities(t: Array) -> tuple[Array, Array]:
        return jax.jvp(both, (t,), (jnp.ones_like(t),))[1]

    (tangent, _), (bend, mean_bend) = jax.jvp(velocities, (xi,), (jnp.ones_like(xi),))
    if tangent.ndim != 1:
        raise ValueError(
            f"natural_from_chart must return one point; got batch shape {tangent.shape[:-1]}. "
            "Use jax.vmap over several points."
        )
    metric = fisher_matrix(family, natural_from_chart(xi))
    alpha = one_scalar("alpha", alpha, metric.dtype)
    # Straight in theta at alpha 1, straight in eta at alpha -1, affine in alpha between.
    cotangent = 0.5 * (1 + alpha) * (metric @ bend) + 0.5 * (1 - alpha) * mean_bend
    speed = tangent @ metric @ tangent
    normal = cotangent - (cotangent @ tangent) / speed * (metric @ tangent)
    factor = jnp.linalg.cholesky(metric)
    whitened = jax.scipy.linalg.solve_triangular(factor, normal, lower=True)
    return norm_at_zero(whitened) / speed
