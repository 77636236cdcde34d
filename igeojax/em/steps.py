"""The steps of EM for a mixture: densities, the E-step and its sums, the M-step."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.discrete.softmax import log_softmax, logsumexp
from igeojax.em._data import as_data, checked_rows, checked_weights, default_chunk_size
from igeojax.em._maximization import maximized, require_fixable
from igeojax.em._missing import shared_out_observed, sums_of_observed
from igeojax.em._passes import sums_in_frames
from igeojax.em.expectations import (
    ASSIGNMENTS,
    Expectations,
    neutral_frames,
    shared_out,
    sum_over_chunks,
)
from igeojax.em.priors import require_prior
from igeojax.families.base import ExponentialFamily
from igeojax.families.missing import observed_log_density


class MixturePoint(NamedTuple):
    """Parameters of a mixture: log-weights, and natural parameters with the components first."""

    log_weights: Float[Array, "components"]
    components: Any


class MixtureSteps:
    """What `Mixture` does in one step of EM, each a function of parameters and data.

    Examples:
      >>> from igeojax.em import Mixture
      >>> issubclass(Mixture, MixtureSteps)
      True
    """

    family: ExponentialFamily
    num_components: int
    missing: bool

    def joint_log_density(
        self, params: MixturePoint, x: ArrayLike
    ) -> Float[Array, "*batch components"]:
        """Log-densities `log w_k + log p(x; theta_k)` of each component, in nats.

        Args:
          params: mixture parameters.
          x: observations of shape `batch + event_shape`.

        Returns:
          Values with the components on the last axis.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: `x` lacks the event axes.

        Examples:
          >>> from igeojax import families
          >>> from igeojax.em import Mixture
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> params = mixture.point([0.5, 0.5], families.Poisson().natural_from_params([1.0, 2.0]))
          >>> mixture.joint_log_density(params, jnp.array([0, 1, 2])).shape
          (3, 2)
        """
        self._require_params(params)
        one = self.family.log_density
        if self.missing:
            one = partial(observed_log_density, self.family)
        log_density = jax.vmap(one, (0, None), -1)(params.components, as_data(self.family, x))
        return log_density + params.log_weights.reshape((1,) * (log_density.ndim - 1) + (-1,))

    def e_step(
        self, params: MixturePoint, x: Any
    ) -> tuple[Float[Array, "data components"], Float[Array, "data"]]:
        """E-step: responsibilities `r_nk = softmax_k(log w_k + log p(x_n; theta_k))`.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`.

        Returns:
          Responsibilities, rows summing to one, and the log-density of each observation.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: `x` lacks the event axes.

        Examples:
          >>> from igeojax import families
          >>> from igeojax.em import Mixture
          >>> family = families.Normal()
          >>> mixture = Mixture(family, 2)
          >>> params = mixture.point([0.5, 0.5], family.natural_from_params([-1.0, 1.0], 1.0))
          >>> mixture.e_step(params, jnp.zeros(1))[0].tolist()
          [[0.5, 0.5]]
        """
        joint = self.joint_log_density(params, x)
        return jnp.exp(log_softmax(joint)), logsumexp(joint)

    def m_step(
        self,
        responsibilities: Float[Array, "data components"],
        x: Any,
        weights: ArrayLike | None = None,
        *,
        previous: MixturePoint | None = None,
        **options: Any,
    ) -> MixturePoint:
        """M-step: each component fitted by maximum likelihood with its responsibilities as weights.

        Args:
          responsibilities: rows that sum to one.
          x: observations of shape `(N,) + event_shape`.
          weights: of the observations, shape `(N,)`; None weighs all alike.
          previous: parameters kept by a component that has no mass.
          **options: those of `maximized`.

        Returns:
          The new parameters.

        Raises:
          TypeError: a value of a wrong kind.
          ValueError: responsibilities or weights of other shapes than the data ask for.

        Examples:
          >>> from igeojax import families
          >>> from igeojax.em import Mixture
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> params = mixture.m_step(jnp.eye(2), jnp.array([3, 8]))
          >>> jnp.exp(params.components.x).round(6).tolist()
          [3.0, 8.0]
        """
        x = as_data(self.family, x)
        mass = _mass_of(self, responsibilities, x, weights)
        if self.missing and previous is None:
            raise ValueError(
                "m_step of data with missing entries needs the parameters that their E-step was "
                "taken at; got None. Pass previous=params."
            )
        sums = (
            shared_out_observed(
                self.family, mass, previous.components, neutral_frames(self, mass.dtype), x
            )
            if self.missing and previous is not None
            else shared_out(self.family, mass, x)
        )
        return self.maximized(sums, previous=previous, **options)

    def expectations(
        self,
        params: MixturePoint,
        x: Any,
        weights: ArrayLike | None = None,
        *,
        assignment: str = "soft",
        chunk_size: int | None = None,
    ) -> Expectations:
        """E-step summed over the observations: all that the M-step needs, and additive.

        Those of two sets of observations are `jax.tree.map(jnp.add, one, two)`: chunks, devices,
        minibatches and streams. Costs `N K` log-densities; the memory is that of one chunk.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`; of a product a tuple of them.
          weights: non-negative, shape `(N,)`; None weighs all alike.
          assignment: `"soft"` or `"hard"`, see `Mixture.fit`.
          chunk_size: rows taken at once; None as many as fit into the cache of a core.

        Returns:
          The `Expectations`.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: `x` has other axes than one of observations and those of the event, or is off
            the support; bad weights, a bad chunk size or an unknown assignment.

        Examples:
          >>> from igeojax import families
          >>> from igeojax.em import Mixture
          >>> family = families.Poisson()
          >>> mixture = Mixture(family, 1)
          >>> params = mixture.point([1.0], family.natural_from_params([2.0]))
          >>> sums = mixture.expectations(params, jnp.array([1, 2, 6]))
          >>> sums.counts.tolist(), sums.statistics.x.tolist()
          ([3.0], [9.0])
        """
        self._require_params(params)
        x, count = checked_rows(self, x)
        dtype = params.log_weights.dtype
        weights = checked_weights(weights, count, dtype)
        checks.require_option("assignment", assignment, ASSIGNMENTS)
        if chunk_size is not None:
            checks.require_count("chunk_size", chunk_size)
        else:
            chunk_size = default_chunk_size(self.family, self.num_components, dtype)
        sums = sums_of_observed if self.missing else sums_in_frames
        partial_sum = sums(self, params, neutral_frames(self, dtype), hard=assignment == "hard")
        return sum_over_chunks(partial_sum, x, weights, chunk_size=chunk_size)

    def maximized(
        self,
        expectations: Expectations,
        *,
        previous: MixturePoint | None = None,
        prior: Any = None,
        fixed: tuple[str | int, ...] = (),
        covariance_regularization: ArrayLike = 0.0,
    ) -> MixturePoint:
        """M-step on sums: `theta_k` of the mean statistics, weights from the counts.

        Args:
          expectations: sums over all observations; any common factor cancels.
          previous: the parameters before; kept by components without mass, and where `fixed`.
          prior: None, or an `em.MixturePrior`: the parameters of largest posterior density instead,
            for sums over observations in their own number.
          fixed: what stays as in `previous`: `"weights"`, `"components"`, or numbers of components.
          covariance_regularization: variance added to each coordinate of normal components.

        Returns:
          The new parameters; a component is nan where its mean statistics are those of degenerate
          data.

        Raises:
          TypeError: `prior` is no `MixturePrior` of the family.
          ValueError: `fixed` without `previous`, or with an unknown entry; a prior of another
            number of components.

        Examples:
          >>> from igeojax import families
          >>> from igeojax.em import Mixture
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> sums = Expectations(
          ...     jnp.array([2.0, 1.0]), families.Poisson.Point(jnp.array([6.0, 8.0])), 0.0, 3.0
          ... )
          >>> jnp.exp(mixture.maximized(sums).components.x).round(6).tolist()
          [3.0, 8.0]
        """
        require_fixable(self, fixed, previous)
        require_prior(self, prior)
        dtype = expectations.counts.dtype
        ridge = jnp.asarray(covariance_regularization, dtype)
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], dtype), expectations.statistics)
        return maximized(
            self,
            expectations,
            neutral_frames(self, dtype),
            previous=previous,
            fixed=fixed,
            noise=self.family.blur(ridge, zero),
            prior=prior,
        )

    def _require_params(self, params: MixturePoint) -> None:
        """Check parameters of this mixture.

        Raises:
          TypeError: they are anything but a `MixturePoint` of the family.
          ValueError: they have another number of components.
        """
        if not isinstance(params, MixturePoint):
            raise TypeError(
                f"params must be a MixturePoint; got {type(params).__name__}. Make it with "
                "Mixture.point(weights, components), or take the params of a fit."
            )
        found = self.family.batch_shape(params.components), jnp.shape(params.log_weights)
        if found != ((self.num_components,),) * 2:
            raise ValueError(
                f"params must hold {self.num_components} components and log_weights; got batch "
                f"shapes {found[0]} and {found[1]}. Make them with Mixture.point."
            )


def _mass_of(mixture: Any, responsibilities: ArrayLike, x: Any, weights: ArrayLike | None) -> Array:
    """Responsibilities times weights, after checking the shapes of both.

    Raises:
      TypeError: a value is not real.
      ValueError: other shapes than the data ask for.
    """
    mass, family = checks.floating("responsibilities", responsibilities), mixture.family
    shape = (*family._data_batch_shape(x), mixture.num_components)
    if len(shape) != 2 or mass.shape != shape:
        raise ValueError(
            f"responsibilities must have shape (N, {mixture.num_components}) for data of shape "
            f"(N,) + {family.event_shape}; got {mass.shape} and {jax.tree.map(jnp.shape, x)}. They "
            "come first: m_step(responsibilities, x)."
        )
    return mass * checked_weights(weights, shape[0], mass.dtype)[:, None]
