"""Sums of the E-step: additive over rows, chunks and batches, for products as well."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from igeojax import em, families
from igeojax.em.expectations import compensated_sum, sum_over_chunks

COLUMNS = em.Mixture(
    families.Product((families.Normal(), families.Categorical(3), families.Poisson())), 2
)


def _columns(count=60):
    generator = np.random.default_rng(0)
    group = generator.integers(0, 2, count)
    return (
        jnp.asarray(4.0 * group + generator.normal(size=count)),
        jnp.asarray(np.where(group, 2, generator.integers(0, 2, count))),
        jnp.asarray(generator.poisson(np.where(group, 9, 1))),
    )


def _params():
    parts = COLUMNS.family.families
    point = COLUMNS.family.natural_from_params(
        parts[0].natural_from_params([0.0, 3.0], 1.5),
        parts[1].natural_from_params(probs=[[0.4, 0.4, 0.2], [0.2, 0.2, 0.6]]),
        parts[2].natural_from_params([2.0, 6.0]),
    )
    return COLUMNS.point([0.5, 0.5], point)


def test_expectations_are_the_weighted_sums_of_responsibilities():
    x, params = _columns(), _params()
    weights = jnp.linspace(0.0, 2.0, 60)
    sums = COLUMNS.expectations(params, x, weights)
    r, log_density = COLUMNS.e_step(params, x)
    mass = np.asarray(r * weights[:, None])
    np.testing.assert_allclose(sums.counts, mass.sum(axis=0), rtol=1e-12)
    np.testing.assert_allclose(sums.statistics[0].xx, mass.T @ np.asarray(x[0]) ** 2, rtol=1e-12)
    np.testing.assert_allclose(sums.statistics[1][0][:, 1], mass.T @ (np.asarray(x[1]) == 1))
    np.testing.assert_allclose(sums.log_likelihood, np.sum(weights * log_density), rtol=1e-12)
    np.testing.assert_allclose(sums.weight, weights.sum(), rtol=1e-12)


@pytest.mark.parametrize("chunk_size", [7, 20, 60])
def test_chunks_and_parts_add_up(chunk_size):
    x, params = _columns(), _params()
    weights = jnp.linspace(0.5, 2.0, 60)
    whole = COLUMNS.expectations(params, x, weights)
    chunked = COLUMNS.expectations(params, x, weights, chunk_size=chunk_size)
    cut = lambda rows: jax.tree.map(lambda leaf: leaf[rows], (x, weights))
    parts = [COLUMNS.expectations(params, *cut(rows)) for rows in (slice(25), slice(25, 60))]
    added = jax.tree.map(jnp.add, *parts)
    for other in (chunked, added):
        for a, b in zip(jax.tree.leaves(whole), jax.tree.leaves(other), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-12)


def test_every_row_counts_once_on_every_shard():
    x, total = jnp.arange(22.0), lambda x, w: (jnp.sum(w * x), jnp.sum(w))
    for chunk_size in (3, 4, 11):
        found = sum_over_chunks(total, x, jnp.ones(22), chunk_size=chunk_size, num_shards=2)
        assert [float(v) for v in found] == [231.0, 22.0]


def test_rounding_of_many_float32_terms_is_carried():
    term = jnp.float32(0.1)
    add = lambda carry, _: (compensated_sum(*carry, term), None)
    (total, _), _ = jax.lax.scan(add, (jnp.float32(0), jnp.float32(0)), length=10**6)
    np.testing.assert_allclose(total, 1e6 * float(term), rtol=2e-7)


def test_an_m_step_on_sums_is_the_m_step_on_responsibilities():
    x, params = _columns(), _params()
    r, _ = COLUMNS.e_step(params, x)
    one, two = COLUMNS.m_step(r, x), COLUMNS.maximized(COLUMNS.expectations(params, x))
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-9)
    # The components of a product are fitted column by column.
    alone = families.Normal().fit(x[0], r[:, 1])
    np.testing.assert_allclose(two.components[0].xx[1], alone.xx, rtol=1e-9)


def test_mixed_columns_are_told_apart():
    x = _columns(200)
    result = COLUMNS.fit(x, key=jax.random.key(0), num_restarts=3)
    assert result.converged
    labels = np.asarray(COLUMNS.e_step(result.params, x)[0].argmax(axis=1))
    truth = np.asarray(x[2]) > 4
    assert max((labels == truth).mean(), (labels != truth).mean()) > 0.95


def test_what_is_fixed_stays():
    x, params = _columns(), _params()
    sums = COLUMNS.expectations(params, x)
    free = COLUMNS.maximized(sums)
    kept = COLUMNS.maximized(sums, previous=params, fixed=("weights", 1))
    np.testing.assert_array_equal(kept.log_weights, params.log_weights)
    np.testing.assert_array_equal(kept.components[2].x[1], params.components[2].x[1])
    np.testing.assert_array_equal(kept.components[2].x[0], free.components[2].x[0])
    assert float(jnp.abs(free.log_weights - params.log_weights).max()) > 1e-3
    kept = COLUMNS.maximized(sums, previous=params, fixed=("components",))
    np.testing.assert_array_equal(kept.components[0].xx, params.components[0].xx)
    with pytest.raises(ValueError, match=r"fixed must be a tuple .*'weights', 'components'"):
        COLUMNS.maximized(sums, previous=params, fixed=("weight",))
    with pytest.raises(ValueError, match="needs the parameters to keep"):
        COLUMNS.maximized(sums, fixed=("weights",))


def test_a_step_is_the_unit_natural_gradient_step_in_mean_coordinates():
    family = families.Gamma()
    mixture = em.Mixture(family, 2)
    x = jnp.asarray(np.random.default_rng(0).gamma(3.0, 1.0, 80))
    params = mixture.point([0.4, 0.6], family.natural_from_params([2.0, 4.0], [1.0, 2.0]))
    sums = mixture.expectations(params, x)
    theta = jax.tree.map(lambda leaf: leaf[0], params.components)
    statistics = jax.tree.map(lambda leaf: leaf[0], sums.statistics)

    def expected(eta):
        """Expected complete log-likelihood of the first component, but for a constant."""
        natural = family.natural_from_mean(eta)
        mean = jax.tree.map(lambda leaf: leaf / sums.counts[0], statistics)
        return family.pairing(natural, mean) - family.log_partition(natural)

    eta = family.mean_from_natural(theta)
    # The inverse metric of mean coordinates is the Fisher matrix of natural ones.
    step = family.fisher_matvec(theta, jax.grad(expected)(eta))
    moved = family.natural_from_mean(jax.tree.map(jnp.add, eta, step))
    after = mixture.maximized(sums).components
    for a, b in zip(moved, after, strict=True):
        np.testing.assert_allclose(a, b[0], rtol=1e-8)
