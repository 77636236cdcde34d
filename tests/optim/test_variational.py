"""The Bayesian learning rule: exact Bayes, mean fields in closed form, steps in the domain."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from igeojax import bayes, families, optim

EPS = float(jnp.finfo(float).eps)
GAMMA = families.Gamma()
LIKELIHOODS = {
    name: entry for name, entry in families.FAMILIES.items() if entry.family.conjugate_prior
} | {"Product": families.FAMILIES["Product"]}
# Each costs seconds of compilation: the others run in the slow lane.
NAMES = [
    name if name in {"Poisson", "NormalKnownScale"} else pytest.param(name, marks=pytest.mark.slow)
    for name in LIKELIHOODS
]


def drawn(prior, key):
    """A proper natural parameter of a prior, of the sizes that the family needs."""
    if isinstance(prior, families.Product):
        keys = jax.random.split(key, len(prior.families))
        return families.Product.Point(
            *(drawn(part, k) for part, k in zip(prior.families, keys, strict=True))
        )
    if isinstance(prior, families.Dirichlet):
        return prior.natural_from_params(jax.random.uniform(key, (prior.num_classes,)) + 1)
    if isinstance(prior, families.NormalInverseWishart):
        root = jnp.tril(jnp.ones((prior.dim, prior.dim))) + jax.random.uniform(key)
        return prior.natural_from_params(
            jnp.arange(prior.dim) * 0.5, 1.5, prior.dim + 6.5, root @ root.T
        )
    return families.FAMILIES[type(prior).__name__].point(key)


@pytest.mark.parametrize("name", NAMES)
def test_one_step_of_rate_one_is_bayes_theorem(name):
    """From samples of the likelihood alone, at any approximation: no conjugacy is told."""
    entry = LIKELIHOODS[name]
    family, prior = entry.family, bayes.conjugate_prior(entry.family)
    theta, start = (drawn(prior, jax.random.key(seed)) for seed in (1, 2))
    x = family.sample(jax.random.key(3), entry.point(jax.random.key(4)), (5,))

    def log_likelihood(draw):
        return jnp.sum(family.log_density(bayes.natural_from_draw(family, draw), x))

    @jax.jit
    def step(theta, start):
        tx = optim.bayesian_learning_rule(1.0, prior, theta)
        found = optim.variational_gradient(
            jax.random.key(5), prior, start, theta, log_likelihood,
            num_samples=prior.dimension + 30, estimator="regression",
        )  # fmt: skip
        updates, state = tx.update(found.gradient, tx.init(start), start)
        return optax.apply_updates(start, updates), state[-1]

    got, state = step(theta, start)
    assert float(state.scale) == 1.0
    expected = bayes.posterior(family, theta, x)
    # The condition of the statistics of a few dozen samples.
    for a, b in zip(jax.tree.leaves(got), jax.tree.leaves(expected), strict=True):
        size = max(1.0, float(jnp.max(jnp.abs(b))))
        np.testing.assert_allclose(a, b, rtol=0, atol=1e5 * EPS * size)


def test_a_step_averages_natural_parameters():
    prior = GAMMA.natural_from_params(2.0, 1.0)
    theta = GAMMA.natural_from_params(jnp.array([1.0, 5.0]), jnp.array([3.0, 0.5]))
    gradient = GAMMA.Point(jnp.array([-4.0, -1.0]), jnp.array([2.0, 7.0]))
    tx = optim.bayesian_learning_rule(0.25, GAMMA, prior)
    updates, state = tx.update(gradient, tx.init(theta), theta)
    got = optax.apply_updates(theta, updates)
    np.testing.assert_allclose(got.log_x, 0.75 * theta.log_x + 0.25 * (2 + np.array([4.0, 1.0])))
    np.testing.assert_allclose(got.x, 0.75 * theta.x + 0.25 * (-1 - np.array([2.0, 7.0])))
    np.testing.assert_array_equal(state[-1].scale, [1.0, 1.0])
    assert int(state[-1].step) == 1


def test_mean_field_optimum_of_a_normal_posterior():
    """Mean exact, variances those of each coordinate given the others."""
    precision = jnp.array([[2.0, 0.8, 0.0], [0.8, 1.5, -0.4], [0.0, -0.4, 1.0]])
    mean = jnp.array([1.0, -2.0, 0.5])
    family = families.DiagonalNormal(3)
    flat = family.Point(jnp.zeros(3), jnp.zeros(3))  # the prior stands in the target

    def loss(eta):
        square = eta.x[:, None] * eta.x[None, :]
        square = square + jnp.diag(eta.xx - eta.x**2)
        return 0.5 * jnp.sum(precision * square) - eta.x @ precision @ mean

    tx = optim.bayesian_learning_rule(0.5, family, flat)

    def step(carry, _):
        theta, state = carry
        gradient = jax.grad(loss)(family.mean_from_natural(theta))
        updates, state = tx.update(gradient, state, theta)
        return (optax.apply_updates(theta, updates), state), None

    start = family.natural_from_params(loc=jnp.zeros(3), scale=jnp.ones(3))
    theta, _ = jax.lax.scan(step, (start, tx.init(start)), length=200)[0]
    np.testing.assert_allclose(family.mean(theta), mean, rtol=1e-13, atol=0)
    np.testing.assert_allclose(family.variance(theta), 1 / jnp.diag(precision), rtol=1e-13, atol=0)


def test_a_full_normal_law_is_the_posterior_of_linear_regression():
    rng = np.random.default_rng(0)
    inputs, targets = rng.normal(size=(8, 3)), rng.normal(size=8)
    family = families.MultivariateNormal(3)
    prior = family.natural_from_params(jnp.zeros(3), jnp.eye(3))

    def loss(eta):  # of unit noise
        return 0.5 * jnp.sum(inputs.T @ inputs * eta.xx) - targets @ inputs @ eta.x

    tx, start = optim.bayesian_learning_rule(1.0, family, prior), prior
    updates, _ = tx.update(jax.grad(loss)(family.mean_from_natural(start)), tx.init(start), start)
    got = family.params_from_natural(optax.apply_updates(start, updates))
    covariance = np.linalg.inv(inputs.T @ inputs + np.eye(3))
    np.testing.assert_allclose(got.covariance, covariance, rtol=1e-12, atol=1e-14)
    np.testing.assert_allclose(got.mean, covariance @ inputs.T @ targets, rtol=1e-12, atol=1e-14)


def test_steps_are_shortened_to_stay_in_the_domain_point_by_point():
    tx = optim.within_domain(GAMMA)
    theta = GAMMA.natural_from_params(jnp.array([1.0, 1.0, 1.0, 1.0]), jnp.ones(4))
    updates = GAMMA.Point(jnp.array([5.0, -1.5, -7.0, jnp.nan]), jnp.array([0.0, 0.5, 0.5, 0.0]))
    got, state = jax.jit(tx.update)(updates, tx.init(theta), theta)
    np.testing.assert_array_equal(state.scale, [1.0, 0.5, 0.125, 0.0])
    np.testing.assert_array_equal(state.num_backtracks, [0, 1, 3, 31])
    np.testing.assert_array_equal(got.log_x, [5.0, -0.75, -0.875, 0.0])
    np.testing.assert_array_equal(got.x, [0.0, 0.25, 0.0625, 0.0])
    assert bool(GAMMA.in_natural_domain(optax.apply_updates(theta, got)).all())
    _, state = optim.within_domain(GAMMA, backtrack=0.1, max_backtracks=1).update(
        updates, tx.init(theta), theta
    )
    np.testing.assert_allclose(state.scale, [1.0, 0.1, 0.1, 0.0])
    none, _ = optim.within_domain(GAMMA, max_backtracks=0).update(updates, tx.init(theta), theta)
    np.testing.assert_array_equal(none.log_x, [5.0, 0.0, 0.0, 0.0])


def test_matrices_and_products_stay_in_the_domain():
    normal = families.MultivariateNormal(2)
    family = families.Product((normal, GAMMA))
    theta = family.Point(
        normal.natural_from_params(jnp.ones(2), jnp.eye(2)), GAMMA.natural_from_params(1.0, 1.0)
    )
    zero = jax.tree.map(jnp.zeros_like, theta)
    updates = family.Point(zero[0]._replace(xx=jnp.diag(jnp.array([0.9, 0.0]))), zero[1])
    tx = optim.within_domain(family)
    got, state = tx.update(updates, tx.init(theta), theta)
    assert float(state.scale) == 0.5
    np.testing.assert_array_equal(got[0].xx, 0.5 * updates[0].xx)


def test_schedules_hyperparameters_and_vmap():
    prior = GAMMA.natural_from_params(2.0, 1.0)
    gradient = GAMMA.Point(jnp.array(-4.0), jnp.array(2.0))
    make = optax.inject_hyperparams(
        optim.bayesian_learning_rule, static_args=("family", "prior", "max_backtracks")
    )
    tx = make(lambda count: 1.0 / (1 + count), GAMMA, prior, backtrack=0.5)
    theta = GAMMA.natural_from_params(1.0, 1.0)
    state, step = tx.init(theta), jax.jit(tx.update)
    target = GAMMA.Point(6.0, -3.0)
    for count in range(3):
        updates, state = step(gradient, state, theta)
        np.testing.assert_allclose(updates.log_x, (target.log_x - theta.log_x) / (1 + count))
        theta = GAMMA.Point(theta.log_x + 1.0, theta.x)
    plain = optim.bayesian_learning_rule(0.5, GAMMA, prior)
    many = GAMMA.natural_from_params(jnp.arange(1.0, 4.0), jnp.ones(3))
    run = lambda theta: plain.update(gradient, plain.init(theta), theta)
    updates, states = jax.vmap(run)(many)
    np.testing.assert_allclose(updates.log_x, 0.5 * (6.0 - many.log_x))
    assert states[-1].scale.shape == (3,)


def test_float32_stays():
    theta = jax.tree.map(jnp.float32, GAMMA.natural_from_params(2.0, 1.0))
    tx = optim.bayesian_learning_rule(1.0, GAMMA, theta)
    updates, state = tx.update(theta, tx.init(theta), theta)
    assert {leaf.dtype for leaf in jax.tree.leaves(updates)} == {jnp.dtype("float32")}
    assert state[-1].scale.dtype == jnp.float32


def test_bad_input_is_told():
    theta = GAMMA.natural_from_params(1.0, 1.0)
    rule = functools.partial(optim.bayesian_learning_rule, 0.5)
    tx = rule(GAMMA, theta)
    with pytest.raises(ValueError, match="params=None"):
        tx.update(theta, tx.init(theta))
    with pytest.raises(TypeError, match="Call the class"):
        rule(families.Gamma, theta)
    with pytest.raises(TypeError, match=r"needs a Gamma.Point"):
        rule(GAMMA, families.Normal().natural_from_params(0.0, 1.0))
    with pytest.raises(ValueError, match=r"\(0, 1\)"):
        rule(GAMMA, theta, backtrack=1.0)
    with pytest.raises(ValueError, match="scalar"):
        rule(GAMMA, theta, backtrack=jnp.full(2, 0.5))
    with pytest.raises(ValueError, match="at least 0"):
        rule(GAMMA, theta, max_backtracks=-1)
    batch = GAMMA.natural_from_params(jnp.ones(2), jnp.ones(2))
    for tx in (rule(GAMMA, theta), optim.within_domain(GAMMA)):
        with pytest.raises(ValueError, match="shapes of params"):
            tx.update(batch, tx.init(theta), theta)
    assert optim.within_domain(GAMMA).init(GAMMA.Point(3.0, -2.0)).scale == 1.0
    tx = rule(GAMMA, batch)
    with pytest.raises(ValueError, match="batch shape of params"):
        tx.update(theta, tx.init(theta), theta)
