"""Hyperbolic space as a sheet of the hyperboloid: room to a distance of 40 in float32."""

import dataclasses
import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, relative_tolerance
from igeojax.manifolds.poincare_ball import gyration, require_negative_curvature
from igeojax.numerics.rows import norm_at_zero, row_norm, row_sum
from igeojax.numerics.safe import quotient, sqrt_at_zero
from igeojax.numerics.square_ratios import arcsinh_ratio, cosh_excess, sinh_ratio


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Lorentz(Manifold):
    """Sheet `-x_0^2 + x_1^2 + .. + x_dim^2 = -1/c`, `x_0 > 0`, of curvature `-c`: the hyperboloid.

    The entry 0 is time, the others are space. A point is known by its space part, a tangent
    likewise: results depend on nothing else, and `project_point` recomputes time. Distances are
    exact to a few eps from the origin and along coordinate axes, to `r = 40 / sqrt(c)` in float32.
    In other directions a point at distance r is itself stored with an error of about `eps sinh(r)`
    across its ray, and distances, `exp` and `log` are as right as that allows: of two points of one
    ray too. A step that leads further than the dtype holds gives nan; in the ball it ends at the
    rim.

    Args:
      dim: dimension, at least 1; points have one entry more.
      curvature: negative sectional curvature `-c`.

    Raises:
      TypeError: `dim` is not an integer, or `curvature` not a number.
      ValueError: `dim` is below 1, or `curvature` not negative.

    References:
      [NickelKiela2018] section 3 (maps of the model).

    Examples:
      >>> lorentz = Lorentz(1)
      >>> x, y = (jnp.array([math.cosh(r), math.sinh(r)]) for r in (2.0, -1.0))
      >>> round(lorentz.distance(x, y).item(), 6)
      3.0
    """

    dim: int
    curvature: float = -1.0

    def __post_init__(self):
        checks.require_count("dim", self.dim)
        require_negative_curvature(self.curvature)

    @property
    def point_shape(self) -> tuple[int, ...]:
        return (self.dim + 1,)

    @property
    def dimension(self) -> int:
        return self.dim

    @property
    def _root(self) -> float:
        """`sqrt(c)`: points times it lie on the unit hyperboloid."""
        return math.sqrt(-self.curvature)

    def _inner(self, x: Array, u: Array, v: Array) -> Array:
        x = self._root * x[..., 1:]
        return jnp.sum(_frame(x, u[..., 1:]) * _frame(x, v[..., 1:]), axis=-1)

    def _norm(self, x: Array, u: Array) -> Array:
        return norm_at_zero(_frame(self._root * x[..., 1:], u[..., 1:]))

    def _distance(self, x: Array, y: Array) -> Array:
        return 2 / self._root * jnp.arcsinh(_half_chord(_pair(x, y, self._root)))

    def _exp(self, x: Array, u: Array) -> Array:
        return self._from_space(_exp(self._root * x[..., 1:], self._root * u[..., 1:]))

    def _log(self, x: Array, y: Array) -> Array:
        return _log(x, y, self._root)

    def _transport(self, x: Array, y: Array, u: Array) -> Array:
        spaces = self._spaces(x, y)
        return self._tangent(spaces[1], _transport(*spaces, u[..., 1:]))

    def _spaces(self, x: Array, y: Array) -> tuple[Array, Array, Array]:
        """Space parts on the unit hyperboloid, and their difference.

        The difference before the product: fused into one operation, `root y - root x` would keep
        the rounding of a product at equal points.
        """
        x, y = x[..., 1:], y[..., 1:]
        return self._root * x, self._root * y, self._root * (y - x)

    def _project_point(self, ambient: Array) -> Array:
        return self._from_space(self._root * ambient[..., 1:])

    def _project_tangent(self, x: Array, ambient: Array) -> Array:
        space = self._root * x[..., 1:]
        time = _time(space)[..., None]
        along = _dot(space, ambient[..., 1:]) - time * ambient[..., :1]
        return self._tangent(space, ambient[..., 1:] + along * space)

    def _riemannian_gradient(self, x: Array, gradient: Array) -> Array:
        return self._project_tangent(x, gradient.at[..., 0].multiply(-1))

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array:
        normal = self._root * jax.random.normal(key, (*shape, self.dim), dtype)
        return self._from_space(sinh_ratio(_dot(normal, normal)) * normal)

    def _random_tangent(self, key: Array, x: Array) -> Array:
        space = self._root * x[..., 1:]
        normal = jax.random.normal(key, space.shape, x.dtype)
        return self._tangent(space, _from_frame(space, normal))

    def _contains(self, x: Array, tolerance: float | None) -> Array:
        time = _time(self._root * x[..., 1:])
        error = jnp.abs(self._root * x[..., 0] / time - 1)
        return error <= relative_tolerance(tolerance, x.dtype)

    def _from_space(self, space: Array) -> Array:
        return jnp.concatenate([_time(space)[..., None], space], axis=-1) / self._root

    def _tangent(self, space: Array, u: Array) -> Array:
        """A tangent with its time, at the point with a space part in units of the radius."""
        time = _time(space)[..., None]
        return jnp.concatenate([_dot(space / time, u), u], axis=-1)


_FAR = math.sqrt(2.0)  # time from which on polar coordinates serve

# On the unit hyperboloid, in space parts alone. Polar coordinates, in which nothing cancels along a
# ray, have no derivatives at the origin: within a length of 1 other formulas do as well.


def _dot(a: Array, b: Array) -> Array:
    return row_sum(jnp.multiply, a, b)[..., None]


def _time(x: Array) -> Array:
    return jnp.sqrt(1 + row_sum(jnp.square, x))


def _split(x: Array, u: Array) -> tuple[Array, Array, Array]:
    """Length of `u` along the ray of x, the rest of u, and the unit ray; at the origin 0 and u."""
    length = norm_at_zero(x)[..., None]
    ray = x / jnp.where(length == 0, 1.0, length)
    along = _dot(u, ray)
    return along, u - along * ray, ray


def _frame(x: Array, u: Array) -> Array:
    """Coordinates of tangents in the orthonormal frame that transport brings from the origin."""
    time = _time(x)[..., None]
    far = _dot(x, x) > 1
    smooth = u - _dot(u, x) / (time * (1 + time)) * x
    along, rest, ray = _split(jnp.where(far, x, 0.0), u)
    return jnp.where(far, rest + along / time * ray, smooth)


def _from_frame(x: Array, n: Array) -> Array:
    return n + _dot(n, x) / (1 + _time(x)[..., None]) * x


class _Pair(NamedTuple):
    """What two points x and y of the unit hyperboloid have in common: numbers."""

    square: Array  # |x|^2
    other_square: Array
    time: Array
    other_time: Array
    product: Array  # <x, y>
    length: Array  # |y - x|
    rise: Array  # |y|^2 - |x|^2, as <y - x, y + x>
    polar: Array  # both are out where polar coordinates serve
    apart: Array  # there, the difference of their distances from the origin
    across: Array  # there, sqrt((|x| |y| - <x, y>) / 2), of the angle between both


def _pair(x: Array, y: Array, root: float) -> _Pair:
    """Of points of the hyperboloid `root` times smaller, whose differences are exact.

    The difference before the product: fused into one operation, `root y - root x` would keep the
    rounding of a product at equal points.
    """
    x, y = x[..., 1:], y[..., 1:]
    square, other_square = (row_sum(lambda v: (root * v) ** 2, v) for v in (x, y))
    time, other_time = jnp.sqrt(1 + square), jnp.sqrt(1 + other_square)
    product = row_sum(lambda x, y: root * x * (root * y), x, y)
    length = root * row_norm(jnp.subtract, y, x)
    total = sqrt_at_zero(row_sum(lambda x, y: (root * (y + x)) ** 2, x, y))
    rise = row_sum(lambda x, y: root * (y - x) * (root * (y + x)), x, y)
    polar = (time > _FAR) & (other_time > _FAR)
    # Elsewhere any numbers, whose derivatives are finite.
    a, b = (jnp.sqrt(jnp.where(polar, v, 1.0)) for v in (square, other_square))
    most = jnp.maximum(a, b)
    # sinh of it is (b^2 - a^2) / (b sqrt(1 + a^2) + a sqrt(1 + b^2)).
    ascent = quotient(jnp.where(polar, rise, 0.0), most)
    apart = jnp.arcsinh(quotient(ascent, quotient(b, most) * time + quotient(a, most) * other_time))
    near = polar & (4 * length < total)
    # Near, the part of the step across the middle ray: |rest| / (2 sqrt(1 - (a - b)^2/|total|^2)).
    # Taken twice, for the first pass leaves a rounding of the step along the ray. On an axis the
    # ray is exact, and the rest 0.
    middle = jnp.where(near, total, root)
    ray = quotient(y + x, (middle / root)[..., None])
    along = row_sum(lambda x, y, ray: (y - x) * ray, x, y, ray)
    along = jnp.where(near, along, 0.0)
    again = row_sum(lambda x, y, ray, along: ((y - x) - along * ray) * ray, x, y, ray, along)
    unit = jax.lax.stop_gradient(root / jnp.where(length == 0, 1.0, length))
    # The same numbers with the other sign: XLA would store those that two sums have in common.
    minus = lambda x, y, ray, along, again: ((x - y) + along * ray) + again * ray
    square_rest = row_sum(
        lambda x, y, ray, along, again, unit: (unit * minus(x, y, ray, along, again)) ** 2,
        *(x, y, ray, along, again, unit),
    )
    scales = (quotient(jnp.full_like(v, root), v) for v in (a, b))
    units = row_sum(lambda x, y, a, b: (y * b - x * a) ** 2, x, y, *scales)
    close, wide = root * sqrt_at_zero(square_rest), jnp.sqrt(a) * jnp.sqrt(b) * sqrt_at_zero(units)
    slope = quotient(root * along, a + b)
    twice = jnp.where(near, 2 * unit * jnp.sqrt(1 - slope**2), 2.0)
    across = quotient(jnp.where(near, close, wide), twice)
    return _Pair(
        square, other_square, time, other_time, product, length, rise, polar, apart, across
    )


def _half_chord(pair: _Pair) -> Array:
    """`sinh(d / 2)` of the distance d."""
    far = jnp.stack([jnp.sinh(0.5 * pair.apart), pair.across], axis=-1)
    # From differences, (|y - x|^2 - (y_0 - x_0)^2) / 4, unless one of both is far.
    total = pair.time + pair.other_time
    one_far = total > 4
    length = jnp.where(pair.length == 0, 1.0, pair.length)
    rise = quotient(jnp.where(one_far, 0.0, quotient(pair.rise, length)), total)
    near = pair.length * jnp.sqrt(1 - rise**2)
    product = 0.5 * (pair.time * pair.other_time - 1 - pair.product)
    mixed = jnp.sqrt(jnp.where(one_far & ~pair.polar, product, 1.0))
    half = jnp.where(pair.polar, norm_at_zero(far), jnp.where(one_far, mixed, near))
    return half / jnp.where(pair.polar | one_far, 1.0, 2.0)


def _log(x: Array, y: Array, root: float) -> Array:
    """`d / sinh(d)` times `y - cosh(d) x`, as a sum of `y` or `y - x` and a multiple of x."""
    pair = _pair(x, y, root)
    half = _half_chord(pair)
    far = pair.time > _FAR
    # Of y - x and y, whose parts across x are one, the shorter has all digits.
    shorter = ~far | (pair.length**2 < pair.other_square)
    start = jnp.where(shorter, 1.0, 0.0).astype(x.dtype)
    space, other = x[..., 1:], y[..., 1:]
    product = row_sum(lambda x, y, start: root * x * (root * (y - start * x)), space, other, start)
    # Far, the part along the ray by polar coordinates: of the frame at x, sinh(d) long.
    radius = jnp.sqrt(jnp.where(far, pair.square, 1.0))
    polar = jnp.sinh(pair.apart) - 2 * quotient(pair.time, radius) * pair.across**2
    plain = quotient(pair.product, radius) * pair.time - radius * pair.other_time
    along = jnp.where(pair.polar, polar, plain)
    short = jnp.where(far, 0.0, half)
    smooth = -2 * short**2
    factor = jnp.where(far, along * pair.time - quotient(product, radius), smooth)
    factor = quotient(factor, jnp.where(far, radius, 1.0))
    # d / sinh(d) = asinh(h) / (h sqrt(1 + h^2)).
    cosh = 1 + half**2
    scale = quotient(arcsinh_ratio(half**2) * jnp.sqrt(cosh), cosh)
    level = jnp.where(far, radius * along, product + smooth * pair.square)
    level = quotient(level, jnp.where(far, 1.0, pair.time))
    scale, start, factor = (v[..., None] for v in (scale, start, factor))
    tangent = scale * ((other - start * space) + factor * space)
    return jnp.concatenate([scale * level[..., None] / root, tangent], axis=-1)


def _exp(x: Array, u: Array) -> Array:
    square = row_sum(jnp.square, x)
    time = jnp.sqrt(1 + square)
    far = time > _FAR
    # Coordinates of the frame at x: far the part along the ray and the rest, near all in one.
    radius = jnp.where(far, jnp.sqrt(jnp.where(far, square, 1.0)), 1.0)
    ray = quotient(x, radius[..., None])
    product = row_sum(jnp.multiply, u, ray)
    part = quotient(product, jnp.where(far, 1.0, time * (1 + time)))
    rest = row_sum(lambda ray, u, part: (u - part * ray) ** 2, ray, u, part)
    along = jnp.where(far, product, 0.0)
    level = quotient(along, time)
    length = rest + level**2
    ratio, excess = sinh_ratio(length), cosh_excess(length)
    plain = radius + (excess * radius + ratio * along)
    # Back towards the origin cosh and sinh cancel: sinh(r - rho), and what the way is askew.
    back = (along < 0) & (length > 0.25)
    speed = jnp.sqrt(jnp.where(back, length, 1.0))
    askew = quotient(time * ratio * rest, speed - jnp.where(back, level, 0.0))
    inward = jnp.sinh(jnp.arcsinh(radius) - speed) + askew
    end = jnp.where(far, jnp.where(back, inward, plain), 1.0)
    excess = jnp.where(far, 0.0, excess)
    end, excess, ratio, along = (v[..., None] for v in (end, excess, ratio, along))
    return end * ray + (excess * ray + ratio * (u - along * ray))


def _transport(x: Array, y: Array, step: Array, u: Array) -> Array:
    # From frame to frame, by the rotation of the ball, whose coordinates are x / (1 + x_0).
    time, other = _time(x), _time(y)
    ball = x / (1 + time)[..., None]
    rise = jnp.sum(step * (x + y), axis=-1) / (time + other)
    move = (step - ball * rise[..., None]) / (1 + other)[..., None]
    turned = gyration(ball, move, 2 / (1 + time), 2 / (1 + other), _frame(x, u))
    return _from_frame(y, turned)
