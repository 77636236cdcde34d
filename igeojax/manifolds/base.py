"""The abstract manifold: checks of what comes in, and operations that follow from others."""

import abc
from collections.abc import Mapping
from typing import Any

import jax
import jax.core
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from igeojax._core import checks
from igeojax.numerics.safe import sqrt_at_zero


class Manifold(abc.ABC):
    """A Riemannian manifold in its ambient coordinates, described without arrays.

    A description is hashable and compared by value: a static argument that never retraces. Points
    and tangents are arrays whose trailing axes are `point_shape`, and leading axes are batch, which
    broadcast; of a product they are tuples of such arrays. Python numbers and integers become
    floats, float32 stays float32.

    Points must lie on the manifold: concrete ones are checked by `contains`, traced ones give nan
    or what the formula gives, so pull them there by `project_point` first. Vectors must be tangent,
    which is not checked: `project_tangent` makes them so. Derivatives, in both modes, are those in
    ambient coordinates; their tangent part is what counts, `riemannian_gradient`.
    """

    @property
    @abc.abstractmethod
    def point_shape(self) -> Any:
        """Trailing axes of a point, of a tangent and of the ambient space."""

    @property
    @abc.abstractmethod
    def dimension(self) -> int:
        """Dimension of the manifold: what a tangent is free to do."""

    def inner(self, x: Any, u: Any, v: Any) -> Float[Array, "*batch"]:
        """Riemannian inner product `g_x(u, v)`.

        Args:
          x: points.
          u: tangents at `x`.
          v: tangents at `x`.

        Returns:
          The inner products.
        """
        return self._inner(*self._arguments({"x": x}, {"u": u, "v": v}))

    def norm(self, x: Any, u: Any) -> Float[Array, "*batch"]:
        """Riemannian norm `sqrt(g_x(u, u))`; its derivative at the zero tangent is 0 by convention.

        Args:
          x: points.
          u: tangents at `x`.

        Returns:
          The lengths.
        """
        return self._norm(*self._arguments({"x": x}, {"u": u}))

    def distance(self, x: Any, y: Any) -> Float[Array, "*batch"]:
        """Length of the shortest path between two points.

        Args:
          x: points.
          y: points.

        Returns:
          The distances; 0 with gradient 0 at equal points.
        """
        return self._distance(*self._arguments({"x": x, "y": y}))

    def squared_distance(self, x: Any, y: Any) -> Float[Array, "*batch"]:
        """Square of the distance, `g_x(log_x(y), log_x(y))`, smooth where `log` is.

        At equal points its second derivative is twice the metric; that of the distance, a norm,
        does not exist there.

        Args:
          x: points.
          y: points.

        Returns:
          The squares.
        """
        return self._squared_distance(*self._arguments({"x": x, "y": y}))

    def exp(self, x: Any, u: Any) -> Any:
        """Point at time 1 of the geodesic that leaves `x` with velocity `u`.

        Args:
          x: points.
          u: tangents at `x`.

        Returns:
          Points.
        """
        return self._exp(*self._arguments({"x": x}, {"u": u}))

    def log(self, x: Any, y: Any) -> Any:
        """Velocity at `x` of the shortest geodesic that is at `y` at time 1, the inverse of `exp`.

        Args:
          x: points.
          y: points.

        Returns:
          Tangents at `x`, whose norm is the distance.
        """
        return self._log(*self._arguments({"x": x, "y": y}))

    def geodesic(self, x: Any, y: Any, t: Float[ArrayLike, "*times"]) -> Any:
        """Points of the shortest geodesic, `exp_x(t log_x(y))`.

        Args:
          x: points, where `t` is 0.
          y: points, where `t` is 1.
          t: times, also beyond the ends.

        Returns:
          Points, the axes of `t` in front of the batch.
        """
        x, y = self._arguments({"x": x, "y": y})
        t = checks.floating("t", t)
        way = lambda leaf: lifted(t, leaf.ndim).astype(leaf.dtype) * leaf[(None,) * t.ndim]
        start = jax.tree.map(lambda leaf: leaf[(None,) * t.ndim], x)
        return self._exp(
            *self._arguments({}, {"x": start, "u": jax.tree.map(way, self._log(x, y))})
        )

    def transport(self, x: Any, y: Any, u: Any) -> Any:
        """Parallel transport of `u` along the shortest geodesic from `x` to `y`, an isometry.

        Args:
          x: points.
          y: points.
          u: tangents at `x`.

        Returns:
          Tangents at `y`.
        """
        return self._transport(*self._arguments({"x": x, "y": y}, {"u": u}))

    def retract(self, x: Any, u: Any) -> Any:
        """A point near `exp_x(u)`, equal to first order in `u`, that costs less.

        Args:
          x: points.
          u: tangents at `x`.

        Returns:
          Points.
        """
        return self._retract(*self._arguments({"x": x}, {"u": u}))

    def project_point(self, ambient: Any) -> Any:
        """The point of the manifold for an ambient one: what lies on it stays.

        Args:
          ambient: arrays of the shape of points.

        Returns:
          Points.
        """
        return self._project_point(*self._arguments({}, {"ambient": ambient}))

    def project_tangent(self, x: Any, ambient: Any) -> Any:
        """Tangent part of an ambient vector: what is tangent stays.

        Args:
          x: points.
          ambient: arrays of the shape of points.

        Returns:
          Tangents at `x`.
        """
        return self._project_tangent(*self._arguments({"x": x}, {"ambient": ambient}))

    def riemannian_gradient(self, x: Any, gradient: Any) -> Any:
        """The tangent `r` with `g_x(r, u) = <gradient, u>` for all tangents `u`.

        Args:
          x: points.
          gradient: derivatives in ambient coordinates, as `jax.grad` gives them.

        Returns:
          Tangents at `x`.
        """
        return self._riemannian_gradient(*self._arguments({"x": x}, {"gradient": gradient}))

    def random_point(
        self, key: Key[Array, ""], shape: tuple[int, ...] = (), dtype: Any = float
    ) -> Any:
        """Draw points: uniform where the volume is finite, else `exp` of a normal tangent.

        Args:
          key: a PRNG key.
          shape: batch shape.
          dtype: floating type.

        Returns:
          Points; where the volume is infinite, from the origin, by standard normal coordinates in
          an orthonormal frame.

        Raises:
          TypeError: `key` is no key.
        """
        checks.require_key(key)
        return self._random_point(key, tuple(shape), jnp.result_type(dtype))

    def random_tangent(self, key: Key[Array, ""], x: Any) -> Any:
        """Draw tangents whose coordinates in an orthonormal frame are standard normal.

        Args:
          key: a PRNG key.
          x: points.

        Returns:
          One tangent at each point.

        Raises:
          TypeError: `key` is no key.
        """
        checks.require_key(key)
        return self._random_tangent(key, *self._arguments({"x": x}))

    def contains(self, x: Any, tolerance: float | None = None) -> Bool[Array, "*batch"]:
        """Whether points lie on the manifold.

        Args:
          x: arrays of the shape of points.
          tolerance: relative error of an equation that they must satisfy; None for `sqrt(eps)`.
            Strict inequalities, as of the ball, have none.

        Returns:
          True where they do.
        """
        (x,) = self._arguments({}, {"x": x})
        return self._contains(x, tolerance)

    # What a manifold has to say.

    @abc.abstractmethod
    def _inner(self, x: Array, u: Array, v: Array) -> Array: ...

    @abc.abstractmethod
    def _distance(self, x: Array, y: Array) -> Array: ...

    @abc.abstractmethod
    def _exp(self, x: Array, u: Array) -> Array: ...

    @abc.abstractmethod
    def _log(self, x: Array, y: Array) -> Array: ...

    @abc.abstractmethod
    def _transport(self, x: Array, y: Array, u: Array) -> Array: ...

    @abc.abstractmethod
    def _project_point(self, ambient: Array) -> Array: ...

    @abc.abstractmethod
    def _project_tangent(self, x: Array, ambient: Array) -> Array: ...

    @abc.abstractmethod
    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Array: ...

    @abc.abstractmethod
    def _random_tangent(self, key: Array, x: Array) -> Array: ...

    @abc.abstractmethod
    def _contains(self, x: Array, tolerance: float | None) -> Array: ...

    # What follows, unless there is a better formula.

    def _norm(self, x: Array, u: Array) -> Array:
        return sqrt_at_zero(self._inner(x, u, u))

    def _squared_distance(self, x: Array, y: Array) -> Array:
        u = self._log(x, y)
        return self._inner(x, u, u)

    def _retract(self, x: Array, u: Array) -> Array:
        return self._project_point(x + u)

    def _riemannian_gradient(self, x: Array, gradient: Array) -> Array:
        return self._project_tangent(x, gradient)

    def _arguments(
        self, points: Mapping[str, Any], vectors: Mapping[str, Any] | None = None
    ) -> tuple[Any, ...]:
        """Points and vectors as arrays of one floating dtype and one batch shape.

        Raises:
          TypeError: one is not real.
          ValueError: a wrong shape, batches that do not broadcast, or a concrete point that is not
            on the manifold.
        """
        named = dict(zip((both := {**points, **(vectors or {})}), self._floats(both), strict=True))
        shape = self.point_shape
        for name, value in named.items():
            checks.require_trailing_shape(name, value, shape)
        for name in points:
            self._require_contained(name, named[name])
        batches = {name: value.shape[: value.ndim - len(shape)] for name, value in named.items()}
        checks.require_broadcastable(**batches)
        batch = jnp.broadcast_shapes(*batches.values())
        return tuple(jnp.broadcast_to(value, batch + shape) for value in named.values())

    def _floats(self, named: Mapping[str, Any]) -> tuple[Array, ...]:
        return checks.floating_together(**named)

    def _require_contained(self, name: str, value: Array) -> None:
        if isinstance(value, jax.core.Tracer):
            return
        checks.require_values(
            name,
            self._contains(value, None),
            lambda v: v,
            f"on the manifold {self}",
            "Pull it there by project_point.",
        )


def require_manifold(manifold: Any) -> None:
    """Check that an argument is a manifold.

    Args:
      manifold: the argument.

    Raises:
      TypeError: it is not.

    Returns:
      Nothing.

    Examples:
      >>> require_manifold(1.0)
      Traceback (most recent call last):
      TypeError: manifold must be a Manifold; got 1.0. Pass a description such as Sphere(3).
    """
    if not isinstance(manifold, Manifold):
        raise TypeError(
            f"manifold must be a Manifold; got {manifold!r}. Pass a description such as Sphere(3)."
        )


def lifted(values: Float[Array, "*batch"], axes: int) -> Array:
    """Numbers with trailing axes of size 1, to scale arrays by.

    Args:
      values: numbers.
      axes: how many axes.

    Returns:
      The same numbers.

    Examples:
      >>> lifted(jnp.ones(3), 2).shape
      (3, 1, 1)
    """
    return values.reshape(values.shape + (1,) * axes)


def relative_tolerance(tolerance: float | None, dtype: Any) -> float:
    """What a relative error is compared with: the tolerance, or `sqrt(eps)` for None.

    Args:
      tolerance: positive, or None.
      dtype: the floating type.

    Returns:
      The number.

    Examples:
      >>> relative_tolerance(None, jnp.float64) == 2**-26
      True
    """
    return float(jnp.finfo(dtype).eps) ** 0.5 if tolerance is None else tolerance
