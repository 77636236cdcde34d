"""Hyperbolic space as a sheet of the hyperboloid: room to a distance of 40 in float32."""

import dataclasses
import math
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, relative_tolerance
from igeojax.manifolds.poincare_ball import gyration, require_negative_curvature
from igeojax.numerics.safe import norm_at_zero
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
        return 2 / self._root * jnp.arcsinh(_half_chord(*self._spaces(x, y)))

    def _exp(self, x: Array, u: Array) -> Array:
        x, u = self._root * x[..., 1:], self._root * u[..., 1:]
        return self._from_space(_exp(x, u))

    def _log(self, x: Array, y: Array) -> Array:
        spaces = self._spaces(x, y)
        return self._tangent(spaces[0], _log(*spaces) / self._root)

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


# On the unit hyperboloid, in space parts alone. Polar coordinates, in which nothing cancels along a
# ray, have no derivatives at the origin: within a length of 1 other formulas do as well.


def _dot(a: Array, b: Array) -> Array:
    return jnp.sum(a * b, axis=-1, keepdims=True)


def _time(x: Array) -> Array:
    return jnp.sqrt(1 + jnp.sum(x * x, axis=-1))


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


def _rise(x: Array, y: Array, step: Array) -> Array:
    """How much further y is from the origin than x, from their difference; both far."""
    a, b = norm_at_zero(x), norm_at_zero(y)
    most = jnp.maximum(a, b)
    apart = jnp.sum(step / most[..., None] * (y + x), axis=-1)
    # sinh of it is (b^2 - a^2) / (b sqrt(1 + a^2) + a sqrt(1 + b^2)).
    return jnp.arcsinh(apart / (b / most * _time(x) + a / most * _time(y)))


def _across(x: Array, y: Array, step: Array) -> Array:
    """`sqrt((|x| |y| - <x, y>) / 2)`, of the angle between both; both far."""
    a, b = norm_at_zero(x), norm_at_zero(y)
    total = y + x
    near = 4 * norm_at_zero(step) < norm_at_zero(total)
    # Near, the part of the step across the middle ray: |rest| / (2 sqrt(1 - (a - b)^2/|total|^2)).
    # Taken twice, for the first pass leaves a rounding of the step along the ray.
    along, rest, ray = _split(jnp.where(near[..., None], total, 1.0), step)
    rest = rest - _dot(rest, ray) * ray
    slope = jnp.where(near, along[..., 0] / (a + b), 0.0)
    close = 0.5 * norm_at_zero(rest) / jnp.sqrt(1 - slope**2)
    units = y / b[..., None] - x / a[..., None]
    wide = 0.5 * jnp.sqrt(a) * jnp.sqrt(b) * norm_at_zero(units)
    return jnp.where(near, close, wide)


def _far(*points: Array) -> Array:
    """Whether points are out where polar coordinates serve."""
    return jnp.stack([jnp.sum(x * x, axis=-1) > 1 for x in points]).all(axis=0)


def _kept(far: Array, *points: Array) -> list[Array]:
    """Points where they are far, and any that are elsewhere."""
    return [jnp.where(far[..., None], x, 1.0) for x in points]


def _half_chord(x: Array, y: Array, step: Array) -> Array:
    """`sinh(d / 2)` of the distance d."""
    polar = _far(x, y)
    both = _kept(polar, x, y, step)
    far = norm_at_zero(jnp.stack([jnp.sinh(0.5 * _rise(*both)), _across(*both)], axis=-1))
    # From differences, (|y - x|^2 - (y_0 - x_0)^2) / 4, unless one of both is far.
    total = _time(x) + _time(y)
    one_far = total > 4
    length = norm_at_zero(step)
    unit = step / jnp.where(length == 0, 1.0, length)[..., None]
    rise = jnp.where(one_far, 0.0, jnp.sum(unit * (y + x), axis=-1)) / total
    near = 0.5 * length * jnp.sqrt(1 - rise**2)
    product = 0.5 * (_time(x) * _time(y) - 1 - jnp.sum(x * y, axis=-1))
    mixed = jnp.sqrt(jnp.where(one_far & ~polar, product, 1.0))
    return jnp.where(polar, far, jnp.where(one_far, mixed, near))


def _chord(x: Array, y: Array, step: Array, half: Array) -> Array:
    """`y - cosh(d) x` in the frame at x, of length `sinh(d)`."""
    out = _far(x)
    # Where it is not taken its derivative, times 0, must be a number too.
    short = jnp.where(out, 0.0, half)[..., None]
    smooth = _frame(x, step - 2 * short**2 * x)
    (base,) = _kept(out, x)
    shorter = (norm_at_zero(step) < norm_at_zero(y))[..., None]
    along, rest, ray = _split(base, y)
    rest = jnp.where(shorter, _split(base, step)[1], rest)
    polar = _far(x, y)
    both = _kept(polar, x, y, step)
    steep = _time(both[0]) / norm_at_zero(both[0])
    rise = jnp.sinh(_rise(*both)) - 2 * steep * _across(*both) ** 2
    plain = along[..., 0] * _time(base) - norm_at_zero(base) * _time(y)
    rise = jnp.where(polar, rise, plain)[..., None]
    return jnp.where(out[..., None], rest + rise * ray, smooth)


def _log(x: Array, y: Array, step: Array) -> Array:
    half = _half_chord(x, y, step)
    # d / sinh(d) = asinh(h) / (h sqrt(1 + h^2)).
    scale = arcsinh_ratio(half**2) / jnp.sqrt(1 + half**2)
    return _from_frame(x, scale[..., None] * _chord(x, y, step, half))


def _exp(x: Array, u: Array) -> Array:
    n = _frame(x, u)
    square = _dot(n, n)
    ratio, excess = sinh_ratio(square), cosh_excess(square)
    out = _far(x)
    near = ~out[..., None]
    smooth = x + (jnp.where(near, excess, 0.0) * x + jnp.where(near, ratio, 0.0) * u)
    (base,) = _kept(out, x)
    along, rest, ray = _split(base, n)
    length, time = norm_at_zero(base)[..., None], _time(base)[..., None]
    plain = length + (excess * length + ratio * along * time)
    # Back towards the origin cosh and sinh cancel: sinh(r - rho), and what the way is askew.
    back = (along < 0) & (square > 0.25)
    speed = jnp.sqrt(jnp.where(back, square, 1.0))
    askew = time * ratio * _dot(rest, rest) / (speed - jnp.where(back, along, 0.0))
    inward = jnp.sinh(jnp.arcsinh(length) - speed) + askew
    return jnp.where(out[..., None], jnp.where(back, inward, plain) * ray + ratio * rest, smooth)


def _transport(x: Array, y: Array, step: Array, u: Array) -> Array:
    # From frame to frame, by the rotation of the ball, whose coordinates are x / (1 + x_0).
    time, other = _time(x), _time(y)
    ball = x / (1 + time)[..., None]
    rise = jnp.sum(step * (x + y), axis=-1) / (time + other)
    move = (step - ball * rise[..., None]) / (1 + other)[..., None]
    turned = gyration(ball, move, 2 / (1 + time), 2 / (1 + other), _frame(x, u))
    return _from_frame(y, turned)
