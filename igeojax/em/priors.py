"""Conjugate priors of a mixture: pseudo-observations of the components, a Dirichlet of the weights.

`p(theta) prop exp(nu (<theta, tau> - psi(theta)))` is, up to its constant, `exp(-nu KL(center ||
theta))` with `center` the member of mean parameter `tau`: a prior is a member to be near to, and
the number `nu` of observations that it counts for. It is conjugate in every family: the M-step
averages the statistics of the data and of the prior, `(n eta + nu tau) / (n + nu)`.
"""

import math
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, ArrayLike, Float

from igeojax._core import checks
from igeojax.em._data import as_data, require_rows
from igeojax.em.expectations import Expectations, along
from igeojax.families.missing import completed


class MixturePrior(NamedTuple):
    """A prior of mixture parameters, made by `mixture_prior` or `data_prior`.

    `centers`: natural parameters, the components first. `counts`: how many observations each
    counts for, `nu`. `concentration`: of the Dirichlet law of the weights.
    """

    centers: Any
    counts: Float[Array, "components"]
    concentration: Float[Array, "components"]

    def log_density(self, mixture: Any, params: Any) -> Float[Array, ""]:
        """Log-density up to a constant: `-sum_k nu_k KL(center_k || theta_k) + (a_k - 1) log w_k`.

        A weight below the machine epsilon counts as that, so that the density of a Dirichlet law
        below 1 is bounded: it stays comparable when a component is pruned.

        Args:
          mixture: the `Mixture`.
          params: its parameters.

        Returns:
          Nats; 0 at the centers where the concentration is 1.

        Examples:
          >>> from igeojax import em, families
          >>> mixture, family = em.Mixture(families.Poisson(), 1), families.Poisson()
          >>> prior = mixture_prior(mixture, family.natural_from_params([2.0]), 3.0)
          >>> float(prior.log_density(mixture, mixture.point([1.0], prior.centers)))
          0.0
        """
        dtype = params.log_weights.dtype
        centers, counts, concentration = _as_type(self, dtype)
        gaps = mixture.family.bregman(params.components, centers)
        # A center that counts nothing has no gap, even where it is no member.
        gaps = jnp.where(counts > 0, counts * gaps, 0.0)
        floor = math.log(jnp.finfo(dtype).eps)
        excess = concentration - 1
        return jnp.sum(excess * jnp.maximum(params.log_weights, floor)) - jnp.sum(gaps)

    def added(self, family: Any, expectations: Expectations, frames: Any) -> Expectations:
        """The sums of the components with the pseudo-observations among them.

        The components of largest posterior density have the mean statistics `(s_k + nu_k tau_k) /
        (n_k + nu_k)` of these sums; the weights are those of `log_weights`.

        Args:
          family: the family of the components.
          expectations: sums over all observations, in their own number (not a share of it).
          frames: of each component, the frame that its statistics are taken in, see
            `families.frames`.

        Returns:
          Counts `n_k + nu_k` and statistics `s_k + nu_k tau_k`.

        Examples:
          >>> from igeojax import em, families
          >>> mixture, family = em.Mixture(families.Poisson(), 1), families.Poisson()
          >>> prior = mixture_prior(mixture, family.natural_from_params([2.0]), 3.0)
          >>> sums = mixture.expectations(mixture.point([1.0], prior.centers), jnp.array([8.0]))
          >>> found = prior.added(family, sums, ())
          >>> found.counts.tolist(), found.statistics.x.round(6).tolist()
          ([4.0], [14.0])
        """
        centers, added, _ = _as_type(self, expectations.counts.dtype)
        tau = family.mean_from_natural(jax.vmap(family.in_frame)(centers, frames))

        def with_prior(sums: Array, mean: Array) -> Array:
            share = along(added, mean)
            # Of a center that counts nothing nothing is taken, even where it is no member.
            return sums + jnp.where(share > 0, share * mean, 0.0)

        statistics = jax.tree.map(with_prior, expectations.statistics, tau)
        return expectations._replace(counts=expectations.counts + added, statistics=statistics)

    def log_weights(self, counts: Float[Array, "components"]) -> Float[Array, "components"]:
        """Logs of the weights of largest posterior density, of `max(n_k + a_k - 1, 0)`.

        A concentration below 1 prunes components that fewer than `1 - a_k` observations support.
        Never all of them: the largest stays.

        Args:
          counts: number of observations of each component, `n_k`.

        Returns:
          Log-weights; -inf of a component that is pruned.

        References:
          [FigueiredoJain2002] eq. (17) (pruning).

        Examples:
          >>> from igeojax import em, families
          >>> prior = mixture_prior(em.Mixture(families.Poisson(), 2), concentration=0.5)
          >>> prior.log_weights(jnp.array([3.0, 0.4])).tolist()
          [0.0, -inf]
        """
        mass = jnp.maximum(counts + (self.concentration.astype(counts.dtype) - 1), 0.0)
        largest = jnp.arange(counts.shape[0]) == jnp.argmax(counts)
        mass = jnp.where((mass > 0).any(), mass, jnp.where(largest, 1.0, 0.0))
        return jnp.log(mass) - jnp.log(jnp.sum(mass))

    def in_frame(self, family: Any, frame: Any) -> "MixturePrior":
        """The prior of the parameters in a frame of the data; its log-density is the same.

        Args:
          family: the family of the components.
          frame: a frame, see `families.frames`.

        Returns:
          The prior of `family.in_frame(theta, frame)`.

        Examples:
          >>> from igeojax import em, families
          >>> family = families.Normal()
          >>> center = family.natural_from_params(loc=[3.0], scale=[2.0])
          >>> prior = mixture_prior(em.Mixture(family, 1), center, 1.0)
          >>> frame = family.frame_of(jax.tree.map(lambda leaf: leaf[0], center))
          >>> float(family.mean(prior.in_frame(family, frame).centers)[0])
          0.0
        """
        inside = jax.vmap(lambda theta: family.in_frame(theta, frame))
        return self._replace(centers=inside(self.centers))


def require_prior(mixture: Any, prior: Any) -> None:
    """Check the prior of a mixture.

    Args:
      mixture: the `Mixture`.
      prior: what came; None is no prior.

    Raises:
      TypeError: anything but a `MixturePrior` of the family.
      ValueError: a prior of another number of components.

    Examples:
      >>> from igeojax import em, families
      >>> mixture = em.Mixture(families.Poisson(), 2)
      >>> require_prior(mixture, mixture_prior(mixture, concentration=2.0))
    """
    if prior is None:
        return
    if not isinstance(prior, MixturePrior):
        raise TypeError(
            f"prior must be an em.MixturePrior; got {type(prior).__name__}. Make it with "
            "em.data_prior(mixture, data) or em.mixture_prior(mixture, center, count)."
        )
    found = {
        "centers": mixture.family.batch_shape(prior.centers),
        "counts": jnp.shape(prior.counts),
        "concentration": jnp.shape(prior.concentration),
    }
    for name, shape in found.items():
        if shape != (mixture.num_components,):
            raise ValueError(
                f"{name} of the prior must have shape ({mixture.num_components},), one entry a "
                f"component; got {shape}. Make the prior of this mixture, with the same number of "
                "components."
            )


def mixture_prior(
    mixture: Any,
    center: Any = None,
    count: ArrayLike = 0.0,
    *,
    concentration: ArrayLike = 1.0,
) -> MixturePrior:
    """Prior of a mixture: components near `center`, weights of a Dirichlet law.

    `nu = count` observations whose mean statistics are those of `center` join each component, and
    `concentration - 1` observations its weight. A concentration below 1 prunes: the weights of
    components that fewer than `1 - concentration` observations support become 0. It may be negative
    (an improper law): `1 - family.dimension / 2` is that of Figueiredo and Jain, which starts from
    too many components and keeps those that pay for their parameters.

    EM then maximizes the posterior density: log-likelihood plus log-density of the prior never
    fall, except where a component is pruned whose observations no other explains.

    Args:
      mixture: the `Mixture`.
      center: natural parameter, of one member for all components or one for each; None for no prior
        of the components.
      count: how many observations the center counts for, non-negative; of each component or all.
      concentration: of the Dirichlet law of the weights, finite; of each component or all. 1 is
        uniform, above 1 keeps all weights from 0.

    Returns:
      The prior, the `prior` of `Mixture.fit`.

    Raises:
      TypeError: `center` is no point of the family.
      ValueError: a wrong number of centers, counts or concentrations; a concrete center outside the
        natural domain, a negative count, or a count without a center.

    References:
      [DiaconisYlvisaker1979] (the conjugate prior of a family); [FigueiredoJain2002] section 3
      (pruning).

    Examples:
      >>> from igeojax import em, families
      >>> family = families.Poisson()
      >>> prior = mixture_prior(em.Mixture(family, 2), family.natural_from_params(3.0), 1.0)
      >>> prior.counts.tolist()
      [1.0, 1.0]
    """
    family, size = mixture.family, mixture.num_components
    count, concentration = checks.floating_together(count=count, concentration=concentration)
    for name, value in (("count", count), ("concentration", concentration)):
        if value.shape not in ((), (size,)):
            raise ValueError(
                f"{name} must be a number or have shape ({size},); got {value.shape}. Give each "
                "component one, or one for all."
            )
    checks.require_values(
        "count", count, lambda v: np.isfinite(v) & (v >= 0), "finite and >= 0", "0 is no prior."
    )
    checks.require_finite("concentration", concentration, "1 is the uniform law.")
    if center is None:
        checks.require_values("count", count, lambda v: v == 0, "0 without a center", "Pass one.")
        shapes = family.point_shape
        # Any member serves: it counts for nothing.
        center = family.from_leaves([jnp.zeros(shape, count.dtype) for shape in shapes])
    else:
        checks.require_values(
            "center",
            family.in_natural_domain(center),
            lambda inside: inside,
            "inside the natural domain",
            "Make it with natural_from_params.",
        )
    batch = family.batch_shape(center)
    if batch not in ((), (size,)):
        raise ValueError(
            f"center must have batch shape () or ({size},); got {batch}. Give each component one, "
            "or one for all."
        )
    leaves = zip(jax.tree.leaves(center), family.point_shape, strict=True)
    centers = family.from_leaves([jnp.broadcast_to(leaf, (size, *shape)) for leaf, shape in leaves])
    return MixturePrior(
        centers, jnp.broadcast_to(count, (size,)), jnp.broadcast_to(concentration, (size,))
    )


def data_prior(
    mixture: Any,
    data: Any,
    weights: ArrayLike | None = None,
    *,
    count: ArrayLike = 0.01,
    concentration: ArrayLike = 1.0,
    **fit_options: Any,
) -> MixturePrior:
    """A weak prior in the units of the data: its center is the member fitted to all of them.

    The guard against singular components, in every family: no posterior density is unbounded. The
    variances of a normal component are at least `count / (n_k + count)` of those of all data: at
    the default a component of one observation has a tenth of their deviation, and one of many
    notices nothing. Unlike `covariance_regularization` it is a density, so EM stays monotone, and
    it has no unit.

    Args:
      mixture: the `Mixture`.
      data: observations of shape `(N,) + event_shape`, nan where missing.
      weights: non-negative, shape `(N,)`.
      count: how many observations it counts for, in each component.
      concentration: of the Dirichlet law of the weights, see `mixture_prior`.
      **fit_options: what `family.fit` takes: `shrinkage` of `MultivariateNormal`, say, where there
        are fewer observations than dimensions, or a constant column.

    Returns:
      The prior.

    Raises:
      TypeError: data of a wrong kind.
      ValueError: data of more axes than one of observations and those of the event, or that no
        member can be fitted to (a constant column); bad weights, or values that `mixture_prior`
        refuses.

    Examples:
      >>> from igeojax import em, families
      >>> mixture = em.Mixture(families.Normal(), 2)
      >>> prior = data_prior(mixture, jnp.array([1.0, 1.0, 1.0, 5.0]))
      >>> mixture.family.params_from_natural(prior.centers).loc.tolist()
      [2.0, 2.0]
    """
    data = as_data(mixture.family, data)
    require_rows(mixture.family, data)
    center = mixture.family.fit(completed(mixture.family, data), weights, **fit_options)
    return mixture_prior(mixture, center, count, concentration=concentration)


def _as_type(prior: MixturePrior, dtype: Any) -> MixturePrior:
    return jax.tree.map(lambda leaf: leaf.astype(dtype), prior)
