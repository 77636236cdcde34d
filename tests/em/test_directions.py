"""Mixtures of von Mises-Fisher laws recover clusters of directions, also opposite ones."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families


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
