"""Independent products of families."""

import dataclasses
import math
import operator
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike

from igeojax._core import checks
from igeojax.families._pairs import natural_parts, pair_of, source_parts
from igeojax.families.base import MOST_OUTCOMES, ExponentialFamily


class _Parts(tuple):
    """A tuple made of its parts, `kind(*parts)`, as a NamedTuple is."""

    __slots__ = ()

    def __new__(cls, *parts: Any):
        return super().__new__(cls, parts)

    def __getnewargs__(self) -> tuple[Any, ...]:
        return tuple(self)


class ProductPoint(_Parts):
    """One point of each factor, in order.

    Args:
      *parts: the points.

    Examples:
      >>> ProductPoint(1.0, 2.0)[1]
      2.0
    """

    __slots__ = ()


class ProductParams(_Parts):
    """Source parameters of each factor, in order.

    Args:
      *parts: the source parameters.

    Examples:
      >>> len(ProductParams(1.0, 2.0))
      2
    """

    __slots__ = ()


for _kind in (ProductPoint, ProductParams):
    jax.tree_util.register_pytree_with_keys(
        _kind,
        lambda points: ([(jax.tree_util.SequenceKey(i), p) for i, p in enumerate(points)], None),
        lambda _, points, kind=_kind: kind(*points),
    )


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Product(ExponentialFamily[ProductPoint, ProductParams]):
    """Independent factors: points are tuples of points, observations tuples of arrays, `psi` adds.

    Args:
      families: the factors, at least one; a factor may be a product itself.

    Raises:
      TypeError: a factor is not a family.
      ValueError: there is none.

    References:
      [AmariNagaoka2000] section 2.1.

    Examples:
      >>> from igeojax.families.normal import Normal
      >>> from igeojax.families.poisson import Poisson
      >>> family = Product((Normal(), Poisson()))
      >>> theta = family.natural_from_params(Normal.Params(0.0, 1.0), Poisson.Params(2.0))
      >>> round(float(family.log_density(theta, (0.0, 0))), 6)
      -2.918939
    """

    families: tuple[ExponentialFamily, ...]

    Point = ProductPoint
    Params = ProductParams

    def __post_init__(self):
        object.__setattr__(self, "families", tuple(self.families))
        checks.require_count("the number of families", len(self.families))
        for family in self.families:
            if not isinstance(family, ExponentialFamily):
                raise TypeError(
                    f"families must be exponential families; got {family!r}. Pass descriptions "
                    "such as families.Normal()."
                )

    def _each(self, name: str, *arguments: Any) -> list[Any]:
        """A method of every factor, on its part of every argument."""
        return [
            getattr(family, name)(*parts)
            for family, *parts in zip(self.families, *arguments, strict=True)
        ]

    @property
    def _inside(self) -> Any:
        return tuple(family._inside for family in self.families)

    @property
    def point_shape(self):
        return tuple(shape for family in self.families for shape in family.point_shape)

    @property
    def event_shape(self) -> Any:
        return tuple(family.event_shape for family in self.families)

    @property
    def _discrete(self) -> bool:
        return any(family._discrete for family in self.families)

    @property
    def outcomes(self) -> Any:
        lists = [family.outcomes for family in self.families]
        if any(part is None for part in lists):
            return None
        sizes = [len(jax.tree.leaves(part)[0]) for part in lists]
        if math.prod(sizes) > MOST_OUTCOMES:
            return None
        choice = np.indices(sizes).reshape(len(sizes), -1)
        return tuple(
            jax.tree.map(operator.itemgetter(index), part)
            for part, index in zip(lists, choice, strict=True)
        )

    def from_leaves(self, leaves: Sequence[Array]) -> ProductPoint:
        points, start = [], 0
        for family in self.families:
            size = len(family.point_shape)
            points.append(family.from_leaves(leaves[start : start + size]))
            start += size
        return ProductPoint(*points)

    def batch_shape(self, point: ProductPoint) -> tuple[int, ...]:
        self._require_parts("a point", point, ProductPoint)
        shapes = self._each("batch_shape", point)
        if len(set(shapes)) > 1:
            raise ValueError(
                f"the factors of a point of {self} must share their batch shape; got {shapes}. "
                "Broadcast them first."
            )
        return shapes[0]

    def _require_parts(self, name: str, value: Any, kind: type) -> None:
        if not isinstance(value, kind) or len(value) != len(self.families):
            raise TypeError(
                f"{name} of {self} needs a {kind.__name__.replace('Product', 'Product.')}; got "
                f"{type(value).__name__} of {len(value) if isinstance(value, tuple) else 'no'} "
                f"parts. It has one part for each of {len(self.families)} factors: make it with "
                "natural_from_params(...)."
            )

    def statistics(self, x: Any) -> ProductPoint:
        return ProductPoint(*self._each("statistics", self._data(x)))

    def log_partition(self, theta: ProductPoint) -> Array:
        return jnp.asarray(sum(self._each("log_partition", theta)))

    def mean_from_natural(self, theta: ProductPoint) -> ProductPoint:
        return ProductPoint(*self._each("mean_from_natural", theta))

    def natural_from_mean(self, eta: ProductPoint) -> ProductPoint:
        return ProductPoint(*self._each("natural_from_mean", eta))

    def in_chart(self, eta: ProductPoint) -> ProductPoint:
        return ProductPoint(*self._each("in_chart", eta))

    def natural_from_params(self, *params: Any) -> ProductPoint:
        """Natural parameter of the source parameters (or a point) of each factor, in order.

        Raises:
          TypeError: a wrong number of arguments, or one that does not belong to its factor.
          ValueError: values that its factor refuses.
        """
        if len(params) == 1 and isinstance(params[0], ProductParams):
            params = tuple(params[0])
        self._require_parts("source parameters", ProductParams(*params), ProductParams)
        points = [
            family.natural_from_params(*part) if isinstance(part, family.Params) else part
            for family, part in zip(self.families, params, strict=True)
        ]
        return self._together(points)

    def _together(self, points: Sequence[Any]) -> ProductPoint:
        """The product's point of one point of each factor, batch axes broadcast."""
        batch = jnp.broadcast_shapes(*self._each("batch_shape", points))
        shapes = iter(self.point_shape)
        return jax.tree.map(
            lambda leaf: jnp.broadcast_to(leaf, batch + next(shapes)), ProductPoint(*points)
        )

    def params_from_natural(self, theta: ProductPoint) -> ProductParams:
        return ProductParams(*self._each("params_from_natural", theta))

    def in_natural_domain(self, theta: ProductPoint) -> Array:
        return _all(self._each("in_natural_domain", theta))

    def in_support(self, x: Any) -> Array:
        return _all(self._each("in_support", x))

    def log_base_measure(self, x: Any) -> Array:
        x = self._data(x)
        # Labels have no dtype of their own to give: that of the other columns decides.
        kinds = [a.dtype for a in jax.tree.leaves(x) if jnp.issubdtype(a.dtype, jnp.floating)]
        dtype = jnp.result_type(*kinds) if kinds else float
        parts = self._each("log_base_measure", x)
        return jnp.asarray(sum(part.astype(dtype) for part in parts))

    def mean_log_base_measure(self, theta: ProductPoint) -> Array:
        return jnp.asarray(sum(self._each("mean_log_base_measure", theta)))

    def mean(self, theta: ProductPoint) -> Any:
        return tuple(self._each("mean", theta))

    def variance(self, theta: ProductPoint) -> Any:
        return tuple(self._each("variance", theta))

    def mode(self, theta: ProductPoint) -> Any:
        return tuple(self._each("mode", theta))

    def _bregman(self, theta: ProductPoint, other: ProductPoint, step: ProductPoint) -> Array:
        return jnp.asarray(sum(self._each("_bregman", theta, other, step)))

    def _natural_step(self, params: ProductParams, other: ProductParams) -> ProductPoint:
        pairs = zip(self.families, params, other, strict=True)
        return self._together([pair_of(family, one, two).step for family, one, two in pairs])

    def _mixture_parts(self, p: ProductParams, q: ProductParams, order: Array, from_above: bool):
        pairs = list(zip(self.families, p, q, strict=True))
        parts = [source_parts(*pair, order, from_above) for pair in pairs]
        if all(part is None for part in parts):
            return None
        # A factor whose natural parameters will do goes by them and the step between them.
        known = [
            natural_parts(pair[0], pair_of(*pair), order, from_above) if part is None else part
            for pair, part in zip(pairs, parts, strict=True)
        ]
        first, second, finite = (jnp.broadcast_arrays(*part) for part in zip(*known, strict=True))
        return jnp.asarray(sum(first)), jnp.asarray(sum(second)), _all(finite)

    def _entropy(self, theta: ProductPoint) -> Array:
        return jnp.asarray(sum(self._each("_entropy", theta)))

    def _source_entropy(self, params: ProductParams) -> Array:
        return jnp.asarray(sum(jnp.broadcast_arrays(*self._each("entropy", params))))

    def log_density(self, theta: ProductPoint, x: Any) -> Array:
        self._point(theta)
        self._require_data(x)
        return _summed(self._each("log_density", theta, x))

    def _log_density(self, theta: ProductPoint, x: Any) -> Array:
        return jnp.asarray(sum(self._each("_log_density", theta, x)))

    def _filled(self, x: Any) -> Any:
        self._require_data(x)
        return tuple(self._each("_filled", x))

    def _observed_log_density(self, theta: ProductPoint, x: Any) -> Array:
        self._point(theta)
        self._require_data(x)
        return _summed(self._each("_observed_log_density", theta, x))

    def _expected_statistics(self, theta: ProductPoint, x: Any) -> ProductPoint:
        self._point(theta)
        self._require_data(x)
        return ProductPoint(*self._each("_expected_statistics", theta, x))

    def cdf(self, theta: ProductPoint, x: Any) -> Array:
        self.batch_shape(theta)
        self._require_data(x)
        return self._cdf(theta, x)

    def _fit(self, x: Any, weights: Array | None) -> ProductPoint:
        parts = zip(self.families, x, strict=True)
        return ProductPoint(*(family._fit(part, weights) for family, part in parts))

    def statistics_sum(self, x: Any, weights: Array) -> ProductPoint:
        parts = zip(self.families, x, strict=True)
        return ProductPoint(*(family.statistics_sum(part, weights) for family, part in parts))

    def frame_of(self, theta: ProductPoint) -> Any:
        return tuple(self._each("frame_of", theta))

    def neutral_frame(self, dtype: Any) -> Any:
        return tuple(self._each("neutral_frame", [dtype] * len(self.families)))

    def standardized(self, x: Any, frame: Any) -> Any:
        return tuple(self._each("standardized", x, frame))

    def own_log_density(self, theta: ProductPoint, z: Any) -> Array:
        return jnp.asarray(sum(self._each("own_log_density", theta, z)))

    def in_frame(self, theta: ProductPoint, frame: Any) -> ProductPoint:
        return ProductPoint(*self._each("in_frame", theta, frame))

    def from_frame(self, theta: ProductPoint, frame: Any) -> ProductPoint:
        return ProductPoint(*self._each("from_frame", theta, frame))

    def log_volume(self, frame: Any) -> Array | float:
        return sum(self._each("log_volume", frame))

    def observed_log_volume(self, x: Any, frame: Any) -> Array | float:
        return sum(self._each("observed_log_volume", x, frame))

    def sums_in_frame(self, count: Array, sums: ProductPoint, frame: Any) -> ProductPoint:
        counts = [count] * len(self.families)
        return ProductPoint(*self._each("sums_in_frame", counts, sums, frame))

    def conditional_variances(self, theta: ProductPoint) -> Array:
        return jnp.concatenate(self._each("conditional_variances", theta))

    def mean_squares(self, eta: ProductPoint) -> Array:
        return jnp.concatenate(self._each("mean_squares", eta))

    def blur(self, variance: Array, like: ProductPoint) -> ProductPoint:
        sizes = [part.size for part in self._each("mean_squares", like)]
        each = jnp.broadcast_to(variance, (sum(sizes),))
        return ProductPoint(*self._each("blur", jnp.split(each, np.cumsum(sizes)[:-1]), like))

    def _draw(self, key, theta, shape) -> Any:
        keys = jax.random.split(key, len(self.families))
        parts = zip(self.families, keys, theta, strict=True)
        return tuple(family._draw(k, part, shape) for family, k, part in parts)

    def require_support(self, x: Any) -> None:
        self._require_data(x)
        self._each("require_support", x)

    def _require_data(self, x: Any) -> None:
        if not isinstance(x, (tuple, list)) or len(x) != len(self.families):
            raise TypeError(
                f"data of {self} must be a tuple of {len(self.families)} arrays, one for each "
                f"factor; got {type(x).__name__}. Split the columns first."
            )

    def _data(self, x: Any, dtype: Any = None) -> Any:
        self._require_data(x)
        parts = zip(self.families, x, strict=True)
        return tuple(family._data(part, dtype) for family, part in parts)

    def _data_batch_shape(self, x: Any) -> tuple[int, ...]:
        shapes = self._each("_data_batch_shape", x)
        checks.require_broadcastable(**{f"factor {i}": s for i, s in enumerate(shapes)})
        return tuple(np.broadcast_shapes(*shapes))


def _summed(log_densities: Sequence[Array]) -> Array:
    value = jnp.asarray(sum(log_densities))
    # Where one factor is impossible no parameter of another matters: the gradient is 0.
    return jnp.where(jnp.isfinite(value), value, jax.lax.stop_gradient(value))


def _all(conditions: Sequence[ArrayLike]) -> Array:
    total = jnp.asarray(conditions[0])
    for condition in conditions[1:]:
        total = total & condition
    return total
