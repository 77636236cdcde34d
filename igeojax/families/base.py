"""The abstract exponential family: one convex function and one map, all else derived.

`p(x; theta) = h(x) exp(<theta, T(x)> - psi(theta))`. A family is a frozen dataclass without arrays,
a hashable *description*: a static argument under `jit`. Its points (`theta`, `eta`, `T(x)`,
gradients) are NamedTuples with one leaf a sufficient statistic; leading axes of a leaf are batch,
trailing axes belong to the event. A leaf with two trailing axes is a symmetric matrix.
"""

import abc
import functools
from collections.abc import Sequence
from typing import Any, ClassVar, Generic, TypeVar, cast

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Key

from igeojax._core import checks
from igeojax.families._methods import TAKE_POINTS, nan_outside, on_checked_points
from igeojax.families._missing_entries import MissingEntries
from igeojax.families._sums import StatisticSums
from igeojax.families.support import Support
from igeojax.numerics.weighting import normalized_weights, weighted_mean

MOST_OUTCOMES = 10**6
"""Vectors, or rows of a product, that `ExponentialFamily.outcomes` lists at most."""

PointT = TypeVar("PointT", bound=tuple)
ParamsT = TypeVar("ParamsT", bound=tuple)


class ExponentialFamily(MissingEntries, StatisticSums, abc.ABC, Generic[PointT, ParamsT]):
    """What every family offers.

    Subclasses give the abstract methods; a subclass overrides a derived one only with a closed form
    or a safer formula, and the laws compare the two.

    Class attributes `Point` and `Params` are the NamedTuples of statistic and source coordinates.
    """

    Point: ClassVar[type]
    Params: ClassVar[type]
    _support: ClassVar[Support | None] = None
    conjugate_prior: ClassVar[str | None] = None
    """Name of the family that is conjugate to this likelihood, where it has a name of its own."""

    def __init_subclass__(cls, **options: Any) -> None:
        """Make every method of a subclass that takes points check them first."""
        super().__init_subclass__(**options)
        for name in TAKE_POINTS & cls.__dict__.keys():
            setattr(cls, name, on_checked_points(cls.__dict__[name]))

    # What a family *is*.

    @property
    @abc.abstractmethod
    def point_shape(self) -> tuple[tuple[int, ...], ...]:
        """Trailing (event) shape of each leaf of a point, in the order of `jax.tree.leaves`."""

    @property
    def event_shape(self) -> tuple[int, ...]:
        """Shape of one observation."""
        return ()

    @property
    def support(self) -> Support | None:
        """Where observations lie on the line, once; None: vectors and others, not on it."""
        return self._support

    @property
    def outcomes(self) -> Any:
        """All observations, stacked on axis 0, where they are finitely many; else None.

        Those of vectors and products are listed up to 10^6; of a product as a tuple of arrays, one
        for each factor.
        """
        if self.support is None or self.support.size is None:
            return None
        return int(self.support.low) + jnp.arange(self.support.size)

    @property
    def _discrete(self) -> bool:
        """Whether observations are counts or labels."""
        return self.support is not None and self.support.integers

    @abc.abstractmethod
    def statistics(self, x: ArrayLike) -> PointT:
        """Sufficient statistics `T(x)`, leaves of shape `batch + point_shape`."""

    @abc.abstractmethod
    def log_partition(self, theta: PointT) -> Float[Array, "*batch"]:
        """Log-partition (cumulant) function `psi(theta)`, convex, in nats."""

    @abc.abstractmethod
    def natural_from_mean(self, eta: PointT) -> PointT:
        """Natural parameter `theta = grad phi(eta)`, inverse of `mean_from_natural`."""

    @abc.abstractmethod
    def natural_from_params(self, *args: Any, **kwargs: Any) -> PointT:
        """Natural parameter of the source parameters of this family."""

    @abc.abstractmethod
    def params_from_natural(self, theta: PointT) -> ParamsT:
        """Source parameters of a natural parameter; nan outside the natural domain."""

    @abc.abstractmethod
    def in_natural_domain(self, theta: PointT) -> Bool[Array, "*batch"]:
        """Whether `theta` lies in the open natural domain."""

    @abc.abstractmethod
    def in_support(self, x: ArrayLike) -> Bool[Array, "*batch"]:
        """Whether `x` is a possible observation."""

    @abc.abstractmethod
    def mean(self, theta: PointT) -> Float[Array, "..."]:
        """Mean `E[x]` of an observation, entry by entry; of a label, of its number.

        Nan outside the natural domain.
        """

    @abc.abstractmethod
    def variance(self, theta: PointT) -> Float[Array, "..."]:
        """Variance `E[(x - E[x])^2]` of an observation, entry by entry.

        Nan outside the natural domain.
        """

    @abc.abstractmethod
    def mode(self, theta: PointT) -> Array:
        """An observation of largest density; at the edge of the support where that is its limit."""

    @abc.abstractmethod
    def _draw(self, key: Key[Array, ""], theta: PointT, shape: tuple[int, ...]) -> Array:
        """Draws of shape `shape + event_shape`; the batch axes of `theta` broadcast to `shape`."""

    def log_base_measure(self, x: ArrayLike) -> Float[Array, "*batch"]:
        """Log of the base measure `h(x)` on the support; 0 unless a family says otherwise."""
        x = self._data(x)
        dtype = x.dtype if jnp.issubdtype(x.dtype, jnp.floating) else float
        return jnp.zeros(self._data_batch_shape(x), dtype)

    def mean_log_base_measure(self, theta: PointT) -> Float[Array, "*batch"]:
        """Expectation `E[log h(x)]`; 0 unless a family says otherwise."""
        return jnp.zeros(self.batch_shape(theta), jax.tree.leaves(theta)[0].dtype)

    # What follows.

    @property
    def dimension(self) -> int:
        """Dimension of the manifold: free parameters of the minimal chart."""
        return sum(
            shape[0] * (shape[0] + 1) // 2 if len(shape) == 2 else int(np.prod(shape))
            for shape in self.point_shape
        )

    def batch_shape(self, point: PointT) -> tuple[int, ...]:
        """Leading shape shared by the leaves of a point.

        Args:
          point: a point in natural or mean coordinates.

        Returns:
          The batch shape; `()` for a single point.

        Raises:
          TypeError: `point` is not a `Point` of this family, or its leaves are not floating.
          ValueError: a leaf lacks its event axes, or the leaves disagree on the batch shape.

        Examples:
          >>> from igeojax import families
          >>> normal = families.Normal()
          >>> normal.batch_shape(normal.natural_from_params(loc=0.0, scale=[1.0, 2.0]))
          (2,)
        """
        if not isinstance(point, self.Point):
            raise TypeError(
                f"{self} needs a {type(self).__name__}.Point; got {type(point).__name__}. "
                "Make one with natural_from_params(...)."
            )
        batches = {}
        for name, leaf, shape in zip(self.Point._fields, point, self.point_shape, strict=True):
            if not jnp.issubdtype(jnp.result_type(leaf), jnp.floating):
                raise TypeError(
                    f"leaf {name!r} must be floating; got {jnp.result_type(leaf)}. Cast it first."
                )
            checks.require_trailing_shape(f"leaf {name!r} of {self}", leaf, shape)
            found = jnp.shape(leaf)
            batches[name] = found[: len(found) - len(shape)]
        if len(set(batches.values())) > 1:
            raise ValueError(
                f"the leaves of a point of {self} must share their batch shape; got {batches}. "
                "Broadcast them first (natural_from_params does)."
            )
        return next(iter(batches.values()))

    def pairing(self, theta: PointT, eta: PointT) -> Float[Array, "*batch"]:
        """Duality pairing `<theta, eta>`: the sum over event axes, batch axes broadcast.

        Args:
          theta: a point, or cotangent.
          eta: a point of the dual chart, or statistics `T(x)`.

        Returns:
          The pairing; symmetric matrices pair by the trace. `0 * inf` counts 0.

        Examples:
          >>> from igeojax import families
          >>> normal = families.Normal()
          >>> theta = normal.natural_from_params(loc=0.0, scale=1.0)
          >>> float(normal.pairing(theta, normal.statistics(2.0)))
          -2.0
        """
        total: Any = 0
        leaves = jax.tree.leaves(theta), jax.tree.leaves(eta)
        for a, b, shape in zip(*leaves, self.point_shape, strict=True):
            axes = tuple(range(-len(shape), 0))
            # 0 * inf counts 0; where `a` is finite the derivative in `b` is `a`, at 0 too.
            masked = jnp.where((b == 0) & jnp.isinf(a), 0.0, a)
            total = total + jnp.sum(masked * b, axis=axes)
        return total

    def mean_from_natural(self, theta: PointT) -> PointT:
        """Mean (expectation) parameter `eta = grad psi(theta) = E[T(x)]`.

        Args:
          theta: natural parameter.

        Returns:
          The mean parameter, same batch shape; nan outside the natural domain.

        Examples:
          >>> from igeojax import families
          >>> poisson = families.Poisson()
          >>> round(float(poisson.mean_from_natural(poisson.natural_from_params(3.0)).x), 6)
          3.0
        """
        self.batch_shape(theta)
        value, pullback = jax.vjp(self.log_partition, theta)
        eta = pullback(jnp.ones_like(value))[0]
        return nan_outside(self, "mean_from_natural", theta, eta)

    def fisher_matvec(self, theta: PointT, tangent: PointT) -> PointT:
        """Fisher metric times a tangent, `Hess psi(theta) v = Cov[T] v`: one jvp of the mean map.

        Args:
          theta: natural parameter.
          tangent: tangent in natural coordinates, a point of the same shapes.

        Returns:
          The cotangent, also a tangent in mean coordinates; nan outside the natural domain.

        Examples:
          >>> from igeojax import families
          >>> poisson = families.Poisson()
          >>> theta = poisson.natural_from_params(3.0)
          >>> round(float(poisson.fisher_matvec(theta, poisson.Point(2.0)).x), 6)
          6.0
        """
        theta = self._point(theta)
        tangent = jax.tree.map(lambda v, leaf: jnp.asarray(v, leaf.dtype), tangent, theta)
        eta, product = jax.jvp(self.mean_from_natural, (theta,), (tangent,))
        # A nan that is chosen has derivative 0, and would look like no information.
        return jax.tree.map(lambda m, v: jnp.where(jnp.isnan(m), jnp.nan, v), eta, product)

    def dual_potential(self, eta: PointT) -> Float[Array, "*batch"]:
        """Dual potential `phi(eta) = <theta, eta> - psi(theta)` with `theta` of `eta`, in nats.

        Args:
          eta: mean parameter.

        Returns:
          The Legendre conjugate of `log_partition`; minus the entropy where the base measure is 1.

        Examples:
          >>> from igeojax import families
          >>> bernoulli = families.Bernoulli()
          >>> round(float(bernoulli.dual_potential(bernoulli.statistics(0.5))), 6)
          -0.693147
        """
        theta = self.natural_from_mean(eta)
        return self.pairing(theta, eta) - self.log_partition(theta)

    def bregman(
        self, theta: PointT, other: PointT, *, step: PointT | None = None
    ) -> Float[Array, "*batch"]:
        """Bregman divergence `psi(theta) - psi(other) - <theta - other, grad psi(other)>`.

        Equal to `KL(p_other || p_theta)`, in nats.

        Args:
          theta: natural parameter.
          other: natural parameter, the point of tangency.
          step: `theta - other` where the caller knows it to more digits than the subtraction gives.

        Returns:
          Non-negative values, 0 where the points are equal.

        Raises:
          TypeError: an argument is not a point of this family.
          ValueError: its shapes do not fit the family.

        Examples:
          >>> from igeojax import families
          >>> poisson = families.Poisson()
          >>> theta, other = map(poisson.natural_from_params, (2.0, 1.0))
          >>> round(float(poisson.bregman(theta, other)), 6)
          0.306853
        """
        theta, other = self._point(theta), self._point(other)
        known = jax.tree.map(jnp.subtract, theta, other) if step is None else self._point(step)
        return self._bregman(theta, other, known)

    def _bregman(self, theta: PointT, other: PointT, step: PointT) -> Array:
        """The remainder by subtraction; a family overrides it with terms that cannot cancel."""
        slope = self.pairing(step, self.mean_from_natural(other))
        return self.log_partition(theta) - self.log_partition(other) - slope

    def _natural_step(self, params: ParamsT, other: ParamsT) -> PointT:
        """Difference of two natural parameters from their source parameters, kept to its digits."""
        naturals = self.natural_from_params(*params), self.natural_from_params(*other)
        return jax.tree.map(jnp.subtract, *naturals)

    def _source_parts(
        self, p: ParamsT, q: ParamsT, order: Array
    ) -> tuple[Array, Array, Array] | None:
        """`u`, `v` with `-log int p^a q^(1-a) = a u + (1-a) v`, and whether the integral is finite.

        Where source parameters say more than natural ones can hold; at order 1 `v` is KL(p || q),
        at order 0 `u` is KL(q || p). None: natural parameters will do.
        """
        return None

    def _mixture_parts(
        self, p: ParamsT, q: ParamsT, order: Array, from_above: bool
    ) -> tuple[Array, Array, Array] | None:
        """What divergences ask for: `_source_parts`, which is what a family overrides.

        Only a product needs to know from which side order 0 is meant, to tell its factors.
        """
        return self._source_parts(p, q, order)

    def log_density(self, theta: PointT, x: ArrayLike) -> Float[Array, "*batch"]:
        """Log-density `<theta, T(x)> - psi(theta) + log h(x)`, in nats; -inf off the support.

        Args:
          theta: natural parameter; its batch axes broadcast against those of `x`.
          x: observations of shape `batch + event_shape`.

        Returns:
          Log-densities over the broadcast batch axes.

        Raises:
          TypeError: `theta` is not a point of this family or `x` is not numeric.
          ValueError: `x` lacks the event axes.

        Examples:
          >>> from igeojax import families
          >>> normal = families.Normal()
          >>> theta = normal.natural_from_params(loc=0.0, scale=1.0)
          >>> round(float(normal.log_density(theta, 0.0)), 6)
          -0.918939
        """
        theta, x = self._aligned(theta, x)
        inside = self.in_support(x)
        # A point inside stands in for one outside, whose statistics would poison the gradient.
        event = (...,) + (None,) * len(self.event_shape)
        stand_in = jnp.asarray(self._inside, x.dtype)
        value = self._log_density(theta, jnp.where(inside[event], x, stand_in))
        unknown = jnp.isnan(x).any(axis=tuple(range(-len(self.event_shape), 0)))
        outside = jnp.where(unknown, jnp.nan, -jnp.inf)
        return jnp.where(inside, value, outside.astype(value.dtype))

    def _log_density(self, theta: PointT, x: Array) -> Array:
        """The density formula for aligned arguments inside the support."""
        return (
            self.pairing(theta, self.statistics(x))
            - self.log_partition(theta)
            + self.log_base_measure(x)
        )

    def entropy(self, point: PointT | ParamsT) -> Float[Array, "*batch"]:
        """Entropy `psi - <theta, eta> - E[log h]`, in nats; differential for a continuous family.

        Args:
          point: natural parameter, or source parameters, which hold more digits in some families.

        Returns:
          The entropy of each point; nan outside the natural domain.

        Raises:
          TypeError: `point` is of another family.
          ValueError: its shapes do not fit the family, or source parameters are not valid.

        Examples:
          >>> from igeojax import families
          >>> bernoulli = families.Bernoulli()
          >>> round(float(bernoulli.entropy(bernoulli.Params(probs=0.5))), 6)
          0.693147
        """
        if isinstance(point, self.Params):
            return self._source_entropy(cast(ParamsT, point))
        theta = self._point(cast(PointT, point))
        return jnp.where(self.in_natural_domain(theta), self._entropy(theta), jnp.nan)

    def _entropy(self, theta: PointT) -> Array:
        eta = self.mean_from_natural(theta)
        return (
            self.log_partition(theta) - self.pairing(theta, eta) - self.mean_log_base_measure(theta)
        )

    def _source_entropy(self, params: ParamsT) -> Array:
        return self.entropy(self.natural_from_params(*params))

    def cdf(self, theta: PointT, x: ArrayLike) -> Float[Array, "*batch"]:
        """Cumulative distribution function `P(X <= x)`, where the family has one in closed form.

        Args:
          theta: natural parameter; its batch axes broadcast against those of `x`.
          x: any real values, the support or not.

        Returns:
          Probabilities over the broadcast batch axes.

        Raises:
          NotImplementedError: the family has none.
          TypeError: `theta` is not a point of this family or `x` is not numeric.

        Examples:
          >>> from igeojax import families
          >>> normal = families.Normal()
          >>> float(normal.cdf(normal.natural_from_params(loc=1.0, scale=2.0), 1.0))
          0.5
        """
        theta, x = self._aligned(theta, x)
        value = self._cdf(theta, x.astype(jax.tree.leaves(theta)[0].dtype))
        return jnp.where(jnp.isnan(x), jnp.nan, value)

    def _cdf(self, theta: PointT, x: Array) -> Array:
        raise NotImplementedError(
            f"{self} has no CDF in closed form. Integrate its density, or count samples."
        )

    def quantile(self, theta: PointT, probability: ArrayLike) -> Array:
        """Quantile: the least x with `P(X <= x) >= probability`, where there is a CDF.

        In closed form, or by inversion of the CDF: then its relative error is that of the smaller
        tail, times `tail / (x density)`. That of a count has derivative 0; the others have the
        derivatives of the implicit function. At the levels 0 and 1 they are the ends of the
        support, whose derivative is 0.

        Args:
          theta: natural parameter; its batch axes broadcast against those of `probability`.
          probability: values in `[0, 1]`; nan comes back outside, and outside the natural domain.

        Returns:
          Observations over the broadcast batch axes.

        Raises:
          NotImplementedError: the family has none.
          TypeError: `theta` is not a point of this family or `probability` is not real.

        Examples:
          >>> from igeojax import families
          >>> normal = families.Normal()
          >>> float(normal.quantile(normal.natural_from_params(loc=1.0, scale=2.0), 0.5))
          1.0
        """
        theta = self._point(theta)
        level = checks.floating("probability", probability)
        checks.require_broadcastable(theta=self.batch_shape(theta), probability=level.shape)
        theta, level = self._padded(theta, level, level.ndim)
        level = level.astype(jax.tree.leaves(theta)[0].dtype)
        known = (level >= 0) & (level <= 1) & self.in_natural_domain(theta)
        level = jnp.clip(level, 0, 1)
        if self.support is None or self.support.integers:
            return jnp.where(known, self._quantile(theta, level), jnp.nan)
        # The ends of a continuous law do not move: there no formula is differentiated.
        value = self._quantile(theta, jnp.where((level == 0) | (level == 1), 0.5, level))
        value = jnp.where(level == 0, self.support.low, value)
        return jnp.where(known, jnp.where(level == 1, self.support.high, value), jnp.nan)

    def _quantile(self, theta: PointT, probability: Array) -> Array:
        raise NotImplementedError(f"{self} has no quantile: it has no CDF to invert. Sort samples.")

    def sample(self, key: Key[Array, ""], theta: PointT, shape: tuple[int, ...] = ()) -> Array:
        """Independent exact samples.

        Args:
          key: a PRNG key.
          theta: natural parameter.
          shape: leading shape of the draws for each point.

        Returns:
          Draws of shape `shape + batch_shape + event_shape`.

        Raises:
          TypeError: `key` is no PRNG key, `theta` not a point of this family, or `shape` not a
            tuple.
          ValueError: a concrete `theta` lies outside the natural domain.

        Examples:
          >>> import jax
          >>> from igeojax import families
          >>> normal = families.Normal()
          >>> theta = normal.natural_from_params(loc=0.0, scale=1.0)
          >>> normal.sample(jax.random.key(0), theta, (3,)).shape
          (3,)
        """
        batch = self.batch_shape(theta)
        checks.require_key(key)
        checks.require_values(
            f"theta of {self}",
            self.in_natural_domain(theta),
            lambda inside: inside,
            "in the natural domain",
            "See in_natural_domain; make points with natural_from_params.",
        )
        checks.require_shape(shape)
        pad = (1,) * len(shape)
        theta = jax.tree.map(lambda leaf: leaf.reshape(pad + leaf.shape), self._point(theta))
        return self._draw(key, theta, shape + batch)

    def fit(self, x: ArrayLike, weights: ArrayLike | None = None) -> PointT:
        """Maximum likelihood: the point whose mean parameter is the weighted mean of `T(x)`.

        One pass over the data. Under `jit`, where values cannot be checked, degenerate data give
        an estimate outside the domain: see `in_natural_domain`.

        Args:
          x: observations of shape `(N, *batch) + event_shape`; axis 0 is averaged.
          weights: non-negative, shape `(N,)`; counts or importance. None weighs all alike.

        Returns:
          Natural parameter of the estimate.

        Raises:
          TypeError: `x` is not numeric.
          ValueError: `x` has no observations, a concrete value off the support (nan included), or
            no maximum of the likelihood (constant data); or `weights` of a wrong shape, negative,
            or all zero.

        Examples:
          >>> import jax.numpy as jnp
          >>> from igeojax import families
          >>> poisson = families.Poisson()
          >>> float(poisson.params_from_natural(poisson.fit(jnp.array([1, 2, 6]))).rate)
          3.0
        """
        x, weights = self._fit_arguments(x, weights)
        return self._checked_estimate(self._fit(x, weights))

    def _fit(self, x: Array, weights: Array | None) -> PointT:
        """The estimate for checked data and weights that sum to one."""
        statistics = self.statistics(x)
        return self.natural_from_mean(
            jax.tree.map(lambda leaf: weighted_mean(leaf, weights), statistics)
        )

    def require_support(self, x: ArrayLike) -> None:
        """Check that concrete observations lie in the support.

        Args:
          x: observations of shape `batch + event_shape`.

        Raises:
          TypeError: `x` is not numeric.
          ValueError: an observation is off the support, nan included; the message shows the first.

        Examples:
          >>> from igeojax import families
          >>> families.Gamma().require_support([1.0, 2.0])
        """
        x = self._data(x)
        self._data_batch_shape(x)
        seen, inside = checks.concrete(x), checks.concrete(self.in_support(x))
        if seen is None or inside is None or inside.all():
            return
        row = tuple(int(i) for i in np.argwhere(~inside)[0])
        raise ValueError(
            f"data of {self} must lie in its support; got {seen[row]} at index {row}. "
            "Drop or mend such observations first (missing entries included)."
        )

    # Shared by the families.

    def _point(self, point: PointT) -> PointT:
        """The point, checked, its leaves as arrays."""
        self.batch_shape(point)
        return jax.tree.map(functools.partial(checks.as_array, f"a point of {self}"), point)

    def from_leaves(self, leaves: Sequence[Array]) -> PointT:
        """Point of its leaves, the inverse of `jax.tree.leaves`.

        Args:
          leaves: arrays of shape `batch + shape` for the shapes of `point_shape`, in that order.

        Returns:
          The point.

        Examples:
          >>> from igeojax import families
          >>> families.Poisson().from_leaves([2.0])
          PoissonPoint(x=2.0)
        """
        return self.Point(*leaves)

    def _fit_arguments(self, x: ArrayLike, weights: ArrayLike | None) -> tuple[Array, Array | None]:
        """Checked observations, and weights that sum to one.

        Raises:
          ValueError: no axis of observations, data off the support, or bad weights.
        """
        x = self._data(x)
        batch = self._data_batch_shape(x)
        if not batch or batch[0] == 0:
            raise ValueError(
                f"fit of {self} needs observations along axis 0; got shape "
                f"{jax.tree.map(jnp.shape, x)}. "
                f"Pass an array of shape (N,) + {self.event_shape} with N >= 1."
            )
        self.require_support(x)
        return x, normalized_weights(weights, batch[0])

    def _within_range(self, theta: PointT) -> PointT:
        """The natural parameter of valid source parameters, checked against over- and underflow."""
        dtype = jax.tree.leaves(theta)[0].dtype
        checks.require_values(
            f"natural parameters of {self}",
            self.in_natural_domain(theta),
            lambda inside: inside,
            f"within the range of {dtype}",
            "They over- or underflow: change the unit of the data, or use float64.",
        )
        return theta

    def _checked_estimate(self, theta: PointT) -> PointT:
        checks.require_values(
            f"the estimate of {self}",
            self.in_natural_domain(theta),
            lambda inside: inside,
            "inside the natural domain",
            self._degenerate,
        )
        return theta

    _degenerate: ClassVar[str] = (
        "The data are degenerate (constant, or too few distinct values): the likelihood has no "
        "maximum. Add observations or drop constant columns."
    )
    """What to do when the likelihood has no maximum."""

    @property
    def _inside(self) -> Any:
        """An observation inside the support."""
        return self._observation

    _observation: ClassVar[Any] = 1
    """The same, where it does not depend on the description."""

    def _data(self, x: ArrayLike, dtype: Any = None) -> Array:
        """Observations as a floating array; integers take `dtype`, or the default one."""
        array = checks.as_array(f"data of {self}", x)
        if jnp.issubdtype(array.dtype, jnp.integer) or array.dtype == bool:
            return array.astype(dtype or float)
        return checks.floating(f"data of {self}", array)

    def _data_batch_shape(self, x: ArrayLike) -> tuple[int, ...]:
        checks.require_trailing_shape(f"data of {self}", x, self.event_shape)
        shape = jnp.shape(x)
        return shape[: len(shape) - len(self.event_shape)]

    def _aligned(self, theta: PointT, x: ArrayLike) -> tuple[PointT, Array]:
        """Both with batch axes of equal rank, so that they broadcast without rank promotion."""
        theta = self._point(theta)
        batch = self.batch_shape(theta)
        x = self._data(x, jax.tree.leaves(theta)[0].dtype)
        data_batch = self._data_batch_shape(x)
        checks.require_broadcastable(theta=batch, data=data_batch)
        return self._padded(theta, x, len(data_batch))

    def _padded(self, theta: PointT, x: Array, axes: int) -> tuple[PointT, Array]:
        """Both with leading axes of length one where the other has more batch axes."""
        batch = self.batch_shape(theta)
        rank = max(len(batch), axes)
        pad = (1,) * (rank - len(batch))
        theta = jax.tree.map(lambda leaf: leaf.reshape(pad + leaf.shape), theta)
        return theta, x.reshape((1,) * (rank - axes) + x.shape)


def require_family(family: Any) -> None:
    """Check that an argument is a family: an instance, not its class or its name.

    Args:
      family: what came.

    Raises:
      TypeError: it is anything else.

    Examples:
      >>> from igeojax import families
      >>> require_family(families.Normal())
    """
    if not isinstance(family, ExponentialFamily):
        found = f"class {family.__name__}" if isinstance(family, type) else type(family).__name__
        raise TypeError(
            f"family must be an instance of a family, such as families.Normal(); got {found}. Call "
            "the class, and check the order of the arguments."
        )
