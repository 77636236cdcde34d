"""Largest eigenpairs of a symmetric positive semi-definite matrix, from products alone."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from igeojax._core import checks


def top_eigenpairs(
    key: Key[Array, ""],
    matvec: Callable[[Array], Array],
    size: int,
    rank: int,
    *,
    num_blocks: int = 4,
    dtype: jnp.dtype | type = float,
) -> tuple[Float[Array, " rank"], Float[Array, "size rank"]]:
    """Largest eigenvalues and their eigenvectors, by randomized block Krylov iteration.

    A block, unlike the single vector of Lanczos, finds eigenvalues that are repeated, and ranks
    below `rank` are exact. `2 num_blocks (rank + 4)` products, that many vectors of memory.
    Eigenvalues are at most the true ones; close to the last ones the error is the larger, the less
    they stand out from the rest.

    Args:
      key: a PRNG key, of the start.
      matvec: the product with a vector of shape `(size,)`.
      size: dimension of the matrix.
      rank: how many pairs; at most `size`.
      num_blocks: steps of the iteration.
      dtype: floating type of the vectors.

    Returns:
      Eigenvalues in descending order, clipped at 0, and orthonormal eigenvectors as columns.

    Raises:
      TypeError: `rank` or `num_blocks` is not an integer.
      ValueError: `rank` or `num_blocks` is below 1, or `rank > size`.

    References:
      [MuscoMusco2015] algorithm 2.

    Examples:
      >>> scale = jnp.array([1.0, 5.0, 3.0])
      >>> values, vectors = top_eigenpairs(jax.random.key(0), lambda v: scale * v, 3, 2)
      >>> values.round(6).tolist()
      [5.0, 3.0]
    """
    checks.require_count("rank", rank)
    checks.require_count("num_blocks", num_blocks)
    if rank > size:
        raise ValueError(f"rank must be at most the dimension {size}; got {rank}. Lower it.")
    product = jax.vmap(matvec, in_axes=1, out_axes=1)
    start = jax.random.normal(key, (size, min(rank + 4, size)), dtype)

    def step(block: Array, _: None) -> tuple[Array, Array]:
        # Orthonormal at every step: the powers of large eigenvalues would drown the others.
        block = jnp.linalg.qr(product(block))[0]
        return block, block

    blocks = jax.lax.scan(step, jnp.linalg.qr(start)[0], None, num_blocks)[1]
    basis = jnp.linalg.qr(jnp.moveaxis(blocks, 0, 1).reshape(size, -1))[0]
    inner = basis.T @ product(basis)
    values, vectors = jnp.linalg.eigh(0.5 * (inner + inner.T))
    return jnp.maximum(values[::-1][:rank], 0.0), (basis @ vectors[:, ::-1])[:, :rank]
