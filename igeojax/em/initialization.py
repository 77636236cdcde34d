"""Starting responsibilities for EM."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from igeojax.em._maximization import maximized
from igeojax.em.expectations import neutral_frames, shared_out
from igeojax.families.product import Product
from igeojax.numerics.seeding import plus_plus_seeds

OPTIONS = ("k-means++", "random")
"""Names of the ways to start."""


def random_responsibilities(
    key: Key[Array, ""], num_data: int, num_components: int, dtype: Any
) -> Float[Array, "data components"]:
    """Responsibilities drawn uniformly from the simplex, one for each observation.

    Args:
      key: a PRNG key.
      num_data: number of observations.
      num_components: number of components.
      dtype: floating dtype.

    Returns:
      Rows that sum to one.

    Examples:
      >>> random_responsibilities(jax.random.key(0), 5, 2, float).shape
      (5, 2)
    """
    return jax.random.dirichlet(key, jnp.ones(num_components, dtype), (num_data,), dtype)


def nearest_seed_responsibilities(
    key: Key[Array, ""],
    features: Float[Array, "data features"],
    weights: Float[Array, "data"],
    num_components: int,
    *,
    softness: float = 0.1,
) -> Float[Array, "data components"]:
    """Responsibilities of the nearest of `num_components` k-means++ seeds.

    Seeds are observations drawn one after another with probability proportional to the squared
    distance from the nearest seed so far; features are scaled to unit variance.

    Args:
      key: a PRNG key.
      features: one row an observation.
      weights: non-negative weights of the observations.
      num_components: number of seeds.
      softness: mass of each row that is spread evenly, so that no component starts with a
        parameter on the boundary (a probability of 0, say).

    Returns:
      Rows that sum to one.

    References:
      [ArthurVassilvitskii2007] section 2.2.

    Examples:
      >>> x = jnp.array([[0.0], [0.1], [9.0]])
      >>> r = nearest_seed_responsibilities(jax.random.key(0), x, jnp.ones(3), 2)
      >>> bool((r[0] == r[1]).all() & (r[0] != r[2]).all())
      True
    """
    share = (weights / jnp.sum(weights))[:, None]
    centred = features - jnp.sum(share * features, axis=0, keepdims=True)
    deviation = jnp.sqrt(jnp.sum(share * centred**2, axis=0, keepdims=True))
    scaled = centred / jnp.where(deviation > 0, deviation, 1.0)

    def squared_distance(seed: Array) -> Array:
        return jnp.sum((scaled - scaled[seed][None]) ** 2, axis=1)

    seeds = plus_plus_seeds(key, weights, squared_distance, num_components)
    closest = jnp.argmin(jax.vmap(squared_distance)(seeds), axis=0)
    hard = jax.nn.one_hot(closest, num_components, dtype=features.dtype)
    return (1 - softness) * hard + softness / num_components


def features(family: Any, x: Any) -> Float[Array, "data features"]:
    """The first statistic of each factor, one row an observation.

    Args:
      family: the family of the components.
      x: observations on axis 0.

    Returns:
      The features.

    Examples:
      >>> from igeojax import families
      >>> features(families.Poisson(), jnp.array([1.0, 2.0])).shape
      (2, 1)
    """
    if isinstance(family, Product):
        parts = zip(family.families, x, strict=True)
        return jnp.concatenate([features(*part) for part in parts], axis=1)
    first = jax.tree.leaves(family.statistics(x))[0]
    return first.reshape((first.shape[0], -1))


@partial(jax.jit, static_argnames=("mixture", "initialization"))
def starting_points(
    mixture: Any,
    keys: Array,
    data: Any,
    weights: Array,
    chart: Any,
    *,
    initialization: str,
) -> Any:
    """Starting parameters of a mixture: one M-step from starting responsibilities, for each key.

    Args:
      mixture: the `Mixture`.
      keys: PRNG keys, one for each start.
      data: observations on axis 0.
      weights: non-negative weights of the observations.
      chart: the frame of the data, the noise that blurs them and the prior.
      initialization: one of `OPTIONS`.

    Returns:
      `Framed` parameters in the frame of the data, with the starts on the leading axis.

    Examples:
      >>> from igeojax import em, families
      >>> from igeojax.em._fitting import Chart
      >>> mixture, x = em.Mixture(families.Poisson(), 2), jnp.array([1, 2, 9])
      >>> keys = jax.random.split(jax.random.key(0), 3)
      >>> chart = Chart((), families.Poisson.Point(jnp.zeros(())), None)
      >>> starting_points(mixture, keys, x, jnp.ones(3), chart, initialization="random")[0].shape
      (3, 2)
    """
    z = mixture.family.standardized(data, chart.frame)
    rows = features(mixture.family, z).astype(weights.dtype)
    size = (rows.shape[0], mixture.num_components)

    def start(key: Array) -> Any:
        if initialization == "random":
            responsibilities = random_responsibilities(key, *size, rows.dtype)
        else:
            responsibilities = nearest_seed_responsibilities(key, rows, weights, size[1])
        sums = shared_out(mixture.family, responsibilities * weights[:, None], z)
        frames = neutral_frames(mixture, rows.dtype)
        return maximized(
            mixture,
            sums,
            frames,
            noise=chart.noise,
            prior=chart.prior,
            standardized=True,
        )

    return jax.vmap(start)(keys)
