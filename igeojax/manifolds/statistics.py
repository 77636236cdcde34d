"""Statistics of points of any manifold: center of mass, and principal directions around it."""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.flatten_util
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, require_manifold
from igeojax.numerics.center_of_mass import FrechetMean, Pull, center_of_mass
from igeojax.numerics.small_solve import small_solve
from igeojax.numerics.weighting import normalized_weights, weighted_mean


def frechet_mean(
    manifold: Manifold,
    points: Any,
    weights: Float[ArrayLike, "points"] | None = None,
    *,
    tolerance: float | None = None,
    max_steps: int = 100,
) -> FrechetMean:
    """Fréchet mean `argmin_x sum_i w_i d(x, p_i)^2`, the center of mass.

    Karcher's iteration from the projected mean of coordinates; a step costs a `log` to each point
    and an `exp`, and it takes a few unless the points are far apart. First derivatives, in both
    modes, are those of the solution, at the cost of as many more derivatives of `log` as a point
    has coordinates.

    The mean is unique where the curvature is not positive, and on spheres of points within a
    quarter of a great circle; else this is a local minimum.

    Args:
      manifold: the manifold.
      points: points along axis 0; batches by `jax.vmap`.
      weights: non-negative, one for each point; None weighs all alike.
      tolerance: largest `residual` that counts as converged; None for `sqrt(eps)`.
      max_steps: bound of steps.

    Returns:
      A `FrechetMean`.

    Raises:
      TypeError: `manifold` is none, or `max_steps` no integer.
      ValueError: no or more than one axis of points, weights of a wrong shape, negative or all
        zero, or a concrete point off the manifold.

    References:
      [Karcher1977] section 1; [Pennec2006] section 4 (the iteration).

    Examples:
      >>> from igeojax.manifolds.sphere import Sphere
      >>> mean = frechet_mean(Sphere(3), jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]))
      >>> [round(v, 4) for v in mean.point.tolist()], bool(mean.converged)
      ([0.7071, 0.7071, 0.0], True)
    """
    points, share = _weighed(manifold, points, weights)
    checks.require_count("max_steps", max_steps)
    eps = float(jnp.finfo(share.dtype).eps)
    return _center(manifold, points, share, eps**0.5 if tolerance is None else tolerance, max_steps)


class TangentPCA(NamedTuple):
    """Principal directions of points of a manifold.

    `directions` are orthonormal tangents at `mean` along axis 0, `variances` those of the points
    along them in descending order, and `coordinates` the part of each point's velocity from the
    mean along each, of shape `(points, directions)`. `converged` is that of the mean.
    """

    mean: Any
    directions: Any
    variances: Float[Array, "directions"]
    coordinates: Float[Array, "points directions"]
    converged: Bool[Array, ""]


def tangent_pca(
    manifold: Manifold,
    points: Any,
    weights: Float[ArrayLike, "points"] | None = None,
    *,
    num_directions: int | None = None,
) -> TangentPCA:
    """Principal component analysis in the tangent space at the Fréchet mean.

    Of the velocities `log_mean(p_i)`, whose squared lengths are the squared distances to the mean:
    all variances together are the mean of those. `exp(mean, c @ directions)` of coordinates c comes
    back to the points. A `frechet_mean`, a `log` to each point, and a singular value decomposition
    of them in an orthonormal frame.

    Args:
      manifold: the manifold.
      points: points along axis 0.
      weights: non-negative, one for each point; None weighs all alike. They sum to one: variances
        are without Bessel's correction.
      num_directions: how many; None for all, the least of the dimension and the number of points.

    Returns:
      A `TangentPCA`.

    Raises:
      TypeError: `manifold` is none, or `num_directions` no integer.
      ValueError: points or weights as for `frechet_mean`, or more directions than there are.

    References:
      [Fletcher2004] section 4.

    Examples:
      >>> from igeojax.manifolds.euclidean import Euclidean
      >>> points = jnp.array([[3.0, 0.0], [-3.0, 0.0], [0.0, 1.0], [0.0, -1.0]])
      >>> pca = tangent_pca(Euclidean(2), points)
      >>> pca.variances.round(4).tolist()
      [4.5, 0.5]
    """
    points, share = _weighed(manifold, points, weights)
    most = min(manifold.dimension, share.size)
    count = most if num_directions is None else num_directions
    checks.require_count("num_directions", count)
    if count > most:
        raise ValueError(
            f"num_directions must be at most {most}, the least of the dimension and the number of "
            f"points; got {count}. Lower it."
        )
    mean = frechet_mean(manifold, points, weights)
    directions, variances, coordinates = _principal(manifold, mean.point, points, share, count)
    return TangentPCA(mean.point, directions, variances, coordinates, mean.converged)


def _weighed(manifold: Manifold, points: Any, weights: ArrayLike | None) -> tuple[Any, Array]:
    """Points along one axis, and their weights, which sum to one.

    Raises:
      ValueError: no or more than one axis of points.
    """
    require_manifold(manifold)
    (points,) = manifold._arguments({"points": points})
    batch = jax.eval_shape(manifold._norm, points, points).shape
    if len(batch) != 1:
        raise ValueError(
            f"points must have one axis of points in front; got batch shape {batch}. Stack them "
            "along axis 0, and use jax.vmap for several sets."
        )
    dtype = jnp.result_type(*jax.tree.leaves(points))
    share = normalized_weights(weights, *batch)
    return points, jnp.full(batch, 1 / batch[0], dtype) if share is None else share.astype(dtype)


@functools.partial(jax.jit, static_argnames=("manifold", "max_steps"))
def _center(
    manifold: Manifold, points: Any, share: Array, tolerance: ArrayLike, max_steps: int
) -> FrechetMean:
    """The mean for weights that sum to one, as a root."""
    flat, unravel = jax.flatten_util.ravel_pytree(_start(manifold, points, share))

    def away(vector: Array) -> Array:
        # The mean velocity at the nearest point, and across the manifold how far off that is.
        point = manifold._project_point(unravel(vector))
        velocity = _mean_velocity(manifold, point, points, share)[0]
        return jax.flatten_util.ravel_pytree(velocity)[0] + vector - _flat(point)

    def solve(_: Any, start: Array) -> tuple[Array, tuple[Array, Array]]:
        found = _walked(manifold, unravel(start), *fixed, max_steps)
        # What comes beside a root must have tangents, which truth values have not.
        return _flat(found.point), (found.residual, found.converged.astype(share.dtype))

    def tangent_solve(matvec: Callable[[Array], Array], rhs: Array) -> Array:
        matrix = jax.vmap(matvec, out_axes=1)(jnp.eye(rhs.size, dtype=rhs.dtype))
        return small_solve(matrix, rhs[:, None])[:, 0]

    fixed = jax.lax.stop_gradient((points, share, tolerance))
    flat = jax.lax.stop_gradient(flat)
    vector, aside = jax.lax.custom_root(away, flat, solve, tangent_solve, has_aux=True)
    residual, converged = jax.lax.stop_gradient(aside)
    return FrechetMean(unravel(vector), residual, converged > 0)


def _start(manifold: Manifold, points: Any, share: Array) -> Any:
    """The projected mean of coordinates; where there is none, as of antipodes, the heaviest."""
    mean = manifold._project_point(jax.tree.map(lambda leaf: weighted_mean(leaf, share), points))
    good = jnp.stack([jnp.isfinite(leaf).all() for leaf in jax.tree.leaves(mean)]).all()
    heaviest = jax.tree.map(lambda leaf: leaf[jnp.argmax(share)], points)
    return jax.tree.map(lambda a, b: jnp.where(good, a, b), mean, heaviest)


def _mean_velocity(
    manifold: Manifold, point: Any, points: Any, share: Array
) -> tuple[Any, Array, Array]:
    """Mean of the velocities to the points, their mean square, and whether all are finite."""
    feet = jax.tree.map(lambda x, y: jnp.broadcast_to(x, y.shape), point, points)
    to = manifold._log(feet, points)
    squares = jnp.where(share > 0, manifold._norm(feet, to) ** 2, 0.0)
    mean = jax.tree.map(lambda leaf: weighted_mean(leaf, share), to)
    spread = jnp.sum(share * squares)
    return mean, spread, jnp.isfinite(spread)


def _walked(
    manifold: Manifold, start: Any, points: Any, share: Array, tolerance: ArrayLike, max_steps: int
) -> FrechetMean:
    """Karcher's iteration."""

    def pull(point: Any) -> Pull:
        velocity, spread, found = _mean_velocity(manifold, point, points, share)
        square, size = (manifold._norm(point, v) ** 2 for v in (velocity, point))
        return Pull(velocity, square, spread, size, found)

    return center_of_mass(start, pull, manifold._exp, tolerance, max_steps)


@functools.partial(jax.jit, static_argnames=("manifold", "count"))
def _principal(
    manifold: Manifold, mean: Any, points: Any, share: Array, count: int
) -> tuple[Any, Array, Array]:
    """Directions, variances and coordinates."""
    flat, unravel = jax.flatten_util.ravel_pytree(mean)
    # An orthonormal frame, from the Gram matrix of the tangent parts of all coordinate directions.
    basis = jnp.eye(flat.size, dtype=flat.dtype)
    tangent = lambda v: manifold._project_tangent(mean, unravel(v))
    inner = lambda u, v: manifold._inner(mean, u, v)
    tangents = jax.vmap(tangent)(basis)
    gram = jax.vmap(lambda u: jax.vmap(lambda v: inner(u, v))(tangents))(tangents)
    values, vectors = (found[..., -manifold.dimension :] for found in jnp.linalg.eigh(gram))
    roots = jnp.sqrt(values)[None]
    feet = jax.tree.map(lambda x, y: jnp.broadcast_to(x, y.shape), mean, points)
    coordinates = jax.vmap(_flat)(manifold._log(feet, points)) @ (vectors * roots)
    scaled = jnp.sqrt(share)[:, None] * coordinates
    _, lengths, axes = jnp.linalg.svd(scaled, full_matrices=False)
    axes = axes[:count]
    directions = jax.vmap(tangent)(axes @ (vectors / roots).T)
    return directions, lengths[:count] ** 2, coordinates @ axes.T


def _flat(tree: Any) -> Array:
    return jax.flatten_util.ravel_pytree(tree)[0]
