"""Mixtures of one exponential family, fitted by expectation-maximization.

EM is alternating projection: the E-step is the e-projection of the model onto the laws that have
the data as marginal (the responsibilities), the M-step the m-projection back onto the model
(moment matching: weighted means of the statistics). The log-likelihood never decreases.
"""

import dataclasses
import os
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from igeojax._core import checks
from igeojax.discrete.softmax import log_softmax, logsumexp
from igeojax.em._data import as_data, checked_weights, default_chunk_size
from igeojax.em._fitting import fit_mixture
from igeojax.em._maximization import maximized, require_fixable
from igeojax.em._options import Options
from igeojax.em._passes import sums_in_frames
from igeojax.em.expectations import Expectations, neutral_frames, shared_out, sum_over_chunks
from igeojax.families.base import ExponentialFamily


class MixturePoint(NamedTuple):
    """Parameters of a mixture: log-weights, and natural parameters with the components first."""

    log_weights: Float[Array, "components"]
    components: Any


class MixtureFit(NamedTuple):
    """Result of `Mixture.fit`.

    `params`: the estimate, of the best restart. `converged`: whether the gain in mean
    log-likelihood fell below the tolerance. `num_iterations`: EM steps taken.
    `log_likelihoods`: the mean log-likelihood (nats an observation) before each step and after the
    last, nan beyond. `log_likelihood`: the last, as a total over the (weighted) data. `bic`,
    `aic`: information criteria, lower is better.
    """

    params: MixturePoint
    converged: Bool[Array, ""]
    num_iterations: Int[Array, ""]
    log_likelihoods: Float[Array, "steps"]
    log_likelihood: Float[Array, ""]
    bic: Float[Array, ""]
    aic: Float[Array, ""]


@jax.tree_util.register_static
@dataclasses.dataclass(frozen=True)
class Mixture:
    """A mixture `sum_k w_k p(x; theta_k)` of `num_components` members of a family.

    Args:
      family: the family of the components.
      num_components: their number.
      tied: whether the components have one covariance (variance) in common; of normal laws.

    Raises:
      TypeError: `family` is not an `ExponentialFamily`, or `num_components` not an integer.
      ValueError: `num_components < 1`, or `tied` components of a family that has no scale.

    References:
      [Dempster1977] section 4.3; [Amari2016] section 8.1.

    Examples:
      >>> from igeojax import families
      >>> mixture = Mixture(families.Normal(), 2)
      >>> x = jnp.array([-5.1, -5.0, -4.9, 5.2, 5.0, 4.8])
      >>> result = mixture.fit(x, key=jax.random.key(0))
      >>> bool(result.converged)
      True
      >>> sorted(mixture.family.params_from_natural(result.params.components).loc.round(3).tolist())
      [-5.0, 5.0]
    """

    family: ExponentialFamily
    num_components: int
    tied: bool = False

    Point: ClassVar[type[MixturePoint]] = MixturePoint

    def __post_init__(self):
        if not isinstance(self.family, ExponentialFamily):
            raise TypeError(
                f"family must be an ExponentialFamily; got {self.family!r}. Pass an instance such "
                "as families.MultivariateNormal(2)."
            )
        checks.require_count("num_components", self.num_components)
        if self.tied and not hasattr(self.family, "shared"):
            raise ValueError(
                f"tied must be False for {self.family}; got {self.tied}. Only normal laws have a "
                "covariance to share."
            )

    @property
    def dimension(self) -> int:
        """Number of free parameters."""
        each = self.num_components * (self.family.dimension + 1) - 1
        if not self.tied:
            return each
        shared = self.family.dimension - int(np.prod(self.family.event_shape))
        return each - (self.num_components - 1) * shared

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
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> params = mixture.point([0.5, 0.5], families.Poisson().natural_from_params([1.0, 2.0]))
          >>> mixture.joint_log_density(params, jnp.array([0, 1, 2])).shape
          (3, 2)
        """
        self._require_params(params)
        log_density = jax.vmap(self.family.log_density, (0, None), -1)(
            params.components, as_data(self.family, x)
        )
        return log_density + params.log_weights.reshape((1,) * (log_density.ndim - 1) + (-1,))

    def point(self, weights: ArrayLike, components: Any) -> MixturePoint:
        """Mixture parameters from weights and component parameters.

        Args:
          weights: probabilities of the components.
          components: natural parameters of batch shape `(num_components,)`.

        Returns:
          The parameters.

        Raises:
          TypeError: `components` are not a point of the family.
          ValueError: wrong sizes, or weights that are negative or do not sum to one.

        Examples:
          >>> from igeojax import families
          >>> family = families.Poisson()
          >>> params = Mixture(family, 2).point([0.5, 0.5], family.natural_from_params([1.0, 2.0]))
          >>> params.components.x.shape
          (2,)
        """
        weights = checks.floating("weights", weights)
        checks.require_trailing_shape("weights", weights, (self.num_components,))
        checks.require_probabilities("weights", weights)
        batch = self.family.batch_shape(components)
        if batch != (self.num_components,):
            raise ValueError(
                f"components must have batch shape ({self.num_components},); got {batch}. Stack "
                "one natural parameter for each component."
            )
        return MixturePoint(jnp.log(weights), components)

    def log_density(self, params: MixturePoint, x: ArrayLike) -> Float[Array, "*batch"]:
        """Log-density `log sum_k w_k p(x; theta_k)`, in nats.

        Args:
          params: mixture parameters.
          x: observations of shape `batch + event_shape`.

        Returns:
          Log-densities of shape `batch`.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: `x` lacks the event axes.

        Examples:
          >>> from igeojax import families
          >>> family = families.Normal()
          >>> params = Mixture(family, 1).point([1.0], family.natural_from_params([0.0], [1.0]))
          >>> round(float(Mixture(family, 1).log_density(params, 0.0)), 6)
          -0.918939
        """
        return logsumexp(self.joint_log_density(params, x))

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
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> params = mixture.m_step(jnp.eye(2), jnp.array([3, 8]))
          >>> jnp.exp(params.components.x).round(6).tolist()
          [3.0, 8.0]
        """
        x = as_data(self.family, x)
        mass = _mass_of(self, responsibilities, x, weights)
        sums = shared_out(self.family, mass, x)
        return self.maximized(sums, previous=previous, **options)

    def expectations(
        self,
        params: MixturePoint,
        x: Any,
        weights: ArrayLike | None = None,
        *,
        chunk_size: int | None = None,
    ) -> Expectations:
        """E-step summed over the observations: all that the M-step needs, and additive.

        Those of two sets of observations are `jax.tree.map(jnp.add, one, two)`: chunks, devices,
        minibatches and streams. Costs `N K` log-densities; the memory is that of one chunk.

        Args:
          params: mixture parameters.
          x: observations of shape `(N,) + event_shape`; of a product a tuple of them.
          weights: non-negative, shape `(N,)`; None weighs all alike.
          chunk_size: rows taken at once; None as many as fit into the cache of a core.

        Returns:
          The `Expectations`.

        Raises:
          TypeError: `params` or `x` of a wrong kind.
          ValueError: `x` lacks the event axes, or bad weights.

        Examples:
          >>> from igeojax import families
          >>> family = families.Poisson()
          >>> mixture = Mixture(family, 1)
          >>> params = mixture.point([1.0], family.natural_from_params([2.0]))
          >>> sums = mixture.expectations(params, jnp.array([1, 2, 6]))
          >>> sums.counts.tolist(), sums.statistics.x.tolist()
          ([3.0], [9.0])
        """
        x = as_data(self.family, x)
        dtype = params.log_weights.dtype
        weights = checked_weights(weights, jax.tree.leaves(x)[0].shape[0], dtype)
        if chunk_size is None:
            chunk_size = default_chunk_size(self.family, self.num_components, dtype)
        partial_sum = sums_in_frames(self, params, neutral_frames(self, dtype))
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
          prior: None, or an object whose `prior.maximized(mixture, expectations, previous)` gives
            the parameters of largest posterior density instead.
          fixed: what stays as in `previous`: `"weights"`, `"components"`, or numbers of components.
          covariance_regularization: variance added to each coordinate of normal components.

        Returns:
          The new parameters; a component is nan where its mean statistics are those of degenerate
          data.

        Raises:
          ValueError: `fixed` without `previous`, or with an unknown entry.

        Examples:
          >>> from igeojax import families
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> sums = Expectations(
          ...     jnp.array([2.0, 1.0]), families.Poisson.Point(jnp.array([6.0, 8.0])), 0.0, 3.0
          ... )
          >>> jnp.exp(mixture.maximized(sums).components.x).round(6).tolist()
          [3.0, 8.0]
        """
        require_fixable(self, fixed, previous)
        dtype = expectations.counts.dtype
        zero = jax.tree.map(lambda leaf: jnp.zeros(leaf.shape[1:], dtype), expectations.statistics)
        return maximized(
            self,
            expectations,
            neutral_frames(self, dtype),
            previous=previous,
            fixed=fixed,
            noise=self.family.blur(jnp.asarray(covariance_regularization, dtype), zero),
            prior=prior,
        )

    def sample(
        self, key: Key[Array, ""], params: MixturePoint, shape: tuple[int, ...] = ()
    ) -> Array:
        """Independent samples of the mixture.

        Args:
          key: a PRNG key.
          params: mixture parameters.
          shape: shape of the sample.

        Returns:
          Draws of shape `shape + event_shape`.

        Raises:
          TypeError: `key` is no PRNG key, or `params` of a wrong kind.
          ValueError: concrete `params` outside the domain.

        Examples:
          >>> from igeojax import families
          >>> family = families.Normal()
          >>> mixture = Mixture(family, 2)
          >>> params = mixture.point([0.5, 0.5], family.natural_from_params([-9.0, 9.0], 1.0))
          >>> mixture.sample(jax.random.key(0), params, (3,)).shape
          (3,)
        """
        checks.require_key(key)
        self._require_params(params)
        choice_key, draw_key = jax.random.split(key)
        choice = jax.random.categorical(choice_key, params.log_weights, shape=tuple(shape))
        chosen = jax.tree.map(lambda leaf: leaf[choice], params.components)
        return self.family.sample(draw_key, chosen)

    def fit(
        self,
        data: Any,
        *,
        key: Key[Array, ""] | None = None,
        weights: ArrayLike | None = None,
        initialization: str | MixturePoint = "k-means++",
        num_restarts: int = 1,
        tolerance: ArrayLike = 1e-6,
        max_iterations: int = 200,
        acceleration: str | None = None,
        prior: Any = None,
        fixed: tuple[str | int, ...] = (),
        covariance_regularization: ArrayLike = 0.0,
        chunk_size: int | None = None,
        checkpoint: str | os.PathLike | None = None,
        progress: bool = False,
    ) -> MixtureFit:
        """Maximum likelihood by EM, in one compiled loop, or a pass a chunk over `em.Chunks`.

        Stops when a step gains less than `tolerance`. A component that loses all its mass keeps its
        parameters; a step that makes the likelihood nan (a component collapsing onto too few
        points) is not taken, and the fit returns the step before with `converged` False. Restarts
        that end so are passed over while there is another.

        Normal laws are fitted to standardized data, so that offsets and units cost no digits; the
        memory beside the data is that of a chunk and of a sample of 65536 rows, from which the
        starts are made. Data sharded over devices stay there: only the sums travel.

        Args:
          data: observations of shape `(N,) + event_shape`, of a product a tuple of them; sharded
            over devices on axis 0 or not; or `em.Chunks`, for data larger than the memory.
          key: a PRNG key; needed unless a starting point is given.
          weights: non-negative, shape `(N,)`.
          initialization: `"k-means++"` (nearest of k-means++ seeds in the first statistic),
            `"random"` (responsibilities uniform on the simplex), or a `MixturePoint` to start at.
          num_restarts: independent starts, run side by side; the best likelihood wins. Of `Chunks`
            the starts are run on the sample.
          tolerance: least gain in mean log-likelihood (nats an observation) to go on.
          max_iterations: most EM steps; with `acceleration` an iteration is up to two.
          acceleration: `"squarem"` extrapolates each pair of steps, where the likelihood allows.
          prior: None, or what `maximized` takes; its log-density counts in `log_likelihoods`.
          fixed: what stays as in the starting point: `"weights"`, `"components"`, or numbers of
            components.
          covariance_regularization: variance added to each coordinate of normal components at each
            M-step, which keeps them from collapsing; the likelihood may fall by what that costs.
          chunk_size: rows taken at once; None as many as fit into the cache of a core.
          checkpoint: a folder where the state is saved after each step (by orbax), and from which
            a fit with the same arguments goes on; the loop is then one of Python.
          progress: print the iteration and the mean log-likelihood to stderr as it runs.

        Returns:
          A `MixtureFit`.

        Raises:
          TypeError: data of a wrong kind, no `key` where one is needed, or an option of a wrong
            type.
          ValueError: data off the support (nan included), fewer observations than components or
            than a full covariance needs, bad weights, an unknown initialization, or restarts from
            one given point.

        References:
          [Dempster1977] theorem 1 (monotonicity).

        Examples:
          >>> from igeojax import families
          >>> mixture = Mixture(families.Poisson(), 2)
          >>> counts = jnp.array([0, 1, 1, 2, 20, 22, 25])
          >>> result = mixture.fit(counts, key=jax.random.key(1))
          >>> bool(jnp.all(jnp.diff(result.log_likelihoods[:int(result.num_iterations)]) >= -1e-12))
          True
        """
        options = Options(
            key=key,
            weights=weights,
            initialization=initialization,
            num_restarts=num_restarts,
            tolerance=tolerance,
            max_iterations=max_iterations,
            acceleration=acceleration,
            prior=prior,
            fixed=fixed,
            covariance_regularization=covariance_regularization,
            chunk_size=chunk_size,
            checkpoint=checkpoint,
            progress=progress,
        )
        end, total = fit_mixture(self, data, options)
        log_likelihood = end.objective * total
        return MixtureFit(
            params=end.params,
            converged=end.converged,
            num_iterations=end.num_iterations,
            log_likelihoods=end.history,
            log_likelihood=log_likelihood,
            bic=self.dimension * jnp.log(total) - 2 * log_likelihood,
            aic=2 * self.dimension - 2 * log_likelihood,
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


def _mass_of(
    mixture: Mixture, responsibilities: ArrayLike, x: Any, weights: ArrayLike | None
) -> Array:
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
