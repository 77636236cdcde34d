"""A statistical manifold: the metric and the skewness tensor of a model, in one chart.

All the geometry of a model, its alpha-connections and their curvature, follows from these two
functions of the coordinates; where they come from is the business of the constructors.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from igeojax._core import checks
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.geometry._arguments import one_vector, slopes
from igeojax.geometry.coordinates import ravel, unravel
from igeojax.geometry.metric import fisher_matrix, pullback


class StatisticalManifold(NamedTuple):
    """Metric `g_ij` and Amari-Chentsov tensor `C_ijk` as functions of one coordinate vector.

    `g_ij = E[d_i l d_j l]` and `C_ijk = E[d_i l d_j l d_k l]` with `l = log p(x; xi)`. Both are
    smooth functions, differentiated by what is built on them; use jax.vmap over several points.

    Attributes:
      metric: from `(n,)` coordinates to `(n, n)` symmetric positive definite matrices.
      skewness: from `(n,)` coordinates to `(n, n, n)` totally symmetric tensors.

    References:
      [Lauritzen1987] section 4.

    Examples:
      >>> line = StatisticalManifold(
      ...     metric=lambda x: jnp.exp(x)[:, None], skewness=lambda x: jnp.exp(x)[:, None, None]
      ... )
      >>> line.metric(jnp.zeros(1)).tolist()
      [[1.0]]
    """

    metric: Callable[[Float[Array, " n"]], Float[Array, "n n"]]
    skewness: Callable[[Float[Array, " n"]], Float[Array, "n n n"]]


def require_manifold(manifold: Any) -> None:
    """Check that an argument is a statistical manifold, and not the family that it is made of.

    Args:
      manifold: what came.

    Raises:
      TypeError: it is anything else.

    Examples:
      >>> from igeojax import families
      >>> require_manifold(family_manifold(families.Normal()))
    """
    if not isinstance(manifold, StatisticalManifold):
        raise TypeError(
            f"manifold must be a StatisticalManifold; got {type(manifold).__name__}. Make one with "
            "family_manifold, model_manifold or sampled_manifold."
        )


def family_manifold(
    family: ExponentialFamily,
    chart: Literal["natural", "mean"] | Callable[[Float[Array, " n"]], Any] = "natural",
) -> StatisticalManifold:
    """The manifold of a family, `g = Hess psi` and `C = d^3 psi` in natural coordinates.

    Any other chart pulls them back, `J^T g J` and `C(J, J, J)` with `J = d theta / d xi`; with
    fewer coordinates than the family has dimensions it is a curved family. `skewness` costs one
    forward derivative of `fisher_matrix` for each coordinate.

    Args:
      family: the family.
      chart: "natural" for the minimal vector of `ravel`, "mean" for that of the mean parameter, or
        a smooth map from a coordinate vector to a natural parameter.

    Returns:
      The manifold; its functions give nan outside the natural domain.

    Raises:
      TypeError: `family` is not a family.
      ValueError: an unknown name of a chart.

    References:
      [AmariNagaoka2000] section 3.5 (exponential families).

    Examples:
      >>> from igeojax import families
      >>> poisson = family_manifold(families.Poisson(), lambda xi: families.Poisson().Point(xi[0]))
      >>> poisson.skewness(jnp.zeros(1)).item()  # the third cumulant of the rate 1
      1.0
    """
    require_family(family)
    if chart == "natural":

        def metric(x: Array) -> Array:
            return fisher_matrix(family, unravel(family, one_vector("x", x)))

        def skewness(x: Array) -> Array:
            return slopes(metric, one_vector("x", x))

        return StatisticalManifold(metric, skewness)
    if not callable(chart):
        checks.require_option("chart, unless it is a function,", chart, ("natural", "mean"))
        natural_from_chart = lambda x: family.natural_from_mean(unravel(family, x))
    else:
        natural_from_chart = chart

    def pulled_metric(x: Array) -> Array:
        return pullback(family, natural_from_chart, one_vector("x", x))

    def pulled_skewness(x: Array) -> Array:
        x = one_vector("x", x)
        jacobian = jax.jacfwd(lambda y: ravel(family, natural_from_chart(y)))(x)

        # With the frame held fixed, what is left of the derivative is `C(J, J, J)`.
        def framed(y: Array) -> Array:
            return jacobian.T @ fisher_matrix(family, natural_from_chart(y)) @ jacobian

        return slopes(framed, x)

    return StatisticalManifold(pulled_metric, pulled_skewness)


def _weighted_moments(
    scores: Float[Array, "m n"], mass: Float[Array, " m"], order: int
) -> Float[Array, "..."]:
    """Sum over the first axis of `mass` times the tensor power of the scores."""
    operands = {2: "m,mi,mj->ij", 3: "m,mi,mj,mk->ijk"}
    return jnp.einsum(operands[order], mass, *(scores,) * order)


def _manifold(log_density: Callable[[Array, Any], Array], nodes: Callable) -> StatisticalManifold:
    """The manifold of `nodes(x) -> outcomes, mass from log-densities`."""

    def moments(x: Array, order: int) -> Array:
        x = one_vector("x", x)
        outcomes, mass_from_logs = nodes(x)

        def logs(xi: Array) -> tuple[Array, Array]:
            values = jax.vmap(lambda outcome: log_density(xi, outcome))(outcomes)
            if values.ndim != 1:
                raise ValueError(
                    "log_density(xi, x) must return a scalar for one outcome; got shape "
                    f"{values.shape[1:]}. Sum over the axes of the outcome."
                )
            # What cannot happen has no score: its derivative may be nan, and 0 * nan would count.
            values = jnp.where(values == -jnp.inf, -jnp.inf, values)
            return values, values

        scores, values = jax.jacfwd(logs, has_aux=True)(x)
        return _weighted_moments(scores, mass_from_logs(values), order)

    return StatisticalManifold(lambda x: moments(x, 2), lambda x: moments(x, 3))


def model_manifold(
    log_density: Callable[[Float[Array, " n"], Any], Float[Array, ""]],
    outcomes: Any,
    weights: Float[Array, " m"] | None = None,
) -> StatisticalManifold:
    """The manifold of any model, by a sum: `E[f] = sum_j w_j p(x_j; xi) f(x_j)`.

    Exact for finitely many outcomes; a quadrature, as good as its nodes, for others. One forward
    derivative of `m` log-densities for each coordinate; memory of `m n` scores.

    Args:
      log_density: `log p(x; xi)` of one outcome, in nats.
      outcomes: array, or tree of arrays, with the `m` outcomes along axis 0.
      weights: `(m,)` weights of a quadrature; None counts outcomes.

    Returns:
      The manifold. It does not divide by the sum of the masses: nodes that miss mass miss it here.

    Raises:
      TypeError: `log_density` is not callable, or `weights` are not real.
      ValueError: no outcomes, or weights of another length.

    References:
      [AmariNagaoka2000] sections 2.2 and 2.3.

    Examples:
      >>> coin = model_manifold(
      ...     lambda xi, x: jnp.where(x, jnp.log(xi[0]), jnp.log1p(-xi[0])), jnp.array([0, 1])
      ... )
      >>> coin.metric(jnp.array([0.5])).item()
      4.0
    """
    _require_callable("log_density", log_density)
    sizes = {jnp.shape(leaf)[:1] for leaf in jax.tree.leaves(outcomes)}
    if len(sizes) != 1 or not next(iter(sizes)) or not next(iter(sizes))[0]:
        raise ValueError(
            "outcomes must hold at least one outcome along a common axis 0; got shapes "
            f"{jax.tree.map(jnp.shape, outcomes)}. Pass an array of shape (m, ...)."
        )
    if weights is not None:
        weights = checks.floating("weights", weights)
        if weights.shape != next(iter(sizes)):
            raise ValueError(
                f"weights must have shape {next(iter(sizes))}, one for each outcome; got "
                f"{weights.shape}. Pass None to count outcomes."
            )

    def mass_from_logs(values: Array) -> Array:
        mass = jnp.exp(values)
        return mass if weights is None else mass * weights.astype(mass.dtype)

    return _manifold(log_density, lambda _: (outcomes, mass_from_logs))


def sampled_manifold(
    log_density: Callable[[Float[Array, " n"], Any], Float[Array, ""]],
    sample: Callable[[Float[Array, " n"]], Any],
) -> StatisticalManifold:
    """The manifold of any model that can be sampled: means over draws, with their derivatives.

    The draws are those of `x`, held fixed, and weigh `p(x_j; xi) / p(x_j; x)`: the value is the
    plain mean, and its derivative in `xi` has the expectation of that of the true tensor.

    Args:
      log_density: `log p(x; xi)` of one outcome, in nats.
      sample: from coordinates to independent draws along axis 0. Close over one key, so that one
        function has one value at one point.

    Returns:
      The manifold; standard errors fall with the root of the number of draws, and grow with the
      order of the derivative.

    Raises:
      TypeError: an argument is not callable.

    References:
      [AmariNagaoka2000] sections 2.2 and 2.3.

    Examples:
      >>> density = lambda xi, x: -0.5 * (x - xi[0]) ** 2
      >>> draw = lambda xi: xi[0] + jax.random.normal(jax.random.key(0), (4000,))
      >>> round(sampled_manifold(density, draw).metric(jnp.zeros(1)).item(), 1)
      1.0
    """
    _require_callable("log_density", log_density)
    _require_callable("sample", sample)

    def nodes(x: Array) -> tuple[Any, Callable[[Array], Array]]:
        draws = jax.lax.stop_gradient(sample(jax.lax.stop_gradient(x)))

        def mass_from_logs(values: Array) -> Array:
            return jnp.exp(values - jax.lax.stop_gradient(values)) / values.size

        return draws, mass_from_logs

    return _manifold(log_density, nodes)


def _require_callable(name: str, value: Any) -> None:
    if not callable(value):
        raise TypeError(f"{name} must be a function; got {type(value).__name__}. Check its order.")
