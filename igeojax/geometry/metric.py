"""The Fisher metric of a family, in natural coordinates and pulled back to any other chart."""

from collections.abc import Callable
from typing import Any

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax.divergences.exponential.relative_entropy import kl
from igeojax.families._pairs import known_where
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry.coordinates import ravel, unravel


def _point(family: ExponentialFamily, theta: Any) -> Any:
    """A point of the family, checked, its leaves as arrays."""
    require_family(family)
    return family._point(theta)


def _require_tangent(family: ExponentialFamily, theta: Any, tangent: Any) -> None:
    """Check that a tangent is a point of the family with the batch shape of its foot.

    Raises:
      ValueError: the batch shapes differ.
    """
    foot, found = family.batch_shape(theta), family.batch_shape(tangent)
    if foot != found:
        raise ValueError(
            f"a tangent must have the batch shape of theta, {foot}; got {found}. Broadcast one of "
            "them, or use jax.vmap."
        )


def fisher_matvec(family: ExponentialFamily, theta: Any, tangent: Any) -> Any:
    """Fisher metric applied to a tangent, `Hess psi(theta) v = Cov[T] v`, without the matrix.

    One forward derivative of the mean map. The result is a cotangent in natural coordinates, which
    is the same push in mean coordinates.

    Args:
      family: the family.
      theta: natural parameter.
      tangent: tangent in natural coordinates, a point of the same shapes.

    Returns:
      The cotangent, a point.

    Raises:
      TypeError: `family` is not a family, or an argument not a point of it.
      ValueError: shapes do not fit the family.

    References:
      [Amari2016] chapter 2 (exponential families).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> theta = normal.natural_from_params(loc=0.0, scale=2.0)
      >>> float(fisher_matvec(normal, theta, normal.Point(1.0, 0.0)).x)
      4.0
    """
    theta = _point(family, theta)
    _require_tangent(family, theta, tangent)
    return family.fisher_matvec(theta, tangent)


def sharp(family: ExponentialFamily, theta: Any, cotangent: Any) -> Any:
    """Tangent of a cotangent, `(Hess psi(theta))^-1 w`, the inverse of `fisher_matvec`.

    The gradient of a loss becomes its natural gradient. One derivative of `natural_from_mean`, of
    which the inverse metric is the Jacobian: no matrix is made.

    Args:
      family: the family.
      theta: natural parameter.
      cotangent: cotangent in natural coordinates, a point of the same shapes.

    Returns:
      The tangent in natural coordinates, a point; nan outside the natural domain.

    Raises:
      TypeError: `family` is not a family, or an argument not a point of it.
      ValueError: shapes do not fit the family.

    References:
      [AmariNagaoka2000] section 3.5 (dual coordinates).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> theta = normal.natural_from_params(loc=0.0, scale=2.0)
      >>> float(sharp(normal, theta, normal.Point(4.0, 0.0)).x)
      1.0
    """
    theta = _point(family, theta)
    _require_tangent(family, theta, cotangent)
    eta = family.mean_from_natural(theta)
    cotangent = jax.tree.map(lambda v, leaf: jnp.asarray(v, leaf.dtype), cotangent, eta)
    tangent = jax.jvp(family.natural_from_mean, (eta,), (cotangent,))[1]
    return known_where(family, family.in_natural_domain(theta), tangent)


def fisher_matrix(
    family: ExponentialFamily, theta: Any
) -> Float[Array, "*batch dimension dimension"]:
    """Fisher information matrix in natural coordinates, `Hess psi(theta) = Cov[T]`.

    In the minimal vector chart of `ravel`; `family.dimension` matrix-vector products.

    Args:
      family: the family.
      theta: natural parameter.

    Returns:
      Symmetric positive semi-definite matrices; nan outside the natural domain, where the Hessian
      of the formula for `psi` is no metric.

    Raises:
      TypeError: `family` is not a family, or `theta` not a point of it.
      ValueError: its shapes do not fit the family.

    References:
      [Amari2016] chapter 2 (exponential families).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> theta = normal.natural_from_params(loc=0.0, scale=1.0)
      >>> fisher_matrix(normal, theta).tolist()
      [[1.0, 0.0], [0.0, 2.0]]
    """
    theta = _point(family, theta)
    vector = ravel(family, theta)
    basis = jnp.eye(family.dimension, dtype=vector.dtype)

    def column(direction: Array) -> Array:
        tangent = unravel(family, jnp.broadcast_to(direction, vector.shape))
        return ravel(family, family.fisher_matvec(theta, tangent))

    matrix = jax.vmap(column, out_axes=-1)(basis)
    symmetric = 0.5 * (matrix + jnp.swapaxes(matrix, -1, -2))
    return jnp.where(family.in_natural_domain(theta)[..., None, None], symmetric, jnp.nan)


def source_fisher_matrix(
    family: ExponentialFamily, params: Any
) -> Float[Array, "parameters parameters"]:
    """Fisher information matrix in source parameters: the Hessian of `KL(params || .)` there.

    `pullback` through natural coordinates loses what those round away (`m/s^2` of a normal law far
    from 0); this form needs only the divergence of two source parameters, which loses nothing.
    One forward derivative of the gradient for each of the parameters.

    Args:
      family: the family.
      params: one `Params` of the family; use jax.vmap for more.

    Returns:
      Symmetric positive semi-definite matrix over the entries of `params`, leaf by leaf; singular
      where they are redundant.

    Raises:
      TypeError: `family` is not a family, or `params` not `Params` of it.
      ValueError: they have batch axes, or values that the family refuses.

    References:
      [KullbackLeibler1951] section 6 (information as the second order of divergence).

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> source_fisher_matrix(normal, normal.Params(loc=1e6, scale=0.5)).tolist()
      [[4.0, 0.0], [0.0, 8.0]]
    """
    require_family(family)
    if not isinstance(params, family.Params):
        raise TypeError(
            f"{family} needs its Params, such as {family.Params.__name__}(...); got "
            f"{type(params).__name__}. For a natural parameter use fisher_matrix."
        )
    params = jax.tree.map(lambda leaf: _floating(leaf), params)
    vector, unravel_params = jax.flatten_util.ravel_pytree(params)

    def divergence(v: Array) -> Array:
        value = kl(family, params, unravel_params(v))
        if value.ndim:
            raise ValueError(
                f"source_fisher_matrix takes one law; got a batch of shape {value.shape}. Use "
                "jax.vmap over the batch."
            )
        return value

    return jax.hessian(divergence)(vector)


def _floating(leaf: Any) -> Array:
    array = jnp.asarray(leaf)
    return array if jnp.issubdtype(array.dtype, jnp.floating) else array.astype(float)


def inner(
    family: ExponentialFamily, theta: Any, tangent: Any, other: Any
) -> Float[Array, "*batch"]:
    """Fisher inner product `<u, v>_theta = u^T Hess psi(theta) v` of two tangents.

    One matrix-vector product.

    Args:
      family: the family.
      theta: natural parameter, the foot point.
      tangent: tangent in natural coordinates.
      other: tangent in natural coordinates.

    Returns:
      The inner product at each point.

    Raises:
      TypeError: `family` is not a family, or an argument not a point of it.
      ValueError: shapes do not fit the family.

    Examples:
      >>> from igeojax import families
      >>> normal = families.Normal()
      >>> theta = normal.natural_from_params(loc=0.0, scale=2.0)
      >>> tangent = normal.Point(1.0, 0.0)
      >>> float(inner(normal, theta, tangent, tangent))
      4.0
    """
    theta = _point(family, theta)
    _require_tangent(family, theta, tangent)
    _require_tangent(family, theta, other)
    return family.pairing(_point(family, tangent), family.fisher_matvec(theta, other))


def pullback(
    family: ExponentialFamily, natural_from_chart: Callable[[Any], Any], xi: Any
) -> Float[Array, "n n"]:
    """Fisher matrix in another chart `xi`, `J^T g J` with `J = d theta / d xi`.

    The chart may have fewer dimensions than the family: then it is the metric of a curved family.
    The cost is that of `fisher_matrix`, one forward derivative of the chart for each of the `n`
    coordinates, and two products of matrices.

    Args:
      family: the family.
      natural_from_chart: smooth map from `xi` to a natural parameter.
      xi: coordinates, any pytree of floating arrays; one point.

    Returns:
      The matrix over the entries of `xi` in the order of `jax.tree.leaves`; nan where the chart
      leaves the natural domain.

    Raises:
      TypeError: `family` is not a family, or the chart does not return a point of the family.
      ValueError: its shapes do not fit the family, or it returns a batch.

    References:
      [Amari2016] section 1.5 (transformation of the metric).

    Examples:
      >>> from igeojax import families
      >>> import jax.numpy as jnp
      >>> normal = families.Normal()
      >>> chart = lambda xi: normal.natural_from_params(loc=xi[0], scale=jnp.sqrt(xi[1]))
      >>> pullback(normal, chart, jnp.array([0.0, 1.0])).round(6).tolist()
      [[1.0, 0.0], [0.0, 0.5]]
    """
    require_family(family)
    vector, unravel_chart = jax.flatten_util.ravel_pytree(xi)

    def natural_vector(coordinates: Array) -> Array:
        return ravel(family, natural_from_chart(unravel_chart(coordinates)))

    jacobian = jax.jacfwd(natural_vector)(vector)
    if jacobian.ndim != 2:
        raise ValueError(
            f"natural_from_chart must return one point; got batch shape {jacobian.shape[:-2]}. "
            "Use jax.vmap over several points."
        )
    return jacobian.T @ fisher_matrix(family, natural_from_chart(xi)) @ jacobian
