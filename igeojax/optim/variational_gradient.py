"""The evidence lower bound of an exponential family and its natural gradient, from samples.

All of it is of one point: `jax.vmap` over keys and points does a batch. Samples are looked at in
the frame of the approximation (`families.frames`), in which normal laws are standard: far from 0
their statistics keep their digits.
"""

from collections.abc import Callable
from typing import Any, Literal, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Key

from igeojax._core import checks
from igeojax.divergences.exponential.relative_entropy import kl
from igeojax.divergences.montecarlo import Estimate
from igeojax.families.base import ExponentialFamily, require_family
from igeojax.families.frames import inverted
from igeojax.families.inverse_gaussian import InverseGaussian
from igeojax.families.product import Product
from igeojax.families.von_mises import VonMises
from igeojax.families.von_mises_fisher import VonMisesFisher
from igeojax.geometry.coordinates import ravel, unravel
from igeojax.geometry.metric import sharp

LogLikelihood = Callable[[Any], Array]
"""`log p(data | x)` of one observation x of the approximation, a scalar in nats."""

Estimator = Literal["pathwise", "score", "regression"]
"""How the gradient is made of samples, see `variational_gradient`."""

FEWEST_SAMPLES = 5
"""Of fewer the slope of the control variate, of all but one, has no finite variance."""

_REJECTION = (InverseGaussian, VonMises, VonMisesFisher)


class VariationalGradient(NamedTuple):
    """Evidence lower bound and the gradient of the expected loss, from the same samples.

    `elbo`: its value and standard error, in nats. `gradient`: of `E_q[-log p(data | x)]` in the
    mean parameters, a point: the updates that `bayesian_learning_rule` takes.
    """

    elbo: Estimate
    gradient: Any


class _Local(NamedTuple):
    """The problem in the frame of the approximation.

    `theta`: of the approximation. `pull`: `theta - prior`, what the gradient of the expected
    log-likelihood is at the optimum. `log_likelihood`: of an observation in the frame.
    """

    theta: Any
    pull: Any
    log_likelihood: LogLikelihood


def variational_gradient(
    key: Key[Array, ""],
    family: ExponentialFamily,
    theta: Any,
    prior: Any,
    log_likelihood: LogLikelihood,
    *,
    num_samples: int,
    estimator: Estimator = "pathwise",
) -> VariationalGradient:
    """Gradient of the expected loss in mean coordinates, and the evidence lower bound.

    By `grad_eta = F^-1 grad_theta` through the family's own maps. What is averaged is
    `log p(data | x) - <theta - prior, T(x)>`, and `theta - prior` is added: no bias, and where the
    approximation is the posterior nothing is left to average, so that the noise vanishes there.

    - `"pathwise"`: derivatives of samples that move with `theta`; needs a differentiable
      likelihood. The least noise in many dimensions.
    - `"score"`: `F^-1` times the covariance of statistics and log-likelihood over the samples; for
      any family, from values alone, unbiased.
    - `"regression"`: the slope of least squares of the log-likelihood on the statistics. Exact for
      conjugate models; else with a bias of order `1 / num_samples`. Needs more samples than the
      family has dimensions, and `num_samples dimension^2` operations.

    Args:
      key: a PRNG key.
      family: the family of the approximation.
      theta: its natural parameter, a single point.
      prior: natural parameter of the prior; may be improper, such as all 0: the bound is then nan.
      log_likelihood: `log p(data | x)` of one observation x of the family, a scalar in nats.
      num_samples: samples, at least 5.
      estimator: see above.

    Returns:
      The bound and the gradient.

    Raises:
      TypeError: `key` is no PRNG key, `family` is not a family, or a point is not of it.
      ValueError: a batch of points, too few samples, an unknown estimator, samples that cannot move
        with `theta` (counts, labels, and laws that are drawn by rejection: `"pathwise"` only), or a
        likelihood that is no scalar.

    References:
      [KhanRue2023] (gradients in mean parameters); [Roeder2017] (the noise that vanishes);
      [SalimansKnowles2013] (regression).

    Examples:
      >>> from igeojax import families
      >>> gamma = families.Gamma()
      >>> prior = gamma.natural_from_params(2.0, 1.0)
      >>> log_likelihood = lambda rate: 5 * jnp.log(rate) - 3.0 * rate  # two Poisson counts, say
      >>> found = variational_gradient(
      ...     jax.random.key(0), gamma, prior, prior, log_likelihood,
      ...     num_samples=9, estimator="regression",
      ... )
      >>> [round(float(leaf), 6) for leaf in found.gradient]
      [-5.0, 3.0]
    """  # fmt: skip
    checks.require_option("estimator", estimator, ("pathwise", "score", "regression"))
    theta, prior = _checked(key, family, theta, prior, num_samples)
    if estimator == "pathwise":
        _require_moving(family)
    if estimator == "regression" and num_samples <= family.dimension:
        raise ValueError(
            f"regression needs more samples than {family} has dimensions, {family.dimension}; got "
            f"num_samples={num_samples}. Take more, or estimator='score'."
        )
    frame = family.frame_of(theta)
    local = _localized(family, theta, prior, log_likelihood, frame)

    def surrogate(point: Any) -> tuple[Array, tuple[Any, Array]]:
        z = family.sample(key, point, (num_samples,))
        values = _values(local.log_likelihood, z)
        rest = values - _paired(family, local.pull, family.statistics(z))
        return jnp.mean(rest), (z, values)

    if estimator == "pathwise":
        slope, (z, values) = jax.grad(surrogate, has_aux=True)(local.theta)
        change = sharp(family, local.theta, slope)
    else:
        _, (z, values) = surrogate(local.theta)
        solve = _by_covariance if estimator == "score" else _by_regression
        change = solve(family, local, z, values)
    total = jax.tree.map(jnp.add, local.pull, change)
    gradient = jax.tree.map(jnp.negative, family.from_frame(total, frame))
    bound = _bound(family, theta, prior, local, z, values)
    return VariationalGradient(bound, gradient)


def elbo(
    key: Key[Array, ""],
    family: ExponentialFamily,
    theta: Any,
    prior: Any,
    log_likelihood: LogLikelihood,
    *,
    num_samples: int,
) -> Estimate:
    """Evidence lower bound `E_q[log p(data | x)] - KL(q || prior)` and its standard error.

    The divergence in closed form; the expectation from samples, with `<theta - prior, T(x) - eta>`
    as control variate, whose mean is 0. Its coefficient is, for every sample, that of least squares
    of the others, so that there is no bias. Where the approximation is the posterior the value is
    the log-evidence without error. Memory and operations of one likelihood a sample.

    Args:
      key: a PRNG key.
      family: the family of the approximation.
      theta: its natural parameter, a single point.
      prior: natural parameter of the prior; of an improper one the bound is nan.
      log_likelihood: `log p(data | x)` of one observation x of the family, a scalar in nats.
      num_samples: samples, at least 5.

    Returns:
      The value, unbiased, and its standard error, in nats.

    Raises:
      TypeError: `key` is no PRNG key, `family` is not a family, or a point is not of it.
      ValueError: a batch of points, too few samples, or a likelihood that is no scalar.

    References:
      [SalimansKnowles2013] (control variates of regression).

    Examples:
      >>> from igeojax import families
      >>> beta = families.Beta()
      >>> prior, theta = beta.natural_from_params(1.0, 1.0), beta.natural_from_params(4.0, 8.0)
      >>> log_likelihood = lambda p: 3 * jnp.log(p) + 7 * jnp.log1p(-p)
      >>> found = elbo(jax.random.key(0), beta, theta, prior, log_likelihood, num_samples=8)
      >>> round(float(jnp.exp(-found.value)))  # 3! 7! / 11!
      1320
    """
    theta, prior = _checked(key, family, theta, prior, num_samples)
    local = _localized(family, theta, prior, log_likelihood, family.frame_of(theta))
    z = family.sample(key, local.theta, (num_samples,))
    return _bound(family, theta, prior, local, z, _values(local.log_likelihood, z))


def _checked(
    key: Any, family: ExponentialFamily, theta: Any, prior: Any, num_samples: int
) -> tuple[Any, Any]:
    """The points as arrays.

    Raises:
      ValueError: a batch of points.
    """
    checks.require_key(key)
    require_family(family)
    checks.require_count("num_samples", num_samples, FEWEST_SAMPLES)
    for name, point in (("theta", theta), ("prior", prior)):
        if batch := family.batch_shape(point):
            raise ValueError(
                f"{name} must be a single point; got batch shape {batch}. Use jax.vmap, with a key "
                "for each."
            )
    return family._point(theta), family._point(prior)


def _require_moving(family: ExponentialFamily) -> None:
    """Check that samples are differentiable functions of the natural parameter.

    Raises:
      ValueError: they are not.
    """
    if isinstance(family, Product):
        for factor in family.families:
            _require_moving(factor)
    elif family._discrete or isinstance(family, _REJECTION):
        kind = "are counts or labels" if family._discrete else "are drawn by rejection"
        raise ValueError(
            f"pathwise gradients need samples that move with theta; those of {family} {kind}. Use "
            "estimator='score' or 'regression'."
        )


def _localized(
    family: ExponentialFamily, theta: Any, prior: Any, log_likelihood: LogLikelihood, frame: Any
) -> _Local:
    back = inverted(frame)
    pull = jax.tree.map(jnp.subtract, theta, prior)
    return _Local(
        family.in_frame(theta, frame),
        family.in_frame(pull, frame),
        lambda z: log_likelihood(family.standardized(z, back)),
    )


def _values(log_likelihood: LogLikelihood, z: Any) -> Array:
    """Log-likelihoods of samples on axis 0.

    Raises:
      ValueError: they are no scalars.
    """
    values = jax.vmap(log_likelihood)(z)
    if jnp.ndim(values) != 1:
        raise ValueError(
            f"log_likelihood must return a scalar; got shape {jnp.shape(values)[1:]}. Sum over the "
            "data."
        )
    return values


def _paired(family: ExponentialFamily, point: Any, statistics: Any) -> Array:
    """Pairings of one point with statistics on axis 0."""
    rows = jax.tree.map(lambda leaf: leaf[None], point)
    wide = jax.tree.map(lambda a, b: jnp.broadcast_to(a, b.shape), rows, statistics)
    return family.pairing(wide, statistics)


def _centred(family: ExponentialFamily, local: _Local, z: Any) -> Any:
    """`T(z) - eta` of samples on axis 0."""
    eta = family.mean_from_natural(local.theta)
    return jax.tree.map(lambda row, mean: row - mean[None], family.statistics(z), eta)


def _by_covariance(family: ExponentialFamily, local: _Local, z: Any, values: Array) -> Any:
    """`F^-1` times the covariance of the statistics with what the pull leaves."""
    statistics = _centred(family, local, z)
    rest = values - _paired(family, local.pull, statistics)
    rest = (rest - jnp.mean(rest)) / (rest.size - 1)
    covariance = jax.tree.map(lambda leaf: jnp.tensordot(rest, leaf, axes=1), statistics)
    return sharp(family, local.theta, covariance)


def _by_regression(family: ExponentialFamily, local: _Local, z: Any, values: Array) -> Any:
    """Slope of least squares of what the pull leaves on the statistics."""
    statistics = _centred(family, local, z)
    rest = values - _paired(family, local.pull, statistics)
    columns = ravel(family, statistics)
    columns = columns - jnp.mean(columns, axis=0, keepdims=True)
    # Of unit length, so that the units of the statistics do not decide what is small.
    norm = jnp.sqrt(jnp.sum(columns**2, axis=0))
    unit = jnp.where(norm > 0, norm, 1)
    slope = jnp.linalg.lstsq(columns / unit[None], rest - jnp.mean(rest))[0] / unit
    return unravel(family, slope)


def _bound(
    family: ExponentialFamily, theta: Any, prior: Any, local: _Local, z: Any, values: Array
) -> Estimate:
    """The bound from log-likelihoods of samples, with the control variate."""
    control = _paired(family, local.pull, _centred(family, local, z))
    # Centred by the mean of all, the sums over all samples but one lack that one's term alone.
    x, y = control - jnp.mean(control), values - jnp.mean(values)
    share = values.size / (values.size - 1)
    square = jnp.sum(x * x) - share * x * x
    # Where the others are alike, as counts of a rare event are, what is left is rounding.
    known = square > jnp.finfo(x.dtype).eps ** 0.5 * jnp.sum(control * control)
    slope = (jnp.sum(x * y) - share * x * y) / jnp.where(known, square, 1)
    terms = values - jnp.where(known, slope, 0) * control
    error = jnp.std(terms, ddof=1) / values.size**0.5
    return Estimate(jnp.mean(terms) - kl(family, theta, prior), error)
