"""The gain of an iteration is two divergences, in every family, with weights, ties and priors."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.divergences import exponential, simplex
from igeojax.em.projections import projection_gains
from igeojax.families import FAMILIES
from tests.laws.programs import each_family

COMPONENTS = 2


def require_account(gains):
    """The gains are the two divergences, neither of which is nothing."""
    size = np.abs(gains.log_likelihoods).max() + np.abs(gains.log_priors).max()
    two = gains.latent_kls + gains.model_kls
    np.testing.assert_allclose(gains.gains, two, rtol=1e-7, atol=1e-13 * size)
    assert (gains.latent_kls >= 0).all()
    assert gains.latent_kls[0] > 1e-8
    assert gains.model_kls[0] > 1e-8


@each_family
def test_the_gain_is_two_divergences(name):
    family = FAMILIES[name].family
    mixture = em.Mixture(family, COMPONENTS)
    draw = lambda seed: FAMILIES[name].point(jax.random.key(seed), (COMPONENTS,))
    x = mixture.sample(jax.random.key(2), mixture.point([0.3, 0.7], draw(1)), (60,))
    prior = em.mixture_prior(mixture, draw(3), [2.0, 5.0], concentration=[3.0, 1.5])
    weights = jnp.arange(60) % 3 + 0.5
    start = mixture.point([0.4, 0.6], draw(4))
    require_account(
        projection_gains(mixture, x, start, weights=weights, prior=prior, num_iterations=4)
    )


def test_they_are_the_divergences_of_the_definition():
    family = families.Normal()
    mixture = em.Mixture(family, COMPONENTS)
    x = jnp.concatenate([jnp.linspace(-3.0, 0.0, 20), jnp.linspace(1.0, 6.0, 30)])
    start = mixture.point([0.5, 0.5], family.natural_from_params([-1.0, 1.0], 2.0))
    gains = projection_gains(mixture, x, start, num_iterations=1)
    require_account(gains)
    before, log_density = mixture.e_step(start, x)
    after, new = mixture.e_step(gains.params, x)
    np.testing.assert_allclose(gains.log_likelihoods, [log_density.sum(), new.sum()], rtol=1e-12)
    np.testing.assert_allclose(gains.latent_kls[0], simplex.kl(before, after).sum(), rtol=1e-9)
    weights = jnp.exp(gains.params.log_weights)
    within = exponential.kl(family, gains.params.components, start.components)
    between = simplex.kl(weights, jnp.exp(start.log_weights))
    np.testing.assert_allclose(gains.model_kls[0], 50 * (weights @ within + between), rtol=1e-9)
    np.testing.assert_array_equal(gains.log_priors, np.zeros(2))


@pytest.mark.slow
def test_tied_components_far_from_the_origin():
    family = families.MultivariateNormal(2)
    mixture = em.Mixture(family, COMPONENTS, tied=True)
    generator = np.random.default_rng(0)
    x = 1e5 + generator.normal(size=(80, 2)) + 3 * (np.arange(80) < 30)[:, None]
    start = mixture.fit(x, key=jax.random.key(0), max_iterations=1).params
    require_account(projection_gains(mixture, x, start, num_iterations=5))


def test_the_table_has_a_line_an_iteration():
    family = families.Poisson()
    mixture = em.Mixture(family, COMPONENTS)
    start = mixture.point([0.5, 0.5], family.natural_from_params([2.0, 9.0]))
    gains = projection_gains(mixture, jnp.array([1, 2, 8, 12]), start, num_iterations=3)
    lines = gains.table().splitlines()
    assert len(lines) == 4
    step, value, gain, latent, model, difference = map(float, lines[3].split())
    assert step == 3
    np.testing.assert_allclose(value, gains.log_likelihoods[3], atol=1e-6)
    np.testing.assert_allclose(gain, latent + model, rtol=1e-5)
    assert abs(difference) < 1e-12


def test_bad_input():
    mixture = em.Mixture(families.Poisson(), 2, missing=True)
    start = mixture.point([0.5, 0.5], families.Poisson().natural_from_params([2.0, 9.0]))
    with pytest.raises(ValueError, match="data must be complete"):
        projection_gains(mixture, jnp.array([1.0, 2.0]), start)
    plain = em.Mixture(families.Poisson(), 2)
    with pytest.raises(ValueError, match="num_iterations must be at least 1; got 0"):
        projection_gains(plain, jnp.array([1, 2]), start, num_iterations=0)
    with pytest.raises(TypeError, match="params must be a MixturePoint; got tuple"):
        projection_gains(plain, jnp.array([1, 2]), tuple(start))
    with pytest.raises(ValueError, match="must lie in its support"):
        projection_gains(plain, jnp.array([-1, 2]), start)
