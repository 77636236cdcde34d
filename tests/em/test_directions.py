"""Mixtures of von Mises-Fisher laws: clusters, a common concentration, softmax as posterior."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize, special

from igeojax import em, families
from igeojax.discrete.softmax import softmax
from igeojax.nn.margins import cosine_logits


@pytest.mark.parametrize("dim", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_recovers_clusters_of_directions(dim):
    family = families.VonMisesFisher(dim)
    mixture = em.Mixture(family, 3)
    axis = jnp.eye(dim)
    # Two clusters are opposite: their mean is 0, and only their directions tell them apart.
    directions = jnp.stack([axis[0], -axis[0], axis[1]])
    concentrations = dim * jnp.array([5.0, 10.0, 20.0])
    truth = mixture.point([0.2, 0.3, 0.5], family.natural_from_params(directions, concentrations))
    x = mixture.sample(jax.random.key(0), truth, (1500,))
    result = mixture.fit(x, key=jax.random.key(1), num_restarts=4, max_iterations=300)
    assert result.converged
    found, length = family.params_from_natural(result.params.components)
    cosines = np.asarray(directions @ found.T)
    order = cosines.argmax(axis=1)
    assert sorted(order) == [0, 1, 2]
    # Directions off by five standard errors: 1 - cos is about (d - 1) / (2 n kappa A).
    counts = 1500 * np.array([0.2, 0.3, 0.5])
    gap = 1 - cosines[np.arange(3), order]
    assert (gap < 25 * (dim - 1) / (2 * counts * np.asarray(concentrations) * 0.7)).all()
    deviation = np.sqrt(2 / ((dim - 1) * counts))
    np.testing.assert_array_less(np.abs(length[order] / concentrations - 1), 5 * deviation)
    np.testing.assert_allclose(np.exp(result.params.log_weights)[order], [0.2, 0.3, 0.5], atol=0.06)
    labels = np.asarray(mixture.predict(result.params, x))
    best = np.asarray(mixture.predict(truth, x))
    assert np.mean(order[best] == labels) > 0.99


def _unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def test_a_common_concentration_is_the_root_of_its_likelihood():
    draws = np.random.default_rng(0)
    x = _unit(draws.normal(size=(40, 3)) + np.eye(3)[0])
    mass = draws.dirichlet(np.ones(3), 40) * [1.0, 1.0, 0.0]
    mixture = em.Mixture(families.VonMisesFisher(3), 3, tied=True)
    axes = jnp.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.6, 0.8]])
    previous = mixture.point(np.full(3, 1 / 3), mixture.family.natural_from_params(axes, 9.0))
    rows = mass / mass.sum(axis=1, keepdims=True)
    found = mixture.m_step(rows, x, mass.sum(axis=1), previous=previous)
    resultants = mass[:, :2].T @ x
    length = np.linalg.norm(resultants, axis=1).sum() / mass.sum()
    slope = lambda kappa: special.ive(1.5, kappa) / special.ive(0.5, kappa) - length
    kappa = optimize.brentq(slope, 1e-3, 1e3, xtol=1e-14)
    directions, concentrations = mixture.family.params_from_natural(found.components)
    np.testing.assert_allclose(concentrations, kappa, rtol=1e-10)
    # The one without observations keeps its direction.
    np.testing.assert_allclose(directions, [*_unit(resultants), axes[2]], rtol=1e-12)


def test_angles_of_one_concentration_are_directions_of_the_plane():
    angles = np.random.default_rng(0).vonmises([0.0, 2.0], [3.0, 5.0], (50, 2)).ravel()
    x = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    circle, plane = (
        em.Mixture(family, 2, tied=True)
        for family in (families.VonMises(), families.VonMisesFisher(2))
    )
    assert circle.dimension == plane.dimension == 1 + 2 + 1
    assert em.Mixture(families.VonMisesFisher(5), 3, tied=True).dimension == 2 + 3 * 4 + 1
    rows = np.random.default_rng(1).dirichlet(np.ones(2), 100)
    turns, vectors = circle.m_step(rows, angles), plane.m_step(rows, x)
    stacked = jnp.stack(jax.tree.leaves(turns.components), axis=1)
    np.testing.assert_allclose(stacked, vectors.components.x, rtol=1e-12)
    start = circle.point([0.5, 0.5], circle.family.natural_from_params([0.5, 1.5], 2.0))
    result = circle.fit(angles, initialization=start, tolerance=1e-10)
    lengths = circle.family.params_from_natural(result.params.components).concentration
    np.testing.assert_allclose(lengths[0], lengths[1], rtol=1e-12)
    assert result.converged
    assert (np.diff(result.log_likelihoods[: int(result.num_iterations)]) > -1e-14).all()
    free = 4 * np.log(100) - 2 * result.log_likelihood
    np.testing.assert_allclose(result.bic, free, rtol=1e-12)
    np.testing.assert_allclose(circle.bic(result.params, angles), free, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("dim", [2, 9])
def test_posterior_of_one_concentration_is_softmax_at_its_inverse_as_temperature(dim, dtype):
    draws = np.random.default_rng(dim)
    weights, x = draws.normal(size=(4, dim)), draws.normal(size=(12, dim))
    # Also at a mean direction, opposite to one and between two of them.
    x[:3] = weights[0], -weights[1], _unit(weights[2]) + _unit(weights[3])
    slopes = draws.normal(size=(12, 4))
    weights, x, slopes = (a.astype(dtype) for a in (_unit(weights), _unit(x), slopes))
    mixture = em.Mixture(families.VonMisesFisher(dim), 4)
    unit = lambda v: v / jnp.linalg.norm(v, axis=-1, keepdims=True)

    def of_mixture(weights, x, kappa):
        theta = families.VonMisesFisher.Point(kappa * unit(weights))
        params = em.MixturePoint(jnp.full(4, -jnp.log(4.0), weights.dtype), theta)
        return mixture.e_step(params, unit(x))[0], mixture.joint_log_density(params, unit(x))

    def of_temperature(weights, x, kappa):
        cosines = unit(x) @ unit(weights).T
        return softmax(cosines, temperature=1 / kappa), kappa * cosines

    def of_margins(weights, x, kappa):
        logits = cosine_logits(x, weights, scale=kappa)
        return jax.nn.softmax(logits), logits

    def with_slopes(form):
        def run(weights, x, kappa):
            def both(weights, x):
                responsibilities, joint = form(weights, x, kappa)
                return responsibilities, joint - joint[:, :1]

            values, pull = jax.vjp(both, weights, x)
            none = jnp.zeros_like(slopes)
            return values, pull((slopes, none)), pull((none, slopes))

        return jax.jit(run)

    forms = tuple(map(with_slopes, (of_mixture, of_temperature, of_margins)))
    for kappa in 10.0 ** np.arange(-3, 7):
        # The inner products that are multiplied by kappa are off by some eps.
        rounding, size = 40 * np.finfo(dtype).eps, max(kappa, 1)
        allowed = ((rounding * size,) * 2, (rounding * size**2,) * 2, (rounding * size,) * 2)
        expected, *others = (form(weights, x, dtype(kappa)) for form in forms)
        assert all(leaf.dtype == dtype for leaf in jax.tree.leaves(expected))
        for other in others:
            jax.tree.map(
                lambda one, two, atol: np.testing.assert_allclose(one, two, atol=atol, rtol=0),
                *(expected, other, allowed),
            )
