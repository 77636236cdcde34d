"""Affine charts of the data, `x = offset + scale z`, in which normal laws are well conditioned.

The image of a normal law is one of the same family, so a fit may be made of standardized data and
mapped back: statistics about a common offset, in units of the deviations, keep the digits that
those of the data as they come lose. Families that are not closed under such maps have the empty
frame `()`, in which nothing changes.

Points here are single points, and a frame is one frame: use `jax.vmap` for more.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax.families.covariance import precision_factor, symmetrized_point
from igeojax.numerics.positive_definite import log_det, symmetrized
from igeojax.numerics.triangular import solve_triangular


class Frame(NamedTuple):
    """`x = offset + scale z`: `scale` a number, one for each coordinate, or a triangular matrix.

    `inverse`: of `scale`.
    """

    offset: Array
    scale: Array
    inverse: Array


def inverted(frame: Any) -> Any:
    """The frame that leads back: standardizing in it undoes standardizing in `frame`.

    Args:
      frame: a frame of any family; the empty one is its own inverse.

    Returns:
      The frame.

    Examples:
      >>> frame = Frame(jnp.array(3.0), jnp.array(2.0), jnp.array(0.5))
      >>> [float(part) for part in inverted(frame)]
      [-1.5, 0.5, 2.0]
    """

    def back(part: Frame) -> Frame:
        matrix = jnp.ndim(part.scale) == 2
        offset = part.inverse @ part.offset if matrix else part.inverse * part.offset
        return Frame(-offset, part.inverse, part.scale)

    return jax.tree.map(back, frame, is_leaf=lambda part: isinstance(part, Frame))


def composed(outer: Any, inner: Any) -> Any:
    """The frame that is `inner` as it lies in `outer`: standardizing in one, then in the other.

    Args:
      outer: a frame of any family.
      inner: one of the same kind, of observations that are standardized in `outer`.

    Returns:
      The frame, `x = outer.offset + outer.scale (inner.offset + inner.scale z)`.

    Examples:
      >>> outer = Frame(jnp.array(3.0), jnp.array(2.0), jnp.array(0.5))
      >>> inner = Frame(jnp.array(1.0), jnp.array(4.0), jnp.array(0.25))
      >>> [float(part) for part in composed(outer, inner)]
      [5.0, 8.0, 0.125]
    """

    def both(outer: Frame, inner: Frame) -> Frame:
        times = jnp.matmul if jnp.ndim(outer.scale) == 2 else jnp.multiply
        return Frame(
            outer.offset + times(outer.scale, inner.offset),
            times(outer.scale, inner.scale),
            times(inner.inverse, outer.inverse),
        )

    return jax.tree.map(both, outer, inner, is_leaf=lambda part: isinstance(part, Frame))


class ScaleFrames:
    """Frames of families whose coordinates are scaled one by one, or all by one number.

    Examples:
      >>> from igeojax.families import Normal
      >>> normal = Normal()
      >>> frame = normal.frame_of(normal.natural_from_params(loc=3.0, scale=2.0))
      >>> float(normal.standardized(jnp.array(7.0), frame))
      2.0
    """

    Point: Any
    point_shape: Any
    mean: Any
    _square: str = "xx"
    """Name of the leaf of squares."""

    @property
    def _repeats(self) -> int:
        """Coordinates that share one scale."""
        return 1

    def neutral_frame(self, dtype: Any) -> Frame:
        """The frame in which nothing changes."""
        shapes = dict(zip(self.Point._fields, self.point_shape, strict=True))
        one = jnp.ones(shapes[self._square], dtype)
        return Frame(jnp.zeros(shapes["x"], dtype), one, one)

    def frame_of(self, theta: Any) -> Frame:
        """The frame in which a point is the standard member: mean 0, variance 1."""
        scale = (-2 * getattr(theta, self._square)) ** -0.5
        return Frame(self.mean(theta), scale, 1 / scale)

    def standardized(self, x: Array, frame: Frame) -> Array:
        """Observations in the frame, `z = (x - offset) / scale`."""
        return (x - _lead(frame.offset, x)) * _wide(frame.inverse, frame, x)

    def own_log_density(self: Any, theta: Any, z: Array) -> Array:
        """Log-density of observations in the frame of the law itself: that of the standard one."""
        return _standard_log_density(z, self.event_shape)

    def in_frame(self, theta: Any, frame: Frame) -> Any:
        """Natural parameter of `z` where `theta` is that of `x`."""
        square = getattr(theta, self._square)
        shift = theta.x + 2 * _coordinates(square, frame) * frame.offset
        return self.Point(shift * _coordinates(frame.scale, frame), square * frame.scale**2)

    def from_frame(self, theta: Any, frame: Frame) -> Any:
        """Natural parameter of `x` where `theta` is that of `z`; the inverse of `in_frame`."""
        square = getattr(theta, self._square) * frame.inverse**2
        shift = theta.x * _coordinates(frame.inverse, frame)
        return self.Point(shift - 2 * _coordinates(square, frame) * frame.offset, square)

    def log_volume(self, frame: Frame) -> Array:
        """`log |det scale|`: the log-density of `x` is that of `z` less this."""
        # Of the inverse, which makes z: that of a composed frame is the scale's to rounding only.
        return -self._repeats * jnp.sum(jnp.log(frame.inverse))

    def observed_log_volume(self: Any, x: Array, frame: Frame) -> Array:
        """The same of the entries of each observation that are not nan."""
        each = jnp.where(jnp.isnan(x), 0.0, _wide(-jnp.log(frame.inverse), frame, x))
        return jnp.sum(each, axis=tuple(range(-len(self.event_shape), 0)))

    def sums_in_frame(self, count: Array, sums: Any, frame: Frame) -> Any:
        """Sums of the statistics of `z` where `sums` are those of `count` observations `x`."""
        offset, square = frame.offset, getattr(sums, self._square)
        change = count * offset**2 - 2 * offset * sums.x
        moved = square + (change if jnp.ndim(square) == change.ndim else jnp.sum(change))
        shifted = (sums.x - count * offset) * _coordinates(frame.inverse, frame)
        return self.Point(shifted, moved * frame.inverse**2)

    def conditional_variances(self, theta: Any) -> Array:
        """Variance of each coordinate given the others, in one axis."""
        return jnp.ravel(-0.5 / getattr(theta, self._square))

    def mean_squares(self, eta: Any) -> Array:
        """Mean square of each coordinate, in one axis."""
        return jnp.ravel(getattr(eta, self._square)) / self._repeats

    @property
    def shared_dimension(self) -> int:
        """Number of parameters that `shared` makes common."""
        shapes = dict(zip(self.Point._fields, self.point_shape, strict=True))
        return math.prod(shapes[self._square])

    def shared(self, shares: Array, eta: Any, frames: Frame) -> Any:
        """Mean statistics of laws of one common scale, each in its frame on axis 0."""
        square, mean = getattr(eta, self._square), eta.x**2
        mean = mean if mean.ndim == square.ndim else jnp.sum(mean, axis=-1)
        variance = jnp.tensordot(shares, (square - mean) * frames.scale**2, 1)
        return eta._replace(**{self._square: mean + variance[None] * frames.inverse**2})

    def blur(self, variance: Array, like: Any) -> Any:
        """What independent noise adds to the mean statistics, of one variance or one for each."""
        square = getattr(like, self._square)
        each = jnp.broadcast_to(self._repeats * variance, (square.size,)).reshape(square.shape)
        return self.Point(jnp.zeros_like(like.x), each.astype(square.dtype))


class MatrixFrames:
    """Frames of `MultivariateNormal`: `scale` a lower triangular matrix.

    Examples:
      >>> from igeojax.families import MultivariateNormal
      >>> family = MultivariateNormal(1)
      >>> frame = family.frame_of(family.natural_from_params(jnp.array([3.0]), 4 * jnp.eye(1)))
      >>> family.standardized(jnp.array([[7.0]]), frame).tolist()
      [[2.0]]
    """

    Point: Any
    dim: int

    def neutral_frame(self, dtype: Any) -> Frame:
        """The frame in which nothing changes."""
        one = jnp.eye(self.dim, dtype=dtype)
        return Frame(jnp.zeros(self.dim, dtype), one, one)

    def frame_of(self, theta: Any) -> Frame:
        """The frame in which a point is the standard member: mean 0, covariance the identity."""
        # Of the precision L L^T: z = L^T (x - m), in a frame whose matrix is upper triangular.
        factor = precision_factor(theta)
        root = solve_triangular(factor, jnp.eye(self.dim, dtype=factor.dtype))
        return Frame(root.T @ (root @ theta.x), root.T, factor.T)

    def standardized(self, x: Array, frame: Frame) -> Array:
        """Observations in the frame, `z = scale^-1 (x - offset)`."""
        return jnp.einsum("...j,ij->...i", x - _lead(frame.offset, x), frame.inverse)

    def own_log_density(self: Any, theta: Any, z: Array) -> Array:
        """Log-density of observations in the frame of the law itself: that of the standard one."""
        return _standard_log_density(z, self.event_shape)

    def in_frame(self, theta: Any, frame: Frame) -> Any:
        """Natural parameter of `z` where `theta` is that of `x`."""
        theta = symmetrized_point(theta)
        shift = theta.x + 2 * theta.xx @ frame.offset
        return self.Point(
            frame.scale.T @ shift, symmetrized(frame.scale.T @ theta.xx @ frame.scale)
        )

    def from_frame(self, theta: Any, frame: Frame) -> Any:
        """Natural parameter of `x` where `theta` is that of `z`; the inverse of `in_frame`."""
        xx = symmetrized(frame.inverse.T @ theta.xx @ frame.inverse)
        return self.Point(frame.inverse.T @ theta.x - 2 * xx @ frame.offset, xx)

    def log_volume(self, frame: Frame) -> Array:
        """`log |det scale|`: the log-density of `x` is that of `z` less this."""
        return -0.5 * log_det(frame.inverse)

    def observed_log_volume(self, x: Array, frame: Frame) -> Array:
        """The same of the entries of each observation that are not nan, of a diagonal scale."""
        each = -jnp.log(jnp.diagonal(frame.inverse))
        return jnp.sum(jnp.where(jnp.isnan(x), 0.0, _lead(each, x)), axis=-1)

    def sums_in_frame(self, count: Array, sums: Any, frame: Frame) -> Any:
        """Sums of the statistics of `z` where `sums` are those of `count` observations `x`."""
        cross = sums.x[:, None] * frame.offset[None, :]
        square = count * frame.offset[:, None] * frame.offset[None, :]
        moved = sums.xx - cross - cross.T + square
        return self.Point(
            frame.inverse @ (sums.x - count * frame.offset),
            symmetrized(frame.inverse @ moved @ frame.inverse.T),
        )

    def conditional_variances(self, theta: Any) -> Array:
        """Variance of each coordinate given the others, in one axis."""
        return -0.5 / jnp.diagonal(theta.xx)

    def mean_squares(self, eta: Any) -> Array:
        """Mean square of each coordinate, in one axis."""
        return jnp.diagonal(eta.xx)

    @property
    def shared_dimension(self) -> int:
        """Number of parameters that `shared` makes common."""
        return self.dim * (self.dim + 1) // 2

    def shared(self, shares: Array, eta: Any, frames: Frame) -> Any:
        """Mean statistics of laws of one common covariance, each in its frame on axis 0."""
        mean = eta.x[:, :, None] * eta.x[:, None, :]
        inside = lambda matrix, turn: symmetrized(turn @ matrix @ turn.T)
        # In the frame of the first: where all are near their own, so is it, and no digit is lost.
        into = jax.vmap(lambda scale: frames.inverse[0] @ scale)(frames.scale)
        back = jax.vmap(lambda inverse: inverse @ frames.scale[0])(frames.inverse)
        covariance = jnp.tensordot(shares, jax.vmap(inside)(eta.xx - mean, into), 1)
        return eta._replace(xx=mean + jax.vmap(inside, (None, 0))(covariance, back))

    def blur(self, variance: Array, like: Any) -> Any:
        """What independent noise adds to the mean statistics, of one variance or one for each."""
        each = jnp.broadcast_to(variance, (self.dim,)).astype(like.xx.dtype)
        return self.Point(jnp.zeros_like(like.x), jnp.diag(each))


def _standard_log_density(z: Array, event: tuple[int, ...]) -> Array:
    square = jnp.sum(z**2, axis=tuple(range(-len(event), 0)))
    return -0.5 * square - 0.5 * math.log(2 * math.pi) * math.prod(event)


def _lead(offset: Array, x: Array) -> Array:
    return offset.reshape((1,) * (x.ndim - offset.ndim) + offset.shape)


def _coordinates(values: Array, frame: Frame) -> Array:
    """Values with an axis of the coordinates."""
    return values.reshape(values.shape + (1,) * (jnp.ndim(frame.offset) - jnp.ndim(values)))


def _wide(values: Array, frame: Frame, x: Array) -> Array:
    return _lead(_coordinates(values, frame), x)
