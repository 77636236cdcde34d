"""Mixtures of one exponential family, fitted by expectation-maximization.

EM is alternating projection: the E-step is the e-projection of the model onto the laws that have
the data as marginal (the responsibilities), the M-step the m-projection back onto the model
(moment matching: weighted means of the statistics). The log-likelihood never decreases.
"""

import dataclasses
import os
from collections.abc import Callable
from typing import Any, ClassVar, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Bool, Float, Int, Key

from igeojax._core import checks
from igeojax.discrete.softmax import logsumexp
from igeojax.em import _passes
from igeojax.em._data import as_data, default_chunk_size
from igeojax.em._fitting import fit_mixture, log_prior
from igeojax.em._options import Options
from igeojax.em.scores import MixtureScores
from igeojax.em.steps import MixturePoint, MixtureSteps
from igeojax.families.base import ExponentialFamily


class MixtureFit(NamedTuple):
    """Result of `Mixture.fit`.

    `params`: the estimate, of the best restart. `converged`: whether the gain in mean
    log-likelihood fell below the tolerance. `num_iterations`: EM steps taken.
    `log_likelihoods`: the mean log-likelihood (nats an observation) before each step and after the
    last, nan beyond, both with the log-density of the prior where there is one. `log_likelihood`:
    the last without it, as a total over the (weighted) data. `bic`, `aic`: information criteria,
    lower is better; components of weight 0, and what is fixed, are no parameters. Of hard
    assignments all these are of the classification log-likelihood.
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
class Mixture(MixtureScores, MixtureSteps):
    """A mixture `sum_k w_k p(x; theta_k)` of `num_components` members of a family.

    Args:
      family: the family of the components.
      num_components: their number.
      tied: whether the components have one scale in common: the covariance or variance of normal
        laws, the concentration of laws of directions.
      missing: whether nan marks a missing entry, which is integrated out; see `families.missing`
        for which entries may be missing of which family.

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
    missing: bool = False

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
                "covariance to share, and laws of directions a concentration."
            )

    @property
    def dimension(self) -> int:
        """Number of free parameters."""
        return int(self._dimension(np.ones(self.num_components, bool), ()))

    def _dimension(self, present: Any, fixed: tuple[str | int, ...]) -> Any:
        """Number of free parameters of the components that are present, but for what is fixed."""
        learned = np.ones(self.num_components, bool)
        learned[[label for label in fixed if not isinstance(label, str)]] = False
        learned &= "components" not in fixed
        weights = 0 if "weights" in fixed else present.sum() - 1
        learned = (present & learned).sum()
        total = weights + learned * self.family.dimension
        if not self.tied:
            return total
        shared: Any = self.family
        return total - (learned - (learned > 0)) * shared.shared_dimension

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
        self._require_params(params)
        data, dtype = as_data(self.family, x), params.log_weights.dtype
        rows = self.family._data_batch_shape(data)
        size = default_chunk_size(self.family, self.num_components, dtype)
        linear = self.family.is_linear and not self.missing
        if linear and len(rows) == 1 and rows[0] >= size and data.dtype == dtype:
            return _passes.log_density(self, params, data, size)
        return logsumexp(self.joint_log_density(params, data))

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
          TypeError: `key` is no PRNG key, `params` of a wrong kind, or `shape` not a tuple.
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
        checks.require_shape(shape)
        self._require_params(params)
        choice_key, draw_key = jax.random.split(key)
        choice = jax.random.categorical(choice_key, params.log_weights, shape=shape)
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
        births: int = 0,
        assignment: str = "soft",
        covariance_regularization: ArrayLike = 0.0,
        chunk_size: int | None = None,
        checkpoint: str | os.PathLike | None = None,
        progress: bool = False,
        e_step: Callable[..., Any] | None = None,
    ) -> MixtureFit:
        """Maximum likelihood by EM, in one compiled loop, or a pass a chunk over `em.Chunks`.

        Stops when a step gains less than `tolerance`. A component that loses all its mass keeps its
        parameters, unless `births` are allowed; a step that makes the likelihood nan, or lowers
        it by more than rounding (a component collapsing onto too few points), is not taken, and the
        fit returns the step before with `converged` False. Restarts that end so are passed over
        while there is another.

        Normal laws are fitted to standardized data, so that offsets and units cost no more digits
        than the observations and the parameters themselves lose; the memory beside the data is that
        of a chunk and of a sample of 65536 rows, from which the starts are made. Data sharded over
        devices stay there: only the sums travel. Each normal component is carried with the frame in
        which it is the standard member, so the steps and the log-likelihoods keep their digits in
        float32 too, at covariances of condition 1e6 to 1e-5 of the mean. Not so a step in which the
        variance of a component falls below 1e-3 of what it was: the next mends it. The natural
        parameters that come out are rounded: in float32 that costs 1e-7 nats an observation at a
        condition of 1e4, 1e-3 to 1e-1 at 1e6, and where it leaves none (from about 1e7 on) or
        entries are missing the fit ends early: use float64 there.

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
          prior: None, or an `em.MixturePrior`; its log-density counts in `log_likelihoods`.
          fixed: what stays as in the starting point: `"weights"`, `"components"`, or numbers of
            components.
          births: most times that a component which is empty at the end (of less than a hundredth of
            an observation) is born anew: it takes half of the heaviest component, or of the next
            where that gains nothing, the log-likelihood (and log-prior) never falling. A birth
            counts as a step, and costs a fit of the sample; 0 leaves components empty.
          assignment: `"soft"` for EM; `"hard"` for classification EM, which gives each observation
            to its likeliest component whole: k-means for any family. What never falls, and stands
            for the log-likelihood in the result, is then the classification log-likelihood
            `sum_n max_k log (w_k p(x_n; theta_k))`; `Mixture.bic` has the criterion of the density.
          covariance_regularization: variance added to each coordinate of normal components at each
            M-step, which keeps them from collapsing; the likelihood may fall by what that costs.
          chunk_size: rows taken at once; None as many as fit into the cache of a core.
          checkpoint: a folder where the state is saved after each step (by orbax), and from which
            a fit with the same arguments goes on, with more `max_iterations` too; the loop is then
            one of Python.
          progress: print the iteration and the mean log-likelihood to stderr as it runs.
          e_step: None, or for full and diagonal normal laws a function in the place of the E-step,
            such as `kernels_triton.jax.mixture_e_step`: `(z, log_weights, loc, inverse_scale,
            weights) -> (log_likelihood, counts, sums, squares)`. It is given all rows of a pass
            standardized, `(N, d)`; `loc` `(K, d)`; and `inverse_scale`, `(K, d)` or triangular
            `(K, d, d)`. With `y = inverse_scale_k (z - loc_k)` and responsibilities times weights
            `r` it returns `sum w log p(z)`, and for each component `sum r`, `sum r y` and
            `sum r y y^T` (`sum r y**2`). It is traced, under `vmap` where there are restarts.

        Returns:
          A `MixtureFit`.

        Raises:
          TypeError: data of a wrong kind, no `key` where one is needed, or an option of a wrong
            type.
          ValueError: data off the support (nan included), fewer observations than components or
            than a full covariance needs, bad weights, an unknown initialization, or restarts from
            one given point.

        References:
          [Dempster1977] theorem 1 (monotonicity); [Ueda2000] section 3 (splits that are taken only
          where they gain); [CeleuxGovaert1992] (classification EM); [BanerjeeDhillon2005] (of
          directions, and spherical k-means as its limit).

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
            births=births,
            assignment=assignment,
            covariance_regularization=covariance_regularization,
            chunk_size=chunk_size,
            checkpoint=checkpoint,
            progress=progress,
            e_step=e_step,
        )
        end, total = fit_mixture(self, data, options)
        log_likelihood = end.objective * total
        if prior is not None:
            log_likelihood = log_likelihood - log_prior(self, prior, end.params)
        free = self._dimension(end.params.log_weights > -jnp.inf, fixed)
        return MixtureFit(
            params=end.params,
            converged=end.converged,
            num_iterations=end.num_iterations,
            log_likelihoods=end.history,
            log_likelihood=log_likelihood,
            bic=free * jnp.log(total) - 2 * log_likelihood,
            aic=2 * free - 2 * log_likelihood,
        )
