"""Gradients in mean coordinates and evidence lower bounds from samples, against closed forms."""

import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import bayes, families, optim

EPS = float(jnp.finfo(float).eps)
NORMAL, BETA = families.Normal(), families.Beta()
STILL = {
    "Bernoulli", "Binomial", "Categorical", "Geometric", "Multinomial", "NegativeBinomial",
    "Poisson", "InverseGaussian", "VonMises", "VonMisesFisher", "Product",
}  # fmt: skip
MOVING = [
    name if name in {"Normal", "Exponential"} else pytest.param(name, marks=pytest.mark.slow)
    for name in families.FAMILIES
    if name not in STILL
]
ANY = [
    name if name in {"Poisson", "Exponential"} else pytest.param(name, marks=pytest.mark.slow)
    for name in families.FAMILIES
]


def repeated(name, estimator, num_samples=16, repeats=2000):
    """Estimates over keys of what is known: a likelihood of statistics has a constant gradient."""
    entry = families.FAMILIES[name]
    family = entry.family
    theta, prior, slope = (entry.point(jax.random.key(seed)) for seed in (1, 2, 3))
    log_likelihood = lambda x: family.pairing(slope, family.statistics(x))

    def one(key):
        return optim.variational_gradient(
            key, family, theta, prior, log_likelihood, num_samples=num_samples, estimator=estimator
        )

    found = jax.jit(jax.vmap(one))(jax.random.split(jax.random.key(4), repeats))
    bound = family.pairing(slope, family.mean_from_natural(theta)) - family.bregman(prior, theta)
    return found, slope, float(bound)


def unbiased(values, expected):
    """Within 5 standard errors of a mean: over all the entries here below one in 10^4 by chance."""
    error = np.std(values, axis=0, ddof=1) / len(values) ** 0.5
    gap = np.abs(np.mean(values, axis=0) - np.asarray(expected))
    assert np.all(gap < 5 * error + 1e3 * EPS)


@pytest.mark.parametrize("name", MOVING)
def test_pathwise_gradients_have_no_bias(name):
    found, slope, bound = repeated(name, "pathwise")
    for got, expected in zip(jax.tree.leaves(found.gradient), jax.tree.leaves(slope), strict=True):
        unbiased(got, -expected)
    unbiased(found.elbo.value, bound)


@pytest.mark.parametrize("name", ANY)
def test_score_gradients_have_no_bias(name):
    found, slope, bound = repeated(name, "score")
    for got, expected in zip(jax.tree.leaves(found.gradient), jax.tree.leaves(slope), strict=True):
        unbiased(got, -expected)
    unbiased(found.elbo.value, bound)


@functools.cache
def logistic(num_samples, estimator):
    """One weight of a logistic regression: estimates, and the expectation by quadrature."""
    x, y = jnp.array([0.5, -1.0, 2.0, 1.5]), jnp.array([1.0, 0.0, 1.0, 0.0])
    log_likelihood = lambda w: jnp.sum(y * x * w - jnp.logaddexp(0.0, x * w))
    prior = NORMAL.natural_from_params(0.0, 2.0)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)

    def expected(theta):
        loc, scale = NORMAL.params_from_natural(theta)
        return jax.vmap(log_likelihood)(loc + scale * nodes) @ weights / np.sqrt(2 * np.pi)

    def one(key, theta):
        return optim.variational_gradient(
            key, NORMAL, theta, prior, log_likelihood, num_samples=num_samples, estimator=estimator
        )

    return log_likelihood, prior, expected, jax.jit(jax.vmap(one, (0, None)))


@pytest.mark.parametrize("estimator", ["pathwise", "score"])
def test_gradients_of_a_logistic_regression(estimator):
    _, prior, expected, estimates = logistic(8, estimator)
    theta = NORMAL.natural_from_params(0.7, 0.6)
    found = estimates(jax.random.split(jax.random.key(0), 4000), theta)
    # The gradient in mean parameters of the quadrature: by mean and variance, in closed form.
    by_mean = lambda eta: expected(NORMAL.natural_from_mean(eta))
    gradient = jax.grad(by_mean)(NORMAL.mean_from_natural(theta))
    unbiased(found.gradient.x, -gradient.x)
    unbiased(found.gradient.xx, -gradient.xx)
    unbiased(found.elbo.value, expected(theta) - NORMAL.bregman(prior, theta))


def test_the_bound_is_never_above_the_evidence_and_close_at_the_optimum():
    log_likelihood, prior, expected, estimates = logistic(32, "pathwise")
    log_joint = lambda w: log_likelihood(w) + NORMAL.log_density(prior, w)
    grid = bayes.grid_posterior(log_joint, [jnp.linspace(-14.0, 14.0, 4001)])
    tx = optim.bayesian_learning_rule(0.5, NORMAL, prior)
    theta, start = prior, []
    gradient = jax.jit(jax.grad(lambda eta: -expected(NORMAL.natural_from_mean(eta))))
    for _ in range(40):
        start.append(theta)
        updates, _ = tx.update(gradient(NORMAL.mean_from_natural(theta)), tx.init(theta), theta)
        theta = jax.tree.map(jnp.add, theta, updates)
    bounds = [float(expected(t) - NORMAL.bregman(prior, t)) for t in [*start, theta]]
    assert all(bound < float(grid.log_evidence) for bound in bounds)
    assert all(a <= b + 1e-12 for a, b in itertools.pairwise(bounds))  # it climbs
    assert float(grid.log_evidence) - bounds[-1] < 0.02
    np.testing.assert_allclose(NORMAL.mean(theta), grid.mean()[0], rtol=0.02, atol=0)
    np.testing.assert_allclose(NORMAL.variance(theta), grid.covariance()[0, 0], rtol=0.1, atol=0)
    found = estimates(jax.random.split(jax.random.key(1), 500), theta)
    assert float(jnp.mean(found.elbo.value)) < float(grid.log_evidence)
    unbiased(found.elbo.value, bounds[-1])
    # What a sample reports as its error is the spread over keys.
    spread = float(jnp.std(found.elbo.value))
    assert 0.7 < float(jnp.mean(found.elbo.standard_error)) / spread < 1.4


ESTIMATORS = ("pathwise", "score", "regression")


def by_each(family, theta, prior, log_likelihood, num_samples):
    """What every estimator finds, of one compiled function: compile time is the cost."""

    def run(key, theta, prior):
        call = functools.partial(
            optim.variational_gradient, key, family, theta, prior, log_likelihood
        )
        return [call(num_samples=num_samples, estimator=name) for name in ESTIMATORS]

    return jax.jit(run)(jax.random.key(0), theta, prior)


def test_at_the_posterior_nothing_is_left_to_average():
    family, data = families.NormalKnownScale(1.0), jnp.array([0.5, -1.0, 2.0, 2.5])
    prior = NORMAL.natural_from_params(0.3, 2.0)
    posterior = bayes.posterior(family, prior, data)
    log_likelihood = lambda loc: jnp.sum(family.log_density(family.natural_from_params(loc), data))
    evidence = float(bayes.log_evidence(family, prior, data))
    for found in by_each(NORMAL, posterior, prior, log_likelihood, 6):
        np.testing.assert_allclose(jnp.stack(found.gradient), [-4.0, 2.0], rtol=1e-12, atol=0)
        np.testing.assert_allclose(found.elbo.value, evidence, rtol=1e-12, atol=0)
        assert float(found.elbo.standard_error) < 1e-12
    bound = jax.jit(
        lambda key: optim.elbo(key, NORMAL, posterior, prior, log_likelihood, num_samples=5)
    )(jax.random.key(1))
    np.testing.assert_allclose(bound.value, evidence, rtol=1e-12, atol=0)


def test_bounds_of_a_rare_event_have_no_bias():
    """Often one sample alone differs: what the others tell of the slope is rounding."""
    family = families.Bernoulli()
    theta, prior = (family.natural_from_params(probs=p) for p in (0.05, 0.3))
    run = lambda key: optim.elbo(key, family, theta, prior, lambda x: 2.0 * x - 1.0, num_samples=8)
    found = jax.jit(jax.vmap(run))(jax.random.split(jax.random.key(0), 20000))
    unbiased(found.value, -0.9 - family.bregman(prior, theta))


def test_far_from_zero_float32_keeps_its_digits():
    """A mean of 10^4 deviations: `x^2 - E[x^2]` of the data as they come would have no digit."""
    to = lambda point: jax.tree.map(jnp.float32, point)
    theta = to(NORMAL.natural_from_params(1e4, 1.0))
    prior = to(NORMAL.natural_from_params(1e4, 2.0))
    for found in by_each(NORMAL, theta, prior, lambda x: -0.5 * (x - 10001.0) ** 2, 2000):
        assert found.gradient.x.dtype == jnp.float32
        np.testing.assert_allclose(found.gradient.xx, 0.5, rtol=0.1, atol=0)
        # E[log-likelihood] = -1, KL = log 2 - 3/8.
        np.testing.assert_allclose(found.elbo.value, -1 + 0.375 - np.log(2.0), rtol=0, atol=0.1)


def test_regression_does_not_depend_on_the_units_of_the_statistics():
    family, rate = families.Gamma(), 1e-20
    theta = family.natural_from_params(2.0, rate)
    found = optim.variational_gradient(
        jax.random.key(0), family, theta, theta, lambda x: 3 * jnp.log(x) - rate * x,
        num_samples=8, estimator="regression",
    )  # fmt: skip
    np.testing.assert_allclose(found.gradient.log_x, -3.0, rtol=1e-10, atol=0)
    np.testing.assert_allclose(found.gradient.x, rate, rtol=1e-10, atol=0)


def test_an_improper_prior_leaves_the_gradient():
    flat = NORMAL.Point(jnp.zeros(()), jnp.zeros(()))
    theta = NORMAL.natural_from_params(0.0, 1.0)
    found = optim.variational_gradient(
        jax.random.key(0), NORMAL, theta, flat, lambda x: -2.0 * x**2 + x,
        num_samples=6, estimator="regression",
    )  # fmt: skip
    np.testing.assert_allclose(jnp.stack(found.gradient), [-1.0, 2.0], rtol=1e-12, atol=0)
    assert bool(jnp.isnan(found.elbo.value))


def test_bad_input_is_told():
    key, theta = jax.random.key(0), BETA.natural_from_params(1.0, 1.0)
    call = functools.partial(optim.variational_gradient, key, BETA, theta, theta)
    with pytest.raises(ValueError, match="one of 'pathwise'"):
        call(jnp.log, num_samples=8, estimator="exact")
    with pytest.raises(ValueError, match="at least 5"):
        call(jnp.log, num_samples=4)
    with pytest.raises(ValueError, match="scalar"):
        call(lambda p: jnp.ones(2) * p, num_samples=8)
    with pytest.raises(TypeError, match="PRNG key"):
        optim.elbo(0, BETA, theta, theta, jnp.log, num_samples=8)
    with pytest.raises(TypeError, match=r"needs a Beta.Point"):
        optim.elbo(key, BETA, NORMAL.natural_from_params(0.0, 1.0), theta, jnp.log, num_samples=8)
    batch = BETA.natural_from_params(jnp.ones(2), jnp.ones(2))
    with pytest.raises(ValueError, match=r"single point.*jax.vmap"):
        optim.elbo(key, BETA, batch, theta, jnp.log, num_samples=8)
    family = families.MultivariateNormal(3)
    wide = family.natural_from_params(jnp.zeros(3), jnp.eye(3))
    with pytest.raises(ValueError, match="more samples"):
        optim.variational_gradient(
            key, family, wide, wide, jnp.sum, num_samples=9, estimator="regression"
        )
    for name, why in (("Poisson", "counts"), ("VonMises", "rejection"), ("Product", "counts")):
        entry = families.FAMILIES[name]
        point = entry.point(key)
        with pytest.raises(ValueError, match=why):
            optim.variational_gradient(
                key, entry.family, point, point, lambda x: 0.0, num_samples=8
            )
