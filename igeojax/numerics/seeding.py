"""Seeds of a clustering, spread over the data."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key


def plus_plus_seeds(
    key: Key[Array, ""],
    weights: Float[Array, "data"],
    divergence_from: Callable[[Int[Array, ""]], Float[Array, "data"]],
    num_seeds: int,
) -> Int[Array, "seeds"]:
    """Indices of k-means++ seeds, each drawn in proportion to its distance from those before it.

    The first by its weight alone. One call of `divergence_from` for each but the last.

    Args:
      key: a PRNG key.
      weights: non-negative weights of the data.
      divergence_from: non-negative squared distances, or divergences, of all data from one of them.
      num_seeds: number of seeds.

    Returns:
      The indices, in the order they were drawn.

    References:
      [ArthurVassilvitskii2007] section 2.2.

    Examples:
      >>> x = jnp.array([0.0, 0.1, 9.0])
      >>> seeds = plus_plus_seeds(jax.random.key(0), jnp.ones(3), lambda i: (x - x[i]) ** 2, 2)
      >>> 2 in seeds.tolist()
      True
    """
    keys = jax.random.split(key, num_seeds)
    first = jax.random.categorical(keys[0], jnp.log(weights))

    def draw(carry: tuple[Array, Array], key: Array) -> tuple[tuple[Array, Array], Array]:
        last, nearest = carry
        nearest = jnp.minimum(nearest, divergence_from(last))
        mass = jnp.where(weights > 0, weights * nearest, 0.0)
        # With fewer distinct data than seeds all distances are 0: any one will do.
        mass = jnp.where(jnp.max(mass) > 0, mass, weights)
        # What is infinitely far is chosen before all others.
        mass = jnp.where(jnp.isinf(mass).any(), jnp.isinf(mass).astype(mass.dtype), mass)
        seed = jax.random.categorical(key, jnp.log(mass))
        return (seed, nearest), seed

    _, rest = jax.lax.scan(draw, (first, jnp.full_like(weights, jnp.inf)), keys[1:])
    return jnp.concatenate([first[None], rest])
