"""Starting responsibilities."""

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.em.initialization import nearest_seed_responsibilities, random_responsibilities


def test_rows_sum_to_one_and_none_is_on_the_boundary(key):
    x = jax.random.normal(key, (50, 3))
    rows = nearest_seed_responsibilities(key, x, jnp.ones(50), 4)
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-12)
    assert float(rows.min()) > 0
    rows = random_responsibilities(key, 50, 4, jnp.float32)
    assert rows.dtype == jnp.float32
    np.testing.assert_allclose(rows.sum(axis=1), 1, rtol=1e-5)


def test_separated_clusters_get_one_seed_each(key):
    # Three clusters 1000 deviations apart: the second and third seed fall in the same cluster as
    # an earlier one with probability below 1e-5.
    centers = jnp.repeat(jnp.array([0.0, 1e3, 2e3]), 20)
    x = (centers + jax.random.normal(key, (60,)))[:, None]
    seeds = jax.jit(lambda key: nearest_seed_responsibilities(key, x, jnp.ones(60), 3))
    for seed in range(10):
        rows = seeds(jax.random.key(seed))
        labels = np.asarray(rows.argmax(axis=1)).reshape(3, 20)
        assert (labels == labels[:, :1]).all()
        assert sorted(labels[:, 0]) == [0, 1, 2]


def test_seeds_are_drawn_by_weight(key):
    # Only the last two points have weight: they must be the seeds.
    x = jnp.arange(6.0)[:, None]
    weights = jnp.array([0.0, 0, 0, 0, 1, 1])
    labels = nearest_seed_responsibilities(key, x, weights, 2).argmax(axis=1)
    assert labels[4] != labels[5]
    np.testing.assert_array_equal(labels[:4], labels[4])


def test_units_of_the_features_do_not_matter(key):
    x = jax.random.normal(key, (60, 3))
    starts = [
        nearest_seed_responsibilities(key, x * jnp.array(units), jnp.ones(60), 4)
        for units in ([[1.0, 1.0, 1.0]], [[1024.0, 1.0, 0.125]])
    ]
    np.testing.assert_array_equal(*starts)


def test_equal_points_do_not_divide_by_zero(key):
    rows = nearest_seed_responsibilities(key, jnp.ones((5, 2)), jnp.ones(5), 3)
    assert np.isfinite(rows).all()
