"""Hyperbolic space as a ball: angles as in the plane, and its rim infinitely far away."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, lifted
from igeojax.numerics.rows import norm_at_zero, row_norm, row_sum
from igeojax.numerics.square_ratios import arcsinh_ratio, tanh_ratio
from igeojax.numerics.weighting import normalized_weights


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class PoincareBall(Manifold):
    """Poincaré's ball `|x| < 1 / sqrt(c)` of curvature `-c`, with metric `(2 / (1 - c |x|^2))^2`.

    The distance is `2 / sqrt(c) asinh(sqrt(c) |x - y| / sqrt((1 - c |x|^2) (1 - c |y|^2)))`, right
    at near points and at the rim for the numbers that are stored: nothing is clamped. But a point
    at distance r from the origin is itself stored with an error of about `eps cosh(r)` in r, so the
    ball of float32 ends at `r = 15 / sqrt(c)`, that of float64 at 35: `Lorentz` reaches further.
    `exp`, `retract` and the Möbius operations end in `project_point`, which pulls what lies at the
    rim or beyond it inside by `4 eps`. In derivatives that pull is constant.

    Args:
      dim: dimension, at least 1.
      curvature: negative sectional curvature `-c`.

    Raises:
      TypeError: `dim` is not an integer, or `curvature` not a number.
      ValueError: `dim` is below 1, or `curvature` not negative.

    References:
      [NickelKiela2017] equation 1; [Ganea2018] sections 2.3 and 2.4 (Möbius operations, maps).

    Examples:
      >>> ball = PoincareBall(2)
      >>> x = jnp.array([math.tanh(0.5), 0.0])
      >>> round(ball.distance(jnp.zeros(2), x).item(), 6)
      1.0
      >>> ball.exp(jnp.zeros(2), ball.log(jnp.zeros(2), x)).round(6).tolist() == x.round(6).tolist()
      True
    """

    dim: int
    curvature: float = -1.0

    def __post_init__(self):
        checks.require_count("dim", self.dim)
        require_negative_curvature(self.curvature)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.dim,)

    @property
    def dimension(self) -> int:
        return self.dim

    @property
    def _root(self) -> float:
        """`sqrt(c)`: points times it lie in the unit ball, distances times it are those in it."""
        return math.sqrt(-self.curvature)

    def conformal_factor(self, x: Float[ArrayLike, "*batch dim"]) -> Float[Array, "*batch"]:
        """`2 / (1 - c |x|^2)`, by which the metric stretches lengths.

        Args:
          x: points.

        Returns:
          The factors.
        """
        (points,) = self._arguments({"x": x})
        return 2 / rim_gap(self._root * points)

    def mobius_add(
        self, x: Float[ArrayLike, "*batch dim"], y: Float[ArrayLike, "*batch dim"]
    ) -> Float[Array, "*batch dim"]:
        """Möbius sum: the translation that takes the origin to `x` along a geodesic, of `y`.

        `((1 + 2c<x,y> + c|y|^2) x + (1 - c|x|^2) y) / (1 + 2c<x,y> + c^2 |x|^2 |y|^2)`. Not
        commutative; `(-x) + x = 0`.

        Args:
          x: points.
          y: points.

        Returns:
          Points.
        """
        first, second = self._arguments({"x": x, "y": y})
        moved = _sum(self._root * first, self._root * second)
        return self._project_point(moved / self._root)

    def mobius_scale(
        self, factor: Float[ArrayLike, "*batch"], x: Float[ArrayLike, "*batch dim"]
    ) -> Float[Array, "*batch dim"]:
        """Möbius scalar product: the point on the same ray at `factor` times the distance.

        Args:
          factor: numbers, which broadcast with the batch.
          x: points.

        Returns:
          Points.
        """
        times, points = checks.floating_together(factor=factor, x=x)
        (points,) = self._arguments({"x": points})
        checks.require_broadcastable(factor=times.shape, x=points.shape[:-1])
        batch = jnp.broadcast_shapes(times.shape, points.shape[:-1])
        velocity = _to_origin(self._root * jnp.broadcast_to(points, (*batch, self.dim)))
        scaled = jnp.broadcast_to(times, batch)[..., None] * velocity
        return self._project_point(_from_origin(scaled) / self._root)

    def mobius_matvec(
        self, matrix: Float[ArrayLike, "rows dim"], x: Float[ArrayLike, "*batch dim"]
    ) -> Float[Array, "*batch rows"]:
        """Möbius product with a matrix, `exp_0(M log_0(x))`, in the ball of as many dimensions.

        Args:
          matrix: one matrix; for several use `jax.vmap`.
          x: points.

        Returns:
          Points of the ball of the same curvature with one coordinate for each row.

        Raises:
          ValueError: `matrix` is not a matrix with `dim` columns.
        """
        product, points = checks.floating_together(matrix=matrix, x=x)
        (points,) = self._arguments({"x": points})
        if product.ndim != 2 or product.shape[-1] != self.dim:
            raise ValueError(
                f"matrix must have shape (rows, {self.dim}); got {product.shape}. Its columns meet "
                "the coordinates of x."
            )
        moved = _from_origin(_to_origin(self._root * points) @ product.T) / self._root
        return PoincareBall(product.shape[0], self.curvature)._project_point(moved)

    def gyro_midpoint(
        self,
        points: Float[ArrayLike, "points *batch dim"],
        weights: Float[ArrayLike, "points"] | None = None,
    ) -> Float[Array, "*batch dim"]:
        """Weighted gyro-midpoint: the center of mass on the hyperboloid, in closed form.

        `1/2 * (sum w l x / sum w (l - 1))` with conformal factors `l` and Möbius' `*`. Of two
        points of one weight it is the middle of their geodesic; it moves with every isometry, so
        that it is computed once more from near itself, where nothing cancels. `frechet_mean` is
        another mean, without closed form.

        Args:
          points: points along axis 0.
          weights: non-negative, one for each; None weighs all alike.

        Returns:
          The midpoint.

        Raises:
          ValueError: no axis of points, or weights of a wrong shape, negative or all zero.

        References:
          [Ungar2010] (gyrobarycentric coordinates).
        """
        (ball,) = self._arguments({"points": points})
        if ball.ndim < 2:
            raise ValueError(
                f"points must have an axis of points in front; got shape {ball.shape}. Stack "
                "them along axis 0."
            )
        count, dtype, ball = len(ball), ball.dtype, self._root * ball
        share = normalized_weights(weights, count)
        share = jnp.full(count, 1 / count, dtype) if share is None else share.astype(dtype)
        share = lifted(share, ball.ndim - 2)
        start = jax.lax.stop_gradient(_midpoint(ball, share))
        near = _sum(jnp.broadcast_to(-start, ball.shape), ball)
        return self._project_point(_sum(start, _midpoint(near, share)) / self._root)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        gap = rim_gap(self._root * x)[..., None]
        return 4 * jnp.sum(u / gap * (v / gap), axis=-1)

    def _norm(self, x: Array, u: Array) -> Array:
        return 2 * norm_at_zero(u) / rim_gap(self._root * x)

    def _distance(self, x: Array, y: Array) -> Array:
        gap, other = rim_gap(self._root * x), rim_gap(self._root * y)
        # Root by root: outside the ball the product of two negative gaps would pass unseen.
        half = self._root * row_norm(jnp.subtract, x, y) / (jnp.sqrt(gap) * jnp.sqrt(other))
        return 2 / self._root * jnp.arcsinh(half)

    def _exp(self, x: Array, u: Array) -> Array:
        x, u = self._root * x, self._root * u
        gap, length = rim_gap(x), row_sum(jnp.square, u)
        ratio = tanh_ratio(length / gap**2)
        moved = _moved(x, u, ratio / gap, ratio * length * ratio / gap**2)
        length = jnp.sqrt(row_sum(jnp.square, jax.lax.stop_gradient(moved)))
        return self._inside(moved / self._root, length / self._root)

    def _log(self, x: Array, y: Array) -> Array:
        gap, other, step = self._gaps(x, y)
        square = self._root**2 * row_sum(lambda x, y: (y - x) ** 2, x, y)
        # With s = sinh(d / 2): asinh(s) / s, times the gyro-difference over cosh(d / 2).
        roots = jnp.sqrt(gap) * jnp.sqrt(other)
        scale = gap * arcsinh_ratio(square / roots**2) / (roots * jnp.sqrt(roots**2 + square))
        scale, gap, square = scale[..., None], gap[..., None], square[..., None]
        return scale * (gap * step - square * (self._root * x)) / self._root

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        gap, other, step = self._gaps(x, y)
        turned = gyration(self._root * x, step, gap, other, u)
        return (other / gap)[..., None] * turned

    def _gaps(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """In the unit ball the gaps of both points, and the step between them.

        The difference before the product: fused into one operation, `root y - root x` would keep
        the rounding of a product at equal points.
        """
        return rim_gap(self._root * x), rim_gap(self._root * y), self._root * (y - x)

    def _project_point(self, ambient: Array) -> Array:
        return self._inside(ambient, norm_at_zero(jax.lax.stop_gradient(ambient)))

    def _inside(self, ambient: Array, length: Array) -> Array:
        """Vectors of the given lengths, those at the rim and beyond pulled inside."""
        most = (1 - 4 * float(jnp.finfo(ambient.dtype).eps)) / self._root
        pull = jnp.where(length > most, most, 1.0) / jnp.where(length > most, length, 1.0)
        return jnp.where((length > most)[..., None], ambient * pull[..., None], ambient)

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        return ambient

    def _riemannian_gradient(self, x: Array, gradient: Array) -> Array:
        return gradient * (0.5 * rim_gap(self._root * x)[..., None]) ** 2

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        normal = jax.random.normal(key, (*shape, self.dim), dtype)
        return self._project_point(_from_origin(0.5 * self._root * normal) / self._root)

    def _random_tangent(self, key: Array, x: Array) -> Array:
        normal = jax.random.normal(key, x.shape, x.dtype)
        return 0.5 * rim_gap(self._root * x)[..., None] * normal

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        return rim_gap(self._root * x) > 0


def require_negative_curvature(curvature: Any) -> None:
    """Check the curvature of a hyperbolic space.

    Args:
      curvature: the static number.

    Returns:
      Nothing.

    Raises:
      TypeError: it is not a Python number.
      ValueError: it is not negative and finite.

    Examples:
      >>> require_negative_curvature(-1.0)
    """
    checks.require_number("curvature", curvature, "scale the points for a traced one")
    checks.require_positive("minus the curvature", -curvature, "Hyperbolic curvature is negative.")


def rim_gap(x: Float[Array, "*batch dim"]) -> Float[Array, "*batch"]:
    """`1 - |x|^2` of points of the unit ball, with the digits that cancel.

    Args:
      x: points.

    Returns:
      The gaps; not positive at the rim and beyond.

    Examples:
      >>> rim_gap(jnp.array([1 - 2**-24, 0.0], jnp.float32)).item() * 2**23
      1.0
    """
    # The leading half of the digits on a fixed grid: their squares, and sums of them below 2, are
    # exact.
    bits = jnp.finfo(x.dtype).nmant // 2
    coarse = lambda x: jnp.round(jax.lax.stop_gradient(x) * 2.0**bits) * 2.0**-bits
    exact = 1 - row_sum(lambda x: coarse(x) ** 2, x)
    return exact - row_sum(lambda x: (x - coarse(x)) * (coarse(x) + x), x)


def gyration(
    x: Float[Array, "*batch dim"],
    step: Float[Array, "*batch dim"],
    gap: Float[Array, "*batch"],
    other: Float[Array, "*batch"],
    u: Float[Array, "*batch dim"],
) -> Float[Array, "*batch dim"]:
    """Rotation of tangents that transport from x to `y = x + step` is, in conformal coordinates.

    The translation is a reflection in the hyperplane at x across the geodesic, then the inversion
    that exchanges both points; multiplied out, so that equal points divide by no 0.

    Args:
      x: points of the unit ball.
      step: `y - x`.
      gap: `1 - |x|^2`.
      other: `1 - |y|^2`.
      u: tangents at x.

    Returns:
      `gyr[y, -x] u`, of the Euclidean length of `u`.

    References:
      [Ganea2018] section 2.4 (gyrations and parallel transport).

    Examples:
      >>> zero, one = jnp.zeros(2), jnp.ones(())
      >>> gyration(zero, zero, one, one, jnp.array([1.0, 2.0])).tolist()
      [1.0, 2.0]
    """
    dot = lambda a, b: jnp.sum(a * b, axis=-1, keepdims=True)
    square, along, across = dot(step, step), dot(step, u), dot(x, u)
    gap = gap[..., None]
    turn = gap * (along * x - across * step) - square * across * x
    turn = turn + (2 * dot(x, step) * across - dot(x, x) * along) * step
    return u + 2 / (gap * other[..., None] + square) * turn


def _sum(x: Array, y: Array) -> Array:
    """Möbius sum in the unit ball."""
    square = row_sum(jnp.square, y)
    return _moved(x, y, jnp.ones_like(square), square)


def _moved(x: Array, v: Array, times: Array, square: Array) -> Array:
    """Möbius sum of x and `y = times v`, whose square is given, as a step from x.

    That is `x + (1 - |x|^2) (y + |y|^2 x) / D`.
    """
    step = lambda x, v, times, square: times * v + square * x
    near = square < 0.25
    # D is |y / |y| + |y| x|^2 = |step|^2 / |y|^2, which does not cancel where y leads back over the
    # origin; near the origin the sum is smooth.
    plain = 1 + 2 * times * row_sum(jnp.multiply, x, v) + row_sum(jnp.square, x) * square
    length = row_sum(lambda *inputs: step(*inputs) ** 2, x, v, times, square)
    whole = jnp.where(near, 1.0, length) / jnp.where(near, 1.0, square)
    factor = rim_gap(x) / jnp.where(near, plain, whole)
    factor, times, square = (number[..., None] for number in (factor, times, square))
    return x + factor * step(x, v, times, square)


def _from_origin(half: Array) -> Array:
    """`exp_0(2 v)` in the unit ball."""
    return tanh_ratio(row_sum(jnp.square, half))[..., None] * half


def _to_origin(x: Array) -> Array:
    """`log_0(x) / 2` in the unit ball: `artanh(|x|) x / |x|`."""
    gap = rim_gap(x)
    ratio = arcsinh_ratio(row_sum(jnp.square, x) / gap)
    return (ratio / jnp.sqrt(gap))[..., None] * x


def _midpoint(x: Array, share: Array) -> Array:
    """Gyro-midpoint in the unit ball, over axis 0."""
    factor = 2 / rim_gap(x)
    # l - 1 = (1 + |x|^2) / (1 - |x|^2), and half of a is a / (1 + sqrt(1 - |a|^2)).
    space = jnp.sum((share * factor)[..., None] * x, axis=0)
    time = jnp.sum(share * (factor - 1), axis=0)
    length = norm_at_zero(space)
    root = jnp.sqrt((time - length) * (time + length))
    return space / (time + root)[..., None]
