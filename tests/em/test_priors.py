"""Conjugate priors: stationary points, closed forms of the posterior mode, pruning, the guard."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.em.priors import data_prior, mixture_prior
from igeojax.families import FAMILIES
from tests.laws.programs import each_family

COMPONENTS = 2


@each_family
def test_the_posterior_never_falls_and_its_step_is_stationary(name):
    family = FAMILIES[name].family
    mixture = em.Mixture(family, COMPONENTS)
    draw = lambda seed: FAMILIES[name].point(jax.random.key(seed), (COMPONENTS,))
    truth = mixture.point([0.3, 0.7], draw(1))
    x = mixture.sample(jax.random.key(2), truth, (40,))
    prior = mixture_prior(mixture, draw(3), [2.0, 30.0], concentration=[3.0, 1.5])

    @jax.jit
    def step(params):
        sums = mixture.expectations(params, x)
        value = sums.log_likelihood + prior.log_density(mixture, params)
        return mixture.maximized(sums, previous=params, prior=prior), value, sums

    params, values = mixture.point([0.5, 0.5], draw(4)), []
    for _ in range(8):
        params, value, sums = step(params)
        values.append(value)
    assert (np.diff(values) > -1e-11 * np.abs(values[1:])).all()
    assert values[-1] > values[0] + 0.1

    @jax.jit
    @jax.grad
    def slope(components):
        expected = family.pairing(components, sums.statistics)
        expected = expected - sums.counts * family.log_partition(components)
        return jnp.sum(expected) + prior.log_density(
            mixture, params._replace(components=components)
        )

    for leaf, size in zip(
        *map(jax.tree.leaves, (slope(params.components), sums.statistics)), strict=True
    ):
        np.testing.assert_allclose(leaf, np.zeros(leaf.shape), atol=1e-7 * np.abs(size).max())
    mass = sums.counts + jnp.array([2.0, 0.5])
    np.testing.assert_allclose(jnp.exp(params.log_weights), mass / mass.sum(), rtol=1e-12)


def test_the_density_is_that_of_pseudo_observations():
    # Beta(1 + nu tau, 1 + nu (1 - tau)) of the probability, as a density of the logit's law.
    family = families.Bernoulli()
    mixture = em.Mixture(family, 1)
    prior = mixture_prior(mixture, family.natural_from_params(0.3), 5.0)
    probs = np.array([0.1, 0.6])
    values = [
        prior.log_density(mixture, mixture.point([1.0], family.natural_from_params([p])))
        for p in probs
    ]
    expected = 1.5 * np.log(probs) + 3.5 * np.log1p(-probs)
    np.testing.assert_allclose(np.diff(values), np.diff(expected), rtol=1e-12)
    sums = mixture.expectations(mixture.point([1.0], prior.centers), jnp.array([1, 1, 0]))
    found = mixture.maximized(sums, prior=prior)
    np.testing.assert_allclose(family.mean(found.components), [(2 + 1.5) / (3 + 5)], rtol=1e-12)


def test_of_a_normal_law_the_mode_is_that_of_pooled_data():
    family = families.MultivariateNormal(2)
    mixture = em.Mixture(family, 1)
    generator = np.random.default_rng(0)
    x, other = generator.normal(size=(30, 2)), 3 + generator.normal(size=(10, 2))
    prior = mixture_prior(mixture, family.fit(other), 10.0)
    sums = mixture.expectations(mixture.point([1.0], prior.centers), x)
    found = family.params_from_natural(mixture.maximized(sums, prior=prior).components)
    pooled = np.concatenate([x, other])
    np.testing.assert_allclose(found.mean[0], pooled.mean(0), rtol=1e-12)
    np.testing.assert_allclose(found.covariance[0], np.cov(pooled.T, bias=True), rtol=1e-12)


@pytest.mark.slow
def test_figueiredo_and_jain_prune_to_the_clusters_there_are():
    family = families.Normal()
    truth = em.Mixture(family, 3)
    x = truth.sample(
        jax.random.key(0),
        truth.point([0.3, 0.3, 0.4], family.natural_from_params([-8.0, 0.0, 8.0], 1.0)),
        (400,),
    )
    mixture = em.Mixture(family, 8)
    prior = mixture_prior(mixture, concentration=1 - family.dimension / 2 - 5.0)

    @jax.jit
    def step(params):
        return mixture.maximized(mixture.expectations(params, x), previous=params, prior=prior)

    params = mixture.fit(x, key=jax.random.key(1), max_iterations=2).params
    for _ in range(400):
        params = step(params)
    weights = np.exp(params.log_weights)
    assert (weights > 0).sum() == 3
    np.testing.assert_allclose(weights.sum(), 1, rtol=1e-12)
    assert np.isfinite(prior.log_density(mixture, params))
    # All below the threshold: one is left.
    none = mixture_prior(mixture, concentration=-1e6)
    found = mixture.maximized(mixture.expectations(params, x), previous=params, prior=none)
    assert sorted(np.exp(found.log_weights)) == [0.0] * 7 + [1.0]


def test_the_guard_bounds_the_variance_from_below():
    family = families.Normal()
    mixture = em.Mixture(family, 2)
    x = jnp.concatenate([jax.random.normal(jax.random.key(0), (30,)), jnp.array([50.0, 50.0])])
    prior = data_prior(mixture, x, count=0.1)
    labels = (x[:, None] > 10) == jnp.array([[False, True]])
    found = mixture.m_step(labels.astype(float), x, prior=prior)
    scale = family.params_from_natural(found.components).scale
    # Two equal points and a tenth of an observation of all data.
    share = 0.1 / 2.1
    floor = share * x.var() + share * (1 - share) * (50 - x.mean()) ** 2
    np.testing.assert_allclose(scale[1] ** 2, floor, rtol=1e-9)


def test_the_center_of_weighted_data_is_that_of_repeated_data():
    mixture = em.Mixture(families.Normal(), 2)
    x = jnp.array([0.0, 1.0, 5.0])
    weighted = data_prior(mixture, x, jnp.array([1.0, 0.0, 3.0]))
    repeated = data_prior(mixture, jnp.array([0.0, 5.0, 5.0, 5.0]))
    np.testing.assert_allclose(weighted.centers.x, repeated.centers.x, rtol=1e-13)
    np.testing.assert_allclose(weighted.centers.xx, repeated.centers.xx, rtol=1e-13)


def test_a_prior_is_the_same_in_any_frame():
    family = families.MultivariateNormal(2)
    mixture = em.Mixture(family, 2)
    draw = lambda seed: family.natural_from_params(
        1e3 + jax.random.normal(jax.random.key(seed), (2, 2)), jnp.array([[2.0, 0.5], [0.5, 1.0]])
    )
    prior = mixture_prior(mixture, draw(0), 4.0, concentration=2.0)
    params = mixture.point([0.4, 0.6], draw(1))
    frame = family.frame_of(jax.tree.map(lambda leaf: leaf[0], draw(2)))
    inside = params._replace(
        components=jax.vmap(lambda theta: family.in_frame(theta, frame))(params.components)
    )
    moved = prior.in_frame(family, frame)
    np.testing.assert_allclose(
        moved.log_density(mixture, inside), prior.log_density(mixture, params), rtol=1e-8
    )


def test_a_fit_far_from_the_origin_maximizes_the_posterior():
    family = families.MultivariateNormal(2)
    mixture = em.Mixture(family, 2, tied=True)
    generator = np.random.default_rng(0)
    x = 1e4 + generator.normal(size=(60, 2)) + 4 * (np.arange(60) < 20)[:, None]
    prior = data_prior(mixture, x, count=5.0, concentration=2.0)
    result = mixture.fit(
        x, key=jax.random.key(0), prior=prior, tolerance=1e-13, max_iterations=5000
    )
    values = np.asarray(result.log_likelihoods[: int(result.num_iterations) + 1])
    assert result.converged
    assert (np.diff(values) > -1e-12 * np.abs(values[1:])).all()
    likelihood = jnp.sum(mixture.log_density(result.params, x))
    np.testing.assert_allclose(result.log_likelihood, likelihood, rtol=1e-9)
    density = prior.log_density(mixture, result.params)
    np.testing.assert_allclose(values[-1] * 60, likelihood + density, rtol=1e-9)
    means, covariances = family.params_from_natural(result.params.components)
    np.testing.assert_allclose(covariances[0], covariances[1], rtol=1e-9)

    def posterior(shift, scale):
        covariance = scale @ covariances[0] @ scale.T
        components = family.natural_from_params(
            means + shift, jnp.broadcast_to(covariance, (2, 2, 2))
        )
        point = result.params._replace(components=components)
        return jnp.sum(mixture.log_density(point, x)) + prior.log_density(mixture, point)

    for leaf in jax.jit(jax.grad(posterior, (0, 1)))(jnp.zeros((2, 2)), jnp.eye(2)):
        np.testing.assert_allclose(leaf, np.zeros(leaf.shape), atol=1e-3)


def test_bad_input():
    family = families.Normal()
    mixture, center = em.Mixture(family, 2), family.natural_from_params(0.0, 1.0)
    with pytest.raises(
        ValueError, match=r"count must be a number or have shape \(2,\); got \(3,\)"
    ):
        mixture_prior(mixture, center, jnp.ones(3))
    with pytest.raises(ValueError, match="count must be finite and >= 0; got -1"):
        mixture_prior(mixture, center, -1.0)
    with pytest.raises(ValueError, match="count must be 0 without a center; got 1"):
        mixture_prior(mixture, count=1.0)
    with pytest.raises(ValueError, match="concentration must be finite"):
        mixture_prior(mixture, concentration=np.inf)
    with pytest.raises(ValueError, match="center must be inside the natural domain"):
        mixture_prior(mixture, family.Point(jnp.array(0.0), jnp.array(1.0)), 1.0)
    with pytest.raises(
        ValueError, match=r"center must have batch shape \(\) or \(2,\); got \(3,\)"
    ):
        mixture_prior(mixture, family.natural_from_params(jnp.zeros(3), 1.0), 1.0)
    with pytest.raises(TypeError, match=r"needs a Normal.Point"):
        mixture_prior(mixture, families.Poisson().natural_from_params(1.0), 1.0)
    with pytest.raises(ValueError, match="degenerate"):
        data_prior(mixture, jnp.ones(5))
