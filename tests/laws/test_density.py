"""Densities: total mass, moments, entropy and Fisher information by sums and quadrature."""

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.families import FAMILIES
from tests.laws.examples import EXAMPLES
from tests.laws.programs import cast, flat, natural, nodes, observations, quantities


def mass(name: str) -> np.ndarray:
    """Weights of the law on the nodes."""
    return nodes(name)[1] * np.exp(quantities(name)["log_density"])


def test_total_mass(name):
    np.testing.assert_allclose(mass(name).sum(axis=1), np.ones(3), rtol=1e-12)


def test_mean_of_the_statistics(name):
    found = quantities(name)
    mean = np.einsum("bm,bmk->bk", mass(name), found["statistics"])
    np.testing.assert_allclose(flat(name, found["eta"]), mean, rtol=1e-10, atol=1e-11)


def test_covariance_of_the_statistics_is_the_fisher_metric(name):
    found = quantities(name)
    weights, statistics = mass(name), found["statistics"]
    centred = statistics - np.einsum("bm,bmk->bk", weights, statistics)[:, None]
    covariance = np.einsum("bm,bmk,bml->bkl", weights, centred, centred)
    size = np.abs(covariance).max()
    np.testing.assert_allclose(found["fisher"], covariance, atol=1e-10 * size)
    np.testing.assert_allclose(found["fisher"], found["hessian"], atol=1e-12 * size)
    np.testing.assert_array_equal(found["fisher"], found["fisher"].swapaxes(-1, -2))
    assert (np.linalg.eigvalsh(found["fisher"]) > 0).all()


def test_entropy(name):
    found = quantities(name)
    expected = -np.sum(mass(name) * found["log_density"], axis=1)
    np.testing.assert_allclose(found["entropy"], expected, rtol=1e-11)
    base_mean = np.sum(mass(name) * found["log_base_measure"], axis=1)
    np.testing.assert_allclose(found["mean_log_base_measure"], base_mean, rtol=1e-10, atol=1e-13)


def test_overrides_equal_the_derived_form(name):
    found = quantities(name)
    np.testing.assert_allclose(found["entropy"], found["entropy_derived"], rtol=1e-12)
    np.testing.assert_allclose(found["bregman"], found["bregman_derived"], rtol=1e-10, atol=1e-13)
    near = found["log_density"] > -200
    np.testing.assert_allclose(
        found["log_density"][near], found["log_density_derived"][near], rtol=1e-11, atol=1e-11
    )


def test_off_the_support(name):
    family = FAMILIES[name].family
    theta = jax.tree.map(lambda leaf: leaf[0], natural(name, 0))
    x = EXAMPLES[name].outside
    rows = [np.isnan(leaf).reshape(len(leaf), -1).any(axis=1) for leaf in jax.tree.leaves(x)]
    unknown = np.any(rows, axis=0)
    assert not family.in_support(x).any()
    density = lambda t: family.log_density(t, x)
    value, slope = jax.jit(lambda t: (density(t), jax.jacrev(density)(t)))(theta)
    # Not an observation: -inf. Not known: nan. The gradient is 0 for either.
    np.testing.assert_array_equal(value, np.where(unknown, np.nan, -np.inf))
    assert all((leaf == 0).all() for leaf in jax.tree.leaves(slope))


def test_base_measure_is_a_number_of_the_data_dtype(name):
    family = FAMILIES[name].family
    x = jax.tree.map(jnp.asarray, cast(observations(name), "float32"))
    value = family.log_base_measure(x)
    assert value.shape == (2,)
    floating = any(leaf.dtype == "float32" for leaf in jax.tree.leaves(x))
    assert value.dtype == ("float32" if floating else "float64")
