"""Products of manifolds."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from igeojax._core import checks
from igeojax.manifolds.base import Manifold, require_manifold
from igeojax.numerics.rows import norm_at_zero


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class ProductManifold(Manifold):
    """Product of manifolds: a point is a tuple of points, and squares of lengths add.

    Maps act factor by factor. Scale a factor by its radius or curvature, to weigh it.

    Args:
      manifolds: the factors, at least one; a factor may be a product itself.

    Raises:
      TypeError: a factor is not a manifold.
      ValueError: there is none.

    Examples:
      >>> from igeojax.manifolds.euclidean import Euclidean
      >>> product = ProductManifold((Euclidean(1), Euclidean(2)))
      >>> round(product.distance(([0.0], [0.0, 0.0]), ([1.0], [2.0, 2.0])).item(), 6)
      3.0
    """

    manifolds: tuple[Manifold, ...]

    def __post_init__(self):
        object.__setattr__(self, "manifolds", tuple(self.manifolds))
        checks.require_count("the number of manifolds", len(self.manifolds))
        for manifold in self.manifolds:
            require_manifold(manifold)

    @property
    def point_shape(self) -> Any:
        return tuple(manifold.point_shape for manifold in self.manifolds)

    @property
    def dimension(self) -> int:
        return sum(manifold.dimension for manifold in self.manifolds)

    def _each(self, name: str, *arguments: Any) -> tuple[Any, ...]:
        """A method of every factor, on its part of every argument."""
        return tuple(
            getattr(manifold, name)(*parts)
            for manifold, *parts in zip(self.manifolds, *arguments, strict=True)
        )

    def _inner(self, x: Any, u: Any, v: Any) -> Array:
        return jnp.sum(_stacked(self._each("_inner", x, u, v)), axis=-1)

    def _norm(self, x: Any, u: Any) -> Array:
        return norm_at_zero(_stacked(self._each("_norm", x, u)))

    def _distance(self, x: Any, y: Any) -> Array:
        return norm_at_zero(_stacked(self._each("_distance", x, y)))

    def _squared_distance(self, x: Any, y: Any) -> Array:
        return jnp.sum(_stacked(self._each("_squared_distance", x, y)), axis=-1)

    def _exp(self, x: Any, u: Any) -> Any:
        return self._each("_exp", x, u)

    def _log(self, x: Any, y: Any) -> Any:
        return self._each("_log", x, y)

    def _transport(self, x: Any, y: Any, u: Any) -> Any:
        return self._each("_transport", x, y, u)

    def _retract(self, x: Any, u: Any) -> Any:
        return self._each("_retract", x, u)

    def _project_point(self, ambient: Any) -> Any:
        return self._each("_project_point", ambient)

    def _project_tangent(self, x: Any, ambient: Any) -> Any:
        return self._each("_project_tangent", x, ambient)

    def _riemannian_gradient(self, x: Any, gradient: Any) -> Any:
        return self._each("_riemannian_gradient", x, gradient)

    def _random_point(self, key: Array, shape: tuple[int, ...], dtype: Any) -> Any:
        keys = jax.random.split(key, len(self.manifolds))
        size = len(self.manifolds)
        return self._each("_random_point", keys, (shape,) * size, (dtype,) * size)

    def _random_tangent(self, key: Array, x: Any) -> Any:
        return self._each("_random_tangent", jax.random.split(key, len(self.manifolds)), x)

    def _contains(self, x: Any, tolerance: float | None) -> Array:
        size = len(self.manifolds)
        return _stacked(self._each("_contains", x, (tolerance,) * size)).all(axis=-1)

    def _arguments(
        self, points: Mapping[str, Any], vectors: Mapping[str, Any] | None = None
    ) -> tuple[Any, ...]:
        vectors = vectors or {}
        size = len(self.manifolds)
        for name, value in {**points, **vectors}.items():
            if not isinstance(value, tuple | list) or len(value) != size:
                found = f"{len(value)} parts" if isinstance(value, tuple | list) else repr(value)
                raise ValueError(
                    f"{name} must be a tuple of {size} parts, one for each factor of {self}; got "
                    f"{found}. Batch axes stand in front of every part."
                )
        rows = [
            manifold._arguments(
                {f"{name}[{i}]": value[i] for name, value in points.items()},
                {f"{name}[{i}]": value[i] for name, value in vectors.items()},
            )
            for i, manifold in enumerate(self.manifolds)
        ]
        return tuple(zip(*rows, strict=True))


def _stacked(parts: tuple[Array, ...]) -> Array:
    return jnp.stack(jnp.broadcast_arrays(*parts), axis=-1)
