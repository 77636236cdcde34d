"""Seeds of a clustering."""

import jax
import jax.numpy as jnp
import numpy as np

from igeojax.numerics import plus_plus_seeds


def squared(x):
    return lambda seed: (x - x[seed]) ** 2


def test_seeds_are_drawn_by_weight_and_distance():
    # After the first, of weight one to three, the second by weight times squared distance.
    x, weights = jnp.array([0.0, 1.0, 3.0]), jnp.array([1.0, 1.0, 2.0])
    keys = jax.random.split(jax.random.key(0), 20_000)
    seeds = jax.jit(jax.vmap(lambda k: plus_plus_seeds(k, weights, squared(x), 2)))(keys)
    found = np.zeros((3, 3))
    np.add.at(found, tuple(np.asarray(seeds).T), 1 / len(keys))
    mass = np.asarray(weights)[None] * np.subtract.outer(x, x) ** 2
    expected = np.asarray(weights)[:, None] / 4 * mass / mass.sum(1, keepdims=True)
    deviation = np.sqrt(expected * (1 - expected) / len(keys))
    assert (np.abs(found - expected) <= 5 * deviation).all()


def test_equal_data_and_infinite_distances():
    key = jax.random.key(1)
    weights = jnp.array([0.0, 1.0, 1.0])
    same = plus_plus_seeds(key, weights, squared(jnp.zeros(3)), 3)
    assert (same > 0).all()  # what has no weight is no seed
    x = jnp.array([0.0, 1e-3, 2e-3, 9.0])
    far = lambda seed: jnp.where(
        x == 9.0, jnp.where(x[seed] == 9.0, 0.0, jnp.inf), squared(x)(seed)
    )
    keys = jax.random.split(key, 20)
    seeds = jax.vmap(lambda k: plus_plus_seeds(k, jnp.ones(4), far, 2))(keys)
    assert (seeds == 3).any(axis=1).all()
    assert plus_plus_seeds(key, weights, squared(x[:3]), 1).shape == (1,)


def test_of_several_infinitely_far_any_may_be_chosen():
    far = lambda seed: jnp.where(jnp.arange(4) == seed, 0.0, jnp.inf)
    keys = jax.random.split(jax.random.key(2), 60)
    seeds = jax.vmap(lambda k: plus_plus_seeds(k, jnp.array([9e9, 1, 1, 1]), far, 2))(keys)
    assert set(np.asarray(seeds[:, 1]).tolist()) >= {1, 2, 3}
