"""What a hidden Markov model is told by and what its fits return."""

from typing import Any, NamedTuple

import jax.numpy as jnp
from jaxtyping import Array, ArrayLike, Bool, Float, Int

from igeojax.em.expectations import Expectations
from igeojax.em.steps import MixturePoint


class HiddenMarkovPoint(NamedTuple):
    """Parameters: log-probabilities of the first state and of moves `[from, to]`, and emissions.

    `emissions`: natural parameters with the states first.
    """

    log_initial: Float[Array, " states"]
    log_transition: Float[Array, "states states"]
    emissions: Any


def as_mixture(params: HiddenMarkovPoint) -> MixturePoint:
    """The mixture of the emissions with the law of the first state as weights.

    Args:
      params: parameters of a hidden Markov model.

    Returns:
      Parameters of its `mixture`.

    Examples:
      >>> from igeojax import em, families
      >>> family = families.Poisson()
      >>> rates = family.natural_from_params([1.0, 9.0])
      >>> model = em.HiddenMarkovModel(family, 2)
      >>> params = model.point(None, [[0.9, 0.1], [0.3, 0.7]], rates)
      >>> jnp.exp(as_mixture(params).log_weights).round(6).tolist()
      [0.75, 0.25]
    """
    return MixturePoint(params.log_initial, params.emissions)


class HiddenMarkovExpectations(NamedTuple):
    """Sums over sequences with weights, additive: all that the M-step reads.

    `initial`: expected number of sequences that begin in each state. `transitions`: of moves from
    `i` to `j`. `emissions`: counts and statistics of the observations of each state, the total
    log-likelihood of the sequences, and the weight of their observations.
    """

    initial: Float[Array, " states"]
    transitions: Float[Array, "states states"]
    emissions: Expectations


class HiddenMarkovPrior(NamedTuple):
    """Conjugate prior: Dirichlet laws of the rows of probabilities, and a prior of the emissions.

    `initial`, `transition`: concentrations, at least 1 (1 is flat); a number, or one for each
    entry: a large diagonal makes states last. `emissions`: None, or a prior of the components of
    `model.mixture`, see `igeojax.em.priors`.
    """

    initial: Any = 1.0
    transition: Any = 1.0
    emissions: Any = None

    def in_frame(self, family: Any, frame: Any) -> "HiddenMarkovPrior":
        """The prior of the parameters in a frame of the data, see `families.frames`."""
        if self.emissions is None:
            return self
        return self._replace(emissions=self.emissions.in_frame(family, frame))

    def log_density(self, model: Any, params: HiddenMarkovPoint) -> Array:
        """Log-density of the parameters in nats, without the constant of the Dirichlet laws."""
        total = _log_dirichlet(self.initial, params.log_initial)
        total = total + _log_dirichlet(self.transition, params.log_transition)
        if self.emissions is None:
            return total
        return total + self.emissions.log_density(model.mixture, as_mixture(params))


def _log_dirichlet(concentration: Any, log_probs: Array) -> Array:
    power = jnp.broadcast_to(jnp.asarray(concentration, log_probs.dtype), log_probs.shape) - 1
    # What is forbidden is no part of the simplex.
    return jnp.sum(jnp.where((power > 0) & (log_probs > -jnp.inf), power * log_probs, 0.0))


class HiddenMarkovFit(NamedTuple):
    """Result of a fit: as `MixtureFit`, with the parameters of a hidden Markov model.

    `log_likelihoods`: what the fit maximizes, over the number of observations, before each step and
    after the last, nan beyond: with a prior its log-density is added. `log_likelihood`, `bic` and
    `aic` are of the data alone, and count what is not fixed.
    """

    params: HiddenMarkovPoint
    converged: Bool[Array, ""]
    num_iterations: Int[Array, ""]
    log_likelihoods: Float[Array, "steps"]
    log_likelihood: Float[Array, ""]
    bic: Float[Array, ""]
    aic: Float[Array, ""]


class SequenceBatch(NamedTuple):
    """Some sequences of a stream, and what `HiddenMarkovModel.expectations` takes with them."""

    x: Any
    weights: Float[ArrayLike, "*batch"] | None = None
    length: Int[ArrayLike, "*batch"] | None = None
    mask: Bool[ArrayLike, "*batch T"] | None = None


class OnlineFit(NamedTuple):
    """Where online EM stands; hand it to `fit_online` as start to go on.

    `averages`: the expectations, averaged over the stream with forgetting. `weight`: of all
    sequences so far. `num_batches`: taken so far. `log_likelihoods`: of each batch of the last
    call under the parameters before it, nats an observation.
    """

    params: HiddenMarkovPoint
    averages: HiddenMarkovExpectations
    weight: Float[Array, ""]
    num_batches: int
    log_likelihoods: Float[Array, "batches"]
