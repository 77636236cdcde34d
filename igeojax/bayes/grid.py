"""Posteriors of one to three parameters on a grid: any likelihood and any prior.

Nothing is approximated but the integral. A grid of k points an axis costs `k^d` evaluations: beyond
3 parameters use `bayes.laplace_approximation`, or sample.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks

MOST_AXES = 3
"""Parameters of a grid at most: the cost is exponential in their number."""


class GridPosterior(NamedTuple):
    """A posterior on a grid.

    `axes`: the points of each parameter. `log_weights`: log of the mass of each cell, summing to 1,
    an axis for each parameter. `log_evidence`: log of the integral, in nats.
    `coarse_log_evidence`: that of every second point, which differs by much where the grid is too
    coarse for the posterior.
    """

    axes: tuple[Float[Array, "_"], ...]
    log_weights: Float[Array, "..."]
    log_evidence: Float[Array, ""]
    coarse_log_evidence: Float[Array, ""]

    @property
    def edge_mass(self) -> Float[Array, ""]:
        """Mass of the cells at the border: where it is not small the grid cuts the posterior off.

        Examples:
          >>> uniform = grid_posterior(lambda x: 0.0 * x, [jnp.linspace(0.0, 1.0, 5)])
          >>> round(float(uniform.edge_mass), 6)
          0.25
        """
        inner = self.log_weights[(slice(1, -1),) * self.log_weights.ndim]
        return 1 - jnp.sum(jnp.exp(inner))

    def expectation(self, function: Callable[..., Any]) -> Any:
        """Posterior expectation of a function of the parameters, of all points at once.

        Args:
          function: `function(*parameters)` of scalars, to an array or a pytree of arrays.

        Returns:
          The expectation, of the shape of one value.

        Examples:
          >>> law = grid_posterior(lambda x: -0.5 * x**2, [jnp.linspace(-8.0, 8.0, 65)])
          >>> round(float(law.expectation(lambda x: x**2)), 6)
          1.0
        """
        weights = jnp.exp(self.log_weights).ravel()
        values = jax.vmap(function)(*_points(self.axes))
        # Of no weight nothing is taken, even where the function is infinite.
        mean = lambda leaf: jnp.tensordot(
            weights,
            jnp.where((weights > 0).reshape((-1,) + (1,) * (leaf.ndim - 1)), leaf, 0.0),
            axes=1,
        )
        return jax.tree.map(mean, values)

    def mean(self) -> Float[Array, "parameters"]:
        """Posterior mean of the parameters.

        Examples:
          >>> law = grid_posterior(lambda x: -0.5 * (x - 1) ** 2, [jnp.linspace(-7.0, 9.0, 65)])
          >>> law.mean().round(6).tolist()
          [1.0]
        """
        return jnp.stack([jnp.sum(self.marginal_weights(i) * a) for i, a in enumerate(self.axes)])

    def covariance(self) -> Float[Array, "parameters parameters"]:
        """Posterior covariance of the parameters, about their mean.

        Examples:
          >>> law = grid_posterior(lambda x: -0.5 * x**2, [jnp.linspace(-8.0, 8.0, 65)])
          >>> law.covariance().round(6).tolist()
          [[1.0]]
        """
        masses, names = jnp.exp(self.log_weights), range(len(self.axes))
        apart = [axis - mean for axis, mean in zip(self.axes, self.mean(), strict=True)]
        # Products of rows with the masses: no array is larger than these.
        entry = lambda i, j: jnp.einsum(masses, [*names], apart[i], [i], apart[j], [j], [])
        return jnp.array([[entry(i, j) for j in names] for i in names])

    def marginal_weights(self, index: int) -> Float[Array, "_"]:
        """Masses of the points of one axis, summing to 1.

        Args:
          index: of the parameter.

        Returns:
          The masses.

        Raises:
          ValueError: there is no such parameter.

        Examples:
          >>> law = grid_posterior(lambda x: 0.0 * x, [jnp.linspace(0.0, 1.0, 3)])
          >>> law.marginal_weights(0).round(6).tolist()
          [0.25, 0.5, 0.25]
        """
        count = len(self.axes)
        if index not in range(count):
            raise ValueError(
                f"index must be one of the {count} parameters; got {index}. They count from 0."
            )
        others = tuple(i for i in range(count) if i != index)
        return jnp.exp(logsumexp(self.log_weights, axis=others))

    def marginal_density(self, index: int) -> Float[Array, "_"]:
        """Density of one parameter at the points of its axis.

        Args:
          index: of the parameter.

        Returns:
          The density.

        Raises:
          ValueError: there is no such parameter.

        Examples:
          >>> law = grid_posterior(lambda x: 0.0 * x, [jnp.linspace(0.0, 2.0, 5)])
          >>> law.marginal_density(0).round(6).tolist()
          [0.5, 0.5, 0.5, 0.5, 0.5]
        """
        return self.marginal_weights(index) / _widths(self.axes[index])

    def equal_tailed_interval(self, index: int, level: float = 0.95) -> Float[Array, "2"]:
        """Interval of one parameter with as much mass below it as above.

        Of the density that is linear between the points: the error falls with the square of the
        spacing, as that of the masses.

        Args:
          index: of the parameter.
          level: mass of the interval, in (0, 1).

        Returns:
          Lower and upper end.

        Raises:
          ValueError: `level` is not in (0, 1).

        Examples:
          >>> law = grid_posterior(lambda x: 0.0 * x, [jnp.linspace(0.0, 1.0, 11)])
          >>> [round(float(end), 6) for end in law.equal_tailed_interval(0, 0.9)]
          [0.05, 0.95]
        """
        _require_level(level)
        return self._quantile(index, jnp.array([0.5 - 0.5 * level, 0.5 + 0.5 * level]))

    def highest_density_interval(self, index: int, level: float = 0.95) -> Float[Array, "2"]:
        """Shortest interval of one parameter with that mass.

        Where the density has one mode, it is no less anywhere in the interval than outside. Looked
        for among 1001 masses of the lower tail.

        Args:
          index: of the parameter.
          level: mass of the interval, in (0, 1).

        Returns:
          Lower and upper end.

        Raises:
          ValueError: `level` is not in (0, 1).

        Examples:
          >>> law = grid_posterior(lambda x: -x, [jnp.linspace(0.0, 20.0, 2001)])
          >>> ends = law.highest_density_interval(0, 0.9)  # of an exponential law
          >>> [round(float(end), 3) for end in ends]
          [0.0, 2.303]
        """
        _require_level(level)
        tails = jnp.linspace(0.0, 1 - level, 1001)
        lower, upper = self._quantile(index, tails), self._quantile(index, tails + level)
        shortest = jnp.argmin(upper - lower)
        return jnp.stack([lower[shortest], upper[shortest]])

    def _quantile(self, index: int, mass: Array) -> Array:
        """Points of one axis below which such masses lie, of the density that is linear between."""
        axis, density = self.axes[index], self.marginal_density(index)
        parts = 0.5 * (density[1:] + density[:-1]) * jnp.diff(axis)
        below = jnp.concatenate([jnp.zeros(1, axis.dtype), jnp.cumsum(parts)])
        mass = jnp.clip(mass.astype(axis.dtype), 0, below[-1])
        cell = jnp.clip(jnp.searchsorted(below, mass, side="right") - 1, 0, axis.size - 2)
        gap, first = jnp.diff(axis)[cell], density[cell]
        slope = (density[cell + 1] - first) / gap
        left = mass - below[cell]
        # The root of `first x + slope x^2 / 2 = left`, in the form that does not cancel.
        root = jnp.sqrt(jnp.maximum(first**2 + 2 * slope * left, 0))
        bottom = first + root
        return axis[cell] + jnp.minimum(2 * left / jnp.where(bottom > 0, bottom, 1), gap)


def _require_level(level: float) -> None:
    """Check that a level is a mass.

    Raises:
      ValueError: it is not in (0, 1).
    """
    checks.require_number("level", level, "it sets the width of the interval")
    if not 0 < level < 1:
        raise ValueError(f"level must be in (0, 1); got {level}. Try 0.95.")


def _widths(axis: Array) -> Array:
    """Weights of the trapezoidal rule."""
    gaps = jnp.diff(axis)
    zero = jnp.zeros(1, axis.dtype)
    return 0.5 * (jnp.concatenate([gaps, zero]) + jnp.concatenate([zero, gaps]))


def _points(axes: Sequence[Array]) -> list[Array]:
    return [mesh.ravel() for mesh in jnp.meshgrid(*axes, indexing="ij")]


def _log_masses(axes: Sequence[Array], log_joint: Array) -> Array:
    for i, axis in enumerate(axes):
        shape = [1] * len(axes)
        shape[i] = -1
        log_joint = log_joint + jnp.log(_widths(axis)).reshape(shape)
    return log_joint


def grid_posterior(
    log_joint: Callable[..., Array],
    axes: Sequence[ArrayLike],
    *,
    chunk_size: int | None = None,
) -> GridPosterior:
    """Posterior of one to three parameters by the trapezoidal rule on a grid.

    The error of the integral falls with the square of the spacing; of smooth densities that vanish
    at the borders exponentially. `coarse_log_evidence` and `edge_mass` show whether the grid will
    do.

    | parameters | points at 200 an axis | weights in float64 |
    | --- | --- | --- |
    | 1 | 2e2 | 2 kB |
    | 2 | 4e4 | 320 kB |
    | 3 | 8e6 | 64 MB |
    | 4 | 1.6e9 | 13 GB: refused |
    | 10 | 1e23 | - |

    Args:
      log_joint: `log_joint(*parameters)` of scalars, log prior plus log-likelihood in nats; -inf
        where there is no mass.
      axes: of each parameter increasing points, at least 3; need not be equidistant.
      chunk_size: points at a time, so that memory is bounded; None takes all at once.

    Returns:
      The posterior.

    Raises:
      TypeError: an axis is not real.
      ValueError: no axis or more than three, an axis that is not a vector of at least 3 increasing
        finite points, `chunk_size < 1`, or concrete values of `log_joint` that are nan, +inf, or
        -inf everywhere.

    References:
      [MacKay2003] chapter 21 (complete enumeration).

    Examples:
      >>> law = grid_posterior(lambda x: -0.5 * x**2, [jnp.linspace(-8.0, 8.0, 65)])
      >>> round(float(jnp.exp(2 * law.log_evidence)), 4)
      6.2832
    """
    if isinstance(axes, (str, bytes)) or not isinstance(axes, Sequence):
        raise TypeError(
            f"axes must be a list of arrays, one for each parameter; got {type(axes).__name__}. "
            "Write [points] for one parameter."
        )
    if not 1 <= len(axes) <= MOST_AXES:
        raise ValueError(
            f"a grid takes 1 to {MOST_AXES} parameters; got {len(axes)}. Its cost is the product "
            "of the numbers of points: use bayes.laplace_approximation for more, or sample."
        )
    if chunk_size is not None:
        checks.require_count("chunk_size", chunk_size)
    points = checks.floating_together(**{f"axis_{i}": axis for i, axis in enumerate(axes)})
    for i, axis in enumerate(points):
        if axis.ndim != 1 or axis.size < 3:
            raise ValueError(
                f"axis {i} must be a vector of at least 3 points; got shape {axis.shape}. Use "
                "jnp.linspace."
            )
        checks.require_finite(f"axis {i}", axis, "Bound the grid where the posterior vanishes.")
        checks.require_values(
            f"steps of axis {i}", jnp.diff(axis), lambda v: v > 0, "positive", "Sort its points."
        )
    value = lambda one: log_joint(*one)
    size = int(np.prod([axis.size for axis in points]))
    batch = size if chunk_size is None else min(chunk_size, size)
    flat = jax.lax.map(value, tuple(_points(points)), batch_size=batch)
    if jnp.shape(flat) != (size,):
        raise ValueError(
            f"log_joint must return a scalar; got shape {jnp.shape(flat)[1:]}. Sum over the data."
        )
    values = flat.reshape([axis.size for axis in points])
    checks.require_values(
        "log_joint",
        values,
        lambda v: ~np.isnan(v) & (v < np.inf),
        "a number below inf on the whole grid",
        "Return -inf where there is no mass, or move the grid into the domain.",
    )
    masses = _log_masses(points, values)
    total = logsumexp(masses)
    checks.require_values(
        "the mass of the grid", jnp.exp(masses - total).max(), lambda v: v > 0, "positive",
        "log_joint is -inf everywhere: move the grid.",
    )  # fmt: skip
    rough = [np.unique(np.append(np.arange(0, axis.size, 2), axis.size - 1)) for axis in points]
    coarse = _log_masses(
        [axis[index] for axis, index in zip(points, rough, strict=True)], values[np.ix_(*rough)]
    )
    return GridPosterior(points, masses - total, total, logsumexp(coarse))
