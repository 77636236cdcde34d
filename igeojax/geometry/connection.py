"""Amari's alpha-connections and parallel transport along a curve.

Index convention, for all of this package: `Gamma_ijk = <nabla_i d_j, d_k>` and
`nabla_i d_j = Gamma_ij^k d_k`, arrays indexed in this order, the index of the result last.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.geometry._arguments import one_scalar, one_vector, slopes, tangents
from igeojax.geometry._integration import at_time_one
from igeojax.geometry.statistical_manifold import StatisticalManifold, require_manifold
from igeojax.numerics.triangular import cho_solve, cholesky


def connection_first_kind(
    manifold: StatisticalManifold, x: Float[Array, " n"], *, alpha: ArrayLike = 0.0
) -> Float[Array, "n n n"]:
    """Coefficients `Gamma_ijk = (d_i g_jk + d_j g_ik - d_k g_ij - alpha C_ijk) / 2`.

    The Levi-Civita connection at alpha 0; of a family, the exponential one (flat in natural
    coordinates) at alpha 1 and the mixture one (flat in mean coordinates) at alpha -1. One forward
    derivative of the metric for each coordinate, and `C` but where alpha is the number 0.

    Args:
      manifold: the manifold.
      x: coordinates of one point.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      The coefficients, symmetric in the first two indices; nan outside the domain.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: `x` is not one vector, alpha no scalar, or a function of the manifold returns
        another shape.

    References:
      [AmariNagaoka2000] section 2.3.

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> poisson = family_manifold(families.Poisson())  # psi = exp
      >>> connection_first_kind(poisson, jnp.zeros(1), alpha=-1.0).item()
      1.0
    """
    require_manifold(manifold)
    x = one_vector("x", x)
    steepness = slopes(manifold.metric, x)  # d_k g_ij at [i, j, k]
    _require_tensor("metric", steepness[..., 0], x.size, 2)
    levi_civita = 0.5 * (
        jnp.einsum("jki->ijk", steepness) + jnp.einsum("ikj->ijk", steepness) - steepness
    )
    if isinstance(alpha, int | float) and alpha == 0:  # spares the third derivative of `psi`
        return levi_civita
    skewness = manifold.skewness(x)
    _require_tensor("skewness", skewness, x.size, 3)
    return levi_civita - 0.5 * one_scalar("alpha", alpha, steepness.dtype) * skewness


def _require_tensor(name: str, value: Array, size: int, order: int) -> None:
    if value.shape != (size,) * order:
        raise ValueError(
            f"{name} of a manifold must return shape {(size,) * order} for {size} coordinates; got "
            f"{value.shape}. Check the length of x."
        )


def raised(metric: Float[Array, "n n"], tensor: Float[Array, "*rest n"]) -> Float[Array, "*rest n"]:
    """The tensor with its last index raised, `t_..l g^lk`: one Cholesky factor of the metric.

    Args:
      metric: symmetric positive definite; nan comes back where it is not.
      tensor: any tensor with a lower index last.

    Returns:
      The tensor of the same shape with an upper index last.

    Examples:
      >>> raised(2.0 * jnp.eye(2), jnp.array([1.0, 0.0])).round(6).tolist()
      [0.5, 0.0]
    """
    columns = jnp.reshape(tensor, (-1, metric.shape[-1])).T
    return jnp.reshape(cho_solve(cholesky(metric), columns).T, tensor.shape)


def connection_second_kind(
    manifold: StatisticalManifold, x: Float[Array, " n"], *, alpha: ArrayLike = 0.0
) -> Float[Array, "n n n"]:
    """Coefficients `Gamma_ij^k = g^kl Gamma_ijl` of `nabla_i d_j = Gamma_ij^k d_k`.

    That of `connection_first_kind`, and a Cholesky solve of the metric.

    Args:
      manifold: the manifold.
      x: coordinates of one point.
      alpha: Amari's alpha, a scalar; may be traced.

    Returns:
      The coefficients, the upper index last; nan where the metric is not positive definite.

    Raises:
      TypeError: `manifold` is not a manifold, or a value not real.
      ValueError: shapes, as for `connection_first_kind`.

    References:
      [AmariNagaoka2000] section 2.3.

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> poisson = family_manifold(families.Poisson())
      >>> connection_second_kind(poisson, jnp.ones(1)).round(6).item()
      0.5
    """
    first = connection_first_kind(manifold, x, alpha=alpha)
    return raised(manifold.metric(one_vector("x", x)), first)


def parallel_transport(
    manifold: StatisticalManifold,
    curve: Callable[[Float[Array, ""]], Float[Array, " n"]],
    vector: Float[Array, " n"],
    *,
    alpha: ArrayLike = 0.0,
    tolerance: float | None = None,
    max_steps: int = 4096,
) -> Float[Array, " n"]:
    """Tangent transported along a curve: `v(1)` of `dv^k/dt = -Gamma_ij^k dx^i/dt v^j`.

    An adaptive Runge-Kutta method of order 8; each of its stages costs `connection_second_kind`.
    Derivatives of both modes pass through its steps; reverse mode holds them in memory.

    Args:
      manifold: the manifold.
      curve: smooth map from `t` in `[0, 1]` to coordinates.
      vector: tangent at `curve(0)`, components in the same chart.
      alpha: Amari's alpha, a scalar; may be traced. The transports of alpha and -alpha together
        preserve the inner product.
      tolerance: error of a step relative to the largest component of `vector`; None chooses
        about 1e-10 in float64 and 3e-5 in float32.
      max_steps: bound on the number of steps.

    Returns:
      Components at `curve(1)`; nan where the steps do not suffice or the curve leaves the domain.

    Raises:
      TypeError: `manifold` is not a manifold, `curve` not a function, or a value not real.
      ValueError: the curve and the vector are of different shapes, or an option is out of range.

    References:
      [AmariNagaoka2000] sections 1.6 and 3.1 (dual connections); [Kidger2022] (the solver).

    Examples:
      >>> from igeojax import families
      >>> from igeojax.geometry.statistical_manifold import family_manifold
      >>> poisson = family_manifold(families.Poisson())  # the metric is exp
      >>> moved = parallel_transport(poisson, lambda t: t[None], jnp.ones(1))
      >>> round(moved.item() * jnp.exp(0.5).item(), 4)  # its length stays
      1.0
    """
    require_manifold(manifold)
    if not callable(curve):
        raise TypeError(
            f"curve must be a function of t; got {type(curve).__name__}. Check the order of the "
            "arguments."
        )
    checks.require_count("max_steps", max_steps)
    vector = one_vector("vector", vector)
    start = jax.eval_shape(curve, jax.ShapeDtypeStruct((), vector.dtype))
    tangents(start, vector=vector)
    dtype = jnp.result_type(start.dtype, vector.dtype)
    error = float(jnp.finfo(dtype).eps) ** 0.65 if tolerance is None else tolerance
    if not error > 0:
        raise ValueError(f"tolerance must be positive; got {tolerance}. Pass None for the default.")

    def velocity(t: Any, v: Any, _: Any) -> Array:
        x, direction = jax.jvp(curve, (t,), (jnp.ones_like(t),))
        symbols = connection_second_kind(manifold, x, alpha=alpha)
        return -jnp.einsum("i,j,ijk->k", direction, v, symbols).astype(dtype)

    # Transport is linear: a tangent of any size is one of size 1, for which tolerances are meant.
    size = jax.lax.stop_gradient(jnp.max(jnp.abs(vector)))
    size = jnp.where(size > 0, size, 1.0).astype(dtype)
    start = vector.astype(dtype) / size
    end, arrived = at_time_one(velocity, start, rtol=error, atol=error, max_steps=max_steps)
    return jnp.where(arrived, end * size, jnp.nan)
